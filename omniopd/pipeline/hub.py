"""A folder onto the Hugging Face hub (HF_ENDPOINT): a new repository, or one commit on the one that is there.

The token comes from the environment and is sent to the hub alone. `upload_folder` is not used: it makes several commits
of a large folder, between which a repository would hold half a model.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError, OmniOPDError, Refused, RunError
from omniopd.io.redaction import keep
from omniopd.teachers.access.keys import host_of

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
# What of an earlier student would be loaded in the place of this one, or beside it.
STALE = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "config.json", "generation_config.json")


def require_name(repo: str) -> None:
    """Raises ConfigError for what is no ORG/NAME on the hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        fault = "" if repo.count("/") == 1 else "one slash parts the owner from the name"
    except HFValidationError:
        fault = "letters, digits, - _ and . make a name, 96 of them at most, and neither -- nor .. nor .git at its end"
    if fault:
        raise ConfigError(f"--to {repo!r} is no ORG/NAME on the hub: {fault}")


def require_token() -> str:
    """The token in the environment. Raises ConfigError where there is none, and where it could not be used."""
    from huggingface_hub import constants

    token = next((value for name in TOKENS if (value := os.environ.get(name, "").strip())), "")
    keep(token)
    if not token:
        raise ConfigError(
            f"no token for {constants.ENDPOINT}: put one that may write into the environment ({TOKENS[0]}), or look at "
            "what would be sent with --dry-run"
        )
    if constants.HF_HUB_OFFLINE:
        raise ConfigError("HF_HUB_OFFLINE is set, so that nothing can be sent: unset it, or use --dry-run")
    if host_of(constants.ENDPOINT).startswith("http://"):
        raise ConfigError(
            f"HF_ENDPOINT is {constants.ENDPOINT}, where a token would be read on its way: give an https address"
        )
    return token


def send(folder: Path, repo: str, token: str, private: bool, message: str) -> str:
    """Put the files of `folder` in one commit into the repository, which is made where there is none; returns its URL.

    Weights of an earlier student that the folder lacks are removed by it; other files there stay. `private`: nobody
    else sees it. Raises Refused for one that everybody sees and `private`, RunError where the hub does not take it.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token, library_name="omniopd")
    made = False
    try:
        there = _there(api, repo)
        if there is None:
            api.create_repo(repo, private=private or None)
            made = True
        elif private and not there.private:
            raise Refused(
                f"{repo} is public, and --private was asked for: make it private on the hub first, or name another"
            )
        files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
        old = [] if there is None else [file.rfilename for file in there.siblings or ()]
        gone = [name for name in old if name not in files and any(fnmatchcase(name, stale) for stale in STALE)]
        operations: list[Any] = [CommitOperationAdd(name, file) for name, file in files.items()]
        operations += [CommitOperationDelete(name) for name in gone]
        parent = None if there is None else there.sha
        return str(api.create_commit(repo, operations, commit_message=message, parent_commit=parent).commit_url)
    except OmniOPDError:
        raise
    except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        left = f"{repo} was made and holds nothing yet" if made else "nothing was changed there"
        raise RunError(
            f"the hub did not take {repo} ({_reason(error)}): {left}; the same command tries again"
        ) from error


def _there(api: Any, repo: str) -> Any:
    """What the hub says of a repository; None where there is none that this token sees."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.model_info(repo)
    except RepositoryNotFoundError:
        return None


def _reason(error: BaseException) -> str:
    """The last line of what began it: an upload's thread says of its error no more than the file."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
