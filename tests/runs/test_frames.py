"""Facts about records as tables: one row per thing, and nothing said of what is not there."""

from __future__ import annotations

import math
from dataclasses import replace

from omniopd.records import AuditRecord, RolloutRecord, StepRecord
from omniopd.runs.frames import audit_frame, step_frame, token_frame

AUDIT = AuditRecord(
    start=1, stop=3, entropy=0.5, chunk="bc", texts=("bc", "bd", "bc"), similarities=(1.0, 0.5, 1.0), soft_count=2.5,
    prior=0.2, posterior_mean=0.675, concentration=1.0, weights=(0.6, 0.7), input_tokens=4, output_tokens=6,
)  # fmt: skip
ROLLOUT = RolloutRecord(
    0, 1, "p0", (), ("a", "b", "c", "d"), (-1.0, -2.0, -0.5, -0.1), (0.1, 0.5, 0.2, 0.0), audits=(AUDIT,)
)


def test_every_token_has_a_row_and_knows_its_chunk() -> None:
    table = token_frame(ROLLOUT)
    assert "".join(table.piece) == "abcd"
    assert table.chunk.tolist()[1:3] == [0, 0]
    assert table.chunk.isna().tolist() == [True, False, False, True]
    assert table.weight.tolist() == [0.0, 0.6, 0.7, 0.0]
    assert table.anchor_kl.isna().all()


def test_every_fork_has_a_row() -> None:
    [row] = audit_frame(ROLLOUT).reset_index().to_dict("records")
    assert (row["fork"], row["texts"], row["different"], row["tokens"]) == (1, 3, 2, 10)
    assert row["rollout"] == 0
    assert row["prompt"] == "p0"
    assert audit_frame([AUDIT, replace(AUDIT, start=3, run=True)])["run"].tolist() == [False, True]


def test_a_table_of_nothing_has_the_columns_and_types_of_any_other() -> None:
    step = StepRecord(1, 0.5, 0.1, 0.0)
    empty = RolloutRecord(0, 1, "p0", (), (), (), ())
    for frame, some, none in (
        (audit_frame, ROLLOUT, []), (audit_frame, [AUDIT], [empty]), (step_frame, [step], []),
        (token_frame, ROLLOUT, empty),
    ):  # fmt: skip
        full, bare = frame(some), frame(none)
        assert bare.empty
        assert bare.dtypes.to_dict() == full.dtypes.to_dict()
        assert (bare.index.name, bare.index.dtype) == (full.index.name, full.index.dtype)


def test_forks_of_several_rollouts_have_an_index_that_does_not_repeat_and_name_their_rollout() -> None:
    others = [replace(ROLLOUT, row=row, prompt_id=f"p{row}") for row in range(3)]
    table = audit_frame(others)
    assert table.index.is_unique
    assert table[["rollout", "prompt", "fork"]].to_numpy().tolist() == [[0, "p0", 1], [1, "p1", 1], [2, "p2", 1]]
    alone = audit_frame([AUDIT, AUDIT])  # of two rollouts, which nobody named
    assert alone.index.is_unique
    assert alone["rollout"].isna().all()
    assert alone["fork"].tolist() == [1, 1]


def test_a_step_has_its_metrics_and_seconds_as_columns() -> None:
    steps = [
        StepRecord(n, n / 2, 0.1, math.nan, {"kl/audited": n}, {"no text": n}, seconds={"teacher": 2.0}) for n in (1, 2)
    ]
    table = step_frame(steps)
    assert table.index.tolist() == [1, 2]
    assert table["kl/audited"].tolist() == [1, 2]
    assert table.failures.tolist() == [1, 2]
    assert table["seconds/teacher"].tolist() == [2.0, 2.0]
