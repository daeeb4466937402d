"""Nothing that views ship can run a text or reach out of the page: scripts by pattern, Python by its syntax."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import omniopd_widgets
from omniopd.io.units import dollars, not_zero
from omniopd_widgets._parts import assets as _assets

PACKAGE = Path(_assets.__file__).parents[1]
SCRIPTS = sorted(_assets.STATIC.glob("*.js"))
STYLES = sorted(PACKAGE.rglob("*.css"))
MODULES = sorted(PACKAGE.rglob("*.py"))
VIEWS = [path for path in SCRIPTS if not path.name.startswith("_")]
# Calls that turn a text into markup, and ones that run it.
FORBIDDEN_CALLS = {"HTML", "HTMLMath", "Markdown", "Latex", "Math", "Javascript", "eval", "exec", "__import__"}
SECRET = re.compile(r"(^|_)(api_?key|key|secret|password|passwd|credentials?)($|_)", re.IGNORECASE)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("path", SCRIPTS, ids=names(SCRIPTS))
def test_a_script_has_no_sink(path: Path) -> None:
    _assets.check(path.read_text(encoding="utf-8"), path.name)


@pytest.mark.parametrize("path", VIEWS, ids=names(VIEWS))
def test_a_view_joins_to_one_module(path: Path) -> None:
    joined = _assets.script(path)
    assert len(re.findall(r"^export ", joined, re.MULTILINE)) == 1
    assert not re.search(r"^import\b", joined, re.MULTILINE)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to parse scripts with")
def test_node_can_parse_every_script_and_every_joined_view() -> None:
    # One process for all: each module is only parsed, none is run.
    check = (
        "const vm = require('vm');"
        "for (const [name, text] of JSON.parse(require('fs').readFileSync(0)))"
        " try { new vm.SourceTextModule(text, { identifier: name }); }"
        " catch (e) { console.log(name + ': ' + e.message); }"
    )
    texts = [(p.name, p.read_text(encoding="utf-8")) for p in SCRIPTS]
    texts += [(f"joined {p.name}", _assets.script(p)) for p in VIEWS]
    command = ["node", "--experimental-vm-modules", "--no-warnings", "-e", check]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize("path", STYLES, ids=names(STYLES))
def test_a_style_sheet_loads_nothing_and_keeps_to_its_view(path: Path) -> None:
    text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not _assets.STYLE_SINKS.search(text)
    rules = re.findall(r"([^{};]+)\{", re.sub(r"@(media|supports|container)[^{]*\{", "", text))
    selectors = [rule.strip() for rule in rules if not re.match(r"\s*(@|from|to|\d+%)", rule)]
    assert [s for s in selectors if ".oopd-" not in s] == []


@pytest.mark.parametrize("path", STYLES, ids=names(STYLES))
def test_every_style_sheet_is_part_of_a_view(path: Path) -> None:
    views = [getattr(omniopd_widgets, name) for name in omniopd_widgets.__all__ if name != "__version__"]
    sheets = [str(view._css) for view in views if hasattr(view, "_css")]
    assert any(path.read_text(encoding="utf-8") in sheet for sheet in sheets)


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_python_makes_no_markup_of_a_text(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"{path.name}:{node.lineno} {found}" for node in ast.walk(tree) if (found := sink_of(node))] == []


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_no_trait_is_named_like_a_secret(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    traits = [
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and "sync=True" in ast.unparse(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    assert [name for name in traits if SECRET.search(name)] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("widgets.HTML(text)", "HTML"),
        ("display(Markdown(text))", "Markdown"),
        ("frame.style", ".style"),
        ("Button(description_allow_html=True)", "description_allow_html"),
        ("tqdm(rows, desc=name)", "desc"),
        ("SafeHTML(f'<b>{text}</b>')", "SafeHTML"),
        ("pickle.load(f)", "pickle"),
    ],
)
def test_the_lint_sees_a_planted_sink(line: str, found: str) -> None:
    assert [s for node in ast.walk(ast.parse(line)) if (s := sink_of(node)) and found in s]


def test_the_lint_lets_escaped_parts_through() -> None:
    line = "SafeHTML(f'<div>{join(parts)}</div>' + '<p>ours</p>')"
    assert [s for node in ast.walk(ast.parse(line)) if (s := sink_of(node))] == []


def sink_of(node: ast.AST) -> str | None:
    """The sink in a node of the syntax tree, or None."""
    if isinstance(node, ast.Attribute) and node.attr == "style" and not isinstance(node.value, ast.Name | ast.Call):
        return f"{ast.unparse(node)} (a pandas Styler writes texts as markup)"
    if isinstance(node, ast.Attribute) and node.attr == "style" and isinstance(node.value, ast.Name):
        return None if node.value.id in ("self", "layout", "assets") else f"{ast.unparse(node)} .style"
    if not isinstance(node, ast.Call):
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if name in FORBIDDEN_CALLS and owner not in ("re",):
        return f"{name}()"
    if owner == "pickle" or (name == "load" and any(k.arg == "allow_pickle" for k in node.keywords)):
        return "pickle"
    for keyword in node.keywords:
        if keyword.arg == "description_allow_html":
            return "description_allow_html"
        if keyword.arg == "desc" and not isinstance(keyword.value, ast.Constant):
            return "desc= with a text"
    if name == "SafeHTML" and node.args:
        return unescaped(node.args[0])
    return None


# What gives SafeHTML, or a number that was formatted as one.
MAKERS = {"join", "fit", "element", "table", "escape", "html.escape", "SafeHTML"}


def unescaped(argument: ast.AST) -> str | None:
    """SafeHTML(…) is given literals, escaped parts and formatted numbers only."""
    for part in ast.walk(argument):
        if isinstance(part, ast.FormattedValue):
            value, spec = part.value, part.format_spec
            made = isinstance(value, ast.Call) and ast.unparse(value.func) in MAKERS
            known = isinstance(value, ast.Name) and value.id in ("body", "inner", "attribute", "tag", "shown")
            if not made and not known and spec is None:
                return f"SafeHTML of {ast.unparse(value)}: pass it through escape()"
    if isinstance(argument, ast.Name | ast.Attribute):
        return f"SafeHTML of {ast.unparse(argument)}: pass it through escape()"
    return None


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's formatter with")
def test_the_page_writes_dollars_as_python_does() -> None:
    amounts = [0.0, 0.00004, 0.00052, 0.0123, 0.1, 0.999, 3.0, 1234.5]
    code = (_assets.STATIC / "_common.js").read_text(encoding="utf-8")
    code += f"console.log(JSON.stringify({amounts}.map(dollars)));"
    done = subprocess.run(["node", "--input-type=module", "-"], input=code, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [dollars(amount) for amount in amounts]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's formatter with")
def test_the_page_writes_what_is_nearly_nothing_as_python_does() -> None:
    values = [0.0, 1.0, 0.0123, 0.00061, 0.00003, -0.00003, 9.9e-5, 1e-5, 2e-11, -7e-12, 1234.5]
    code = (_assets.STATIC / "_common.js").read_text(encoding="utf-8")
    code += f"console.log(JSON.stringify({values}.map((value) => notZero(value))));"
    done = subprocess.run(["node", "--input-type=module", "-"], input=code, capture_output=True, text=True, check=True)
    written = json.loads(done.stdout)
    assert written == [not_zero(value) for value in values]
    assert written[:5] == ["0.0000", "1.0000", "0.0123", "0.0006", "0.00003"]
    assert all(float(text) for text in written[1:])
