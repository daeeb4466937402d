"""What tests on wires share."""

from tests.teachers.conftest import litellm_is_loaded  # noqa: F401
