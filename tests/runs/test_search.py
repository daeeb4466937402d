"""Facts about expressions over a table: what they keep, and that nothing of Python runs in them."""

from __future__ import annotations

import contextlib
import math

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.errors import ConfigError
from omniopd.runs.search import LONGEST, matching

TABLE = pandas.DataFrame(
    {
        "entropy": [0.1, 1.5, math.nan, 2.0],
        "prior": [0.5, 0.2, 0.9, 2.0],
        "texts": [8, 8, 0, 3],
        "kind": pandas.array(["agreed", "split", "unanswered", "differs"], dtype="str"),
        "chunk": pandas.array(["31 stamps", 'a "b"', "", "x\n("], dtype="str"),
        "probe": [True, False, False, True],
    }
)
KNOWN = [
    ("entropy > 1", [1, 3]), ("1 < entropy <= 1.5", [1]), ("not entropy > 1", [0, 2]), ("entropy != 2", [0, 1]),
    ("entropy > -1", [0, 1, 3]), ("probe", [0, 3]), ("not probe and texts == 8", [1]),
    ('kind == "split" or kind == "differs"', [1, 3]), ("kind in ('split', 'differs')", [1, 3]),
    ("texts not in (8, 3)", [2]), ("'31' in chunk", [0]), ("'(' in chunk", [3]), ("'(' not in chunk", [0, 1, 2]),
    ("chunk == 'a \"b\"'", [1]), ("probe == True", [0, 3]), ("prior < entropy", [1]), ("2 == prior", [3]),
    ("texts < 99999999999999999999999", [0, 1, 2, 3]), ("entropy > 1e999", []), ("(probe)", [0, 3]),
    ("probe or not probe and entropy > 1", [0, 1, 3]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "rows"), KNOWN)
def test_an_expression_keeps_the_rows_that_it_holds_for(expression: str, rows: list[int]) -> None:
    assert TABLE.index[matching(TABLE, expression)].tolist() == rows


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("entrpy > 1", "'entrpy' is not a column: the nearest is entropy"),
        ("zzz > 1", "columns are entropy, prior"),
        ("entropy = 1", "two = compare"),
        ("entropy >", "cannot be read as an expression"),
        ("", "cannot be read as an expression"),
        ("entropy", "entropy is a number and stands alone"),
        ("kind", 'kind is a text and stands alone: compare it, kind == "…"'),
        ("entropy > 'x'", "entropy is a number and 'x' a text"),
        ("kind > 1", "kind is a text and 1 a number"),
        ("kind in ('a', 3)", "kind is a text and 3 is not"),
        ("3 in entropy", "cannot be asked"),
        ("1 < 2", "1 and 2 are no columns"),
        ("entropy is 1", "take == or !="),
        ("x" * (LONGEST + 1), "characters: write at most"),
        ("not " * 200 + "probe", "nested more than"),
        ("entropy > 1j", "neither a column nor a number nor a text"),
        ("entropy > b'1'", "neither a column nor a number nor a text"),
        ("-probe == 1", "is no number"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_way_out(expression: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        matching(TABLE, expression)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch /tmp/pwned')", "entropy.__class__ == 1", "@print(1)", "`entropy` > 1",
        "entropy > __import__('os').getpid()", "(lambda: probe)()", "[x for x in (1,)]", "entropy[0] > 1",
        "kind.str.len() > 1", "f'{entropy}' == kind", "(x := 1)", "probe if probe else probe", "entropy + 1 > 2",
        "__builtins__ == 1", "print(1)", "await probe", "*probe", "entropy ** 9 ** 9 ** 9 > 1", "index > 1", "...",
        "a" + ".b" * 900, "-" * 900 + "1 > entropy", "(" * 900 + "probe" + ")" * 900, "\0", "entropy > 1; import os",
        "probe\nimport os", "kind in (entropy for entropy in (1,))", "kind in ('a', kind)", "kind in ('a', ('b',))",
    ],
)  # fmt: skip
def test_nothing_is_called_and_nothing_is_looked_up(expression: str) -> None:
    with pytest.raises(ConfigError):
        matching(TABLE, expression)


def _leaf() -> st.SearchStrategy[str]:
    number = st.floats(-3, 3).map(lambda x: f"{x!r}")
    comparison = st.tuples(
        st.sampled_from(["entropy", "prior", "texts"]), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), number
    )
    return st.one_of(comparison.map(" ".join), st.just("probe"), st.just("kind == 'split'"))


EXPRESSIONS = st.recursive(
    _leaf(),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"(not {e})"),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_it_says_what_python_says_of_each_row(expression: str) -> None:
    whole = TABLE.dropna()  # a missing value is unlike Python's: `!=` holds for it there
    found = matching(whole, expression).tolist()
    assert found == [bool(eval(expression, {}, row)) for row in whole.to_dict("records")]


@given(st.text(max_size=60))
def test_whatever_is_typed_is_rows_or_a_sentence(expression: str) -> None:
    with contextlib.suppress(ConfigError):
        assert len(matching(TABLE, expression)) == len(TABLE)
