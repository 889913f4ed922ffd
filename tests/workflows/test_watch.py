"""``watch.yml`` as it is, by act, where something is rolled out: it makes the next step, and puts back what fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from bot.sandbox.platform import Endpoints, Sandbox
from bot.sandbox.reference import LARGEST, RECIPES, register_recipe, train
from bot.sandbox.seed import MODEL, seed
from tests.workflows.apart import git
from tests.workflows.person import Person

ENVIRONMENT = "manifests/environments/dev.yaml"
BAKE = {"minutes": 0.001, "min_requests": 20, "max_p95_worse": 1000}
"""A moment stands for half an hour. Of a request of a millisecond a busy machine makes any number."""


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    directory = tmp_path_factory.mktemp("sandbox") / "platform"
    sandbox = Sandbox.up(directory, progress=print, seed=seed)
    yield sandbox.endpoints
    Sandbox.down(directory)


@pytest.fixture(scope="module")
def forge_folder(endpoints: Endpoints) -> Path:
    return endpoints.directory / "forge"


def users_ask(endpoints: Endpoints, *, large: bool = False) -> set[int]:
    """Ask each gateway 60 times, as other users; ``large``: half of them with a tumour larger than any in training.

    Return the status codes.
    """
    row = train(RECIPES["first"]).samples[:1]
    codes = set()
    for gateway in endpoints.gateway["dev"]:
        with httpx.Client(trust_env=False, timeout=30) as client:
            for number in range(60):
                asked = np.array(row)
                asked[0, 0] = LARGEST + 5 if large and number % 2 else asked[0, 0]
                given = {"name": "X", "shape": [1, 30], "datatype": "FP32", "data": asked.ravel().tolist()}
                url, user = f"{gateway.url}/v2/models/{MODEL}/infer", {"x-user-id": f"patient-{number}"}
                codes.add(client.post(url, json={"inputs": [given]}, headers=user).status_code)
    return codes


def released(alex: Person, recipe: str) -> int:
    """Train, propose by the workflow, see the checks, and merge; return the version once its deployment is over."""
    version = register_recipe(recipe, alex.endpoints.mlflow, MODEL).version
    run = alex.dispatch("dispatch.yml", verb="propose", model=MODEL, environment="dev", version=str(version))
    assert run["conclusion"] == "success", alex.log(run)
    (pull,) = [one for one in alex.open_pulls() if one["head"]["ref"] == f"promobot/dev/{MODEL}"]
    (checks,) = [one for one in alex.runs("checks.yml") if one["head_sha"] == pull["head"]["sha"]]
    assert alex.completed(checks)["conclusion"] == "success", alex.log(checks)
    run = alex.next_run("deploy.yml", lambda: alex.merge(pull))
    assert run["conclusion"] == "success", alex.log(run)
    return version


def routed(endpoints: Endpoints) -> list[tuple[Any, ...]]:
    """Return on each gateway the live version, and the canary with its percent."""
    routes = [httpx.get(f"{gateway.url}/routes").json()["models"][MODEL] for gateway in endpoints.gateway["dev"]]
    canaries = [(one.get("canary") or {}) for one in routes]
    return [
        (one["live"]["version"], canary.get("version"), canary.get("percent"))
        for one, canary in zip(routes, canaries, strict=True)
    ]


@pytest.mark.long
@pytest.mark.timeout(540)
@pytest.mark.runs("watch.yml workflow_dispatch", "watch.yml schedule")
def test_it_makes_the_next_step_of_a_rollout_and_puts_back_a_version_that_fails(
    endpoints: Endpoints, forge_folder: Path, tmp_path: Path
) -> None:
    alex = Person(endpoints)
    clone = alex.clone(tmp_path / "clone")
    settings = yaml.safe_load((clone / ENVIRONMENT).read_text())
    settings["rollout"] = {MODEL: {"steps": [40, 60, 100], "key": "x-user-id", "bake": BAKE}}
    (clone / ENVIRONMENT).write_text(yaml.safe_dump(settings, sort_keys=False))
    rules = alex.ask("GET", "/branches/main/protection")["required_status_checks"]["contexts"]
    alex.ask("DELETE", "/branches/main/protection")
    git(clone, "commit", "--quiet", "--all", "--message", "Roll out step by step")
    run = alex.next_run("deploy.yml", lambda: git(clone, "push", "--quiet", "origin", "main"))
    assert run["conclusion"] == "success", alex.log(run)
    checks = {"required_status_checks": {"strict": False, "contexts": rules}, "enforce_admins": True}
    alex.ask(
        "PUT", "/branches/main/protection", {**checks, "required_pull_request_reviews": None, "restrictions": None}
    )

    first, second = released(alex, "first"), released(alex, "fragile")
    both = len(endpoints.gateway["dev"])
    assert routed(endpoints) == [(first, second, 40)] * both

    assert users_ask(endpoints) == {200}
    run = alex.next_run("watch.yml", lambda: alex.clock_strikes("*/5 * * * *"))
    assert run["conclusion"] == "success", alex.log(run)
    assert "40 % is baked, 60 % of requests get it now" in alex.log(run)
    assert routed(endpoints) == [(first, second, 60)] * both

    assert users_ask(endpoints, large=True) == {200, 500}
    run = alex.dispatch("watch.yml")
    assert run["conclusion"] == "failure", "who watches the runs of workflows hears of it"
    said = alex.log(run)
    assert f"{MODEL} is back at version {first} in dev (from {second})" in said, said
    assert routed(endpoints) == [(first, None, None)] * both
    (revert,) = [one for one in alex.open_pulls() if one["head"]["ref"] == f"promobot-revert/dev/{MODEL}"]
    assert revert["user"]["login"] == "promobot[bot]" and "| failed | ⚠️ " in revert["body"]
    (job,) = [job for job in alex.jobs(run) if job["name"] == "Watch dev"]
    (note, *_) = alex.ask("GET", f"/check-runs/{job['id']}/annotations")
    assert note["annotation_level"] == "failure" and MODEL in note["message"], note

    run = alex.dispatch("watch.yml")
    assert run["conclusion"] == "success", "it is done once"
