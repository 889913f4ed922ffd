"""Deployments, their statuses, and webhooks: https://docs.github.com/rest/deployments and …/rest/repos/webhooks."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Paged, Repository, Writer
from bot.sandbox.forge.errors import invalid, not_found
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.store import Deployment, DeploymentState, Hook

router = APIRouter(prefix="/repos/{owner}/{name}")


class NewDeployment(Body):
    ref: str
    task: str = "deploy"
    auto_merge: bool = True
    required_contexts: tuple[str, ...] | None = None
    payload: dict[str, Any] | str = Field(default_factory=dict)
    environment: str = "production"
    description: str | None = None
    transient_environment: bool = False
    production_environment: bool | None = None


class NewDeploymentStatus(Body):
    state: DeploymentState
    target_url: str = ""
    log_url: str = ""
    description: str = ""
    environment: str | None = None
    environment_url: str = ""
    auto_inactive: bool = True


class HookConfig(Body):
    url: str
    content_type: str = "form"
    secret: str = ""
    insecure_ssl: str | float = "0"


class NewHook(Body):
    name: Literal["web"] = "web"
    config: HookConfig
    events: tuple[str, ...] = ("push",)
    active: bool = True


@router.get("/deployments")
def list_deployments(
    repository: Repository,
    _: Anyone,
    pages: Paged,
    sha: str = "",
    ref: str = "",
    task: str = "",
    environment: str = "",
) -> list[Json]:
    found = [
        one
        for one in repository.store.deployments()
        if sha in ("", "none", one.sha)
        and ref in ("", "none", one.ref)
        and task in ("", "none", one.task)
        and environment in ("", "none", one.environment)
    ]
    return pages.of(found, repository.answers.deployment)


@router.post("/deployments", status_code=201)
def create_deployment(repository: Repository, person: Writer, new: NewDeployment) -> Json:
    is_production = new.production_environment
    deployment = repository.deploy(
        ref=new.ref,
        task=new.task,
        environment=new.environment,
        description=new.description or "",
        payload=new.payload,
        required=new.required_contexts,
        transient=new.transient_environment,
        production=new.environment == "production" if is_production is None else is_production,
        by=person,
    )
    return repository.answers.deployment(deployment)


@router.get("/deployments/{identifier}")
def get_deployment(repository: Repository, _: Anyone, identifier: int) -> Json:
    return repository.answers.deployment(_deployment(repository, identifier))


@router.get("/deployments/{identifier}/statuses")
def list_deployment_statuses(repository: Repository, _: Anyone, pages: Paged, identifier: int) -> list[Json]:
    deployment = _deployment(repository, identifier)
    statuses = list(reversed(repository.store.deployment_statuses(identifier)))
    return pages.of(statuses, lambda status: repository.answers.deployment_status(deployment, status))


@router.post("/deployments/{identifier}/statuses", status_code=201)
def create_deployment_status(
    repository: Repository, person: Writer, identifier: int, new: NewDeploymentStatus
) -> Json:
    deployment = _deployment(repository, identifier)
    status = repository.report_deployment(
        deployment,
        state=new.state,
        description=new.description,
        log_url=new.log_url or new.target_url,
        environment_url=new.environment_url,
        auto_inactive=new.auto_inactive,
        by=person,
    )
    return repository.answers.deployment_status(deployment, status)


@router.get("/hooks")
def list_hooks(repository: Repository, _: Writer, pages: Paged) -> list[Json]:
    return pages.of(repository.store.hooks(), repository.answers.hook)


@router.post("/hooks", status_code=201)
def create_hook(repository: Repository, _: Writer, new: NewHook) -> Json:
    if not new.config.url.startswith(("http://", "https://")):
        raise invalid("Hook", field="url", message="url is not a valid http/https URL")
    if new.config.content_type != "json":
        raise invalid("Hook", field="content_type", message="the forge delivers JSON only")
    hook = Hook(
        id=repository.store.next_id(),
        url=new.config.url,
        secret=new.config.secret,
        events=new.events,
        active=new.active,
    )
    repository.add_hook(hook)
    return repository.answers.hook(hook)


@router.delete("/hooks/{identifier}", status_code=204)
def delete_hook(repository: Repository, _: Writer, identifier: int) -> Response:
    if all(hook.id != identifier for hook in repository.store.hooks()):
        raise not_found()
    repository.store.drop_hook(identifier)
    return Response(status_code=204)


def _deployment(forge: Forge, identifier: int) -> Deployment:
    found = [one for one in forge.store.deployments() if one.id == identifier]
    if not found:
        raise not_found()
    return found[0]
