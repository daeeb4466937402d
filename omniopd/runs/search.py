"""What rows of a table to keep, as an expression: `entropy > 1 and agreement < .3 and not probe`.

Python's words, and none of Python: comparisons of columns with numbers, texts and each other, `in`, `and`, `or`, `not`
and parentheses. Nothing is called, looked up or evaluated, so that an expression may come from anybody.
"""

from __future__ import annotations

import ast
import difflib
import operator
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from omniopd.errors import ConfigError

if TYPE_CHECKING:
    import pandas

LONGEST = 2000  # characters of an expression
_DEEPEST = 60  # parentheses and nots inside each other
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_WAY_OUT = 'write comparisons such as entropy > 1 and kind == "differs", joined by and, or, not'
_NUMBER, _TEXT, _FLAG = "a number", "a text", "true or false"


def matching(table: pandas.DataFrame, expression: str) -> pandas.Series[bool]:
    """True for each row that the expression holds for. A missing value compares as false, with `!=` too.

    `"31" in chunk` asks whether a text holds another, `kind in ("split", "differs")` whether a value is one of several.
    Raises ConfigError, one sentence, for an unknown column, another type and everything that is no comparison.
    """
    if len(expression) > LONGEST:
        raise ConfigError(f"the expression has {len(expression):,} characters: write at most {LONGEST:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of a text with a backslash
            tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        hint = "two = compare (==)" if "=" in expression and "==" not in expression else _WAY_OUT
        raise ConfigError(f"{expression.strip()!r} cannot be read as an expression: {hint}") from error
    return _Reading(table).truth(tree, 0)


def require_column(table: pandas.DataFrame, name: str) -> str:
    """The name, where the table has such a column. Raises ConfigError, which says the nearest."""
    if name in table.columns:
        return name
    near = difflib.get_close_matches(name, table.columns, 1, 0.5)
    raise ConfigError(f"{name!r} is not a column: {f'the nearest is {near[0]}' if near else _columns(table)}")


class _Reading:
    """One expression over one table."""

    def __init__(self, table: pandas.DataFrame) -> None:
        self.table = table

    def truth(self, node: ast.expr, depth: int) -> pandas.Series[bool]:
        """A part that is true or false for each row."""
        if depth > _DEEPEST:
            raise ConfigError(f"the expression is nested more than {_DEEPEST} deep: write it flatter")
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(part, depth + 1) for part in node.values]
            made = parts[0]
            for part in parts[1:]:
                made = made & part if isinstance(node.op, ast.And) else made | part
            return made
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand, depth + 1)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            made = self._all()
            for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
                made = made & self._compared(left, op, right)
            return made
        if isinstance(node, ast.Name):
            column, kind = self._column(node)
            if kind == _FLAG:
                return column.astype(bool)
            raise ConfigError(f"{node.id} is {kind} and stands alone: compare it, {node.id} {_example(kind)}")
        raise ConfigError(f"{_said(node)} is no comparison: {_WAY_OUT}")

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pandas.Series[bool]:
        if isinstance(op, ast.In | ast.NotIn):
            found = self._contained(left, right)
            return found if isinstance(op, ast.In) else ~found & self._present(left)
        if type(op) not in _COMPARISONS:
            raise ConfigError(f"{_said(left)} and {_said(right)} are compared by identity: take == or !=")
        (ours, kind), (theirs, other) = self._value(left), self._value(right)
        if kind != other:
            known, given = (left, right) if isinstance(left, ast.Name) else (right, left)
            what, against = (kind, other) if known is left else (other, kind)
            raise ConfigError(f"{_said(known)} is {what} and {_said(given)} {against}: compare two of a kind")
        if not isinstance(left, ast.Name) and not isinstance(right, ast.Name):
            raise ConfigError(f"{_said(left)} and {_said(right)} are no columns: {_columns(self.table)}")
        held: pandas.Series[bool] = _COMPARISONS[type(op)](ours, theirs)
        return (held & self._present(left) & self._present(right)).astype(bool)

    def _contained(self, left: ast.expr, right: ast.expr) -> pandas.Series[bool]:
        """`column in (…)`, or `"text" in column`."""
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            column, kind = self._column(left)
            values = [self._value(item) for item in right.elts]
            for item, (_, other) in zip(right.elts, values, strict=True):
                if isinstance(item, ast.Name) or other != kind:
                    raise ConfigError(f"{_said(left)} is {kind} and {_said(item)} is not: list values of its kind")
            return column.isin([value for value, _ in values])
        column, kind = self._column(right)
        value, other = self._value(left)
        if (kind, other) != (_TEXT, _TEXT) or isinstance(left, ast.Name):
            raise ConfigError(f'{_said(left)} in {_said(right)} cannot be asked: write "a text" in a column of texts')
        return column.str.contains(value, regex=False).astype(bool)

    def _value(self, node: ast.expr) -> tuple[Any, str]:
        """A column or a constant, and its kind."""
        if isinstance(node, ast.Name):
            return self._column(node)
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign, node = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
            if not isinstance(node, ast.Constant) or isinstance(node.value, bool | str):
                raise ConfigError(f"-{_said(node)} is no number: {_WAY_OUT}")
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bool):
                return node.value, _FLAG
            if isinstance(node.value, int | float):
                # As a float: a whole number beyond 64 bits compares with none otherwise.
                return sign * min(float(node.value), 1e300) if abs(node.value) < 1e300 else sign * 1e300, _NUMBER
            if isinstance(node.value, str):
                return node.value, _TEXT
        raise ConfigError(f"{_said(node)} is neither a column nor a number nor a text: {_WAY_OUT}")

    def _column(self, node: ast.expr) -> tuple[pandas.Series[Any], str]:
        if not isinstance(node, ast.Name):
            raise ConfigError(f"{_said(node)} is not a column: {_columns(self.table)}")
        column = self.table[require_column(self.table, node.id)]
        kind = str(column.dtype)
        return column, _FLAG if kind.startswith("bool") else _NUMBER if kind.startswith(("int", "float")) else _TEXT

    def _present(self, node: ast.expr) -> pandas.Series[bool]:
        return self.table[node.id].notna() if isinstance(node, ast.Name) else self._all()

    def _all(self) -> pandas.Series[bool]:
        import pandas

        return pandas.Series(True, index=self.table.index)


def _said(node: ast.expr) -> str:
    try:
        text = ast.unparse(node)
    except RecursionError:
        return "what is nested so deep"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _columns(table: pandas.DataFrame) -> str:
    return f"columns are {', '.join(map(str, table.columns))}"


def _example(kind: str) -> str:
    return "> 1" if kind == _NUMBER else '== "…"'
