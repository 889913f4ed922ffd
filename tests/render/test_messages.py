"""What Slack and the terminal are told of a deployment."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from bot.domain.desired import Change
from bot.domain.evidence import CheckName, CheckResult, Finding
from bot.domain.hold import Cause, Held, Hold
from bot.domain.record import CRITERIA, Criterion, DeploymentRecord, Outcome, Rollout
from bot.domain.users import Users
from bot.operations.deploy import Deployed
from bot.operations.history import History
from bot.operations.recheck import Rechecked
from bot.operations.rollback import RolledBack
from bot.operations.status import Difference, ModelStatus, Status
from bot.render import awaiting, deployment, terminal
from bot.render.differences import step_about
from tests.domain.entries import a_record, entry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = "<!channel> <!everyone> <@U123> <#C1|x> <https://evil|x> &lt;!here&gt; *b* ``` \x1b[31m\u202e\x00 & "
URL = "https://github.example/acme/models/pull/9"


def record(outcome: Outcome = "succeeded", *, failing: tuple[str, ...] = (), **more: Any) -> DeploymentRecord:
    seen = tuple(Criterion(name=n, holds=n not in failing, at=NOW, proof="seen") for n in CRITERIA)
    serving = entry(8 if outcome == "succeeded" else 7)
    of = {"before": entry(7), "outcome": outcome, "serving": serving, "criteria": seen}
    return a_record(more.pop("after", entry(8)), number=12, at=NOW, **{**of, **more})


def texts(blocks: tuple[dict[str, Any], ...]) -> list[str]:
    return [e["text"] for b in blocks for e in ([b["text"]] if "text" in b else b["elements"])]


def test_a_success() -> None:
    message = deployment.message(record(), revert_url="")
    assert message.key == "dev-00000012-churn/succeeded"
    assert message.text == "✅ churn 8 is served in dev (was 7)."
    assert texts(message.blocks) == [
        "*✅ churn 8 is served in dev (was 7).*",
        "✅ registered in MLflow   ✅ READY   ✅ Triton loaded   ✅ smoke passed   ✅ FastAPI reloaded"
        "   ✅ Slack delivered",
        f"`dev-00000012-churn` · commit `{'c' * 12}` · digest `000000000000`",
    ]


def test_a_failure_says_what_happened_the_state_and_what_to_do() -> None:
    failing = ("smoke_passed", "fastapi_reloaded")
    failed = record("put back", failing=failing, problem="g1: 0.9 instead of 0.1", quarantined=True)
    lift = "promobot quarantine lift --deployment dev-00000012-churn --env dev --reason '…'"
    message = deployment.message(failed, revert_url=URL)
    said = texts(message.blocks)
    assert said[0] == "*↩️ churn 7 → 8 in dev failed after the switch and was put back: version 7 answers.*"
    assert said[1] == "*What happened:* g1: 0.9 instead of 0.1"
    assert said[2].startswith("*State:* version 7 (000000000000) answers in dev")
    assert said[2].endswith(f"*What to do:* <{URL}|merge the revert>\n*If the model is not at fault:* `{lift}`")
    assert "❌ smoke passed   ❌ FastAPI reloaded" in said[3]
    assert deployment.concluded(failed, revert_url=URL).split("\n") == [
        message.text.removeprefix("↩️ "),
        "  what happened: g1: 0.9 instead of 0.1",
        f"  what to do: merge {URL}",
        f"  if the model is not at fault: {lift}",
    ]


@pytest.mark.parametrize("outcome", ["put back", "failed"])
def test_a_rollback_that_failed_says_what_still_answers_and_how_to_try_again(outcome: Outcome) -> None:
    failed = record(outcome, failing=("fastapi_reloaded",), problem="triton-1 hangs", way_back=True)
    said = texts(deployment.message(failed, revert_url="").blocks)
    assert said[0] == "*❌ The rollback of churn to version 8 in dev failed: version 7 still answers.*"
    assert said[2].endswith("fix the cause, then promobot rollback churn --env dev --to 8 --now")
    assert "--to 8 --now" in deployment.concluded(failed, revert_url="")
    several = deployment.bulletin("dev-00000012", [failed, record()], revert_urls={})
    assert several.text.startswith("❌ 2 deployments in dev: ")


def test_where_no_digest_is_blamed_the_cause_is_to_be_fixed() -> None:
    failed = record("put back", failing=("fastapi_reloaded",), problem="gateway g1: HTTP 401")
    step = "no digest is blamed; fix the cause, then promobot deploy --env dev"
    said = texts(deployment.message(failed, revert_url=URL).blocks)
    assert said[2].endswith(f"*What to do:* {step}; or <{URL}|merge the revert>")
    assert texts(deployment.message(failed, revert_url="").blocks)[2].endswith(f"*What to do:* {step}")
    assert deployment.concluded(failed, revert_url=URL).endswith(f"  what to do: {step}; or merge {URL}")
    assert awaiting.way_back(failed, [URL]).startswith(
        "No digest is blamed: fix the cause, then `promobot deploy --env"
    )
    blamed = failed.model_copy(update={"quarantined": True})
    assert awaiting.way_back(blamed, [URL]) == f"Merge the revert, so that main says what is served: {URL}"


@pytest.mark.parametrize("outcome", get_args(Outcome))
@pytest.mark.parametrize("section", ["models", "shadow"])
@pytest.mark.parametrize("after", [entry(8), None])
@pytest.mark.parametrize("before", [entry(7), None])
def test_every_outcome_has_words(outcome: Outcome, section: str, after: Any, before: Any) -> None:
    of = record(outcome, section=section, after=after, before=before)
    message = deployment.message(of, revert_url="")
    assert "churn" in message.text
    assert "dev" in message.text
    assert "None" not in message.text + "".join(texts(message.blocks))
    if outcome in ("put back", "failed"):
        assert "✅" not in texts(message.blocks)[0]


@pytest.mark.parametrize("problem", [HOSTILE, HOSTILE * 100, "&" * 10_000, "<" * 2_501, "x" * 2_499 + "<<<"])
def test_a_hostile_problem_stays_text_that_slack_takes(problem: str) -> None:
    message = deployment.message(record("failed", problem=problem), revert_url=URL)
    for text in texts(message.blocks):
        assert len(text) <= 3000
        assert not set("<>") & set(text.replace(f"<{URL}|merge the revert>", ""))
        assert not re.search(r"&(?!amp;|lt;|gt;)", text)
        assert all(c.isprintable() or c == "\n" for c in text)
    assert "<" not in message.text


def test_the_six_criteria_in_a_table() -> None:
    lines = terminal.criteria([record(), record("failed", failing=("ready",), criteria=())]).split("\n")
    assert lines[0].split("  ")[0] == "deployment"
    assert lines[2].count("✓") == 6
    assert lines[3].count("–") == 6
    assert len({line.index("outcome") for line in lines[:1]}) == 1


def test_a_grid_is_aligned_and_has_no_trailing_spaces() -> None:
    lines = terminal.grid(["a", "long head"], [["1", "x"], ["333", ""]]).split("\n")
    assert lines == ["a    long head", "───  ─────────", "1    x", "333"]


# --- what stands first on a terminal -----------------------------------------------------------------------------


def a_run(*records: DeploymentRecord, **more: Any) -> Deployed:
    return Deployed("dev", "c" * 40, records=records, **more)


def test_what_went_wrong_stands_before_what_went_well() -> None:
    wrong = record("put back", failing=("smoke_passed",), model="wine", problem="g1: no answer")
    lines = terminal.deployed(a_run(record(), wrong, problems=("gateway-2 does not answer",))).splitlines()
    assert lines[0].startswith("wine 7 → 8 in dev failed after the switch and was put back: version 7 answers.")
    assert [line.split(":")[0].strip() for line in lines[1:4]] == ["what happened", "what to do", "problem"]
    assert lines[4] == "churn 8 is served in dev (was 7)."


def test_the_model_that_somebody_asked_for_is_told_of_first() -> None:
    wrong = record("failed", failing=("ready",), model="wine", problem="away")
    told = terminal.deployed(a_run(wrong, record(), problems=("a gateway is silent",)), asked_for="churn")
    assert told.startswith("churn 8 is served in dev (was 7).\nwine 7 → 8 in dev failed before the switch: ")


def test_history_begins_with_how_the_newest_deployment_ended() -> None:
    put_back = record("put back", failing=("ready",), problem="g1: no answer")
    first, head, *_ = terminal.history(History("dev", (put_back, record()))).splitlines()
    assert first == (
        "2026-03-01 12:00 UTC: ↩️ churn 7 → 8 in dev failed after the switch and was put back: version 7 answers."
    )
    assert head.split()[:2] == ["when", "(UTC)"]


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ((), "Everything is as main says."),
        (("bytes",), "1 thing to put right."),
        (("bytes", "alias"), "2 things to put right."),
    ],
)
def test_drift_says_first_how_users_are_and_whether_anything_differs(kinds: tuple[str, ...], says: str) -> None:
    differences = tuple(Difference(kind, f"its {kind}", "promobot reconcile --env dev") for kind in kinds)
    found = Status("dev", "c" * 40, 3, (), differences, users=(Users("churn", 1, "OK"),))
    first, *rest = terminal.drift(found).splitlines()
    assert first == f"dev: OK. churn 1 answers. {says}"
    assert rest == terminal.status(found).splitlines()[1:]
    assert terminal.status(found).splitlines()[0] == first.removesuffix(" Everything is as main says.")


def test_a_deployment_with_nothing_but_problems_says_so_first_and_where_to_look() -> None:
    first, problem, last = terminal.deployed(Deployed("dev", "c" * 40, problems=("t1 is silent",))).splitlines()
    assert (first, problem) == ("Nothing was deployed to dev: 1 problem.", "problem: t1 is silent")
    assert last == "→ promobot status --env dev says who is affected, and what to type"
    again, repaired = terminal.deployed(Deployed("dev", "c" * 40, repaired=("loaded it",))).splitlines()
    assert (again, repaired) == ("dev is as main says again (cccccccccccc).", "repaired: loaded it")


def test_a_rollback_that_finds_users_back_does_not_say_that_main_says_so() -> None:
    nothing = Deployed("dev", "c" * 40)
    done = RolledBack("dev", "churn", entry(2), entry(1), 8, URL, nothing, is_back=True)
    assert terminal.rolled_back(done).splitlines() == [
        "churn 1 answers in dev already: nothing to do.",
        f"Merge this, so that main says so: {URL}",
    ]


def test_what_does_not_hold_stands_before_what_does() -> None:
    findings = (Finding(what="size", passed=True, detail="1"), Finding(what="case", passed=False, detail="1, not 0"))
    of_both: tuple[tuple[CheckName, tuple[Finding, ...]], ...] = (("ready", findings[:1]), ("smoke", findings))
    ready, smoke = (
        CheckResult(
            check=check,
            environment="dev",
            section="models",
            model="churn",
            version=2,
            digest="sha256:2",
            findings=of,
            at=NOW,
        )
        for check, of in of_both
    )
    lines = terminal.rechecked(Rechecked("dev", "churn", "c" * 40, (ready, smoke))).splitlines()[1:]
    assert [line.strip()[:6] for line in lines] == ["✗ smok", "✗ case", "✓ size", "✓ read", "✓ size"]


@pytest.mark.parametrize(("on_triton", "at_gateway"), [(None, 3), (False, 3), (True, False), (True, None), (True, 2)])
def test_a_shadow_that_somebody_lacks_has_no_tick(on_triton: bool | None, at_gateway: int | bool | None) -> None:
    def sign(has_it: bool | None, there: int | bool | None) -> str:
        row = ModelStatus("churn", "shadow", 3, 3, {"t1": True, "t2": has_it}, {"g1": there}, agrees=True)
        return terminal.status(Status("dev", "c" * 40, 3, (row,), ())).splitlines()[4].split()[0]

    assert (sign(on_triton, at_gateway), sign(True, 3)) == ("✗", "✓")


@pytest.mark.parametrize(
    ("cause", "revert", "step"),
    [
        ("quarantine", None, "as the rule says"),
        ("quarantine", 8, "merge #8, the revert of churn"),
        ("evidence", 8, "merge #8, the revert of churn; or: as the rule says"),
    ],
)
def test_a_revert_that_is_open_is_named_and_nobody_is_to_open_one(
    cause: Cause, revert: int | None, step: str
) -> None:
    change = Change("dev", "models", "churn", entry(1), entry(2))
    assert step_about(Hold(cause, "why", "as the rule says"), change, revert) == step


def test_history_does_not_doubt_what_is_held_where_only_its_time_is_unknown() -> None:
    held = Held(Change("dev", "models", "churn", entry(1), entry(2)), Hold("evidence", "red", "recheck"))
    said = terminal.history(History("dev", (), held=(held,), unknown="GitHub: 503"))
    assert "✋ churn 1 → 2 in dev is held" in said and "since when it is held is not known: GitHub: 503" in said
    assert "whether something is held now is not known: Git: 503" in terminal.history(
        History("dev", (), unknown="Git: 503")
    )


def test_what_is_not_in_service_is_ready_nowhere() -> None:
    row = ModelStatus("wine", "models", 1, None, {"t1": True, "t2": None}, {"g1": None}, agrees=False)
    line = terminal.status(Status("dev", "c" * 40, 3, (row,), ())).splitlines()[4]
    assert line.split() == ["✗", "wine", "1", "–", "–", "silent", "–"]


STEP = Rollout(id="dev-00000012-churn", percent=10, step=2, steps=(1, 10, 100), began_at=NOW)


def test_a_step_of_a_rollout_says_who_gets_what_and_what_ends_it() -> None:
    step = record("rolling out", before=entry(7), after=entry(8), serving=entry(7), rollout=STEP)
    said = "churn 8 answers 10 % of requests in dev, version 7 the others."
    assert deployment.verdict(step) == said
    way = (
        "Step 2 of 3: 1 % → 10 % → 100 %. `promobot watch --env dev` makes the next one; `promobot rollback churn "
        "--env dev --now` ends the rollout."
    )
    assert deployment.concluded(step, revert_url="") == f"{said}\n  {way}"
    message = deployment.message(step, revert_url="")
    assert message.text == f"🐤 {said}"
    assert "Step 2 of 3: 1 % → *10 %* → 100 %." in str(message.blocks)
    assert deployment.what_to_do(step, merge="merge the revert") == ""
    assert "rolling out, 10 %" in terminal.criteria([step])
    told = terminal.record_in_full(step)
    assert "10 % of the requests get what was asked for (step 2 of 3 of the rollout dev-00000012-churn: 1 %" in told


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (record("succeeded"), False),
        (record("rolling out", rollout=STEP), False),
        (record("succeeded", way_back=True), True),
        (record("failed"), True),
        (record("put back"), True),
        (record("incomplete"), True),
    ],
    ids=lambda one: f"{one.outcome}{', way back' * one.way_back}" if isinstance(one, DeploymentRecord) else "",
)
def test_the_channel_hears_of_what_failed_and_of_each_way_back(told: DeploymentRecord, expected: bool) -> None:
    assert deployment.is_for_everybody(told) is expected


def test_the_last_step_of_a_rollout_reads_as_any_deployment() -> None:
    last = record(before=entry(7), after=entry(8), rollout=STEP.at(100))
    assert deployment.verdict(last) == "churn 8 is served in dev (was 7)."
    assert deployment.the_way(last) == "Step 3 of 3: 1 % → 10 % → *100 %*."
    at_once = record(before=entry(7), after=entry(8), rollout=STEP.model_copy(update={"steps": (100,)}).at(100))
    assert deployment.the_way(at_once) == ""


def test_several_steps_are_told_of_in_one_message() -> None:
    steps = [record("rolling out", before=entry(7), rollout=STEP) for _ in range(2)]
    message = deployment.bulletin("dev-00000009", [*steps, record()], revert_urls={})
    assert message.text == "🐤 3 deployments in dev: 1 as main asks, 2 rolling out."
