"""The parts of ``python -m tests.simulations.policies``: the rules beside the bot's, and the world in memory."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.scope import proposal_branch
from bot.domain.windows import Window
from bot.requests import Actor, Propose, carry_out
from tests.simulations.policies import START, WINDOWS, settings_of
from tests.simulations.rules import Policy
from tests.simulations.world import World, made


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_the_bot_reads_a_window_as_the_rules_do(window: object) -> None:
    read, chance = Window.parse(str(window)), random.Random(3)  # noqa: S311 - only which moments are tried
    for _ in range(2000):
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(2 * 365 * 24 * 60))
        assert read.contains(moment) == window.contains(moment), moment  # type: ignore[attr-defined]


def test_a_persons_commit_that_was_merged_keeps_nobody_from_proposing_the_next() -> None:
    """A squash leaves the branch beside main, and where nobody deletes it the bot finds that commit there again."""
    world = World({"dev": settings_of(Policy("dev"))}, seed=1, start=START)

    def propose(version: int) -> None:
        world.versions["churn", version] = made("churn", version)
        request = Propose(environment="dev", by=Actor("training"), model="churn", version=version)
        carry_out(request, world.platform, say=lambda _: None, tell=lambda _: "")  # type: ignore[arg-type]

    propose(1)
    pull, branch = world.github.pulls[1], proposal_branch("dev", "churn")
    head = world.git.branches[branch]
    files = {**world.git.commits[head].files, "README.md": "by alex"}
    world.git.branches[branch] = world.git.commit((head,), files, "my own", "alex", "alex@example.com")
    world.github.checks[world.git.branches[branch]] = True
    world.github.merge(pull, "alex")
    propose(2)
    assert world.github.pulls[2].is_open and world.git.main.files["README.md"] == "by alex"
