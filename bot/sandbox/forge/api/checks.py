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


class ChangedCheck(Body):
    name: str | None = None
    status: Literal["queued", "in_progress", "completed"] | None = None
    conclusion: Conclusion | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    details_url: str | None = None
    external_id: str | None = None
    output: dict[str, str] | None = Field(default=None, exclude=True)

    def facts(self, before: CheckOutput) -> dict[str, object]:
        """The changed fields of a check. A conclusion completes the check, now unless the request says when."""
        said: dict[str, object] = self.model_dump(exclude_none=True)
        if self.conclusion:
            said |= {"status": "completed", "completed_at": self.completed_at or now()}
        return said | {"output": before.model_copy(update=self.output or {})}


class NewCheck(ChangedCheck):
    name: str
    head_sha: str = Field(exclude=True)


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
    if person.type != "Bot":
        raise ApiError(403, "You must authenticate via a GitHub App.")
    fresh = {"status": "queued", "conclusion": None, "started_at": now(), "completed_at": None}
    who = {"id": repository.store.next_id(), "sha": commit_of(repository, new.head_sha), "creator": person.login}
    addresses = {"details_url": "", "external_id": ""}
    check = CheckRun.model_validate({**fresh, **addresses, **who, **new.facts(CheckOutput())})
    repository.store.put(check)
    return repository.answers.check(check)


@router.get("/check-runs/{identifier}")
def get_check(repository: Found, _: Anyone, identifier: int) -> Json:
    if job := repository.actions.runs.job(identifier):
        return repository.answers.job_check(*job)
    return repository.answers.check(found(repository.store.get(CheckRun, identifier)))


@router.patch("/check-runs/{identifier}")
def update_check(repository: Found, person: Writer, identifier: int, changed: ChangedCheck) -> Json:
    check = found(repository.store.get(CheckRun, identifier))
    if check.creator != person.login:
        raise ApiError(403, "Invalid app_id - check run can only be modified by the GitHub App that created it.")
    check = check.model_copy(update=changed.facts(check.output))
    repository.store.put(check)
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
