"""A thousand prefixes through each of litellm's adapters, to local servers with the providers' rules, byte for byte.

    python benchmarks/prefixes.py [--prefixes 1000]

Prefixes end in a space, a newline, an indent, half a word, an emoji or anywhere, or are empty. Prints one Markdown
table; exit status 1 where a text does not continue the very bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from tests.wire.providers import NEWER, PROVIDERS
from tests.wire.server import WireServer
from tests.wire.test_prefixes import asked
from tests.wire.truth import cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefixes", type=int, default=1000)
    known = cases(parser.parse_args().prefixes)
    print("| adapter | model | handover | prefixes | exact | calls | CPU ms per call, server included |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    broken = 0
    for name, provider in (PROVIDERS | NEWER).items():
        os.environ[provider.key_variable] = "no-key-at-all"
        with WireServer(provider.answer) as server:
            teacher = provider.teacher(server.url)
            began = time.process_time()
            answers = teacher.continue_from([asked(case) for case in known])
            spent = time.process_time() - began
            calls = len(server.received)
        exact = sum(
            answer.problem is None and case.answer.startswith(case.prefix + answer.texts[0]) and answer.texts[0] != ""
            for case, answer in zip(known, answers, strict=True)
        )
        broken += len(known) - exact
        print(
            f"| {name} | {provider.model} | {teacher.handover.name} | {len(known)} | {exact} | {calls} | "
            f"{1000 * spent / calls:.1f} |",
            flush=True,
        )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
