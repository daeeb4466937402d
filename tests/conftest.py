"""What holds in every test: one torch thread, no network, shapes checked, the same drawn examples.

Shapes: jaxtyping's annotations in the modules of CHECKED are verified on every call (beartype), and cost nothing
elsewhere. `is_pep484_tower`: an int is good enough where a float is asked for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import sys
import tempfile
from collections.abc import Iterator

# Read at import by the libraries below, and by every subprocess that a test starts.
os.environ.update(
    OMP_NUM_THREADS="1",  # two torch threads on two busy cores made one rollout 20 times slower
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    OMNIOPD_QUEUE=tempfile.mkdtemp(prefix="omniopd-queue-"),  # no test waits for a run that is no test's
    XDG_CONFIG_HOME=tempfile.mkdtemp(prefix="omniopd-config-"),  # nor sends what its user once allowed
    # Keys of nobody go to servers on this machine.
    OMNIOPD_SEND_KEYS=" ".join(
        f"{name}_API_KEY@127.0.0.1"
        for name in (
            "ANTHROPIC",
            "DEEPSEEK",
            "GEMINI",
            "MISTRAL",
            "MOONSHOT",
            "OPENAI",
            "OPENROUTER",
            "PERPLEXITY",
            "XAI",
        )
    ),
)

import jaxtyping
import pytest
import torch
from hypothesis import settings

from tests.served import served_teacher  # noqa: F401  (a fixture for every test, started once)

CHECKED = ["omniopd.types", "omniopd.method", "omniopd.models", "omniopd.auditing"]

torch.set_num_threads(1)
# The same examples in every run, however busy the machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
jaxtyping.install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(scope="session", autouse=True)
def no_connection_left() -> Iterator[None]:
    """What hosted teachers have left open for their next call is closed before pytest looks for leaks."""
    yield
    if "omniopd.teachers.hosted.background" in sys.modules:
        from omniopd.teachers.hosted.background import run
        from omniopd.teachers.hosted.transport import _CLIENTS

        async def close() -> None:
            for client in _CLIENTS.pop(asyncio.get_running_loop(), {}).values():
                await client.close()
            if (litellm := sys.modules.get("litellm")) is not None:
                await litellm.close_litellm_async_clients()
                litellm.in_memory_llm_clients_cache.flush_cache()

        run(lambda caller: close())


def refuse_network(event: str, args: tuple) -> None:
    """Tests talk to this machine only; a library that phones home fails with its host's name."""
    if event == "socket.connect":
        address = args[1]
        host = address[0] if isinstance(address, tuple) else "localhost"  # a str or bytes is a Unix socket
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if not is_this_machine(host):
        raise PermissionError(f"a test reached for {host!r}: tests use no network")


def is_this_machine(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback or name == "0.0.0.0"
    except ValueError:
        return False


sys.addaudithook(refuse_network)
