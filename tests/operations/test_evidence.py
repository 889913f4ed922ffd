"""Evidence: when it counts, when it does not any more, and how somebody gets out of each hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.domain.release import Slot
from bot.sandbox.platform import BOT
from tests.operations.world import HTTP, Registered, World


def _dead_end(world: World, model: str) -> str:
    """Return why a deployment of the model is held; nothing was done."""
    records, pulls = len(world.records(model)), len(world.reverts(model))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1, said
    (line,) = [line for line in said.out.splitlines() if line.startswith(f"held: {model} ")]
    assert (len(world.records(model)), len(world.reverts(model))) == (records, pulls)
    assert world.quarantined(model) == [], "what is only not allowed is not to blame"
    return line


def _checked(world: World, registered: Registered) -> int:
    """Propose a version and run its checks; return the number of the pull request."""
    number = int(world.proposed(registered)["number"])
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    return number


# --- the base -----------------------------------------------------------------------------------------------------


@pytest.mark.extended
def test_what_passes_against_the_version_really_in_service_goes_on_and_the_record_says_so(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model, accuracy=0.95))
    number = _checked(world, world.register(model, "better", accuracy=0.96))
    between = world.served(world.register(model, "best", accuracy=0.965))
    world.merge_on_top(number, model)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0, said
    assert world.version(model) == 2
    step = world.records(model)[-1].steps[0].what
    assert step == (
        f"judged again by today's rules, and passed: since its checks in #{number} the version in service was "
        f"1 ({first.digest[7:19]}) and is 3 ({between.digest[7:19]})"
    )
    assert f"{model} 3 → 2 in dev: {step}" in said.err.splitlines()


@pytest.mark.slow
def test_what_misses_against_the_version_really_in_service_is_held_and_rollback_leads_out(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model, accuracy=0.95))
    number = _checked(world, world.register(model, "better", accuracy=0.96))
    between = world.served(world.register(model, "best", accuracy=0.99))
    world.merge_on_top(number, model)
    assert _dead_end(world, model) == (
        f"held: {model} 3 → 2 in dev, version 3 goes on answering: "
        f"since its checks in #{number} the version in service was "
        f"1 ({first.digest[7:19]}) and is 3 ({between.digest[7:19]}); judged again, it does not pass "
        "(gate: accuracy 0.03 worse than in service (0.99)); "
        f"`promobot rollback {model} --env dev --to 3` has main say what is in service"
    )
    assert world.version(model) == 3
    assert world.promobot("rollback", model, "--env", "dev", "--to", 3).code == 0
    (revert,) = world.reverts(model)
    assert "quarantine" not in revert["body"], "what was never in service is not left by this"
    world.merge(revert["number"])
    assert world.deploy().code == 0
    assert world.version(model) == 3 and world.quarantined(model) == []


@pytest.mark.extended
def test_rules_that_changed_are_applied_and_revert_leads_out_of_a_first_version(world: World) -> None:
    model = world.model()
    number = _checked(world, world.register(model, accuracy=0.95))
    world.merge(number)
    world.configure("dev", gates={model: {"metrics": {"accuracy": {"minimum": 0.97}}}})
    assert _dead_end(world, model) == (
        f"held: {model} 1 in dev, nothing answers: "
        f"since its checks in #{number} the rules of dev for {model} or for packages were "
        "changed; judged again, it does not pass (gate: accuracy 0.95 < 0.97); "
        f"press Revert on #{number} to have main ask for it no more"
    )
    said = world.words("recheck", model, "--env", "dev")
    assert said.code == 1 and "✗ gate: accuracy 0.95 < 0.97" in said.out
    assert " did not pass; take it out of promotions/dev.yaml " in _dead_end(world, model)
    world.revert_head()
    assert world.deploy().code == 0
    assert model not in world.promotions()


@pytest.mark.extended
def test_package_rules_and_the_latency_budget_count_as_of_today(world: World) -> None:
    model = world.model()
    world.merge(_checked(world, world.register(model)))
    world.configure("dev", packages={"backends": ["tensorrt"]})
    assert "(backend: onnxruntime; allowed: tensorrt)" in _dead_end(world, model)
    world.configure("dev", packages={"backends": ["onnxruntime"], "max_bytes": 10})
    assert "(size: " in _dead_end(world, model)
    gate = {"metrics": {"accuracy": {"minimum": 0.9}}, "latency_budget_milliseconds": 0.001}
    world.configure("dev", packages={"max_bytes": 2**30}, gates={model: gate})
    assert "(latency: p50 " in _dead_end(world, model)
    world.configure("dev", gates={model: {**gate, "latency_budget_milliseconds": 1000}})
    assert world.deploy().code == 0
    assert world.records(model)[-1].steps[0].what.startswith("judged again by today's rules, and passed: ")


@pytest.mark.extended
def test_what_cannot_be_judged_is_never_passed(world: World) -> None:
    model = world.model()
    number = _checked(world, world.register(model))
    world.merge(number)
    world.configure("dev", gates={model: {"metrics": {"accuracy": {"minimum": 0.5}}}})
    world.configure("dev", mlflow={"uri": "http://127.0.0.1:9"}, deadlines={"request_seconds": 2})
    held = _dead_end(world, model)
    assert f"since its checks in #{number} the rules of dev " in held
    assert "and it could not be judged again: MLflow (http://127.0.0.1:9)" in held
    assert world.version(model) is None
    world.configure("dev", mlflow={"uri": world.endpoints.mlflow})
    assert world.deploy().code == 0


@pytest.mark.extended
def test_a_gate_that_was_taken_out_holds(world: World) -> None:
    model = world.model()
    world.merge(_checked(world, world.register(model)))
    world.drop_gate("dev", model)
    assert f"manifests/environments/dev.yaml has no gate for {model}" in _dead_end(world, model)


# --- checked again, where main says it already --------------------------------------------------------------------


@pytest.mark.slow
def test_what_nobody_checked_is_checked_where_it_is_and_goes_out(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.desire(model, first.entry)
    assert f"`promobot recheck {model} --env dev`" in _dead_end(world, model)
    assert world.promobot("propose", model, 1, "--env", "dev").document["action"] == "already desired"
    said = world.words("recheck", model, "--env", "dev")
    commit = world.git("rev-parse", "HEAD")
    assert said.code == 0
    assert said.out.splitlines()[0] == (
        f"Every check passed for {model} in dev, as main says at {commit[:12]}. Next: promobot deploy --env dev"
    )
    evidence = world.ledger().evidence(first.entry.in_slot(Slot.of("dev", model, "models")))
    assert evidence is not None and (evidence.pull_request, evidence.base, evidence.head) == (None, commit, commit)
    assert world.loaded("staging") == [] and world.published("staging") == []
    assert world.deploy().code == 0
    assert world.version(model) == 1
    proof = next(c.proof for c in world.records(model)[-1].criteria if c.name == "smoke_passed")
    assert f"as in training and on staging of main at {commit[:12]}, on triton-dev-1" in proof


@pytest.mark.slow
def test_a_verdict_that_a_branchs_workflow_imitates_merges_and_deploys_nothing(world: World) -> None:
    model = world.model()
    unchecked = world.register(model)
    number = world.propose_by_hand(world.edited(model, unchecked.entry))
    check = {"name": "Verdict", "head_sha": world.pull(number)["head"]["sha"], "status": "completed"}
    # As any workflow's own token may, that was given `checks: write`.
    HTTP.post(
        f"{world.endpoints.forge}/api/v3/repos/{world.endpoints.repository}/check-runs",
        json={**check, "conclusion": "success"},
        headers={"Authorization": f"Bearer {world.endpoints.secrets.people[BOT]}"},
    ).raise_for_status()
    world.merge(number)
    held = world.words("deploy", "--env", "dev")
    assert held.code == 1 and f"held: {model} 1 in dev, nothing answers: there is no evidence that " in held.out
    assert world.version(model) is None and f"{model}/1" not in world.published()


@pytest.mark.slow
def test_evidence_that_expired_is_made_anew(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.evidence(first, expires=datetime(2026, 1, 2, tzinfo=UTC))
    world.desire(model, first.entry)
    assert "expired on 2026-01-02" in _dead_end(world, model)
    assert world.promobot("recheck", model, "--env", "dev").code == 0
    assert world.deploy().code == 0 and world.version(model) == 1


@pytest.mark.slow
def test_checks_that_recorded_no_answers_are_made_anew(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.evidence(first, answers=[])
    world.desire(model, first.entry)
    assert "its checks in #1 did not record what staging answered; `promobot recheck " in _dead_end(world, model)
    assert world.promobot("recheck", model, "--env", "dev").code == 0
    assert world.deploy().code == 0 and world.version(model) == 1


@pytest.mark.extended
def test_a_shadow_is_checked_again_as_a_shadow(world: World) -> None:
    model = world.model(on_miss="shadow")
    weak = world.register(model, accuracy=0.5)
    world.desire(model, weak.entry, section="shadow")
    assert world.promobot("recheck", model, "--env", "dev").code == 0
    assert world.ledger().evidence(weak.entry.in_slot(Slot.of("dev", model, "models"))) is None
    assert world.deploy().code == 0
    assert world.routes()["models"][model]["shadow"]["version"] == 1


def test_what_main_does_not_say_cannot_be_checked_again(world: World) -> None:
    model = world.model()
    world.register(model)
    said = world.words("recheck", model, "--env", "dev")
    assert said.code == 1
    assert said.err == (
        f"promobot: main asks for no version of {model} in dev\n"
        "  Nothing was checked.\n"
        f"  → `promobot propose {model} VERSION --env dev` opens a pull request.\n"
    )
    said = world.words("recheck", f"{model}x", "--env", "dev")
    assert f"→ Did you mean {model}? `promobot propose {model} VERSION --env dev` opens a pull request." in said.err


@pytest.mark.extended
def test_newer_checks_that_are_red_win_over_green_ones(world: World) -> None:
    model = world.model()
    first = world.register(model)
    number = _checked(world, first)
    assert [said.code for said in world.check(number, "ready", needs="failure")] == [0, 1]
    world.merge(number)
    held = _dead_end(world, model)
    assert f"its checks in #{number} did not pass; press Revert on #{number} " in held
    assert f"`promobot recheck {model} --env dev`" in held
    assert world.promobot("recheck", model, "--env", "dev").code == 0
    assert world.deploy().code == 0 and world.version(model) == 1


# --- the same digest in another proposal --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_proposal_of_the_same_digest_with_a_wrong_run_changes_nothing_for_the_first(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.evidence(first)
    wrong = first.entry.model_copy(update={"run": "deadbeef"})
    number = world.propose_by_hand(world.edited(model, wrong))
    assert [said.code for said in world.check(number, "ready")] == [1, 1]
    red = world.ledger().evidence(wrong.in_slot(Slot.of("dev", model, "models")))
    assert red is not None and (red.pull_request, red.run, red.passed) == (number, "deadbeef", False)

    world.merge(number)
    assert f"its checks in #{number} did not pass; " in _dead_end(world, model), "its own evidence counts for it"
    world.desire(model, first.entry)
    assert world.deploy().code == 0
    assert world.version(model) == 1

    world.desire(model, wrong)
    assert world.deploy().code == 0, "the same bytes are in service: nothing is to be done"
    better = world.served(world.register(model, "better"))
    world.desire(model, wrong)
    assert f"its checks in #{number} did not pass; " in _dead_end(world, model), "only what was verified goes back"
    assert world.version(model) == better.version


@pytest.mark.slow
def test_another_digest_under_the_same_version_does_not_keep_evidence_from_being_revoked(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.evidence(first)
    other = first.entry.model_copy(update={"digest": "sha256:" + "0" * 64})
    number = world.propose_by_hand(world.edited(model, other))
    assert world.check(number, "ready")[-1].code == 1
    shown = world.words("evidence", "show", model, 1, "--env", "dev")
    assert shown.code == 1 and f"there is evidence of several digests of {model} 1 in dev" in shown.err
    assert world.promobot("evidence", "revoke", model, 1, "--env", "dev", "--reason", "staging was wrong").code == 0
    (green, _) = sorted(world.ledger().all_evidence(model), key=lambda one: one.at)
    assert green.digest == first.digest and green.revoked is not None


# --- revoked ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_revoked_evidence_holds_and_says_by_whom_and_why_until_it_is_checked_again(world: World) -> None:
    model = world.model()
    first = world.register(model)
    number = _checked(world, first)
    world.merge(number)
    said = world.words(
        "evidence",
        "revoke",
        model,
        first.digest[7:15],
        "--env",
        "dev",
        "--reason",
        "staging was wrong",
        "--by",
        "sam",
    )
    assert said.code == 0
    assert f"The evidence of {model} 1 ({first.digest[7:19]}) in dev is revoked: " in said.out
    held = _dead_end(world, model)
    assert f"its evidence in #{number} was revoked by sam on " in held and " UTC: staging was wrong; " in held
    assert [said.code for said in [world.promobot("recheck", model, "--env", "dev"), world.deploy()]] == [0, 0]
    assert world.version(model) == 1
    listed = world.words("evidence", "list", model, "--env", "dev").out.splitlines()[2:]
    assert [line.split()[-1] for line in listed] == ["green", "wrong"]
    assert "revoked  by sam: staging was wrong" in listed[1]


@pytest.mark.slow
def test_evidence_that_is_revoked_does_not_close_the_way_back(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    world.evidence(first, answers=world.answers(first)[1:])
    world.served(world.register(model, "better"))
    assert world.promobot("evidence", "revoke", model, 1, "--env", "dev", "--reason", "nonsense").code == 0
    assert world.promobot("rollback", model, "--env", "dev", "--now").code == 0
    assert world.version(model) == 1
    proof = next(c.proof for c in world.records(model)[-1].criteria if c.name == "smoke_passed")
    assert "on staging" not in proof, "what was revoked is nothing to compare with"


@pytest.mark.extended
def test_summing_up_again_what_was_revoked_makes_no_new_evidence(world: World) -> None:
    model = world.model()
    first = world.register(model)
    number = _checked(world, first)
    assert world.promobot("evidence", "revoke", model, 1, "--env", "dev", "--reason", "staging was wrong").code == 0
    verdict = world.check(number, "ready")[-1]
    assert verdict.code == 1
    assert verdict.document["problems"] == [
        f"there is no result for the check triton of dev/{model}",
        f"there is no result for the check smoke of dev/{model}",
    ]
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0], "what is checked afterwards is new"
    world.merge(number)
    assert world.deploy().code == 0


@pytest.mark.slow
def test_a_revocation_needs_a_reason_and_something_to_revoke(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.evidence(first)
    revoke = ("evidence", "revoke", model)
    said = world.words(*revoke, 1, "--env", "dev")
    assert said.code == 1 and said.err.startswith(
        "promobot: --reason: say why: the people whose release it holds read this\n"
    )
    said = world.words(*revoke, 7, "--env", "dev", "--reason", "x")
    assert f"there is no evidence of {model} 7 in dev" in said.err
    assert f"→ `promobot evidence list {model} --env dev` lists what there is." in said.err
    assert world.words(*revoke, 1, "--env", "dev", "--reason", "x").code == 0
    said = world.words(*revoke, 1, "--env", "dev", "--reason", "x")
    assert said.code == 1 and f"all evidence of {model} 1 in dev was revoked before" in said.err
    assert world.words("evidence", "revoke", "--env", "dev", "--reason", "x").code == 1


@pytest.mark.slow
def test_evidence_is_shown_with_all_that_was_looked_at(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.register(model, "better")
    number = _checked(world, second)
    said = world.words("evidence", "show", model, 2, "--env", "dev")
    assert said.code == 0
    assert f"{model} 2 (models), checked in #{number}; compared with version 1 ({first.digest[7:19]}); " in said.out
    assert f"✓ smoke: {model} 2 for dev" in said.out and "✓ every byte: " in said.out
    document = world.promobot("evidence", "show", model, 2, "--env", "dev").document
    (evidence,) = document["evidence"]
    assert evidence["digest"] == second.digest
    assert [len(check["answers"]) for check in evidence["checks"] if check["check"] == "smoke"] == [9]
