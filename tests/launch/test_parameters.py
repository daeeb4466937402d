"""A notebook's parameters: read as source, checked field by field."""

import papermill
import pytest

from omniopd.launch.parameters import checked, parameters_of, type_words
from tests.launch.small_notebooks import notebook

CELL = '''\
steps: int | None = 3  # optimizer steps # really
rate: float = 1e-3
method: Literal["omniopd", "sft"] = "omniopd"  # what is trained
seeds: list[int] = [
    0,
    1,
]  # several lines
name: str | None = None
loud: bool = False
text: str = "a # b = c"
half = 7 / 2
plain = 4
'''


@pytest.fixture
def parameters(tmp_path):
    return parameters_of(notebook(tmp_path / "n.ipynb", parameters=CELL))


def test_types_defaults_and_trailing_comments_are_read(parameters):
    found = {p.name: (p.type, p.default, p.help) for p in parameters}
    assert found == {
        "steps": ("int | None", 3, "optimizer steps # really"),
        "rate": ("float", 1e-3, ""),
        "method": ("Literal['omniopd', 'sft']", "omniopd", "what is trained"),
        "seeds": ("list[int]", [0, 1], "several lines"),
        "name": ("str | None", None, ""),
        "loud": ("bool", False, ""),
        "text": ("str", "a # b = c", ""),
        "half": ("", None, ""),
        "plain": ("int | None", 4, ""),
    }
    assert [p.name for p in parameters if not p.constant] == ["half"]
    assert [p.choices for p in parameters if p.choices] == [("omniopd", "sft")]


def test_what_papermill_reads_of_the_cell_is_read_alike_and_it_reads_less(tmp_path, parameters):
    theirs = papermill.inspect_notebook(tmp_path / "n.ipynb")
    ours = {p.name: p for p in parameters}
    assert {"rate", "loud", "seeds", "plain"} <= set(theirs) < set(ours)
    for name in ("rate", "loud"):
        assert theirs[name]["inferred_type_name"] == ours[name].type
        assert eval(theirs[name]["default"]) == ours[name].default


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "40", 40), ("steps", "none", None), ("steps", "", None), ("rate", "1e-4", 1e-4), ("rate", "2", 2.0),
        ("method", "sft", "sft"), ("seeds", "3,4", [3, 4]), ("seeds", "[5]", [5]), ("seeds", "", []),
        ("name", "none", None), ("name", "ada", "ada"), ("loud", "yes", True), ("loud", "False", False),
        ("text", "none", "none"), ("text", "3", "3"), ("plain", "5", 5), ("half", "[1, 'a']", [1, "a"]),
        ("steps", 40, 40), ("steps", None, None), ("rate", 2, 2.0), ("seeds", (1, 2), [1, 2]),
    ],
)  # fmt: skip
def test_texts_become_what_the_annotation_says(parameters, name, text, value):
    values, problems = checked(parameters, {name: text})
    assert problems == {}
    assert values == {name: value}
    assert type(values[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("steps", "many", "steps is 'many', and must be a whole number or nothing (none)"),
        ("steps", "1.5", "steps is '1.5', and must be a whole number or nothing (none)"),
        ("rate", "fast", "rate is 'fast', and must be a number"),
        ("method", "ppo", "method is 'ppo', and must be one of omniopd, sft"),
        ("seeds", "1,x", "seeds is '1,x', and must be whole numbers, separated by commas"),
        ("loud", "loudly", "loud is 'loudly', and must be true or false"),
        ("loud", 3, "loud is 3, and must be true or false"),
        ("rate", True, "rate is True, and must be a number"),
        ("stepz", "3", "stepz is not a parameter of this notebook: the nearest is steps"),
    ],
)
def test_each_field_gets_its_own_sentence(parameters, name, text, sentence):
    assert checked(parameters, {name: text, "loud" if name != "loud" else "rate": "1"})[1] == {name: sentence}


def test_what_the_recipe_would_refuse_is_said_before_the_start(tmp_path):
    cell = 'recipe: str = "embedded"\nsteps: int | None = 3\nteacher: str | None = None\nseed: int = 0\n'
    cell += "settings: list[str] = []\n"
    parameters = parameters_of(notebook(tmp_path / "n.ipynb", parameters=cell))
    assert "did you mean 'embedded'?" in checked(parameters, {"recipe": "embeded"})[1]["recipe"]
    problems = checked(parameters, {"steps": "-1"})[1]
    assert list(problems) == ["steps"]
    assert "training.steps is -1" in problems["steps"]
    more = checked(parameters, {"settings": "audit.samplse=4"})[1]["settings"]
    assert more.startswith("audit.samplse in settings is not a setting")  # a form has no command line
    assert checked(parameters, {"steps": "20", "seed": "4"})[1] == {}


def test_a_type_is_said_type_words():
    assert type_words("int | None") == "a whole number or nothing (none)"
    assert type_words("Optional[float]") == "a number or nothing (none)"
    assert type_words("") == "any value"
