"""The nastiest of what strangers can write, as real pull requests through act; each text would leave a canary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.platform import Sandbox
from bot.sandbox.reference import register_recipe
from bot.sandbox.seed import MODEL, seed
from tests.workflows.apart import git
from tests.workflows.person import Person, wait_for

NASTY = (
    ("$(touch CANARY)`touch CANARY`", "$(touch${IFS}CANARY)`touch${IFS}CANARY`"),
    ("\"; touch CANARY; '; touch CANARY #", "';touch${IFS}CANARY;\";touch${IFS}CANARY;#"),
    ("${{ github.token }}%0A::set-output name=x::$(touch CANARY)", "--upload-pack=touch${IFS}CANARY"),
)
"""Title and branch. A branch may hold no space, and none of ``~^:?*[\\``."""
RUNS = '#!/usr/bin/env python3\nimport pathlib\npathlib.Path("CANARY").touch()\n'


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("sandbox") / "platform"
    yield Sandbox.up(directory, progress=print, seed=seed)
    Sandbox.down(directory)


@pytest.fixture(scope="module")
def alex(sandbox: Sandbox) -> Person:
    return Person(sandbox.endpoints)


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing may ever be in here."""
    return tmp_path_factory.mktemp("canaries")


def edits(canary: Path) -> dict[str, str]:
    """A proposal's changes of everything that runs where proposals are checked."""
    runs, touch = RUNS.replace("CANARY", str(canary)), f"touch {canary}"
    steps = f"[{{run: {touch}, shell: bash}}]"
    return {
        "bot/__init__.py": runs,
        "bot/__main__.py": runs,
        "bot/operations/check.py": runs,
        "sitecustomize.py": runs,
        "yaml.py": runs,
        ".promobot/bot/__main__.py": runs,
        "python": f"#!/bin/sh\n{touch}\n",
        ".github/workflows/checks.yml": "name: checks\non: pull_request_target\njobs:\n"
        f"  verdict: {{name: Verdict, runs-on: self-hosted, steps: {steps}}}\n",
        ".github/actions/promobot/action.yml": f"name: x\nruns: {{using: composite, steps: {steps}}}\n",
        ".git-hooks/post-checkout": f"#!/bin/sh\n{touch}\n",
        ".gitattributes": "* filter=evil\n",
        "pyproject.toml": f'[build-system]\nrequires = []\nbuild-backend = "evil"\nbackend-path = ["."]\n# {touch}\n',
        "evil.py": runs,
    }


def proposal(alex: Person, clone: Path, number: int, canary: Path) -> dict[str, Any]:
    """A good version, proposed under nasty names, with an edit of everything."""
    title, branch = (text.replace("CANARY", str(canary)) for text in NASTY[number])
    done = register_recipe("first", alex.endpoints.mlflow, MODEL, key=f"hostile-{number}")
    git(clone, "checkout", "--quiet", "--detach", "origin/main")
    entry = f"  {MODEL}: {{version: {done.version}, digest: {done.digest}, run: {done.run}}}\n"
    files = {"promotions/dev.yaml": f"environment: dev\nmodels:\n{entry}\nshadow: {{}}\n"}
    # A slash would make folders of it, so this one looks up where its canary goes.
    name = {"promotions/$(cd;touch${IFS}CANARY).yaml": "environment: x\n"}  # a slash would make folders of it
    for path, text in {**files, **(edits(canary), {}, name)[number]}.items():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text)
        (clone / path).chmod(0o755)
    git(clone, "add", "--all", "--force")
    git(clone, "-c", "core.commentChar=auto", "commit", "--quiet", "--message", title)
    git(clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    body = {"title": title, "body": title, "head": branch, "base": "main"}
    pull: dict[str, Any] = alex.ask("POST", "/pulls", body)
    return pull


def test_no_nasty_title_branch_or_edit_is_ever_executed(sandbox: Sandbox, alex: Person, canaries: Path) -> None:
    clone = alex.clone(canaries.parent / f"{canaries.name}-clone")
    pulls = [proposal(alex, clone, number, canaries / f"pull-{number}") for number in range(len(NASTY))]
    for pull in pulls:
        sha = pull["head"]["sha"]
        wait_for(lambda sha=sha: "Verdict" in alex.checks(sha), f"the verdict on {pull['title']!r}")  # type: ignore[misc]
    runs = [alex.completed(run) for run in alex.runs("checks.yml")]
    assert sorted(canaries.iterdir()) == [], "it was executed"
    assert not list((sandbox.endpoints.directory / "forge/actions/home").rglob("CANARY")), "it was executed"

    first, second, third = pulls
    verdicts = [alex.checks(pull["head"]["sha"])["Verdict"] for pull in (first, second, third)]
    assert verdicts == ["success", "success", "failure"], "the base's bot judged; of the third it knows no such file"
    checks = alex.checks(first["head"]["sha"])
    names = {"READY", "Triton", "Smoke", "Behaviour", "Verdict"}
    assert set(checks) == names, "the base's workflow ran, not the proposal's"
    [comment] = alex.ask("GET", f"/issues/{first['number']}/comments")
    for path in (".github/workflows/checks.yml", ".github/actions/promobot/action.yml", "bot/operations/check.py"):
        assert f"`{path}`" in comment["body"]
    assert "nothing of it ran in these checks" in comment["body"]
    token = sandbox.endpoints.secrets.people["promobot[bot]"]
    assert not any(token in alex.log(run) for run in runs)


@pytest.mark.parametrize(
    "inputs",
    [
        {"verb": "propose", "version": "1", "model": "$(touch CANARY)"},
        {"verb": "promote", "version": "`touch CANARY`", "request": "'; touch CANARY; '"},
        {"verb": "rollback", "reason": '"; touch CANARY; "', "model": "--root=/;touch CANARY"},
    ],
    ids=lambda inputs: inputs["verb"],
)
def test_no_nasty_input_is_ever_executed(alex: Person, canaries: Path, inputs: dict[str, str]) -> None:
    wanted = {"model": MODEL, "environment": "dev", **inputs}
    wanted = {name: text.replace("CANARY", str(canaries / inputs["verb"])) for name, text in wanted.items()}
    run = alex.dispatch("dispatch.yml", **wanted)
    assert run["conclusion"] == "failure", alex.log(run)
    assert sorted(canaries.iterdir()) == [], "it was executed"


def test_a_canary_that_runs_is_seen(alex: Person, canaries: Path) -> None:
    """What the tests above would see: a workflow of a branch's own, with an expression in its script."""
    clone = alex.clone(canaries.parent / f"{canaries.name}-control")
    seen = canaries / "control"
    workflow = "on: {push: {branches: [control]}}\njobs: {a: {runs-on: self-hosted, steps: [{run: 'SCRIPT'}]}}\n"
    script = "echo ${{ github.event.head_commit.message }}"
    (clone / ".github/workflows/control.yml").write_text(workflow.replace("SCRIPT", script))
    git(clone, "checkout", "--quiet", "-b", "control")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", f"$(touch {seen})")
    git(clone, "push", "--quiet", "origin", "control")
    wait_for(seen.exists, "the canary")
    seen.unlink()
