"""A repository of promotions as `promobot init` lays it out: its workflows call the bot's, through act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.sandbox.platform import BOT_REPOSITORY, Sandbox
from bot.sandbox.reference import register_recipe
from bot.sandbox.seed import MODEL
from tests.workflows.apart import git, seed_apart
from tests.workflows.person import Person

CHECKS = {f"Promobot / {name}": "success" for name in ("READY", "Triton", "Smoke", "Behaviour", "Verdict")}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("sandbox") / "platform"
    yield Sandbox.up(directory, progress=print, seed=seed_apart)
    Sandbox.down(directory)


@pytest.fixture(scope="module")
def forge_folder(sandbox: Sandbox) -> Path:
    return sandbox.endpoints.directory / "forge"


@pytest.mark.long
@pytest.mark.timeout(540)
@pytest.mark.runs(
    "dispatch.yml workflow_call",
    "checks.yml workflow_call",
    "deploy.yml workflow_call",
    "drift.yml workflow_call",
    "watch.yml workflow_call",
)
def test_from_the_proposal_to_what_is_served_and_the_hourly_look(sandbox: Sandbox, forge_folder: Path) -> None:
    endpoints = sandbox.endpoints
    alex = Person(endpoints)
    called_at = git(forge_folder / f"repositories/{BOT_REPOSITORY}.git", "rev-parse", "main")
    rules = {"strict": False, "contexts": ["Promobot / Verdict"]}
    others = {"enforce_admins": True, "required_pull_request_reviews": None, "restrictions": None}
    alex.ask("PUT", "/branches/main/protection", {"required_status_checks": rules, **others})
    version = register_recipe("first", endpoints.mlflow, MODEL).version

    run = alex.dispatch("dispatch.yml", verb="propose", model=MODEL, environment="dev", version=str(version))
    assert run["conclusion"] == "success", alex.log(run)
    workflow = f"{BOT_REPOSITORY}/.github/workflows/dispatch.yml@{called_at}"
    assert run["referenced_workflows"] == [{"path": workflow, "sha": called_at, "ref": called_at}]

    [pull] = alex.open_pulls()
    refused = alex.client.put(f"/pulls/{pull['number']}/merge", json={})
    assert refused.status_code == 405 and "Promobot / Verdict" in refused.json()["message"], "not yet"
    [run] = alex.runs("checks.yml")
    run = alex.completed(run)
    assert run["conclusion"] == "success", alex.log(run)
    assert alex.checks(pull["head"]["sha"]) == CHECKS

    run = alex.next_run("deploy.yml", lambda: alex.merge(pull))
    assert run["conclusion"] == "success", alex.log(run)
    assert {job["name"] for job in alex.jobs(run)} == {"Promobot / Deploy dev", "Promobot / Deploy prod"}
    assert alex.served(MODEL) == {str(version)}

    deployments = alex.ask("GET", "/deployments")
    assert {deployment["environment"] for deployment in deployments} == {"dev-operations", "dev", "prod"}
    for deployment in deployments:
        states = [one["state"] for one in alex.ask("GET", f"/deployments/{deployment['id']}/statuses")]
        assert states == ["success", "in_progress"], deployment

    run = alex.next_run("drift.yml", lambda: alex.clock_strikes("17 * * * *"))
    assert (run["event"], run["conclusion"]) == ("schedule", "success"), alex.log(run)
    assert "Everything is as main says." in alex.log(run)

    run = alex.next_run("watch.yml", lambda: alex.clock_strikes("*/5 * * * *"))
    assert (run["event"], run["conclusion"]) == ("schedule", "success"), alex.log(run)
    assert "nothing is being rolled out" in alex.log(run)


@pytest.mark.long
def test_a_commit_that_the_bots_repository_does_not_have_is_red_and_starts_nothing(sandbox: Sandbox) -> None:
    alex = Person(sandbox.endpoints)
    clone = alex.clone(sandbox.endpoints.directory / "elsewhere")
    file = clone / ".github/workflows/drift.yml"
    file.write_text(file.read_text().replace("/drift.yml@", "/drift.yml@0000"))
    git(clone, "checkout", "--quiet", "-b", "wrong")
    git(clone, "commit", "--quiet", "--all", "--message", "A commit that is none")
    git(clone, "push", "--quiet", "origin", "wrong")
    body = {"ref": "wrong", "inputs": {}}
    run = alex.next_run("drift.yml", lambda: alex.ask("POST", "/actions/workflows/drift.yml/dispatches", body))
    assert run["conclusion"] == "failure"
    assert run["referenced_workflows"] == []
