"""Whose key goes where: an environment variable's value is sent to its provider's hosts, and elsewhere once allowed.

A recipe may come from a stranger, and names a variable (`key_variable`) and an address (`api_base`). A pair of the two
that does not belong together by itself is named and asked for once; what was allowed is remembered in the user's own
folder of settings, in no recipe and no run. OMNIOPD_SEND_KEYS="OPENAI_API_KEY@gateway.example" allows pairs for a
process and its children.

    belongs together    a provider's variable and its hosts over https, or the host in its own OPENAI_BASE_URL and the
                        like; a variable of one's own servers (HOSTED_VLLM_API_KEY) and this machine
    needs no leave      what is not set: then a server gets no key at all, and no other variable's

Knows litellm's providers; sends nothing.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from omniopd.config import TeacherConfig
from omniopd.errors import ConfigError, Refused
from omniopd.io.redaction import keep, redact
from omniopd.teachers.access.guard import provider_of
from omniopd.teachers.model_traits import own_server, traits_of

SEND_KEYS = "OMNIOPD_SEND_KEYS"
_FILE = "keys.json"
# Variables that do not begin with their provider's name, and those of which the first that is set counts.
_VARIABLES = {
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "text-completion-openai": ("HOSTED_VLLM_API_KEY",),  # the way to one's own servers here, never OpenAI's own
    "vllm": ("HOSTED_VLLM_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "zai": ("ZAI_API_KEY",),
}
_HOSTS = {"openai": "api.openai.com", "anthropic": "api.anthropic.com", "openrouter": "openrouter.ai",
          "gemini": "generativelanguage.googleapis.com", "cohere": "api.cohere.com", "minimax": "api.minimax.io",
          "huggingface": "router.huggingface.co", "replicate": "api.replicate.com"}  # fmt: skip
OWN_SERVERS = ("hosted_vllm", "vllm", "text-completion-openai", "lm_studio", "llamafile", "ollama", "ollama_chat",
               "xinference", "openai_like", "litellm_proxy")  # fmt: skip
# Signed or exchanged, not one key: whatever they send to another host is named after them.
CLOUDS = ("bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai", "vertex_ai_beta", "watsonx",
          "databricks", "snowflake", "oci", "sap", "gigachat", "github_copilot", "chatgpt")  # fmt: skip
_BASES = ("_API_BASE", "_BASE_URL", "_API_BASE_URL")
_ALLOWED: set[tuple[str, str]] = set()


class Sent(NamedTuple):
    """What a teacher's calls send where: `variable` holds the key, "" if none is sent; `host` is where it goes."""

    variable: str
    host: str
    belongs: bool
    value: str | None = None  # what litellm is told; None: it looks for itself, at its provider's own variables


def sent_by(model: str, api_base: str | None, key_variable: str | None) -> Sent:
    """The key that a teacher's calls send. Raises ConfigError for an address that could mean another one."""
    if "://" in model:
        raise ConfigError(f"the teacher {model!r} has an address in its name: give it as api_base (teacher.api_base)")
    if key_variable and not _is_variable(key_variable):
        keep(key_variable)
        raise ConfigError("key_variable names no environment variable: a key itself belongs into none of a run's files")
    provider = _provider(model, api_base)
    host = host_of(api_base) if api_base else _default_host(provider)
    if key_variable:
        value = os.environ.get(key_variable, "")
        keep(value)
        return Sent(key_variable if value else "", host, _belongs(key_variable, provider, api_base), value or "none")
    own = next((name for name in _own(provider) if os.environ.get(name)), "")
    keep(os.environ.get(own))
    if not api_base:
        return Sent(own, host, True)
    if provider in CLOUDS or (provider.startswith("azure") and not own):
        return Sent(f"{provider.upper()}_CREDENTIALS", host, host == _default_host(provider))
    value = os.environ.get(own, "") if own else ""
    return Sent(own, host, bool(own) and _belongs(own, provider, api_base), value or "none")


def sent_by_recipe(teacher: TeacherConfig) -> Sent:
    """Which key goes where, for a recipe's teacher."""
    traits = traits_of(teacher.model)
    model = traits.completion_model if traits.handover_entry(teacher.handover).completes else teacher.model
    return sent_by(model, own_server(teacher.model, teacher.api_base or None), teacher.key_variable or None)


def require_leave(sent: Sent, model: str) -> Sent:
    """What is sent. Raises Refused for a key that would go where the user has not allowed it."""
    if not sent.variable or sent.belongs or is_allowed(sent.variable, sent.host):
        return sent
    raise Refused(
        f"the teacher {model!r} would send the key in {sent.variable} to {sent.host}, which is not where it belongs: "
        f"if it may go there, say so once with `omniopd teacher allow {sent.variable} {sent.host}` (remembered for "
        f"you, in no recipe), or set {SEND_KEYS}={sent.variable}@{sent.host} in the environment"
    )


def allow(variable: str, host: str) -> Path:
    """Let the key in `variable` go to `host` from now on; returns the file that remembers it. Raises ConfigError."""
    if not _is_variable(variable):
        raise ConfigError("what may be sent is named by an environment variable, and never by the key itself")
    if "://" not in host:
        host = f"https://[{host}]" if host.count(":") > 1 and "[" not in host else f"https://{host}"
    host = host_of(host)
    pairs = {name: set(hosts) for name, hosts in remembered().items()}
    pairs.setdefault(variable, set()).add(host)
    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as beside:
            json.dump({name: sorted(hosts) for name, hosts in sorted(pairs.items())}, beside, indent=1)
        os.replace(beside.name, path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}): set {SEND_KEYS}={variable}@{host} in the environment instead"
        ) from error
    return path


def is_allowed(variable: str, host: str) -> bool:
    """Whether the user has said that the key in `variable` may go to `host`."""
    if (variable, host) not in _ALLOWED:
        if f"{variable}@{host}" not in _allowed_here() and host not in remembered().get(variable, ()):
            return False
        _ALLOWED.add((variable, host))
    return True


def remembered() -> Mapping[str, tuple[str, ...]]:
    """What was allowed, by variable. A damaged file allows nothing."""
    try:
        pairs = json.loads(file().read_text(encoding="utf-8"))
        return {str(name): tuple(map(str, hosts)) for name, hosts in pairs.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def keep_allowed() -> None:
    """Takes the values of all variables that were allowed for keys, as far as they are set here."""
    for name in {*remembered(), *(pair.partition("@")[0] for pair in _allowed_here())}:
        keep(os.environ.get(name))


def _allowed_here() -> list[str]:
    """The pairs in the environment."""
    return os.environ.get(SEND_KEYS, "").replace(",", " ").split()


def file() -> Path:
    """Where it is remembered: the user's own folder of settings."""
    import platformdirs

    return Path(platformdirs.user_config_dir("omniopd", appauthor=False)) / _FILE


def host_of(address: str) -> str:
    """The host of an address, with "http://" before it where it is another machine's without encryption.

    Raises ConfigError for one that has none, that programs could read in two ways, or that holds a password.
    """
    if not re.fullmatch(r"[!#-;=?-\[\]_a-z~%]+", address):
        raise ConfigError(f"the address {_plain(address)!r} has characters that no address has: write it out in ASCII")
    try:
        parts = urlsplit(address)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.username is not None or parts.password is not None:
        keep(parts.password or parts.username)
        raise ConfigError(
            f"the address {_plain(address)!r} holds a password, and addresses stand in recipes and records: put the "
            "key into an environment variable and name it (teacher.key_variable)"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{_plain(address)!r} is not an address of a server, such as 'http://127.0.0.1:8000/v1'")
    return host if parts.scheme == "https" or is_here(host) else f"http://{host}"


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_variable(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,100}", name)) and redact(name) == name


def _plain(address: str) -> str:
    return re.sub(r"://[^/]*@", "://", address)[:80]


def _belongs(variable: str, provider: str, api_base: str | None) -> bool:
    """Whether a variable and a host belong together by themselves."""
    host = host_of(api_base) if api_base else _default_host(provider)
    if is_here(host) and any(variable in _own(p) for p in OWN_SERVERS):
        return True
    stem = re.sub(r"_(API_)?(KEY|TOKEN)$", "", variable)
    if any(_is_at(os.environ.get(stem + ending, ""), host) for ending in _BASES):
        return True
    if api_base and "." not in host:
        return False
    theirs = (provider, *_providers_of(variable))
    return any(host == _default_host(p) for p in theirs if variable in _own(p) or _begins(variable, p))


def _is_at(base: str, host: str) -> bool:
    try:
        return bool(base) and host_of(base) == host
    except ConfigError:
        return False


def _stem(provider: str) -> str:
    """What a provider's variables begin with."""
    return re.sub(r"\W", "_", provider).upper()


def _own(provider: str) -> tuple[str, ...]:
    return _VARIABLES.get(provider) or (f"{_stem(provider)}_API_KEY",)


def _begins(variable: str, provider: str) -> bool:
    """MISTRAL_KEY_OF_THE_LAB is one of mistral's."""
    return len(provider) > 2 and variable.upper().startswith(f"{_stem(provider)}_")


@lru_cache(maxsize=64)
def _providers_of(variable: str) -> list[str]:
    import litellm

    names = [str(getattr(p, "value", p)) for p in litellm.provider_list]
    return [name for name in names if variable in _own(name) or _begins(variable, name)]


def _provider(model: str, api_base: str | None) -> str:
    first, slash, _ = model.partition("/")
    if slash and (first in OWN_SERVERS or first in _HOSTS):
        return first  # without litellm, which takes seconds to load
    known = _of_litellm(model, api_base)
    return known[0] if known else first


def _default_host(provider: str) -> str:
    """Where a provider's calls go by themselves; its name where litellm does not say."""
    for ending in _BASES:
        if base := os.environ.get(_stem(provider) + ending):
            return host_of(base)
    if provider in _HOSTS:
        return _HOSTS[provider]
    _, base = _of_litellm(f"{provider}/any", None) or ("", "")
    return host_of(base) if base else provider


_of_litellm = lru_cache(maxsize=256)(provider_of)
