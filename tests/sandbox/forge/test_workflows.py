"""Workflow runs through the real act, from the event to the checks that people and bots see."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import github
import httpx
import pytest

from bot.sandbox.actions import act
from bot.sandbox.actions.actions import Settings
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server, wait_until, with_first_commit

CHECK = """
name: Check
on:
  pull_request_target:
    paths: [promotions/**]
permissions: {contents: read, checks: write}
concurrency: {group: check, cancel-in-progress: false}
jobs:
  ready:
    name: READY and digest
    runs-on: ubuntu-latest
    timeout-minutes: 5
    outputs: {digest: "${{ steps.say.outputs.digest }}"}
    steps:
      - uses: actions/checkout@v4
      - name: The pull request is data
        uses: actions/checkout@v4
        with: {ref: "${{ github.event.pull_request.head.sha }}", path: proposal, fetch-depth: 0}
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - uses: ./.github/actions/greet
        with: {who: "${{ github.actor }}"}
      - id: say
        run: |
          test "$(git rev-parse HEAD)" = "$GITHUB_SHA"
          test "$(git -C proposal rev-parse HEAD)" = "${{ github.event.pull_request.head.sha }}"
          grep -q evil proposal/.github/workflows/check.yml
          ! grep -q evil .github/workflows/check.yml
          git ls-remote origin > /dev/null
          echo "digest=sha256:1" >> "$GITHUB_OUTPUT"
          echo "## READY" >> "$GITHUB_STEP_SUMMARY"
          echo "secret is $SLACK_TOKEN"
        env: {SLACK_TOKEN: "${{ secrets.SLACK_TOKEN }}"}
  load:
    name: Load on ${{ matrix.triton }}
    runs-on: ubuntu-latest
    strategy: {matrix: {triton: [a, b]}, fail-fast: false}
    steps:
      - run: echo "stage ${{ vars.STAGE }} is $COLOUR, $AWKWARD"
  smoke:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {ref: "${{ github.event.pull_request.head.sha }}"}
      - name: Smoke
        run: |
          grep -q 'smoke. good' promotions/dev.yaml && exit 0
          # So much that it ends before anybody has read the last of it.
          seq 2000
          echo "::error file=promotions/dev.yaml,line=2::smoke failed"
          exit 4
      - if: always()
        run: echo "afterwards"
  verdict:
    needs: [ready, load, smoke]
    if: always()
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "| job | result |" >> "$GITHUB_STEP_SUMMARY"
          echo "|---|---|" >> "$GITHUB_STEP_SUMMARY"
          echo "| smoke | ${{ needs.smoke.result }} |" >> "$GITHUB_STEP_SUMMARY"
          echo "ready=${{ needs.ready.result }} load=${{ needs.load.result }} ${{ needs.ready.outputs.digest }}"
      - run: test "${{ needs.smoke.result }}" = success
"""

GREET = """
name: Greet
inputs: {who: {required: true}}
runs:
  using: composite
  steps:
    - shell: bash
      run: echo "Hello ${{ inputs.who }} from $GITHUB_REPOSITORY"
"""

DEPLOY = """
name: Deploy
on:
  push: {branches: [main], paths: [promotions/**]}
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 2}
      - run: |
          test "$(git rev-list --count HEAD)" = 2
          git log -1 --format=%s
          echo "by $GITHUB_ACTOR before ${{ github.event.before }}"
      - name: Answer through the API
        run: |
          curl --fail --silent -H "Authorization: Bearer $GITHUB_TOKEN" \\
            -d '{"name": "deployed", "head_sha": "'"$GITHUB_SHA"'", "conclusion": "success"}' \\
            "$GITHUB_API_URL/repos/$GITHUB_REPOSITORY/check-runs" > /dev/null
        env: {GITHUB_TOKEN: "${{ secrets.GITHUB_TOKEN }}"}
"""

ROLLBACK = """
name: Roll back
run-name: Roll back ${{ inputs.model }}
on:
  workflow_dispatch:
    inputs:
      model: {required: true, type: string}
      dry_run: {type: boolean, default: false}
      environment: {type: choice, options: [dev, prod], default: dev}
jobs:
  rollback:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "model ${{ inputs.model }} in ${{ inputs.environment }}, dry ${{ inputs.dry_run }}"
      - if: inputs.dry_run
        run: echo "not this"
      - run: |
          git checkout --quiet -b "revert/${{ inputs.model }}"
          git -c user.name=bot -c user.email=bot@example.com commit --quiet --allow-empty --message "Revert"
          git push --quiet origin HEAD
"""

FILES = {
    ".github/workflows/check.yml": CHECK,
    ".github/workflows/deploy.yml": DEPLOY,
    ".github/workflows/rollback.yml": ROLLBACK,
    ".github/actions/greet/action.yml": GREET,
}


@pytest.fixture
def clone(running_server: Server, tmp_path: Path) -> Clone:
    return with_first_commit(running_server, tmp_path / "clone", FILES)


@pytest.fixture
def repo(running_server: Server, clone: Clone) -> github.Repository.Repository:
    return running_server.as_pygithub().get_repo(REPOSITORY)


def finished(repo: github.Repository.Repository, **which: str) -> github.WorkflowRun.WorkflowRun:
    """The newest run of these, once it is completed."""

    def newest() -> github.WorkflowRun.WorkflowRun | None:
        return next((run for run in repo.get_workflow_runs(**which) if run.status == "completed"), None)

    wait_until(newest)
    run = newest()
    assert run is not None
    return run


def log_of(repo: github.Repository.Repository, run: github.WorkflowRun.WorkflowRun, name: str) -> str:
    [job] = [job for job in run.jobs() if job.name == name]
    return httpx.get(job.logs_url()).text


def test_a_pull_request_is_checked_by_the_base_branchs_workflow(
    running_server: Server, repo: github.Repository.Repository, clone: Clone
) -> None:
    wait_until(lambda: all(run.status == "completed" for run in repo.get_workflow_runs()))
    head = clone.branch(
        "promote",
        {"promotions/dev.yaml": "environment: dev\nsmoke: bad\n", ".github/workflows/check.yml": "evil"},
    )
    pull = repo.create_pull(base="main", head="promote", title="Promote", body="")
    queued = {check.name: check.status for check in repo.get_commit(head).get_check_runs()}
    assert set(queued) >= {"READY and digest", "smoke"}, "a matrix shows when it begins"
    assert "verdict" not in queued, "it comes when it can start"

    run = running_server.forge.actions.runs.all()[0]
    wait_until(
        lambda: any(step.completed_at for step in running_server.forge.actions.runs.get(run.id).jobs[0].steps[1:])
    )
    run = finished(repo, event="pull_request_target")

    assert (run.conclusion, run.head_sha, [linked.number for linked in run.pull_requests]) == ("failure", head, [1])
    checks = {check.name: check.conclusion for check in repo.get_commit(head).get_check_runs()}
    ready_log = log_of(repo, run, "READY and digest")
    assert checks == {
        "READY and digest": "success",
        "Load on a": "success",
        "Load on b": "success",
        "smoke": "failure",
        "verdict": "failure",
    }, ready_log
    assert "Hello alex from acme/models" in ready_log
    assert "secret is ***" in ready_log
    assert "stage dev is green, a 'b' \"c\" $d #e" in log_of(repo, run, "Load on a")
    smoke_log = log_of(repo, run, "smoke")
    assert "Process completed with exit code 4." in smoke_log
    assert "Z 2000\n" in smoke_log, "what a step wrote last is there, also where it fails"
    assert "ready=success load=success sha256:1" in log_of(repo, run, "verdict")
    [smoke] = [job for job in run.jobs() if job.name == "smoke"]
    assert [(step.name, step.conclusion) for step in smoke.steps][1:4] == [
        ("Run actions/checkout@v4", "success"),
        ("Smoke", "failure"),
        ('Run echo "afterwards"', "success"),
    ]
    [check] = [check for check in repo.get_commit(head).get_check_runs() if check.name == "smoke"]
    [note] = check.get_annotations()
    assert (note.path, note.start_line, note.message) == ("promotions/dev.yaml", 2, "smoke failed")
    pull.update()
    assert pull.mergeable_state == "unstable"

    page = httpx.get(f"{running_server.page}/pull/1").text
    assert 'data-check="smoke" data-state="failure"' in page
    assert 'data-check="READY and digest" data-state="success"' in page
    run_page = httpx.get(run.html_url).text
    assert "<td>failure</td>" in run_page and "<h2>READY</h2>" in run_page
    assert "afterwards" in httpx.get(check.html_url).text


@pytest.mark.slow
def test_new_commits_are_checked_again_one_run_after_the_other(
    running_server: Server, repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.branch("promote", {"promotions/dev.yaml": "smoke: bad\n"})
    repo.create_pull(base="main", head="promote", title="Promote", body="")
    clone.git("checkout", "--quiet", "promote")
    head = clone.commit("Better", {"promotions/dev.yaml": "environment: dev\nsmoke: good\n"})
    clone.git("push", "origin", "promote")

    wait_until(lambda: all(run.status == "completed" for run in repo.get_workflow_runs()), timeout_seconds=40)
    newer, older = repo.get_workflow_runs(event="pull_request_target")
    assert (older.conclusion, newer.conclusion) == ("failure", "success")
    runs = running_server.forge.actions.runs
    assert runs.get(newer.id).started_at >= max(job.completed_at for job in runs.get(older.id).jobs)
    assert {check.conclusion for check in repo.get_commit(head).get_check_runs()} == {"success"}


@pytest.mark.slow
def test_a_pull_request_that_touches_nothing_of_interest_starts_nothing(
    repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.branch("docs", {"README.md": "Hello\n"})
    repo.create_pull(base="main", head="docs", title="Docs", body="")
    assert repo.get_workflow_runs(event="pull_request_target").totalCount == 0


def test_a_merge_starts_the_workflow_of_pushes_to_main(repo: github.Repository.Repository, clone: Clone) -> None:
    clone.branch("promote", {"promotions/dev.yaml": "environment: dev\nsmoke: good\n"})
    merged = repo.create_pull(base="main", head="promote", title="Promote", body="").merge(merge_method="squash")

    wait_until(
        lambda: [run.head_sha for run in repo.get_workflow_runs(event="push", status="completed")][:1] == [merged.sha]
    )
    run = repo.get_workflow_runs(event="push")[0]
    log = log_of(repo, run, "deploy")
    assert (run.conclusion, run.path) == ("success", ".github/workflows/deploy.yml"), log
    assert "A change (#1)" in log and "by alex before " in log
    checks = repo.get_commit(merged.sha).get_check_runs(check_name="deployed")
    assert [(check.conclusion, check.app.slug) for check in checks] == [("success", "promobot")]


@pytest.mark.slow
def test_a_dispatch_with_inputs_pushes_a_branch(repo: github.Repository.Repository, clone: Clone) -> None:
    workflow = repo.get_workflow("rollback.yml")
    assert workflow.create_dispatch("main", {"model": "churn", "dry_run": False}, throw=True)

    run = finished(repo, event="workflow_dispatch")
    log = log_of(repo, run, "rollback")
    assert (run.conclusion, run.display_title) == ("success", "Roll back churn"), log
    assert "model churn in dev, dry false" in log and "not this" not in log
    assert repo.get_commit("revert/churn").commit.message == "Revert"


def test_a_dispatch_that_does_not_fit_the_workflow_is_422(running_server: Server, clone: Clone) -> None:
    with running_server.api() as api:

        def said(workflow: str, **body: object) -> tuple[int, str]:
            answer = api.post(f"/actions/workflows/{workflow}/dispatches", json=body)
            return answer.status_code, answer.json()["message"]

        assert said("rollback.yml", ref="nowhere") == (422, "No ref found for: nowhere")
        assert said("rollback.yml", ref="main") == (422, "Required input 'model' not provided")
        assert said("rollback.yml", ref="main", inputs={"x": "1"}) == (422, 'Unexpected inputs provided: ["x"]')
        assert said("deploy.yml", ref="main") == (422, "Workflow does not have 'workflow_dispatch' trigger")
        assert said("nothing.yml", ref="main")[0] == 404


@pytest.mark.slow
def test_what_a_runs_own_token_does_starts_no_workflow(tmp_path: Path) -> None:
    push_back = """
on: push
jobs:
  again:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: |
          git -c user.name=a -c user.email=a@example.com commit --quiet --allow-empty --message again
          git push --quiet origin HEAD:refs/heads/again-$GITHUB_RUN_ID
"""
    server = Server(tmp_path / "forge", Settings())  # without a bot_token GITHUB_TOKEN is github-actions[bot]'s
    server.start()
    try:
        clone = with_first_commit(server, tmp_path / "clone", {".github/workflows/again.yml": push_back})
        wait_until(lambda: [run.conclusion for run in server.forge.actions.runs.all()] == ["success"])
        assert "refs/heads/again-" in clone.git("ls-remote", "origin")
        assert len(server.forge.actions.runs.all()) == 1
    finally:
        server.stop()


@pytest.mark.slow
def test_an_action_without_a_stand_in_fails_with_words_and_later_jobs_still_run(
    running_server: Server, repo: github.Repository.Repository, clone: Clone
) -> None:
    workflow = """
on: {push: {branches: [odd]}}
jobs:
  odd:
    runs-on: ubuntu-latest
    steps: [{uses: some/where/deep@v1}]
  after:
    needs: odd
    if: always()
    runs-on: ubuntu-latest
    steps: [{run: "echo it was ${{ needs.odd.result }}"}]
  never:
    needs: odd
    runs-on: ubuntu-latest
    steps: [{run: echo never}]
"""
    clone.branch("odd", {".github/workflows/odd.yml": workflow})
    run = finished(repo, branch="odd")

    assert {job.name: job.conclusion for job in run.jobs()} == {
        "odd": "failure",
        "after": "success",
        "never": "skipped",
    }
    assert "The sandbox has no stand-in for some/where/deep@v1" in log_of(repo, run, "odd")
    assert "it was failure" in log_of(repo, run, "after")


@pytest.mark.slow
def test_a_broken_workflow_file_is_a_failed_run_that_says_why(
    running_server: Server, repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.branch("broken", {".github/workflows/broken.yml": "on: push\njobs: [\n"})
    run = finished(repo, branch="broken")

    assert run.conclusion == "failure"
    assert "Invalid workflow file" in httpx.get(run.html_url).text


SLOW = """
on: {push: {branches: [slow]}}
jobs:
  slow:
    runs-on: ubuntu-latest
    steps: [{run: "sleep 321 & sleep 322"}]
"""


def sleepers(tracking_id: str) -> list[int]:
    return list(act._processes_of(tracking_id))


def test_a_cancelled_run_leaves_no_process_behind(
    running_server: Server, repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.branch("slow", {".github/workflows/slow.yml": SLOW})
    [run] = list(repo.get_workflow_runs(branch="slow"))
    execution = running_server.forge.actions._running[run.id]
    wait_until(lambda: len(sleepers(execution.tracking_id)) >= 4)

    assert run.cancel()

    assert finished(repo, branch="slow").conclusion == "cancelled"
    assert sleepers(execution.tracking_id) == []


@pytest.mark.slow
def test_the_command_serves_and_ends_with_everything_that_it_started(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path / "server.json"
    people, actions = {"alex-token": {"login": "alex"}}, {"path": [str(Path(sys.executable).parent)]}
    where = {"folder": str(tmp_path / "forge"), "port": port, "repositories": [REPOSITORY]}
    file.write_text(json.dumps({**where, "people": people, "actions": actions}))
    command = [sys.executable, "-m", "bot.sandbox.forge", str(file)]
    process = subprocess.Popen(command, start_new_session=True)
    try:

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
            except httpx.ConnectError:
                return False

        wait_until(answers)
        folder = tmp_path / "clone"
        url = f"http://x-access-token:alex-token@127.0.0.1:{port}/{REPOSITORY}.git"
        subprocess.run(["git", "clone", "--quiet", url, str(folder)], check=True, capture_output=True)
        clone = Clone(folder)
        clone.git("checkout", "--quiet", "-B", "slow")
        clone.commit("Slow", {".github/workflows/slow.yml": SLOW})
        clone.git("push", "--quiet", "origin", "slow")

        def started() -> list[int]:
            """Every process of the run: it carries the forge's folder in its environment, as HOME."""
            mark = f"HOME={tmp_path / 'forge' / 'actions' / 'home'}".encode()
            return [
                int(entry.name)
                for entry in Path("/proc").glob("[0-9]*")
                if os.access(entry / "environ", os.R_OK) and mark in _environment(entry)
            ]

        wait_until(lambda: len(started()) >= 4)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    assert started() == []
    [record] = (tmp_path / "forge" / "actions" / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["conclusion"] == "cancelled"
    assert not (record.parent / "secrets.yml").exists()


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


ENVIRONMENTS = """
on: {push: {branches: [release]}}
jobs:
  deploy:
    strategy: {matrix: {where: [dev, prod]}, fail-fast: false}
    environment: {name: "${{ matrix.where }}-${{ github.actor }}"}
    runs-on: ubuntu-latest
    steps: [{run: "test '${{ matrix.where }}' = dev"}]
  left_out:
    if: false
    environment: never
    runs-on: ubuntu-latest
    steps: [{run: "true"}]
"""


@pytest.mark.slow
def test_a_job_with_an_environment_is_a_deployment_there(
    running_server: Server, repo: github.Repository.Repository, clone: Clone
) -> None:
    head = clone.branch("release", {".github/workflows/release.yml": ENVIRONMENTS})
    finished(repo, branch="release")
    found = {
        deployment.environment: (deployment.sha, [status.state for status in deployment.get_statuses()])
        for deployment in repo.get_deployments()
    }
    assert found == {
        "dev-alex": (head, ["success", "in_progress"]),
        "prod-alex": (head, ["failure", "in_progress"]),
    }
    [deployment] = repo.get_deployments(environment="dev-alex")
    assert deployment.creator.login == "github-actions[bot]"
    assert "/actions/runs/" in next(iter(deployment.get_statuses())).log_url


OVERTIME = """
on: {push: {branches: [late]}}
jobs:
  late:
    timeout-minutes: 1
    runs-on: ubuntu-latest
    steps: [{run: "sleep 400"}, {run: "echo never"}]
  patient:
    timeout-minutes: 60
    runs-on: ubuntu-latest
    steps: [{run: "sleep 6"}]
  verdict:
    needs: [late, patient]
    if: always()
    runs-on: ubuntu-latest
    steps: [{run: "echo late was ${{ needs.late.result }}, patient ${{ needs.patient.result }}"}]
"""


@pytest.mark.slow
def test_a_job_ends_when_its_time_is_over_and_the_others_go_on(
    running_server: Server, repo: github.Repository.Repository, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sandbox.actions.actions.SECONDS_PER_MINUTE", 3.0)
    clone.branch("late", {".github/workflows/late.yml": OVERTIME})
    run = finished(repo, branch="late")
    found = {job.name: job.conclusion for job in run.jobs()}
    assert found == {"late": "cancelled", "patient": "success", "verdict": "success"}
    log = log_of(repo, run, "late")
    assert "has exceeded the maximum execution time of 1 minutes." in log and "never" not in log.splitlines()[-1]
    assert "late was failure, patient success" in log_of(repo, run, "verdict"), "act's word; GitHub's is cancelled"
