"""What a check found at an earlier commit: when it holds for a later one, and when it must be looked at again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.carrying import CARRIED_FOR, SAYS_SO, carried_over
from bot.domain.desired import Change, Entry
from bot.domain.evaluation import Evaluation
from bot.domain.evidence import Behaviour, CheckName, CheckResult, Finding

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
OLD, NEW = "a" * 40, "b" * 40
ENTRY = Entry(version=8, digest=f"sha256:{'8' * 64}", run="run8")
CHAMPION = Entry(version=7, digest=f"sha256:{'7' * 64}", run="run7")
OTHER = Entry(version=6, digest=f"sha256:{'6' * 64}", run="run6")


def change(before: Entry | None = None, **more: Any) -> Change:
    return Change(
        **{"environment": "dev", "section": "models", "model": "churn", "before": before, "after": ENTRY, **more}
    )


def result(name: CheckName = "triton", **more: Any) -> CheckResult:
    values: dict[str, Any] = {
        "check": name,
        "environment": "dev",
        "section": "models",
        "model": "churn",
        **ENTRY.model_dump(include={"version", "digest", "run"}),
        "findings": (Finding(what="loads", passed=True),),
        "at": NOW - timedelta(hours=1),
        "rules": "r",
    }
    return CheckResult(**{**values, **more})


def carried(
    *found: tuple[str, CheckResult], to: Change | None = None, name: CheckName = "triton", rules: str = "r"
) -> Any:
    return carried_over(name, to or change(), found, head=NEW, rules=rules, now=NOW)


def test_what_was_seen_of_the_same_bytes_holds_and_says_where_it_was_seen() -> None:
    before = result()
    found = carried((OLD, before))
    assert found.at == before.at and found.passed and found.findings[0] == before.findings[0]
    assert found.findings[1].what == SAYS_SO and found.findings[1].detail.startswith(f"from {OLD[:12]} of this pull")
    assert carried((OLD, found)) == found, "carried on, it still names where it was looked at"


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        ([(OLD, result(version=7))], {}),
        ([(OLD, result(digest=OTHER.digest))], {}),
        ([(OLD, result(run="other"))], {}),
        ([(OLD, result(run=""))], {}),
        ([(OLD, result(section="shadow"))], {}),
        ([(OLD, result(model="fraud"))], {}),
        ([(OLD, result(environment="prod"))], {}),
        ([(OLD, result())], {"rules": "others"}),
        ([(OLD, result(at=NOW - CARRIED_FOR))], {}),
        ([(OLD, result(findings=()))], {}),
        ([(OLD, result()), (OLD, result(at=NOW, findings=(Finding(what="loads", passed=False),)))], {}),
        ([(OLD, result()), (NEW, result())], {}),
        ([(OLD, result("smoke"))], {}),
        ([(OLD, result("ready"))], {"name": "ready"}),
        ([], {}),
    ],
)
def test_everything_else_is_looked_at_again(found: list[tuple[str, CheckResult]], asked: dict[str, Any]) -> None:
    assert carried(*found, **asked) is None


@pytest.mark.parametrize(
    ("seen", "in_service", "holds"),
    [
        (None, None, True),
        (CHAMPION, CHAMPION, True),
        (CHAMPION, OTHER, False),
        (CHAMPION, None, False),
        (None, CHAMPION, False),
        (None, ENTRY, True),
    ],
)
def test_smoke_holds_beside_the_same_champion_only(seen: Entry | None, in_service: Entry | None, holds: bool) -> None:
    behaviour = Behaviour(champion=seen, cases=1) if seen else None
    found = carried((OLD, result("smoke", behaviour=behaviour)), to=change(in_service), name="smoke")
    assert (found is not None) is holds


def test_smoke_that_could_not_compare_is_tried_again() -> None:
    behaviour = Behaviour(champion=CHAMPION, cases=1, problem="the registry lost it")
    assert carried((OLD, result("smoke", behaviour=behaviour)), to=change(CHAMPION), name="smoke") is None


@pytest.mark.parametrize(
    ("seen", "in_service", "holds"),
    [
        (None, None, True),
        (CHAMPION, CHAMPION, True),
        (CHAMPION, OTHER, False),
        (CHAMPION, None, False),
        (None, CHAMPION, False),
    ],
)
def test_a_measurement_holds_beside_the_same_champion_only(
    seen: Entry | None, in_service: Entry | None, holds: bool
) -> None:
    measured = Evaluation(digest=f"sha256:{'5' * 64}", champion=seen)
    found = carried((OLD, result("behaviour", evaluation=measured)), to=change(in_service), name="behaviour")
    assert (found is not None) is holds


@pytest.mark.parametrize("more", [{"problem": "the bucket is away"}, {"champion_problem": "it does not load"}])
def test_what_could_not_be_measured_is_tried_again(more: dict[str, str]) -> None:
    measured = Evaluation(digest=f"sha256:{'5' * 64}", champion=CHAMPION, **more)
    assert carried((OLD, result("behaviour", evaluation=measured)), to=change(CHAMPION), name="behaviour") is None
    assert carried((OLD, result("behaviour")), to=change(CHAMPION), name="behaviour") is None
