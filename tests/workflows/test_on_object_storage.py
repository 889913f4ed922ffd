"""A release and the way back by the workflows, with records and MLflow's artifacts on object storage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.domain.marker import MARKER_FILE
from bot.sandbox.platform import Endpoints, Sandbox, Shape
from bot.sandbox.reference import register_recipe
from bot.sandbox.seed import MODEL, seed
from tests.workflows.person import Person, wait_for

GREEN = dict.fromkeys(("READY", "Triton", "Smoke", "Behaviour", "Verdict"), "success")


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    directory = tmp_path_factory.mktemp("sandbox") / "platform"
    sandbox = Sandbox.up(directory, progress=print, seed=seed, shape=Shape(s3=True))
    yield sandbox.endpoints
    Sandbox.down(directory)


def in_the_bucket(endpoints: Endpoints, prefix: str) -> dict[str, Any]:
    """Return all JSON objects below a prefix by key, read by a client that knows nothing of the bot."""
    storage = endpoints.s3
    assert storage is not None
    client = storage.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=storage.bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return {
        key: json.loads(client.get_object(Bucket=storage.bucket, Key=key)["Body"].read())
        for key in keys
        if key.endswith(".json")
    }


@pytest.mark.long
@pytest.mark.timeout(540)  # five runs of workflows, and a sandbox to start: minutes, where the machine has other work
def test_a_release_and_the_way_back_are_recorded_in_the_bucket(endpoints: Endpoints) -> None:
    alex = Person(endpoints)
    for recipe in ("first", "better"):
        version = register_recipe(recipe, endpoints.mlflow, MODEL).version
        run = alex.dispatch("dispatch.yml", verb="propose", model=MODEL, environment="dev", version=str(version))
        assert run["conclusion"] == "success", alex.log(run)
        pull = alex.open_pulls()[0]
        head = pull["head"]["sha"]
        wait_for(lambda head=head: alex.checks(head) == GREEN, "green checks", seconds=180)  # type: ignore[misc]
        run = alex.next_run("deploy.yml", lambda pull=pull: alex.merge(pull))  # type: ignore[misc]
        assert run["conclusion"] == "success", alex.log(run)
        assert alex.served(MODEL) == {str(version)}
    run = alex.dispatch("dispatch.yml", verb="rollback", model=MODEL, environment="dev", now="true", reason="a test")
    assert run["conclusion"] == "success", alex.log(run)
    assert alex.served(MODEL) == {"1"}

    records = in_the_bucket(endpoints, "dev/promobot/deployments/dev/")
    found = [(r["before"] and r["before"]["version"], r["after"]["version"], r["outcome"]) for r in records.values()]
    assert found == [(None, 1, "succeeded"), (1, 2, "succeeded"), (2, 1, "succeeded")]
    for record in records.values():
        assert len(record["criteria"]) == 6 and all(criterion["holds"] for criterion in record["criteria"])
    evidence = in_the_bucket(endpoints, f"dev/promobot/evidence/dev/{MODEL}/")
    assert sorted(one["version"] for one in evidence.values()) == [1, 2]
    quarantined = in_the_bucket(endpoints, "dev/promobot/quarantine/dev/")
    assert [(one["version"], one["lifted"]) for one in quarantined.values()] == [(2, False)]
    assert len(in_the_bucket(endpoints, "mlflow/")) >= 2, "the packages of both versions"
    there = [path.relative_to(endpoints.records).as_posix() for path in endpoints.records.rglob("*.json")]
    assert set(there) <= {f"slack/{MARKER_FILE}"}, (
        "nothing of it is in a directory; only Slack's inbox may begin there"
    )
    assert Path(endpoints.directory / "mlflow" / "artifacts").exists()
    assert list((endpoints.directory / "mlflow" / "artifacts").iterdir()) == []
