"""The command line in a process of its own, as a terminal starts it."""

import os
import subprocess
import sys
import time

from omniopd.runs import open_run


def start(words):
    """`omniopd …` with what it prints caught."""
    return subprocess.Popen(
        [sys.executable, "-m", "omniopd.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_for(process, condition):
    """Until `condition()`, or until the process is over."""
    while process.poll() is None and not condition():
        time.sleep(0.05)


def only_run(folder):
    [path] = [p for p in folder.iterdir() if p.is_dir()]
    return open_run(path)
