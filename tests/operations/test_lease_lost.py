"""Whoever lost the lease stops: no step takes it for a fault, whatever it catches, and whichever thread finds it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.concurrency import background, gather, lazy, map_concurrent
from bot.domain.desired import Change
from bot.errors import LeaseLost, PromobotError, Unavailable
from bot.operations import deploy as deploying
from bot.operations import reconcile as reconciling
from bot.operations.deployment.item import Item, take_step
from bot.settings import Environment

BOT = Path(__file__).parents[2] / "bot"
BOUNDARIES = {
    "bot/cli.py",
    "bot/slack/doing.py",
    "bot/operations/reconcile.py",
    "bot/operations/deploy.py",
    "bot/operations/opening.py",
    "bot/operations/watching.py",
}
"""Where a command ends, or where what is over cannot be undone by it."""


def lost(*_: object) -> Any:
    raise LeaseLost("turn 1 is over: turn 2 was taken by a later deployment or rollback", state="Nothing more.")


def _in_a_step() -> None:
    item = Item(Change("dev", "models", "churn", None, None), "dev-00000001-churn", datetime.now(UTC))
    take_step(item, "publish", "ready", lost)


def _beside_others() -> None:
    together = Barrier(3)

    def work(number: int) -> None:
        together.wait(30)
        if number == 1:
            lost()

    map_concurrent(range(3), work, limit=3)


def _in_the_background() -> None:
    with background(lost, name="lost") as answer:
        answer.result()


@pytest.mark.parametrize(
    "work", [_in_a_step, _beside_others, _in_the_background, lambda: gather([1, 2, 3], lost, limit=3), lazy(lost)]
)
def test_it_is_handed_on_out_of_every_step_and_every_thread(work: Callable[[], object]) -> None:
    with pytest.raises(LeaseLost, match="turn 1 is over"):
        try:
            work()
        except Exception as error:
            raise AssertionError("a general except took it for a fault") from error


def test_nobody_catches_it_but_the_boundaries() -> None:
    found = set()
    for path in sorted(BOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.ExceptHandler)
                and node.type is not None
                and "LeaseLost" in ast.unparse(node.type)
            ):
                found.add(path.relative_to(BOT.parent).as_posix())
    assert found == BOUNDARIES


def test_one_environment_that_lost_its_lease_keeps_no_other_from_being_reconciled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deploy(settings: Environment, **_: object) -> deploying.Deployed:
        return lost() if settings.environment == "dev" else deploying.Deployed(settings.environment, "abc")

    monkeypatch.setattr(reconciling, "deploy", deploy)
    environments = [cast(Environment, SimpleNamespace(environment=name)) for name in ("dev", "prod")]
    dev, prod = reconciling.reconcile(environments, say=lambda _: None)
    assert dev.problems == ("turn 1 is over: turn 2 was taken by a later deployment or rollback Nothing more.",)
    assert prod.problems == () and reconciling.exit_code([dev, prod]) == 1


@pytest.mark.parametrize("error", [LeaseLost("turn 1 is over"), Unavailable("is away", system="Triton")])
def test_a_deployment_that_is_over_stays_what_it_was_when_its_cleanup_ends_early(
    monkeypatch: pytest.MonkeyPatch, error: LeaseLost | PromobotError
) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(deploying, "clean_up", fails)
    said: list[str] = []
    nothing: Any = None
    deploying._clean_up(nothing, nothing, nothing, said.append)
    assert said == [f"cleanup did not end, the next deployment resumes it: {error}"]
