"""lm-evaluation-harness for what this package has no task of: a saved student on any of its tasks.

    harness_scores("runs/…/student", ["arc_easy"], limit=100)       {"arc_easy": {"acc": 0.31, "acc_stderr": 0.046, …}}

An optional extra (`pip install 'omniopd[eval]'`). Its scores come without our intervals and are not paired. Tasks that
run generated programs are refused: `tasks/code.py` runs them in a sandbox, the harness does not.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError

Scores = dict[str, dict[str, float]]


def harness_scores(
    student: str | Path,
    tasks: Sequence[str],
    limit: int | None = None,
    batch: int = 8,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    include: str | Path | None = None,
    chat: bool = True,
) -> Scores:
    """Every number that the harness gives for each of `tasks`, by task and by metric (its filter in brackets).

    `student` is a model folder; `limit` takes the first problems only; `include` is a folder with tasks of one's own;
    `chat` writes prompts with the student's chat template, where it has one. Raises ConfigError where the extra is not
    installed, the folder is none, or a task is unknown.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "lm-evaluation-harness is not installed, which these scores come from: pip install 'omniopd[eval]', or use "
            "omniopd.evaluation.evaluate with a task of this package"
        )
    folder = Path(student)
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise ConfigError(f"{folder} holds no model: give the folder of a saved student, such as runs/NAME/student")
    if not tasks:
        raise ConfigError("tasks is empty: name at least one task of the harness (lm_eval ls tasks)")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=None if include is None else str(include))
    unknown = [name for name in tasks if not manager.match_tasks([name])]
    if unknown:
        raise ConfigError(f"the harness has no task {unknown[0]!r}: `lm_eval ls tasks` lists those it has")
    found: Mapping[str, Any] = simple_evaluate(
        model="hf",
        model_args=_arguments(folder, dtype),
        tasks=list(tasks),
        limit=limit,
        batch_size=batch,
        device=device,
        task_manager=manager,
        apply_chat_template=chat and _has_chat_template(folder),
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
        log_samples=False,
        confirm_run_unsafe_code=False,
    )
    return {task: _numbers(values) for task, values in found["results"].items()}


def _arguments(folder: Path, dtype: str) -> dict[str, str]:
    if not (folder / "adapter_config.json").is_file():
        return {"pretrained": str(folder), "dtype": dtype}
    from peft import PeftConfig

    base = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    return {"pretrained": str(base), "peft": str(folder), "tokenizer": str(folder), "dtype": dtype}


def _has_chat_template(folder: Path) -> bool:
    from omniopd.models.loading import load_tokenizer

    return load_tokenizer(str(folder)).chat_template is not None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """ "acc,none" becomes "acc"; another filter stays: "exact_match (strict)"."""
    numbers = {}
    for name, value in values.items():
        metric, _, kind = name.partition(",")
        if kind and isinstance(value, int | float):
            numbers[metric if kind == "none" else f"{metric} ({kind})"] = float(value)
    return numbers
