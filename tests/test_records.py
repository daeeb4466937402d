"""What is written can be read again; a newer writer is refused, an extended one is understood."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.records import (
    SCHEMA,
    AuditRecord,
    EvalRecord,
    Posterior,
    ProblemResult,
    RolloutRecord,
    RunManifest,
    StepRecord,
    read_record,
    record_json,
)

AUDIT = AuditRecord(
    start=3, stop=5, entropy=1.25, chunk="cat 🙂\n", texts=("dog", ""), similarities=(0.5, 0.0), soft_count=0.5,
    prior=0.25, posterior_mean=0.25, concentration=1.0, weights=(0.25, 0.25), labels=((("d", 0.5), ("é", 0.5)), ()),
    handover="prefill", exact=False, served_model="m", cached=True, input_tokens=9, output_tokens=4, cost_usd=0.001,
)  # fmt: skip
ROLLOUT = RolloutRecord(
    row=1, step=4, prompt_id="p", messages=({"role": "user", "content": "2+3?"},), pieces=("a", "", "é"),
    logprobs=(-0.5, -1.0, 0.0), entropies=(1.0, 0.5, 0.0), anchor_kl=(0.0, 0.1, 0.0), anchored=(True, False, True),
    finish="length", answer="5", audits=(AUDIT,), unanswered=((7, "context"),),
)  # fmt: skip
STEP = StepRecord(
    step=4, loss=0.5, chunk_loss=0.25, anchor_loss=0.25, metrics={"targets/mean": 0.5}, failures={"context": 2},
    input_tokens=10, output_tokens=20, cost_usd=0.5, seconds={"teacher": 1.5},
)  # fmt: skip
EVAL = EvalRecord(
    model="m", task="t", split="test", temperature=0.3, samples=4, seed=0, max_tokens=64,
    problems=(ProblemResult("a", 1, 4, 3, 1, 20.0), ProblemResult("b", 4, 4, 4, 0, 10.0)), step=9, seconds=1.0,
)  # fmt: skip
MANIFEST = RunManifest(
    name="r", recipe={"audit": {"forks": 4}}, seed=1, created="2026-01-01T00:00:00Z", versions={"torch": "2.13"},
    hardware={"cpus": 2}, commit="abc", command=("omniopd", "train"),
)  # fmt: skip


@pytest.mark.parametrize("record", [AUDIT, ROLLOUT, STEP, EVAL, MANIFEST], ids=lambda r: r.kind)
def test_every_record_survives_a_line_of_json(record):
    line = record_json(record)
    assert "\n" not in line
    assert read_record(line) == record
    assert json.loads(line)["schema"] == SCHEMA


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    st.text('aé🙂"\\\n\u2028\x00', max_size=8), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5)
)
def test_any_text_and_any_finite_number_survives(text, numbers):
    record = StepRecord(1, 0.0, 0.0, 0.0, metrics={text + str(i): x for i, x in enumerate(numbers)})
    assert read_record(record_json(record)) == record


def test_json_has_no_nan_so_it_becomes_null_and_the_loss_nan_again():
    line = record_json(StepRecord(1, math.nan, 0.0, 0.0, metrics={"kl/audited": math.nan, "x": math.inf}))
    assert "NaN" not in line
    assert "Infinity" not in line
    read = read_record(line)
    assert math.isnan(read.loss)
    assert set(read.metrics) == {"kl/audited", "x"}
    assert all(map(math.isnan, read.metrics.values()))


def test_a_newer_schema_is_refused_and_a_new_field_of_the_same_schema_is_ignored():
    data = json.loads(record_json(STEP))
    with pytest.raises(ValueError, match=f"schema {SCHEMA + 1}, newer than {SCHEMA}: update"):
        read_record(json.dumps({**data, "schema": SCHEMA + 1}))
    assert read_record(json.dumps({**data, "temper": "calm"})) == STEP


def test_a_missing_field_takes_its_default():
    data = json.loads(record_json(STEP))
    del data["seconds"], data["schema"]
    assert read_record(json.dumps(data)).seconds == {}


@pytest.mark.parametrize("line", ['{"kind": "confession"}', "[1, 2]", "{}", "not json", ""])
def test_what_is_no_record_is_said_to_be_none(line):
    with pytest.raises(ValueError):
        read_record(line)


def test_an_audits_posterior_is_computed_from_what_is_stored():
    assert AUDIT.posterior == Posterior(0.75, 2.25)
    assert math.isclose(AUDIT.posterior.mean, (0.5 + 1 * 0.25) / (2 + 1))


def test_accuracy_is_the_mean_over_problems_of_the_share_of_right_answers():
    assert EVAL.accuracy == (0.25 + 1) / 2
    assert EVAL.per_problem == {"a": 0.25, "b": 1.0}
    assert EVAL.truncated_share == 1 / 8
    assert EVAL.readable_share == 7 / 8
    empty = EvalRecord("m", "t", "test", 1.0, 1, 0, 1, ())
    assert math.isnan(empty.accuracy)
    assert (empty.truncated_share, empty.readable_share) == (0, 0)


def test_half_a_surrogate_pair_survives_a_file():
    record = RolloutRecord(0, 1, "p\ud800", (), ("a\udfffb", "é"), (0.0, 0.0), (0.0, 0.0))
    assert read_record(record_json(record).encode().decode()) == record
