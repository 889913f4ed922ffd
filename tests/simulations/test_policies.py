"""A small sample of ``python -m tests.simulations.policies``, and that it notices a policy that breaks a rule."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from bot.domain.scope import proposal_branch
from bot.domain.windows import Window
from bot.requests import Actor, Propose, carry_out
from tests.simulations.policies import START, WINDOWS, lives, settings_of
from tests.simulations.rules import Policy
from tests.simulations.world import World, made

DAYS = 5
SEEDS = (3, 12)


def nothing(*_: object, **__: object) -> None:
    """Decide nothing."""


def none(*_: object, **__: object) -> tuple[object, ...]:
    """Do nothing."""
    return ()


BROKEN = {
    "merges after a way back": ("bot.operations.policies.held_after_way_back", nothing, "held since"),
    "nothing is carried": ("bot.operations.path.offered", nothing, "waits to be proposed for ever"),
    "nothing goes out when a window opens": (
        "bot.operations.watching.deploy_what_waited",
        none,
        "waits to be deployed for ever",
    ),
    "a lifted quarantine starts nothing": (
        "bot.operations.opening.lifted_by",
        lambda _: {},
        "waits to be deployed for ever",
    ),
}
"""Decisions that are broken, and the words of the rule that each breaks."""


def test_lives_of_policies_keep_every_rule() -> None:
    found = lives(SEEDS, DAYS)
    assert [one.wrong for one in found] == [[] for _ in SEEDS]
    counted = found[0].counted + found[1].counted
    for what in ("merges by policy", "proposals by policy", "deployments", "looks", "processes that died"):
        assert counted[what] > 0, what


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[pytest.mark.extended] * (number > 0)) for number, what in enumerate(BROKEN)]
)
def test_a_policy_that_breaks_a_rule_is_noticed(what: str) -> None:
    broken: tuple[str, Callable[..., object], str] = BROKEN[what]
    where, instead, said = broken
    with mock.patch(where, instead):
        (found,) = lives(SEEDS[:1], DAYS)
    assert [one for one in found.wrong if said in one], found.wrong


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
