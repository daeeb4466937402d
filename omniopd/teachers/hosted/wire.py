"""What is written into a call: sampling as the model takes it, prompt or messages, whose key; and how long it is.

Knows litellm's names of parameters and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniopd.errors import ConfigError
from omniopd.io.redaction import keep
from omniopd.teachers.access.keys import require_leave, sent_by
from omniopd.teachers.handover.base import Handover, ProviderRequest
from omniopd.teachers.model_traits import SERVERS, ModelTraits, check_sampling, own_server


def sampling(traits: ModelTraits, handover: Handover, temperature: float, top_p: float) -> dict[str, Any]:
    """The sampling parameters that are sent. Raises ConfigError for settings that the model does not take."""
    check_sampling(temperature, top_p)
    if not traits.takes_sampling:
        if (temperature, top_p) != (1.0, 1.0):
            raise ConfigError(
                f"the teacher {traits.model!r} takes no temperature and no top_p, and they are {temperature} and "
                f"{top_p}: leave both at 1"
            )
        return {}
    if handover.completes:
        return {"temperature": temperature, "top_p": top_p}  # a server's own default need not be 1
    if traits.one_sampling_setting and temperature != 1.0 and top_p != 1.0:
        raise ConfigError(
            f"the teacher {traits.model!r} takes temperature or top_p, not both, and they are {temperature} and "
            f"{top_p}: leave one at 1"
        )
    if top_p == 1.0:
        return {"temperature": temperature}
    return {"top_p": top_p} if traits.one_sampling_setting else {"temperature": temperature, "top_p": top_p}


def merged(*parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a call, later ones before earlier ones; what they hold in `extra_body` is merged likewise."""
    words = {name: value for each in parameters for name, value in each.items()}
    extra = {name: value for each in parameters for name, value in (each.get("extra_body") or {}).items()}
    return {**words, "extra_body": extra} if extra else words


def call_parameters(
    traits: ModelTraits,
    rendered: ProviderRequest,
    *,
    max_tokens: int,
    samples: int,
    seed: int | None,
    api_base: str | None,
    key_variable: str | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """One call as litellm takes it; `more` are sampling and the user's own parameters."""
    is_raw = rendered.prompt is not None
    words = {
        "model": traits.completion_model if is_raw else traits.model,
        "max_tokens": max_tokens,
        **merged(rendered.parameters, more),
    }
    if isinstance(rendered.prompt, tuple):
        # The client walks a list of ids one by one, 30 ms for 2000; what is in extra_body takes the place of `prompt`
        # in the request, as it is.
        words["prompt"] = [0]
        words["extra_body"] = {**words.get("extra_body", {}), "prompt": list(rendered.prompt)}
    elif is_raw:
        words["prompt"] = rendered.prompt
    else:
        words["messages"] = [dict(message) for message in rendered.messages or ()]
    if seed is not None:
        words["seed"] = seed
    if samples > 1:
        words["n"] = samples
    if api_base:
        words["api_base"] = api_base
    if "api_key" in words:
        keep(words["api_key"])
    elif (key := require_leave(sent_by(words["model"], base_of(words), key_variable), traits.model).value) is not None:
        # Set explicitly: without it litellm would look for OpenAI's key, which no other server may see.
        words["api_key"] = key
    return words


def base_of(parameters: Mapping[str, Any]) -> str | None:
    """The address in the parameters of a call, if they have one."""
    return parameters.get("api_base") or parameters.get("base_url")


def server_address(model: str, completes: bool, api_base: str | None) -> str | None:
    """Where calls go if not to the provider. Raises ConfigError for a server of one's own without an address."""
    api_base = own_server(model, api_base)
    if completes and api_base is None and model.startswith(SERVERS):
        raise ConfigError(
            f"the teacher {model!r} is a server of your own: give its address as api_base (teacher.api_base), such as "
            '"http://127.0.0.1:8000/v1"'
        )
    return api_base


def most_tokens(rendered: ProviderRequest) -> int:
    """More than the provider can count: a token of text is a byte at least, and each turn has a few of its own."""
    if isinstance(rendered.prompt, tuple):
        return len(rendered.prompt) + 8
    messages = [str(message.get("content")) for message in rendered.messages or ()]
    texts = messages if rendered.prompt is None else [rendered.prompt]
    return sum(len(text.encode()) + 32 for text in texts) + 64


def likely_tokens(rendered: ProviderRequest) -> int:
    """A guess: four bytes a token."""
    return len(rendered.prompt) if isinstance(rendered.prompt, tuple) else most_tokens(rendered) // 4
