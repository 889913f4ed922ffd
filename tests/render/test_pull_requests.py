"""What a reviewer reads: the proposal, the checks' comment, the revert."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.domain.desired import Change, Entry
from bot.domain.evidence import CHECKS, Answer, Behaviour, CheckName, CheckResult, Finding, Latency, Moved
from bot.domain.gate import Gate, MetricRule, judge
from bot.domain.metrics import Measured, Origin
from bot.domain.package import Package, PackageFile
from bot.domain.retirement import Stop
from bot.domain.signature import Signature, TensorSpec
from bot.operations.leaving import Leaving
from bot.render import checks, proposal
from bot.render.markdown import MAX_CHARACTERS
from bot.render.proposal import Candidate, Facts
from tests.domain.entries import entry
from tests.render.markdown_reader import HOSTILE, assert_only_our_markup, outside_fences

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GATE = Gate(
    metrics={
        "accuracy": MetricRule(minimum=0.9, max_regression=0.01),
        "log_loss": MetricRule(maximum=0.4, lower_is_better=True),
        "roc_auc": MetricRule(minimum=0.9),
    }
)


def candidate(version: int, **metrics: float) -> Candidate:
    files = [PackageFile(path, 2048, f"{version:064x}") for path in ("config.pbtxt", "model.onnx", "smoke.json")]
    package = Package.of(files)
    spec = TensorSpec("X", "FP32", (-1, 30))
    return Candidate(
        version=version,
        digest=package.digest,
        run=f"run{version}",
        url=f"http://mlflow.example/#/models/churn/versions/{version}",
        commit="abcdef1234567890",
        metrics=Measured({"accuracy": 0.95, "log_loss": 0.2, "roc_auc": 0.97, **metrics}),
        params={"max_iter": "100"},
        package=package,
        config='backend: "onnxruntime"\nmax_batch_size: 64\n',
        signature=Signature((spec,), (TensorSpec("p", "FP32", (-1, 2)),)),
    )


def change(before: int | None = 7, after: int | None = 8, **more: Any) -> Change:
    entries = [entry(version) if version else None for version in (before, after)]
    return Change(
        **{
            "environment": "dev",
            "section": "models",
            "model": "churn",
            "before": entries[0],
            "after": entries[1],
            **more,
        }
    )


def facts(**more: Any) -> Facts:
    new, old = candidate(8), candidate(7, accuracy=0.94)
    plain: dict[str, Any] = {
        "change": change(),
        "candidate": new,
        "champion": old,
        "champion_problem": "",
        "gate": judge(GATE, new.metrics, old.metrics),
        "reason": "",
        "tritons": 1,
        "gateways": 2,
    }
    return Facts(**{**plain, **more})


LINKS = ("http://mlflow.example/#/models/churn/versions/8",)


def test_a_promotion_says_the_verdict_first_then_what_is_next() -> None:
    text = proposal.body(facts())
    first, second = text.split("\n\n")[:2]
    assert first.startswith("✅ **churn 8 passes the gate of dev; against version 7 in service: ")
    assert r"accuracy \+0.01" in first
    assert second.startswith("Next: the checks below, then your review. Merging deploys it.")
    assert (
        text.index("### Gate") < text.index("### Way back") < text.index("Identity: version") < text.index("Files of")
    )
    assert text.index("<details>") > text.index("### Way back") or "Other metrics" in text
    assert "| version | [8](http://mlflow.example/#/models/churn/versions/8) | 7 |" in text
    assert "| ✅ | `accuracy` | 0.95 | 0.94 | +0.01 | ≥ 0.9, at most 0.01 worse |" in text
    assert "promobot rollback churn --env dev" in text
    assert "Reaches 1 Triton, 2 gateways of dev" in text
    assert "The signature is the same." in text
    assert "The configuration is the same." in text
    assert_only_our_markup(text, comments=1, links=LINKS)


def test_the_first_version_has_nothing_to_compare_with() -> None:
    new = candidate(8)
    text = proposal.body(facts(change=change(before=None), champion=None, gate=judge(GATE, new.metrics, None)))
    assert "nothing is in service yet" in text.split("\n")[0]
    assert "promobot retire churn --env dev --reason" in text
    assert 'backend: "onnxruntime"' in text
    assert_only_our_markup(text, comments=1, links=LINKS)


def test_a_shadow_says_why_and_the_worst_metric_stands_first() -> None:
    new = candidate(8, accuracy=0.871, log_loss=0.9)
    gate = judge(GATE, new.metrics, Measured({"accuracy": 0.94}))
    shadow = change(before=None, section="shadow")
    text = proposal.body(facts(change=shadow, candidate=new, gate=gate, reason=gate.reason))
    assert text.startswith("👥 **churn 8 misses the gate of dev (log\\_loss 0.9 \\> 0.4; accuracy 0.871 \\< 0.9")
    assert "answer nobody" in text.split("\n")[0]
    rows = [line.split("|")[2].strip() for line in text.split("\n") if line.startswith(("| ❌", "| ✅"))]
    assert rows == ["`log_loss`", "`accuracy`", "`roc_auc`"]
    assert proposal.title(shadow) == "Shadow churn 8 in dev"
    assert "promobot rollback" not in text, "that goes back from the version that answers"
    assert "To go back to nothing on the shadow path: press **Revert** below" in text
    assert_only_our_markup(text, comments=1, links=LINKS)


def test_what_differs_from_the_champion_is_shown() -> None:
    new = replace(candidate(8), config='backend: "onnxruntime"\nmax_batch_size: 8\n', signature=Signature((), ()))
    text = proposal.body(facts(candidate=new))
    for part in (
        "Signature differs:",
        "-input  X: FP32[-1, 30]",
        "Configuration differs:",
        "-max_batch_size: 64",
        "+max_batch_size: 8",
    ):
        assert part in text


def test_a_promotion_from_another_environment_says_so() -> None:
    assert "with the digest that is verified in dev" in proposal.verdict(facts(promoted_from="dev"))


def test_each_number_says_which_model_or_run_it_is_from_which_step_and_when() -> None:
    told = Origin(kind="register", name="churn 8", at=NOW)
    logged = Origin(kind="run", name="run7", step=4, at=NOW)
    new = replace(candidate(8), metrics=Measured({"accuracy": 0.95, "f1": 0.9}, {"accuracy": told, "f1": logged}))
    of_model = Origin(kind="model", name="m-12", step=2)
    old = Measured({"accuracy": 0.94}, {"accuracy": of_model}, {"log_loss": "logged for 2 datasets (test, train)"})
    champion = replace(candidate(7), metrics=old)
    text = proposal.body(facts(candidate=new, champion=champion, gate=judge(GATE, new.metrics, old)))
    _, folded = text.split("<summary>Where each number comes from</summary>")
    rows = [line for line in folded.split("</details>")[0].split("\n") if line.startswith("| `")]
    assert sorted(rows) == [
        r"| `accuracy` | given at the registration of churn 8, 2026\-03\-01 12:00 UTC | model m\-12, step 2 |",
        r"| `f1` | run run7, step 4, 2026\-03\-01 12:00 UTC | – |",
        r"| `log_loss` | – | ⚠️ logged for 2 datasets \(test, train\) |",
        "| `roc_auc` | – | – |",
    ]
    assert_only_our_markup(text, comments=1, links=LINKS)


def test_hostile_facts_stay_text() -> None:
    hostile = replace(
        candidate(8, **{HOSTILE: 0.5, "|": 0.1, "`": 0.2}),
        run=HOSTILE,
        commit=HOSTILE,
        params={HOSTILE: HOSTILE, "a|b": "c`d"},
        config=HOSTILE,
        signature=Signature((TensorSpec(HOSTILE, "FP32", (1,)),), ()),
    )
    origin = Origin(kind="model", name=HOSTILE)
    hostile = replace(hostile, metrics=replace(hostile.metrics, origins={"|": origin}, unclear={"m|n": HOSTILE}))
    gate = Gate(metrics={HOSTILE: MetricRule(minimum=0.9), "m|n": MetricRule(maximum=1)})
    for champion in (None, replace(hostile, version=7, config="x", signature=Signature((), ()))):
        judged = judge(gate, hostile.metrics, champion.metrics if champion else None)
        for section in ("models", "shadow"):
            text = proposal.body(
                facts(
                    change=change(section=section),
                    candidate=hostile,
                    champion=champion,
                    champion_problem=HOSTILE,
                    gate=judged,
                    reason=judged.reason,
                )
            )
            assert_only_our_markup(text, comments=1, links=LINKS)
            assert checks.MARKER not in outside_fences(text)


def test_a_text_that_is_too_long_for_github_loses_its_end() -> None:
    huge = replace(
        candidate(8, **{f"metric_{n}_{'m' * 300}": n / 1000 for n in range(300)}),
        params={f"p{n}" + "x" * 300: "y" * 6000 for n in range(500)},
        package=Package.of([PackageFile(f"{n:05}" + "/f" * 90, 1, "0" * 64) for n in range(5000)]),
        config="x" * 10**6,
    )
    for champion in (None, candidate(7)):
        text = proposal.body(facts(candidate=huge, champion=champion))
        assert len(text) <= MAX_CHARACTERS
        assert text.startswith("✅ **churn 8 passes the gate")
        assert "promobot rollback churn --env dev" in text
        assert "left out here" in text
        assert_only_our_markup(text, comments=1, links=LINKS)


def test_the_first_line_is_what_the_checks_found_and_the_rest_stays() -> None:
    text = proposal.body(facts())
    red = proposal.with_verdict(
        text, "❌ **Do not merge: Smoke failed.**", "[What each check found](https://x.example)"
    )
    assert red.startswith("❌ **Do not merge: Smoke failed.**\n\n[What each check found](https://x.example)\n\n")
    assert "passes the gate" not in red and proposal.below_verdict(red) == proposal.below_verdict(text)
    green = proposal.with_verdict(red, "✅ **Every check passed.**")
    assert green.startswith("✅ **Every check passed.**\n\n<!--") and "Do not merge" not in green
    assert proposal.with_verdict("a person's own words", "❌") == "a person's own words"
    body = proposal.revert_body(change(), entry(6), reason="", is_back=True)
    revert = proposal.with_verdict(body, "✅ **Every check passed.**")
    assert revert.startswith("✅ **Every check passed.**") and "↩️ **churn in dev is at version 6" in revert


# --- reverts -----------------------------------------------------------------------------------------------------


def test_a_revert_says_where_it_goes_why_and_what_it_forbids() -> None:
    text = proposal.revert_body(change(), entry(6), reason="precision fell", by="alex")
    mark, _, first = text.split("\n")[:3]
    assert mark == proposal.VERDICT_ENDS and first.startswith(
        "↩️ **churn in dev goes back from version 8 to version 6 ("
    )
    for part in ("Asked for by alex.", "**Why:** precision fell", "quarantine", entry(8).digest):
        assert part in text
    assert proposal.revert_title(change(), entry(6)) == "Revert churn 8 in dev: back to 6"
    assert proposal.revert_title(change(), None) == "Revert churn 8 in dev: back to nothing"


def test_a_revert_of_what_was_put_back_says_what_users_have_already() -> None:
    text = proposal.revert_body(change(), entry(7), reason="g1: 0.9 instead of 0.1", is_back=True)
    assert text.split("\n")[2] == (
        "↩️ **churn in dev is at version 7 (`000000000000`), which was verified here; main asks for version 8. "
        "Merging this only changes main.**"
    )
    assert "goes back from" not in text
    nothing = proposal.revert_body(change(before=None), None, reason="", is_back=True)
    assert "churn in dev is at no version; main asks for version 8." in nothing
    asked = proposal.revert_body(change(), entry(7), reason="", by="sam", is_back=True)
    assert "churn in dev is at version 7" in asked, "also where a person asked, whose rollback was at once"
    assert "goes back from version 8 to version 7" in proposal.revert_body(change(), entry(7), reason="")


def test_the_checks_of_a_revert_of_what_was_put_back_compare_with_what_answers() -> None:
    reverts = change(before=8)
    text = comment([reverts], ALL_GOOD)
    assert text.startswith(
        "✅ **Every check passed for churn 8 in dev, which answers already.** Merging makes main say so. Next: review"
    )
    assert "### churn 8 in dev, which answers already" in text
    other = comment([reverts, change(model="fraud")], [*ALL_GOOD, *(result(c, GOOD, model="fraud") for c in CHECKS)])
    assert "churn 8 in dev, which answers already, fraud 7 → 8 in dev.** Next: review and merge." in other


def test_a_proposal_after_a_put_back_compares_with_what_answers_and_names_no_button_that_brings_it_back() -> None:
    text = proposal.body(facts(main=entry(9)))
    assert (
        "⚠️ Main asks for version 9, which is not in service: version 7 answers, and that is what is compared." in text
    )
    assert (
        "To go back to version 7 (000000000000): run the following. The button **Revert** would bring version 9"
        in (text)
    )
    assert "press **Revert**" not in text
    assert "not in service" not in proposal.body(facts(main=entry(7))) and "press **Revert**" in proposal.body(
        facts()
    )


def test_a_revert_by_the_bot_with_a_hostile_reason() -> None:
    text = proposal.revert_body(change(), None, reason=HOSTILE, by=HOSTILE)
    assert_only_our_markup(text, comments=1)
    assert "Opened by the bot" in proposal.revert_body(change(), None, reason="")
    assert_only_our_markup(proposal.replaced(HOSTILE, change()))


# --- the checks' comment -----------------------------------------------------------------------------------------

GOOD = Finding(what="status", passed=True, detail="READY")
LATENCY = Latency(requests=50, p50=1.234, p95=2.0, p99=3.0, budget=50)


def result(check: CheckName, *findings: Finding, latency: Latency | None = None, model: str = "churn") -> CheckResult:
    return CheckResult(
        check=check,
        environment="dev",
        section="models",
        model=model,
        version=8,
        digest=entry(8).digest,
        findings=findings,
        at=NOW,
        latency=latency,
    )


ALL_GOOD = [result("ready", GOOD), result("triton", GOOD), result("smoke", GOOD, latency=LATENCY)]


def comment(changes: list[Change], results: list[CheckResult], problems: list[str] | None = None, **more: Any) -> str:
    text = checks.comment(changes, results, problems or [], **{"head": "f" * 40, "other_paths": (), **more})
    assert text.startswith(checks.MARKER + "\n\n")
    assert len(text) <= MAX_CHARACTERS
    assert_only_our_markup(text, comments=1, links=(more.get("logs", ""),))
    return text.removeprefix(checks.MARKER).strip()


def test_all_green() -> None:
    text = comment([change()], ALL_GOOD)
    assert text.startswith("✅ **Every check passed for churn 7 → 8 in dev.** Next: review and merge.")
    assert "| proposed | 1.23 | 2.00 | 3.00 | 50 | 50 |" in text
    assert [line.split("|")[2].strip() for line in text.split("\n") if line.startswith("| ✅ |")][:3] == [
        "READY",
        "Triton",
        "Smoke",
    ]


def test_what_is_refused_unseen_for_the_same_reason_is_said_once() -> None:
    """The same missing gate stood there six times for two models."""

    def refused(model: str) -> list[CheckResult]:
        said = f"dev.yaml has no gate for {model}. Did you mean {model}x? Add gates.{model}, and merge that first."
        return [result(name, Finding(what="gate", passed=False, detail=said), model=model) for name in CHECKS]

    both = [change(model="churn"), change(model="fraud")]
    text = comment(both, [*refused("churn"), *refused("fraud")], logs="https://github.example/a/b/actions/runs/7")
    assert text.count("has no gate for") == 2, "in the verdict, and in one table"
    assert "| ❌ | READY, Triton, Smoke | gate: dev.yaml has no gate for churn. Did you mean churnx?" in text
    assert "**The same holds for** fraud 7 → 8 in dev." in text and "<details>" not in text
    # What was looked at has a section of its own, whatever was found.
    other = [*refused("churn"), *(result(c, GOOD, model="fraud") for c in CHECKS)]
    assert "The same holds" not in comment(both, other) and "fraud 7 → 8 in dev" in comment(both, other)
    cut_off = [*refused("churn"), *refused("fraud")[:2]]
    assert "| ❌ | Smoke | no result |" in comment(both, cut_off)


def test_a_red_comment_says_how_the_checks_run_again() -> None:
    red = [*ALL_GOOD[:2], result("smoke", Finding(what="row", passed=False, detail="1 instead of 0"))]
    logs = "https://github.example/a/b/actions/runs/7"
    text = comment([change()], red, logs=logs)
    assert f"**Re-run all jobs** of [this run]({logs}), or `gh run rerun 7`." in text
    assert "**Re-run all jobs** under *Checks*." in comment([change()], red)
    assert "Re-run" not in comment([change()], ALL_GOOD, logs=logs)


def behaves(**changes: Any) -> CheckResult:
    moved = Moved(case="row-1", output="probabilities[1]", before="0.49", after="0.51", flips=True, by=0.02)
    facts = {"champion": entry(7), "cases": 8, "flipped": 1, "moved": (moved,), "latency": LATENCY, **changes}
    smoke = result("smoke", Finding(what="case row-1", passed=True), latency=LATENCY)
    answers = (Answer(case="row-1", outputs=()),)
    return smoke.model_copy(update={"behaviour": Behaviour(**facts), "answers": answers})


def test_how_it_behaves_beside_the_champion() -> None:
    text = comment([change()], [*ALL_GOOD[:2], behaves()], logs="https://github.example/a/b/actions/runs/7")
    assert "**Parity with the training framework:** 1 of 1 smoke cases." in text
    assert (
        "**Against version 7 in service**, on the same Triton: 1 of 8 decisions flip; numbers move by up to 0.02."
        in text
    )
    assert "| ⚠️ flips | row\\-1 | `probabilities[1]` | 0.49 | 0.51 | 0.02 |" in text
    assert "| in service | 1.23 | 2.00 | 3.00 | 50 | 50 |" in text
    assert "([logs](https://github.example/a/b/actions/runs/7))" in text


def test_a_champion_that_cannot_be_asked_is_said_and_no_verdict() -> None:
    text = comment([change()], [*ALL_GOOD[:2], behaves(problem=HOSTILE, flipped=0, moved=(), latency=None)])
    assert text.startswith("✅ **Every check passed")
    assert "⚠️ **Against version 7 in service**, on the same Triton: not compared." in text
    same = comment([change()], [*ALL_GOOD[:2], behaves(flipped=0, moved=())])
    assert "0 of 8 decisions flip; no number moves." in same


def test_nothing_of_nothing_is_never_said() -> None:
    empty = [result(name) for name in CHECKS]
    text = comment([change()], empty)
    assert "0 of 0" not in text and "Parity" not in text
    assert "| ❌ | READY | looked at nothing |" in text
    assert "<summary>READY" not in text, "there is nothing to unfold"
    assert checks.check_summary("ready", [change()], empty[:1]).endswith("\n\nIt looked at nothing.")
    nobody = comment([change()], [*ALL_GOOD[:2], behaves(cases=0, flipped=0, moved=())])
    assert "not compared. There is no case that both answered." in nobody and "0 of 0" not in nobody


def test_cases_that_were_never_asked_are_no_parity() -> None:
    right = Finding(what="case row-0", passed=True, detail="as in training")
    broken = Finding(what="answers", passed=False, detail="Triton staging: connection refused")
    smoke = behaves().model_copy(update={"findings": (right, broken)})
    text = comment([change()], [*ALL_GOOD[:2], smoke])
    assert "**Parity with the training framework:** 1 of 1 smoke cases; then it broke off." in text


def test_a_thousand_entries_keep_the_verdict() -> None:
    changes = [change(model=f"m{n}", before=None) for n in range(1000)]
    text = comment(changes, [result(c, GOOD, model=f"m{n}") for n in range(1000) for c in CHECKS])
    assert text.startswith("✅ **Every check passed for m0 8 in dev, ")
    assert "and 940 more.** Next: review and merge." in text
    assert "… and 980 more entries" in text
    assert text.count("| ✅ | ✅ | ✅ |") == 200 and "| ✅ | m219 8 in dev | ✅ | ✅ | ✅ |" in text


def test_what_is_wrong_comes_first() -> None:
    bad = [Finding(what="digest", passed=False, detail="sha256:1 in MLflow"), GOOD]
    text = comment([change()], [result("ready", GOOD, *bad), *ALL_GOOD[1:]], ["the job ready ended as “failure”"])
    assert text.startswith("❌ **Do not merge: READY of churn 8 failed at “digest”: sha256:1 in MLflow.**")
    assert "Nothing in service has changed." in text.split("\n")[0]
    ready = text[text.index("<summary>READY") :]
    assert ready.index("❌ | digest") < ready.index("✅ | status")


def test_the_worst_entry_comes_first() -> None:
    bad = result("smoke", Finding(what="row-1", passed=False, detail="0.9 instead of 0.1"), model="fraud")
    good = [result(check, GOOD, model="fraud") for check in CHECKS[:2]]
    text = comment([change(), change(model="fraud", before=None)], [*ALL_GOOD, *good, bad])
    assert text.index("### fraud 8 in dev") < text.index("### churn 7 → 8 in dev")


@pytest.mark.parametrize(
    ("results", "problems", "says"),
    [
        ([], ["there is no result for the check ready of dev/churn"], "there is no result for the check ready of"),
        ([result("ready")], [], "READY of churn 8 looked at nothing"),
        (ALL_GOOD, ["the job smoke ended as “skipped”"], "the job smoke ended as “skipped”"),
        (ALL_GOOD[:2], ["there is no result for the check smoke of dev/churn"], "no result"),
    ],
)
def test_what_was_not_looked_at_is_red(results: list[CheckResult], problems: list[str], says: str) -> None:
    text = comment([change()], results, problems)
    assert text.startswith("❌ **Do not merge: ")
    assert says in text
    assert "Every check passed" not in text


def test_nothing_to_check_is_said_as_such() -> None:
    assert comment([], []).startswith("**Nothing to check:** this pull request changes no model in `promotions/`.")
    removal = comment([change(after=None)], [])
    assert removal.startswith(
        "**No version to check:** this pull request only takes entries away (churn out of dev). churn is"
    )
    stop = Stop(change(after=None, retired="replaced"), entry(7), None, None)
    stopping = comment([stop.change], [], leaving=[Leaving(stop)])
    assert stopping.startswith("⏹️ **Merging stops churn in dev: version 7 answers now, and users get 404 after the ")
    for name in CHECKS:
        assert checks.check_summary(name, [], []).startswith("**Nothing to check:**")
    assert comment([], [], ["promotions/dev.yaml:3: models.x: unknown key"]).startswith(
        "❌ **Do not merge: promotions/dev.yaml:3"
    )


def test_other_paths_are_named_and_were_not_run() -> None:
    text = comment(
        [change()], ALL_GOOD, other_paths=(".github/workflows/x.yml", "bot/cli.py", *(f"f{n}" for n in range(30)))
    )
    assert "Besides `promotions/` this changes `.github/workflows/x.yml`, `bot/cli.py`" in text
    assert "and 12 more: nothing of it ran in these checks" in text


def test_hostile_results_stay_text_and_cannot_forge_the_marker() -> None:
    hostile = Finding(what=HOSTILE, passed=False, detail=HOSTILE)
    text = comment(
        [change()],
        [result(check, hostile, hostile, GOOD) for check in CHECKS],
        [HOSTILE, HOSTILE],
        other_paths=(HOSTILE, "a`b|c", "-->", "<!-- promobot:checks -->"),
        head=HOSTILE,
    )
    assert checks.MARKER not in text
    for name in CHECKS:
        assert_only_our_markup(checks.check_summary(name, [change()], [result(name, hostile)]))


@pytest.mark.slow
@pytest.mark.parametrize("entries", [1, 8])
def test_a_hundred_failing_findings_fit(entries: int) -> None:
    failing = [Finding(what=f"[{n}]" * 40, passed=False, detail="<|>" * 2000) for n in range(100)]
    changes = [change(model=f"m{n}", before=None) for n in range(entries)]
    results = [result(check, *failing, model=c.model) for c in changes for check in CHECKS]
    text = comment(changes, results, [f"problem {n} " + "x" * 600 for n in range(100)])
    assert len(text) < 65_536
    assert text.startswith("❌ **Do not merge: READY of m0 8 failed at “")
    assert "and 97 more" in text
    assert "… and 50 more." in text or "left out here" in text


def test_a_shadow_with_a_hostile_reason() -> None:
    hostile = Entry(version=8, digest=entry(8).digest, run="r", reason=HOSTILE[:500])
    text = comment(
        [change(section="shadow", after=None, before=None), Change("dev", "shadow", "churn", None, hostile)], []
    )
    assert "churn 8 in dev" in text


def test_of_many_problems_the_first_are_shown_and_the_rest_is_counted() -> None:
    assert checks.some([]) == "" and checks.some(["a", "b"], ", ") == "a, b"
    assert checks.some([str(n) for n in range(12)]) == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 2 more"


def test_the_verdict_on_a_shadow_says_that_it_answers_nobody() -> None:
    shadow, live = change(section="shadow", before=None), change()
    said = checks.headline([shadow], ALL_GOOD, [], other_paths=())
    assert ".** A shadow gets copies of requests, and answers nobody. Next: " in said
    assert "nobody" not in checks.headline([shadow, live], ALL_GOOD, [], other_paths=()), "one of them answers"


def test_a_change_that_goes_out_step_by_step_says_so() -> None:
    at_once = "Reaches 1 Triton, 2 gateways of dev. To go back"
    assert at_once in proposal.body(facts()) and at_once in proposal.body(facts(steps=(100,)))
    said = "Reaches 1 Triton, 2 gateways of dev, and answers 1, 10, then 100 % of the requests there. To go back"
    assert said in proposal.body(facts(steps=(1, 10, 100)))
