"""Make .venv and install omniopd into it, in the versions of constraints.txt; do nothing when nothing changed.

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
    pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--constraint", os.path.join(ROOT, "constraints.txt")]
    if wanted["torch_index"]:
        say("Installing torch from %s." % wanted["torch_index"])
        # Without its dependencies: those come from the usual index below, in the pinned versions.
        torch = ["--no-deps", "--index-url", wanted["torch_index"], "torch"]
        run_pip(pip + (["--force-reinstall"] if replace_torch else []) + torch, venv)
    name = ROOT + ("[%s]" % ",".join(wanted["extras"]) if wanted["extras"] else "")
    say("Installing omniopd%s and what it needs; the first time takes minutes." % name[len(ROOT) :])
    run_pip([*pip, "--editable", name], venv)


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


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

if __name__ == "__main__":
    main()
