"""A sample of the network matrix; the whole is ``python -m tests.reliability.network``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from tests.operations.world import World
from tests.reliability import network
from tests.reliability.network import CASES, Case, Net, attempt
from tests.stand_ins.links import Fault

SAMPLE = (
    ("deploy", "mlflow", Fault("reset", first=3)),
    ("deploy", "triton", Fault("status", status=503, times=2)),
    ("deploy", "slack", Fault("status", status=429, retry_after=1, times=1)),
)


@pytest.fixture
def net(world: World) -> Iterator[Net]:
    with Net(world) as opened:
        yield opened


def test_a_sample_of_links_that_fail_during_a_deployment(net: Net) -> None:
    kinds = {kind.name: kind for kind in CASES}
    cases: dict[str, Case] = {}
    for verb, link, fault in SAMPLE:
        case = cases.setdefault(verb, kinds[verb](net))
        assert attempt(case, link, fault)[0] == [], f"{verb}, {link}: {fault}"


@pytest.mark.long
def test_every_link_fails_in_every_way(world: World) -> None:
    options = argparse.Namespace(verb="", link="", fault="", first=None, points=None)
    assert [outcome for outcome in network.run(world, options) if outcome.problems] == []
