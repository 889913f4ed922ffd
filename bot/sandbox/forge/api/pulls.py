"""Pull requests: https://docs.github.com/rest/pulls."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Paged, Repository, Writer
from bot.sandbox.forge.errors import invalid, not_found, unprocessable
from bot.sandbox.forge.forge import MergeMethod

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
    base: str | None = None


class Merge(Body):
    commit_title: str | None = None
    commit_message: str | None = None
    sha: str | None = None
    merge_method: MergeMethod = "merge"


class Update(Body):
    expected_head_sha: str | None = None


class NewReview(Body):
    body: str | None = None
    event: Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"] | None = None
    commit_id: str | None = None


class Reviewers(Body):
    reviewers: tuple[str, ...] = ()


@router.get("")
def list_pulls(
    repository: Repository,
    _: Anyone,
    pages: Paged,
    state: Literal["open", "closed", "all"] = "open",
    head: str = "",
    base: str = "",
    sort: Literal["created", "updated", "popularity", "long-running"] = "created",
    direction: Literal["asc", "desc"] | None = None,
) -> list[Json]:
    owner = repository.repository.split("/")[0]
    found = [
        pull
        for pull in repository.store.pulls()
        if state in ("all", pull.state)
        # GitHub filters by "owner:branch"; a bare branch name is no filter there.
        and (":" not in head or f"{owner}:{pull.head}" == head)
        and base in ("", pull.base)
    ]
    found.sort(key=lambda pull: (pull.updated_at if sort == "updated" else pull.created_at, pull.number))
    if (direction or ("desc" if sort == "created" else "asc")) == "desc":
        found.reverse()
    return pages.of(found, repository.answers.pull)


@router.post("", status_code=201)
def create_pull(repository: Repository, person: Writer, new: NewPull, response: Response) -> Json:
    if not new.title.strip():
        raise invalid("PullRequest", field="title", code="missing_field")
    pull = repository.open_pull(
        title=new.title, body=new.body or "", head=new.head, base=new.base, draft=new.draft, by=person
    )
    answer = repository.answers.whole_pull(pull, is_new=True)
    response.headers["Location"] = answer["url"]
    return answer


@router.get("/{number}")
def get_pull(repository: Repository, _: Anyone, number: int) -> Json:
    return repository.answers.whole_pull(repository.pull(number))


@router.patch("/{number}")
def update_pull(repository: Repository, person: Writer, number: int, changed: ChangedPull) -> Json:
    pull = repository.edit_pull(
        number, title=changed.title, body=changed.body, state=changed.state, base=changed.base, by=person
    )
    return repository.answers.whole_pull(pull)


@router.get("/{number}/commits")
def list_commits(repository: Repository, _: Anyone, pages: Paged, number: int) -> list[Json]:
    return pages.of(repository.pull_commits(repository.pull(number)), repository.answers.commit)


@router.get("/{number}/files")
def list_files(repository: Repository, _: Anyone, pages: Paged, number: int) -> list[Json]:
    pull = repository.pull(number)
    return pages.of(repository.pull_files(pull), lambda file: repository.answers.file(file, pull.head_sha))


@router.get("/{number}/merge")
def check_merged(repository: Repository, _: Anyone, number: int) -> Response:
    if repository.pull(number).merged_at is None:
        raise not_found()
    return Response(status_code=204)


@router.put("/{number}/merge")
def merge_pull(repository: Repository, person: Writer, number: int, merge: Merge | None = None) -> Json:
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


@router.put("/{number}/update-branch", status_code=202)
def update_branch(repository: Repository, person: Writer, number: int, wanted: Update | None = None) -> Json:
    repository.update_branch(number, expected=wanted.expected_head_sha if wanted else None, by=person)
    return {"message": "Updating pull request branch.", "url": f"{repository.answers.repo_api}/pulls/{number}"}


@router.get("/{number}/reviews")
def list_reviews(repository: Repository, _: Anyone, pages: Paged, number: int) -> list[Json]:
    return pages.of(repository.store.reviews(repository.pull(number).number), repository.answers.review)


@router.post("/{number}/reviews")
def create_review(repository: Repository, person: Writer, number: int, new: NewReview) -> Json:
    states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
    if new.event in ("REQUEST_CHANGES", "COMMENT") and not new.body:
        raise unprocessable("Unprocessable Entity")
    state = states[new.event] if new.event else "PENDING"
    review = repository.add_review(number, state=state, body=new.body or "", commit=new.commit_id, by=person)
    return repository.answers.review(review)


@router.get("/{number}/comments")
def list_review_comments(repository: Repository, _: Anyone, number: int) -> list[Json]:
    """Comments on lines of the diff; the forge has none."""
    repository.pull(number)
    return []


@router.post("/{number}/requested_reviewers", status_code=201)
def request_reviewers(repository: Repository, person: Writer, number: int, asked: Reviewers) -> Json:
    return repository.answers.pull(repository.request_reviewers(number, asked.reviewers, by=person))
