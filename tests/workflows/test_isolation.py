"""What runs where: no branch's code near the share, no fork on our runners, checks apart from deployments."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.operations.init import init
from bot.sandbox.actions import act
from bot.sandbox.actions.actions import STAND_INS
from bot.sandbox.actions.transcript import read_message

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOWS = PROJECT / ".github/workflows"
Workflow = dict[Any, Any]

HOSTED = ("ubuntu-latest",)
"""GitHub's own machines: thrown away after each job, and far from everything that is ours."""
LABELS = {
    "checks.yml": "promobot-checks",
    "deploy.yml": "promobot-deploy",
    "dispatch.yml": "promobot-deploy",
    "drift.yml": "promobot-deploy",
    "watch.yml": "promobot-deploy",
}
OURS = (
    "github.event_name == 'merge_group' || (github.event_name == 'pull_request_target' && "
    "github.event.pull_request.head.repo.full_name == github.repository)"
)
OWN_PULL_REQUEST = (
    "github.event_name == 'pull_request_target' && github.event.pull_request.head.repo.full_name == github.repository"
)
REVIEWED = {
    "main",
    "${{ inputs.base || 'main' }}",
    "${{ inputs.promobot-ref || 'main' }}",
    "${{ github.event.pull_request.base.ref }}",
    "${{ github.event.pull_request.base.ref || github.event.merge_group.base_sha }}",
    "${{ inputs.promobot-ref || github.event.pull_request.base.ref }}",
    "${{ inputs.promobot-ref || github.event.pull_request.base.ref || github.event.merge_group.base_sha }}",
}
"""What a job near the share may check out: what was reviewed and merged, or what the caller's main names."""


def read(name: str) -> Workflow:
    found: Workflow = yaml.safe_load((WORKFLOWS / name).read_text())
    return found


def everything() -> dict[str, Workflow]:
    return {path.name: read(path.name) for path in sorted(WORKFLOWS.glob("*.yml"))}


# --- rules --------------------------------------------------------------------------------------------------------


def runs_near_the_share(job: Workflow) -> bool:
    return job["runs-on"] not in HOSTED


def no_code_of_a_branch(workflows: dict[str, Workflow]) -> Iterator[str]:
    """A job on our runners runs the bot of main or of the base, and nothing else."""
    for name, content in workflows.items():
        events = content[True]
        for key, job in content["jobs"].items():
            where = f"{name} {key}"
            if not runs_near_the_share(job):
                continue
            if "pull_request" in events:
                yield f"{where}: `pull_request` takes the workflow and the code from the proposal"
            if "push" in events and events["push"].get("branches") != ["main"]:
                yield f"{where}: runs for a push of any branch"
            for step in job["steps"]:
                uses, run = step.get("uses", ""), step.get("run", "")
                if uses.startswith("actions/checkout@") and step["with"].get("ref") not in REVIEWED:
                    yield f"{where} checks out {step['with'].get('ref')}"
                elif uses.startswith("./") and uses != "./.promobot/.github/actions/promobot":
                    yield f"{where} uses {uses}"
                for line in re.findall(r"^\s*(?:python|bash|sh|source|\.|make|npm|uv|pip)\b.*", run, re.MULTILINE):
                    if not line.strip().startswith("python -m bot "):
                        yield f"{where} runs {line.strip()}"
                if run and "python -m bot " in run and step.get("working-directory") != ".promobot":
                    yield f"{where} runs a bot that stands elsewhere"


def each_on_its_own_runners(workflows: dict[str, Workflow]) -> Iterator[str]:
    """Checks and deployments ask for different labels, and a caller may name others."""
    for name, label in LABELS.items():
        asked = f'inputs.runner || fromJSON(\'["self-hosted", "{label}"]\')'
        for key, job in workflows[name]["jobs"].items():
            wanted = [f"${{{{ {asked} }}}}", f"${{{{ ({OURS}) && ({asked}) || 'ubuntu-latest' }}}}"]
            if job["runs-on"] != wanted[key == "verdict"]:
                yield f"{name} {key} runs on {job['runs-on']}"
        if "runner" not in workflows[name][True]["workflow_call"]["inputs"]:
            yield f"{name}: the caller cannot name the runners"


def nothing_of_a_fork(workflows: dict[str, Workflow]) -> Iterator[str]:
    """A fork's pull request has one job, at GitHub, that fails before it does anything."""
    jobs = workflows["checks.yml"]["jobs"]
    for key, job in jobs.items():
        if key != "verdict" and job["if"] != f"${{{{ {OWN_PULL_REQUEST} }}}}":
            yield f"{key} runs for {job['if']}"
    verdict = jobs["verdict"]
    if verdict["if"] != "${{ always() }}":
        yield "the verdict may be skipped, and a skipped required check counts as a success"
    if [key for key, job in jobs.items() if job["name"] == "Verdict"] != ["verdict"]:
        yield "two checks have one name"
    gate, *later = verdict["steps"]
    if gate.get("if") != f"${{{{ !({OURS}) }}}}" or not gate.get("run", "").endswith("exit 1\n"):
        yield "the verdict does not fail first"
    if "uses" in gate or "env" in gate:
        yield "the step that fails gets something"
    for step in later:
        if re.search(r"always|failure|cancelled", step.get("if", "")) or "continue-on-error" in step:
            yield f"{step.get('name')} runs after the failure"


RULES = (no_code_of_a_branch, each_on_its_own_runners, nothing_of_a_fork)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_holds(rule: Callable[[dict[str, Workflow]], Iterator[str]]) -> None:
    assert list(rule(everything())) == []


def test_only_a_caller_says_what_is_checked_out_and_no_person_who_starts_a_run() -> None:
    for name, content in everything().items():
        by_hand = (content[True].get("workflow_dispatch") or {}).get("inputs", {})
        assert set(by_hand).isdisjoint({"base", "runner", "promobot-repository", "promobot-ref"}), name


def jobs(workflows: dict[str, Workflow], name: str) -> Workflow:
    found: Workflow = workflows[f"{name}.yml"]["jobs"]
    return found


BREAKS: list[tuple[Callable[[dict[str, Workflow]], Iterator[str]], str, Callable[[dict[str, Workflow]], Any]]] = [
    (no_code_of_a_branch, "ci near the share", lambda w: jobs(w, "ci")["ci"].update({"runs-on": "self-hosted"})),
    (no_code_of_a_branch, "the head", lambda w: jobs(w, "checks")["ready"]["steps"][0]["with"].update(
        ref="${{ github.event.pull_request.head.sha }}")),
    (no_code_of_a_branch, "whatever started it", lambda w: jobs(w, "drift")["drift"]["steps"][0]["with"].pop("ref")),
    (no_code_of_a_branch, "any push", lambda w: w["deploy.yml"][True]["push"].pop("branches")),
    (no_code_of_a_branch, "a script", lambda w: jobs(w, "deploy")["deploy"]["steps"][-1].update(run="bash x.sh")),
    (no_code_of_a_branch, "another action", lambda w: jobs(w, "deploy")["deploy"]["steps"][2].update(uses="./x")),
    (no_code_of_a_branch, "another bot", lambda w: jobs(w, "checks")["smoke"]["steps"][-1].pop("working-directory")),
    (each_on_its_own_runners, "one for all", lambda w: jobs(w, "checks")["ready"].update(
        {"runs-on": jobs(w, "deploy")["deploy"]["runs-on"]})),
    (each_on_its_own_runners, "no input", lambda w: w["deploy.yml"][True]["workflow_call"]["inputs"].pop("runner")),
    (nothing_of_a_fork, "a check", lambda w: jobs(w, "checks")["smoke"].update({"if": "${{ always() }}"})),
    (nothing_of_a_fork, "skipped", lambda w: jobs(w, "checks")["verdict"].update({"if": OWN_PULL_REQUEST})),
    (nothing_of_a_fork, "one more", lambda w: jobs(w, "checks").update(other={**jobs(w, "checks")["verdict"]})),
    (nothing_of_a_fork, "no gate", lambda w: jobs(w, "checks")["verdict"]["steps"].pop(0)),
    (nothing_of_a_fork, "goes on", lambda w: jobs(w, "checks")["verdict"]["steps"][1].update({"if": "always()"})),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "how"), [(rule, how) for rule, _, how in BREAKS], ids=[f"{r.__name__}-{n}" for r, n, _ in BREAKS]
)
def test_it_can_be_broken(
    rule: Callable[[dict[str, Workflow]], Iterator[str]], how: Callable[[dict[str, Workflow]], Any]
) -> None:
    broken = copy.deepcopy(everything())
    how(broken)
    assert list(rule(broken)) != []


def test_what_init_writes_asks_for_the_same_runners(tmp_path: Path) -> None:
    init(tmp_path, repository="acme/promotions", promobot="acme/promobot", ref="0" * 40, owners="@acme/mlops")
    for name, label in LABELS.items():
        written: Workflow = yaml.safe_load((tmp_path / ".github/workflows" / name).read_text())
        (job,) = written["jobs"].values()
        assert job["with"]["runner"] == label
        declared = read(name)[True]["workflow_call"]
        assert set(job["with"]) <= set(declared["inputs"])
        assert set(job.get("secrets", {})) <= set(declared["secrets"])
    assert "secrets." not in (tmp_path / ".github/workflows/drift.yml").read_text()
    assert "secrets." not in (tmp_path / ".github/workflows/checks.yml").read_text()


# --- secrets ------------------------------------------------------------------------------------------------------

READABLE_BY_EVERY_BRANCH = {"PROMOBOT_CHECKOUT_TOKEN"}
"""Secrets of the repository. A workflow on any branch can read these, so each may do very little."""


def test_whatever_a_branch_may_not_read_is_a_secret_of_a_github_environment() -> None:
    for name, content in everything().items():
        for key, job in content["jobs"].items():
            used = set(re.findall(r"secrets\.(\w+)", json.dumps(job)))
            if used - READABLE_BY_EVERY_BRANCH:
                assert job.get("environment"), f"{name} {key} reads {used} of the repository"


def test_the_page_names_every_secret_and_who_can_read_it() -> None:
    page = (PROJECT / "docs/how-to/github.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", page, re.MULTILINE))
    used = set(re.findall(r"secrets\.(\w+)", "".join(p.read_text() for p in WORKFLOWS.glob("*.yml"))))
    assert set(rows) == used | {"GITHUB_TOKEN"}
    for name in used:
        assert ("every branch" in rows[name]) == (name in READABLE_BY_EVERY_BRANCH), rows[name]


# --- through act --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What act did where only GitHub's own machines were there."""

    results: dict[str, str]
    waiting: set[str]
    """Jobs that asked for a runner of ours."""
    steps: list[str]
    said: str


def run_at_github(folder: Path, monkeypatch: pytest.MonkeyPatch, event: str, payload: Workflow) -> Run:
    """Run checks.yml as it is, where no runner of ours exists: act says which jobs would need one."""
    monkeypatch.setattr(act, "RUNNERS", HOSTED)
    shutil.copytree(PROJECT / ".github", folder / "source/.github")
    (folder / "home").mkdir()
    (folder / "event.json").write_text(json.dumps(payload))
    names = set(re.findall(r"uses: (actions/[\w-]+@[0-9a-f]+)", (WORKFLOWS / "checks.yml").read_text()))
    invocation = act.Invocation(
        folder=folder,
        home=folder / "home",
        event=event,
        workflow_path=".github/workflows/checks.yml",
        actor="mallory",
        path=(),
        environment={"GITHUB_REPOSITORY": "acme/models", "GITHUB_REF": "refs/heads/main"},
        secrets={"GITHUB_TOKEN": "token-of-this-run"},
        variables={},
        actions={name: STAND_INS / name.partition("/")[2].partition("@")[0] for name in names},
        tracking_id="isolation",
    )
    process: subprocess.Popen[str] = act.start(invocation)
    said, _ = process.communicate(timeout=120)
    messages = [message for line in said.splitlines() if (message := read_message(line))]
    return Run(
        results={m.job_key: m.job_result for m in messages if m.job_result},
        waiting={m.job_key for m in messages if "Skipping unsupported platform" in m.text},
        steps=[m.step_name for m in messages if m.stage == "Main" and m.step_result],
        said=said,
    )


def pull_request(head: Workflow | None) -> Workflow:
    """What GitHub says of a pull request whose branch is in this repository; of a deleted one it says null."""
    both = {"sha": "1" * 40, "ref": "x"}
    return {
        "action": "opened",
        "repository": {"full_name": "acme/models", "default_branch": "main"},
        "pull_request": {"number": 7, "head": {**both, "repo": head}, "base": {**both, "ref": "main"}},
    }


@pytest.mark.parametrize("head", [{"full_name": "mallory/models"}, None], ids=["a fork", "a fork that was deleted"])
def test_a_forks_verdict_is_red_and_nothing_of_it_needs_a_runner_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: Workflow | None
) -> None:
    run = run_at_github(tmp_path, monkeypatch, "pull_request_target", pull_request(head))
    assert run.waiting == set()
    assert run.results.get("verdict") == "failure", run.said
    assert set(run.results.values()) <= {"failure", "skipped"} and len(run.results) <= 4
    assert run.steps == ["Is it from this repository?"]
    assert "Pull requests from forks are not checked" in run.said


def test_ones_own_pull_request_and_a_merge_group_need_a_runner_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above would see, if a fork's job asked for one."""
    own = run_at_github(
        tmp_path / "own", monkeypatch, "pull_request_target", pull_request({"full_name": "acme/models"})
    )
    assert own.waiting >= {"ready", "triton", "smoke", "behaviour"}, own.said
    group = {"merge_group": {"base_sha": "1" * 40, "head_sha": "2" * 40}}
    queued = run_at_github(tmp_path / "queued", monkeypatch, "merge_group", {**pull_request(None), **group})
    assert queued.waiting == {"verdict"}, queued.said
    assert queued.steps == [] == own.steps
