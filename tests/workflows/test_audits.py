"""What zizmor (as an auditor) and actionlint say of the workflows, and what no tool looks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflows.actionlint import Actionlint

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((PROJECT / ".github/workflows").glob("*.yml"))

ACTIONLINT_IS_WRONG = (
    # Where a workflow is started both ways it forgets the inputs that only `workflow_call` declares. GitHub gives an
    # empty string for them to a run that a person starts, and a person must not choose which bot runs near the share.
    r'property "(runner|base|environments|promobot-repository|promobot-ref)" is not defined in object type',
    # It is older than attestations, and than what an image is signed with.
    r'unknown permission scope "attestations"',
)

INPUT = "${{ github.event.pull_request.title }}"


@pytest.fixture(scope="module")
def actionlint() -> Actionlint:
    return Actionlint()


def zizmor(folder: Path) -> tuple[int, str]:
    """Return the exit code (0: no finding) and what it says."""
    program = Path(sys.executable).parent / "zizmor"
    done = subprocess.run(
        [program, "--offline", "--persona", "auditor", "--no-progress", "--quiet", "--strict-collection", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def broken(tmp_path: Path, name: str, before: str, after: str) -> Path:
    """Return a copy of the project's workflows in which one place of one file is another."""
    shutil.copytree(PROJECT / ".github", tmp_path / ".github")
    file = tmp_path / ".github/workflows" / name
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))
    return tmp_path


def test_an_auditor_finds_nothing() -> None:
    code, said = zizmor(PROJECT / ".github")
    assert code == 0, said
    assert "No findings to report" in said


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actionlint_finds_nothing(actionlint: Actionlint, workflow: Path) -> None:
    found = actionlint.lint(workflow.read_text(), workflow.name)
    left = [complaint for complaint in found if not any(re.match(p, complaint.message) for p in ACTIONLINT_IS_WRONG)]
    assert left == []


def test_each_ignored_finding_says_why() -> None:
    for path in (PROJECT / ".github").rglob("*.yml"):
        for line in path.read_text().splitlines():
            if "zizmor: ignore" in line:
                assert re.search(r"zizmor: ignore\[[a-z-]+\] \w+ \w+", line), f"{path.name}: {line}"


@pytest.mark.parametrize(
    ("name", "before", "after", "says"),
    [
        ("checks.yml", "run: python -m bot check", f"run: echo {INPUT}; python -m bot check", "template-injection"),
        ("checks.yml", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "unpinned-uses"),
        ("checks.yml", "          persist-credentials: false\n", "", "artipacked"),
        ("deploy.yml", "permissions: {}\n", "permissions: write-all\n", "excessive-permissions"),
        ("checks.yml", "concurrency:", "ignored:", "concurrency-limits"),
    ],
)
def test_zizmor_sees_what_is_broken(tmp_path: Path, name: str, before: str, after: str, says: str) -> None:
    code, said = zizmor(broken(tmp_path, name, before, after))
    assert code != 0
    assert says in said


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("run: python -m bot check ready", f"run: echo {INPUT}", "potentially untrusted"),
        ("needs: [ready, triton, smoke, behaviour]", "needs: [ready, triton, smok, behaviour]", 'needs job "smok"'),
        ("github.event_name", "github.event_nam", 'property "event_nam" is not defined'),
        ("    timeout-minutes: 20", "    timeout-minute: 20", 'unexpected key "timeout-minute"'),
    ],
)
def test_actionlint_sees_what_is_broken(
    actionlint: Actionlint, tmp_path: Path, before: str, after: str, says: str
) -> None:
    file = broken(tmp_path, "checks.yml", before, after) / ".github/workflows/checks.yml"
    assert says in "\n".join(complaint.message for complaint in actionlint.lint(file.read_text(), file.name))


# --- what no tool looks for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_starts_without_rights_and_ends_in_time(workflow: Path) -> None:
    content = document(workflow)
    assert content["permissions"] == {}
    for name, job in content["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name
        assert job["permissions"], name
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), f"{name}: {step}"
            if "uses" in step and not step["uses"].startswith("./"):
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_what_a_pull_request_starts_gets_no_secret_and_nothing_of_its_head() -> None:
    text = (PROJECT / ".github/workflows/checks.yml").read_text()
    used = set(re.findall(r"secrets\.(\w+)", text))
    assert used == {"PROMOBOT_CHECKOUT_TOKEN"}, "it only reads the bot's own repository"
    for job in document(PROJECT / ".github/workflows/checks.yml")["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert "head" not in step["with"]["ref"]
                assert step["with"]["ref"]


def test_no_skipped_job_fools_the_verdict() -> None:
    jobs = document(PROJECT / ".github/workflows/checks.yml")["jobs"]
    verdict = jobs["verdict"]
    assert verdict["if"] == "${{ always() }}"
    assert sorted(verdict["needs"]) == sorted(set(jobs) - {"verdict"})
    refusing, *asking = [step for step in verdict["steps"] if "run" in step]
    assert refusing["run"].endswith("exit 1\n"), "tests/workflows/test_isolation.py has more of it"
    # One of the two always runs: what is asked of a merge group is asked of nothing else, and the other way round.
    assert [step["if"] for step in asking] == [
        "${{ github.event_name != 'merge_group' }}",
        "${{ github.event_name == 'merge_group' }}",
    ]
    assert not any(step.get("continue-on-error") for step in verdict["steps"])
    for name in ("ready", "triton", "smoke", "behaviour"):
        assert "head.repo.full_name == github.repository" in jobs[name]["if"], "no fork runs near the share"


def test_no_deployment_is_cancelled() -> None:
    for name in ("deploy", "dispatch", "drift", "watch"):
        content = document(PROJECT / f".github/workflows/{name}.yml")
        groups = [content.get("concurrency"), *(job.get("concurrency") for job in content["jobs"].values())]
        assert [group["cancel-in-progress"] for group in groups if group] == [False]
    deploy = document(PROJECT / ".github/workflows/deploy.yml")["jobs"]["deploy"]
    assert deploy["concurrency"]["group"] == "deploy-${{ matrix.environment }}"
    assert deploy["environment"] == "${{ matrix.environment }}"
