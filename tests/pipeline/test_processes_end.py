"""How a run of several processes ends: paid for once, failed with the words of the one that failed, killed, resumed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from omniopd.errors import ConfigError
from omniopd.runs.store import Run, open_run
from omniopd.teachers.spending.ledger import FILE, Ledger
from tests.forked import PATIENCE_S, Ended, Forked, command
from tests.small_runs import as_words
from tests.teachers.faulty_server import in_a_process, told

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

STEPS, SOON_S = 6, 30.0


def test_one_process_asks_and_the_budget_is_not_overspent_by_their_number(tmp_path: Path) -> None:
    with in_a_process(words=2) as url:
        words = as_words(
            teacher__model="hosted_vllm/m", teacher__api_base=url, teacher__handover="instruction",
            teacher__usd_per_million_output=1e6, training__steps=2,  # a dollar a token: it writes two
            evaluation__temperatures="[]",
        )  # fmt: skip
        served = [written(url)]
        for count in (1, 2):
            ended = in_processes(tmp_path, count, *words, name=f"whole-{count}")
            assert [each.code for each in ended] == [0] * count, ended[0].err
            served.append(written(url))
        alone, together = served[1] - served[0], served[2] - served[1]
        assert alone == together > 0
        assert steps(tmp_path / "whole-1") == steps(tmp_path / "whole-2")
        budget = alone / 2
        main, other = in_processes(tmp_path, 2, *words, f"teacher.budget_usd={budget}", name="poor")
        assert 0 < written(url) - served[2] <= budget
    assert sum(spend.usd for spend in Ledger(tmp_path / "poor" / FILE).by_model()) <= budget
    assert (main.code, other.code) == (2, 2)
    assert "is used up" in main.err
    assert not other.err  # the main process has said it
    assert open_run(tmp_path / "poor").state == "failed"


def test_answers_in_waves_and_a_step_ahead_are_those_of_one_process(tmp_path: Path) -> None:
    with in_a_process(words=2) as url:
        words = as_words(
            teacher__model="hosted_vllm/m", teacher__api_base=url, teacher__handover="instruction",
            teacher__usd_per_million_output=1e6, training__rollouts=8, training__steps=4, training__record_every=1,
            training__waves=2, training__staleness=1, task__prompts=40, evaluation__temperatures="[]",
        )  # fmt: skip
        for count in (1, 2):
            ended = in_processes(tmp_path, count, *words, name=str(count))
            assert [each.code for each in ended] == [0] * count, ended[0].err
    one, two = open_run(tmp_path / "1"), open_run(tmp_path / "2")
    assert texts(one) == texts(two)
    assert steps(one.path) == steps(two.path)
    assert [step.metrics["answers/staleness"] for step in two.steps()] == [0, 0, 1, 1]


def test_a_process_that_fails_ends_all_with_its_own_words(tmp_path: Path) -> None:
    fell = tmp_path / "fell"
    ended = Forked(tmp_path / "said", 2, fail_in_the_second, fell, *command_words(tmp_path, "failed")).ended()
    assert time.time() - fell.stat().st_mtime < SOON_S
    words = "process 1 of 2 failed: no room left here"
    run = open_run(tmp_path / "failed")
    assert (run.state, run.status.message) == ("failed", words)
    assert [each.result for each in ended] == [2, 2]
    assert f"omniopd: {words}" in ended[0].err
    assert "omniopd (process 1 of 2): no room left here" in ended[1].err


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_all_and_the_run_goes_on_in_any_number(tmp_path: Path, killed: int) -> None:
    forked = Forked(tmp_path / "said", 2, command, *command_words(tmp_path, "killed"))
    run = at_step(tmp_path / "killed", 2)
    os.kill(forked.processes[killed].pid, signal.SIGKILL)
    since = time.monotonic()
    ended = forked.ended(SOON_S)
    assert time.monotonic() - since < SOON_S
    assert ended[killed].code == -signal.SIGKILL
    assert ended[1 - killed].code != 0
    if killed == 0:
        assert run.state == "lost"
        return
    assert run.state == "failed"
    assert run.status.message.startswith("process 1 of 2 ended without a word")
    assert "go on with: omniopd train --resume" in ended[0].err
    shutil.copytree(run.path, tmp_path / "alone")
    for name, count in (("killed", 2), ("alone", 1)):
        again = "train", "--resume", str(tmp_path / name), "--quiet"
        resumed = Forked(tmp_path / f"said-{name}", count, command, *again)
        assert [each.code for each in resumed.ended()] == [0] * count
    in_processes(tmp_path, 2, *six_steps(), name="whole")
    whole = tmp_path / "whole"
    assert weights(run.path) == weights(whole)  # to the bit
    assert texts(run) == texts(open_run(whole)) == texts(open_run(tmp_path / "alone"))


def fail_in_the_second(fell: Path, *words: str) -> int:
    from omniopd.training.trainer import OmniOPDTrainer

    computed = OmniOPDTrainer._compute_loss

    def fail(trainer: OmniOPDTrainer, *arguments: object) -> object:
        if os.environ["RANK"] == "1" and trainer.state.global_step == 1:
            fell.touch()
            raise ConfigError("no room left here")
        return computed(trainer, *arguments)

    OmniOPDTrainer._compute_loss = fail
    return command(*words)


def in_processes(folder: Path, count: int, *words: str, name: str) -> list[Ended]:
    said = folder / "said" / name
    return Forked(said, count, command, *command_words(folder, name, *words)).ended()


def command_words(folder: Path, name: str, *words: str) -> list[str]:
    return ["train", "labels", *(words or six_steps()), "--runs", str(folder), "--name", name, "--quiet", "--yes"]


def six_steps() -> list[str]:
    return as_words(training__steps=STEPS, training__record_every=1, evaluation__temperatures="[]")


def at_step(path: Path, step: int) -> Run:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if (path / "manifest.json").is_file() and len((run := open_run(path)).steps()) >= step:
            return run
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come to step {step}")


def written(url: str) -> float:
    """Tokens that the server has written, a dollar each."""
    return sum(seen["samples"] * 2.0 for seen in told(url)["seen"])


def steps(path: Path) -> list[tuple[int, int, float]]:
    return [(step.step, step.output_tokens, step.cost_usd) for step in open_run(path).steps()]


def texts(run: Run) -> list[tuple[int, int, str, str, tuple[str, ...]]]:
    """What was asked, said and answered in each row of each step."""
    return [
        (step, record.row, record.prompt_id, "".join(record.pieces), tuple(t for a in record.audits for t in a.texts))
        for step in run.rollout_steps()
        for record in run.rollouts(step)
    ]


def weights(path: Path) -> bytes:
    return (path / "student" / "model.safetensors").read_bytes()
