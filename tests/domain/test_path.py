"""What goes on from one environment to the next by itself: what is offered, whether it is due, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.bundled import bundle_in
from bot.domain.desired import Entry
from bot.domain.path import (
    Carry,
    Held,
    NotYet,
    Offer,
    Open,
    Rule,
    Target,
    Unit,
    by_slot,
    digest_of,
    due,
    is_on_its_way,
    offered,
    taken_back_last,
    units,
)
from bot.domain.policy import held_after_way_back
from bot.domain.record import DeploymentRecord, Outcome, Rollout

DAY = timedelta(days=1)
START = datetime(2026, 12, 1, tzinfo=UTC)
CHURN = Unit("churn", ("churn",))
FRAUD = Unit("fraud", ("tokens", "fraud"))
RULE = Rule("dev", DAY)


def entry(version: int, model: str = "churn") -> Entry:
    return Entry(version=version, digest=f"sha256:{len(model):032x}{version:032x}", run=f"{version:032x}")


class Past:
    """The records of an environment, as they come."""

    def __init__(self, environment: str = "dev", at: datetime = START) -> None:
        self.environment, self.records = environment, list[DeploymentRecord]()
        self.serves: dict[str, Entry] = {}
        self.at = at

    def record(
        self, version: int | None, outcome: Outcome = "succeeded", *, model: str = "churn", **more: Any
    ) -> DeploymentRecord:
        """Add one, an hour after the one before."""
        self.at += timedelta(hours=1)
        before, after = self.serves.get(model), entry(version, model) if version is not None else None
        serving = after if outcome in ("succeeded", "unconfirmed") else before
        self.serves = {**self.serves, **({model: serving} if serving else {})}
        if serving is None:
            self.serves.pop(model, None)
        made = DeploymentRecord(
            id=f"{self.environment}-{len(self.records) + 1:08d}-{model}",
            environment=self.environment,
            section="models",
            model=model,
            before=before,
            after=after,
            commit="c0ffee",
            started_at=self.at,
            finished_at=self.at,
            outcome=outcome,
            serving=serving,
            criteria=(),
            steps=(),
            **more,
        )
        self.records.append(made)
        return made

    def bundle(self, tokens: int, fraud: int, **more: Any) -> None:
        """Add the records of a bundle, one for each part."""
        of = {"tokens": entry(tokens, "tokens"), "fraud": entry(fraud, "fraud")}
        for model, version in (("tokens", tokens), ("fraud", fraud)):
            self.record(version, model=model, bundle=bundle_in(of, "fraud", FRAUD.parts), **more)

    def offers(self, unit: Unit = CHURN) -> Offer | None:
        return offered(self.environment, unit, by_slot(self.records))


def judged(
    dev: Past,
    target: Target | None = None,
    *,
    unit: Unit = CHURN,
    rule: Rule = RULE,
    baked: bool | None = True,
    after: timedelta = 2 * DAY,
) -> Any:
    offer = dev.offers(unit)
    assert offer is not None
    target = target or Target("prod", {})
    return due(rule, offer, by_slot(dev.records), target, baked=lambda _: baked, now=offer.since + after)


# --- what is offered ------------------------------------------------------------------------------------------------


def test_the_verified_version_in_service_is_offered_since_it_was_verified_first() -> None:
    dev = Past()
    dev.record(7)
    first = dev.record(8)
    dev.record(8, reason="its bytes were damaged")  # published again
    dev.record(9, "put back")
    dev.record(9, "failed")
    offer = dev.offers()
    assert offer is not None
    assert (offer.version, offer.record, offer.since) == (8, first.id, first.finished_at)
    assert (offer.release, offer.way_back) == (first.id, "")


def test_a_rollout_is_offered_when_it_is_through_under_the_name_of_its_first_step() -> None:
    dev = Past()
    dev.record(7)
    rollout = Rollout(id="dev-00000002-churn", percent=10, step=1, steps=(10, 100), began_at=START)
    dev.record(8, "rolling out", rollout=rollout)
    offer = dev.offers()
    assert offer is not None and offer.version == 7, "users get it"
    whole = dev.record(8, rollout=rollout.at(100))
    offer = dev.offers()
    assert offer is not None
    assert (offer.version, offer.record, offer.release) == (8, whole.id, rollout.id)


@pytest.mark.parametrize("ended", [(), ("failed",), ("put back",)])
def test_nothing_is_offered_that_was_never_verified(ended: Sequence[Outcome]) -> None:
    dev = Past()
    for outcome in ended:
        dev.record(8, outcome)
    assert dev.offers() is None


def test_a_retired_model_is_not_offered() -> None:
    dev = Past()
    dev.record(8)
    dev.record(None, reason="nobody asks for it")
    assert dev.offers() is None


def test_a_bundle_is_offered_whole() -> None:
    dev = Past()
    dev.bundle(1, 1)
    dev.record(2, model="tokens")  # of another bundle, or alone: then nobody verified these two together
    assert dev.offers(FRAUD) is None
    dev.bundle(2, 1)
    offer = dev.offers(FRAUD)
    assert offer is not None
    assert {part: one.version for part, one in offer.entries.items()} == {"tokens": 2, "fraud": 1}
    assert offer.digest == digest_of(FRAUD, offer.entries) != offer.entries["fraud"].digest


def test_units_are_models_and_whole_bundles() -> None:
    bundles = {"fraud": ["tokens", "fraud"]}
    assert units(["tokens", "churn"], bundles) == [CHURN, FRAUD]


# --- whether it is due ----------------------------------------------------------------------------------------------


def test_it_is_due_when_it_is_old_enough_and_under_one_id_for_all() -> None:
    dev = Past()
    dev.record(8)
    assert judged(dev, after=DAY) == Carry(dev.offers())  # type: ignore[arg-type]
    assert judged(dev, after=DAY).request == "policy-dev-00000001-churn"
    early = judged(dev, after=DAY - timedelta(seconds=1))
    assert early == NotYet(
        "churn 8 is verified in dev since 2026-12-01 01:00 UTC, 1d are asked for", START + DAY + timedelta(hours=1)
    )
    assert isinstance(judged(dev, rule=Rule("dev"), after=timedelta(0)), Carry)


def test_where_it_must_be_baked_it_waits_for_that() -> None:
    dev = Past()
    dev.record(8)
    rule = replace(RULE, when="baked")
    assert isinstance(judged(dev, rule=rule), Carry)
    assert judged(dev, rule=rule, baked=False) == NotYet("churn 8 is not baked in dev yet")
    assert judged(dev, rule=rule, baked=None) == Held("dev does not bake churn, and `when: baked` waits for that")
    assert isinstance(judged(dev, baked=False), Carry), "nobody asked for that"


def test_what_the_target_has_or_asks_for_is_nothing_to_tell() -> None:
    dev = Past()
    dev.record(8)
    assert judged(dev, Target("prod", {"churn": entry(8)})) is None
    assert judged(dev, Target("prod", {"churn": entry(7)}, asks={"churn": entry(8)})) is None


def test_what_the_source_went_back_to_is_not_carried() -> None:
    dev = Past()
    dev.record(7)
    dev.record(8)
    dev.record(7, way_back=True)
    assert judged(dev) == Held(
        "dev went back to churn 7 (dev-00000003-churn); a version is not carried after a way back to it"
    )


def test_what_the_source_took_back_is_not_carried_though_a_repair_brought_it_again() -> None:
    dev = Past()
    dev.record(8)
    dev.record(8, "put back", reason="published again")
    assert judged(dev) == Held("dev took churn 8 back (dev-00000002-churn)")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target("prod", {}, quarantined={entry(8).digest}), "churn 8 is in quarantine in prod"),
        (Target("prod", {}, retired="nobody asks"), "prod has retired churn: nobody asks"),
        (
            Target("prod", {}, rejected={entry(8).digest: 12}),
            "#12, which proposed churn 8, was closed without a merge",
        ),
        (
            Target("prod", {}, open=Open(14, entry(9).digest, is_policys=False)),
            "#14 proposes churn, and is a person's to decide on",
        ),
        (
            Target("prod", {}, open=Open(15, "", is_policys=False, is_proposal=False)),
            "#15 takes churn back or out, and is a person's to decide on",
        ),
        (Target("prod", {"churn": entry(12)}), "prod serves churn 12, which is newer than churn 8 of dev"),
        (Target("prod", {}, asks={"churn": entry(12)}), "main asks for churn 12, which is newer than churn 8 of dev"),
    ],
)
def test_what_speaks_against_it_there(target: Target, why: str) -> None:
    dev = Past()
    dev.record(8)
    assert judged(dev, target) == Held(why)


@pytest.mark.parametrize(
    "target",
    [
        Target("prod", {"churn": entry(7)}),
        Target("prod", {}, quarantined={entry(7).digest}),
        Target("prod", {}, rejected={entry(7).digest: 12}),
        Target("prod", {}, open=Open(14, entry(7).digest, is_policys=True)),
        Target("prod", {"churn": entry(7)}, asks={"churn": entry(6)}),
    ],
)
def test_what_does_not(target: Target) -> None:
    dev = Past()
    dev.record(8)
    assert isinstance(judged(dev, target), Carry)


def test_the_order_of_the_source_counts_and_not_the_number() -> None:
    dev = Past()
    dev.record(9)
    dev.record(8)  # trained on another branch, and verified later
    assert isinstance(judged(dev, Target("prod", {"churn": entry(9)})), Carry)
    dev.record(10)
    dev.record(8, way_back=False)
    assert isinstance(judged(dev, Target("prod", {"churn": entry(10)})), Carry), "a second try is a release"


def test_what_the_target_has_from_a_later_release_of_the_source_stays() -> None:
    dev = Past()
    dev.record(8)
    dev.record(9)
    offer = Past().offers() or dev.offers()
    assert offer is not None
    older = replace(offer, entries={"churn": entry(8)}, digest=entry(8).digest, since=START)
    told = due(
        RULE, older, by_slot(dev.records), Target("prod", {"churn": entry(9)}), baked=lambda _: True, now=START
    )
    assert told == Held("prod serves churn 9, which is newer than churn 8 of dev")


def test_a_bundle_of_which_one_part_would_go_back_stays() -> None:
    dev = Past()
    dev.bundle(2, 2)
    newer = {"tokens": entry(3, "tokens"), "fraud": entry(1, "fraud")}
    assert isinstance(judged(dev, Target("prod", newer), unit=FRAUD), Held)
    older = {"tokens": entry(1, "tokens"), "fraud": entry(2, "fraud")}
    assert isinstance(judged(dev, Target("prod", older), unit=FRAUD), Carry)
    one = dev.offers(FRAUD)
    assert one is not None
    held = judged(dev, Target("prod", older, quarantined={one.entries["tokens"].digest}), unit=FRAUD)
    assert held == Held("fraud 2 is in quarantine in prod")


def test_what_the_target_gives_to_its_users_step_by_step_is_on_its_way() -> None:
    dev, prod = Past(), Past("prod")
    dev.record(8)
    offer = dev.offers()
    assert offer is not None
    prod.record(7)
    assert not is_on_its_way("prod", offer, by_slot(prod.records))
    rollout = Rollout(id="prod-00000002-churn", percent=10, step=1, steps=(10, 100), began_at=START)
    prod.record(8, "rolling out", rollout=rollout)
    assert is_on_its_way("prod", offer, by_slot(prod.records))
    prod.record(8, "put back")
    assert not is_on_its_way("prod", offer, by_slot(prod.records))
    prod.record(8)
    assert is_on_its_way("prod", offer, by_slot(prod.records))


# --- after a way back -----------------------------------------------------------------------------------------------


def held(past: Past, policys: Mapping[int, bool] = {}) -> str:
    found = held_after_way_back(
        past.records, lambda record: record.after is not None and policys.get(record.after.version, False)
    )
    return found.id if found else ""


@pytest.mark.parametrize(("outcome", "way_back"), [("put back", False), ("succeeded", True), ("incomplete", True)])
def test_after_a_way_back_it_is_held_until_what_a_person_proposed_is_verified(
    outcome: Outcome, way_back: bool
) -> None:
    prod = Past("prod")
    prod.record(7)
    assert held(prod) == ""
    back = prod.record(8, outcome, way_back=way_back)
    assert held(prod) == back.id
    prod.record(9, "failed")
    assert held(prod) == back.id, "it has to be released"
    prod.record(8)
    prod.record(8, reason="published again")
    assert held(prod, {8: True}) == back.id, "a policy proposed it, and no person"
    prod.record(10)
    assert held(prod, {8: True}) == ""


def test_the_target_tells_after_which_way_back_it_is_held() -> None:
    dev, prod = Past(), Past("prod")
    dev.record(8)
    prod.record(7)
    back = prod.record(8, "put back")
    assert judged(dev, Target("prod", {}, taken_back=back)) == Held(
        "churn was put back in prod (prod-00000002-churn): policies wait until somebody proposes"
    )


# --- open proposals of the policy -----------------------------------------------------------------------------------


def test_a_proposal_is_taken_back_with_the_release_until_it_is_released_again() -> None:
    dev = Past()
    dev.record(7)
    dev.record(8)
    ask = lambda: taken_back_last("dev", CHURN, entry(8).digest, by_slot(dev.records))  # noqa: E731
    assert ask() == ""
    back = dev.record(7, way_back=True)
    assert ask() == back.id
    dev.record(9)
    assert ask() == back.id, "another one says nothing of it"
    dev.record(8)
    assert ask() == ""
    put = dev.record(8, "put back")
    assert ask() == put.id
    assert taken_back_last("dev", CHURN, entry(7).digest, by_slot(dev.records)) == ""


def test_a_bundle_is_taken_back_whole() -> None:
    dev = Past()
    dev.bundle(1, 1)
    dev.bundle(2, 1)
    offer = dev.offers(FRAUD)
    assert offer is not None
    dev.bundle(1, 1, way_back=True)
    assert taken_back_last("dev", FRAUD, offer.digest, by_slot(dev.records)) == "dev-00000006-fraud"
