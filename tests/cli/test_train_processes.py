"""`omniopd train --processes`, torchrun and accelerate launch start the same run, and each goes on with another's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from omniopd.cli.main import main
from omniopd.launch.launched import kill_tree
from omniopd.pipeline.processes import STRATEGIES
from omniopd.runs.status import start_of
from omniopd.runs.store import open_run
from tests.forked import PATIENCE_S, Forked, command
from tests.pipeline.test_processes_end import at_step, six_steps, texts, weights

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `python -m WORDS`; what still runs at the end of the test is killed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-m", *words], env=environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            kill_tree(process.pid, start_of(process.pid))
            process.communicate()


def test_a_run_goes_on_under_every_launcher_as_if_it_had_never_been_stopped(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    path = tmp_path / "one"
    train = ["omniopd", "train", "embedded", *six_steps(), "--runs", str(tmp_path), "--name", "one", "--quiet"]
    resume = ["omniopd", "train", "--resume", str(path), "--quiet"]

    launched = start(*train, "--processes", "2")
    at_step(path, 2)
    os.kill(process_of(launched.pid, 1), signal.SIGKILL)
    since = time.monotonic()
    _, said = launched.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - since < 30
    assert launched.returncode == 128 + signal.SIGKILL
    assert "omniopd: process 1 of 2 was ended by SIGKILL" in said
    assert "Traceback" not in said
    assert open_run(path).state == "failed"

    launched = start("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", *resume)
    at_step(path, 4)
    os.kill(open_run(path).status.pid, signal.SIGINT)
    launched.communicate(timeout=PATIENCE_S)
    assert open_run(path).state == "interrupted"
    assert 4 <= open_run(path).status.step < 6

    file = str(STRATEGIES / "ddp.yaml")
    launched = start("accelerate.commands.launch", "--config_file", file, "--num_processes", "2", "-m", *resume)
    out, said = launched.communicate(timeout=PATIENCE_S)
    assert launched.returncode == 0, said
    assert out.count("loads with") == 1

    Forked(tmp_path / "said", 2, command, *train[1:-3], "--name", "whole", "--quiet").ended()
    assert weights(path) == weights(tmp_path / "whole")  # to the bit
    assert texts(open_run(path)) == texts(open_run(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--processes", "3"], "training.rollouts is 4, which 3 processes cannot share in micro-batches of 2"),
        (["--processes", "0"], "--processes is 0"),
        (["--processes", "2", "--strategy", "fsdp9"], "--strategy is 'fsdp9': it must be one of ddp, fsdp2, zero3"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_a_process_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["train", "embedded", *six_steps(), "--runs", str(tmp_path), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_processes_in_processes_and_older_pieces_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "embedded", "--runs", str(tmp_path), "--processes", "2"]) == 2
    assert "leave it out where torchrun or accelerate launch starts them" in capsys.readouterr().err
    assert main(["runs", str(tmp_path)]) == 2
    assert "`omniopd runs` is for one process, and was started in 2" in capsys.readouterr().err
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert main(["train", "embedded", "--runs", str(tmp_path)]) == 2
    assert "use the strategy fsdp2" in capsys.readouterr().err


def process_of(launcher: int, rank: int) -> int:
    [found] = [
        child.pid
        for child in psutil.Process(launcher).children(recursive=True)
        if child.environ().get("RANK") == str(rank)
    ]
    return found
