"""Which step a deployment under way has reached, by what the servers have."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.domain import underway
from bot.domain.blame import GoesBack
from bot.domain.journal import Underway
from bot.domain.plan import Live
from bot.domain.routes import Route, RouteTable, Target
from bot.domain.underway import step_of
from tests.domain.entries import entry

BEFORE, AFTER = entry(1), entry(2)
ONE, TWO = (Target("churn", e.version, e.digest) for e in (BEFORE, AFTER))
OLD, NEW = (RouteTable("dev", n, {"churn": Route(target, None)}) for n, target in ((7, ONE), (8, TWO)))


def _item(**more: object) -> Underway:
    item = Underway(
        id="dev-1", section="models", model="churn", before=BEFORE, after=AFTER, started_at=datetime.now(UTC)
    )
    return item.model_copy(update=more)


def _live(routes: RouteTable, *loaded: set[int] | None, gateway: RouteTable | None = None) -> Live:
    tritons = {
        f"t{n}": None if has is None else frozenset(("churn", version) for version in has)
        for n, has in enumerate(loaded)
    }
    return Live(routes, tritons, {"g": gateway or routes}, {})


@pytest.mark.parametrize(
    ("live", "step"),
    [
        (_live(OLD, {1}, {1}), underway.PUBLISHING),
        (_live(OLD, {1, 2}, {1}), underway.LOADING),
        (_live(OLD, {1, 2}, {1, 2}), underway.ASKING),
        (_live(OLD, {1, 2}, None), underway.ASKING),
        (_live(OLD, None, None), underway.PUBLISHING),
        (_live(NEW, {1, 2}, {1, 2}, gateway=OLD), underway.SWITCHING),
        (_live(NEW, {1, 2}, {1, 2}), underway.PROVING),
    ],
)
def test_a_step_is_done_when_its_effect_is_there(live: Live, step: str) -> None:
    assert step_of(_item(), live) == step


def test_what_is_put_back_is_named_so_wherever_it_stands() -> None:
    assert step_of(_item(goes_back=GoesBack("why", to_blame=True, retry=False)), _live(NEW, {1, 2})) == (
        underway.GOING_BACK
    )


def test_a_configuration_of_its_own_gives_a_version_another_name() -> None:
    live = Live(OLD, {"t": frozenset({("churn.1a2b3c4d", 2)})}, {"g": OLD}, {})
    assert step_of(_item(), live) == underway.ASKING
    shadow = Live(OLD, {"t": frozenset({("churn-shadow", 2)})}, {"g": OLD}, {})
    assert step_of(_item(), shadow) == underway.PUBLISHING, "that is another path"


def test_taking_out() -> None:
    assert step_of(_item(after=None), _live(OLD, {1})) == underway.TAKING_OUT
