"""What MkDocs does not know of this repository: pages outside docs/, the links between them, and what is generated.

README.md is the site's first page; the other Markdown files and the notebooks keep their places. Links work in the
repository as they are written, and here after `relinked`. Two pages are filled in: settings and the reference.
"""

import copy
import json
import posixpath
import re
import tomllib
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "*.md", "notebooks/*.ipynb", "notebooks/reports/*.ipynb", "notebooks/README.md", "widgets/README.md",
    "widgets/pictures/*", "omniopd/method/README.md", "omniopd/embedded/README.md",
)  # fmt: skip
CODE_OR_LINK = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)", re.M | re.S
)
LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>|import\(\"http[^)]*")
MERMAID = re.compile(r"<script type=\"module\">(?:(?!</script>).)*mermaid.*?</script>", re.S)  # no notebook draws any
PACKAGES = {"embedded": "embedded.lab", "runs": "runs.listing.table"}  # names that are packages to call


def place(path):
    """Where a file of the repository stands in the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


@event_priority(100)  # before the notebooks' plugin looks
def on_files(files, config):
    made = Path(config.site_dir) / ".notebooks"
    for pattern in OUTSIDE:
        for file in sorted(ROOT.glob(pattern)):
            path = file.relative_to(ROOT).as_posix()
            if file.suffix == ".ipynb":
                write(made / path, notebook(json.loads(file.read_text(encoding="utf-8"))))
                files.append(File(path, str(made), config.site_dir, config.use_directory_urls))
            else:
                files.append(File.generated(config, place(path), abs_src_path=str(file)))
    return files


def on_page_markdown(markdown, page, config, files):
    uri = page.file.src_uri
    if uri == "settings.md":
        markdown = markdown.replace("<!-- settings -->", settings())
    if uri == "api.md":
        markdown = markdown.replace("<!-- names -->", names())
    source = "README.md" if uri == "index.md" else f"docs/{uri}" if (ROOT / "docs" / uri).is_file() else uri
    return relinked(markdown, source, {file.src_uri for file in files})


def on_post_page(output, page, config):
    output = MERMAID.sub("", output)
    if loaded := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} would load {loaded[0][:200]}: the site loads nothing from elsewhere")
    return output


def on_post_build(config):
    for file in sorted((Path(config.site_dir) / ".notebooks").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (Path(config.site_dir) / ".notebooks").rmdir()


def relinked(markdown, source, known):
    """The page's links as the site wants them; one to a file that the site lacks becomes its text."""

    def one(found):
        to, _, anchor = (found["to"] or "").partition("#")
        if found["code"] or not to or ":" in to:
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), to))
        target = place(f"{target}/README.md" if (ROOT / target).is_dir() else target)
        if target not in known:
            return found["text"]
        link = posixpath.relpath(target, posixpath.dirname(place(source)) or ".")
        return f"{found['image']}[{found['text']}]({link}{'#' * bool(anchor)}{anchor})"

    return CODE_OR_LINK.sub(one, markdown)


def notebook(content):
    """A notebook whose outputs show without a kernel, with links to pages."""
    content = copy.deepcopy(content)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(r"(\]\([^):\s]+)\.ipynb\)", r"\1.html)", "".join(cell["source"]))
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if data.keys() & {"text/html", "image/svg+xml", "image/png"}:
                for live in [kind for kind in data if kind.startswith("application/")]:
                    del data[live]
    return content


def settings():
    """Every setting by section: key, default, what it is for."""
    from omniopd.config import SETTINGS, Recipe, allowed, every_setting, recipe_toml

    defaults, section, lines = {}, "", []
    for line in recipe_toml(Recipe()).splitlines():
        if line.startswith("["):
            section = tomllib.loads(line).popitem()[0] + "."
        elif line:
            key, _, value = line.partition(" = ")
            defaults[section + key] = value
    section = None
    for key in every_setting():
        if (new := key.rpartition(".")[0]) != section:
            section = new
            lines += ["", f"## {section or 'The recipe'}", ""]
            lines += ["| setting | default | what it is for |", "| --- | --- | --- |"]
        may = f" ({allowed(key)})" if allowed(key) else ""
        lines.append(f"| `{key}` | `{defaults[key]}` | {(SETTINGS[key].says + may).replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def names():
    """What `omniopd` exports, by the package that it comes from, each from its docstring."""
    import omniopd

    lines, last = [], None
    homes = {name: f"{home}.{name}" if home != name else PACKAGES[name] for name, home in omniopd._HOME.items()}
    for path in sorted(homes.values(), key=lambda path: (path.split(".")[0], path.split(".")[-1])):
        if (first := path.split(".")[0]) != last:
            last = first
            lines += ["", f"## {first}", ""]
        lines += [f"::: omniopd.{path}", ""]
    return "\n".join(lines)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
