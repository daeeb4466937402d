"""When two values are the same answer. Symmetric: which of them is the gold one makes no difference.

Exact numbers are equal when they are the same; where one is written with a decimal point, when both agree to 6 decimals
(or, where both are smaller than 1, to 6 digits). Sets, tuples, intervals and matrices are equal part by part; the rest
is math-verify's comparison, which has to agree both ways round. Texts are `grading.py`'s.
"""

from __future__ import annotations

import itertools
import logging
import math
import signal
import threading
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

DIGITS = 6
TIMEOUT_S = 120  # for one comparison, in the main thread
MOST_PARTS = 6  # of a set whose parts are tried in every order; larger ones are compared in order of size

# The LaTeX grammar keeps tables that its parsers share, and an alarm belongs to one call.
ONE_AT_A_TIME = threading.RLock()


def same(a: Any, b: Any) -> bool:
    """Whether two sympy values are the same answer."""
    import sympy

    a, b = _unnamed(_computed(a), _computed(b))
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        if _variables(a) != _variables(b):
            return False  # without this, a simplification finds out, slowly
        if not _variables(a) and (a.has(sympy.Float) or b.has(sympy.Float)):
            numbers = _decimal(a), _decimal(b)
            if None not in numbers:
                return agree(*numbers)  # type: ignore[arg-type]
    if isinstance(a, sympy.Interval) and isinstance(b, sympy.Interval):
        kinds = [(i.left_open, i.right_open) for i in (a, b)]
        return kinds[0] == kinds[1] and same(a.start, b.start) and same(a.end, b.end)
    if isinstance(a, sympy.FiniteSet) and isinstance(b, sympy.FiniteSet):
        return len(a.args) == len(b.args) and _same_parts(a.args, b.args)
    if isinstance(a, sympy.Tuple) and isinstance(b, sympy.Tuple):
        return len(a.args) == len(b.args) and all(map(same, a.args, b.args))
    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        return a.shape == b.shape and all(map(same, a.flat(), b.flat()))
    return _verified(a, b) and _verified(b, a)


def agree(a: Decimal, b: Decimal) -> bool:
    """Whether two numbers are the same to 6 decimals, or to 6 digits where both are smaller than 1."""
    larger = max(abs(a), abs(b))
    decimals = DIGITS if larger >= 1 or not larger else DIGITS - 1 - larger.adjusted()
    with localcontext() as context:
        context.prec = max(larger.adjusted(), 0) + decimals + 30
        unit = Decimal(1).scaleb(-decimals)
        return a.quantize(unit, ROUND_HALF_UP) == b.quantize(unit, ROUND_HALF_UP)


def math_verify() -> Any:
    """The library, quiet: it warns about every call without a timeout, and here the work itself is bounded."""
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return math_verify


def _computed(value: Any) -> Any:
    """5 for 2 + 3 = 5: an equation without a variable says what its right side is."""
    from sympy import And, Eq

    parts = getattr(value, "_unsorted_args", ()) if isinstance(value, And) else (value,)
    if parts and all(isinstance(part, Eq) for part in parts) and not value.free_symbols:
        return parts[-1].rhs
    return value


def _unnamed(a: Any, b: Any) -> tuple[Any, Any]:
    """x = 3 says 3 beside a value, and beside another equation of x."""
    from sympy import And, Eq
    from sympy.core.relational import Relational

    names = [value.lhs if isinstance(value, Eq) and value.lhs.is_Symbol else None for value in (a, b)]
    if names[0] is not None and names[0] == names[1]:
        return a.rhs, b.rhs
    if names[0] is not None and not isinstance(b, Relational | And):
        return a.rhs, b
    if names[1] is not None and not isinstance(a, Relational | And):
        return a, b.rhs
    return a, b


def _decimal(value: Any) -> Decimal | None:
    """A real number as a decimal, to 30 digits where it is not written as one; None for what is not a real number."""
    import sympy

    try:
        number = value if isinstance(value, sympy.Float) else value.doit().evalf(30)
        return Decimal(str(number)) if number.is_Float or number.is_Rational else None
    except (ArithmeticError, ValueError, TypeError, AttributeError):
        return None


def _same_parts(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    """Whether each part of one set is a part of the other."""
    import sympy

    if len(ours) > MOST_PARTS:
        ordered = [sorted(parts, key=lambda part: _size(part, sympy)) for parts in (ours, theirs)]
        return all(map(same, *ordered))
    table = [[same(a, b) for b in theirs] for a in ours]
    return any(all(table[i][j] for i, j in enumerate(order)) for order in itertools.permutations(range(len(theirs))))


def _size(part: Any, sympy: Any) -> tuple[float, str]:
    number = _decimal(part) if isinstance(part, sympy.Expr) and not part.free_symbols else None
    return (math.inf if number is None else float(number), str(part))


def _variables(value: Any) -> set[str]:
    return {symbol.name for symbol in value.free_symbols}


def _verified(gold: Any, given: Any) -> bool:
    with ONE_AT_A_TIME:
        return bool(math_verify().verify(gold, given, allow_set_relation_comp=True, timeout_seconds=_timeout_s()))


def _timeout_s() -> int | None:
    in_main_thread = threading.current_thread() is threading.main_thread()
    return TIMEOUT_S if in_main_thread and hasattr(signal, "SIGALRM") else None
