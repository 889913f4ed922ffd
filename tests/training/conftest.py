"""The Triton of the tests of the training side; MLflow's fixture is that of all tests."""

from __future__ import annotations

import pytest

from tests.servers import RunningTriton


@pytest.fixture(scope="session")
def triton(triton_server: RunningTriton) -> RunningTriton:
    """A Triton of the sandbox's own kind, and the repository that it serves from."""
    return triton_server
