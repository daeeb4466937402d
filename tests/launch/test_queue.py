"""Runs stand in line before a device, and whoever dies leaves the line."""

import os
import signal
import subprocess
import sys

import pytest

from omniopd.errors import ConfigError
from omniopd.launch import queue
from omniopd.launch.devices import card_of, device_environment, device_named, devices_here
from tests.launch.small_notebooks import until

WAITER = """
import sys
from pathlib import Path
from omniopd.launch.queue import turn
with turn("cuda:0", lambda place: print(place, flush=True), Path(sys.argv[1])):
    print("go", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def line(tmp_path):
    started = []

    def join():
        process = subprocess.Popen(
            [sys.executable, "-c", WAITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        started.append(process)
        return process

    yield join
    for process in started:
        process.kill()
        process.communicate()


def test_one_at_a_time_in_the_order_of_coming_and_a_killed_waiter_leaves(line, tmp_path):
    first = line()
    assert first.stdout.readline() == "go\n"
    second = line()
    assert second.stdout.readline() == "2\n"
    third = line()
    assert third.stdout.readline() == "3\n"
    assert queue.length("cuda:0", tmp_path) == 3
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert next(words for words in third.stdout if words != "3\n") == "2\n"
    first.send_signal(signal.SIGKILL)
    assert next(words for words in third.stdout if words != "2\n") == "go\n"
    third.stdin.write("\n")
    third.stdin.flush()
    until(lambda: queue.length("cuda:0", tmp_path) == 0)


def test_whoever_needs_no_device_waits_for_nobody(tmp_path):
    with queue.turn("none", pytest.fail, tmp_path), queue.turn("none", pytest.fail, tmp_path):
        assert queue.length("none", tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_other_devices_have_lines_of_their_own(line, tmp_path):
    assert line().stdout.readline() == "go\n"
    with queue.turn("cuda:1", lambda place: pytest.fail("nobody is before it"), tmp_path):
        assert queue.length("cuda:1", tmp_path) == 1


def test_what_waiting_raises_leaves_the_line(line, tmp_path):
    assert line().stdout.readline() == "go\n"

    def leave(place):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), queue.turn("cuda:0", leave, tmp_path):
        pytest.fail("it was not its turn")
    assert queue.length("cuda:0", tmp_path) == 1


def test_places_are_said_as_people_say_them():
    assert [queue.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th",
    ]  # fmt: skip


def test_devices_have_names():
    assert device_named("auto", {"CUDA_VISIBLE_DEVICES": "3,4"}) == "cuda:0"
    assert device_named("auto", {"CUDA_VISIBLE_DEVICES": ""}) == "cpu"
    assert device_named("cuda:1") == "cuda:1"
    assert device_environment("cuda:1") == {"CUDA_VISIBLE_DEVICES": "1"}
    assert device_environment("cpu") == {"CUDA_VISIBLE_DEVICES": ""}
    assert device_environment("none") == {}
    with pytest.raises(ConfigError, match="'gpu' names no device: write cpu, cuda:0"):
        device_named("gpu")


@pytest.mark.parametrize(
    ("allotted", "cards"),
    [
        ("2,3", ["2", "3"]),
        ("3", ["3"]),
        (" 5 , 1 ", ["5", "1"]),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-a1", ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-a1"]),
        ("MIG-GPU-8932f937/7/0,MIG-1f", ["MIG-GPU-8932f937/7/0", "MIG-1f"]),
        ("0,-1,1", ["0"]),  # CUDA stops there
        ("1,1", []),
        ("-1", []),
        ("", []),
        ("none", []),
    ],
)
def test_a_number_counts_what_is_allotted_and_never_leaves_it(allotted, cards):
    environment = {"CUDA_VISIBLE_DEVICES": allotted}
    names = [f"cuda:{number}" for number in range(len(cards))]
    assert devices_here(environment) == (names or ["cpu"])
    for name, card in zip(names, cards, strict=True):
        assert device_named(name, environment) == name
        inside = device_environment(name, environment)
        assert inside == {"CUDA_VISIBLE_DEVICES": card}
        # The process of a run sees its card alone, by whose name it queues; all that are allotted it in one line.
        assert card_of(name, environment) == card_of("cuda:0", inside) == f"cuda:{card}"
    with pytest.raises(ConfigError, match=f"cuda:{len(cards)} is not here: CUDA_VISIBLE_DEVICES is {allotted!r}"):
        device_named(f"cuda:{len(cards)}", environment)
