"""The Tab key: what a shell is told when it asks through argcomplete's protocol, by the command itself."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("argcomplete")


def completed(line, tmp_path):
    """What the shell would offer behind `line`."""
    answer = tmp_path / "answer"
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n",
    }  # fmt: skip
    command = [sys.executable, "-m", "omniopd.cli.main"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return [word.strip() for word in answer.read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("omniopd fo", {"forks"}),
        ("omniopd re", {"recipes", "report"}),
        ("omniopd forks --s", {"--sort"}),
        ("omniopd train --res", {"--resume"}),
    ],
)
def test_commands_and_options_are_completed(tmp_path, line, offered):
    assert set(completed(line, tmp_path)) == offered
