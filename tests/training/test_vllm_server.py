"""Answers sampled by a server of vLLM's: what TRL's own client says to it over HTTP, and how far it is from the student
that is trained. vLLM itself is not installed here; only what it broadcasts by NCCL is replaced."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from trl.generation import vllm_client, vllm_generation
from trl.trainer import distillation_trainer

from omniopd.config import load_recipe
from omniopd.config.settings import StudentConfig
from omniopd.errors import ConfigError
from omniopd.models.loading import load_model
from omniopd.pipeline.methods import build_trainer
from omniopd.training.checks.sampler import require_sampler, require_server
from omniopd.training.trl.sampler_gap import LARGEST, MEAN
from tests.small_runs import lab, settings
from tests.training.test_trainer import PartialResults
from tests.training.vllm_server import VLLMServer, serving

STEPS = 2


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[VLLMServer]:
    """A server beside TRL's client, which believes that vLLM is there; weights go by a queue and not by NCCL."""
    made = VLLMServer(load_model(str(lab() / "student"), "float32", "cpu").eval(), end_ids=[])
    made.end_ids = [made.model.generation_config.eos_token_id]

    def broadcast(iterator: Any, **how: Any) -> None:
        made.weights.put([(name, weights.detach().clone()) for name, weights in iterator])

    join = vllm_client.VLLMClient.init_communicator
    with serving(made):
        for module in (vllm_client, vllm_generation, distillation_trainer):
            monkeypatch.setattr(module, "is_vllm_available", lambda *version, **more: True)
        for name, value in {
            "get_ip": lambda: "127.0.0.1", "_HAS_STATEFUL_TRAINER_ENGINE": True,
            "open_trainer_endpoint": lambda info: SimpleNamespace(group=SimpleNamespace(store=None, socket=None)),
            "packed_nccl_broadcast_producer": broadcast,
        }.items():  # fmt: skip
            monkeypatch.setattr(vllm_client, name, value, raising=False)
        monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", lambda client, device: join(client, "cuda"))
        yield made


@pytest.fixture
def train(server: VLLMServer, tmp_path: Path) -> Callable[..., list[dict[str, float]]]:
    """A few steps on the server's answers; what each logged."""

    def steps() -> list[dict[str, float]]:
        small = settings(
            student__sampler="vllm_server", student__server=server.url, training__steps=STEPS,
            training__learning_rate=1e-2, training__max_equal_share=1.0,
        )  # fmt: skip
        torch.set_num_threads(1)
        kept = PartialResults()
        trainer = build_trainer(load_recipe("labels", **small), tmp_path, kept)
        trainer.args.save_strategy = "no"
        trainer.train()
        trainer.vllm_generation.vllm_client.close_communicator()
        return [step.metrics for step in kept.steps]

    return steps


def test_the_server_is_asked_for_draws_of_the_students_softmax_and_given_its_weights_at_every_step(
    server: VLLMServer, train: Callable[..., list[dict[str, float]]]
) -> None:
    metrics = train()
    paths = [path for path, _ in server.asked]
    a_step = ["/start_weight_update", "/update_weights", "/finish_weight_update", "/reset_prefix_cache"]
    assert paths == ["/init_weight_transfer_engine", *[*a_step, "/v1/completions"] * STEPS]
    for path, body in server.asked:
        if path == "/v1/completions":
            assert len(body.pop("prompt")) == 4  # the rollouts of a step, at once
            assert body == {
                "model": "student", "n": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
                "repetition_penalty": 1.0, "max_tokens": 8, "logprobs": 0, "return_token_ids": True,
                "return_tokens_as_token_ids": True,
            }  # fmt: skip
    # The student learns at a rate that moves it: a server that kept its first weights would be far from it.
    for step in metrics:
        assert 0 <= step[MEAN] <= step[LARGEST] < 1e-4


def test_what_a_server_says_that_it_drew_with_is_held_against_the_students_own_numbers(
    server: VLLMServer, train: Callable[..., list[dict[str, float]]]
) -> None:
    server.drift = 0.25
    assert [step[MEAN] for step in train()] == pytest.approx([0.25] * STEPS, abs=1e-3)


def test_a_server_that_keeps_its_first_weights_is_seen_to_be_far_from_the_student(
    server: VLLMServer, train: Callable[..., list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.model, "load_state_dict", lambda *weights, **how: None)
    first, *later = train()
    assert first[LARGEST] < 1e-4
    assert min(step[MEAN] for step in later) > 1e-2


def test_a_sampler_that_is_not_there_is_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    require_sampler(StudentConfig(), "cpu")
    with pytest.raises(ConfigError, match=r'student.sampler is "vllm", and vLLM is not installed'):
        require_sampler(StudentConfig(sampler="vllm"), "cuda")
    fake = ModuleType("vllm")
    fake.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    require_sampler(StudentConfig(sampler="vllm"), "cuda")
    served = StudentConfig(sampler="vllm_server", server="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="given weights by NCCL, between GPUs"):
        require_sampler(served, "cpu")
    with pytest.raises(ConfigError, match=r"student.server is 'http://127.0.0.1:9', and no server of vLLM's answers"):
        require_sampler(served, "cuda")
    with serving(VLLMServer(None, [])) as found:
        require_server(found.url)
        found.info = {"vllm_config": {"weight_transfer_config": None}}
        with pytest.raises(ConfigError, match="which takes no weights: start it again"):
            require_server(found.url)
        found.info = None
        with pytest.raises(ConfigError, match="which answers 404 to"):
            require_server(found.url)
        found.info = {"other": 1}
        with pytest.raises(ConfigError, match="no server of vLLM's answers there"):
            require_server(found.url)
