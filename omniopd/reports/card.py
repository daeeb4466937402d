"""The model card of a trained student, made from its run's records: who taught it, how, for how much, and what of it
was shown.

Names of models, tasks and runs are anybody's: they stand in it as words. What only this machine knows (folders,
addresses of servers, names of keys) does not. Reads records; knows no model and sends nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from omniopd.config import METHODS, Recipe, dotted, toml
from omniopd.evaluation.tables import CONTROL, findings
from omniopd.io.markdown import cell, code, fenced, plain, table
from omniopd.io.redaction import redact
from omniopd.io.units import dollars
from omniopd.records import AuditRecord
from omniopd.reports.summary import BESIDE, ledger_line, loading_lines, outcome_table, shown, table_title
from omniopd.runs.store import Run
from omniopd.runs.totals import totals
from omniopd.teachers.model_traits import LOCAL, runs_here
from omniopd.teachers.spending.ledger import FILE as LEDGER
from omniopd.teachers.spending.ledger import Spend, spent

TAGS = ("omniopd", "distillation", "on-policy")
_PRIVATE = ("teacher.api_base", "teacher.key_variable", "teacher.cache", "teacher.system")
_TOLD = ("omniopd", "torch", "transformers", "trl", "peft")
_PLACES = ("student.model", "teacher.model", "teacher.tokenizer", "task.path", "audit.embedding_model")


def model_card(run: Run, repo: str, is_adapter: bool) -> str:
    """The README.md of the student of `run` as `repo` ("ORG/NAME"): metadata as the hub reads it, then Markdown.

    `is_adapter`: what is handed on is a LoRA adapter, and not all weights. Raises ConfigError and RunError where the
    run's recipe or records cannot be read.
    """
    recipe = run.recipe
    packages = "peft bitsandbytes" if recipe.student.load_in_4bit else "peft"
    parts = [
        f"# {plain(repo.partition('/')[2])}",
        _in_words(recipe, is_adapter),
        "\n".join(fenced(loading_lines(run, repo).splitlines(), "python")),
        *([f"The adapter needs its model, {code(recipe.student.model)}, and `pip install {packages}`."] * is_adapter),
        "## What it learnt, and from whom",
        "\n".join(f"- {name}: {said}" for name, said in _facts(run, recipe)),
        "## What came of it",
        *_results(run),
        "## What was asked and paid",
        "\n".join(f"- {sentence}" for sentence in _paid(run, recipe)),
        "## Settings",
        "Those that are not the defaults of the package; folders and addresses of the machine are left out.",
        "\n".join(fenced(_settings(recipe), "toml")),
        "## Terms",
        _terms(recipe),
    ]
    return redact(f"---\n{_metadata(recipe, is_adapter)}\n---\n\n" + "\n\n".join(parts) + "\n")


def hub_name(model: str) -> str | None:
    """A model's id on the hub, or None for one that only a machine or this package has."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name = model.removeprefix(LOCAL)
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return None if _is_place(model) else name


def _metadata(recipe: Recipe, is_adapter: bool) -> str:
    from huggingface_hub import ModelCardData

    return ModelCardData(
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        base_model=hub_name(recipe.student.model),
        tags=[*TAGS, *(["lora"] if is_adapter else [])],
    ).to_yaml()


def _in_words(recipe: Recipe, is_adapter: bool) -> str:
    what = "A LoRA adapter for" if is_adapter else "A student that began as"
    by = "by its own graded answers" if METHODS[recipe.method].reads == "nothing" else f"by {_named(recipe, 'teacher')}"
    merged = "" if is_adapter or not recipe.student.lora_rank else ", its LoRA adapter merged into the weights"
    return f"{what} {_named(recipe, 'student')}, taught {by}{merged}, with OmniOPD. It loads with"


def _named(recipe: Recipe, who: str) -> str:
    return code(_public(f"{who}.model", getattr(recipe, who).model))


def _facts(run: Run, recipe: Recipe) -> list[tuple[str, str]]:
    method, task, training, versions = METHODS[recipe.method], recipe.task, recipe.training, run.manifest.versions
    facts = [("run", f"{code(run.manifest.name)}, begun {plain(run.manifest.created)}")]
    if method.reads != "nothing":
        facts += [("teacher", _named(recipe, "teacher")), ("what was read of it", method.reads)]
    if method.reads == "texts":
        audits = _last_audits(run)
        said = sorted({audit.handover for audit in audits} - {""}) or [recipe.teacher.handover]
        facts += [("handover", ", ".join(map(code, said)))]
        served = sorted({audit.served_model for audit in audits} - {""})
        if served and _is_served(recipe):
            facts += [("answered as", ", ".join(code(_public("teacher.model", name)) for name in served))]
    if sees := recipe.teacher.shown:
        more = ", ".join(sorted(sees.needs)) or "an instruction"
        facts += [("what the teacher saw and the student did not", plain(more))]
    data = ", ".join(code(word) for word in (task.name, _public("task.path", task.path)) if word)
    facts += [
        ("method", f"{code(method.name)}: {plain(method.label_of(recipe))}"),
        ("data", f"{data}: split {code(task.train_split)}, measured on {code(task.test_split)}"),
        ("training", f"steps {len(run.steps()):,}, answers a step {training.rollouts:,}, seed {run.manifest.seed}"),
        ("made with", ", ".join(plain(f"{name} {versions[name]}") for name in _TOLD if name in versions)),
    ]
    if run.manifest.changes:
        facts += [("settings changed when it was resumed", f"{len(run.manifest.changes)} times")]
    return facts


def _last_audits(run: Run) -> list[AuditRecord]:
    """The audits of the last step whose rollouts were kept; nothing where none were."""
    recorded = run.rollout_steps()
    rollouts = run.rollouts(recorded[-1]) if recorded else []
    return [audit for rollout in rollouts for audit in rollout.audits]


def _results(run: Run) -> list[str]:
    rows = shown(run)
    if not rows:
        return ["It was not measured."]
    frame = outcome_table(rows)
    head = ["", *(cell(str(name)) for name in frame.columns)]
    body = [[code(str(who)), *(cell(str(value)) for value in frame.loc[who])] for who in frame.index]
    sentences = findings(rows)
    if not any(who.startswith(CONTROL) for who in rows):
        sentences.append("no control was trained beside it: how much of this is the teacher's doing was not measured")
    said = f"{plain(table_title(rows))}. {BESIDE}"
    return [said, "\n".join(table(head, body)), "\n".join(f"- {plain(sentence)}" for sentence in sentences)]


def _paid(run: Run, recipe: Recipe) -> list[str]:
    took = totals(run.steps(), recipe.training.rollouts)
    training = (
        f"In training: {took.calls:,} calls, {took.teacher_read:,} tokens read ({took.teacher_cached:,} of them read "
        f"before), {took.teacher_written:,} written, {dollars(took.usd)}."
    )
    return [plain(training), *(plain(ledger_line(_unplaced(spend))) for spend in spent(run.path / LEDGER))]


def _settings(recipe: Recipe) -> list[str]:
    """What is not a default, a line of TOML each."""
    defaults = dotted(Recipe().as_dict())
    return [
        f"{key} = {toml(_public(key, value) if isinstance(value, str) else value)}"
        for key, value in dotted(recipe.as_dict()).items()
        if key not in _PRIVATE and value != defaults[key]
    ]


def _public(key: str, value: str) -> str:
    """A setting as others may read it: of a file or folder its name alone, of a served one (`hosted_vllm//models/mine`)
    behind its provider's."""
    if key not in _PLACES:
        return value
    provider, _, rest = value.partition("/")
    if provider and rest.startswith(("/", "./", "../", "~")):
        return f"{provider}/{Path(rest).name}"
    return Path(value).name if _is_place(value) or (key == "task.path" and Path(value).suffix) else value


def _unplaced(spend: Spend) -> Spend:
    return replace(spend, model=_public("teacher.model", spend.model))


def _is_place(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name or os.path.exists(os.path.expanduser(name))


def _is_served(recipe: Recipe) -> bool:
    """Whether the teacher was asked over an API."""
    return not (runs_here(recipe.teacher.model) or _is_place(recipe.teacher.model))


def _terms(recipe: Recipe) -> str:
    own = "This card states no licence: that of the model it began as, and that of the data, still hold."
    if METHODS[recipe.method].reads == "nothing":
        return own
    if not _is_served(recipe):
        return f"The licence of the teacher's weights may say what its output may be used for. {own}"
    return (
        f"{_named(recipe, 'teacher')} was asked over an API: its provider's terms, and the licence of its weights if "
        "they are open, may restrict training on its output and the use of a model that was trained on it. Read them "
        f"before you use this model or pass it on. {own}"
    )
