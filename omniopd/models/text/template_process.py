"""The process that renders chat templates for `rendering.py`: a JSON line in, a JSON line out, until the lines end.

Limits are the system's, where it has them (Windows has none): what runs out of processor time is ended inside whatever
it does, what takes too much memory gets none.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from typing import Any

from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

MOST_MEMORY = 2 << 30  # bytes; the process itself takes a tenth of it
MOST_WRITTEN = 1 << 24  # characters
TOO_LARGE = f"not done in {MOST_MEMORY >> 30} GiB of memory"


def main() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    # A scheduler that ends a job tells all its processes; whoever is in a step still asks this one, and ends it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(**json.loads(line))), flush=True)


def _answer(template: str, messages: list[dict[str, str]], names: dict[str, Any], seconds: float) -> dict[str, str]:
    _end_after(seconds)
    try:
        texts, _ = render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=True, **names
        )
        return {"text": texts[0]} if len(texts[0]) <= MOST_WRITTEN else {"error": TOO_LARGE}
    except TemplateError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": TOO_LARGE}
    except Exception as error:  # whatever a template does
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        _end_after(0)


def _end_after(seconds: float) -> None:
    """End this process after so many seconds of its processor time; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
