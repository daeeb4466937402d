"""A name alone says whether a teacher runs here or behind an API."""

from __future__ import annotations

import pytest

from omniopd.errors import ConfigError
from omniopd.teachers.hosted import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.named import teacher_named
from tests.builders import request
from tests.small_runs import lab


def test_a_folder_and_a_shipped_model_run_here() -> None:
    folder = teacher_named(str(lab() / "teacher"))
    assert isinstance(folder, LocalTeacher)
    assert len(folder.continue_from([request("a", 2)])[0].texts) == 2
    assert isinstance(teacher_named("embedded:teacher"), LocalTeacher)


@pytest.mark.parametrize("name", ["anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash", "openai/gpt-4.1"])
def test_what_litellm_reaches_is_behind_an_api(name: str) -> None:
    teacher = teacher_named(name)
    assert isinstance(teacher, HostedTeacher)
    assert teacher.price is not None


def test_a_server_needs_its_address_and_an_unknown_name_is_looked_for_on_the_hub() -> None:
    with pytest.raises(ConfigError, match="gets raw prompts, which need its chat template"):
        teacher_named("hosted_vllm/Qwen/Qwen3-32B")
    with pytest.raises(ConfigError, match="somebody/some-model"):
        teacher_named("somebody/some-model")
