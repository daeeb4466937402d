"""How to add a method: its file and its entry. It trains, is listed, priced and reported; nothing else is touched."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from omniopd.config import METHODS, Method, allowed, load_recipe
from omniopd.costs.recipe import estimate_of
from omniopd.errors import ConfigError
from omniopd.pipeline.methods import build_trainer
from omniopd.pipeline.run import run_training
from omniopd.reports.comparison.cost import cost_of
from omniopd.reports.comparison.tables import learns_from
from tests.small_runs import small_recipe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

FILE = '''
"""Twice as sure: every weight of an audit counts double."""
from omniopd.training.trainer import OmniOPDTrainer

class DoubleTrainer(OmniOPDTrainer):
    def _set_targets(self, output, inputs, step):
        super()._set_targets(output, inputs, step)
        output["weights"] = 2 * output["weights"]
        output["label_weights"] = 2 * output["label_weights"]

def build(parts):
    return DoubleTrainer(teacher=parts.teacher, **parts.on_policy)
'''
ENTRY = Method("double", "a_new_method:build", "texts", "forks", ("constant", "self_teacher"), "text: twice as sure")


@pytest.fixture
def double(tmp_path, monkeypatch):
    (tmp_path / "a_new_method.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, ENTRY.name, ENTRY)
    yield small_recipe(method="double", training__steps=2)
    sys.modules.pop("a_new_method", None)


def test_a_new_method_trains_and_is_recorded(double, tmp_path) -> None:
    run = run_training(double, tmp_path / "runs", show=False)
    assert (run.state, len(run.steps())) == ("finished", 2)
    assert run.steps()[0].output_tokens > 0
    plain = run_training(small_recipe(training__steps=2), tmp_path / "runs", show=False)
    ours, usual = (one.steps()[0] for one in (run, plain))
    assert ours.chunk_loss == pytest.approx(2 * usual.chunk_loss, rel=1e-5)
    assert ours.anchor_loss == usual.anchor_loss


def test_a_new_method_is_listed_with_its_controls(double) -> None:
    assert "double" in allowed("method")
    with pytest.raises(ConfigError, match="did you mean 'double'"):
        small_recipe(method="doubel")
    small_recipe(method="double", evaluation__controls=["constant"])
    with pytest.raises(ConfigError, match=r'"shuffled", which changes nothing in .* \(it has constant, self_'):
        small_recipe(method="double", objective__control="shuffled")


def test_a_new_method_is_priced_and_reported(double) -> None:
    hosted = {"teacher.model": "anthropic/claude-haiku-4-5"}
    ours, usual = (estimate_of(load_recipe("labels", **hosted, method=name)) for name in ("double", "omniopd"))
    assert ours is not None
    assert ours.calls > 0
    assert ours == usual
    assert cost_of(double) == cost_of(small_recipe()) > 0
    assert learns_from(double) == "text: twice as sure"


def test_what_an_entry_lacks_is_an_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'label'"):
        Method("double", "a:b", "texts", "forks", ())  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="reads texts and costs nothing: one that reads texts costs texts at forks"):
        Method("double", "a:b", "texts", "nothing", (), "for nothing")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_its_builder(name, tmp_path) -> None:
    recipe = small_recipe(method=name, training__group=2)
    trainer = build_trainer(recipe, tmp_path)
    assert isinstance(trainer.model, torch.nn.Module)
    assert METHODS[name].name == name
    assert learns_from(recipe)


def test_names_are_known_without_torch() -> None:
    code = "import sys; from omniopd.config import METHODS; assert METHODS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
