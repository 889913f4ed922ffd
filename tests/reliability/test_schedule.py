"""The seeded schedule: the same order for the same seed, others for others, and everything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.concurrency import gather, map_concurrent
from bot.errors import LeaseLost
from bot.share import Lease
from tests.reliability.schedule import seeded


@pytest.fixture
def lease(tmp_path: Path) -> Lease:
    return Lease(1, True, tmp_path)


def order(seed: int, lease: Lease, *, models: int = 5) -> list[tuple[str, int]]:
    done: list[tuple[str, int]] = []

    def work(model: int) -> None:
        for step in ("publish", "load"):
            lease.check()
            gather([f"{step} on {server}" for server in range(2)], lambda what: done.append((what, model)), limit=32)

    with seeded(seed):
        map_concurrent(range(models), work, limit=4)
    return done


def test_a_seed_gives_one_order_and_another_seed_another(lease: Lease) -> None:
    orders = [order(seed, lease) for seed in range(8)]
    assert [order(seed, lease) for seed in range(8)] == orders
    assert len({tuple(one) for one in orders}) > 4
    one_by_one = sorted(orders[0], key=lambda done: done[1])
    for one in orders:
        assert sorted(one) == sorted(one_by_one), "each does all of its work"
        assert [model for _, model in one] != [model for _, model in one_by_one], "but not one after the other"


def test_whoever_finds_the_lease_lost_ends_the_group_as_elsewhere(lease: Lease, tmp_path: Path) -> None:
    done: list[int] = []

    def work(model: int) -> None:
        lease.check()
        done.append(model)
        if len(done) == 2:
            (tmp_path / "00000002").touch()

    with seeded(3), pytest.raises(LeaseLost):
        map_concurrent(range(9), work, limit=4)
    assert 2 <= len(done) < 9
