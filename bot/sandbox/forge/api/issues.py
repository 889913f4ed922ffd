"""Comments of pull requests, which are issues too: https://docs.github.com/rest/issues."""

from __future__ import annotations

from fastapi import APIRouter, Response

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Found, Paged, Writer, found
from bot.sandbox.forge.store import Comment

router = APIRouter(prefix="/repos/{owner}/{name}/issues")


class NewComment(Body):
    body: str


@router.get("/{number}")
def get_issue(repository: Found, _: Anyone, number: int) -> Json:
    return repository.answers.issue(repository.pull(number))


@router.get("/{number}/comments")
def list_comments(repository: Found, _: Anyone, pages: Paged, number: int) -> list[Json]:
    return pages.of(repository.store.comments(repository.pull(number).number), repository.answers.comment)


@router.post("/{number}/comments", status_code=201)
def create_comment(repository: Found, person: Writer, number: int, new: NewComment, response: Response) -> Json:
    answer = repository.answers.comment(repository.add_comment(number, body=new.body, by=person))
    response.headers["Location"] = answer["url"]
    return answer


@router.patch("/comments/{identifier}")
def update_comment(repository: Found, person: Writer, identifier: int, changed: NewComment) -> Json:
    comment = found(repository.store.get(Comment, identifier))
    return repository.answers.comment(repository.edit_comment(comment, body=changed.body, by=person))
