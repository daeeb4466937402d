"""What tests of hosted teachers share."""

from __future__ import annotations

import pytest

from omniopd.teachers.hosted.teacher import HostedTeacher
from tests.builders import request
from tests.teachers.faulty_server import Served


@pytest.fixture(scope="session")
def litellm_is_loaded() -> None:
    """Half of it comes with a process's first call, on a slow machine for longer than a call may take in a test."""
    with Served() as server:
        HostedTeacher("hosted_vllm/m", api_base=server.url, handover="instruction").continue_from([request("a", 1)])
