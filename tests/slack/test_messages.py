"""A promotion's message: how far it has come, and blocks that Slack takes, whatever stands in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from slack_sdk.models.blocks import Block

from bot.domain.desired import Change
from bot.domain.evidence import CHECKS, CheckResult, Evidence, Finding, JudgedMetric
from bot.domain.hold import Held, Hold
from bot.domain.promotion import Bake, Metric, Part, Progress, Promotion, Stage, progress_of
from bot.domain.proposal import LeftOut
from bot.domain.record import DeploymentRecord, Outcome
from bot.domain.users import Users
from bot.operations.propose import Proposal
from bot.operations.propose_many import Proposals
from bot.operations.status import Difference, ModelStatus, Status
from bot.render import mrkdwn
from bot.render import slack as slack_words
from bot.sandbox.slack.blocks import problems_of_message
from bot.slack import blocks
from bot.slack.charts import charts
from bot.systems.slack import CHART
from tests.domain.entries import a_record, entry

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
HEAD = "c0ffee" + "0" * 34


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
    of = {
        "environment": "dev",
        "section": "models",
        "model": "churn",
        "version": 2,
        "digest": OPEN.digest,
        "run": "run2",
    }
    found = (Finding(what="case row-0", passed=passed, detail="1 instead of 0"),)
    checks = tuple(CheckResult(check=name, findings=found, at=AT, **of) for name in CHECKS)
    return Evidence(pull_request=12, base="b", head=head, at=AT, expires=AT, checks=checks, **of)


def record(
    after: int,
    outcome: Outcome,
    *,
    minutes: float,
    before: int = 1,
    problem: str = "",
    began: float | None = None,
) -> DeploymentRecord:
    at = AT + timedelta(minutes=minutes)
    served = after if outcome in ("succeeded", "unconfirmed", "incomplete") else before
    return a_record(
        entry(after),
        at=at,
        id=f"dev-{minutes}-churn",
        before=entry(before),
        started_at=at if began is None else AT + timedelta(minutes=began),
        outcome=outcome,
        serving=entry(served),
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
        ("left", MERGED, [], [SERVED, record(1, "incomplete", minutes=9, before=2)], []),
        ("overtaken", MERGED, [], [BEFORE, record(3, "succeeded", minutes=9)], []),
        ("merged", MERGED, [], [BEFORE, record(3, "succeeded", minutes=9, began=-1)], []),
        ("merged", MERGED, [], [BEFORE, record(3, "failed", minutes=9)], []),
        ("served", MERGED, [], [record(3, "succeeded", minutes=3), SERVED], []),
        ("served", MERGED, [], [SERVED, record(3, "put back", minutes=9, before=2)], []),
        ("served", MERGED, [], [record(2, "succeeded", minutes=-9), record(3, "put back", minutes=-1)], []),
        (
            "left",
            MERGED,
            [],
            [record(2, "succeeded", minutes=-9), record(1, "succeeded", minutes=9, before=2)],
            [],
        ),
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


@pytest.mark.parametrize(
    ("is_over", "says", "step"),
    [(False, "2 is served; bakes since 2026-11-23 12:05 UTC", "⏳ baked"), (True, "2 is served; baked", "✅ baked")],
)
def test_what_is_served_says_how_it_bakes(is_over: bool, says: str, step: str) -> None:
    def bake(of: DeploymentRecord) -> Bake:
        return Bake(of.finished_at, is_over=is_over)

    records = [BEFORE, SERVED]
    progress = progress_of(MERGED, evidence=[], records=records, underway=[], bake=bake)
    message = blocks.promotion_message(MERGED, progress, way_back=None)
    assert_slack_takes_it(message.blocks)
    assert f"churn 1 → 2 in dev: {says} (#12)" in message.text
    assert slack_words.steps(progress).endswith(f"✅ served  {step}")
    for other in (record(1, "succeeded", minutes=9, before=2), record(3, "succeeded", minutes=9, before=2)):
        progress = progress_of(MERGED, evidence=[], records=[*records, other], underway=[], bake=bake)
        assert (progress.stage, progress.bake) == ("left", None), "what has left service bakes no longer"


def test_a_message_says_whether_it_merges_by_itself_and_why() -> None:
    green = progress_of(OPEN, evidence=[evidence()], records=[BEFORE], underway=[])
    itself = replace(green, merges_itself="its checks passed; 5 clean releases of churn")
    message = blocks.promotion_message(OPEN, itself, way_back=None)
    assert_slack_takes_it(message.blocks)
    assert message.text == "🟢 churn 1 → 2 in dev: its checks passed; it merges by itself (#12)", message.text
    assert "🤖 Merges by itself: its checks passed; 5 clean releases of churn" in str(message.blocks)
    served = blocks.promotion_message(MERGED, replace(itself, stage="served"), way_back=None)
    assert "🤖 Was to merge by itself: its checks passed" in str(served.blocks)

    back = replace(green, no_longer="taken back at dev-00000031-churn: put back <wrong>")
    message = blocks.promotion_message(OPEN, back, way_back=None)
    assert "its checks passed; merge it" in message.text
    assert "✋ No longer merges by itself: taken back at dev-00000031-churn: put back &lt;wrong&gt;" in str(
        message.blocks
    )
    assert "by itself" not in str(blocks.promotion_message(OPEN, green, way_back=None).blocks)


HELD = Held(
    Change("dev", "models", "churn", entry(1), entry(2)),
    Hold("evidence", "its checks in #12 did not pass", "`promobot recheck churn --env dev`", AT - timedelta(hours=2)),
)


def test_a_red_pull_request_that_was_merged_is_held_and_says_why_since_when_and_what_to_type() -> None:
    progress = progress_of(MERGED, evidence=[evidence(passed=False)], records=[BEFORE], underway=[], held=HELD)
    message = blocks.promotion_message(MERGED, progress, way_back=None)
    assert_slack_takes_it(message.blocks)
    assert message.text == "✋ churn 1 → 2 in dev: merged, and held since 2026-11-23 12:00 UTC; 1 answers (#12)"
    shown = str(message.blocks)
    assert "✅ proposed  ❌ checks  ✅ merged  ✋ deploying  ▫️ served" in shown
    assert "*Why:* its checks in #12 did not pass" in shown
    assert "*What to do:* `promobot recheck churn --env dev`" in shown


@pytest.mark.parametrize(
    ("stage", "promotion", "records", "underway"),
    [
        ("checking", OPEN, [BEFORE], []),
        ("deploying", MERGED, [BEFORE], [OPEN.thread]),
        ("served", MERGED, [BEFORE, SERVED], []),
        ("put back", MERGED, [record(2, "put back", minutes=5)], []),
        ("overtaken", MERGED, [BEFORE, record(3, "succeeded", minutes=9)], []),
    ],
)
def test_only_what_waits_for_its_deployment_is_held(
    stage: Stage, promotion: Promotion, records: Sequence[DeploymentRecord], underway: Sequence[str]
) -> None:
    assert progress_of(promotion, evidence=[], records=records, underway=underway, held=HELD).stage == stage


def test_a_rollback_in_the_second_of_the_merge_has_not_overtaken_it() -> None:
    """GitHub tells the merge by the second, so a rollback right before it may seem to come after it."""
    merged_at = datetime.fromtimestamp(MERGED.merged_at, UTC)
    back = record(3, "succeeded", minutes=9).model_copy(
        update={"started_at": merged_at + timedelta(seconds=0.2), "finished_at": merged_at + timedelta(seconds=0.4)}
    )
    assert progress_of(MERGED, evidence=[], records=[BEFORE, back], underway=[], held=HELD).stage == "held"


def test_what_answers_is_what_answers_now_not_what_did_at_the_proposal() -> None:
    moved = replace(HELD, change=replace(HELD.change, before=entry(3)))
    progress = progress_of(MERGED, evidence=[], records=[BEFORE], underway=[], held=moved)
    message = blocks.promotion_message(MERGED, progress, way_back=None)
    assert message.text.endswith("held since 2026-11-23 12:00 UTC; 3 answers (#12)")


def test_what_main_does_not_ask_for_any_more_waits_for_nothing() -> None:
    progress = progress_of(MERGED, evidence=[], records=[BEFORE], underway=[], is_asked=False)
    message = blocks.promotion_message(MERGED, progress, way_back=None)
    assert message.text == "⏭️ churn 1 → 2 in dev: merged, and taken back on main before it was deployed (#12)"


@pytest.mark.parametrize("outcome", ["put back", "failed"])
def test_a_rollback_that_failed_is_no_way_back(outcome: Outcome) -> None:
    back = replace(MERGED, way_back=True, before=2, after=1, digest=entry(1).digest)
    failed = record(1, outcome, minutes=5, before=2, problem="gateway-2 does not answer")
    message = blocks.promotion_message(
        back, progress_of(back, evidence=[], records=[failed], underway=[]), way_back=None
    )
    assert message.text == "❌ Back: churn 2 → 1 in dev: the rollback failed; 2 still answers (#12)"
    shown = str(message.blocks)
    assert "*What to do:* fix the cause, then promobot rollback churn --env dev --to 1 --now" in shown


def test_a_card_names_who_proposed_it() -> None:
    by_login = replace(OPEN, requested_by="", proposed_by="sam")
    progress = progress_of(by_login, evidence=[], records=[], underway=[])
    assert "proposed by sam · " in str(blocks.promotion_message(by_login, progress, way_back=None).blocks)
    assert "asked for by <@U0ALEX> · " in str(blocks.promotion_message(OPEN, progress, way_back=None).blocks)


def test_what_a_check_found_stands_before_that_its_job_failed() -> None:
    red = evidence(passed=False).model_copy(update={"problems": ("the job smoke ended as “failure”",)})
    progress = progress_of(OPEN, evidence=[red], records=[], underway=[])
    shown = str(blocks.promotion_message(OPEN, progress, way_back=None).blocks)
    assert "*What happened:* case row-0: 1 instead of 0; " in shown
    assert "the job smoke ended" not in shown.partition("case row-0")[0]


def test_promotions_begins_with_users_and_has_no_tick_beside_who_is_not_answered() -> None:
    rows = (
        ModelStatus("churn", "models", 2, 2, {"t1": None}, {"g1": 2}, agrees=True),
        ModelStatus(
            "wine", "models", None, None, {"t1": None}, {"g1": None}, agrees=True, pending=("#3 Promote wine",)
        ),
    )
    silent = tuple(Difference("silent", f"t{n} does not answer", "promobot doctor --env dev") for n in range(6))
    down = Users("churn", 2, "DOWN", "1 of 1 Triton silent (t1)")
    first, churn, wine, pending, what, step, *_, more = slack_words.status(
        Status("dev", "c" * 40, 3, rows, silent, users=(down,)), None
    ).splitlines()
    assert first == "*dev: churn is DOWN: 1 of 1 Triton silent (t1).*"
    assert churn.startswith("• ⚠️ *churn*") and wine.startswith("• ▫️ *wine*") and "#3" in pending
    assert (what, step) == ("   ⚠️ t0 does not answer", "      → promobot doctor --env dev")
    assert more == "   … and 1 more: `promobot drift --env dev`"


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


def metric(name: str, proposed: str, in_service: str = "–", limit: str = "") -> Metric:
    return Metric(name, proposed, in_service, "–", "", True, limit)


def drawn(*metrics: Metric) -> list[tuple[str, dict[str, list[float]], list[str]]]:
    """Return the title, the bars and the metrics of each chart."""
    promotion = replace(OPEN, metrics=metrics)
    assert_slack_takes_it(charts(promotion))
    return [
        (
            one["title"],
            {series["name"]: [point["value"] for point in series["data"]] for series in one["chart"]["series"]},
            one["chart"]["axis_config"]["categories"],
        )
        for one in charts(promotion)
    ]


def test_metrics_are_drawn_against_the_champion_and_the_limit() -> None:
    assert drawn(metric("auc", "0.99", "0.98", "0.9"), metric("log_loss", "0.067", "0.18", "0.4")) == [
        (
            "churn 2 against 1 in service",
            {"proposed": [0.99, 0.067], "in service": [0.98, 0.18], "limit": [0.9, 0.4]},
            ["auc", "log_loss"],
        )
    ]


def test_a_series_that_lacks_a_value_is_left_to_the_table() -> None:
    first = drawn(metric("auc", "0.99", limit="0.9"), metric("new", "0.5", limit="0.4"))
    assert first == [("churn 2 against the gate", {"proposed": [0.99, 0.5], "limit": [0.9, 0.4]}, ["auc", "new"])]
    assert drawn(metric("auc", "0.99", "0.98"), metric("new", "0.5"))[0][1] == {"proposed": [0.99, 0.5]}
    assert drawn(metric("auc", "–", "0.98"), metric("nan", "nan"), metric("words", "good")) == []


def test_what_could_not_be_seen_beside_the_others_has_a_chart_of_its_own() -> None:
    milliseconds = metric("latency", "120", "118", "150")
    scores = [metric("auc", "0.99", "0.98"), metric("accuracy", "0.9", "0.8")]
    assert [names for _, _, names in drawn(milliseconds, *scores)] == [["auc", "accuracy"], ["latency"]]
    many = [metric("tiny", "0.0001"), metric("zero", "0"), milliseconds, *scores]
    assert [names for _, _, names in drawn(*many)] == [["auc", "accuracy"], ["latency"]]
    assert drawn(metric("zero", "0", "0"))[0][1] == {"proposed": [0.0], "in service": [0.0]}
    assert drawn(metric("loss", "-3.5", "-2"))[0][1] == {"proposed": [-3.5], "in service": [-2.0]}


@pytest.mark.parametrize("noise", ["x" * 5000, "<!channel>|", "\n" * 30, "é\u202e🚀" * 90])
def test_whatever_they_are_called_slack_takes_the_charts(noise: str) -> None:
    shown = drawn(*(metric(f"{number}{noise}", "0.5", "0.4", "0.3") for number in range(60)))
    assert len(shown) == 1 and len(shown[0][2]) == 20
    assert drawn(metric(noise, "1"), metric(noise, "2")) == [], "two of one name cannot be told apart"
    assert_slack_takes_it(charts(replace(OPEN, model="m" * 200, metrics=(metric("auc", "1"),))))


def test_the_chart_is_there_as_long_as_the_numbers_are() -> None:
    for promotion, found, there in ((OPEN, [], True), (OPEN, [evidence()], True), (MERGED, [], False)):
        progress = progress_of(promotion, evidence=found, records=[], underway=[])
        kinds = [block["type"] for block in blocks.promotion_message(promotion, progress, way_back=None).blocks]
        assert (CHART in kinds, "table" in kinds) == (there, there)


def test_metrics_of_a_message_that_is_older_than_limits_are_read() -> None:
    old = {**OPEN.facts(), "metrics": '[["accuracy", "0.97", "0.91", "+0.06", "≥ 0.9", true]]'}
    assert Promotion.from_facts(old) == OPEN


def test_what_goes_along_is_read_again() -> None:
    for promotion in (OPEN, MERGED, OPEN.became("closed"), replace(OPEN, before=None, after=None, digest="")):
        assert Promotion.from_facts(promotion.facts()) == promotion
    assert Promotion.from_facts({"key": "dev-1-churn/succeeded"}) is None
    assert Promotion.from_facts({**OPEN.facts(), "number": "x"}) is None
    assert Promotion.from_facts({**OPEN.facts(), "metrics": "[[1]]"}) is None


def assert_slack_takes_it(listed: Sequence[dict[str, object]]) -> None:
    assert problems_of_message(list(listed)) == []
    for block in listed:
        if block["type"] == CHART:
            continue  # slack_sdk has no model of it
        parsed = Block.parse(dict(block))
        assert parsed is not None
        parsed.validate_json()


def several(count: int, *, name: str = "model-{}", **more: Any) -> Promotion:
    parts = tuple(Part("models", name.format(n), 1, 2, entry(2).digest) for n in range(count))
    return replace(OPEN, model="", before=None, after=None, digest="", metrics=(), parts=parts, **more)


def stages(*listed: Stage) -> list[Progress]:
    return [Progress(one) for one in listed]


def shown(promotion: Promotion, each: Sequence[Progress], **more: Any) -> tuple[str, str, list[str]]:
    """Return the notification, all that is shown, and the buttons of a pull request of several models."""
    message = blocks.message_of_several(promotion, each, **{"ways_back": (), **more})
    assert_slack_takes_it(message.blocks)
    assert sum(map(len, _texts(message.blocks))) < 12_000, "Slack takes not much more text than this in one message"
    buttons = [e["action_id"] for block in message.blocks for e in block.get("elements", []) if "action_id" in e]
    return message.text, "\n".join(_texts(message.blocks)), buttons


def _texts(listed: Sequence[Any]) -> Iterator[str]:
    for block in listed:
        yield from [block["text"]["text"]] if block["type"] == "section" else []
        yield from [e["text"] for e in block.get("elements", []) if isinstance(e.get("text"), str)]


@pytest.mark.parametrize(
    ("each", "says", "may"),
    [
        (stages("checking", "green"), "🟡 2 models in dev: their checks run (#12)", [blocks.APPROVE]),
        (
            stages("green", "green"),
            "🟢 2 models in dev: their checks passed; merge it (#12)",
            [blocks.APPROVE, blocks.MERGE],
        ),
        (stages("merged", "merged"), "🔀 2 models in dev: 2 waiting for the deployment (#12)", []),
        (stages("served", "served"), "✅ 2 models in dev: 2 served (#12)", []),
        (
            stages("served", "held", "put back"),
            "↩️ 3 models in dev: 1 put back after the switch, 1 held, 1 served",
            [],
        ),
        (stages("closed", "closed"), "⚪ 2 models in dev: closed without being merged (#12)", []),
    ],
)
def test_several_models_have_one_message(each: list[Progress], says: str, may: list[str]) -> None:
    text, all_of_it, buttons = shown(several(len(each)), each)
    assert text.startswith(says) and buttons == [blocks.OPEN, *may]
    assert all(f"*model-{number}* 1 → 2: " in all_of_it for number in range(len(each)))
    back = "`/rollback MODEL dev` takes one model back"
    assert (back in all_of_it) == (each[0].stage == "served")


def test_a_shadow_among_several_models_listens() -> None:
    promotion = several(2)
    shadow = replace(promotion.parts[1], section="shadow")
    promotion = replace(promotion, parts=(promotion.parts[0], shadow))
    text, all_of_it, _ = shown(promotion, stages("served", "served"))
    assert text == "✅ 2 models in dev: 1 served, 1 listening (#12)"
    assert "✅ *model-0* 1 → 2: served" in all_of_it and "✅ *model-1* 1 → 2 (shadow): listening" in all_of_it


def test_of_several_models_what_did_not_pass_comes_first_with_the_reason() -> None:
    job = ("the job smoke ended as “failure”",)
    red = Progress("red", evidence(passed=False).model_copy(update={"problems": job}))
    others = Progress("red", evidence().model_copy(update={"problems": job}))
    text, all_of_it, buttons = shown(several(3), [others, red, others])
    assert text == "🔴 3 models in dev: the checks of 1 did not pass; do not merge (#12)"
    lines = [line for line in all_of_it.splitlines() if "*model-" in line]
    assert lines == [
        "🔴 *model-1* 1 → 2: checks did not pass: case row-0: 1 instead of 0",
        "▫️ *model-0* 1 → 2: its own checks passed; it waits for the others",
        "▫️ *model-2* 1 → 2: its own checks passed; it waits for the others",
    ]
    assert buttons == [blocks.OPEN]
    beside = several(2, beside=("bot/cli.py",))
    text, all_of_it, buttons = shown(beside, stages("red", "red"))
    assert "it changes more than was proposed; do not merge" in text and "it changes bot/cli.py" in all_of_it


@pytest.mark.parametrize(("passed", "sign"), [(True, "▫️"), (False, "🔴")])
def test_the_check_on_an_evaluation_set_counts_among_a_models_own(passed: bool, sign: str) -> None:
    smoke = evidence().checks[-1]
    fourth = smoke.model_copy(
        update={"check": "behaviour", "findings": (Finding(what="slice", passed=passed, detail="8 of 9"),)}
    )
    problems = ("the job smoke ended as “failure”",)
    four = evidence().model_copy(update={"checks": (*evidence().checks, fourth), "problems": problems})
    assert f"{sign} *model-0* 1 → 2: " in shown(several(1), [Progress("red", four)])[1]
    lacking = evidence().model_copy(update={"evaluation_set": "sha256:1", "problems": problems})
    assert "🔴 *model-0* 1 → 2: " in shown(several(1), [Progress("red", lacking)])[1], "it was demanded"


def test_the_numbers_by_which_each_was_judged_stand_beside_it() -> None:
    judged = JudgedMetric(metric="accuracy", value=0.97, origin=None, champion=0.91, champion_origin=None)
    green = evidence()
    checks = tuple(c.model_copy(update={"judged": (judged,)}) if c.check == "ready" else c for c in green.checks)
    progress = Progress("green", green.model_copy(update={"checks": checks}))
    assert "🟢 *model-0* 1 → 2: checks passed: accuracy 0.97 (was 0.91)" in shown(several(1), [progress])[1]


@pytest.mark.parametrize("stage", get_args(Stage))
@pytest.mark.parametrize("noise", ["x" * 5000, "<!channel> & <@U0SAM>|" * 200, "\n" * 3000, "é\u202e🚀" * 900])
def test_fifty_models_with_long_names_and_reasons_are_a_message_that_slack_takes(stage: Stage, noise: str) -> None:
    red = evidence(passed=False)
    checks = tuple(c.model_copy(update={"findings": (Finding(what=noise, passed=False),)}) for c in red.checks)
    progress = Progress(
        stage, red.model_copy(update={"checks": checks}), record(2, "failed", minutes=1, problem=noise)
    )
    promotion = several(50, name="m" * 61 + "{:02}", environment="e" * 31, requested_by=noise, beside=(noise,) * 9)
    _, all_of_it, _ = shown(promotion, [progress] * 50, unsure="GitHub does not answer since 2026-11-30 03:02 UTC.")
    assert all_of_it.count("m" * 61) == 50 and "<!channel>" not in all_of_it
    more = replace(promotion, parts=several(60).parts, untold=7)
    assert "… and 17 more: <http://github/pull/12|#12>" in shown(more, [progress] * 60)[1]


def test_what_had_no_version_before_goes_back_by_leaving_service() -> None:
    new = tuple(replace(part, before=None) for part in several(2).parts)
    first = replace(several(2), parts=new)
    said = shown(first, stages("served", "served"))[1]
    assert "/rollback" not in said and "*Revert*" not in said and "`promobot retire MODEL --env dev --reason" in said
    mixed = replace(several(2), parts=(*several(1).parts, new[1]))
    said = shown(mixed, stages("served", "served"))[1]
    assert "/rollback MODEL dev" in said and "promobot retire" in said and "*Revert*" not in said


def test_the_ways_back_of_several_have_a_button_each() -> None:
    backs = [replace(OPEN, number=20 + n, model=f"model-{n}", way_back=True, before=2, after=1) for n in range(7)]
    each = [*stages("put back") * 6, *stages("served")]
    message = blocks.message_of_several(several(7), each, ways_back=backs)
    assert_slack_takes_it(message.blocks)
    merges = [e for block in message.blocks for e in block.get("elements", []) if e.get("action_id") == blocks.MERGE]
    assert [button["text"]["text"] for button in merges] == [
        f"Merge the way back #{20 + n} of model-{n}" for n in range(5)
    ]
    assert [json.loads(button["value"])["number"] for button in merges] == [20, 21, 22, 23, 24]


def test_before_several_are_merged_it_is_said_what_that_deploys() -> None:
    message = blocks.message_of_several(several(2), stages("green", "green"), ways_back=())
    (merge,) = [
        e for block in message.blocks for e in block.get("elements", []) if e.get("action_id") == blocks.MERGE
    ]
    assert merge["confirm"]["text"]["text"] == f"Merges #12 at {HEAD[:12]}, which deploys 2 models to dev."


def test_what_is_open_for_several_models_is_said_once() -> None:
    pending = ("#3 Promote 2 models in dev: churn 2, wine 1",)
    rows = tuple(
        ModelStatus(name, "models", 1, 1, {}, {}, agrees=True, pending=pending) for name in ("churn", "wine")
    )
    said = slack_words.status(Status("dev", "c" * 40, 3, rows, ()), None)
    assert said.count("⏳ #3 Promote 2 models in dev") == 1


def test_what_came_of_several_versions_is_said_with_what_is_left_out() -> None:
    left = tuple(
        LeftOut(name, 1, "no gate", f"dev has no gate for it: add gates.{name}, a pattern, or default")
        for name in ("a", "b")
    )
    churn, wine = Proposal("dev", "churn", 2, "opened"), Proposal("dev", "wine", 1, "opened", "shadow")
    done = Proposals("dev", "opened", (churn, wine), left, pull_request=12, url="http://github/pull/12")
    first, shadow, out = slack_words.proposed_several(done).splitlines()
    assert first.startswith("✅ <http://github/pull/12|#12> proposes churn 2, wine 1 in dev. All of it is checked")
    assert shadow == "👥 Only for the shadow path: wine 1."
    assert out == "⛔ Left out: a 1, b 1: dev has no gate for it: add gates.MODEL, a pattern, or default"
    nothing = slack_words.proposed_several(Proposals("dev", "nothing", (), left))
    assert nothing.startswith("⛔ There is nothing to propose to dev.")
