"""Two processes on one machine (gloo): one asks the teacher for both, and both learn the same weights."""

import os
import sys

import pytest

from tests.forked import results
from tests.training.test_trainer import PartialResults, prompts, settings, weights_of

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def test_one_process_asks_for_all_and_every_process_learns_the_same(tmp_path):
    both = in_two_processes(tmp_path, train)
    (weights, asked, steps, rows), (weights_too, asked_too, steps_too, _) = both
    assert (weights == weights_too).all()
    assert asked > 0 == asked_too
    assert [s.step for s in steps] == [1, 2]
    assert steps_too == []
    # Rows of both processes, in the order of the global batch.
    assert [r.row for r in rows] == [0, 1, 2, 3]
    assert len({r.prompt_id for r in rows}) == 4


def test_an_error_of_the_asking_process_reaches_the_other(tmp_path):
    assert in_two_processes(tmp_path, fail) == ["no credit left", "no credit left"]


def train(folder):
    from omniopd import embedded
    from omniopd.teachers.scripted import ScriptedTeacher
    from omniopd.training.trainer import OmniOPDTrainer

    lab, kept, teacher = embedded.lab(), PartialResults(), ScriptedTeacher(["apples", "shells", "cards"])
    trainer = OmniOPDTrainer(
        lab.student,
        teacher,
        settings(folder, per_device_train_batch_size=2, ddp_backend="gloo"),
        train_dataset=prompts(lab),
        processing_class=lab.tokenizer,
        recorder=kept,
    )
    trainer.train()
    return weights_of(trainer).numpy(), len(teacher.requests), kept.steps, kept.rollouts.get(1, [])


def fail(folder):
    from omniopd import embedded
    from omniopd.errors import TeacherError
    from omniopd.teachers.scripted import ScriptedTeacher
    from omniopd.training.trainer import OmniOPDTrainer

    def broke(request):
        raise TeacherError("no credit left")

    lab = embedded.lab()
    trainer = OmniOPDTrainer(
        lab.student,
        ScriptedTeacher(broke),
        settings(folder, per_device_train_batch_size=2, ddp_backend="gloo"),
        train_dataset=prompts(lab),
        processing_class=lab.tokenizer,
    )
    try:
        trainer.train()
    except TeacherError as error:
        return str(error)
    return "finished"


def in_two_processes(folder, work):
    return results(folder, 2, run_in_a_folder, folder, work)


def run_in_a_folder(folder, work):
    return work(folder / f"run-{os.environ['RANK']}")
