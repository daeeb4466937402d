"""What can be known of a teacher behind an API before anything is computed: whether its key is there, and whether
anybody listens where it is asked. Asks for no text and sends nothing.
"""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

from omniopd.errors import ConfigError, TeacherError
from omniopd.teachers.access.guard import prepare, provider_of

PATIENCE_S = 5.0
# Where calls go that no address is given for; litellm tells those of other providers.
_HOMES = {
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "openai": "https://api.openai.com",
}


def first_contact(
    model: str, api_base: str = "", key_variable: str = "", raw: bool = False, patience_s: float = PATIENCE_S
) -> None:
    """Raises ConfigError where the key of a teacher is not in the environment, and TeacherError where nobody listens at
    its address within `patience_s`. `raw`: it continues plain text, which a server of one's own does without a key."""
    _require_key(model, key_variable, keyless=raw and bool(api_base))
    provider, home = provider_of(model) or ("", "")
    if address := api_base or home or _HOMES.get(provider, ""):
        _require_listener(model, address, patience_s)


def _require_key(model: str, key_variable: str, keyless: bool) -> None:
    if key_variable:
        if not os.environ.get(key_variable):
            raise ConfigError(
                f"teacher.key_variable is {key_variable!r}, and the environment has no such variable: set it "
                f"(export {key_variable}=…), or leave teacher.key_variable empty"
            )
        return
    missing = [] if keyless else prepare().validate_environment(model).get("missing_keys") or []
    # Clouds take their credentials from many places; a plain key has one.
    if missing and all(name.endswith("_API_KEY") for name in missing):
        raise ConfigError(
            f"teacher.model is {model!r}, and its key is not in the environment: set {' or '.join(missing)}, or name "
            "the variable that holds it (teacher.key_variable)"
        )


def _require_listener(model: str, address: str, patience_s: float) -> None:
    parts = urlsplit(address)
    host, port = parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)
    if not host or (urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host)):
        return  # a proxy is asked, and whom it reaches is not to be known from here
    problem: list[str] = [f"no answer within {patience_s:g} s"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), patience_s).close()
            problem.clear()
        except OSError as error:
            problem[:] = [error.strerror or str(error)]

    # Looking a name up has no deadline of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(patience_s)
    if problem:
        raise TeacherError(
            f"teacher.model is {model!r}, and nobody listens at {host}:{port} ({problem[0]}): start the server, or "
            "check the network and teacher.api_base"
        )
