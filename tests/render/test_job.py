"""What a job of GitHub Actions says of a verb: the verdict first, and the cause where people look."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from bot.domain.desired import Change
from bot.domain.hold import Held, Hold
from bot.domain.users import Users
from bot.operations.deploy import Deployed
from bot.operations.job import Annotation
from bot.operations.rollback import RolledBack
from bot.operations.status import Difference, Status
from bot.render import job, terminal
from tests.domain.entries import entry
from tests.render.test_messages import HOSTILE, URL, record

CHURN = Change("dev", "models", "churn", entry(7), entry(8))
HELD = Held(CHURN, Hold("quarantine", "it failed", "merge the revert of churn"))
BRANCH = "promobot-revert/dev/churn"
PUT_BACK = {"failing": ("fastapi_reloaded",), "problem": "g1: 0.9 instead of 0.1", "quarantined": True}


def put_back(**more: Any) -> Deployed:
    return Deployed("dev", "c" * 40, records=(record("put back", **PUT_BACK),), reverts={BRANCH: URL}, **more)


def seen(summary: str) -> str:
    """The Markdown as people read it: without what keeps its characters from meaning anything."""
    return re.sub(r"\\(.)", r"\1", summary)


def first(summary: str) -> str:
    return seen(summary).split("\n", 1)[0]


# --- deploy and reconcile ------------------------------------------------------------------------------------------


def test_a_deployment_that_went_well() -> None:
    done = job.deployed([Deployed("dev", "c" * 40, records=(record(),))])
    assert done.annotations == ()
    lines = seen(done.summary).split("\n")
    assert lines[:5] == [
        "✅ **churn 8 is served in dev (was 7).**",
        "",
        "|  | deployment | version | outcome | users get |",
        "| --- | --- | --- | --- | --- |",
        "| ✅ | `dev-00000012-churn` | 7 → 8 | succeeded | version 8 |",
    ]
    assert lines[6] == "<details><summary>✅ dev-00000012-churn</summary>"
    assert "| ✅ | FastAPI reloaded | seen |" in lines


def test_what_was_put_back_is_an_error_with_the_cause_and_the_summary_says_what_to_do() -> None:
    done = job.deployed([put_back()])
    lift = "promobot quarantine lift --deployment dev-00000012-churn --env dev --reason '…'"
    assert seen(done.summary).split("\n\n")[:4] == [
        "↩️ **churn 7 → 8 in dev failed after the switch and was put back: version 7 answers.**",
        "**What happened:** g1: 0.9 instead of 0.1",
        f"**What to do:** [merge the revert]({URL}).",
        f"If the model is not at fault: `{lift}`",
    ]
    assert "| ↩️ | `dev-00000012-churn` | 7 → 8 | put back | version 7 |" in done.summary
    (note,) = done.annotations
    assert note == Annotation(
        "error",
        "churn in dev: put back",
        "churn 7 → 8 in dev failed after the switch and was put back: version 7 answers.\n"
        f"g1: 0.9 instead of 0.1\n→ merge {URL}",
    )
    assert note.command == (
        "::error title=churn in dev%3A put back::churn 7 → 8 in dev failed after the switch and was put back: "
        f"version 7 answers.%0Ag1: 0.9 instead of 0.1%0A→ merge {URL}"
    )


def test_where_no_revert_could_be_opened_the_command_that_opens_it_is_named() -> None:
    (note,) = job.deployed([replace(put_back(), reverts={})]).annotations
    assert note.text.endswith("→ promobot rollback churn --env dev, and merge what it opens")


def test_a_failed_rollback_is_named_as_such() -> None:
    failed = record("put back", failing=("fastapi_reloaded",), problem="g1 hangs", way_back=True)
    done = job.deployed([Deployed("dev", "c" * 40, records=(failed,))])
    assert first(done.summary) == "❌ **The rollback of churn to version 8 in dev failed: version 7 still answers.**"
    assert done.annotations[0].title == "churn in dev: rollback failed"
    assert done.annotations[0].text.endswith("fix the cause, then promobot rollback churn --env dev --to 8 --now")


def test_what_to_type_stands_as_code_everywhere() -> None:
    step = "`promobot recheck churn --env dev` checks what main says, then deploy again"
    held = Held(HELD.change, Hold("evidence", "its checks did not pass", step))
    differs = Status("dev", "c" * 40, 3, (), (Difference("held", "it is held", step),))
    for summary in (
        job.deployed([Deployed("dev", "c" * 40, held=(held,))]).summary,
        job.failed("deploy", "it failed", state="", next_step=step).summary,
        job.differences([differs]).summary,
    ):
        assert "`promobot recheck churn --env dev` checks what main says" in summary, summary


def test_what_is_held_is_an_error_and_says_what_answers() -> None:
    done = job.deployed([Deployed("dev", "c" * 40, held=(HELD,), reverts={BRANCH: URL})])
    assert first(done.summary) == "❌ **churn 7 → 8 in dev is held: version 7 answers.**"
    assert seen(done.summary).strip().split("\n\n")[1:] == [
        "✋ **Why:** it failed.",
        f"**What to do:** [merge the revert]({URL}) of churn.",
    ]
    (note,) = done.annotations
    assert (note.level, note.title) == ("error", "churn in dev: held")
    assert note.text == "churn 7 → 8 in dev is held: version 7 answers.\nit failed\n→ merge the revert of churn"


def test_what_only_slack_lacks_is_a_warning() -> None:
    unconfirmed = record("unconfirmed", failing=("slack_delivered",))
    done = job.deployed([Deployed("dev", "c" * 40, records=(unconfirmed,), undelivered=1)])
    assert first(done.summary).startswith("✅ **churn 8 is served in dev (was 7); everything holds but Slack")
    (note,) = done.annotations
    assert (note.level, note.title) == ("warning", "dev: unconfirmed")
    assert "`promobot deploy --env dev` delivers when Slack answers again" in note.text


@pytest.mark.parametrize(
    ("done", "says"),
    [
        (Deployed("dev", "c" * 40), f"✅ **dev is as main says (`{'c' * 12}`): nothing to do.**"),
        (Deployed("dev", "c" * 40, repaired=("x",)), "✅ **dev is as main says again: 1 repair.**"),
        (
            Deployed("dev", "", problems=("Git: no answer",)),
            "❌ **dev: Git: no answer**",
        ),
    ],
)
def test_nothing_to_deploy(done: Deployed, says: str) -> None:
    assert first(job.deployed([done]).summary) == says


def test_of_many_the_verdict_counts_and_names_who_is_affected() -> None:
    wrong = [record("put back", **PUT_BACK, model=f"m{n}", id=f"dev-00000012-m{n}") for n in range(7)]
    done = Deployed("dev", "c" * 40, records=(record(), *wrong), held=(HELD,), problems=("p",))
    found = job.deployed([done])
    assert first(found.summary) == (
        "❌ **dev: 7 put back after the switch (m0, m1, m2, m3, m4 and 2 more); 1 as main asks; 1 held (churn); "
        "1 problem.**"
    )
    rows = [line for line in found.summary.split("\n") if line.startswith(("| ↩️ | ", "| ✅ | `"))]
    assert rows[-1].startswith("| ✅ | `dev-00000012-churn`"), "what is wrong stands first"


def test_of_several_environments_the_worst_is_first_and_each_has_a_verdict() -> None:
    done = job.deployed([Deployed("dev", "c" * 40), replace(put_back(), environment="prod")])
    verdicts = done.summary.split("\n\n")[:2]
    assert verdicts[0].startswith("↩️ **churn 7 → 8")
    assert verdicts[1].startswith("✅ **dev is as main says")


def test_no_more_annotations_than_github_shows() -> None:
    wrong = tuple(record("put back", **PUT_BACK, model=f"m{n}") for n in range(30))
    notes = job.deployed([Deployed("dev", "c" * 40, records=wrong, undelivered=2)]).annotations
    assert [note.level for note in notes] == ["error"] * 10 + ["warning"]
    assert notes[9].text == "and 21 more: the job's summary has them"


def test_a_thousand_deployments_fit_into_a_summary() -> None:
    many = tuple(record("put back", **PUT_BACK, model=f"m{n}", id=f"dev-1-m{n}") for n in range(1000))
    summary = job.deployed([Deployed("dev", "c" * 40, records=many)]).summary
    assert len(summary.encode()) < 2**20
    assert first(summary).startswith("❌ **dev: 1000 put back after the switch")


# --- rollback ------------------------------------------------------------------------------------------------------


def rollback(**more: Any) -> RolledBack:
    given: dict[str, Any] = {"pull_request": 9, "url": URL, "before": entry(8), "after": entry(7), **more}
    return RolledBack("dev", "churn", **given)


def back(**more: Any) -> Deployed:
    own = record(after=entry(7), before=entry(8), serving=entry(7), way_back=True, **more)
    return Deployed("dev", "c" * 40, records=(own,))


def test_a_rollback_that_only_opens_a_pull_request_says_that_nothing_changed_yet() -> None:
    done = job.rolled_back(rollback())
    assert done.summary == (
        "✅ **Nothing that users see has changed yet: merging goes back to churn 7.**\n\n"
        f"**What to do:** [merge the revert #9]({URL}).\n"
    )
    assert done.annotations == ()


def test_a_rollback_to_what_answers_already_says_that_only_main_has_to_follow() -> None:
    done = rollback(is_back=True)
    assert first(job.rolled_back(done).summary) == "✅ **churn 7 answers in dev already; main has to say so.**"
    assert terminal.rolled_back(done) == f"churn 7 answers in dev already. Merge this, so that main says so: {URL}"
    at_once = terminal.rolled_back(rollback(deployed=back(), is_back=True)).splitlines()
    assert (at_once[0], at_once[-1]) == (
        "churn is back at version 7 in dev (from 8).",
        f"Merge this, so that main says so: {URL}",
    )
    assert terminal.rolled_back(rollback()) == f"Merge this to go back to churn 7 in dev: {URL}"


def test_a_rollback_at_once_says_what_answers_and_that_the_merge_is_left() -> None:
    lines = seen(job.rolled_back(rollback(deployed=back())).summary).split("\n\n")
    assert lines[:2] == [
        "✅ **churn is back at version 7 in dev (from 8).**",
        f"**What to do:** [merge the revert #9]({URL}). Until then main asks for version 8.",
    ]


def test_a_rollback_that_failed_says_once_what_to_do() -> None:
    own = record("put back", after=entry(7), before=entry(8), serving=entry(8), way_back=True, problem="g1 hangs")
    done = rollback(deployed=Deployed("dev", "c" * 40, records=(own,)))
    parts = seen(job.rolled_back(done).summary).split("\n\n")
    assert parts[:4] == [
        "❌ **The rollback of churn to version 7 in dev failed: version 8 still answers.**",
        f"The revert, with which main follows: [#9]({URL}).",
        "**What happened:** g1 hangs",
        "**What to do:** fix the cause, then promobot rollback churn --env dev --to 7 --now.",
    ]


def test_a_rollback_whose_pull_request_waits_for_github_is_a_warning() -> None:
    done = job.rolled_back(rollback(deployed=back(), pull_request=None, url="", revert_waits="GitHub: 503"))
    assert seen(done.summary).startswith(
        "✅ **churn is back at version 7 in dev (from 8).**\n\nThe revert pull request is"
    )
    assert [note.level for note in done.annotations] == ["warning"]


# --- drift ---------------------------------------------------------------------------------------------------------


def drift(*differences: Difference, environment: str = "dev") -> Status:
    users = (Users("churn", 7, "DOWN" if differences else "OK", "2 of 2 Tritons silent" if differences else ""),)
    return Status(environment, "c" * 40, 8, (), differences, users=users)


def test_drift_says_how_users_are_then_what_differs_and_what_to_type() -> None:
    differs = Difference("triton", "churn 7 is routed but not READY on Triton a", "promobot deploy --env dev")
    found = job.differences([drift(environment="prod"), drift(differs)])
    assert found.summary.split("\n\n")[:3] == [
        "❌ **dev: churn is DOWN: 2 of 2 Tritons silent. 1 thing to put right.**",
        "✅ **prod: OK. churn 7 answers. Everything is as main says.**",
        "### dev",
    ]
    row = "| churn 7 is routed but not READY on Triton a | promobot deploy --env dev |"
    assert row in seen(found.summary)
    assert found.annotations == (Annotation("error", "dev: triton", f"{differs.what}\n→ promobot deploy --env dev"),)


# --- the rest ------------------------------------------------------------------------------------------------------


def test_what_another_verb_says_begins_with_its_verdict_and_links_its_pull_request() -> None:
    done = job.said(f"churn 8 is proposed to dev: {URL}", 0, title="promobot propose", url=URL)
    assert done == job.Job(f"✅ **churn 8 is proposed to dev: [{URL.removeprefix('https://')}]({URL})**\n")
    red = job.said(
        "Not every check passed.\n✗ ready: churn 8\n    ✗ bytes: other\n    ✓ gate: ok", 1, title="recheck"
    )
    assert first(red.summary) == "❌ **Not every check passed.**"
    assert red.annotations[0].text == "Not every check passed.\n✗ ready: churn 8\n✗ bytes: other"


def test_an_error_in_a_file_stands_in_its_line() -> None:
    here = ("promotions/dev.yaml", 3, "no")
    done = job.failed("t", "no", state="Nothing was changed.", next_step="Fix it.", mistakes=[here])
    assert done.summary == "❌ **no**\n\nNothing was changed.\n\n**What to do:** Fix it.\n"
    assert done.annotations[0].command == (
        "::error file=promotions/dev.yaml,line=3,title=t::no%0ANothing was changed.%0A→ Fix it."
    )
    outside = job.failed("t", "no", state="", next_step="", mistakes=[("/etc/x.yaml", 3, "no")])
    assert outside.annotations[0].command == "::error title=t::no"


def test_each_of_several_mistakes_stands_in_its_own_line() -> None:
    several = [("promotions/dev.yaml", 3, "a"), ("promotions/dev.yaml", 7, "b")]
    done = job.failed("t", "promotions/dev.yaml: 2 mistakes:\n  a\n  b", state="", next_step="", mistakes=several)
    assert done.summary == "❌ **promotions/dev.yaml: 2 mistakes**\n\n- a\n- b\n"
    assert [note.command for note in done.annotations] == [
        "::error file=promotions/dev.yaml,line=3,title=t::a",
        "::error file=promotions/dev.yaml,line=7,title=t::b",
    ]


def test_a_bug_has_its_traceback_folded() -> None:
    done = job.bug("t", "this is a bug", trace="Traceback: ```x")
    assert first(done.summary) == "❌ **this is a bug**"
    assert "<details><summary>Traceback</summary>\n\n````\nTraceback: ```x\n````" in done.summary


@pytest.mark.parametrize(
    "text", [HOSTILE, "a\n::error::b\r\n::add-mask::c%0A::stop-commands::d", "\x1b]0;x\x07::set-env name=A::b"]
)
def test_no_text_of_others_ends_an_annotation_or_begins_another(text: str) -> None:
    failed = record("failed", problem=text)
    found = job.deployed([Deployed("dev", "c" * 40, records=(failed,), problems=(text,))])
    for note in (*found.annotations, Annotation("error", text, text, file=text)):
        assert note.command.startswith("::error ")
        assert all(c.isprintable() for c in note.command)
        properties = note.command.removeprefix("::error ").split("::", 1)[0]
        assert {one.split("=", 1)[0] for one in properties.split(",")} <= {"file", "title"}
    assert "@U123" not in found.summary.replace("@\u200b", "")
