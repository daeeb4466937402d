"""Runs at an address are read like those of a folder: copied without what is heavy, and followed."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import omniopd.runs
from omniopd.cli.main import main
from omniopd.errors import RunError
from omniopd.runs import mirror
from omniopd.runs.following import Follower
from omniopd.runs.store import open_run, take_up

FIXTURES = Path(__file__).parent / "fixtures"
ADDRESS = "memory://bucket/study"


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "EVERY_S", 0.0)
    monkeypatch.setattr(mirror, "_looked", {})
    monkeypatch.setattr(mirror, "_addresses", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, one of them with weights."""
    made = tmp_path / "there"
    for name in ("first", "second"):
        shutil.copytree(FIXTURES / "stopped", made / "arm" / name, ignore=shutil.ignore_patterns("*.safetensors"))
    weights = made / "arm" / "first" / "checkpoints" / "step-000001"
    weights.mkdir(parents=True, exist_ok=True)
    (weights / "config.json").write_text("{}")
    return made


@pytest.fixture
def bucket(folder: Path) -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.put(f"{folder}/", "/bucket/study", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


def facts(table: object) -> str:
    return table.drop(columns=["path", "state"]).to_json()  # type: ignore[attr-defined]


def test_a_table_of_an_address_is_that_of_the_folder(bucket: object, folder: Path) -> None:
    assert facts(omniopd.runs.table(ADDRESS)) == facts(omniopd.runs.table(folder))
    copied = {path.name for path in mirror.here(ADDRESS).rglob("*") if path.is_file()}
    assert {"manifest.json", "steps.jsonl", "recipe.toml"} <= copied
    assert "config.json" not in copied


def test_a_run_is_opened_and_searched_at_its_address(bucket: object, folder: Path) -> None:
    there = open_run(f"{ADDRESS}/arm/second")
    assert there.steps() == open_run(folder / "arm" / "second").steps() != []
    assert not omniopd.runs.forks(ADDRESS).empty


def test_what_is_written_there_is_seen_at_the_next_look_and_what_is_gone_is_gone(
    bucket: fsspec.AbstractFileSystem,
) -> None:
    follower = Follower(open_run(f"{ADDRESS}/arm/second"))
    assert follower.look().steps
    lines = bucket.cat("/bucket/study/arm/second/steps.jsonl")
    last = json.loads(lines.splitlines()[-1])
    more = json.dumps(last | {"step": last["step"] + 1}).encode()
    bucket.pipe("/bucket/study/arm/second/steps.jsonl", lines + more + b"\n")
    assert not follower.look().restarted
    assert [step.step for step in follower.steps] == list(range(1, last["step"] + 2))
    bucket.rm("/bucket/study/arm/first", recursive=True)
    assert list(omniopd.runs.table(ADDRESS).index) == ["arm/second"]


def test_only_what_has_changed_is_fetched_again(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.here(ADDRESS)
    fetched, fetch = [], mirror._fetch

    def noted(system: object, source: str, to: Path) -> None:
        fetched.append(to.name)
        fetch(system, source, to)

    monkeypatch.setattr(mirror, "_fetch", noted)
    mirror.here(ADDRESS)
    assert fetched == []
    bucket.pipe("/bucket/study/arm/first/status.json", bucket.cat("/bucket/study/arm/first/status.json"))
    mirror.here(ADDRESS)
    assert fetched == ["status.json"]


def test_a_run_that_goes_on_elsewhere_is_running_and_not_taken_up_here(bucket: fsspec.AbstractFileSystem) -> None:
    file = "/bucket/study/arm/second/status.json"
    bucket.pipe(file, json.dumps(json.loads(bucket.cat(file)) | {"state": "running", "pid": 1}).encode())
    run = open_run(f"{ADDRESS}/arm/second")
    assert run.state == "running"
    with pytest.raises(RunError, match="is a copy of a run that stands elsewhere"):
        take_up(run.path)


def test_the_list_of_a_browser_follows_it_and_goes_on_where_the_network_fails(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omniopd_widgets._parts.run_list import RunList

    shown = RunList(ADDRESS)
    assert sorted(str(row["id"]) for row in shown.look()) == ["arm/first", "arm/second"]
    bucket.cp("/bucket/study/arm/first", "/bucket/study/arm/third", recursive=True)
    assert len(shown.look()) == 3
    with monkeypatch.context() as patched:
        patched.setattr(mirror, "_records", lambda system, base: (_ for _ in ()).throw(OSError("no route")))
        assert len(shown.look()) == 3
        assert "no route" in shown.trouble
    assert len(shown.look()) == 3
    assert not shown.trouble


def test_an_address_with_a_password_is_shown_without_it(bucket: fsspec.AbstractFileSystem) -> None:
    from omniopd_widgets import RunBrowser

    bucket.cp("/bucket/study", "/me:hunter2secret@bucket/study", recursive=True)
    view = RunBrowser("memory://me:hunter2secret@bucket/study")
    try:
        assert len(view.rows) == 2
        assert "hunter2secret" not in repr(view.get_state())
    finally:
        view.close()
        bucket.rm("/me:hunter2secret@bucket", recursive=True)


def test_a_web_server_will_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert main(["runs", f"http://127.0.0.1:{server.server_port}/"]) == 0
    finally:
        server.shutdown()
        server.server_close()
    said = capsys.readouterr().out
    assert "arm/first" in said
    assert "arm/second" in said


def test_a_store_can_write_nothing_outside_its_copy(tmp_path: Path) -> None:
    class Hostile:
        def walk(self, base: str, **how: object) -> Iterator[object]:
            facts = {"size": 1, "mtime": 1}
            yield base, {}, dict.fromkeys(
                ["manifest.json", "../../steps.jsonl", "/etc/x.json", ".mirror.json", "a.json"], facts
            )

    assert [name for name, _ in mirror._records(Hostile(), "bucket")] == ["manifest.json", "a.json"]


def test_nothing_but_runs_is_copied_and_a_run_may_have_any_name(bucket: fsspec.AbstractFileSystem) -> None:
    bucket.pipe("/bucket/study/data/train.jsonl", b"{}\n")
    bucket.cp("/bucket/study/arm/first", "/bucket/study/best", recursive=True)
    assert sorted(omniopd.runs.table(ADDRESS).index) == ["arm/first", "arm/second", "best"]
    assert not (mirror.here(ADDRESS) / "data").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nosuch://bucket/runs", "nosuch://bucket/runs is no address that fsspec knows"),
        ("memory://nobody/here", "memory://nobody/here holds no run"),
        ("http://127.0.0.1:9/runs/", "http://127.0.0.1:9/runs/ cannot be read"),
        ("http://me:secret-pass-word@127.0.0.1:9/runs", "@127.0.0.1:9/runs cannot be read"),
    ],
)
def test_an_address_that_cannot_be_read_is_one_sentence_without_its_password(address: str, said: str) -> None:
    with pytest.raises(RunError) as refused:
        omniopd.runs.table(address)
    assert said in str(refused.value)
    assert "secret-pass-word" not in str(refused.value)
    assert "\n" not in str(refused.value)
