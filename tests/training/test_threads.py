"""A run computes with no more threads than it has cores, and says where they wait for each other."""

import logging

import pytest
import torch

from omniopd.training.checks import threads
from omniopd.training.checks.threads import Pace, physical_cores, use_threads


@pytest.fixture(autouse=True)
def _as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("logical", "physical", "allowed", "cores"), [(8, 4, 8, 4), (8, 4, 2, 2), (8, None, 3, 3), (1, 1, 1, 1)]
)
def test_cores_are_physical_and_those_that_the_process_may_use(monkeypatch, logical, physical, allowed, cores):
    monkeypatch.setattr(threads.psutil, "cpu_count", lambda logical=True: 8 if logical else physical)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    assert physical_cores() == cores
    torch.set_num_threads(logical)
    assert use_threads() == torch.get_num_threads() == min(logical, cores)


def test_a_number_that_is_named_is_taken():
    assert use_threads(3) == torch.get_num_threads() == 3


@pytest.mark.parametrize(("several", "warns"), [(0.5, True), (0.015, False)])
def test_threads_that_wait_for_each_other_are_told(monkeypatch, caplog, several, warns):
    monkeypatch.setattr(threads, "_seconds", lambda count: 0.01 if count == 1 else several)
    with caplog.at_level(logging.WARNING):
        assert use_threads(2) == 2
    assert ("50 times slower than one here" in caplog.text) == warns
    assert torch.get_num_threads() == 2


def test_a_step_that_takes_many_times_the_usual_is_told_with_its_phase(caplog):
    pace = Pace()
    with caplog.at_level(logging.WARNING):
        for step in range(1, 6):
            pace.look(step, {"sampling": 1.0 + 0.1 * step, "teacher": 2.0})
        pace.look(6, {"sampling": 1.0, "teacher": 9.0})
        assert caplog.text == ""
        pace.look(7, {"sampling": 60.0, "teacher": 2.0})
        [said] = [record.getMessage() for record in caplog.records]
        assert said.startswith("step 7 took 62 s, and the steps before it 3.3 s, most of the difference in 'sampling'")
        for step in (8, 9):
            pace.look(step, {"sampling": 60.0, "teacher": 2.0})
    assert len(caplog.records) == 1, "what goes on is the usual"


def test_short_steps_are_no_matter(caplog):
    pace = Pace()
    with caplog.at_level(logging.WARNING):
        for step in range(9):
            pace.look(step, {"sampling": 0.1 if step < 8 else 1.9})
    assert caplog.text == ""
