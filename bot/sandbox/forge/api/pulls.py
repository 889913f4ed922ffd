"""Pull requests: https://docs.github.com/rest/pulls."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Found, Paged, Writer
from bot.sandbox.forge.errors import invalid, unprocessable
from bot.sandbox.forge.store import MergeMethod

router = APIRouter(prefix="/repos/{owner}/{name}/pulls")


class NewPull(Body):
    title: str
    head: str
    base: str
    body: str | None = None
    draft: bool = False


class ChangedPull(Body):
    title: str | None = None
    body: str | None = None
    state: str | None = None
    base: None = None
    """Nobody moves one to another branch here."""


class Merge(Body):
    commit_title: str | None = None
    commit_message: str | None = None
    sha: str | None = None
    merge_method: MergeMethod = "merge"


class NewReview(Body):
    body: str | None = None
    event: Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"] | None = None
    commit_id: str | None = None


@router.get("")
def list_pulls(
    repository: Found,
    _: Anyone,
    pages: Paged,
    state: Literal["open", "closed", "all"] = "open",
    head: str = "",
    base: str = "",
    sort: Literal["created", "updated", "popularity", "long-running"] = "created",
    direction: Literal["asc", "desc"] | None = None,
) -> list[Json]:
    found = [
        pull
        for pull in repository.store.pulls()
        if state in ("all", pull.state)
        # GitHub filters by "owner:branch" and ignores a bare branch name.
        and (":" not in head or f"{repository.owner}:{pull.head}" == head)
        and base in ("", pull.base)
    ]
    found.sort(key=lambda pull: (pull.updated_at if sort == "updated" else pull.created_at, pull.number))
    if (direction or ("desc" if sort == "created" else "asc")) == "desc":
        found.reverse()
    return pages.of(found, repository.answers.pull)


@router.post("", status_code=201)
def create_pull(repository: Found, person: Writer, new: NewPull, response: Response) -> Json:
    if not new.title.strip():
        raise invalid("PullRequest", field="title", code="missing_field")
    if new.draft:
        raise unprocessable("Draft pull requests are not supported in this repository.")
    pull = repository.open_pull(title=new.title, body=new.body or "", head=new.head, base=new.base, by=person)
    answer = repository.answers.whole_pull(pull, is_new=True)
    response.headers["Location"] = answer["url"]
    return answer


@router.get("/{number}")
def get_pull(repository: Found, _: Anyone, number: int) -> Json:
    return repository.answers.whole_pull(repository.pull(number))


@router.patch("/{number}")
def update_pull(repository: Found, person: Writer, number: int, changed: ChangedPull) -> Json:
    pull = repository.edit_pull(number, title=changed.title, body=changed.body, state=changed.state, by=person)
    return repository.answers.whole_pull(pull)


@router.get("/{number}/files")
def list_files(repository: Found, _: Anyone, pages: Paged, number: int) -> list[Json]:
    pull = repository.pull(number)
    return pages.of(repository.pull_files(pull), lambda file: repository.answers.file(file, pull.head_sha))


@router.put("/{number}/merge")
def merge_pull(repository: Found, person: Writer, number: int, merge: Merge | None = None) -> Json:
    merge = merge or Merge()
    merged = repository.merge_pull(
        number,
        method=merge.merge_method,
        sha=merge.sha,
        title=merge.commit_title,
        message=merge.commit_message,
        by=person,
    )
    return {"sha": merged.merge_commit, "merged": True, "message": "Pull Request successfully merged"}


@router.get("/{number}/reviews")
def list_reviews(repository: Found, _: Anyone, pages: Paged, number: int) -> list[Json]:
    return pages.of(repository.store.reviews(repository.pull(number).number), repository.answers.review)


@router.post("/{number}/reviews")
def create_review(repository: Found, person: Writer, number: int, new: NewReview) -> Json:
    states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
    if new.event in ("REQUEST_CHANGES", "COMMENT") and not new.body:
        raise unprocessable("Unprocessable Entity")
    state = states[new.event] if new.event else "PENDING"
    review = repository.add_review(number, state=state, body=new.body or "", commit=new.commit_id, by=person)
    return repository.answers.review(review)
