"""A sample of what real processes do; the whole is ``python -m tests.reliability.processes``."""

from __future__ import annotations

import argparse

import pytest

from tests.operations.world import World
from tests.reliability import outcomes, processes
from tests.reliability.processes import DEADLINES, CannotMount, disk_full, gateway_killed_in_a_reload_and_restarted


def test_a_gateway_dies_in_the_middle_of_a_reload_and_comes_back(world: World) -> None:
    world.configure("dev", deadlines=DEADLINES)
    assert gateway_killed_in_a_reload_and_restarted(world)[0] == []


@pytest.mark.slow
def test_a_disk_that_is_really_full(world: World) -> None:
    world.configure("dev", deadlines=DEADLINES)
    try:
        with processes.small_share(world, bytes_=2 * 2**20):
            for free, attempt in disk_full(world, [4]):
                assert attempt()[0] == [], f"{free} pages free"
    except CannotMount as error:
        pytest.skip(str(error))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_everything_that_processes_do() -> None:
    with outcomes.world_of_its_own(processes.SHAPE) as world:
        options = argparse.Namespace(only="", times=3, points=None, pages=range(24), disk_bytes=2 * 2**20)
        assert [outcome for outcome in processes.run(world, options) if outcome.problems] == []
