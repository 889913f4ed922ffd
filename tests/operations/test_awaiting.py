"""What whoever waits is told: of a version that is not READY yet, and of what became of a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bot import environment_files
from bot.domain.desired import Section
from bot.domain.evidence import LIFETIME, Evidence
from bot.domain.record import CRITERIA, Criterion, Outcome, Rollout
from bot.errors import Refused, Rejected
from bot.operations.awaiting import Awaited, Ended, NotYet, Ready, look_for_end, look_for_ready
from bot.platform import Platform
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from tests.domain.entries import a_record
from tests.operations.world import Registered, World


def ready(world: World, registered: Registered) -> Ready | NotYet:
    with Platform(environment_files.load(world.root, "dev")) as platform:
        return look_for_ready(platform.registry, model=registered.model, version=registered.version)


def end(world: World, registered: Registered, **awaited: Any) -> Ended | NotYet:
    waited = Awaited(registered.model, registered.version, registered.digest, **{"run": registered.run, **awaited})
    with Platform(environment_files.load(world.root, "dev"), world.endpoints.variables()) as platform:
        return look_for_end(platform, waited)


@pytest.fixture(autouse=True)
def _records_of_their_own(world: World, tmp_path: Path) -> None:
    """Records that no deployment wrote must not stay for the tests that deploy."""
    RecordStore(tmp_path / "records").begin()
    world.configure("dev", records=str(tmp_path / "records"))


def ledger(world: World) -> Ledger:
    return Platform(environment_files.load(world.root, "dev")).ledger


def newest(world: World) -> str:
    return ledger(world).newest_deployment()


_turns = count(1)


def deployed(
    world: World,
    registered: Registered,
    outcome: Outcome,
    *,
    problem: str = "",
    section: Section = "models",
    rollout: Rollout | None = None,
) -> str:
    """Write the record of a deployment, as one does that is over."""
    now = datetime.now(UTC)
    record = a_record(
        registered.entry,
        number=next(_turns),
        at=now,
        model=registered.model,
        section=section,
        outcome=outcome,
        criteria=tuple(Criterion(name=name, holds=True, at=now, proof="seen") for name in CRITERIA),
        problem=problem,
        rollout=rollout,
    )
    ledger(world).add_deployment(record)
    return record.id


def red_evidence(registered: Registered, head: str) -> Evidence:
    now = datetime.now(UTC)
    return Evidence(
        environment="dev",
        section="models",
        model=registered.model,
        version=registered.version,
        digest=registered.digest,
        run=registered.run,
        pull_request=1,
        base="0" * 40,
        head=head,
        at=now,
        expires=now + LIFETIME,
        checks=(),
        problems=("the job smoke was cancelled",),
    )


# --- READY ---------------------------------------------------------------------------------------------------------


def test_a_version_is_ready_when_mlflow_says_so_and_every_file_is_there(world: World) -> None:
    registered = world.register(world.model())
    assert ready(world, registered) == Ready(registered.model, registered.version, registered.digest, registered.run)
    world.set_status(registered, "PENDING_REGISTRATION")
    assert ready(world, registered) == NotYet(f"{registered.model} {registered.version} is PENDING_REGISTRATION")


def test_a_registration_that_failed_ends_the_wait(world: World) -> None:
    registered = world.register(world.model())
    world.set_status(registered, "FAILED_REGISTRATION", "no space left")
    with pytest.raises(Refused, match="no space left"):
        ready(world, registered)


def test_ready_without_its_files_is_not_ready(world: World) -> None:
    registered = world.register(world.model())
    (registered.artifacts / "model.onnx").unlink()
    with pytest.raises(Rejected, match="not whole; missing: model"):
        ready(world, registered)


def test_a_version_that_does_not_exist_ends_the_wait(world: World) -> None:
    registered = world.register(world.model())
    registry = Platform(environment_files.load(world.root, "dev")).registry
    with pytest.raises(Rejected):
        look_for_ready(registry, model=registered.model, version=99)


# --- the end of a proposal -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "next_step"),
    [
        ("succeeded", ""),
        ("put back", "promobot rollback"),
        pytest.param("unconfirmed", "promobot deploy --env dev", marks=pytest.mark.slow),
        pytest.param("incomplete", "promobot deploy --env dev", marks=pytest.mark.slow),
        pytest.param("failed", "promobot rollback", marks=pytest.mark.slow),
    ],
)
def test_it_ends_as_its_deployment_did(world: World, outcome: Outcome, next_step: str) -> None:
    registered = world.register(world.model())
    before = newest(world)
    pull = world.proposed(registered)
    waiting = {"pull_request": pull["number"], "newest_record": before}
    found = end(world, registered, **waiting)
    assert isinstance(found, NotYet)
    assert f"#{pull['number']} is open" in found.said

    record = deployed(world, registered, outcome, problem="" if outcome == "succeeded" else "a gateway said 401")
    found = end(world, registered, **waiting)
    assert isinstance(found, Ended)
    assert (found.outcome, found.record) == (outcome, record)
    assert next_step in found.next_step
    assert bool(found.next_step) == (outcome != "succeeded")
    assert ("a gateway said 401" in found.said) == (outcome != "succeeded")


@pytest.mark.slow
def test_an_older_record_of_the_same_version_is_none_of_this_proposal(world: World) -> None:
    registered = world.register(world.model())
    deployed(world, registered, "failed")
    pull = world.proposed(registered)
    assert isinstance(end(world, registered, pull_request=pull["number"], newest_record=newest(world)), NotYet)


@pytest.mark.slow
def test_a_pull_request_that_was_closed_is_refused(world: World) -> None:
    registered = world.register(world.model())
    pull = world.proposed(registered)
    world.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
    found = end(world, registered, pull_request=pull["number"], newest_record=newest(world))
    assert isinstance(found, Ended)
    assert (found.outcome, found.record) == ("refused", "")
    assert "closed without being merged" in found.said


@pytest.mark.slow
def test_one_that_was_merged_waits_for_its_record(world: World) -> None:
    registered = world.register(world.model())
    pull = world.proposed(registered)
    world.merge(pull["number"])
    found = end(world, registered, pull_request=pull["number"], newest_record=newest(world))
    assert isinstance(found, NotYet)
    assert "no record of a deployment yet" in found.said


def test_one_that_was_merged_with_red_checks_is_refused(world: World) -> None:
    registered = world.register(world.model())
    pull = world.proposed(registered)
    ledger(world).add_evidence(red_evidence(registered, pull["head"]["sha"]))
    world.merge(pull["number"])
    found = end(world, registered, pull_request=pull["number"], newest_record=newest(world))
    assert isinstance(found, Ended)
    assert found.outcome == "refused"
    assert f"promobot recheck {registered.model} --env dev" in found.next_step


@pytest.mark.slow
def test_one_in_quarantine_is_refused(world: World) -> None:
    registered = world.register(world.model())
    pull = world.proposed(registered)
    world.merge(pull["number"])
    ledger(world).put_in_quarantine(registered.release(), reason="it lied", by="sam")
    found = end(world, registered, pull_request=pull["number"], newest_record=newest(world))
    assert isinstance(found, Ended)
    assert found.outcome == "refused"
    assert "it lied" in found.said
    assert "quarantine lift" in found.next_step


@pytest.mark.slow
def test_one_that_another_version_took_over_is_refused(world: World) -> None:
    model = world.model()
    older = world.register(model)
    waiting: Mapping[str, Any] = {"pull_request": world.proposed(older)["number"], "newest_record": newest(world)}
    newer = world.register(model, "better")
    assert world.proposed(newer)["number"] == waiting["pull_request"]
    world.merge(waiting["pull_request"])
    record = deployed(world, newer, "succeeded")
    found = end(world, older, **waiting)
    assert isinstance(found, Ended)
    assert (found.outcome, found.record) == ("refused", record)
    assert f"version {newer.version} was asked for instead" in found.said


def test_one_that_is_rolling_out_is_waited_for_until_all_users_have_it_or_it_is_rolled_back(world: World) -> None:
    model = world.model()
    first, second = world.register(model), world.register(model, "better")
    deployed(world, first, "succeeded")
    asked = {"newest_record": newest(world), "pull_request": 1}
    deployed(world, second, "rolling out")
    assert end(world, second, **asked) == NotYet(f"{model} 2 answers some of requests in dev.")
    step = Rollout(id="dev-00000001", percent=50, step=2, steps=(10, 50, 100), began_at=datetime.now(UTC))
    deployed(world, second, "failed", problem="a Triton was away", rollout=step)
    assert isinstance(end(world, second, **asked), NotYet), "the step is tried again, and the canary answers on"
    back = deployed(world, first, "succeeded")
    found = end(world, second, **asked)
    assert isinstance(found, Ended) and (found.outcome, found.record) == ("refused", back)
    assert found.said == (
        f"{model} 2 answered some users in dev, and its rollout ended: version 1 is in service since ({back})"
    )
    deployed(world, second, "rolling out")
    assert isinstance(end(world, second, **asked), NotYet)
    done = deployed(world, second, "succeeded")
    assert end(world, second, **asked) == Ended("succeeded", f"{model} 2 is served in dev.", "", done)


def test_what_main_asks_for_already_ends_as_its_newest_record(world: World) -> None:
    model = world.model()
    registered, other = world.register(model), world.register(model, "better")
    record = deployed(world, registered, "succeeded")
    found = end(world, registered)
    assert isinstance(found, Ended)
    assert (found.outcome, found.record) == ("succeeded", record)
    deployed(world, other, "succeeded")  # replaced since, and asked for again
    assert isinstance(end(world, registered), NotYet)
    again = deployed(world, registered, "succeeded")
    found = end(world, registered)
    assert isinstance(found, Ended)
    assert found.record == again


@pytest.mark.slow
def test_who_listens_and_who_answers_are_two_things(world: World) -> None:
    registered = world.register(world.model())
    pull = world.proposed(registered)
    record = deployed(world, registered, "succeeded", section="shadow")
    assert isinstance(end(world, registered, pull_request=pull["number"]), NotYet)
    found = end(world, registered, pull_request=pull["number"], section="shadow")
    assert isinstance(found, Ended)
    assert found.record == record


@pytest.mark.slow
def test_another_models_record_says_nothing(world: World) -> None:
    registered, other = world.register(world.model()), world.register(world.model())
    pull = world.proposed(registered)
    deployed(world, other, "succeeded")
    assert isinstance(end(world, registered, pull_request=pull["number"]), NotYet)
