"""Seconds that an executor adds to a run: 200 of them that do nothing, on this machine and in a real Ray cluster.

    python benchmarks/cluster.py [--runs 200] [--jobs 8]

Through the executors that `omniopd sweep` uses. "nothing" is a process that ends at once; "a job" is the command of a
run that has finished, `omniopd job`, which reads that in its folder. The cluster is two nodes of one CPU here
(`tests/sweeps/ray_cluster.py`). Its start is not counted; a node's first worker, which imports Ray, is started by what
looks at the nodes before anything else, and that time stands in brackets.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omniopd.config import load_recipe
from omniopd.runs import create_run
from omniopd.sweeps import job
from omniopd.sweeps.engine import driving
from omniopd.sweeps.executors.local import LocalExecutor
from omniopd.sweeps.executors.ray import RayExecutor
from omniopd.sweeps.plan import Executor
from tests.sweeps.ray_cluster import ENVIRONMENT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="of nothing")
    parser.add_argument("--jobs", type=int, default=8, help="of `omniopd job`")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder, cluster() as address:
        paths = list(finished_runs(Path(folder), max(options.runs, options.jobs)))
        print("executor  work     runs  seconds  a run", flush=True)
        for work, count, ends in (("nothing", options.runs, nothing), ("a job", options.jobs, None)):
            report("ray", work, paths[:count], in_ray(address, ends), Path(folder))
        report("local", "a job", paths[: options.jobs], LocalExecutor(["cpu", "cpu"]), Path(folder))


def report(name: str, work: str, paths: list[Path], executor: Executor, folder: Path) -> None:
    began = time.perf_counter()
    with driving(folder):
        executor.check(folder)
        ready = time.perf_counter()
        executor.submit(paths)
        left = set(paths)
        while left:
            for one in executor.ended():
                assert one.code == 0, one
                left.remove(one.path)
            time.sleep(0.01)
    seconds = time.perf_counter() - ready
    print(f"{name:8}  {work:7}  {len(paths):4}  {seconds:7.2f}  {seconds / len(paths):.3f}"
          f"   (before anything is started: {ready - began:.2f})", flush=True)  # fmt: skip


def in_ray(address: str, work) -> RayExecutor:
    return RayExecutor(address, {"num_cpus": 1}, "cpu", work)


def nothing(path: str, device: str | None, cwd: str) -> int:
    return subprocess.call(["true"])


def finished_runs(folder: Path, count: int) -> Iterator[Path]:
    recipe = load_recipe("embedded")
    for number in range(count):
        run = create_run(folder, recipe, f"seed={number}")
        run.set_status(state="finished")
        job.recipe_of(run.path).touch()
        yield run.path


@contextmanager
def cluster() -> Iterable[str]:
    words = [sys.executable, "-m", "tests.sweeps.ray_cluster"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


if __name__ == "__main__":
    main()
