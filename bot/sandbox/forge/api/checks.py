"""Commit statuses and check runs: https://docs.github.com/rest/commits/statuses and …/rest/checks."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from urllib.parse import quote

from fastapi import APIRouter

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Paged, Repository, Writer
from bot.sandbox.forge.errors import ApiError, not_found
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.store import CheckOutput, CheckRun, Status, now

router = APIRouter(prefix="/repos/{owner}/{name}")

Conclusion = Literal["action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out"]


class NewStatus(Body):
    state: Literal["error", "failure", "pending", "success"]
    context: str = "default"
    description: str | None = None
    target_url: str | None = None


class Output(Body):
    title: str | None = None
    summary: str | None = None
    text: str | None = None


class NewCheck(Body):
    name: str
    head_sha: str
    status: Literal["queued", "in_progress", "completed"] = "queued"
    conclusion: Conclusion | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    details_url: str | None = None
    external_id: str | None = None
    output: Output | None = None


class ChangedCheck(Body):
    name: str | None = None
    status: Literal["queued", "in_progress", "completed"] | None = None
    conclusion: Conclusion | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    details_url: str | None = None
    external_id: str | None = None
    output: Output | None = None


@router.post("/statuses/{sha}", status_code=201)
def create_status(repository: Repository, person: Writer, sha: str, new: NewStatus) -> Json:
    status = Status(
        id=repository.store.next_id(),
        sha=_sha(repository, sha),
        state=new.state,
        context=new.context,
        description=new.description or "",
        target_url=new.target_url or "",
        creator=person.login,
        created_at=now(),
    )
    repository.store.put(status)
    return repository.answers.status(status)


@router.get("/commits/{ref:path}/statuses")
@router.get("/statuses/{ref:path}")  # where it was once; PyGithub still asks here
def list_statuses(repository: Repository, _: Anyone, pages: Paged, ref: str) -> list[Json]:
    return pages.of(repository.store.statuses(_sha(repository, ref)), repository.answers.status)


@router.get("/commits/{ref:path}/status")
def get_combined_status(repository: Repository, _: Anyone, pages: Paged, ref: str) -> Json:
    """The newest status of each context, and what they come to."""
    sha = _sha(repository, ref)
    latest = {status.context: status for status in reversed(repository.store.statuses(sha))}
    states = {status.state for status in latest.values()}
    sum_of_all_green = "success" if states == {"success"} else "pending"
    combined = "failure" if states & {"error", "failure"} else sum_of_all_green
    return {
        "state": combined,
        "statuses": pages.of(list(latest.values()), repository.answers.simple_status),
        "sha": sha,
        "total_count": len(latest),
        "repository": repository.answers.minimal_repository(),
        "commit_url": f"{repository.answers.repo_api}/commits/{sha}",
        "url": f"{repository.answers.repo_api}/commits/{sha}/status",
    }


@router.get("/commits/{ref:path}/check-runs")
def list_checks(
    repository: Repository,
    _: Anyone,
    pages: Paged,
    ref: str,
    check_name: str = "",
    status: str = "",
    filter: Literal["latest", "all"] = "latest",  # noqa: A002 - GitHub's name for it
) -> Json:
    sha = _sha(repository, ref)
    answers = repository.answers
    found = [answers.job_check(run, job) for run, job in repository.jobs_on(sha, latest=filter == "latest")]
    found += [answers.check(check) for check in repository.store.checks(sha)]
    found = [check for check in found if check_name in ("", check["name"]) and status in ("", check["status"])]
    return {"total_count": len(found), "check_runs": pages.of(found, lambda check: check)}


@router.post("/check-runs", status_code=201)
def create_check(repository: Repository, person: Writer, new: NewCheck) -> Json:
    if person.type != "Bot":
        raise ApiError(403, "You must authenticate via a GitHub App.")
    check = CheckRun(
        id=repository.store.next_id(),
        name=new.name,
        sha=_sha(repository, new.head_sha),
        status="completed" if new.conclusion else new.status,
        conclusion=new.conclusion,
        started_at=new.started_at or now(),
        completed_at=new.completed_at or (now() if new.conclusion else None),
        details_url=new.details_url or "",
        external_id=new.external_id or "",
        output=_output(new.output, CheckOutput()),
        creator=person.login,
    )
    repository.store.put(check)
    return repository.answers.check(check)


@router.get("/check-runs/{identifier}")
def get_check(repository: Repository, _: Anyone, identifier: int) -> Json:
    if found := repository.actions.runs.job(identifier):
        return repository.answers.job_check(*found)
    return repository.answers.check(_check(repository, identifier))


@router.patch("/check-runs/{identifier}")
def update_check(repository: Repository, person: Writer, identifier: int, changed: ChangedCheck) -> Json:
    check = _check(repository, identifier)
    if check.creator != person.login:
        raise ApiError(403, "Invalid app_id - check run can only be modified by the GitHub App that created it.")
    given = changed.model_dump(exclude_none=True, exclude={"output"})
    if changed.conclusion:
        given |= {"status": "completed", "completed_at": changed.completed_at or now()}
    check = check.model_copy(update={**given, "output": _output(changed.output, check.output)})
    repository.store.put(check)
    return repository.answers.check(check)


@router.get("/check-runs/{identifier}/annotations")
def list_annotations(repository: Repository, _: Anyone, pages: Paged, identifier: int) -> list[Json]:
    found = repository.actions.runs.job(identifier)
    if found is None:
        _check(repository, identifier)
        return []
    return pages.of(
        found[1].annotations,
        lambda annotation: {
            "path": annotation.path,
            "blob_href": f"{repository.answers.page}/blob/{found[0].head_sha}/{quote(annotation.path)}",
            "start_line": annotation.line,
            "end_line": annotation.line,
            "start_column": None,
            "end_column": None,
            "annotation_level": annotation.level,
            "message": annotation.message,
            "title": None,
            "raw_details": None,
        },
    )


def _sha(forge: Forge, ref: str) -> str:
    sha = forge.git.resolve(ref.removeprefix("heads/").removeprefix("tags/"))
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {ref}")
    return sha


def _check(forge: Forge, identifier: int) -> CheckRun:
    check = forge.store.check(identifier)
    if check is None:
        raise not_found()
    return check


def _output(given: Output | None, before: CheckOutput) -> CheckOutput:
    return before.model_copy(update=given.model_dump(exclude_none=True)) if given else before
