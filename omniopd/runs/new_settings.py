"""Which settings may change when a run is resumed, and the run with them changed.

What is trained stays: a run whose recipe changed halfway would belong to no recipe. What may change is how it is
measured, what it may spend, how long it waits, and where it computes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from omniopd.config import assigned, dotted, recipe_toml, with_settings
from omniopd.errors import ConfigError
from omniopd.io.redaction import redacted
from omniopd.runs.files.atomic import write_text
from omniopd.runs.manifest import HIDDEN, now
from omniopd.runs.store import RECIPE, Run, write_manifest

# Key, or section with a dot behind it, and why it changes nothing of what is trained.
MAY_CHANGE: Mapping[str, str] = {
    "evaluation.": "how the student is measured",
    "task.test_split": "which problems it is measured on",
    "task.run_programs": "whether programs may be judged here",
    "teacher.budget_usd": "what may be spent",
    "teacher.ask_above_usd": "what is asked for first",
    "teacher.allow_unknown_price": "what may be spent",
    "teacher.usd_per_million_input": "what is counted",
    "teacher.usd_per_million_output": "what is counted",
    "student.server": "where the same sampler answers",
    "teacher.api_base": "where the same model is asked",
    "teacher.key_variable": "whose key is used",
    "teacher.concurrency": "how many calls are in flight",
    "teacher.requests_per_minute": "how fast is asked",
    "teacher.tokens_per_minute": "how fast is asked",
    "teacher.call_timeout_s": "how long is waited",
    "teacher.batch_deadline_s": "how long is waited",
    "teacher.stream": "how much of a text is waited for",
    "teacher.parted_costs": "what is counted",
    "teacher.batch_tokens": "how much of a local teacher fits at once",
    "training.max_unanswered_share": "how many forks may stay unanswered",
    "training.max_equal_share": "how often a teacher may repeat itself",
    "training.allow_zero_gradient": "whether an idle step stops the run",
    "training.waves": "when a teacher is asked",
    "training.save_every": "when checkpoints are written",
    "training.keep": "how many checkpoints are kept",
    "training.record_every": "which rollouts are recorded",
    "training.report_to": "where records go as well",
    "training.threads": "where it computes",
    "training.device": "where it computes",
}


def with_new_settings(run: Run, words: Sequence[str]) -> Run:
    """The run with the `key=value` words as settings, checked and not yet written. Raises ConfigError for a setting
    that would change what is trained, and for one that cannot work."""
    settings = assigned(words)
    known = dotted(run.recipe.as_dict())
    for key in settings:
        if key in known and not _may_change(key):
            raise ConfigError(
                f"{key} is what {run.path} is trained with, and stays {known[key]!r}: start a new run for another "
                f"value; on resuming may change {', '.join(f'{k}*' if k.endswith('.') else k for k in MAY_CHANGE)}"
            )
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise ConfigError(f"there is no setting {key!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    recipe = with_settings(run.recipe, settings, "the command line")
    values = dotted(recipe.as_dict())
    new = {key: [known[key], values[key]] for key in settings if values[key] != known[key]}
    if not new:
        return run
    change = {"time": now(), "step": run.status.step, "settings": new}
    manifest = replace(
        run.manifest,
        recipe=redacted(recipe.as_dict(), HIDDEN),
        changes=(*run.manifest.changes, redacted(change, HIDDEN)),
    )
    return Run(run.path, manifest)


def write_settings(run: Run) -> None:
    """Put the settings of a run that `with_new_settings` gave into its folder; what they were stands in the manifest's
    `changes`. Raises RunError."""
    write_text(run.path / RECIPE, recipe_toml(run.recipe))
    write_manifest(run)


def _may_change(key: str) -> bool:
    return key in MAY_CHANGE or f"{key.partition('.')[0]}." in MAY_CHANGE
