"""Resolve constraints.txt anew, for every Python from 3.11 on, with the hashes of every file of every pin.

    .venv/bin/python .ci/resolve.py          what `make constraints` runs; needs uv in the same environment

Pins that still fit are kept. Four parts, which `.ci/install.py` installs: what omniopd needs (with its extra `real`,
one small package; what builds it, and what two other parts share), what its tests and what its site need beside, and
torch with the accelerator packages that its own build for Linux asks for.
"""

import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PINS = os.path.join(ROOT, "constraints.txt")
BUILD = "hatchling>=1.27\neditables>=0.5\n"  # the package itself is built here, by nothing that is fetched for it
HEAD = """\
# Exact versions of everything that an installation of omniopd, its tests and its site brings in, for Python 3.11 to
# 3.14 on Linux and macOS, with the hashes of all their files. `make constraints` resolves anew; `.ci/install.py`
# installs by these hashes. The part of torch is left aside where a machine offers another build, with other files.
"""
PARTS = ("omniopd", "tests", "docs", "torch")
REAL = ("--extra", "real")
OF_TORCH = re.compile(r"^(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
ELSEWHERE = re.compile(r"; (sys_platform == 'win32'|os_name == 'nt')$")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        every = compiled(
            folder, "every.txt", PINS, *REAL, "--extra", "test", "--extra", "docs", "--generate-hashes"
        )  # fmt: skip
        pins = os.path.join(folder, "every.txt")
        needed, tests, docs = (
            {name_of(block) for block in compiled(folder, "some.txt", pins, *extra)}
            for extra in (REAL, ("--extra", "test"), ("--extra", "docs"))
        )
        needed |= tests & docs
    parts = {part: [] for part in PARTS}
    for block in every:
        if not ELSEWHERE.search(block.split("\n")[0].rstrip("\\ ")):
            name = name_of(block)
            part = "omniopd" if name in needed else "tests" if name in tests else "docs"
            parts["torch" if OF_TORCH.match(block) else part].append(block)
    with open(PINS, "w", encoding="utf-8") as file:
        file.write(HEAD + "".join(f"\n# == {part}\n{''.join(parts[part])}" for part in PARTS))


def compiled(folder, name, preferred, *options):
    """The blocks, one a pin, of a resolution that keeps the pins of `preferred` where they fit."""
    build, file = os.path.join(folder, "build.in"), os.path.join(folder, name)
    with open(build, "w", encoding="utf-8") as out:
        out.write(BUILD)
    with open(preferred, encoding="utf-8") as old, open(file, "w", encoding="utf-8") as new:
        new.write(old.read())
    command = [sys.executable, "-m", "uv", "pip", "compile", os.path.join(ROOT, "pyproject.toml"), build, "--universal"]
    command += ["--python-version", "3.11", "--quiet", "--no-header", "--no-annotate", "--output-file", file, *options]
    # Wheels alone: what is built from source would fetch its own tools, by no hash.
    subprocess.run([*command, "--only-binary", ":all:"], check=True)
    with open(file, encoding="utf-8") as lines:
        return re.findall(r"^[A-Za-z0-9].*\n(?:[ \t].*\n)*", lines.read(), re.M)


def name_of(block):
    return block.partition("==")[0]


if __name__ == "__main__":
    main()
