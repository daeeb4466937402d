"""Make .venv and install omniopd into it, by the hashes of constraints.txt; do nothing when nothing changed.

    python3 .ci/install.py [--extra test] [--torch-index URL]

Standard library only, and in the grammar of Python 3.6: an old Python gets a sentence, not a traceback. A Python
that is too old or too new looks for a fitting one beside it. What was installed is remembered in .venv/installed.json
(a digest of pyproject.toml and constraints.txt), what pip said in .venv/install.log.
"""

import argparse
import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST, NEWEST = (3, 11), (3, 14)
NEEDED_GB = 4


def main() -> None:
    parser = argparse.ArgumentParser(description="Make .venv and install omniopd into it.")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml, such as test")
    parser.add_argument("--torch-index", default="", help="package index for torch alone")
    parser.add_argument("--venv", default=os.path.join(ROOT, ".venv"))
    args = parser.parse_args()
    try:
        make_and_install(args)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        stop(
            "%s is full and the installation needs about %d GB there (twice that with CUDA's torch): make room, "
            "or choose another folder." % (os.path.dirname(os.path.abspath(args.venv)), NEEDED_GB)
        )


def make_and_install(args) -> None:
    python = fitting_python()
    done = what_is_installed(args.venv)
    wanted = {"digest": digest(), "extras": sorted(set(args.extra)), "torch_index": args.torch_index}
    if is_covered(wanted, done):
        return
    if done is None:
        make_venv(python, args.venv)
    else:
        # An extra that came in for the tests stays when the demo is next.
        wanted["extras"] = sorted(set(wanted["extras"]) | set(done.get("extras", [])))
        wanted["torch_index"] = wanted["torch_index"] or done.get("torch_index", "")
    install(args.venv, wanted, replace_torch=done is not None and wanted["torch_index"] != done.get("torch_index", ""))
    with open(record_path(args.venv), "w") as file:
        json.dump(wanted, file, indent=1)
    say("Installed. Everything below .venv can be deleted and made again.")


def fitting_python() -> str:
    """This Python, or the newest fitting one on the path."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which("python3.%d" % minor)
        if found and subprocess.run([found, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0:
            return found
    stop(
        "omniopd needs Python 3.%d to 3.%d, and %s is %s: install one of them, "
        "or name it (make demo PYTHON=/path/to/python3.12)."
        % (OLDEST[1], NEWEST[1], sys.executable, platform.python_version())
    )


def digest() -> str:
    content = hashlib.sha256(ROOT.encode())
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(ROOT, name), "rb") as file:
            content.update(file.read())
    return content.hexdigest()


def what_is_installed(venv: str):
    """The record of an earlier run; {} for a venv that was not finished; None where there is no venv that works."""
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python) or subprocess.run([python, "-m", "pip", "--version"], **QUIET).returncode != 0:
        return None
    if not os.path.exists(record_path(venv)):
        return {}
    with open(record_path(venv)) as file:
        return json.load(file)


def is_covered(wanted, done) -> bool:
    return bool(
        done
        and done["digest"] == wanted["digest"]
        and set(wanted["extras"]) <= set(done["extras"])
        and wanted["torch_index"] in ("", done["torch_index"])
    )


def make_venv(python: str, venv: str) -> None:
    check_disk(os.path.dirname(os.path.abspath(venv)), NEEDED_GB)
    say("Making .venv with %s." % python)
    made = subprocess.run([python, "-m", "venv", "--clear", venv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode != 0:
        print(made.stdout.decode(errors="replace"), file=sys.stderr)
        stop(
            "%s cannot make a virtual environment; Debian and Ubuntu want: apt install python3-venv. "
            "Another Python can be named: make demo PYTHON=/path/to/python3.12." % python
        )


def install(venv: str, wanted, replace_torch: bool) -> None:
    """Everything by the hashes of constraints.txt, then the package itself; torch apart (`install_torch`)."""
    pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    parts = ["omniopd"] + [PINNED[extra] for extra in sorted(wanted["extras"]) if extra in PINNED]
    say("Installing what %s; the first time takes minutes." % " and its ".join(["omniopd needs", *parts[1:]]))
    run_pip([*pip, *BY_HASH, "--requirement", written(venv, parts)], venv)
    install_torch(pip, venv, wanted["torch_index"], replace_torch)
    others = [extra for extra in wanted["extras"] if extra not in PINNED]
    if others:
        say("Installing %s, which constraints.txt does not list, without hashes." % ", ".join(others))
        # Pins alone: with their hashes, pip would want one of everything.
        plain = written(venv, PARTS, hashes=False)
        run_pip([*pip, "--constraint", plain, "--editable", "%s[%s]" % (ROOT, ",".join(others))], venv)
    # Built by what was installed above: an isolated build would fetch its tools, by no hash.
    run_pip([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT], venv)


def install_torch(pip, venv: str, index: str, replace: bool) -> None:
    """torch by its hashes, too. Another index, or this machine, may offer another build, whose files nobody listed."""
    pin = next(line for line in part("torch", hashes=False) if line.startswith("torch==")).split(" ")[0]
    if index:
        say("Installing torch from %s, a build with hashes of its own: unchecked." % index)
        run_pip(pip + ["--force-reinstall"] * replace + ["--no-deps", "--index-url", index, pin], venv)
        run_pip([*pip, pin], venv)  # and what this build needs beside
        return
    version = offered(pip, pin)
    if "+" in version:
        say("This machine offers a build of torch of its own (%s), with hashes of its own: unchecked." % version)
        run_pip([*pip, "torch==" + version], venv)
    else:
        run_pip([*pip, *BY_HASH, "--requirement", written(venv, ["torch"])], venv)


def offered(pip, pin: str) -> str:
    """The version that pip would install: with a "+" and a label where it is another build than the usual index's."""
    asked = subprocess.run(
        [*pip, "--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--report", "-", pin],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True,
    )  # fmt: skip
    try:
        return json.loads(asked.stdout)["install"][0]["metadata"]["version"]
    except (ValueError, KeyError, IndexError):
        return ""  # an old pip, or nothing there: the installation itself says what is wrong


def written(venv: str, parts, hashes: bool = True) -> str:
    """A file with some parts of constraints.txt, for pip."""
    file = os.path.join(venv, "pins-%s.txt" % "-".join(parts))
    with open(file, "w") as out:
        out.write("\n".join(line for name in parts for line in part(name, hashes)) + "\n")
    return file


def part(name: str, hashes: bool = True):
    """The lines of constraints.txt between "# == name" and the next such line."""
    with open(os.path.join(ROOT, "constraints.txt")) as file:
        lines = file.read().split("# == %s\n" % name)[1].split("# == ")[0].splitlines()
    return [line if hashes else line.rstrip("\\ ") for line in lines if hashes or not line.startswith(" ")]


def run_pip(command, venv: str) -> None:
    """Run pip with its current step on one line; on failure show how it ended and say why if the disk is full."""
    lines = []
    with open(os.path.join(venv, "install.log"), "a") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, errors="replace"
    ) as pip:
        for line in pip.stdout:
            log.write(line)
            lines.append(line.rstrip())
            if sys.stdout.isatty() and line.strip().startswith(("Collecting", "Downloading", "Installing")):
                print("\r  %-100.100s" % line.strip(), end="", flush=True)
    if sys.stdout.isatty():
        print("\r%102s\r" % "", end="", flush=True)
    if pip.returncode != 0:
        print("\n".join(lines[-15:]), file=sys.stderr)
        for folder in (venv, tempfile.gettempdir()):
            check_disk(folder, 1)
        stop("pip could not install omniopd; its last lines stand above, all of them in %s." % log.name)


def check_disk(folder: str, needed_gb: int) -> None:
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        stop(
            "%s has %.1f GB free and the installation needs about %d GB there (twice that with CUDA's torch): "
            "make room, or choose another folder." % (folder, free_gb, NEEDED_GB)
        )


def record_path(venv: str) -> str:
    return os.path.join(venv, "installed.json")


def say(sentence: str) -> None:
    print(sentence, flush=True)


def stop(sentence: str) -> None:
    sys.exit("omniopd: " + sentence)


PARTS = ["omniopd", "tests", "docs", "torch"]
PINNED = {"test": "tests", "docs": "docs"}  # extra → part
BY_HASH = ["--require-hashes", "--no-deps"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

if __name__ == "__main__":
    main()
