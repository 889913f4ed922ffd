"""What a policy may do by itself: how many clean releases a model has, and which pull requests may merge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.desired import Change, Entry
from bot.domain.policy import (
    Candidate,
    Cause,
    Clean,
    MayMerge,
    MustWait,
    Standing,
    clean_releases,
    follows_users,
    may_merge,
    requires_verdict,
)
from bot.domain.record import DeploymentRecord, Rollout
from bot.domain.release import Lane, Slot
from bot.domain.windows import Closed
from tests.domain.entries import a_record, entry

BEGAN = datetime(2026, 11, 2, 9, tzinfo=UTC)
FREEZE = Closed("freeze", "holidays", BEGAN - timedelta(days=1), BEGAN)
CHURN = Slot("dev", "churn", Lane.LIVE)


@dataclass(frozen=True)
class Rule:
    after_clean: int | None = None
    when: str = "checks pass"


def released(number: int, **more: Any) -> DeploymentRecord:
    """The record of a release of version ``number`` after the one before."""
    given: dict[str, Any] = {"before": entry(number - 1) if number > 1 else None, "serving": entry(number), **more}
    return a_record(entry(number), number=number, at=BEGAN + timedelta(hours=number), **given)


def gone_back(number: int, to: int, **more: Any) -> DeploymentRecord:
    return released(number, before=entry(number - 1)).model_copy(
        update={"after": entry(to), "serving": entry(to), "way_back": True, "reason": "too slow", **more}
    )


def canary(number: int, step: int, percent: int) -> DeploymentRecord:
    """A step of the rollout that the record ``number`` began."""
    of = Rollout(
        id=f"dev-{number:08d}-churn", percent=percent, step=step, steps=(1, 50, 100), began_at=BEGAN, key="x-user"
    )
    outcome = "succeeded" if percent == 100 else "rolling out"
    return released(number, rollout=of, outcome=outcome).model_copy(
        update={"id": f"dev-{number + step - 1:08d}-churn"}
    )


# --- clean releases -----------------------------------------------------------------------------------------------


def test_releases_that_went_well_count_until_one_does_not() -> None:
    well = [released(number) for number in (1, 2, 3)]
    assert clean_releases(well, CHURN) == Clean(3)
    assert clean_releases([], CHURN) == Clean(0)
    for bad in (
        released(4, outcome="put back", serving=entry(3), problem="wrong answers"),
        released(4, outcome="failed", serving=entry(3)),
        gone_back(4, to=2),
        gone_back(4, to=2, outcome="incomplete"),
        gone_back(4, to=2, outcome="failed"),
    ):
        assert clean_releases([*well, bad], CHURN) == Clean(0, bad), "all before it counts no more"
        assert clean_releases([*well, bad, released(5), released(6)], CHURN) == Clean(2, bad)
    assert "put back (wrong answers)" in Clean(0, released(4, outcome="put back", problem="wrong answers")).why
    assert Clean(0, gone_back(4, to=2)).why == "dev-00000004-churn: rolled back (too slow)"


def test_what_is_no_release_of_the_slot_counts_for_nothing() -> None:
    well = [released(1), released(2)]
    others = [
        released(3, model="fraud", outcome="put back"),
        released(3, section="shadow", outcome="put back"),
        released(3, before=entry(3), reason="published again"),
        a_record(None, number=3, at=BEGAN, before=entry(2), reason="retired"),
    ]
    assert clean_releases([*well, *others], CHURN) == Clean(2)


def test_a_rollout_is_one_release_once_all_users_have_it() -> None:
    steps = [canary(4, 1, 1), canary(4, 2, 50), canary(4, 3, 100)]
    assert [clean_releases(steps[:many], CHURN).count for many in (1, 2, 3)] == [0, 0, 1]


def test_where_the_settings_bake_only_what_is_baked_counts_and_a_breach_ends_it() -> None:
    well = [released(1), released(2), released(3)]
    ids = [record.id for record in well]
    assert clean_releases(well, CHURN, baked=ids[:2]) == Clean(2)
    assert clean_releases(well, CHURN, baked=set()) == Clean(0)
    assert clean_releases(well, CHURN, baked=ids, breached={ids[1]}) == Clean(1, well[1])
    steps = [canary(4, 1, 1), canary(4, 3, 100)]
    assert clean_releases(steps, CHURN, baked={steps[0].id}) == Clean(1), "noted under its first step"


# --- whether a pull request may merge -----------------------------------------------------------------------------


def asks(after: Entry | None, before: Entry | None = None, **more: Any) -> Change:
    return Change(
        **{"environment": "dev", "section": "models", "model": "churn", "before": before, "after": after, **more}
    )


def pull(**more: Any) -> Candidate:
    """A proposal of version 4 with nothing wrong."""
    given: dict[str, Any] = {
        "number": 7,
        "head": "a" * 40,
        "kind": "proposal",
        "changes": (asks(entry(4), entry(3)),),
        "by_the_bot": True,
        "was_asked": True,
        "checked": "green",
        **more,
    }
    return Candidate(**given)


def standing(**more: Any) -> Standing:
    """An environment in which version 3 is served, after three clean releases."""
    given: dict[str, Any] = {
        "environment": "dev",
        "rule": Rule(3),
        "records": [released(1), released(2), released(3)],
        "quarantined": (),
        "requires_verdict": True,
        **more,
    }
    return Standing(**given)


def test_a_proposal_with_nothing_against_it_may_merge_and_says_why() -> None:
    assert may_merge(pull(), standing()) == MayMerge("its checks passed; 3 clean releases of churn")
    assert may_merge(pull(), standing(rule=Rule(None), records=[])) == MayMerge("its checks passed")


BAD = released(3, outcome="put back", serving=entry(2), problem="wrong answers")
STEP = canary(3, 1, 1)
HELD: list[tuple[Cause, dict[str, Any], dict[str, Any], str]] = [
    ("no rule", {}, {"rule": None}, "the settings let nothing merge by itself"),
    ("settings", {}, {"mistake": "gates.churn: is missing"}, "has a mistake (gates.churn: is missing)"),
    ("branch rules", {}, {"requires_verdict": False}, "do not require the check Verdict"),
    ("token", {}, {"starts_workflows": False}, "starts no workflow"),
    ("kind", {"kind": "retirement", "changes": (asks(None, entry(3), retired="old"),)}, {}, "a person decides"),
    ("kind", {"kind": "way back", "changes": (asks(entry(1), entry(3)),)}, {}, "a person decides"),
    ("not the bot's", {"by_the_bot": False}, {}, "somebody else opened it"),
    ("not asked for", {"was_asked": False}, {}, "no record says"),
    ("person's commit", {"people": ("1a2b by eve",)}, {}, "is not the bot's: 1a2b by eve"),
    (
        "beside",
        {"beside": ("bot/cli.py",)},
        {},
        "more than its entry: bot/cli.py",
    ),
    ("beside", {"changes": ()}, {}, "it changes no entry"),
    ("draft", {"is_draft": True}, {}, "it is a draft"),
    ("switched off", {"switched_off": True}, {}, "somebody switched auto-merge off"),
    ("quarantine", {}, {"quarantined": {entry(4).digest}}, "is in quarantine"),
    ("clean", {}, {"rule": Rule(4)}, "3 of 4 clean releases of churn"),
    ("clean", {"changes": (asks(entry(4), model="new"),)}, {}, "0 of 3 clean releases of new"),
    ("taken back", {}, {"records": [released(1), BAD]}, "taken back at dev-00000003-churn: put back (wrong answers)"),
    ("under way", {}, {"records": [released(1), STEP], "rule": Rule()}, "dev-00000003-churn is still being rolled"),
    ("under way", {}, {"underway": {CHURN}}, "a deployment of churn is under way"),
    ("way back", {}, {"after_way_back": {CHURN: BAD}.get}, "churn went back at dev-00000003-churn, and nothing that"),
    ("shut", {}, {"shut": FREEZE}, "nothing new goes out until 2026-11-02 09:00 UTC (holidays)"),
    ("checks", {"checked": "red"}, {}, "its checks did not pass"),
    ("checks", {"checked": "not yet"}, {}, "its checks are not all there yet"),
    ("checks", {"checked": "expired"}, {}, "its checks are expired"),
    ("checks", {"checked": "revoked"}, {}, "its checks are revoked"),
    ("would be held", {"would_be_held": "churn: no room"}, {}, "a deployment would hold it: churn: no room"),
]


@pytest.mark.parametrize(
    ("cause", "of_pull", "of_standing", "said"), HELD, ids=[f"{row[0]}: {row[3]}" for row in HELD]
)
def test_each_reason_alone_keeps_it_from_merging(
    cause: Cause, of_pull: dict[str, Any], of_standing: dict[str, Any], said: str
) -> None:
    found = may_merge(pull(**of_pull), standing(**of_standing))
    assert isinstance(found, MustWait) and found.causes == {cause}
    assert said in found.why


def test_every_reason_is_told_and_the_end_only_where_all_of_them_end() -> None:
    shut = standing(shut=FREEZE, rule=Rule(9))
    found = may_merge(pull(by_the_bot=False), shut)
    assert isinstance(found, MustWait)
    assert [reason.cause for reason in found.reasons] == ["not the bot's", "shut", "clean"]
    assert found.until is None, "a freeze that ends does not make it the bot's"
    alone = may_merge(pull(), replace(shut, rule=Rule()))
    assert isinstance(alone, MustWait) and alone.until == BEGAN


def test_of_several_models_each_needs_its_own_clean_releases() -> None:
    both = (asks(entry(4), entry(3)), asks(entry(9), model="fraud"))
    found = may_merge(pull(changes=both), standing())
    assert isinstance(found, MustWait) and found.why == "0 of 3 clean releases of fraud"


def test_of_a_bundle_the_part_that_users_ask_counts() -> None:
    part = (asks(entry(4), model="tokenizer"),)
    assert isinstance(may_merge(pull(changes=part), standing()), MustWait)
    assert isinstance(may_merge(pull(changes=part), standing(counts_as={"tokenizer": "churn"})), MayMerge)


# --- the way back -------------------------------------------------------------------------------------------------

BACK = pull(kind="way back", changes=(asks(entry(2), entry(3)),))
PUT_BACK = [released(1), released(2), BAD]


def test_a_way_back_that_users_have_already_merges_whatever_holds_new_things() -> None:
    now = standing(rule=Rule(99), records=PUT_BACK, quarantined={entry(3).digest}, shut=FREEZE, mistake="gates")
    now = replace(now, after_way_back={CHURN: BAD}.get, underway={CHURN})
    assert may_merge(BACK, now) == MayMerge("users have it already, and main follows")


@pytest.mark.parametrize(
    ("of_pull", "cause"),
    [
        ({"by_the_bot": False}, "not the bot's"),
        ({"was_asked": False}, "not asked for"),
        ({"people": ("1a2b by eve",)}, "person's commit"),
        ({"beside": ("bot/cli.py",)}, "beside"),
        ({"checked": "red"}, "checks"),
    ],
)
def test_a_way_back_is_held_to_all_that_is_asked_of_itself(of_pull: dict[str, Any], cause: Cause) -> None:
    found = may_merge(replace(BACK, **of_pull), standing(records=PUT_BACK))
    assert isinstance(found, MustWait) and found.causes == {cause}
    no_rule = may_merge(BACK, standing(records=PUT_BACK, rule=None))
    assert isinstance(no_rule, MustWait) and no_rule.causes == {"no rule"}
    undecided = may_merge(BACK, standing(records=PUT_BACK, requires_verdict=False))
    assert isinstance(undecided, MustWait) and undecided.causes == {"branch rules"}


@pytest.mark.parametrize(
    ("change", "follows"),
    [
        (asks(entry(2), entry(3)), True),
        (asks(entry(1), entry(3)), False),
        (asks(None, entry(3)), False),
        (asks(None, entry(9), model="never"), True),
        (asks(entry(2).model_copy(update={"digest": entry(7).digest}), entry(3)), False),
        (asks(entry(2), entry(3), section="shadow"), False),
    ],
)
def test_records_say_what_users_get_and_no_text_does(change: Change, follows: bool) -> None:
    now = standing(records=PUT_BACK)
    assert follows_users(replace(BACK, changes=(change,)), now) is follows
    assert not follows_users(replace(BACK, changes=(change,), kind="proposal"), now)
    assert not follows_users(replace(BACK, changes=()), now)


def test_verdict_is_known_by_its_name_and_by_that_of_a_called_workflow() -> None:
    assert requires_verdict(["lint", "Verdict"]) and requires_verdict(["Promobot / Verdict"])
    assert not requires_verdict([]) and not requires_verdict(["No Verdict", "verdict", "Verdict / lint"])
