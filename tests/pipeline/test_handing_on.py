"""A student as others get it: a folder that loads and answers the same, and a hub that takes it in one commit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from transformers import AutoModelForCausalLM, AutoTokenizer

from omniopd.cli.main import main
from omniopd.errors import ConfigError, Refused, RunError
from omniopd.pipeline.handing_on import finished_student, write_folder
from omniopd.pipeline.hub import send
from omniopd.pipeline.run import run_training
from omniopd.runs.store import Run, create_run, open_run
from tests.hub_server import TOKEN, HubServer, Repository
from tests.small_runs import lab, small_recipe

REPO = "the-lab/my_student"
# huggingface_hub hands httpx a file under the name that httpx has for forms
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = small_recipe(training__steps=1, evaluation__controls=["self_teacher"])
    return run_training(recipe, tmp_path_factory.mktemp("runs"), "whole", show=False)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = small_recipe(training__steps=1, training__learning_rate=1e-2, student__lora_rank=2)
    return run_training(recipe, tmp_path_factory.mktemp("runs"), "adapter", show=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on loopback, which huggingface_hub takes for the hub."""
    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        close_session()


def copied(run: Run, to: Path) -> Run:
    shutil.copytree(run.path, to)
    return open_run(to)


def answers(folder: Path | str) -> torch.Tensor:
    """Logits on a text, as the three lines of a card load model and tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer("2 plus 3 is 5, so", return_tensors="pt")).logits


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_writes_what_loads_and_answers_as_the_student_does(whole: Run, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["push", str(whole.path), "--to", REPO, "--dry-run", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert torch.equal(answers(out), answers(whole.student))
    card = (out / "README.md").read_text(encoding="utf-8")
    scope: dict = {}
    exec(card.split("```python\n")[1].split("```")[0].replace(repr(REPO), repr(str(out))), scope)
    assert scope["model"].config.model_type == "qwen3"
    assert scope["tokenizer"].chat_template == AutoTokenizer.from_pretrained(whole.student).chat_template


def test_a_folder_holds_what_was_saved_of_the_student_and_nothing_else(whole: Run, tmp_path: Path) -> None:
    run = copied(whole, tmp_path / "run")
    for name in ("notes.md", "optimizer.pt", ".env", "README.md"):
        (run.student / name).write_text("mine")
    folder = write_folder(run, REPO, tmp_path / "out")
    kept = {file.name for file in run.student.iterdir()} - {"notes.md", "optimizer.pt", ".env"}
    assert {file.name for file in folder.iterdir()} == kept
    assert (folder / "README.md").read_text(encoding="utf-8") != "mine"


def test_no_file_of_the_folder_names_a_place_of_this_machine(whole: Run, tmp_path: Path) -> None:
    folder = write_folder(whole, REPO, tmp_path / "out")
    for file in folder.iterdir():
        text = file.read_bytes()
        for place in (str(lab()), str(whole.path), str(Path.home())):
            assert place.encode() not in text, file.name


def test_a_merged_adapter_answers_as_the_adapter_does_on_its_model(adapter: Run, tmp_path: Path) -> None:
    folder = write_folder(adapter, REPO, tmp_path / "out", merge=True)
    assert not (folder / "adapter_config.json").exists()
    assert "its LoRA adapter merged into the weights" in (folder / "README.md").read_text(encoding="utf-8")
    torch.testing.assert_close(answers(folder), answers(adapter.student), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(answers(folder), answers(lab() / "student"), atol=1e-5)


def test_an_adapter_on_weights_that_only_this_machine_has_is_refused(adapter: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is an adapter on .*, which only this machine has.*\(--merge\)"):
        write_folder(adapter, REPO, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_on_a_model_of_the_hub_stays_one_and_its_card_says_so(adapter: Run, tmp_path: Path) -> None:
    run = on_the_hub(adapter, tmp_path / "run", "the-lab/base")
    folder = write_folder(run, REPO, tmp_path / "out")
    assert (folder / "adapter_config.json").is_file()
    card = (folder / "README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---")[1])
    assert (metadata["library_name"], metadata["base_model"]) == ("peft", "the-lab/base")
    assert "A LoRA adapter for `the-lab/base`" in card


def test_a_folder_that_could_not_be_finished_is_not_left(whole: Run, tmp_path: Path, monkeypatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("omniopd.pipeline.handing_on.shutil.copyfile", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_folder(whole, REPO, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def on_the_hub(run: Run, to: Path, base: str) -> Run:
    """The run as it would be, had its student been `base` on the hub."""
    made = copied(run, to)
    for file, key in ((made.path / "manifest.json", "recipe"), (made.student / "adapter_config.json", "")):
        data = json.loads(file.read_text(encoding="utf-8"))
        if key:
            data["recipe"]["student"]["model"] = base
        else:
            data["base_model_name_or_path"] = base
        file.write_text(json.dumps(data))
    return open_run(to)


# ── what is refused before anything is sent ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["student", "a/b/c", "", "a/", "/b", "a/b--c", "a/../b", "a/b.git", "a b/c", "a/<b>"])
def test_what_is_no_name_on_the_hub_is_refused(whole: Run, hub: HubServer, name: str, capsys) -> None:
    assert main(["push", str(whole.path), "--to", name]) == 2
    said = capsys.readouterr().err
    assert f"--to {name!r} is no ORG/NAME on the hub" in said
    assert not hub.received


def test_a_run_that_has_not_finished_is_refused(hub: HubServer, tmp_path: Path, capsys) -> None:
    run = create_run(tmp_path, small_recipe(), "half")
    run.set_status(state="interrupted", step=1, steps=3)
    assert main(["push", str(run.path), "--to", REPO]) == 2
    said = capsys.readouterr().err
    assert "has not finished (interrupted at step 1 of 3)" in said
    assert f"omniopd train --resume {run.path}" in said
    assert not hub.received


def test_a_run_without_its_student_is_refused(whole: Run, hub: HubServer, tmp_path: Path) -> None:
    run = copied(whole, tmp_path / "run")
    shutil.rmtree(run.student)
    with pytest.raises(RunError, match="keeps no student"):
        finished_student(run.path)
    with pytest.raises(RunError, match="is not a run"):
        finished_student(tmp_path)


def test_without_a_token_in_the_environment_nothing_is_sent(whole: Run, hub: HubServer, monkeypatch, capsys) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert main(["push", str(whole.path), "--to", REPO]) == 2
    assert "put one that may write into the environment (HF_TOKEN)" in capsys.readouterr().err
    assert not hub.received


def test_a_token_goes_to_no_hub_over_an_open_line(whole: Run, hub: HubServer, monkeypatch, capsys) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example.org")
    assert main(["push", str(whole.path), "--to", REPO]) == 2
    assert "where a token would be read on its way: give an https address" in capsys.readouterr().err


def test_a_folder_that_is_there_is_refused_before_anything_is_sent(whole: Run, hub, tmp_path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["push", str(whole.path), "--to", REPO, "--out", str(tmp_path)]) == 2
    assert f"{tmp_path} is there already" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not hub.received


def test_a_student_of_whole_weights_has_nothing_to_merge(whole: Run, hub: HubServer, capsys) -> None:
    assert main(["push", str(whole.path), "--to", REPO, "--merge"]) == 2
    assert "there is nothing to merge" in capsys.readouterr().err
    assert not hub.received


# ── the hub ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_repository_holds_the_folder_in_one_commit(whole: Run, hub: HubServer, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["push", str(whole.path), "--to", REPO, "--private", "--out", str(out)]) == 0
    repo = hub.repositories[REPO]
    assert capsys.readouterr() == (f"{hub.url}/{REPO}/commit/{repo.sha}\n", "")
    assert repo.private
    assert repo.commits == ["initial commit", "The student of whole"]
    assert repo.lfs == {"model.safetensors"}
    assert repo.files == {".gitattributes": b""} | {file.name: file.read_bytes() for file in out.iterdir()}


def test_what_is_there_is_updated_in_one_commit_and_others_files_stay(whole: Run, hub, tmp_path: Path) -> None:
    older = dict.fromkeys(("adapter_config.json", "adapter_model.safetensors", "model-00001-of-2.safetensors"), b"old")
    kept = {".gitattributes": b"x", "LICENSE": b"theirs", "results.json": b"theirs"}
    hub.repositories[REPO] = Repository(True, older | kept | {"README.md": b"old"}, commits=["one", "two"])
    folder = write_folder(whole, REPO, tmp_path / "out")
    send(folder, REPO, TOKEN, True, "three")
    repo = hub.repositories[REPO]
    assert repo.commits == ["one", "two", "three"]
    assert repo.files == kept | {file.name: file.read_bytes() for file in folder.iterdir()}
    assert "/api/repos/create" not in hub.writes


def test_private_was_asked_for_and_the_repository_is_public(whole: Run, hub: HubServer, tmp_path: Path) -> None:
    hub.repositories[REPO] = Repository(False, {}, commits=["one"])
    with pytest.raises(Refused, match=f"{REPO} is public, and --private was asked for"):
        send(write_folder(whole, REPO, tmp_path / "out"), REPO, TOKEN, True, "two")
    assert not hub.writes


def test_a_commit_of_somebody_else_in_between_is_not_overwritten(whole: Run, hub, tmp_path, monkeypatch) -> None:
    hub.repositories[REPO] = Repository(False, {"README.md": b"old"}, commits=["one"])
    upload = hub._upload

    def meanwhile(one: dict) -> dict:
        hub.repositories[REPO].commits.append("theirs")
        return upload(one)

    monkeypatch.setattr(hub, "_upload", meanwhile)
    with pytest.raises(RunError, match=r"the hub did not take .*: nothing was changed there"):
        send(write_folder(whole, REPO, tmp_path / "out"), REPO, TOKEN, False, "two")
    assert hub.repositories[REPO].files == {"README.md": b"old"}


def test_a_token_that_the_hub_does_not_know_is_one_sentence_without_it(whole: Run, hub, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "wrong" * 7)
    assert main(["push", str(whole.path), "--to", REPO]) == 2
    said = capsys.readouterr().err
    assert "the hub did not take the-lab/my_student (Invalid credentials in Authorization header)" in said
    assert said.count("\n") == 1
    assert "wrong" not in said


SCRIPT = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
with torch.no_grad():
    torch.save(model(**tokenizer("2 plus 3 is 5, so", return_tensors="pt")).logits, sys.argv[2])
"""


def test_what_was_pushed_loads_from_the_hub_by_its_name_an_adapter_with_its_model(
    adapter: Run, tmp_path: Path
) -> None:
    """Both by the command and in a process of its own, which knows the hub by HF_ENDPOINT alone."""
    with HubServer() as server:
        env = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
        env |= {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"),
                "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
        base = {file.name: file.read_bytes() for file in (lab() / "student").iterdir()}
        server.repositories["the-lab/base"] = Repository(False, base, commits=["base"])
        run = on_the_hub(adapter, tmp_path / "run", "the-lab/base")
        logits = tmp_path / "logits.pt"
        push = ["-m", "omniopd.cli.main", "push", str(run.path), "--to", REPO, "--private"]
        for words in (push, ["-c", SCRIPT, REPO, str(logits)]):
            done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            assert TOKEN not in done.stdout + done.stderr
    torch.testing.assert_close(torch.load(logits), answers(adapter.student))
