"""Check runs, and the deployments that jobs are: https://docs.github.com/rest/checks and …/rest/deployments."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import Field

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Found, Paged, Writer, commit_of, found
from bot.sandbox.forge.errors import ApiError
from bot.sandbox.forge.store import CheckOutput, CheckRun, Deployment, now

router = APIRouter(prefix="/repos/{owner}/{name}")

Conclusion = Literal["action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out"]


class NewCheck(Body):
    name: str
    head_sha: str = Field(exclude=True)
    status: Literal["queued", "in_progress", "completed"] = "queued"
    conclusion: Conclusion | None = None
    started_at: datetime = Field(default_factory=now)
    completed_at: datetime | None = None
    details_url: str = ""
    external_id: str = ""
    output: CheckOutput = CheckOutput()


@router.get("/commits/{ref:path}/check-runs")
def list_checks(
    repository: Found,
    _: Anyone,
    pages: Paged,
    ref: str,
    check_name: str = "",
    status: str = "",
    filter: Literal["latest", "all"] = "latest",  # noqa: A002 - GitHub's name for it
) -> Json:
    sha, answers = commit_of(repository, ref), repository.answers
    checks = [answers.job_check(run, job) for run, job in repository.jobs_on(sha, latest=filter == "latest")]
    checks += [answers.check(check) for check in repository.store.checks(sha)]
    checks = [one for one in checks if check_name in ("", one["name"]) and status in ("", one["status"])]
    return {"total_count": len(checks), "check_runs": pages.of(checks, lambda check: check)}


@router.post("/check-runs", status_code=201)
def create_check(repository: Found, person: Writer, new: NewCheck) -> Json:
    """Report a check; one that has a conclusion is completed, now unless the request says when."""
    if person.type != "Bot":
        raise ApiError(403, "You must authenticate via a GitHub App.")
    said = new.model_dump()
    if new.conclusion:
        said |= {"status": "completed", "completed_at": new.completed_at or now()}
    who = {"id": repository.store.next_id(), "sha": commit_of(repository, new.head_sha), "creator": person.login}
    check = CheckRun.model_validate({**said, **who})
    repository.store.put(check)
    repository.advance()
    return repository.answers.check(check)


@router.get("/check-runs/{identifier}/annotations")
def list_annotations(repository: Found, _: Anyone, pages: Paged, identifier: int) -> list[Json]:
    run, job = found(repository.actions.runs.job(identifier))
    return pages.of(
        job.annotations,
        lambda annotation: {
            "path": annotation.path,
            "annotation_level": annotation.level,
            "message": annotation.message,
            "blob_href": f"{repository.answers.page}/blob/{run.head_sha}/{quote(annotation.path)}",
            **dict.fromkeys(("start_line", "end_line"), annotation.line),
            **dict.fromkeys(("start_column", "end_column", "title", "raw_details")),
        },
    )


@router.get("/deployments")
def list_deployments(repository: Found, _: Anyone, pages: Paged, sha: str = "", environment: str = "") -> list[Json]:
    deployments = [
        one
        for one in reversed(repository.store.all(Deployment))
        if sha in ("", "none", one.sha) and environment in ("", "none", one.environment)
    ]
    return pages.of(deployments, repository.answers.deployment)


@router.get("/deployments/{identifier}/statuses")
def list_deployment_statuses(repository: Found, _: Anyone, pages: Paged, identifier: int) -> list[Json]:
    deployment = found(repository.store.get(Deployment, identifier))
    statuses = list(reversed(repository.store.deployment_statuses(identifier)))
    return pages.of(statuses, lambda status: repository.answers.deployment_status(deployment, status))
