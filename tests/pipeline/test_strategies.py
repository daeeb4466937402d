"""Weights in pieces (the strategy fsdp2) on processes of a CPU: the run of one process, checkpoints, refusals."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from omniopd.cli.main import main
from omniopd.errors import ConfigError
from omniopd.models.pieces import whole
from omniopd.pipeline.processes import STRATEGIES
from omniopd.pipeline.run import run_training
from omniopd.runs.store import Run, open_run
from omniopd.training.trl.strategies import shard_on_a_cpu, strategy
from tests.builders import tiny_model
from tests.forked import Ended, Forked, command, results
from tests.pipeline.test_processes import METHODS, assert_same, first_gradient
from tests.pipeline.test_processes_end import texts, weights
from tests.small_runs import as_words, small_recipe

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

STEPS = 4
MEASURED: dict[str, Any] = {
    "training__steps": STEPS, "training__keep": STEPS, "training__probe_prompts": 1, "evaluation__temperatures": [1.0],
    "evaluation__every": 2, "evaluation__every_problems": 3, "evaluation__controls": ["self_teacher"],
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `pieces` of two processes, and the run `one` of a single one."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = small_recipe(**MEASURED)
    run_training(recipe, folder, "one", show=False)
    words = as_words(**{name: json.dumps(value) for name, value in MEASURED.items()})
    ended = in_pieces(folder, 2, "train", "labels", *words, "--runs", str(folder), "--name", "pieces", "--quiet")
    assert [each.code for each in ended] == [0, 0], ended[0].err + ended[1].err
    return folder


def test_records_evaluations_and_controls_are_those_of_one_process(runs: Path) -> None:
    one, pieces = open_run(runs / "one"), open_run(runs / "pieces")
    assert texts(pieces) == texts(one)
    for step in one.rollout_steps():
        assert_same(*([asdict(record) for record in run.rollouts(step)] for run in (one, pieces)))
    for what in (Run.steps, Run.evals):
        assert_same(*([asdict(record) for record in what(run)] for run in (one, pieces)))
    for student in ("student", "best"):
        assert {name: w.shape for name, w in tensors(runs / "pieces" / student).items()} == {
            name: w.shape for name, w in tensors(runs / "one" / student).items()
        }
    assert largest_difference(runs / "pieces", runs / "one") < 1e-5


def test_the_first_gradient_is_that_of_one_process(tmp_path: Path) -> None:
    alone = first_gradient(tmp_path / "one")
    for shared in results(tmp_path, 2, gradient_in_pieces, tmp_path / "pieces"):
        assert float((shared - alone).norm() / alone.norm()) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_in_pieces_what_it_learns_in_one_process(tmp_path: Path, method: str) -> None:
    more = {"method": method, "evaluation__temperatures": "[]", "training__steps": 2} | METHODS[method]
    words = ["train", "labels", *as_words(**more), "--runs", str(tmp_path), "--quiet", "--name"]
    assert main([*words, "one"]) == 0
    ended = in_pieces(tmp_path, 2, *words, "pieces")
    assert [each.code for each in ended] == [0, 0], ended[0].err + ended[1].err
    assert_same(*([asdict(step) for step in open_run(tmp_path / name).steps()] for name in ("one", "pieces")))
    assert largest_difference(tmp_path / "pieces", tmp_path / "one") < 1e-5


@pytest.mark.parametrize("count", [2, 4])
def test_a_run_goes_on_in_pieces_from_its_checkpoint(runs: Path, tmp_path: Path, count: int) -> None:
    path = stopped(runs / "pieces", tmp_path / "again", at=2)
    ended = in_pieces(tmp_path, count, "train", "--resume", str(path), "--quiet", "evaluation.controls=[]")
    assert [each.code for each in ended] == [0] * count, ended[0].err
    assert texts(open_run(path)) == texts(open_run(runs / "pieces"))
    if count == 2:
        assert weights(path) == weights(runs / "pieces")  # to the bit
    assert largest_difference(path, runs / "pieces") < 1e-5


def test_a_run_stopped_behind_its_last_step_saves_the_student_of_its_checkpoint(runs: Path, tmp_path: Path) -> None:
    path = stopped(runs / "pieces", tmp_path / "again", at=STEPS)
    shutil.rmtree(path / "student")
    ended = in_pieces(tmp_path, 2, "train", "--resume", str(path), "--quiet")
    assert [each.code for each in ended] == [0, 0], ended[0].err
    assert weights(path) == weights(runs / "pieces")


def test_another_strategy_does_not_touch_a_run(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stopped(runs / "pieces", tmp_path / "again", at=2)
    before = (path / "status.json").read_bytes()
    assert main(["train", "--resume", str(path)]) == 2
    said = "written by the strategy fsdp2, and this is ddp: resume the run with --processes N --strategy fsdp2"
    assert said in capsys.readouterr().err
    assert json.loads(before)["state"] == json.loads((path / "status.json").read_bytes())["state"]
    other = stopped(runs / "one", tmp_path / "one", at=2)
    ended = in_pieces(tmp_path, 2, "train", "--resume", str(other))
    assert [each.code for each in ended] == [2, 2]
    assert "written by the strategy ddp, and this is fsdp2: resume the run with any number of processes" in ended[0].err


def test_what_no_strategy_does_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, said in (
        (["--processes", "2", "--strategy", "zero3"], "the strategy zero3 needs deepspeed, which is not installed"),
        (["--strategy", "fsdp2"], "--strategy is 'fsdp2' and --processes missing"),
    ):
        assert main(["train", "labels", *as_words(), "--runs", str(tmp_path), *words]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1
    ended = in_pieces(tmp_path, 2, "train", "labels", *as_words(student__lora_rank=4), "--runs", str(tmp_path))
    assert [each.code for each in ended] == [2, 2]
    assert "student.lora_rank is 4 and the strategy fsdp2" in ended[0].err
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="FSDP of version 1: use the strategy fsdp2"):
        strategy()


def test_inside_whole_processes_wait_for_nobody_and_learn_what_they_learnt(tmp_path: Path) -> None:
    (alone, alone_too), (after, after_too) = (
        results(tmp_path / name, 2, learn, name == "looked") for name in ("trained", "looked")
    )
    assert torch.equal(alone, alone_too)
    assert torch.equal(after, after_too)
    assert torch.equal(alone, after)


def learn(looks: bool) -> torch.Tensor:
    """The gradient of a model in pieces, whole in between, where one process takes more forwards than the other."""
    from torch.distributed import init_process_group
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    init_process_group("gloo")
    torch.set_num_threads(1)
    model, ids = tiny_model(0), torch.arange(8)[None] + 8 * int(os.environ["RANK"])
    for layer in model.model.layers:
        fully_shard(layer, reshard_after_forward=True)
    fully_shard(model)
    if looks:
        with whole(model), torch.no_grad():
            for _ in range(1 + 3 * int(os.environ["RANK"])):
                model(input_ids=ids)
            assert not any(isinstance(p, DTensor) for p in model.parameters())
    assert all(isinstance(p, DTensor) for p in model.parameters())
    model(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.full_tensor().flatten() for p in model.parameters()])


def gradient_in_pieces(folder: Path) -> torch.Tensor:
    as_fsdp2()
    return first_gradient(folder)


def in_pieces(folder: Path, count: int, *words: str) -> list[Ended]:
    return Forked(folder / "said", count, command_in_pieces, *words).ended()


def command_in_pieces(*words: str) -> int:
    as_fsdp2()
    return sys.exit(command(*words))


def as_fsdp2() -> None:
    """What accelerate's launcher tells its processes, of this strategy."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    given = ["--config_file", str(STRATEGIES / "fsdp2.yaml"), "-m", "omniopd"]
    options, *_ = _validate_launch_command(launch_command_parser().parse_args(given))
    told = prepare_multi_gpu_env(options)
    os.environ.update({name: told[name] for name in told if name.startswith("FSDP_") or name == "ACCELERATE_USE_FSDP"})
    shard_on_a_cpu()


def stopped(path: Path, copy: Path, at: int) -> Path:
    """A copy of a run as one that was stopped after a step is."""
    shutil.copytree(path, copy)
    for step in range(at + 1, STEPS + 1):
        shutil.rmtree(copy / "checkpoints" / f"step-{step:06d}")
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    return copy


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def largest_difference(one: Path, other: Path) -> float:
    theirs = tensors(other / "student")
    return max(float((w - theirs[name]).abs().max()) for name, w in tensors(one / "student").items())
