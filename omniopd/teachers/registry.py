"""A teacher by its name alone, for `OmniOPDTrainer(teacher="…")`; recipes have theirs built by `pipeline/build.py`.

To add a provider: litellm has to reach it; what it takes is an entry in `models.toml`, and its prices, where litellm's
table lacks them, are the recipe's. To add a teacher of another kind: any object with `types.Teacher.continue_from` goes
where a teacher goes. It is cached once it has an `identity`, held to a budget once it has `most_usd`
(`hosted/calls.py`), and `checks.preflight.check_teacher` tries it out.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from omniopd.errors import ConfigError
from omniopd.teachers.model_traits import EMBEDDED, LOCAL, SERVERS, runs_here
from omniopd.teachers.spending.prices import price_of
from omniopd.types import Teacher

_COMMON = ("anthropic/", "azure/", "bedrock/", "deepseek/", "fireworks_ai/", "gemini/", "groq/", "mistral/", "openai/",
           "openrouter/", "together_ai/", "vertex_ai/", "xai/")  # fmt: skip
_SHIPPED = (f"{EMBEDDED}teacher", f"{EMBEDDED}student")
_PATH = re.compile(r"[./~]|[A-Za-z]:[\\/]|.*\\")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def teacher_named(name: str) -> Teacher:
    """`embedded:teacher`, a folder, a hub id (`local:` before it where litellm knows the name, too): a model that runs
    here. What litellm can reach ("anthropic/claude-haiku-4-5"): one behind an API. Raises ConfigError."""
    from omniopd.teachers.hosted.teacher import HostedTeacher
    from omniopd.teachers.local import LocalTeacher

    if not runs_here(name):
        _refuse_folders(name)
        if _is_reachable(name):
            return HostedTeacher(name)
    from omniopd.models.loading import load_model, load_tokenizer

    name = name.removeprefix(LOCAL)
    return LocalTeacher(load_model(name), load_tokenizer(name), name=name)


def require_reachable(name: str, api_base: str = "") -> None:
    """Raises ConfigError for a teacher that does not run here and that litellm cannot reach either: a mistyped folder,
    an id of the hub without `local:` before it. Sends nothing, and does not load litellm for a model with a price."""
    _refuse_folders(name)
    if _is_reachable(name, api_base):
        return
    hint = _near(name)
    if not hint and _HUB_ID.fullmatch(name):
        hint = f': did you mean "{LOCAL}{name}", a model of the hub?'
    raise ConfigError(
        f"teacher.model is {name!r}, no folder has that name, and litellm knows no provider of it{hint or ':'} give "
        f"{EMBEDDED}teacher, a folder, {LOCAL}<id on the hub>, or a model behind an API with its provider in front "
        '("anthropic/claude-haiku-4-5", "hosted_vllm/Qwen/Qwen3-32B")'
    )


def _is_reachable(name: str, api_base: str = "") -> bool:
    if name.startswith((*SERVERS, *_COMMON)) or price_of(name) is not None:
        return True  # without litellm, which takes seconds to load: a form asks while somebody types
    from omniopd.teachers.access.guard import provider_of

    return provider_of(name, api_base) is not None


def _refuse_folders(name: str) -> None:
    """Raises ConfigError for a name that can only mean a folder, where there is no such folder."""
    path = Path(name).expanduser()
    if not _PATH.match(name) and (price_of(name) is not None or not path.is_file()):
        return
    what = "is a file, and a teacher is a folder" if path.is_file() else "does not exist as a folder"
    if path.is_dir():
        what = "is written with ~, which only a shell understands"
    hint = _near(name) or ": give the folder of a saved model"
    raise ConfigError(f"teacher.model is {name!r}, which {what}{hint}")


def _near(name: str) -> str:
    """A folder, or a model that is shipped, with almost that name."""
    path = Path(name)
    try:
        beside = [str(path.parent / p.name) for p in path.parent.iterdir() if p.is_dir()]
    except OSError:
        beside = []
    near = difflib.get_close_matches(str(path), [*beside, *_SHIPPED], 1, 0.75)
    return f": did you mean {near[0]!r}?" if near else ""
