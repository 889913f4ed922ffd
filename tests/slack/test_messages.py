"""A promotion's message: how far it has come, and blocks that Slack takes, whatever stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from slack_sdk.models.blocks import Block

from bot.domain.desired import Desired, Entry
from bot.domain.evidence import CHECKS, CheckResult, Evidence, Finding
from bot.domain.promotion import Metric, Promotion, Stage, progress_of
from bot.domain.record import DeploymentRecord, Outcome
from bot.sandbox.slack.blocks import problems_of_message
from bot.slack import blocks
from bot.words import mrkdwn

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
HEAD = "c0ffee" + "0" * 34


def entry(version: int) -> Entry:
    return Entry(version=version, digest=f"sha256:{version:064x}", run="r1")


OPEN = Promotion(
    environment="dev",
    number=12,
    url="http://github/pull/12",
    head=HEAD,
    section="models",
    model="churn",
    before=1,
    after=2,
    digest=entry(2).digest,
    way_back=False,
    requested_by="U0ALEX",
    metrics=(Metric("accuracy", "0.97", "0.91", "+0.06", "≥ 0.9", True),),
)
MERGED = OPEN.became("merged", merged_at=AT.timestamp())


def evidence(*, passed: bool = True, head: str = HEAD) -> Evidence:
    of = {"environment": "dev", "section": "models", "model": "churn", "version": 2, "digest": OPEN.digest}
    found = (Finding(what="case row-0", passed=passed, detail="1 instead of 0"),)
    checks = tuple(CheckResult(check=name, findings=found, at=AT, **of) for name in CHECKS)
    return Evidence(pull_request=12, base="b", head=head, at=AT, expires=AT, checks=checks, **of)


def record(after: int, outcome: Outcome, *, minutes: float, before: int = 1, problem: str = "") -> DeploymentRecord:
    at = AT + timedelta(minutes=minutes)
    served = after if outcome in ("succeeded", "unconfirmed", "incomplete") else before
    return DeploymentRecord(
        id=f"dev-{minutes}-churn",
        environment="dev",
        section="models",
        model="churn",
        before=entry(before),
        after=entry(after),
        commit="c",
        started_at=at,
        finished_at=at,
        outcome=outcome,
        in_service=Desired(environment="dev", models={"churn": entry(served)}),
        criteria=(),
        steps=(),
        problem=problem,
        way_back=after < before,
    )


SERVED = record(2, "succeeded", minutes=5)
BEFORE = record(1, "succeeded", minutes=-60, before=3)


@pytest.mark.parametrize(
    ("stage", "promotion", "found", "records", "underway"),
    [
        ("checking", OPEN, [], [BEFORE], []),
        ("checking", OPEN, [evidence(head="d" * 40)], [BEFORE], []),
        ("green", OPEN, [evidence()], [BEFORE], []),
        ("red", OPEN, [evidence(passed=False), evidence()], [], []),
        ("closed", OPEN.became("closed"), [evidence()], [BEFORE], []),
        ("merged", MERGED, [evidence()], [BEFORE], []),
        ("merged", MERGED, [evidence()], [record(2, "failed", minutes=-5)], []),
        ("deploying", MERGED, [], [BEFORE], [OPEN.thread]),
        ("merged", MERGED, [], [BEFORE], ["dev/models/wine/abc"]),
        ("served", MERGED, [], [BEFORE, SERVED], []),
        ("served", MERGED, [], [record(2, "unconfirmed", minutes=5)], []),
        ("served", MERGED, [], [record(2, "succeeded", minutes=-1)], []),
        ("put back", MERGED, [], [record(2, "put back", minutes=5)], []),
        ("failed", MERGED, [], [record(2, "failed", minutes=5)], []),
        ("incomplete", MERGED, [], [record(2, "incomplete", minutes=5)], []),
        ("served", MERGED, [], [record(2, "failed", minutes=5), record(2, "succeeded", minutes=9)], []),
        ("left", MERGED, [], [SERVED, record(1, "succeeded", minutes=9, before=2)], []),
        ("served", MERGED, [], [SERVED, record(3, "put back", minutes=9, before=2)], []),
    ],
)
def test_how_far_it_has_come(
    stage: Stage,
    promotion: Promotion,
    found: Sequence[Evidence],
    records: Sequence[DeploymentRecord],
    underway: Sequence[str],
) -> None:
    progress = progress_of(promotion, evidence=found, records=records, underway=underway)
    assert progress.stage == stage
    message = blocks.promotion_message(promotion, progress, way_back=None)
    assert_slack_takes_it(message.blocks)
    assert "<" not in message.text and "churn 1 → 2 in dev" in message.text
    actions = [e["action_id"] for block in message.blocks for e in block.get("elements", []) if "action_id" in e]
    may = {"green": [blocks.APPROVE, blocks.MERGE], "checking": [blocks.APPROVE], "served": [blocks.ROLL_BACK]}
    assert actions == [blocks.OPEN, *may.get(stage, [])]


def test_what_failed_says_so_and_leads_back() -> None:
    failed = record(2, "put back", minutes=5, problem="gateway-2 refused <!channel> & more")
    progress = progress_of(MERGED, evidence=[], records=[failed], underway=[])
    way_back = replace(OPEN, number=13, way_back=True, head="d" * 40, before=2, after=1)
    message = blocks.promotion_message(MERGED, progress, way_back=way_back)
    shown = str(message.blocks)
    assert "*What happened:* gateway-2 refused &lt;!channel&gt; &amp; more" in shown
    assert "*State:* version 1 answers in dev" in shown
    (merge,) = [
        e for block in message.blocks for e in block.get("elements", []) if e.get("action_id") == blocks.MERGE
    ]
    assert '"number": 13' in merge["value"] and "d" * 40 in merge["value"]


@pytest.mark.parametrize("noise", ["x" * 5000, "<!channel> & <@U0SAM>|" * 200, "\n" * 3000, "é\u202e🚀" * 900])
def test_whatever_stands_in_it_slack_takes_it(noise: str) -> None:
    long = replace(
        OPEN,
        model="m" * 63,
        environment="e" * 31,
        requested_by=noise,
        metrics=tuple(Metric(noise, noise, "", noise, noise, False) for _ in range(60)),
    )
    red = evidence(passed=False)
    progress = progress_of(long, evidence=[red.model_copy(update={"problems": (noise,)})], records=[], underway=[])
    message = blocks.promotion_message(long, progress, way_back=None)
    assert_slack_takes_it(message.blocks)
    assert "<!channel>" not in str(message.blocks[:3]) and "<@U0SAM>" not in str(message.blocks[:3])
    assert_slack_takes_it(blocks.sections(mrkdwn.escape(noise)))
    assert_slack_takes_it(blocks.sections("\n".join([noise[:2000]] * 60)))


def test_what_goes_along_is_read_again() -> None:
    for promotion in (OPEN, MERGED, OPEN.became("closed"), replace(OPEN, before=None, after=None, digest="")):
        assert Promotion.from_facts(promotion.facts()) == promotion
    assert Promotion.from_facts({"key": "dev-1-churn/succeeded"}) is None
    assert Promotion.from_facts({**OPEN.facts(), "number": "x"}) is None
    assert Promotion.from_facts({**OPEN.facts(), "metrics": "[[1]]"}) is None


def assert_slack_takes_it(listed: Sequence[dict[str, object]]) -> None:
    assert problems_of_message(list(listed)) == []
    for block in listed:
        parsed = Block.parse(dict(block))
        assert parsed is not None
        parsed.validate_json()
