"""Recipes are read strictly: what a user wrote wrong is said with the value, the place and the way out."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omniopd.config
from omniopd.config import Recipe, load_recipe, override, recipe_from, recipe_toml
from omniopd.errors import ConfigError

SHIPPED = sorted(p.stem for p in (Path(omniopd.config.__file__).parent.parent / "recipes").glob("*.toml"))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads_and_survives_toml(name, tmp_path):
    recipe = load_recipe(name)
    assert load_recipe(written(tmp_path, recipe_toml(recipe))) == recipe


def test_the_papers_recipe_has_the_papers_numbers():
    paper = load_recipe("paper")
    assert (paper.audit.forks, paper.audit.samples, paper.audit.chunk_tokens) == (10, 10, 50)
    assert (paper.audit.scheduler, paper.audit.similarity, paper.audit.power) == ("peak", "characters", 1.0)
    objective = paper.objective
    assert (objective.target, objective.control, objective.anchor_on) == ("paper", "none", "unaudited")
    assert (objective.concentration, objective.anchor_weight) == (1.0, 0.1)
    assert (paper.student.temperature, paper.student.top_p, paper.student.top_k) == (1.0, 1.0, 0)


readable = st.text('aé🙂"\\#=[ ', max_size=12)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(readable, st.integers(-(2**40), 2**40), st.floats(0, 1e9), st.lists(st.floats(0, 2), max_size=4), st.booleans())
def test_any_recipe_survives_toml(name, seed, weight, temperatures, flag):
    recipe = recipe_from(
        {
            "name": name,
            "seed": seed,
            "objective": {"anchor_weight": weight},
            "evaluation": {"temperatures": temperatures},
            "student": {"use_vllm": flag},
        }
    )
    assert recipe_from(tomllib.loads(recipe_toml(recipe))) == recipe


def test_a_run_directorys_manifest_is_a_recipe(tmp_path):
    recipe = load_recipe("paper", **{"audit.samples": 4})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"kind": "manifest", "recipe": recipe.as_dict()}))
    assert load_recipe(path) == recipe


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_overrides_are_dotted_keys_and_leave_the_rest():
    plain, changed = load_recipe("paper"), load_recipe("paper", **{"audit.samples": 4, "name": "mine"})
    assert (changed.audit.samples, changed.name) == (4, "mine")
    assert dataclasses.replace(changed, name=plain.name, audit=plain.audit) == plain


def test_words_of_a_command_line_are_toml_or_else_plain_text():
    changed = override(
        load_recipe("paper"),
        ["audit.samples=4", "audit.similarity=exact", "training.learning_rate = 1e-5", "student.model=folder/a b",
         "evaluation.temperatures=[0, 0.5]", "training.gradient_checkpointing=false"],
    )  # fmt: skip
    assert (changed.audit.samples, changed.audit.similarity) == (4, "exact")
    assert (changed.training.learning_rate, changed.student.model) == (1e-5, "folder/a b")
    assert (changed.evaluation.temperatures, changed.training.gradient_checkpointing) == ((0.0, 0.5), False)
    with pytest.raises(ConfigError, match=r"'audit\.samples' is not a setting: write key=value"):
        override(load_recipe("paper"), ["audit.samples"])


# ── what is wrong is said ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("audit.smaples", "audit.samples"),
        ("audit.chunk_token", "audit.chunk_tokens"),
        ("audit.concentration", "objective.concentration"),
        ("forks", "audit.forks"),
        ("training.lerning_rate", "training.learning_rate"),
        ("objectives", "objective"),
        ("nmae", "name"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(key, nearest):
    said = rf"{re.escape(key)} in .* is not a setting; the nearest is {re.escape(nearest)}$"
    with pytest.raises(ConfigError, match=said):
        load_recipe("paper", **{key: 1})


def test_a_name_of_an_earlier_version_is_read_as_the_one_of_now(tmp_path):
    for old, now in ((True, "vllm"), (False, "transformers")):
        assert recipe_from({"name": "n", "student": {"use_vllm": old}}).student.sampler == now
        assert override(Recipe(), [f"student.use_vllm={str(old).lower()}"]).student.sampler == now
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text("[student]\nuse_vllm = true\n")
    new.write_text('[student]\nsampler = "transformers"\n')
    assert load_recipe("embedded", old).student.sampler == "vllm"
    assert load_recipe("embedded", old, new).student.sampler == "transformers"
    assert load_recipe("embedded", new, old).student.sampler == "vllm"
    with pytest.raises(ConfigError, match=r"holds student.sampler and the name that it had earlier"):
        recipe_from({"student": {"use_vllm": True, "sampler": "vllm"}})


@pytest.mark.parametrize(
    ("sampler", "server", "said"),
    [
        ("vllm_server", "", "so give both, or neither"),
        ("vllm", "http://here:8000", "so give both, or neither"),
        ("vllm_server", "here:8000", "give an address such as"),
        ("vllm_server", "http://here:8000/", "without a slash"),
        ("vllm_server", "http://me:secret@here:8000", "holds a key or a password"),
    ],
)
def test_a_sampler_and_its_server_belong_together(sampler, server, said):
    with pytest.raises(ConfigError, match=said):
        load_recipe("embedded", **{"student.sampler": sampler, "student.server": server})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("audit.samples", "ten"), ("audit.samples", 2.5), ("audit.samples", True), ("training.learning_rate", "fast"),
        ("training.learning_rate", True), ("student.use_vllm", 1), ("student.model", 4), ("audit", 3),
        ("evaluation.temperatures", 0.5), ("evaluation.temperatures", ["hot"]), ("name", None),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_an_error_that_shows_it(key, value):
    shown = re.escape(repr(value[0] if isinstance(value, list) else value))
    with pytest.raises(ConfigError, match=rf"{re.escape(key)} in .* is {shown}: it must be"):
        load_recipe("paper", **{key: value})


def test_a_whole_number_is_good_enough_for_a_real_one():
    recipe = load_recipe("paper", **{"objective.anchor_weight": 1})
    assert isinstance(recipe.objective.anchor_weight, float)


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"audit.chunk_tokens": 5000}, "audit.chunk_tokens is 5000, longer than a rollout (4096): lower it, or raise"),
        ({"audit.forks": 0}, 'audit.forks is 0 and audit.way "chunks"'),
        ({"audit.way": "scan", "objective.target": "centred", "objective.redraws": 2}, "it takes whole texts at forks"),
        ({"audit.way": "scan", "objective.continuation_weight": 0.5}, "it takes whole texts at forks"),
        ({"audit.way": "scan", "method": "continuations"}, "it learns whole texts at forks"),
        ({"audit.way": "scan", "audit.similarity": "embedding"}, "a scan compares tokens"),
        ({"audit.way": "scan", "audit.power": 2.0}, "a token is the same or not"),
        ({"audit.way": "scan", "objective.target": "labels", "objective.depth": 2}, "labels every token"),
        ({"audit.at_once": 2}, "it is for a scan; leave it at 1"),
        ({"objective.target": "papr"}, "objective.target is 'papr': did you mean 'paper'?"),
        ({"audit.scheduler": "middle"}, "it must be one of peak, random, early, causal"),
        ({"student.temperature": 0.7}, "sharpens the student by itself: use 1, 1 and 0, or set"),
        ({"student.top_k": 20}, "top_k 20"),
        ({"objective.target": "none"}, "nothing would be learnt"),
        ({"objective.redraws": 2}, 'objective.redraws is 2 and objective.target "paper": only "centred"'),
        ({"objective.target": "labels", "objective.depth": 51}, "is 51, more tokens of labels than a chunk (50)"),
        ({"objective.concentration": -1.0}, "objective.concentration is -1.0: it must be at least 0"),
        ({"training.rollouts": 64, "training.micro_batch": 7}, "no multiple of training.micro_batch (7)"),
        ({"training.learning_rate": 0.0}, "must be above 0"),
        (
            {"method": "sft", "evaluation.controls": ["self_teacher"]},
            'evaluation.controls names "self_teacher", which changes nothing in method "sft" (it has none): set '
            "evaluation.controls=[]",
        ),
        ({"method": "white_box", "objective.control": "constant"}, 'nothing in method "white_box" (it has none)'),
        (
            {"method": "continuations", "objective.control": "shuffled"},
            'objective.control names "shuffled", which changes nothing in method "continuations" (it has self_teacher)',
        ),
        (
            {"objective.continuation_weight": 0.5, "objective.control": "prior_only"},
            'changes nothing in method "omniopd" with continuation_weight (it has self_teacher)',
        ),
        ({"method": "white_box", "teacher.top_p": 0.9}, "teacher.top_p is 0.9 and method \"white_box\""),
    ],
)
def test_settings_that_cannot_work_together_are_refused_before_anything_runs(settings_, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_recipe("paper", **settings_)


def test_sharpened_sampling_is_allowed_to_who_insists():
    recipe = load_recipe("paper", **{"student.temperature": 0.7, "student.allow_off_policy": True})
    assert recipe.student.temperature == 0.7


def test_an_unknown_recipe_names_a_near_one_and_a_broken_file_itself(tmp_path):
    with pytest.raises(ConfigError, match=r"no recipe 'papr'.*did you mean 'paper'\?"):
        load_recipe("papr")
    with pytest.raises(ConfigError, match=r"mine\.toml is not a recipe"):
        load_recipe(written(tmp_path, "name = "))


def test_both_terms_are_divided_by_a_fixed_length_the_longest_answer_unless_told():
    assert Recipe().normaliser_length == Recipe().student.max_tokens
    assert load_recipe("paper", **{"objective.length": 50}).normaliser_length == 50


def test_a_scans_text_may_be_longer_than_an_answer() -> None:
    recipe = load_recipe("embedded", **{"student.max_tokens": 8})
    assert (recipe.audit.way, recipe.audit.chunk_tokens, recipe.student.max_tokens) == ("scan", 96, 8)
