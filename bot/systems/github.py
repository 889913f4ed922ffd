"""GitHub's REST API, through PyGithub."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from github import Auth, Github, GithubException
from github.PullRequest import PullRequest as _PullRequest

from bot.errors import Rejected, Unavailable
from bot.retry import patient, patient_when_told, seconds_asked_for
from bot.settings import GitHub


@dataclass(frozen=True)
class PullRequest:
    """A pull request as the bot needs it."""

    number: int
    url: str
    title: str
    body: str
    state: str
    merged: bool
    branch: str
    head: str
    base: str
    author: str


class GitHubRepository:
    """One repository on GitHub. Errors are Unavailable or Rejected."""

    def __init__(self, settings: GitHub, *, token: str, request_seconds: float) -> None:
        self._settings = settings
        self._system = f"GitHub ({settings.repository})"
        self.patience_seconds = request_seconds
        self._github = Github(
            auth=Auth.Token(token),
            base_url=settings.api_url,
            timeout=max(1, round(request_seconds)),
            # PyGithub's own would sleep here until a rate limit ends, and make a comment twice whose answer was lost.
            retry=0,
            user_agent="promobot",
            per_page=100,
            seconds_between_requests=None,
            seconds_between_writes=None,
            lazy=True,
        )
        self._repository = self._github.get_repo(settings.repository)

    @patient
    def login(self) -> str:
        """Return who the token belongs to."""
        with self._errors("ask who I am"):
            return self._github.get_user().login

    @patient
    def permission(self) -> str:
        """Return what the token may do here: admin, maintain, push, triage or pull."""
        with self._errors("read the repository"):
            allowed = self._github.get_repo(self._settings.repository).permissions
        names = ("admin", "maintain", "push", "triage", "pull")
        return next((name for name in names if getattr(allowed, name, False)), "none")

    @patient
    def pull_request(self, number: int) -> PullRequest:
        """Return a pull request."""
        with self._errors(f"read pull request #{number}"):
            return _pull_request(self._repository.get_pull(number))

    @patient
    def open_pull_requests(self, *, prefix: str) -> list[PullRequest]:
        """Return the open pull requests to the base branch from a branch *of this repository* with ``prefix``."""
        with self._errors("list open pull requests"):
            found = self._repository.get_pulls(state="open", base=self._settings.base)
            return [_pull_request(pull) for pull in found if pull.head.ref.startswith(prefix) and self._is_ours(pull)]

    @patient  # where it was opened all the same, GitHub refuses a second one
    def open_pull_request(self, *, branch: str, title: str, body: str) -> PullRequest:
        """Open a pull request from ``branch``."""
        with self._errors(f"open a pull request from {branch}"):
            return _pull_request(
                self._repository.create_pull(base=self._settings.base, head=branch, title=title, body=body)
            )

    @patient
    def update_pull_request(self, number: int, *, title: str, body: str) -> PullRequest:
        """Set title and body."""
        with self._errors(f"update pull request #{number}"):
            pull = self._repository.get_pull(number)
            pull.edit(title=title, body=body)
            return _pull_request(pull)

    @patient_when_told
    def merge(self, number: int, *, head: str, title: str) -> str:
        """Merge exactly the commit ``head``; return the merge commit. Rejected where the head has moved."""
        with self._errors(f"merge pull request #{number}"):
            answer = self._repository.get_pull(number).merge(sha=head, commit_title=title, merge_method="squash")
            return answer.sha

    @patient_when_told
    def comment(self, number: int, body: str) -> str:
        """Add a comment; return its address."""
        with self._errors(f"comment on #{number}"):
            return self._repository.get_issue(number).create_comment(body).html_url

    @patient  # it looks first
    def put_comment(self, number: int, body: str, *, marker: str) -> str:
        """Write the one comment that begins with ``marker``, or update it; return its address."""
        with self._errors(f"write the comment on #{number}"):
            issue = self._repository.get_issue(number)
            for comment in issue.get_comments():
                if comment.body.startswith(marker):
                    if comment.body != body:
                        comment.edit(body)
                    return comment.html_url
            return issue.create_comment(body).html_url

    def _is_ours(self, pull: _PullRequest) -> bool:
        # Anybody may call a branch of a fork like ours; of a fork that was deleted, GitHub says nothing.
        source = pull.head.repo
        return bool(source) and source.full_name.lower() == self._settings.repository.lower()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except GithubException as error:
            said = _words(error)
            message = f"could not {doing}: HTTP {error.status} {said}".strip()
            if error.status in (429, 500, 502, 503, 504) or "rate limit" in said.lower():
                raise Unavailable(message, system=self._system, retry_after_seconds=_rest(error)) from error
            step = {
                401: f"The token in {self._settings.token_env} is not valid (any more).",
                403: f"The token in {self._settings.token_env} may not do this; `promobot doctor` says what it may.",
                404: "Check github.repository in the environment file, and that the token may see it.",
            }.get(error.status, "")
            raise Rejected(message, system=self._system, next_step=step) from error
        except requests.RequestException as error:
            raise Unavailable(f"could not {doing}: {error}", system=self._system) from error


def _pull_request(pull: _PullRequest) -> PullRequest:
    return PullRequest(
        number=pull.number,
        url=pull.html_url,
        title=pull.title,
        body=pull.body or "",
        state=pull.state,
        merged=bool(pull.merged_at),
        branch=pull.head.ref,
        head=pull.head.sha,
        base=pull.base.sha,
        author=pull.user.login,
    )


def _rest(error: GithubException) -> float | None:
    """Return for how many seconds GitHub wants to be left alone; None where nothing says that it does."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    after = seconds_asked_for(headers.get("retry-after"))
    if after is not None or error.status >= 500:
        return after
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdecimal():
        return max(1.0, float(headers["x-ratelimit-reset"]) - time.time())
    return 60.0  # "wait for at least one minute", say its rules of secondary limits


def _words(error: GithubException) -> str:
    data: Any = error.data
    if not isinstance(data, dict):
        return str(data or "")[:300]
    details = [str(d.get("message", d)) if isinstance(d, dict) else str(d) for d in data.get("errors") or []]
    return "; ".join([str(data.get("message", "")), *details])[:300]
