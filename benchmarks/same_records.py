"""Do two versions of the code train to the same bits? Short runs of every method, and what differs between two of them.

    python benchmarks/same_records.py record FOLDER [ARM ...]     runs in FOLDER/ARM (all arms without names; minutes)
    python benchmarks/same_records.py compare A B                 exit status 1, and the first field that differs

Record once with each version, on one machine and with the same libraries, then compare. The version is the `omniopd`
that Python finds: `PYTHONPATH=OLD python benchmarks/same_records.py record old` records another checkout. Only the
command line and the files of a run are used, so the script works on versions whose modules have other names.

Compared are losses and metrics of steps, rollouts with their audits, evaluations (every number as it is written), and
the sha256 of weights and optimizers, students and controls alike. Times are left out, nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

SHORT = (
    "seed=0", "task.prompts=256", "training.steps=3", "training.rollouts=16", "training.micro_batch=16",
    "training.record_every=1", "training.save_every=3", "training.threads=1", "evaluation.problems=24",
    "evaluation.temperatures=[0.0,1.0]", "evaluation.samples=2", "evaluation.controls=[]",
)  # fmt: skip
CHUNKS = ("audit.chunk_tokens=6", "audit.forks=4")
# By name, what an arm changes in the recipe of labels.
ARMS = {
    "labels": (),
    "posterior_kl": ("objective.target=posterior_kl",),
    "paper": ("objective.target=paper", "audit.similarity=characters", *CHUNKS),
    "paper_rouge": ("objective.target=paper", "audit.similarity=rouge1", *CHUNKS),
    "paper_embedding": ("objective.target=paper", "audit.similarity=embedding", *CHUNKS),
    "prefix_credit": ("objective.target=prefix_credit", *CHUNKS),
    "centred": ("objective.target=centred", *CHUNKS),
    "redraws": ("objective.target=centred", "objective.redraws=2", *CHUNKS),
    "sft": ("method=sft",),
    "grpo": ("method=grpo",),
    "white_box": ("method=white_box",),
    "white_box_sampled": ("method=white_box_sampled",),
    "continuations": ("method=continuations",),
    "lora": ("student.lora_rank=4",),
    "shuffled": ('evaluation.controls=["shuffled"]',),
}
RECORDS = ("steps.jsonl", "evals.jsonl", "rollouts/*.jsonl")
WEIGHTS = ("**/*.safetensors", "**/optimizer.pt")
TIMES = ("seconds", "step_time", "runtime", "per_second")  # in the names of fields


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="make the runs")
    recording.add_argument("folder", type=Path)
    recording.add_argument("arms", nargs="*", metavar="ARM", help=f"of {', '.join(ARMS)}")
    comparing = commands.add_parser("compare", help="compare two recordings")
    comparing.add_argument("one", type=Path, metavar="A")
    comparing.add_argument("other", type=Path, metavar="B")
    options = parser.parse_args()
    if options.command == "record":
        if unknown := set(options.arms) - set(ARMS):
            parser.error(f"no arm is called {', '.join(sorted(unknown))}: there are {', '.join(ARMS)}")
        raise SystemExit(record(options.folder, options.arms or list(ARMS)))
    raise SystemExit(compare(options.one, options.other))


def record(folder: Path, arms: list[str]) -> int:
    """Make the runs, one after the other; the exit status is the number of those that failed."""
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    failed = 0
    for arm in arms:
        # -P: the package that this interpreter finds, whatever stands in the folder where it was started.
        words = [sys.executable, "-P", "-m", "omniopd.cli.main", "train", "labels", *SHORT, *ARMS[arm]]
        words += ["--quiet", "--runs", str(folder), "--name", arm]
        done = subprocess.run(words, env=os.environ | quiet, capture_output=True, text=True, check=False)
        failed += done.returncode != 0
        print(f"{arm}: {'recorded' if done.returncode == 0 else 'failed: ' + last_line(done.stderr)}", flush=True)
    return failed


def compare(one: Path, other: Path) -> int:
    """Say of every arm in either folder whether its runs are the same; 1 where one is not, or nothing is there."""
    print(f"{one} is of {versions_in(one)}, {other} of {versions_in(other)}")
    arms = [arm for arm in ARMS if (one / arm).is_dir() or (other / arm).is_dir()]
    if not arms:
        print("neither folder holds a run of an arm: record them first")
    same = [arm for arm in arms if told(arm, first_difference(one / arm, other / arm))]
    print(f"{len(same)} of {len(arms)} arms are the same to the bit")
    return 0 if arms and same == arms else 1


def told(arm: str, difference: str | None) -> bool:
    print(f"{arm}: {difference or 'the same'}")
    return difference is None


def first_difference(one: Path, other: Path) -> str | None:
    """Where two runs first differ, in words; None where they do not."""
    for run in (one, other):
        if not (run / "steps.jsonl").is_file() or not any((run / "student").glob("*.safetensors")):
            return f"{run} holds no finished run: record it"
    for patterns, look in ((RECORDS, other_record), (WEIGHTS, other_bytes)):
        names = [name for pattern in patterns for name in sorted(files_in(one, pattern) | files_in(other, pattern))]
        for name in names:
            for run in (one, other):
                if not (run / name).is_file():
                    return f"{name} is missing in {run}"
            if difference := look(one / name, other / name):
                return f"{name}{difference}"
    return None


def files_in(run: Path, pattern: str) -> set[str]:
    return {path.relative_to(run).as_posix() for path in run.glob(pattern)}


def other_record(one: Path, other: Path) -> str | None:
    lines = zip_longest(one.read_text(encoding="utf-8").splitlines(), other.read_text(encoding="utf-8").splitlines())
    for number, (here, there) in enumerate(lines, 1):
        if here is None or there is None:
            return f" has a line {number} in one run only"
        if found := next(differences(as_written(here), as_written(there)), None):
            return f", line {number}: {found}"
    return None


def as_written(line: str) -> Any:
    """A record with its numbers as their digits: NaN equals NaN, and -0.0 is not 0.0."""
    return json.loads(line, parse_float=Digits, parse_constant=Digits)


class Digits(str):
    """A number as it is written."""


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Fields whose values differ, in the order of writing; times are passed over."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one | other:
            if any(word in key for word in TIMES):
                continue
            where = f"{place}.{key}" if place else key
            if key in one and key in other:
                yield from differences(one[key], other[key], where)
            else:
                yield f"{where} is in one run only"
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (here, there) in enumerate(zip(one, other, strict=True)):
            yield from differences(here, there, f"{place}[{index}]")
    elif type(one) is not type(other) or one != other:
        yield f"{place} is {short(one)} and {short(other)}"


def other_bytes(one: Path, other: Path) -> str | None:
    here, there = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, other))
    return None if here == there else f" has sha256 {here[:12]}… and {there[:12]}…"


def short(value: Any) -> str:
    text = value if isinstance(value, Digits) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def versions_in(folder: Path) -> str:
    """The commits of the code that recorded a folder."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/manifest.json"))]
    return ", ".join(sorted({str(found.get("commit"))[:7] for found in manifests})) or "nothing"


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


if __name__ == "__main__":
    main()
