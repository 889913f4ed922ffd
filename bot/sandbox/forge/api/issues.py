"""Comments and labels of pull requests, which are issues too: https://docs.github.com/rest/issues."""

from __future__ import annotations

from typing import Annotated, Literal

import fastapi
from fastapi import APIRouter, Response

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Paged, Repository, Writer
from bot.sandbox.forge.errors import invalid, not_found
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.store import Comment, Label

router = APIRouter(prefix="/repos/{owner}/{name}")


class NewComment(Body):
    body: str


class Names(Body):
    labels: tuple[str, ...] = ()


# GitHub takes both ["a"] and {"labels": ["a"]}.
LabelNames = Annotated[list[str] | Names, fastapi.Body()]


class NewLabel(Body):
    name: str
    color: str = "ededed"
    description: str | None = None


class ChangedIssue(Body):
    title: str | None = None
    body: str | None = None
    state: str | None = None
    labels: tuple[str, ...] | None = None


@router.get("/issues")
def list_issues(
    repository: Repository,
    _: Anyone,
    pages: Paged,
    state: Literal["open", "closed", "all"] = "open",
    labels: str = "",
) -> list[Json]:
    wanted = {label for label in labels.split(",") if label}
    found = [
        pull
        for pull in reversed(repository.store.pulls())
        if state in ("all", pull.state) and wanted <= set(pull.labels)
    ]
    return pages.of(found, repository.answers.issue)


@router.get("/issues/{number}")
def get_issue(repository: Repository, _: Anyone, number: int) -> Json:
    return repository.answers.issue(repository.pull(number))


@router.patch("/issues/{number}")
def update_issue(repository: Repository, person: Writer, number: int, changed: ChangedIssue) -> Json:
    repository.edit_pull(number, title=changed.title, body=changed.body, state=changed.state, base=None, by=person)
    if changed.labels is not None:
        repository.set_labels(number, changed.labels, by=person)
    return repository.answers.issue(repository.pull(number))


@router.get("/issues/{number}/comments")
def list_comments(repository: Repository, _: Anyone, pages: Paged, number: int) -> list[Json]:
    return pages.of(repository.store.comments(repository.pull(number).number), repository.answers.comment)


@router.post("/issues/{number}/comments", status_code=201)
def create_comment(repository: Repository, person: Writer, number: int, new: NewComment, response: Response) -> Json:
    answer = repository.answers.comment(repository.add_comment(number, body=new.body, by=person))
    response.headers["Location"] = answer["url"]
    return answer


@router.get("/issues/comments/{identifier}")
def get_comment(repository: Repository, _: Anyone, identifier: int) -> Json:
    return repository.answers.comment(_comment(repository, identifier))


@router.patch("/issues/comments/{identifier}")
def update_comment(repository: Repository, person: Writer, identifier: int, changed: NewComment) -> Json:
    comment = repository.edit_comment(_comment(repository, identifier), body=changed.body, by=person)
    return repository.answers.comment(comment)


@router.delete("/issues/comments/{identifier}", status_code=204)
def delete_comment(repository: Repository, _: Writer, identifier: int) -> Response:
    repository.store.remove_comment(_comment(repository, identifier))
    return Response(status_code=204)


@router.get("/issues/{number}/labels")
def list_labels(repository: Repository, _: Anyone, pages: Paged, number: int) -> list[Json]:
    return pages.of(repository.pull(number).labels, repository.answers.label_named)


@router.post("/issues/{number}/labels")
def add_labels(repository: Repository, person: Writer, number: int, given: LabelNames) -> list[Json]:
    labels = (*repository.pull(number).labels, *_names(given))
    return [repository.answers.label_named(name) for name in repository.set_labels(number, labels, by=person).labels]


@router.put("/issues/{number}/labels")
def set_labels(repository: Repository, person: Writer, number: int, given: LabelNames) -> list[Json]:
    labels = repository.set_labels(number, _names(given), by=person).labels
    return [repository.answers.label_named(name) for name in labels]


@router.delete("/issues/{number}/labels/{label}")
def remove_label(repository: Repository, person: Writer, number: int, label: str) -> list[Json]:
    labels = repository.pull(number).labels
    if label.lower() not in {known.lower() for known in labels}:
        raise not_found()
    left = [known for known in labels if known.lower() != label.lower()]
    return [repository.answers.label_named(name) for name in repository.set_labels(number, left, by=person).labels]


@router.get("/labels")
def list_all_labels(repository: Repository, _: Anyone, pages: Paged) -> list[Json]:
    return pages.of(repository.store.labels(), repository.answers.label)


@router.post("/labels", status_code=201)
def create_label(repository: Repository, _: Writer, new: NewLabel) -> Json:
    if repository.store.label(new.name) is not None:
        raise invalid("Label", field="name", code="already_exists")
    label = Label(
        id=repository.store.next_id(), name=new.name, color=new.color.lstrip("#"), description=new.description or ""
    )
    repository.store.put(label)
    return repository.answers.label(label)


@router.get("/labels/{name_of_label}")
def get_label(repository: Repository, _: Anyone, name_of_label: str) -> Json:
    label = repository.store.label(name_of_label)
    if label is None:
        raise not_found()
    return repository.answers.label(label)


def _comment(forge: Forge, identifier: int) -> Comment:
    comment = forge.store.comment(identifier)
    if comment is None:
        raise not_found()
    return comment


def _names(given: list[str] | Names) -> tuple[str, ...]:
    return given.labels if isinstance(given, Names) else tuple(given)
