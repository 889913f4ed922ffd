"""A test that says which workflows it runs for which events (`runs`) is held to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workflows.inventory import ran, runs_of


@pytest.fixture(autouse=True)
def _they_ran(request: pytest.FixtureRequest) -> Iterator[None]:
    marker = request.node.get_closest_marker("runs")
    if marker is None:
        yield
        return
    forge = request.getfixturevalue("forge_folder")
    before = runs_of(forge)
    yield
    missing = set(marker.args) - ran(runs_of(forge) - before)
    assert not missing, f"did not run through act, or failed: {sorted(missing)}"
