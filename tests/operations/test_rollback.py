"""``promobot rollback`` and ``quarantine``: the way back, by pull request and at once, and what may go out again."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from unittest import mock

import pytest

from bot.errors import Unavailable
from bot.records.ledger import Ledger
from bot.share.routes import HeldRoutes
from tests.operations.world import Registered, World


def _two_versions(world: World) -> tuple[str, Registered, Registered]:
    model = world.model()
    return model, world.served(world.register(model)), world.served(world.register(model, "better"))


def test_the_revert_goes_to_the_last_verified_version_and_needs_no_gate(world: World) -> None:
    model, first, second = _two_versions(world)
    said = world.words("rollback", model, "--env", "dev", "--reason", "users complain", "--by", "sam")
    assert said.code == 0
    (revert,) = world.reverts(model)
    assert said.out == f"Merge this to go back to {model} 1 in dev: {revert['html_url']}\n"
    assert revert["title"] == f"Revert {model} 2 in dev: back to 1"
    body = revert["body"]
    name = model.replace("-", r"\-")
    was = f"goes back from version 2 to version 1 (`{first.digest[7:19]}`), which was verified here.**"
    assert f"\n\n↩️ **{name} in dev {was}" in body
    assert "Asked for by sam." in body and "**Why:** users complain" in body
    assert f"promobot quarantine lift {second.digest} --env dev" in body
    assert world.version(model) == 2, "nothing happens before the merge"

    world.configure("dev", gates={model: {"metrics": {"accuracy": {"minimum": 0.999}}}})
    assert [run.code for run in world.check(revert["number"])] == [0, 0, 0, 0]
    assert "skipped: these bytes were verified in service by dev-" in world.sticky(revert["number"]).replace("\\", "")
    world.merge(revert["number"])
    done = world.words("deploy", "--env", "dev")
    assert done.out.splitlines()[0] == f"{model} is back at version 1 in dev (from 2)."
    assert world.version(model) == 1
    assert world.quarantined(model) == [2]
    assert world.promotions().count(first.digest) == 1


@pytest.mark.extended
def test_asking_twice_opens_one_pull_request(world: World) -> None:
    model, _, _ = _two_versions(world)
    first = world.promobot("rollback", model, "--env", "dev", "--by", "sam").document
    again = world.promobot("rollback", model, "--env", "dev", "--by", "sam").document
    assert first["pull_request"] == again["pull_request"]
    assert len(world.reverts(model)) == 1


@pytest.mark.extended
def test_a_version_can_be_named(world: World) -> None:
    model, _, _ = _two_versions(world)
    world.served(world.register(model, "best"))
    said = world.promobot("rollback", model, "--env", "dev", "--to", 1)
    assert (said.code, said.document["after"]["version"]) == (0, 1)
    assert world.reverts(model)[0]["title"] == f"Revert {model} 3 in dev: back to 1"


def test_now_puts_the_runtime_back_before_the_merge_which_then_does_nothing(world: World) -> None:
    model, first, _ = _two_versions(world)
    said = world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers")
    assert said.code == 0
    assert world.version(model) == 1, "before anything is merged"
    assert said.out.splitlines()[0] == f"{model} is back at version 1 in dev (from 2)."
    (revert,) = world.reverts(model)
    assert said.out.splitlines()[-1] == f"Merge this, so that main says so: {revert['html_url']}"
    assert f"in dev is at version 1 (`{first.digest[7:19]}`), which was verified here; main asks for version 2." in (
        revert["body"].replace("\\", "")
    )
    assert world.quarantined(model) == [2]

    held = world.words("deploy", "--env", "dev")
    assert held.code == 1
    assert (
        f"held: {model} 1 → 2 in dev, version 1 goes on answering: its digest is in quarantine here since"
    ) in held.out
    again = world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers")
    assert again.out.splitlines()[0] == f"{model} 1 answers in dev already: nothing to do.", "main does not say so"
    assert world.version(model) == 1, "a deployment in between does not bring it back"
    assert f"    → merge #{revert['number']}, the revert of {model}\n" in world.words("status", "--env", "dev").out
    records = len(world.records(model))
    world.merge(revert["number"])
    done = world.words("deploy", "--env", "dev")
    assert (done.code, "nothing to do" in done.out) == (0, True)
    assert len(world.records(model)) == records
    said = world.pull(revert["number"])["body"].splitlines()[1]
    assert f"{model} 1 answered in dev already when this was merged at " in said.replace("\\", ""), (
        "and no more: merge it"
    )


@pytest.mark.extended
@pytest.mark.parametrize("where", ["before the switch", "before the record"])
def test_now_that_was_cut_off_is_gone_on_with_and_not_undone(world: World, where: str) -> None:
    model, _, _ = _two_versions(world)
    of, step = (HeldRoutes, "write") if where == "before the switch" else (Ledger, "add_deployment")
    with mock.patch.object(of, step, side_effect=KeyboardInterrupt):
        assert world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers").code == 130
    assert world.version(model) == (2 if where == "before the switch" else 1)
    done = world.words("deploy", "--env", "dev")
    assert (done.code, world.version(model), world.alias(model, "dev")) == (1, 1, 1)
    assert (f"held: {model} 1 → 2 in dev, version 1 goes on answering: its digest is in quarantine") in done.out, (
        "main still asks for it"
    )
    assert "rolled back to 1: wrong answers" in done.out
    assert (record := world.records(model)[-1]).before and record.after
    assert (record.before.version, record.after.version) == (2, 1)
    world.merge(world.reverts(model)[0]["number"])
    assert (world.deploy().code, world.version(model)) == (0, 1)


@pytest.mark.extended
def test_now_puts_users_back_also_where_nothing_can_go_into_quarantine(world: World) -> None:
    model, _, _ = _two_versions(world)
    with mock.patch.object(Ledger, "put_in_quarantine", side_effect=Unavailable("full", system="record store")):
        said = world.words("rollback", model, "--env", "dev", "--now")
    assert (said.code, world.version(model), world.alias(model, "dev")) == (1, 1, 1)
    assert "full" in said.err
    done = world.words("deploy", "--env", "dev")
    assert (
        done.code == 1
        and (f"held: {model} 1 → 2 in dev, version 1 goes on answering: its digest is in quarantine") in done.out
    )
    assert (world.version(model), world.alias(model, "dev")) == (1, 1), "the note held it, though main asks for 2"
    assert world.quarantined(model) == [2]
    world.merge(world.reverts(model)[0]["number"])
    assert (world.deploy().code, world.version(model)) == (0, 1)


@pytest.mark.extended
def test_now_moves_nothing_but_its_own_model(world: World) -> None:
    model, _, _ = _two_versions(world)
    other = world.model()
    world.desire(other, world.register(other).entry)
    said = world.words("rollback", model, "--env", "dev", "--now")
    assert said.code == 0, said
    assert other not in said.out
    assert (world.version(model), world.version(other)) == (1, None)


@pytest.mark.slow
def test_now_works_while_mlflow_is_away(world: World) -> None:
    model, _, _ = _two_versions(world)
    world.kill("mlflow")
    said = world.words("rollback", model, "--env", "dev", "--now")
    assert world.version(model) == 1
    assert said.code == 0, said


def _break_settings(world: World, model: str) -> str:
    """Give the environment file mistakes that no way back needs; return the first of them."""
    gate = {"on_miss": "reject", "metrics": {"accuracy": {"minimum": 0}}}
    world.configure("dev", gates={model: gate}, freeze="Christmas", freezes="Christmas", keep={"versions": 0})
    return f"gates.{model}.on_miss: it must be 'shadow' or 'stop', not 'reject'"


@pytest.mark.slow
def test_now_goes_on_where_unrelated_settings_are_broken_and_names_them(world: World) -> None:
    model, _, _ = _two_versions(world)
    mistake = _break_settings(world, model)
    assert world.words("quarantine", "list", "--env", "dev").code == 1, "whatever is not a way back stops"
    said = world.words("rollback", model, "--env", "dev", "--now", "--request", f"incident-{model}")
    assert (said.code, world.version(model)) == (0, 1), said
    assert len(world.reverts(model)) == 1
    assert said.out.count("Fix the settings: manifests/environments/dev.yaml:") == 4 and mistake in said.out


@pytest.mark.extended
def test_a_deployment_goes_back_and_nowhere_else_while_settings_are_broken(world: World) -> None:
    model, first, _ = _two_versions(world)
    other = world.model()
    new = world.register(other)
    world.evidence(new)
    mistake = _break_settings(world, model)
    world.desire(other, new.entry)
    world.desire(model, first.entry)
    said = world.words("deploy", "--env", "dev")
    assert (said.code, world.version(model), world.version(other)) == (1, 1, None), said
    assert (
        f"held: {other} 1 in dev, nothing answers: nothing new goes out while its settings have a mistake"
    ) in said.out
    assert "problem: manifests/environments/dev.yaml:" in said.out and mistake in said.out
    assert "nothing is cleaned up while the settings have a mistake" in said.err


@pytest.mark.extended
def test_a_needed_part_that_is_broken_stops_it_and_says_how_to_take_the_last_right_file(world: World) -> None:
    model, _, _ = _two_versions(world)
    world.configure("dev", gateways=[])
    said = world.words("rollback", model, "--env", "dev", "--now")
    assert (said.code, world.version(model)) == (1, 2)
    assert "gateways: " in said.err and "git worktree add ../before COMMIT" in said.err


def test_nothing_to_go_back_to_is_refused_with_what_there_is(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    said = world.words("rollback", model, "--env", "dev")
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        f"promobot: there is no verified record of an earlier version of {model} in dev to go back to\n"
        "  Nothing was changed.\n"
        "  → Verified here, newest first: 1. In quarantine: none. Where nothing was in service before, "
        f"`promobot retire {model} --env dev --reason '…'` takes it out.\n"
    )
    said = world.words("rollback", model, "--env", "dev", "--to", 7)
    assert f"there is no verified record of version 7 of {model} in dev to go back to" in said.err
    said = world.words("rollback", model, "--env", "dev", "--to", 1)
    assert said.err.startswith(f"promobot: main asks for {model} 1 in dev already\n"), (
        "it is verified, and in service"
    )
    said = world.words("rollback", f"{model}x", "--env", "dev")
    assert said.err.endswith(f"  → Did you mean {model}? `promobot status --env dev` shows what is in service.\n"), (
        "and nothing that is only so of the right name"
    )
    assert world.reverts(model) == []


@pytest.mark.slow
def test_bytes_that_are_gone_are_refused(world: World) -> None:
    model, first, _ = _two_versions(world)
    published = world.endpoints.model_repository("dev") / model / "1"
    published.chmod(0o755)
    shutil.rmtree(published)
    assert world.promobot("rollback", model, "--env", "dev").code == 0, "MLflow has them still"
    shutil.rmtree(first.artifacts)
    said = world.words("rollback", model, "--env", "dev", "--now")
    assert said.code == 1
    assert (
        f"promobot: the bytes of {model} 1 ({first.digest}) are no longer on the share or in MLflow\n"
        "  Nothing was changed.\n"
        "  → Name another version with --to; `promobot history` lists those that were verified." in said.err
    )
    assert world.version(model) == 2


@pytest.mark.slow
def test_a_plain_git_revert_is_a_way_back_too(world: World) -> None:
    model, _, _ = _two_versions(world)
    world.promotions()
    world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    world.git("revert", "--no-edit", "HEAD")
    world.git("push", "--quiet", "origin", "HEAD:main")
    assert world.deploy().code == 0
    assert world.version(model) == 1
    assert world.quarantined(model) == [2]


@pytest.mark.slow
def test_what_was_rolled_back_goes_out_again_once_it_is_lifted(world: World) -> None:
    model, _, second = _two_versions(world)
    assert world.promobot("rollback", model, "--env", "dev", "--now").code == 0
    world.merge(world.reverts(model)[0]["number"])

    listed = world.words("quarantine", "list", "--env", "dev")
    row = next(line for line in listed.out.splitlines() if line.startswith(f"{model} "))
    assert row.split()[1:3] == ["2", second.digest[7:19]] and row.endswith("rolled back to 1")
    assert world.promobot("propose", model, 2, "--env", "dev").document["action"] == "stopped"

    said = world.words("quarantine", "lift", second.digest[7:19], "--env", "dev", "--reason", "was the network")
    assert said.code == 0
    assert said.out.splitlines()[0].startswith(f"{model} 2 may be proposed to dev again. ")
    proposed = world.promobot("propose", model, 2, "--env", "dev")
    assert proposed.document["action"] == "opened"
    world.merge(proposed.document["pull_request"])
    assert world.deploy().code == 0
    assert world.version(model) == 2
    assert world.quarantined(model) == [], "a second try says nothing against the version before"


@pytest.mark.slow
def test_a_revert_of_the_revert_is_held_until_somebody_lifts_and_then_needs_no_new_checks(world: World) -> None:
    model, _, second = _two_versions(world)
    world.revert_head()
    assert world.deploy().code == 0
    assert (world.version(model), world.quarantined(model)) == (1, [2])
    world.revert_head()
    held = world.words("deploy", "--env", "dev")
    assert (
        held.code == 1
        and (f"held: {model} 1 → 2 in dev, version 1 goes on answering: its digest is in quarantine here since ")
        in held.out
    )
    assert [revert["title"] for revert in world.reverts(model)] == [f"Revert {model} 2 in dev: back to 1"]

    lift = ("quarantine", "lift", second.digest, "--env", "dev")
    said = world.words(*lift)
    assert said.code == 1 and said.err.startswith("promobot: --reason: say why")
    assert world.quarantined(model) == [2]
    assert world.words(*lift, "--reason", "the data was wrong", "--by", "sam").code == 0
    world.evidence(second, expires=datetime(2026, 1, 2, tzinfo=UTC))
    assert world.deploy().code == 0, "verified in service before: evidence that expired meanwhile is not asked for"
    assert (world.version(model), world.quarantined(model)) == (2, [])


@pytest.mark.extended
def test_the_same_bytes_under_another_number_are_in_quarantine_too(world: World) -> None:
    model, _, second = _two_versions(world)
    assert world.promobot("rollback", model, "--env", "dev", "--now").code == 0
    world.merge(world.reverts(model)[0]["number"])
    again = world.register(model, "better")
    assert (again.version, again.digest) == (3, second.digest)
    said = world.words("propose", model, 3, "--env", "dev")
    assert (said.code, said.out) == (
        1,
        f"{model} 3 is not proposed to dev because its digest is in quarantine in dev: rolled back to 1; "
        f"`promobot quarantine lift {second.digest[7:19]} --env dev --reason '…'` allows it again.\n",
    )
    for section in ("models", "shadow"):
        world.evidence(again, section=section)
        world.desire(model, again.entry, section=section)
    held = world.words("deploy", "--env", "dev")
    assert held.code == 1
    assert (
        f"held: {model} 1 → 3 in dev, version 1 goes on answering: its digest is in quarantine here since "
    ) in held.out
    assert (
        f"held: {model} 3 in dev (shadow), no user is affected: its digest is in quarantine here since "
    ) in held.out
    assert world.version(model) == 1


@pytest.mark.extended
def test_a_shadow_that_was_promoted_and_rolled_back_is_in_quarantine(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.served(world.register(model, "better"), section="shadow")
    world.evidence(second)
    world.commit(world.edited(model, None, section="shadow"))
    world.desire(model, second.entry)
    assert world.deploy().code == 0
    assert world.version(model) == 2 and world.quarantined(model) == []
    world.desire(model, first.entry)
    assert world.deploy().code == 0
    assert (world.version(model), world.quarantined(model)) == (1, [2])


@pytest.mark.slow
def test_a_digest_that_is_in_quarantine_and_in_service_is_said_to_be(world: World) -> None:
    model, _, second = _two_versions(world)
    world.ledger().put_in_quarantine(second.release(), reason="complaints", by="sam")
    head, _, *rows = world.words("quarantine", "list", "--env", "dev").out.splitlines()
    assert head.split("  ")[-2:] == ["in service", "reason"] or "in service" in head
    (row,) = [row for row in rows if row.startswith(f"{model} ")]
    assert row.endswith("sam                yes         complaints") or row.split()[-2:] == ["yes", "complaints"]
    assert world.promobot("quarantine", "list", "--env", "dev").document["in_service"] == [second.digest]


def test_lifting_what_is_not_there_is_refused(world: World) -> None:
    said = world.words("quarantine", "lift", "sha256:feed", "--env", "dev")
    assert said.code == 1
    assert said.err == (
        "promobot: nothing in quarantine begins with 'sha256:feed' in dev\n"
        "  Nothing was changed.\n"
        "  → `promobot quarantine list --env dev` lists them.\n"
    )


@pytest.mark.slow
def test_a_request_is_done_once(world: World) -> None:
    model, _, _ = _two_versions(world)
    where = ("rollback", model, "--env", "dev", "--now", "--request", "incident-7")
    done = world.words(*where)
    assert done.code == 0, done
    assert world.version(model) == 1
    (revert,) = world.reverts(model)
    world.merge(revert["number"])
    assert world.deploy().code == 0
    best = world.served(world.register(model, "best"))
    assert world.version(model) == best.version

    again = world.words(*where)
    assert again.code == 0
    assert again.out.startswith(done.out.strip())
    assert "The request incident-7 was done at " in again.out
    assert world.version(model) == best.version, "what came after it stays"
    assert world.reverts(model) == []

    other = world.words("rollback", model, "--env", "dev", "--to", 1, "--request", "incident-7")
    assert other.code == 1
    assert f"the request incident-7 was for something else: rollback {model} now" in other.err
    assert world.words(*where[:-1], "../x").code == 2


@pytest.mark.extended
def test_a_request_that_was_cut_off_goes_on_to_what_it_chose(world: World) -> None:
    model, first, _ = _two_versions(world)
    best = world.served(world.register(model, "best"))
    where = ("rollback", model, "--env", "dev", "--request", "cut-off")
    world.ledger().decide_way_back("cut-off", first.entry)
    said = world.promobot(*where)
    assert (said.code, said.document["after"]["version"]) == (0, 1), "not 2, which it would choose now"
    assert world.version(model) == best.version


def test_a_request_that_failed_may_be_asked_again(world: World) -> None:
    model = world.model()
    where = ("propose", model, 1, "--env", "dev", "--request", f"nightly.{model}")
    assert world.words(*where).code == 1, "it is not registered yet"
    world.register(model)
    assert world.words(*where).code == 0
    assert "nothing was done now" in world.words(*where).out
    assert len(world.open_pulls(f"promobot/dev/{model}")) == 1
