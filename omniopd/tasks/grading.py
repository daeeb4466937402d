r"""Is this response right? `grade` finds the response's final answer and compares it with the gold one by math-verify.

    grade("She makes 9 * 2 = $18 a day.\n#### 18", "18")              True
    grade(r"Hence \boxed{\frac{1}{2}}.", "0.5")                       True

Percent signs are lenient, since data sets drop them: 25% counts as 25 and as 0.25. Units are dropped, not converted.
Lists and sets have no order, tuples do; open and closed intervals differ. Words are compared letter by letter.

Responses are untrusted. Texts are read by math-verify's LaTeX grammar alone, never by its expression reader, which
evaluates Python. `_is_modest` refuses what would take long: towers of powers, huge factorials, sums and integrals.
That bounds the work whatever the machine does: a short timeout would grade right answers as wrong when it is busy.
math-verify's own timeout works by SIGALRM, which Python has in the main thread only; there it is a last net, and
the same call works in any thread. Knows nothing of tasks and models.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import re
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_ANSWER = 300  # characters; a longer "answer" is a text, not a value
TIMEOUT_S = 120  # for one comparison, in the main thread


def grade(response: str, answer: str) -> bool:
    """Does the response's final answer equal `answer`? Works in every thread.

    `answer` may be a bare value or a worked solution that marks its own final answer with #### or a box. Numbers are
    equal when they agree to 6 decimals, or to 6 digits where the gold answer is smaller than 1.
    """
    gold_text = final_answer(answer) if "####" in answer or "\\boxed" in answer else answer
    given_text = final_answer(response)
    if not gold_text.strip() or not given_text:
        return False
    if _words(given_text) == _words(gold_text):
        return True
    if _is_set(given_text) != _is_set(gold_text) and _is_ordered(given_text) != _is_ordered(gold_text):
        return False  # math-verify lets {1, 2} pass for (1, 2), because it also reads a bare 1, 2 as a set
    return any(
        _equal(gold, given)
        for gold, given in itertools.product(_values(gold_text, given_text), _values(given_text, gold_text))
    )


def final_answer(response: str) -> str:
    r"""The part of a response that counts as its answer; "" if there is none. The only place that decides this.

    The first of these that the response has: what follows the last ``####``; what the last ``\boxed{}`` holds; what
    follows the last "answer is", "answer:" or line-opening "A:"; the last formula or number.
    """
    text = response.translate(_PLAIN_SIGNS)
    if "####" in text:
        return _first_line(text.rpartition("####")[2])
    if "\\boxed" in text:
        return _braced(text.rpartition("\\boxed")[2])
    marks = list(_ANSWER_MARK.finditer(text))
    if marks:
        return _first_line(text[marks[-1].end() :])
    numbers = _FORMULA_OR_NUMBER.findall(text)
    return numbers[-1].strip() if numbers else ""


# Signs with one plain spelling. A vulgar fraction gets a space before it: 1½ is the mixed number 1 1/2.
_FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅙": "1/6", "⅛": "1/8"}
_PLAIN_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "°": ""}
    | dict.fromkeys("€£¥₹₩₽", "")
    | {sign: f" {fraction}" for sign, fraction in _FRACTIONS.items()}
)
_ANSWER_MARK = re.compile(r"\banswers?\b[^.\n:=]{0,60}?\b(?:is|are)\b|\banswer[ *]{0,5}[:=]|^[ \t*]*A\**:", re.I | re.M)
_NUMBER = re.compile(
    r"(?:(?<![\w)])-)?(?:\\?\$)?(?:(?<![\w)])-)?"  # a sign before or after the currency; in 10-3 it is a minus
    r"(?:\d+ \d+/\d+|\d+(?:\.\d+)? ?/ ?\d+|\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:e[+-]?\d{1,3}\b)?(?:\s?\\?%|\s?percent\b)?"
)
_FORMULA_OR_NUMBER = re.compile(
    r"(?:\$\$[^$]{1,300}\$\$|\$[^$\n]{1,300}\$|\\\([^\n]{1,300}?\\\)|\\\[.{1,300}?\\\]"
    r"|-?\d*\\[dt]?frac\{[^{}]+\}\{[^{}]+\}|" + _NUMBER.pattern + ")",
    re.S,
)


def _first_line(text: str) -> str:
    """The first line that says something; a displayed formula counts as one line."""
    text = text.lstrip(" \t\n:*")
    for opening, closing in (("$$", "$$"), ("\\[", "\\]")):
        if text.startswith(opening) and (end := text.find(closing, 2)) > 0:
            return text[2:end].strip()
    return text.partition("\n")[0].strip()


def _braced(text: str) -> str:
    """The content of the braces that `text` opens with; without braces (``\\boxed 5``) its first word."""
    text = text.lstrip()
    if not text.startswith("{"):
        return (text.split() or [""])[0].rstrip("$.")
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return text[1:at].strip()
    return ""  # cut off inside the box: no answer was given


def _words(text: str) -> str:
    """An answer as plain words, for the comparison letter by letter."""
    return " ".join(_TEXT.sub(r"\1", text).casefold().split()).strip("*$ .")


# From a written answer to a value ------------------------------------------------------------------------------------

_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
# A word of prose: begins after a space, or is long. Single letters are variables unless a word follows ("18 a day").
_PROSE = re.compile(
    r"(?<!\S)(?!(?:and|or|pi|sqrt|sin|cos|tan|log|ln)\b)(?:[A-Za-z]{2,}|[A-Za-z](?=\s+[A-Za-z]{2,}))"
    r"|(?<![\\A-Za-z{])(?!sqrt|infty)[A-Za-z]{4,}"
)
_UNIT = re.compile(r"(?<=[\d}])\s+[mgslLhNJWVKCF](?:\^?\{?[23]\}?)?(?:/[a-z]+(?:\^?\{?[23]\}?)?)?$")
_SPACE = re.compile(r"(?<!\\)\\[,;: ]|\\q?quad\b|~")
_SPELLINGS = (  # to the one spelling that the LaTeX grammar reads as meant
    (re.compile(r"\\?\$(?=\s*-?[\d.])"), ""),
    (re.compile(r"\s*percent\b"), r"\\%"),
    (re.compile(r"(?<!\\)%"), r"\\%"),
    (re.compile(r"(?<![\d/])(\d+) (\d+)/(\d+)(?![\d/])"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"(?<=\d) (?=\d{3}(?!\d))"), ""),  # 10 000
    (re.compile(r"(?<=\d)[eE]([+-]?\d{1,3})\b"), r" \\times 10^{\1}"),
    (re.compile(r"(?<=\d)\s*[x×]\s*(?=10\s*\^)"), r" \\times "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\^\s*(-?\d+)"), r"^{\1}"),
    (re.compile(r"\\[dt]?frac\s*(\\[a-z]+|\w)\s*(\\[a-z]+|\w)"), r"\\frac{\1}{\2}"),
)


def _values(text: str, other: str) -> list[Any]:
    """The value of `text`, and also that without its percent sign where only the `other` has none."""
    readings = [text, text.replace("\\%", "").replace("%", "")] if "%" in text and "%" not in other else [text]
    return [value for reading in readings if (value := _value(reading)) is not None]


def _is_set(text: str) -> bool:
    return _undressed(text).replace("\\left", "").lstrip().startswith(("\\{", "\\lbrace"))


def _is_ordered(text: str) -> bool:
    return _undressed(text).replace("\\left", "").lstrip().startswith(("(", "["))


def _value(text: str) -> Any | None:
    """A sympy value, or None where the text is no value that can be compared quickly."""
    formula = _formula(text.translate(_PLAIN_SIGNS))
    return _parsed(formula) if formula and _is_modest(formula) else None


@functools.lru_cache(maxsize=4096)
def _parsed(formula: str) -> Any | None:
    math_verify = _math_verify()
    with _ONE_AT_A_TIME:
        values = math_verify.parse(
            f"${formula}$",
            [math_verify.LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
    return values[0] if values else None


def _formula(text: str) -> str:
    """The mathematical part of an answer, in LaTeX, without the words around it."""
    text = _undressed(text)
    whole, text = len(text) <= LONGEST_ANSWER, _SPACE.sub(" ", _TEXT.sub(r" \1 ", text[:LONGEST_ANSWER]))
    prose = _PROSE.search(text)
    if not prose and not whole:
        return ""
    if prose:
        before = text[: prose.start()]
        if not any(sign.isdigit() for sign in before):
            number = _NUMBER.search(text.rpartition("=")[2])
            before = number.group() if number else ""
        text = _undressed(before.rstrip(" (-"))
    for spelling, latex in _SPELLINGS:
        text = spelling.sub(latex, text)
    return _UNIT.sub("", text)


def _undressed(text: str) -> str:
    """Without markdown, full stop and formula delimiters around the whole."""
    text = text.strip("*_` \n\t").rstrip(".,;: ")
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and opening not in inner:
            text = inner.strip()
    return text


# Commands whose cost is bounded by the length of the text; sums, integrals, limits and unknown ones are not among them.
_COMMANDS = """
    frac dfrac tfrac cfrac sqrt pi e i infty cdot times div pm mp left right big Big bigl bigr cup cap setminus in le
    leq ge geq lt gt neq ne approx equiv text textbf mathrm mathbf mathbb operatorname circ degree displaystyle sin
    cos tan cot sec csc arcsin arccos arctan log ln lvert rvert vert begin end alpha beta gamma delta theta lambda mu
    phi omega sigma rho emptyset varnothing lbrace rbrace land lor binom
"""
_POWER = re.compile(r"\^\s*(?:\{([^{}]*)\}|\\?([A-Za-z0-9]+))")


def _is_modest(formula: str) -> bool:
    """Can this be read and compared in moments? Bounds length, nesting, digits, powers and factorials."""
    if len(formula) > LONGEST_ANSWER or max(_depths(formula)) > 8 or re.search(r"\d{60}", formula):
        return False
    if not set(_COMMANDS.split()).issuperset(re.findall(r"\\([A-Za-z]+)", formula)):
        return False
    if re.search(r"(?<!\d)!|\d{4,}!|!\s*[!^]|\\binom(?!\{\d{1,3}\}\{\d{1,3}\})", formula.replace("\\!", "")):
        return False
    powers = list(_POWER.finditer(formula))
    if len(powers) != formula.count("^"):
        return False  # an exponent that is not plain to see
    if any(formula[power.end() :].lstrip(" })").startswith("^") for power in powers):
        return False  # a tower
    if not re.search(r"(?<![\\A-Za-z])[a-z](?![a-z])", formula):
        return _growth(powers) <= 1000
    # A comparison may multiply out a power of a sum with variables, and solves equations: their degree counts.
    of_sums = [power for power in powers if formula[: power.start()].endswith((")", "}"))]
    of_variables = [power for power in powers if not formula[: power.start()].endswith(tuple("0123456789"))]
    relation = re.search(r"[<>=]|\\[lg]eq?\b", formula)
    return _growth(powers) <= 1000 and _growth(of_sums) <= 12 and not (relation and _growth(of_variables) > 4)


def _growth(powers: Iterable[re.Match[str]]) -> int:
    exponents = [power[1] or power[2] or "" for power in powers]
    return math.prod(max(1, int(digits)) for exponent in exponents for digits in re.findall(r"\d+", exponent))


def _depths(formula: str) -> Iterator[int]:
    depth = 0
    yield depth
    for sign in formula:
        depth += (sign in "({[") - (sign in ")}]")
        yield depth


# math-verify ---------------------------------------------------------------------------------------------------------

# The LaTeX grammar keeps tables that its parsers share, and an alarm belongs to one call.
_ONE_AT_A_TIME = threading.RLock()


def _equal(gold: Any, given: Any) -> bool:
    """math-verify's comparison; it is not symmetric, the gold value leads."""
    import sympy

    if isinstance(gold, sympy.Expr) and isinstance(given, sympy.Expr) and _variables(gold) != _variables(given):
        return False  # without this, a simplification finds out, slowly
    with _ONE_AT_A_TIME:
        return bool(_math_verify().verify(gold, given, float_rounding=_decimals(gold), timeout_seconds=_timeout_s()))


def _variables(value: Any) -> set[str]:
    return {symbol.name for symbol in value.free_symbols}


def _decimals(gold: Any) -> int:
    """Decimals that must agree: 6, and more where the value is small, or 1e-7 would equal 2e-7."""
    try:
        size = abs(float(gold))
    except (TypeError, ValueError, OverflowError):
        return 6
    return 6 if size >= 1 or size == 0 else 6 - math.floor(math.log10(size))


def _timeout_s() -> int | None:
    in_main_thread = threading.current_thread() is threading.main_thread()
    return TIMEOUT_S if in_main_thread and hasattr(signal, "SIGALRM") else None


@functools.cache
def _math_verify() -> Any:
    import math_verify

    # It warns about every call without a timeout; this module bounds the work instead.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return math_verify
