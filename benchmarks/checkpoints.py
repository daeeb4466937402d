"""Claim: no kill leaves an unusable newest checkpoint, and no damage to one goes unnoticed.

    python benchmarks/checkpoints.py [--kills 200] [--damages 100]

A writer saves checkpoint after checkpoint and is killed (SIGKILL) at a random moment, then started again, in the same
folder. After each kill the newest whole checkpoint is read back and compared byte by byte with what its step must hold;
it must be no older than the last one that the writer had finished. Beside it, in the same run, the usual way: files
written in place, the highest number taken as the newest. A kill of the process is tried here, not a power cut.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from omniopd.training.trl.checkpoints import checkpoint_path, newest_valid, problem, rotate, staged, step_of

FILES = {"model.safetensors": 1_000_000, "optimizer.pt": 2_000_000, "trainer_state.json": 2_000}
BLOCK = 50_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = [
            ("kills while writing: newest unusable", killed("whole", arguments.kills, Path(folder) / "whole", rng)),
            ("the same, written in place", killed("in_place", arguments.kills, Path(folder) / "in_place", rng)),
        ]
        path = newest_valid(Path(folder) / "whole")
        assert path is not None
        rows += [
            ("flipped bytes noticed", (damaged(path, flip, arguments.damages, rng), arguments.damages)),
            ("cut files noticed", (damaged(path, cut, arguments.damages, rng), arguments.damages)),
        ]
        print(f"{'':40}   count  of")
        for name, (count, total) in rows:
            print(f"{name:40} {count:7d}  {total}")
        print(f"{time.perf_counter() - start:.0f} s")
    good = rows[0][1][0] == 0 and all(count == total for _, (count, total) in rows[2:])
    print("holds" if good else "DOES NOT HOLD")
    return 0 if good else 1


def killed(how: str, kills: int, folder: Path, rng: random.Random) -> tuple[int, int]:
    """How many kills of a writer left a newest checkpoint that cannot be used, of how many."""
    folder.mkdir()
    unusable, duration = 0, 0.05
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, __file__, "--write", how, str(folder)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdout is not None
        # The first one is whole, so that there is something to lose; then a moment within the next ones.
        said = process.stdout.readline()
        begun = time.perf_counter()
        said += process.stdout.readline()
        duration = 0.8 * duration + 0.2 * (time.perf_counter() - begun)
        time.sleep(rng.random() * 2 * duration)
        process.kill()
        said += process.communicate()[0]
        finished = max(int(step) for step in said.split())
        newest = newest_valid(folder) if how == "whole" else _highest(folder)
        usable = newest is not None and _is_as_written(newest) and step_of(newest) >= finished
        unusable += not usable
    return unusable, kills


def damaged(path: Path, damage, times: int, rng: random.Random) -> int:
    """How many single damages to a file of the checkpoint were noticed."""
    noticed = 0
    for _ in range(times):
        file = path / rng.choice([*FILES, "checkpoint.json"])
        before = file.read_bytes()
        damage(file, before, rng)
        noticed += problem(path) is not None
        file.write_bytes(before)
    assert problem(path) is None
    return noticed


def flip(file: Path, before: bytes, rng: random.Random) -> None:
    place = rng.randrange(len(before))
    file.write_bytes(before[:place] + bytes([before[place] ^ rng.randrange(1, 256)]) + before[place + 1 :])


def cut(file: Path, before: bytes, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(len(before)))


def write(how: str, folder: Path) -> None:
    """Save checkpoints until killed, from the step after the newest one on; say each step when it is saved."""
    newest = newest_valid(folder) if how == "whole" else _highest(folder)
    step = step_of(newest) if newest else 0
    while True:
        step += 1
        final = checkpoint_path(folder, step)
        if how == "whole":
            with staged(final) as staging:
                _write_files(staging, step)
            print(step, flush=True)
            rotate(folder)
        else:
            final.mkdir(exist_ok=True)
            _write_files(final, step)
            print(step, flush=True)
            for old in sorted(folder.iterdir())[:-2]:
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()


def _write_files(folder: Path, step: int) -> None:
    for name in FILES:
        content = _content(name, step)
        with open(folder / name, "wb") as file:
            for place in range(0, len(content), BLOCK):
                file.write(content[place : place + BLOCK])


def _content(name: str, step: int) -> bytes:
    return hashlib.shake_128(f"{name} {step}".encode()).digest(FILES[name])


def _is_as_written(path: Path) -> bool:
    return all(
        (path / name).is_file() and (path / name).read_bytes() == _content(name, step_of(path)) for name in FILES
    )


def _highest(folder: Path) -> Path | None:
    return max((p for p in folder.glob("step-*")), key=step_of, default=None)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[2], Path(sys.argv[3]))
    sys.exit(main())
