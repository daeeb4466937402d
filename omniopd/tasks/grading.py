r"""Is this response right? `grade` finds the response's final answer and compares it with the gold one by math-verify.

    grade("She makes 9 * 2 = $18 a day.\n#### 18", "18")              True
    grade(r"Hence \boxed{\frac{1}{2}}.", "0.5")                       True

Percent signs are lenient, since data sets drop them: 25% counts as 25 and as 0.25. Units are dropped, not converted.
Lists and sets have no order, tuples do; open and closed intervals differ. Words are compared letter by letter.

Responses are untrusted. Texts are read by math-verify's LaTeX grammar alone, never by its expression reader, which
evaluates Python. `_is_modest` refuses what would take long: towers of powers, huge factorials, sums and integrals.
That bounds the work whatever the machine does: a short timeout would grade right answers as wrong when it is busy.
math-verify's own timeout works by SIGALRM, which Python has in the main thread only; there it is a last net, and
the same call works in any thread.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from typing import TYPE_CHECKING, Any

from omniopd.tasks.equality import ONE_AT_A_TIME, math_verify, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_ANSWER = 300  # characters; a longer "answer" is a text, not a value


def grade(response: str, answer: str) -> bool:
    """Does the response's final answer equal `answer`? Works in every thread.

    `answer` may be a bare value or a worked solution that marks its own final answer with #### or a box. When two
    values are the same, `equality.py` says.
    """
    gold_text = final_answer(answer) if "####" in answer or "\\boxed" in answer else answer
    given_text = final_answer(response)
    if not gold_text.strip() or not given_text:
        return False
    return any(_same_texts(one, other) for one, other in _readings(gold_text, given_text))


def _readings(gold: str, given: str) -> Iterator[tuple[str, str]]:
    """What to compare: the texts; and where one is a choice, "(B) 42", its letter or what it says with the other."""
    choice, other = _choice(gold) or _choice(given), given if _choice(gold) else gold
    if choice is None or _choice(other):
        yield gold, given
        return
    yield choice["inside"] or choice["before"], other
    yield choice["says"], other


def _same_texts(gold_text: str, given_text: str) -> bool:
    if _words(given_text) == _words(gold_text):
        return True
    if _is_set(given_text) != _is_set(gold_text) and _is_ordered(given_text) != _is_ordered(gold_text):
        return False  # math-verify lets {1, 2} pass for (1, 2), because it also reads a bare 1, 2 as a set
    return any(
        same(gold, given)
        for gold, given in itertools.product(_values(gold_text, given_text), _values(given_text, gold_text))
    )


def final_answer(response: str) -> str:
    r"""The part of a response that counts as its answer; "" if there is none. The only place that decides this.

    The first of these that the response has: what follows the last ``####``; what the last ``\boxed{}`` holds; what
    follows the last "answer is", "answer:" or line-opening "A:"; the last line, where it is a choice, "(B) 42"; the
    last formula or number; the only word.
    """
    text = response.translate(_PLAIN_SIGNS)
    if "####" in text:
        return _first_line(text.rpartition("####")[2])
    if "\\boxed" in text:
        return _braced(text.rpartition("\\boxed")[2])
    marks = list(_ANSWER_MARK.finditer(text))
    if marks:
        return _first_line(text[marks[-1].end() :])
    last = text.rstrip().rpartition("\n")[2]
    chosen = _choice(last)
    if chosen and not (_PROSE.search(chosen["says"]) and len(_FORMULA_OR_NUMBER.findall(chosen["says"])) > 1):
        return last.strip()  # else a step of a calculation that letters count: "B. 4 x 5 = 20 hours"
    numbers = _FORMULA_OR_NUMBER.findall(text)
    if numbers:
        return str(numbers[-1]).strip()
    word = _ONE_WORD.fullmatch(text[:LONGEST_ANSWER].strip()) if len(text) <= LONGEST_ANSWER else None
    return word[1] if word else ""


# Signs with one plain spelling. A vulgar fraction gets a space before it: 1½ is the mixed number 1 1/2.
_FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅙": "1/6", "⅛": "1/8"}
_PLAIN_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "°": ""}
    | {"∞": "\\infty ", "≥": "\\ge ", "≤": "\\le ", "≠": "\\ne ", "∪": "\\cup ", "∩": "\\cap ", "√": "\\sqrt "}
    | dict.fromkeys("€£¥₹₩₽", "")
    | {sign: f" {fraction}" for sign, fraction in _FRACTIONS.items()}
)
_ANSWER_MARK = re.compile(
    r"\banswers?\b[^.\n:=]{0,60}?\b(?:is|are)\b|\banswer[ *]{0,5}[:=]|^[ \t*]*A\**:", re.I | re.M
)
# A letter with what it stands for: "(B) 42", "B) 42". Not the parts of an answer: "(a) 5, (b) 6".
_CHOICE = re.compile(
    r"(?:\((?P<inside>[A-Ja-j])\)(?:\s+|(?=[\d$]))|(?P<before>[A-J])[).:]\s+)(?P<says>(?!.*\([A-Ja-j]\))\S.*)"
)
_ONE_WORD = re.compile(r"[*_\"'(\s]*([^\W\d_]+)[*_\"')\s.!]*")
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


def _choice(text: str) -> re.Match[str] | None:
    if len(text) > LONGEST_ANSWER:
        return None
    return _CHOICE.fullmatch(_undressed(_SPACE.sub(" ", _TEXT.sub(r"\1", text))))


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
    return " ".join(_TEXT.sub(r"\1", text).casefold().split()).lstrip("*$ ").rstrip("*$ .")


# From a written answer to a value ------------------------------------------------------------------------------------

_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
# A word of prose: begins after a space, or is long. Single letters are variables unless a word follows ("18 a day").
_PROSE = re.compile(
    r"(?<!\S)(?!(?:and|or|pi|sqrt|sin|cos|tan|log|ln)\b)(?:[A-Za-z]{2,}|[A-Za-z](?=\s+[A-Za-z]{2,}))"
    r"|(?<![\\A-Za-z{])(?!sqrt|infty)[A-Za-z]{4,}"
)
_UNIT = re.compile(r"(?<=[\d}])\s+[mgslLhNJWVKCF](?:\^?\{?[23]\}?)?(?:/[a-z]+(?:\^?\{?[23]\}?)?)?$")


def _repeating(found: re.Match[str]) -> str:
    r"""0.1\overline{6} as the fraction that it is."""
    whole, once, again = found[1], found[2], found[3]
    top = int(whole + once + again) - int(whole + once or "0")
    return rf"\frac{{{top}}}{{{10 ** len(once) * (10 ** len(again) - 1)}}}"


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
    (re.compile(r"\\varnothing\b|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\\sqrt\s+(\d+|\w)"), r"\\sqrt{\1}"),
    (re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?"), _repeating),
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
    """A sympy value, or None where the text is not a value that can be compared quickly."""
    formula = _formula(text.translate(_PLAIN_SIGNS))
    return _parsed(formula) if formula and _is_modest(formula) else None


@functools.lru_cache(maxsize=4096)
def _parsed(formula: str) -> Any | None:
    library = math_verify()
    with ONE_AT_A_TIME:
        values = library.parse(
            f"${formula}$",
            [library.LatexExtractionConfig()],
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
