"""Every setting of a recipe at its bounds and just beyond, by every way in; a new setting without bounds fails here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from omniopd.config import (
    SETTINGS,
    ObjectiveConfig,
    Recipe,
    check,
    check_setting,
    every_setting,
    load_recipe,
    override,
    with_settings,
)
from omniopd.config.settings import DEVICES, DTYPES, PRECISIONS, SCHEDULES
from omniopd.errors import ConfigError, OmniOPDError
from omniopd.launch.parameters import checked, parameters_of, recipe_with
from omniopd.models import loading
from omniopd.pipeline.run import run_training
from omniopd.pipeline.session import Session
from omniopd.runs.store import create_run

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "train.ipynb"
FREE = {"student.allow_off_policy": True}  # sampling settings are held to their bounds before anything else
BOUNDED = [key for key, s in SETTINGS.items() if math.isfinite(s.least)]


def fields_by_hand() -> list[str]:
    """Dotted names of all fields of all dataclasses, walked apart from `every_setting`."""
    found = []
    for field in dataclasses.fields(Recipe):
        section = getattr(Recipe(), field.name)
        inner = dataclasses.fields(section) if dataclasses.is_dataclass(section) else ()
        found += [f"{field.name}.{one.name}" for one in inner] or [field.name]
    return found


def is_list(key: str) -> bool:
    return get_origin(every_setting()[key]) is tuple


def kind(key: str) -> type:
    hint = every_setting()[key]
    return get_args(hint)[0] if is_list(key) else hint


def as_given(key: str, value: Any) -> Any:
    return [value] if is_list(key) else value


def ends(key: str) -> tuple[Any, Any]:
    """The lowest and the highest value that a number may have."""
    s = SETTINGS[key]
    lowest = math.nextafter(s.least, math.inf) if s.open_ else s.least
    return (int(lowest), int(s.most)) if kind(key) is int else (float(lowest), float(s.most))


def beyond(key: str) -> list[Any]:
    """Just below, just above, what is no number at all, and numbers in another guise."""
    s, (lowest, highest) = SETTINGS[key], ends(key)
    if kind(key) is int:
        return [lowest - 1, highest + 1, 10**400, 1.5, float("nan"), True, "1", None]
    below = s.least if s.open_ else math.nextafter(s.least, -math.inf)
    return [below, math.nextafter(highest, math.inf), 10**400, math.nan, math.inf, -math.inf, True, "1", None]


def wrong() -> list[tuple[str, Any]]:
    """(setting, value it may not have), over all settings."""
    found: list[tuple[str, Any]] = []
    for key, s in SETTINGS.items():
        if key in BOUNDED:
            found += [(key, as_given(key, value)) for value in beyond(key)]
        elif kind(key) is bool:
            found += [(key, value) for value in (1, 0, "true", None)]
        else:
            found += [(key, as_given(key, value)) for value in (1, True, None, ["x"], "half \ud800 a pair")]
            found += [(key, as_given(key, "no such word"))] * bool(s.words)
            found += [(key, as_given(key, ""))] * (not s.empty)
            found += [(key, "a\0b")] * (not s.any_text and not s.words)
        if is_list(key):
            twice = SETTINGS[key].choices[0] if s.words else ends(key)[0]
            found += [(key, [twice, twice]), (key, twice), (key, None), (key, "none")]
    return found


def toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\0", "\\u0000") + '"'
    return repr(value)


def by_toml(key: str, value: Any, folder: Path) -> None:
    section, _, name = key.rpartition(".")
    line = f"{name} = {toml(value)}\n"
    text = f"[{section}]\n{line}" if section else line
    if section == "student" and name != "allow_off_policy":
        text += "allow_off_policy = true\n"
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    load_recipe(folder / "mine.toml")


def by_command_line(key: str, value: Any, folder: Path) -> None:
    override(load_recipe("labels", **FREE), [f"{key}={toml(value)}"])


def by_papermill(key: str, value: Any, folder: Path) -> None:
    load_recipe("labels", **(FREE | {key: value}))


def by_launcher(key: str, value: Any, folder: Path) -> None:
    given = {"recipe": "embedded", "settings": ["student.allow_off_policy=true", f"{key}={toml(value)}"]}
    values, problems = checked(parameters_of(NOTEBOOK), given)
    if problems:
        raise ConfigError(problems["settings"])
    recipe_with(values)


def by_dataclass(key: str, value: Any, folder: Path) -> None:
    create_run(folder / "runs", made_in_python(key, value))


def made_in_python(key: str, value: Any) -> Recipe:
    section, _, name = key.rpartition(".")
    recipe = load_recipe("labels", **FREE)
    if not section:
        return dataclasses.replace(recipe, **{name: value})
    return dataclasses.replace(recipe, **{section: dataclasses.replace(getattr(recipe, section), **{name: value})})


DOORS: list[Callable[[str, Any, Path], None]] = [by_toml, by_command_line, by_papermill, by_launcher, by_dataclass]


def can_be_written(value: Any, door: Callable[..., None]) -> bool:
    """TOML has no null, and no text with half a pair; a word that is no TOML is a text."""
    if door in (by_papermill, by_dataclass):
        return True
    inner = value[0] if isinstance(value, list) and value else value
    return inner is not None and not (isinstance(inner, str) and "\ud800" in inner)


def test_every_setting_has_bounds_and_a_line_of_explanation():
    assert list(SETTINGS) == fields_by_hand() == list(every_setting())
    for key, s in SETTINGS.items():
        assert s.says, key
        assert kind(key) in (bool, str) or (math.isfinite(s.least) and math.isfinite(s.most)), key


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_whatever_a_setting_may_not_be_is_refused_with_its_name_and_value_by_every_way_in(door, tmp_path):
    for key, value in wrong():
        if not can_be_written(value, door):
            continue
        with pytest.raises(ConfigError, match=r"must|did you mean|name it once") as refused:
            door(key, value, tmp_path)
        said = str(refused.value)
        assert key in said, (key, value, said)
        assert "\n" not in said
        assert len(said) < 400
        inner = value[0] if isinstance(value, list) else value
        assert repr(inner)[:20] in said or inner in (None, 10**400, "") or "none" in said, (key, value, said)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("key", BOUNDED)
def test_both_ends_are_allowed(key):
    for value in ends(key):
        check_setting(key, as_given(key, value))
    with pytest.raises(ConfigError, match=key):
        check_setting(key, as_given(key, beyond(key)[0]))


def test_defaults_lie_within_the_bounds_and_every_word_is_allowed():
    load_recipe("labels")
    for key, hint in every_setting().items():
        section, _, name = key.rpartition(".")
        check_setting(key, getattr(getattr(Recipe(), section), name) if section else getattr(Recipe(), key), hint)
        for word in SETTINGS[key].choices:
            check_setting(key, as_given(key, word))


def test_a_list_may_be_a_list_in_python_and_a_whole_number_a_real_one():
    recipe = made_in_python("evaluation.temperatures", [0, 1])
    assert check(recipe) is recipe


@pytest.mark.parametrize("start", [run_training, Session])
def test_a_recipe_made_in_python_is_refused_before_anything_is_loaded(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"evaluation\.every_problems is 0: it must be at least 1"):
        start(made_in_python("evaluation.every_problems", 0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["every=2", "at=[2]", 'controls=["constant"]'])
def test_measuring_without_a_temperature_is_refused_at_the_start(key):
    recipe = load_recipe("labels", **{"evaluation.controls": []})
    with pytest.raises(ConfigError, match=r"and evaluation\.temperatures is empty: name a temperature"):
        override(recipe, ["evaluation.temperatures=[]", f"evaluation.{key}"])
    assert override(recipe, ["evaluation.temperatures=[]"]).evaluation.temperatures == ()


def test_the_trainers_own_settings_are_held_to_the_same_bounds(tmp_path):
    from omniopd.training.arguments import RECIPE_KEYS, OmniOPDConfig

    made = OmniOPDConfig(str(tmp_path), use_cpu=True, bf16=False)
    assert made.objective == ObjectiveConfig()
    for name, key in RECIPE_KEYS.items():
        assert getattr(made, name) == (0 if name == "record_every" else attrgetter(key)(Recipe())), name
        value = beyond(key)[0] if key in BOUNDED else 1
        with pytest.raises(ConfigError, match=rf"^{name} is "):
            OmniOPDConfig(str(tmp_path), use_cpu=True, bf16=False, **{name: value})
    of_an_array = OmniOPDConfig(str(tmp_path), use_cpu=True, bf16=False, forks=np.int64(2), power=np.float32(0.5))
    assert (type(of_an_array.forks), of_an_array.forks, of_an_array.power) == (int, 2, 0.5)


def test_words_are_those_of_what_they_name():
    from omniopd.tasks.build import build_task
    from omniopd.tasks.registry import TASKS

    assert set(DTYPES) == set(loading.DTYPES)
    for name in TASKS:
        with suppress(OmniOPDError):  # a file, or leave to run programs, that this test does not give
            build_task(load_recipe("labels", **{"task.name": name}))
    with pytest.raises(ConfigError, match="it must be one of stories"):
        build_task(made_in_python("task.name", "chess"))
    for words, key in ((DEVICES, "training.device"), (PRECISIONS, "training.precision")):
        assert SETTINGS[key].words == words
    from transformers import SchedulerType

    assert set(SCHEDULES) <= {kind.value for kind in SchedulerType}


@pytest.mark.parametrize(
    "text",
    ["seed = " + "9" * 5000, "name = " + "[" * 5000, 'recipe = "x"\n\ud800', "audit = 3", "[audit]\nforks = {a=1}"],
    ids=["digits", "nested", "half", "section", "table"],
)
def test_a_file_that_no_reader_can_read_is_one_sentence(text, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        load_recipe(file)


def test_with_settings_and_a_command_line_say_where_the_wrong_word_stood():
    with pytest.raises(ConfigError, match=r"audit\.samples in the command line is '4': it must be a whole number"):
        override(load_recipe("labels"), ['audit.samples="4"'])
    with pytest.raises(ConfigError, match=r"evaluation\.at in a study is 5: it must be a list, each a whole number"):
        with_settings(load_recipe("labels"), {"evaluation.at": 5}, "a study")
    assert get_type_hints(Recipe)["seed"] is int
