"""All parts of a bundle or none: what is held, and what fails, takes the others along."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from bot.domain.bundled import together
from bot.domain.desired import Change, Desired, Entry
from bot.domain.quarantine import QuarantineEvent
from bot.domain.stage import Failed, Fault
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.deployment.item import Item, whole
from bot.operations.past import Past
from bot.settings import Concurrency

PARTS = ["tokenizer", "ranker", "fraud"]
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def entry(model: str, version: int) -> Entry:
    return Entry(version=version, digest=f"sha256:{PARTS.index(model):032x}{version:032x}", run="abc")


def changes() -> list[Change]:
    """Tokenizer goes from 3 to 4, and the others stay."""
    wanted = {"tokenizer": entry("tokenizer", 4), "ranker": entry("ranker", 1), "fraud": entry("fraud", 7)}
    first = Change("dev", "models", "tokenizer", entry("tokenizer", 3), wanted["tokenizer"])
    alone = Change("dev", "models", "churn", None, entry("fraud", 1))
    desired = Desired(environment="dev", models=wanted)
    return together([first, alone], {"dev": desired}, {"dev": {"fraud": PARTS}})


def past(*quarantined: str) -> Past:
    events = {
        digest: QuarantineEvent(
            environment="dev",
            model="fraud",
            version=1,
            digest=digest,
            lifted=False,
            reason="it failed",
            by="me",
            at=NOW,
        )
        for digest in quarantined
    }
    nothing: Any = SimpleNamespace(evidence=lambda *_: None, evidence_of=lambda *_: iter(()))
    settings = SimpleNamespace(concurrency=Concurrency(), mistakes=(), closed=lambda _: None)
    return cast(
        "Past",
        SimpleNamespace(quarantined=events, goes_back=lambda _: True, ledger=nothing, settings=settings),
    )


def test_a_bundle_is_held_by_its_own_digest_and_by_that_of_any_part() -> None:
    asked = changes()
    for digest in (asked[0].judged_digest, entry("ranker", 1).digest):
        admitted = admit_all(past(digest), asked)
        assert [bool(admitted[change].held) for change in asked] == [True, True, True, False]
        assert [held.change.model for held in held_among(admitted)] == ["tokenizer"], "the others wait for nothing"
    admitted = admit_all(past(entry("tokenizer", 4).digest), asked)
    (_, ranker, _, _) = (admitted[change].held for change in asked)
    assert ranker is not None
    assert ranker.why.startswith("tokenizer, a part of its bundle fraud, is held: its digest is in quarantine")


def test_what_main_asks_for_holds_no_rollback_that_overrules_it() -> None:
    back = changes()[:3]
    main = Desired(
        environment="dev", models={**{c.model: c.after for c in back if c.after}, "fraud": entry("fraud", 8)}
    )
    asks = Change("dev", "models", "fraud", entry("fraud", 7), entry("fraud", 8))
    overruled = together([asks], {"dev": main}, {"dev": {"fraud": PARTS}})
    admitted = admit_all(past(overruled[0].judged_digest), [*back, *overruled])
    assert [bool(admitted[change].held) for change in [*back, *overruled]] == [False] * 3 + [True] * 3


def test_a_bundle_that_is_not_whole_is_held() -> None:
    wanted = Desired(environment="dev", models={"tokenizer": entry("tokenizer", 4), "fraud": entry("fraud", 7)})
    first = Change("dev", "models", "tokenizer", None, entry("tokenizer", 4))
    asked = together([first], {"dev": wanted}, {"dev": {"fraud": PARTS}})
    (held, *_) = (admission.held for admission in admit_all(past(), asked).values())
    assert held is not None
    assert (held.cause, held.why) == ("bundle", "its bundle fraud is not whole: ranker has no entry in models")
    assert held.next_step == (
        "propose all parts of fraud for dev in one pull request, or retire all of them; "
        "if the settings added ranker to it, revert that in manifests/environments/dev.yaml"
    )


def test_where_a_part_fails_before_the_switch_the_others_end_with_it_and_are_not_to_blame() -> None:
    items = [Item(change, f"dev-00000001-{change.model}", NOW) for change in changes()]
    failed = items[1].failing("smoke_passed", "it answers wrong", Fault.DIGEST)
    tokenizer, ranker, fraud, churn = whole([items[0], failed, *items[2:]])
    assert ranker is failed
    said = "ranker, a part of the same bundle, failed: it answers wrong"
    assert tokenizer.stage == fraud.stage == Failed(Fault.ENVIRONMENT, said)
    assert churn.may_go_on
