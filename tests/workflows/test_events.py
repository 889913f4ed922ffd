"""Every event that a workflow declares, through act: the files as they are, in a sandbox with the real platform."""

from __future__ import annotations

import copy
import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bot.sandbox import seed
from bot.sandbox.forge.api.apps import ENQUEUE
from bot.sandbox.platform import Sandbox
from bot.sandbox.reference import register_recipe
from bot.sandbox.seed import MODEL
from tests.sandbox.forge.test_merge_queue import QUEUE
from tests.workflows.apart import git
from tests.workflows.inventory import WORKFLOWS, declared
from tests.workflows.person import Person, wait_for

FIVE = tuple(f"model-{letter}" for letter in "abcde")
GREEN = dict.fromkeys(("READY", "Triton", "Smoke", "Behaviour", "Verdict"), "success")
PROMOTIONS = "promotions/dev.yaml"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("sandbox") / "platform"
    with mock.patch.dict(seed.GATES, {name: copy.deepcopy(seed.GATES[MODEL]) for name in FIVE}):
        yield Sandbox.up(directory, progress=print, seed=seed.seed)
    Sandbox.down(directory)


@pytest.fixture(scope="module")
def forge_folder(sandbox: Sandbox) -> Path:
    return sandbox.endpoints.directory / "forge"


@pytest.fixture(scope="module")
def alex(sandbox: Sandbox) -> Person:
    return Person(sandbox.endpoints)


@pytest.fixture(scope="module")
def clone(alex: Person, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alex's clone. In its desired state each model has a place of its own, so that proposals do not clash."""
    folder = alex.clone(tmp_path_factory.mktemp("clone") / "models")
    places = "".join(f"  # {name}\n  #\n  #\n  #\n" for name in FIVE)
    (folder / PROMOTIONS).write_text(f"environment: dev\nmodels:\n{places}\nshadow: {{}}\n")
    rules = alex.ask("GET", "/branches/main/protection")["required_status_checks"]["contexts"]
    alex.ask("DELETE", "/branches/main/protection")
    git(folder, "commit", "--quiet", "--all", "--message", "A place for each model")
    run = alex.next_run("deploy.yml", lambda: git(folder, "push", "--quiet", "origin", "main"))
    assert run["conclusion"] == "success", alex.log(run)
    wanted = {"required_status_checks": {"strict": False, "contexts": rules}, "enforce_admins": True}
    alex.ask(
        "PUT", "/branches/main/protection", {**wanted, "required_pull_request_reviews": None, "restrictions": None}
    )
    return folder


def propose(alex: Person, clone: Path, model: str, *, title: str = "", branch: str = "") -> dict[str, Any]:
    """Register a version, and open a pull request for it by hand."""
    done = register_recipe("first", alex.endpoints.mlflow, model)
    git(clone, "fetch", "--quiet", "origin")
    git(clone, "checkout", "--quiet", "-B", branch or f"propose-{model}", "origin/main")
    lines = (clone / PROMOTIONS).read_text().splitlines(keepends=True)
    entry = [
        f"  {model}:\n",
        f"    version: {done.version}\n",
        f"    digest: {done.digest}\n",
        f"    run: {done.run}\n",
    ]
    at = lines.index(f"  # {model}\n") + 2 if model in FIVE else lines.index("models:\n") + 1
    (clone / PROMOTIONS).write_text("".join([*lines[:at], *entry, *lines[at:]]))
    git(clone, "commit", "--quiet", "--all", "--message", title or f"Promote {model}")
    git(clone, "push", "--quiet", "origin", "HEAD")
    body = {"title": title or f"Promote {model}", "head": git(clone, "branch", "--show-current"), "base": "main"}
    pull: dict[str, Any] = alex.ask("POST", "/pulls", body)
    return pull


@pytest.mark.long
@pytest.mark.timeout(540)  # five checks, and a sandbox to start: minutes, where the machine has other work
@pytest.mark.runs("checks.yml pull_request_target opened", "deploy.yml push")
def test_five_merged_in_quick_succession_end_with_the_last_in_service_and_none_lost(
    alex: Person, clone: Path, sandbox: Sandbox, forge_folder: Path
) -> None:
    pulls = [propose(alex, clone, model) for model in FIVE]
    for pull in pulls:
        wait_for(lambda head=pull["head"]["sha"]: alex.checks(head) == GREEN, f"green checks of {pull['title']}")  # type: ignore[misc]
    before = {run["id"] for run in alex.runs("deploy.yml")}
    commits = [alex.merge(pull) for pull in pulls]

    def ended() -> bool:
        runs = [run for run in alex.runs("deploy.yml") if run["id"] not in before]
        return len(runs) == len(FIVE) and all(run["status"] == "completed" for run in runs)

    wait_for(ended, "five runs of deploy.yml", seconds=150)
    runs = {run["head_sha"]: run["conclusion"] for run in alex.runs("deploy.yml") if run["id"] not in before}
    conclusions = [runs[commit] for commit in commits]
    # One runs and one waits; of those that wait only the newest is kept, as on GitHub.
    assert (conclusions[0], conclusions[-1]) == ("success", "success"), conclusions
    assert "cancelled" in conclusions, "they were merged while the first was being deployed"
    assert {model: alex.served(model) for model in FIVE} == {model: {"1"} for model in FIVE}
    run = alex.dispatch("drift.yml")
    assert run["conclusion"] == "success", alex.log(run)
    records = sorted(path.stem for path in (sandbox.endpoints.records / "deployments").glob("*/*.json"))
    assert sorted(record.split("-", 2)[2] for record in records) == sorted(FIVE), "each once, and none left out"


@pytest.mark.long
@pytest.mark.runs(
    "checks.yml pull_request_target synchronize",
    "checks.yml pull_request_target reopened",
    "checks.yml merge_group checks_requested",
    "drift.yml schedule",
    "watch.yml schedule",
)
def test_pushed_to_closed_opened_again_queued_and_merged(alex: Person, clone: Path, forge_folder: Path) -> None:
    pull = propose(alex, clone, MODEL)

    def push() -> None:
        git(clone, "commit", "--quiet", "--allow-empty", "--message", "Again")
        git(clone, "push", "--quiet", "origin", "HEAD")

    run = alex.next_run("checks.yml", push)
    assert run["conclusion"] == "success", alex.log(run)

    def close_and_open() -> None:
        alex.ask("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
        alex.ask("PATCH", f"/pulls/{pull['number']}", {"state": "open"})

    run = alex.next_run("checks.yml", close_and_open)
    assert run["conclusion"] == "success", alex.log(run)

    names = {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}
    rule = {"rules": [{"type": "merge_queue", "parameters": QUEUE}], "enforcement": "active", "name": "queue"}
    ruleset = alex.ask("POST", "/rulesets", {**rule, "conditions": names})
    checks = {run["id"] for run in alex.runs("checks.yml")}
    run = alex.next_run("deploy.yml", lambda: alex.graphql(ENQUEUE, pullRequestId=pull["node_id"]))
    assert run["conclusion"] == "success", alex.log(run)
    alex.ask("DELETE", f"/rulesets/{ruleset['id']}")
    [queued] = [run for run in alex.runs("checks.yml") if run["id"] not in checks]
    assert (queued["event"], queued["head_sha"]) == ("merge_group", run["head_sha"]), "what was checked was merged"
    assert f"✓ the evidence holds for {MODEL} 1 in dev" in alex.log(queued)
    assert alex.served(MODEL) == {"1"}

    for name, cron in (("drift.yml", "17 * * * *"), ("watch.yml", "*/5 * * * *")):
        run = alex.next_run(name, lambda cron=cron: alex.clock_strikes(cron))  # type: ignore[misc]
        assert run["conclusion"] == "success", alex.log(run)
        assert run["event"] == "schedule"


def test_each_event_that_a_workflow_declares_runs_through_act_in_some_test() -> None:
    """`runs` names them, and fails where they did not (tests/workflows/conftest.py)."""
    modules = [
        importlib.import_module(f"tests.workflows.{path.stem}") for path in Path(__file__).parent.glob("test_*.py")
    ]
    tests = [value for module in modules for name, value in vars(module).items() if name.startswith("test_")]
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", []) if mark.name == "runs"]
    claimed = {pair for mark in marks for pair in mark.args}
    assert declared() - claimed == set(), "no test runs these through act"
    assert claimed - declared() == set(), "no workflow declares these"


def test_a_new_event_in_a_workflow_is_seen(tmp_path: Path) -> None:
    shutil.copytree(WORKFLOWS, tmp_path / "workflows")
    file = tmp_path / "workflows/deploy.yml"
    file.write_text(file.read_text().replace("on:\n", "on:\n  workflow_dispatch:\n", 1))
    assert declared(tmp_path / "workflows") - declared() == {"deploy.yml workflow_dispatch"}
