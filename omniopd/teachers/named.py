"""A teacher by its name alone, for `OmniOPDTrainer(teacher="…")`. What a recipe can say beside is `build.py`'s."""

from __future__ import annotations

from omniopd.teachers.catalogue import LOCAL, runs_here
from omniopd.types import Teacher


def teacher_named(name: str) -> Teacher:
    """`embedded:teacher`, a folder, a hub id (`local:` before it where litellm knows the name, too): a model that runs
    here. What litellm can reach ("anthropic/claude-haiku-4-5"): one behind an API. Raises ConfigError."""
    from omniopd.teachers.hosted import HostedTeacher
    from omniopd.teachers.local import LocalTeacher
    from omniopd.teachers.transport import knows_provider

    if not runs_here(name) and knows_provider(name):
        return HostedTeacher(name)
    from omniopd.models.loading import load_model, load_tokenizer

    name = name.removeprefix(LOCAL)
    return LocalTeacher(load_model(name), load_tokenizer(name), name=name)
