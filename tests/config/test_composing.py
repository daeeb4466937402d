"""Recipes lie over each other, setting by setting, and what is wrong is said of the file that says it."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from omniopd.config import Recipe, compose, dotted, load_recipe, recipe_path, recipe_toml
from omniopd.errors import ConfigError

LAYERS = {
    "a.toml": 'name = "a"\nseed = 1\n[audit]\nforks = 3\nsamples = 5\n',
    "b.toml": "seed = 2\n[audit]\nsamples = 6\n[evaluation]\ntemperatures = [0.5]\n",
    "c.toml": "[audit]\n[training]\nlearning_rate = 1\n[evaluation]\ntemperatures = [0.0, 1.0]\n",
}


@pytest.fixture
def files(tmp_path):
    def write(**texts: str) -> list[Path]:
        paths = []
        for name, text in texts.items():
            paths.append(tmp_path / f"{name}.toml")
            paths[-1].write_text(text, encoding="utf-8")
        return paths

    return write


def one_by_one(texts: list[str]) -> dict[str, object]:
    """The slow way: every line of every file, in their order, into one dictionary."""
    import tomllib

    said: dict[str, object] = {}
    for text in texts:
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = f"{line[1:-1]}."
            else:
                key, _, value = line.partition(" = ")
                said[section + key] = tomllib.loads(f"v = {value}")["v"]
    return said


@pytest.mark.parametrize("order", list(itertools.permutations(LAYERS)), ids="-".join)
def test_every_setting_is_that_of_the_last_file_that_says_it(files, order):
    paths = files(**{name.removesuffix(".toml"): LAYERS[name] for name in order})
    made, said = dotted(load_recipe(*paths).as_dict()), one_by_one([LAYERS[name] for name in order])
    plain = dotted(Recipe().as_dict())
    assert made == plain | {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}


def test_a_shipped_name_may_stand_in_every_place(files):
    [mine] = files(mine="[audit]\nforks = 3\n")
    over = compose(["embedded", mine])
    assert over == load_recipe("embedded", **{"audit.forks": 3})
    under = compose([mine, "embedded"])
    assert under == load_recipe("embedded")  # which says how many forks
    assert compose([mine, "paper"], ["audit.forks=7"]).audit.forks == 7


def test_what_no_file_says_alone_may_be_whole_together(files):
    long, short = files(long="[audit]\nchunk_tokens = 900\n", room="[student]\nmax_tokens = 1000\n")
    with pytest.raises(ConfigError, match=r"audit\.chunk_tokens is 900, longer than a rollout \(512\)"):
        load_recipe(long)
    assert load_recipe(long, short) == compose([long], ["student.max_tokens=1000"])


def test_the_composed_recipe_is_one_whole_recipe(files, tmp_path):
    recipe = load_recipe(*files(**{name[0]: text for name, text in LAYERS.items()}))
    [copy] = files(copy=recipe_toml(recipe))
    assert load_recipe(copy) == recipe


# ── what is wrong is said of its file ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ("[audit]\nsmaples = 4\n", "audit.smaples in {over} is not a setting; the nearest is audit.samples"),
        ("[audit]\nsamples = 'ten'\n", "audit.samples in {over} is 'ten': it must be a whole number"),
        ("audit = 3\n", "audit in {over} is 3: it must be a table of settings"),
        ("[audit\n", "{over} is not a recipe"),
        ("[audit]\nsamples = 0\n", "audit.samples is 0: it must be at least 1 (audit.samples stands in {over})"),
        ("[audit]\nchunk_tokens = 97\n", "lower it, or raise student.max_tokens (audit.chunk_tokens stands in {over}, "
         "student.max_tokens stands in {base})"),
        ("[student]\ntop_k = 5\n", "student.allow_off_policy = true (composed of {base}, {over})"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_file_and_the_key(files, over, sentence):
    [path] = files(over=over)
    words = sentence.format(over=path, base=recipe_path("labels"))
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_recipe("labels", path)


def test_a_mistake_in_the_first_file_is_not_said_of_the_last(files):
    first, last = files(first="[audit]\nforkz = 1\n", last="[audit]\nforks = 1\n")
    with pytest.raises(ConfigError, match=re.escape(f"audit.forkz in {first} is not a setting")):
        load_recipe(first, last)


def test_words_of_the_command_line_are_named_as_such():
    with pytest.raises(ConfigError, match=r"audit\.smaples in the command line is not a setting"):
        compose(["embedded", "paper"], ["audit.smaples=4"])
    with pytest.raises(ConfigError, match=r"audit\.samples stands in the command line"):
        compose(["embedded", "paper"], ["audit.samples=0"])


def test_a_whole_recipe_over_others_is_refused_since_it_would_hide_them(files, tmp_path):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"kind": "manifest", "recipe": load_recipe("paper").as_dict()}))
    [mine] = files(mine="[audit]\nforks = 3\n")
    assert load_recipe(manifest, mine).audit.forks == 3
    with pytest.raises(ConfigError, match=r"manifest\.json says every setting there is, .* name it first"):
        load_recipe(mine, manifest)


def test_no_recipe_is_one_sentence():
    with pytest.raises(ConfigError, match="no recipe is named"):
        compose([], ["seed=1"])
