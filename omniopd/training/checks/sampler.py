"""Whether what samples the student's answers is there: vLLM in this process, or a server of vLLM's. Before anything is
computed; asks the server for no text."""

from __future__ import annotations

import http.client
import importlib.util
import json
import urllib.error
import urllib.request
from typing import Any

from omniopd.config.settings import SERVED, TRANSFORMERS, StudentConfig
from omniopd.errors import ConfigError

_PATIENCE_S = 10.0
_HOW = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config '{\"backend\": \"nccl\"}' "
    "--logprobs-mode processed_logprobs"
)


def require_sampler(student: StudentConfig, device: str) -> None:
    """Raises ConfigError for a sampler that is not installed, that cannot be given the student's weights, and for a
    server that is not there."""
    if student.sampler == TRANSFORMERS:
        return
    said = f'student.sampler is "{student.sampler}"'
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            f"{said}, and vLLM is not installed, by which weights reach it: install omniopd[vllm] into an environment "
            f'of its own (docs/gpu.md), or take "{TRANSFORMERS}"'
        )
    if student.sampler == SERVED:
        if device == "cpu":
            raise ConfigError(
                f"{said} and training.device the CPU: a server is given weights by NCCL, between GPUs, so train on "
                f'one, or take "{TRANSFORMERS}"'
            )
        require_server(student.server)


def require_server(address: str) -> None:
    """Raises ConfigError where no server of vLLM's that takes weights answers at an address."""
    said = f"student.server is {address!r}"
    try:
        _get(f"{address}/health")
        taken = json.loads(_get(f"{address}/server_info?config_format=json"))["vllm_config"]["weight_transfer_config"]
    except urllib.error.HTTPError as error:
        raise ConfigError(
            f"{said}, which answers {error.code} to {error.url}: start it so that it takes weights ({_HOW})"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise ConfigError(
            f"{said}, and no server of vLLM's answers there ({error}): start one ({_HOW}), or correct the address"
        ) from error
    if taken is None:
        raise ConfigError(f"{said}, which takes no weights: start it again with a way for them ({_HOW})")


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:
        return answer.read()
