"""The workflow files that people start by hand, run unmodified by act in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.sandbox.platform import Endpoints, Sandbox
from bot.sandbox.reference import register_recipe
from bot.sandbox.seed import MODEL, seed
from tests.workflows.person import Person


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    directory = tmp_path_factory.mktemp("sandbox") / "platform"
    sandbox = Sandbox.up(directory, progress=print, seed=seed)
    yield sandbox.endpoints
    Sandbox.down(directory)


@pytest.fixture(scope="module")
def forge_folder(endpoints: Endpoints) -> Path:
    return endpoints.directory / "forge"


@pytest.mark.slow
@pytest.mark.runs("dispatch.yml workflow_dispatch")
def test_a_person_proposes_by_hand(endpoints: Endpoints) -> None:
    alex = Person(endpoints)
    version = register_recipe("first", endpoints.mlflow, MODEL).version
    run = alex.dispatch("dispatch.yml", verb="propose", model=MODEL, environment="dev", version=str(version))
    assert run["conclusion"] == "success", alex.log(run)
    assert [pull["title"] for pull in alex.open_pulls()] == [f"Promote {MODEL} to {version} in dev"]
    assert alex.open_pulls()[0]["user"]["login"] == "promobot[bot]"


@pytest.mark.slow
def test_a_rollback_without_anything_to_go_back_to_is_red_and_says_why(endpoints: Endpoints) -> None:
    alex = Person(endpoints)
    run = alex.dispatch("dispatch.yml", verb="rollback", model=MODEL, environment="prod", now="true", reason="x")
    assert run["conclusion"] == "failure"
    said = f"there is no verified record of an earlier version of {MODEL} in prod to go back to"
    (job,) = alex.jobs(run)
    (note,) = alex.ask("GET", f"/check-runs/{job['id']}/annotations")
    assert (note["annotation_level"], note["message"].splitlines()[0]) == ("failure", said)
    page = httpx.get(run["html_url"]).text
    assert page.index("Dispatch summary") < page.index("❌ <strong>there is no verified record"), (
        "the verdict is first"
    )
    assert alex.log(run).count(said) == 1, "said once"


@pytest.mark.slow
def test_checking_again_what_main_does_not_ask_for_is_red_and_says_why(endpoints: Endpoints) -> None:
    alex = Person(endpoints)
    run = alex.dispatch("dispatch.yml", verb="recheck", model=MODEL, environment="prod")
    assert run["conclusion"] == "failure"
    assert f"main asks for no version of {MODEL} in prod" in alex.log(run)


@pytest.mark.slow
@pytest.mark.parametrize("hostile", ["$(touch CANARY)`touch CANARY`; touch CANARY", "' && touch CANARY #"])
def test_inputs_are_arguments_and_never_code(endpoints: Endpoints, hostile: str) -> None:
    alex = Person(endpoints)
    canary = endpoints.directory / "canary"
    hostile = hostile.replace("CANARY", str(canary))
    run = alex.dispatch(
        "dispatch.yml", verb="rollback", model=MODEL, environment="dev", reason=hostile, version=hostile
    )
    assert run["conclusion"] == "failure"
    assert "is not a valid version" in alex.log(run)
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.runs("drift.yml workflow_dispatch", "watch.yml workflow_dispatch")
def test_drift_is_green_while_nothing_differs_and_red_when_something_does(endpoints: Endpoints) -> None:
    alex = Person(endpoints)
    run = alex.dispatch("drift.yml")
    assert run["conclusion"] == "success", alex.log(run)
    assert "Everything is as main says." in alex.log(run)
    run = alex.dispatch("watch.yml")
    assert run["conclusion"] == "success" and "nothing is being rolled out" in alex.log(run), alex.log(run)

    routes = endpoints.state("dev") / "routes.json"
    _write_routes(
        routes, 7, {"ghost": {"live": {"triton_model": "ghost", "version": 1, "digest": f"sha256:{7:064x}"}}}
    )
    run = alex.dispatch("drift.yml")
    assert run["conclusion"] == "failure"
    assert "gateway-dev-1 serves generation 0, not 7" in alex.log(run)

    # A gateway follows by itself only what it can serve: these routes it takes.
    _write_routes(routes, 8, {})
    run = alex.dispatch("dispatch.yml", verb="reconcile", environment="dev")
    assert run["conclusion"] == "success", alex.log(run)
    assert alex.dispatch("drift.yml")["conclusion"] == "success"


def _write_routes(path: Path, generation: int, models: dict[str, Any]) -> None:
    path.write_text(json.dumps({"format": 1, "environment": "dev", "generation": generation, "models": models}))
