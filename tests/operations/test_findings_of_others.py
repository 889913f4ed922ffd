"""What another tool found, demanded by a gate: from the job that writes it to the check that judges it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.errors import InvalidInput, Refused
from bot.training import log_findings
from tests.operations.world import HTTP, Registered, World

AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def ready(world: World, number: int) -> dict[str, str]:
    """Return what READY says of each thing that it looked at, failures with a cross."""
    said, _ = world.check(number, "ready")
    (result,) = said.document["results"]
    assert said.code == (0 if all(one["passed"] for one in result["findings"]) else 1)
    return {one["what"]: ("" if one["passed"] else "✗ ") + one["detail"] for one in result["findings"]}


def demanded(world: World, model: str, **findings: Any) -> None:
    gate = {"on_miss": "stop", "metrics": {"accuracy": {"minimum": 0.1}}, "findings": findings}
    world.configure("dev", gates={model: gate})


def written(world: World, registered: Registered, **changes: Any) -> None:
    values = {"passed": True, "summary": "0 of 30 columns drifted", "by": "evidently 0.7", **changes}
    log_findings(
        "drift", model=registered.model, version=registered.version, tracking_uri=world.endpoints.mlflow, **values
    )


def test_a_gate_demands_it_the_job_writes_it_and_the_digest_stays(world: World) -> None:
    model = world.model()
    first = world.register(model)
    number = world.proposed(first)["number"]
    demanded(world, model, drift={"max_age_hours": 24})
    found = ready(world, number)
    assert found["findings drift"].startswith("✗ there is no promobot.checks/drift.json, neither beside the package")
    assert found["file list"] == "3 files, as listed"

    written(world, first, passed=False)
    assert ready(world, number)["findings drift"].startswith("✗ it failed: 0 of 30 columns drifted (evidently 0.7, ")
    written(world, first, at=datetime.now(UTC) - timedelta(hours=30))
    assert "✗ it is 30 hours old, and the gate takes 24 at most; " in ready(world, number)["findings drift"]
    written(world, first, details_url="https://reports.example/7")
    found = ready(world, number)
    assert found["findings drift"].startswith("0 of 30 columns drifted (evidently 0.7, ")
    assert found["findings drift"].endswith(", https://reports.example/7)")
    assert found["every byte"] and found["digest"].startswith(first.digest)

    # Beside the package, as a job with rights on the artifacts writes it: no other bytes, no other digest.
    beside = first.artifacts / "promobot.checks" / "drift.json"
    beside.parent.mkdir()
    document = {
        "format": 1,
        "name": "drift",
        "digest": f"sha256:{'0' * 64}",
        "passed": True,
        "summary": "x",
        "by": "y",
    }
    beside.write_text(json.dumps({**document, "at": datetime.now(UTC).isoformat()}))
    found = ready(world, number)
    assert found["file list"] == "3 files, as listed"
    assert found["findings drift"].startswith("0 of 30 columns drifted"), "about other bytes: the run's counts"
    beside.write_text("{")
    assert (
        "✗ promobot.checks/drift.json beside the package of version 1 cannot be read: "
        in (ready(world, number)["findings drift"])
    )
    beside.write_text(" " * 70_000)
    assert "has more than 65536 bytes" in ready(world, number)["findings drift"]
    assert world.promobot("propose", model, 1, "--env", "dev").code == 0, "its package is whole"


@pytest.mark.slow
def test_what_was_verified_in_service_needs_none_and_a_gate_that_changed_holds_the_deployment(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.register(model, "better")
    number = int(world.proposed(second)["number"])
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    world.merge(number)
    demanded(world, model, drift={})
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1 and "findings drift: there is no promobot.checks/drift.json" in said.out
    written(world, second)
    assert world.deploy().code == 0
    assert world.promobot("rollback", model, "--env", "dev").code == 0
    (revert,) = world.reverts(model)
    assert "findings drift" not in ready(world, revert["number"]), "the way back is open"
    assert first.version == 1


def test_what_cannot_be_written_is_refused_with_its_key(world: World) -> None:
    model = world.model()
    first = world.register(model)
    for changes, key in (
        ({"summary": ""}, "summary: it needs at least 1 character"),
        ({"at": AT.replace(tzinfo=None)}, "at: it needs a time with its zone"),
        ({"details_url": "ftp://x"}, "details_url: it must match"),
    ):
        with pytest.raises(InvalidInput) as error:
            written(world, first, **changes)
        assert str(error.value).startswith(key)
    named = {"name": model, "source": f"runs:/{first.run}/elsewhere", "run_id": first.run}
    created = HTTP.post(f"{world.endpoints.mlflow}/api/2.0/mlflow/model-versions/create", json=named)
    version = int(created.raise_for_status().json()["model_version"]["version"])
    with pytest.raises(Refused, match=r"has no tag promobot\.digest in MLflow"):
        log_findings(
            "drift",
            model=model,
            version=version,
            passed=True,
            summary="x",
            by="y",
            tracking_uri=world.endpoints.mlflow,
        )
