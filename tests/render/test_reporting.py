"""The report as people read it, and its example in the documentation."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from bot.domain.origin import Origin
from bot.domain.report import deliveries, numbers
from bot.operations.report import OfEnvironment, OfModel, Report
from bot.render import reporting
from bot.render.deliveries import lasting
from tests.domain.lives import BEGAN, Life

PAGE = Path(__file__).parents[2] / "docs/how-to/report.md"
STORY = (
    ("release", "churn", 3, 26, 1, 0),
    ("release", "fraud", 2, 3, 1, 90),
    ("release", "pair", 3, 50, 3, 2_000),
    ("release", "churn", 3, 5, 1, 3_000),
    ("roll back at once", "churn", 3, 1, 1, 240),
    ("release", "fraud", 4, 30, 1, 5_000),
    ("canary", "churn", 3, 8, 1, 4_000),
    ("put back", "fraud", 3, 2, 1, 700),
    ("stopped", "fraud", 3, 2, 1, 60),
    ("release", "fraud", 2, 1, 1, 60),
    ("shadow", "churn", 3, 1, 1, 900),
    ("release", "churn", 0, 1, 1, 6_000),
)


def told(life: Life, **more: str) -> str:
    """Return the report of a life, over thirty days from its beginning."""
    until = BEGAN + timedelta(days=30)
    every = deliveries(life.records)
    names = sorted({(one.name, one.is_bundle) for one in every})
    models = tuple(
        OfModel(name, is_bundle, numbers([one for one in every if one.name == name], BEGAN, until))
        for name, is_bundle in names
    )
    of = OfEnvironment("dev", numbers(every, BEGAN, until), models, tuple(every))
    return reporting.on_terminal(Report(BEGAN, until, (of,), more))


def an_example() -> str:
    """Return what the page shows."""
    life = Life()
    for what, name, known, hours, bits, minutes in STORY:
        life.passes(minutes)
        life.does(what, name, known, hours, bits)
    return told(life)


def test_the_example_in_the_documentation_is_what_it_prints() -> None:
    assert f"```text\n{an_example()}\n```" in PAGE.read_text(), an_example()


def test_the_origin_in_the_documentation_is_one() -> None:
    shown = PAGE.read_text().partition("```json\n")[2].partition("```")[0]
    found = Origin.model_validate_json(shown, extra="forbid")
    assert found.pull_request and found.approved_at and found.unknown == ""


def test_what_is_not_known_is_said_and_never_zero() -> None:
    life = Life()
    life.does("release", "churn", 0, 1, 1)
    text = told(life, prod="the record store does not answer")
    assert "releases               1 (merged by the policy: 0, by people: 0, not known: 1)" in text
    assert "lead time              not known (of 1)" in text
    assert "time to restore        –" in text
    assert "change-failure rate    0 % (0 of 1)" in text
    assert text.endswith("The records of prod cannot be read: the record store does not answer")


def test_times_read_well() -> None:
    assert [lasting(one) for one in (41, 5_400, 47 * 3_600, 2.26 * 86_400)] == [
        "41 s",
        "1.5 h",
        "47.0 h",
        "2.3 d",
    ]
