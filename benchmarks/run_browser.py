"""A thousand runs: how long until the browser shows them, and until it knows what came out of each.

    python benchmarks/run_browser.py

Copies of a recorded run (its files linked). "View" is the time to a view with every run's row in it, "every result" the
time to read what came out of each; with nothing remembered, then as a new kernel finds it. Exit status 1 where the view
takes more than 2 s by the clock.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "widgets")]

from omniopd.embedded import recorded  # noqa: E402

OPEN_S = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    count = parser.parse_args().runs
    failed = False
    with tempfile.TemporaryDirectory() as where, tempfile.TemporaryDirectory() as remembered:
        os.environ["XDG_CACHE_HOME"] = remembered
        copies(Path(where), count)
        from omniopd_widgets import RunBrowser
        from omniopd_widgets._parts.run_list import RunList

        print(f"{count:,} runs\n\n| | view s | of it at work s | every result s | of it at work s |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for what in ("nothing remembered", "remembered"):
            view, opened = timed(lambda: RunBrowser(where))
            view.close()
            _, known = timed(lambda: RunList(where).look())
            print(f"| {what} | {opened[0]:.2f} | {opened[1]:.2f} | {known[0]:.2f} | {known[1]:.2f} |", flush=True)
            failed |= opened[0] > OPEN_S
    return int(failed)


def timed(act: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What it makes, and its seconds: by the clock, at work."""
    began, worked = time.perf_counter(), time.process_time()
    made = act()
    return made, (time.perf_counter() - began, time.process_time() - worked)


def copies(folder: Path, count: int) -> None:
    """So many runs in one folder, in ten arms."""
    one = recorded("labels").path
    for number in range(count):
        place = folder / f"arm{number % 10}" / f"seed={number // 10}"
        (place / "rollouts").mkdir(parents=True)
        for file in one.iterdir():
            if file.is_file():
                (os.link if file.stat().st_dev == folder.stat().st_dev else _copy)(file, place / file.name)


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
