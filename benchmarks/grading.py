"""Do we grade GSM8K as its authors do? Gold answers against themselves, and 5,276 recorded solutions with known labels.

    python benchmarks/grading.py FOLDER

FOLDER holds `test.jsonl` (question, answer) and `example_model_solutions.jsonl` (question, ground_truth, and for each
of four models a solution with `is_correct`), both from github.com/openai/grade-school-math. Prints the counts and every
disagreement, and ends with 1 if there is one. The labels there compare the text after "A:"; ours compare values.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from omniopd.errors import DataError
from omniopd.tasks.grading import final_answer, grade
from omniopd.tasks.jsonl import read_rows

NOT_MODELS = {"question", "ground_truth"}


def main(folder: Path) -> int:
    started = time.process_time()
    gold_wrong = check_gold_answers(read_rows(folder / "test.jsonl"))
    gold_s = time.process_time() - started
    disagreements = check_recorded_solutions(read_rows(folder / "example_model_solutions.jsonl"))
    total_s = time.process_time() - started
    print(f"seconds of this process: {gold_s:.1f} for gold answers, {total_s - gold_s:.1f} for recorded solutions")
    return 1 if gold_wrong or disagreements else 0


def check_gold_answers(rows: list[dict]) -> int:
    """Every worked answer must be right by its own final answer, and wrong by that answer with a digit more."""
    failed = 0
    for number, row in enumerate(rows, start=1):
        gold = final_answer(row["answer"])
        if not grade(row["answer"], gold) or grade(row["answer"], f"{gold}1"):
            failed += 1
            print(f"gold, row {number}: final answer {gold!r}")
    print(f"gold answers: {len(rows) - failed:,} of {len(rows):,} right by their own final answer, "
          "and wrong by that answer with a digit more")
    return failed


def check_recorded_solutions(rows: list[dict]) -> int:
    """Our grade of each recorded solution must be its label."""
    disagreements = graded = labelled_right = 0
    for number, row in enumerate(rows, start=1):
        for model in sorted(row.keys() - NOT_MODELS):
            solution, label = row[model]["solution"], row[model]["is_correct"]
            graded += 1
            labelled_right += label
            if grade(solution, final_answer(row["ground_truth"])) != label:
                disagreements += 1
                print(f"solution, row {number}, {model}: labelled {label}, "
                      f"answer {final_answer(solution)!r}, gold {final_answer(row['ground_truth'])!r}")
    print(f"recorded solutions: {graded - disagreements:,} of {graded:,} agree with their labels "
          f"({labelled_right:,} labelled right)")
    return disagreements


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        sys.exit(main(Path(sys.argv[1])))
    except DataError as problem:
        sys.exit(str(problem))
