"""The repository, its people, references, commits and files: https://docs.github.com/rest/repos and …/rest/git."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import (
    Administrator,
    Anyone,
    Body,
    Found,
    Server,
    Writer,
    commit_of,
    refused,
)
from bot.sandbox.forge.errors import ApiError, unprocessable
from bot.sandbox.forge.store import Protection

router = APIRouter()

REPO = "/repos/{owner}/{name}"


class NewRef(Body):
    ref: str
    sha: str


class ChangedRepository(Body):
    name: str | None = None
    allow_merge_commit: bool | None = None
    allow_squash_merge: bool | None = None
    allow_rebase_merge: bool | None = None
    allow_auto_merge: bool | None = None


class NamedCheck(Body):
    context: str
    app_id: int | None = None


class WantedChecks(Body):
    strict: bool
    contexts: tuple[str, ...] = ()
    checks: tuple[NamedCheck, ...] = ()


class WantedReviews(Body):
    required_approving_review_count: int = Field(default=1, ge=0, le=6)


class WantedProtection(Body):
    """Every field must be given; null switches it off."""

    required_status_checks: WantedChecks | None
    enforce_admins: bool | None
    required_pull_request_reviews: WantedReviews | None
    restrictions: dict[str, Any] | None


@router.get("/user")
def get_user(server: Server, person: Anyone) -> Json:
    if person.type == "Bot":  # Apps and workflows do not count as users
        raise refused(person)
    return server.answers.whole_user(person.login)


@router.get("/users/{login}")
def get_named_user(server: Server, _: Anyone, login: str) -> Json:
    return server.answers.whole_user(login)


@router.get("/rate_limit")
def get_rate_limit(server: Server, person: Anyone) -> Json:
    core = server.limits.state(person)
    return {"resources": {"core": core, "search": core, "graphql": core}, "rate": core}


@router.get(REPO)
def get_repository(repository: Found, person: Anyone) -> Json:
    return repository.answers.whole_repository(person)


@router.patch(REPO)
def change_repository(repository: Found, person: Administrator, changed: ChangedRepository) -> Json:
    """Rename it, and say how pull requests may be merged, and whether by auto-merge."""
    methods = repository.store.settings.methods
    asked = {"merge": changed.allow_merge_commit, "squash": changed.allow_squash_merge}
    asked["rebase"] = changed.allow_rebase_merge
    wanted = tuple(one for one, allowed in asked.items() if (one in methods if allowed is None else allowed))
    if not wanted:
        raise unprocessable("Sorry, you need to allow at least one merge strategy.")
    repository.store.set(methods=wanted)
    if changed.allow_auto_merge is not None:
        repository.store.set(allow_auto_merge=changed.allow_auto_merge)
    if changed.name:
        repository.rename(f"{repository.owner}/{changed.name}")
    return repository.answers.whole_repository(person)


@router.get(REPO + "/branches/{branch:path}/protection")
def get_protection(repository: Found, _: Administrator, branch: str) -> Json:
    rules = repository.store.protection(branch)
    if rules is None:
        raise ApiError(404, "Branch not protected")
    return repository.answers.protection(rules)


@router.put(REPO + "/branches/{branch:path}/protection")
def protect(repository: Found, _: Administrator, branch: str, wanted: WantedProtection) -> Json:
    if repository.git.branch(branch) is None:
        raise ApiError(404, "Branch not found")
    checks, reviews = wanted.required_status_checks, wanted.required_pull_request_reviews
    named = (*checks.contexts, *(check.context for check in checks.checks)) if checks else ()
    rules = Protection(
        branch=branch,
        checks=tuple(dict.fromkeys(named)),
        up_to_date=checks is not None and checks.strict,
        reviews=reviews.required_approving_review_count if reviews else 0,
        only_by_pull_request=reviews is not None,
        for_admins=bool(wanted.enforce_admins),
    )
    repository.store.put(rules)
    return repository.answers.protection(rules)


@router.delete(REPO + "/branches/{branch:path}/protection", status_code=204)
def unprotect(repository: Found, _: Administrator, branch: str) -> Response:
    if repository.store.protection(branch) is None:
        raise ApiError(404, "Branch not protected")
    repository.store.drop_protection(branch)
    return Response(status_code=204)


@router.get(REPO + "/branches/{branch:path}")
def get_branch(repository: Found, _: Anyone, branch: str) -> Json:
    sha = repository.git.branch(branch)
    if sha is None:
        raise ApiError(404, "Branch not found")
    return repository.answers.branch(branch, sha)


@router.post(REPO + "/git/refs", status_code=201)
def create_ref(repository: Found, person: Writer, new: NewRef, response: Response) -> Json:
    repository.create_ref(new.ref, new.sha, by=person)
    answer = repository.answers.ref(new.ref)
    response.headers["Location"] = answer["url"]
    return answer


# Last, because its reference may hold slashes and so would take the others' calls.
@router.get(REPO + "/commits/{ref:path}")
def get_commit(repository: Found, _: Anyone, ref: str, request: Request) -> Any:
    commit = repository.git.commit(commit_of(repository, ref))
    if "sha" in request.headers.get("accept", ""):
        return Response(commit.sha, media_type="application/vnd.github.sha; charset=utf-8")
    return repository.answers.commit_with_files(commit, repository.git.changes_of(commit))
