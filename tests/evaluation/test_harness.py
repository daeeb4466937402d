"""The harness is an extra: without it one sentence, with it a saved student's scores."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from omniopd.errors import ConfigError
from omniopd.evaluation.harness import harness_scores
from tests.builders import tiny_model, tiny_tokenizer

INSTALLED = importlib.util.find_spec("lm_eval") is not None
TASK = """
task: vowels_first
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{rows}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["a", "b"]
doc_to_target: label
metric_list: [{{metric: acc}}]
"""


@pytest.fixture
def student(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path / "student")
    tiny_tokenizer().save_pretrained(tmp_path / "student")
    return tmp_path / "student"


@pytest.mark.skipif(INSTALLED, reason="lm-evaluation-harness is installed")
def test_without_the_extra_the_way_out_is_told(student: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not installed.*pip install 'omniopd\[eval\]'"):
        harness_scores(student, ["arc_easy"])


@pytest.mark.skipif(not INSTALLED, reason="lm-evaluation-harness is not installed")
@pytest.mark.filterwarnings("ignore")  # what another package warns of
def test_a_saved_student_gets_scores(student: Path, tmp_path: Path) -> None:
    rows = [{"question": f"Which is first? {n}", "label": n % 2} for n in range(6)]
    (tmp_path / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "vowels_first.yaml").write_text(TASK.format(rows=tmp_path / "rows.json"))
    scores = harness_scores(student, ["vowels_first"], limit=4, include=tmp_path / "tasks", chat=False)
    assert scores["vowels_first"]["acc"] in {0, 0.25, 0.5, 0.75, 1}
    with pytest.raises(ConfigError, match="the harness has no task 'no_such_task'"):
        harness_scores(student, ["no_such_task"])
    with pytest.raises(ConfigError, match="holds no model"):
        harness_scores(tmp_path, ["vowels_first"])
