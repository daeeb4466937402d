"""A run whose kernel is killed says so, with a status that is right, and goes on from its last checkpoint."""

import os
import signal

from omniopd.launch import launch, resume
from tests.launch.small_notebooks import training_notebook, until


def test_a_run_killed_three_times_goes_on_from_its_last_checkpoint_each_time(tmp_path):
    notebook, parameters = training_notebook(tmp_path, training__steps=100_000)
    launched = launch(notebook, parameters, tmp_path / "runs", "run", device="none")

    def goes_on_after(step):
        until(lambda: launched.status.step > step + 1 or not launched.is_running())

    done = 0
    for _ in range(3):
        goes_on_after(done)
        os.kill(launched.process.kernel_pid, signal.SIGKILL)
        assert launched.wait(60)
        assert (launched.state, launched.exit_code) == ("failed", 137)
        assert "SIGKILL" in launched.status.message
        # A step is recorded before its checkpoint is whole: the run may go back by one.
        done = launched.run.steps()[-1].step - 1
        resume(launched.path)
    goes_on_after(done)
    launched.stop()
    assert launched.wait(60)
    assert (launched.state, launched.exit_code) == ("interrupted", 130)
    steps = [record.step for record in launched.run.steps()]
    assert steps == list(range(1, launched.status.step + 1))
    assert (launched.path / "checkpoints" / f"step-{steps[-1]:06d}").is_dir()
    assert not list((tmp_path / "runs").glob("*_embedded")), "the notebook's run stands in the launched folder"
