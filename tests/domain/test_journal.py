"""The journal: which changes of a run go back, and journals as they were written before."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.domain.blame import GoesBack
from bot.domain.journal import Journal, Underway
from bot.domain.routes import RouteTable
from tests.domain.entries import entry

BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
BEFORE = RouteTable("dev").to_json()


def underway(model: str, goes_back: GoesBack | None = None) -> Underway:
    return Underway(
        id=f"dev-00000001-{model}",
        section="models",
        model=model,
        before=None,
        after=entry(1),
        started_at=BEGAN,
        goes_back=goes_back,
    )


def test_each_change_says_whether_it_goes_back() -> None:
    why = GoesBack("gateway g1: 0.9 instead of 0.1", to_blame=True, retry=False)
    journal = Journal(turn=1, before=BEFORE, underway=(underway("churn", why), underway("wine")))
    read = Journal.model_validate_json(journal.model_dump_json())
    assert [read.why_back(one) for one in read.underway] == [why, None]


def test_a_journal_of_before_takes_all_back_and_blames_all() -> None:
    written = Journal(turn=1, before=BEFORE, underway=(underway("churn"), underway("wine"))).model_dump(mode="json")
    for one in written["underway"]:
        del one["goes_back"]
    old = Journal.model_validate({**written, "going_back": "gateway g1: 409"})
    assert [old.why_back(one) for one in old.underway] == [
        GoesBack("gateway g1: 409", to_blame=True, retry=False)
    ] * 2
    forward = Journal.model_validate({**written, "going_back": ""})
    assert [forward.why_back(one) for one in forward.underway] == [None, None]
