"""GitHub's REST API, through PyGithub."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

import jwt
import requests
from github import (
    Auth,
    BadAttributeException,
    Github,
    GithubException,
    GithubIntegration,
    UnknownObjectException,
)
from github.IssueComment import IssueComment
from github.NamedUser import NamedUser
from github.Organization import Organization
from github.PullRequest import PullRequest as _PullRequest
from github.Repository import Repository as _Repository
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, Requester, RequestsResponse

from bot import trust
from bot.domain.merging import METHODS, Method, method, step
from bot.errors import Rejected, Unavailable
from bot.redaction import excerpt, keep, redact
from bot.retry import read_retry_after, retry, retry_when_told
from bot.settings import GitHub
from bot.transport_errors import reason

PERMISSIONS = {
    "metadata": "read",
    "contents": "write",
    "pull_requests": "write",
}
"""All that the bot needs of the repository, as GitHub names it for Apps, tokens and workflows: to see it; the
branches of its pull requests, and merging them; the pull requests and their comments."""

ACTIONS_OWN = "github-actions[bot]"
"""Who a workflow's own GITHUB_TOKEN is. GitHub starts no workflows for what it does, lest they never end."""

_ME = "query { viewer { login } }"
_ENQUEUE = (
    "mutation($input: EnqueuePullRequestInput!) "
    "{ enqueuePullRequest(input: $input) { mergeQueueEntry { position } } }"
)

_AUTO_MERGE = (
    "mutation($input: EnablePullRequestAutoMergeInput!) "
    "{ enablePullRequestAutoMerge(input: $input) { pullRequest { number } } }"
)
_NO_AUTO_MERGE = (
    "mutation($input: DisablePullRequestAutoMergeInput!) "
    "{ disablePullRequestAutoMerge(input: $input) { pullRequest { number } } }"
)

_COMMIT = "mutation($input: CreateCommitOnBranchInput!) { createCommitOnBranch(input: $input) { commit { oid } } }"

_ACTIONS_MAY_NOT_OPEN = (
    "Actions may not open pull requests here: switch it on in Settings → Actions → General, for the repository and "
    "for the organisation, or give the bot a GitHub App (github.app in the environment file), for which it does not "
    "count."
)

GHOST = "ghost"
"""Whom GitHub's pages show where an account was deleted; its API says null."""

_BASE_MOVED_SECONDS = 1.0
"""After a merge that came in between, GitHub takes the next within this."""

_NUMBERED = re.compile(r".*/repositories/(?P<number>[0-9]+)(?:/.*)?")
"""The address to which GitHub sends who asks for a repository by a former name."""

_LISTED_AT_ONCE = 100
"""Pull requests in one answer of GitHub."""

_IN_QUEUE = re.compile("already (?:in|queued)", re.IGNORECASE)

Field = TypeVar("Field")


@dataclass(frozen=True)
class Access:
    """Who the bot is on GitHub, and what of its permissions can be seen.

    ``permissions`` are those of an App's installation, or of a person's token to the repository; None where GitHub
    does not show them: to a fine-grained token, and to the token of a workflow.
    """

    login: str
    kind: Literal["GitHub App", "workflow token", "installation token", "fine-grained token", "token"]
    permissions: dict[str, str] | None
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """The demands of a branch: the allowed ways of merging, and the types of its rules, as GitHub names them."""

    methods: frozenset[str]
    types: frozenset[str]

    @property
    def has_queue(self) -> bool:
        """Whether pull requests are merged by GitHub's merge queue only."""
        return "merge_queue" in self.types


@dataclass(frozen=True)
class BranchRule:
    """A rule of a ruleset, as GitHub names its type and parameters."""

    type: str
    parameters: Mapping[str, Any]


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
    merged_at: datetime | None = None
    into: str = ""
    """The branch that it would be merged into."""
    of_a_fork: bool = False
    """Whether its branch is not one of this repository, or is gone with its own."""
    merged_by: str = ""
    """Login of who merged it. Only :meth:`GitHubRepository.pull_request` asks; GitHub's lists do not say it."""
    opened_at: datetime | None = None
    auto_merge_by: str = ""
    """Login of who has GitHub merge it as soon as the branch's rules allow it; empty where nobody does.

    As ``is_draft``, only :meth:`GitHubRepository.pull_request` and :meth:`GitHubRepository.list_open` tell it.
    """
    is_draft: bool = False

    @property
    def has_no_checks(self) -> bool:
        """Whether GitHub started no workflow for its opening."""
        return self.author == ACTIONS_OWN


Asked = Literal["merged", "queued", "on", "unstable"]
"""
merged    it is merged
queued    it waits in the merge queue
on        GitHub merges it as soon as the branch's rules allow it
unstable  the rules allow it, and a check that they do not require is red or runs: nothing was done
"""


@dataclass(frozen=True)
class Listed:
    """Open pull requests, and what GitHub calls this answer, so that it need not give the same again."""

    pulls: tuple[PullRequest, ...]
    tag: str = ""


@dataclass(frozen=True)
class Approval:
    """An approving review that stands: whose, of which commit, when."""

    by: str
    commit: str
    at: datetime | None
    said: str = ""


_authors: dict[tuple[str, int], tuple[str, str]] = {}
"""Name and address of each App's commits, by GitHub's address and the App's number; they do not change."""
_NEVER = datetime.min.replace(tzinfo=UTC)
_USER_AGENT = "promobot"
_sessions: dict[str, requests.Session] = {}
"""A session for each server, so that connections are used again. It keeps no cookie: tokens are in each request."""


class _Looked:
    """Looks at every answer to the bot before PyGithub does.

    PyGithub takes what is below 400 for a success. So it follows 301, and a merge that gets 307
    "succeeds" and merges nothing. Here what is not 2xx is an error, and so is a body that is not JSON.

    PyGithub takes one kind of connection for the whole process. Other clients in it, as in a training job or a DAG,
    rely on redirects; so the bot's requests are known by their User-Agent, and the others' stay as they are.
    """

    host: str
    port: int
    protocol: str
    headers: dict[str, str]
    session: requests.Session

    def _is_ours(self) -> bool:
        """Say whether the bot asks; its requests to one server share a session."""
        if self.headers.get("User-Agent") != _USER_AGENT:
            return False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session = _sessions.setdefault(f"{self.protocol}://{self.host}:{self.port}", self.session)
        return True

    def close(self) -> None:
        """Close the session, unless the bot keeps it for the next one."""
        if self.session not in _sessions.values():
            self.session.close()


class _Http(_Looked, HTTPRequestsConnectionClass):
    def getresponse(self) -> RequestsResponse:
        is_ours = self._is_ours()
        answer = super().getresponse()
        return _looked_at(answer) if is_ours else answer


class _Https(_Looked, HTTPSRequestsConnectionClass):
    def getresponse(self) -> RequestsResponse:
        is_ours = self._is_ours()
        answer = super().getresponse()
        return _looked_at(answer) if is_ours else answer


Requester.injectConnectionClasses(_Http, _Https)


def _looked_at(response: RequestsResponse) -> RequestsResponse:
    """Return an answer that is 2xx and JSON, or an error's; raise GithubException for any other."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    if response.status >= 400 or response.status == 204:
        return response
    if not 200 <= response.status < 300:
        raise GithubException(response.status, headers=headers)
    try:
        json.loads(response.read())
    except ValueError:
        raise GithubException(response.status, response.read(), headers, message="not JSON") from None
    return response


class GitHubRepository:
    """One repository on GitHub. Errors are Unavailable or Rejected."""

    def __init__(self, settings: GitHub, *, request_seconds: float, token: str = "", app_key: str = "") -> None:
        """With the private key of ``settings.app``, or with a token."""
        self._settings = settings
        self.name = settings.repository
        self._system = f"GitHub ({settings.repository})"
        self.retry_seconds = request_seconds
        self._token, self._key = token, app_key
        self._options: dict[str, Any] = {
            "base_url": settings.api_url,
            "timeout": max(1, round(request_seconds)),
            "verify": trust.file() if settings.api_url.startswith("https:") else True,
            # PyGithub's own would sleep here until a rate limit ends, and make a comment twice whose answer was lost.
            "retry": 0,
            "user_agent": _USER_AGENT,
            "per_page": 100,
            "seconds_between_requests": None,
            "seconds_between_writes": None,
        }
        self._opened: Github | None = None

    @property
    def _github(self) -> Github:
        """PyGithub's client; for an App that asks GitHub for the installation, so it is opened when it is needed."""
        if self._opened is None:
            self._opened = Github(auth=self._auth(), lazy=True, **self._options)
        return self._opened

    @property
    def _repository(self) -> _Repository:
        return self._github.get_repo(self._settings.repository)

    def _auth(self) -> Auth.Auth:
        if not self._key or self._settings.app is None:
            return Auth.Token(self._token)
        app = self._settings.app
        return _installation(
            app.id, self._key, app.installation, self._settings.repository, tuple(self._options.items())
        )

    @retry
    def git_token(self) -> str:
        """Return the password with which Git is the same as this; an App's is valid for an hour."""
        with self._errors("get a token for Git"):
            auth = self._github.requester.auth
            return keep(auth.token) if auth is not None else self._token

    @retry
    def login(self) -> str:
        """Return who the bot is: a person, ``name[bot]`` of an App, or ``github-actions[bot]``."""
        # GET /user is forbidden to Apps and workflows; this is answered to everybody.
        with self._errors("ask who I am"):
            return str(self._graphql(_ME, {}, "viewer", "login"))

    @retry
    def author(self) -> tuple[str, str] | None:
        """Return name and address of the bot's own commits where it is an App, so that GitHub shows them as its own.

        The address is the one that GitHub gives each App: the number is that of the bot's account, not of the App.
        None if the bot is not an App.
        """
        if not self._key or self._settings.app is None:
            return None
        known = (self._settings.api_url, self._settings.app.id)
        if known not in _authors:
            login = self.login()
            with self._errors(f"look up {login}"):
                _, found = self._github.requester.requestJsonAndCheck("GET", f"/users/{quote(login)}")
                number = _given(found.get("id") if isinstance(found, dict) else None, "the number of the account")
            host = urlsplit(self._settings.server_url).hostname or ""
            _authors[known] = login, f"{number}+{login}@users.noreply.{host}"
        return _authors[known]

    def _graphql(self, query: str, variables: dict[str, Any], *path: str) -> Any:
        """Ask GraphQL; return what is at this path of the answer's data, which must be there."""
        _, answer = self._github.requester.graphql_query(query, variables)
        found: Any = answer
        for name in ("data", *path):
            found = _given(found.get(name) if isinstance(found, dict) else None, name)
        return found

    @retry
    def access(self) -> Access:
        """Return who the bot is and what it may do, as far as GitHub shows it."""
        login = self.login()
        with self._errors("read what it may do"):
            app, name = self._settings.app, self._settings.repository
            if self._key and app is not None:
                granted = _App(app.id, self._key, self._options).permissions(name)
                return Access(login, "GitHub App", granted, _lacking(granted))
            allowed = self._repository.permissions
            scopes = self._github.oauth_scopes
        if login.endswith("[bot]"):
            return Access(login, "workflow token" if login == ACTIONS_OWN else "installation token", None, ())
        level = next((level for level in ("push", "pull") if getattr(allowed, level, False)), "none")
        if level == "push" and scopes and not {"repo", "public_repo"} & set(scopes):
            level = "pull"  # the person may, and the token was not given it
        may = {"push": "write", "pull": "read"}
        permissions = dict.fromkeys(PERMISSIONS, may[level]) if level in may else {}
        if self._token.startswith("github_pat_"):
            # It may do no more than its owner; how much of that it was given, GitHub does not tell.
            return Access(login, "fine-grained token", None, _lacking(permissions))
        return Access(login, "token", permissions, _lacking(permissions))

    @retry
    def pull_request(self, number: int) -> PullRequest:
        """Return a pull request."""
        with self._errors(f"read pull request #{number}"):
            pull = self._repository.get_pull(number)
            merged_by = _login(pull.merged_by) if pull.merged_at else ""
            return replace(
                _pull_request(pull),
                of_a_fork=not self._is_ours(pull),
                merged_by=merged_by,
                auto_merge_by=_enabled_by(pull.raw_data),
                is_draft=bool(pull.raw_data.get("draft")),
            )

    @retry
    def approvals(self, number: int) -> list[Approval]:
        """Return the approvals that stand: of each person the last review counts, without plain comments."""
        with self._errors(f"read the reviews of #{number}"):
            last = {
                _login(review.user): review
                for review in self._repository.get_pull(number).get_reviews()
                if review.state not in ("COMMENTED", "PENDING")
            }
            return [
                Approval(who, review.commit_id or "", review.submitted_at, review.body or "")
                for who, review in last.items()
                if review.state == "APPROVED"
            ]

    @retry
    def open_pull_requests(self, *, prefix: str) -> list[PullRequest]:
        """Return the open pull requests to the base branch from a branch *of this repository* with ``prefix``."""
        with self._errors("list open pull requests"):
            found = self._repository.get_pulls(state="open", base=self._settings.base)
            return [_pull_request(pull) for pull in found if pull.head.ref.startswith(prefix) and self._is_ours(pull)]

    @retry
    def list_open(self, *, prefix: str, known: Listed | None = None) -> Listed:
        """Return the same as :meth:`open_pull_requests`, and ``known`` where nothing changed since it was asked.

        An answer that nothing changed does not count for GitHub's limit of requests.
        """
        with self._errors("list open pull requests"):
            try:
                tag, found = self._listed(1, known.tag if known else "")
            except GithubException as error:
                if error.status == 304 and known is not None:
                    return known
                raise
            page = found
            while len(page) >= _LISTED_AT_ONCE:
                # What GitHub calls the first page says nothing of the next.
                tag, page = "", self._listed(len(found) // _LISTED_AT_ONCE + 1, "")[1]
                found += page
            pulls = [(self._github.create_from_raw_data(_PullRequest, raw), raw) for raw in found]
            listed = tuple(
                replace(_pull_request(pull), auto_merge_by=_enabled_by(raw), is_draft=bool(raw.get("draft")))
                for pull, raw in pulls
                if pull.head.ref.startswith(prefix) and self._is_ours(pull)
            )
        return Listed(listed, tag=tag)

    def _listed(self, page: int, tag: str) -> tuple[str, list[dict[str, Any]]]:
        """Return one page of the open pull requests, and what GitHub calls this answer."""
        headers, found = self._github.requester.requestJsonAndCheck(
            "GET",
            f"/repos/{self._settings.repository}/pulls",
            parameters={"state": "open", "base": self._settings.base, "per_page": _LISTED_AT_ONCE, "page": page},
            headers={"If-None-Match": tag} if tag else None,
        )
        if not isinstance(found, list):
            raise _Missing("it is not a list of pull requests")
        return str(headers.get("etag", "")), found

    def merged_pull_requests(self) -> list[PullRequest]:
        """Return the pull requests merged into the base branch, the latest merge first, of the last closed ones."""
        merged = [pull for pull in self.closed_pull_requests() if pull.merged_at is not None]
        return sorted(merged, key=lambda pull: pull.merged_at or _NEVER, reverse=True)

    @retry
    def closed_pull_requests(self) -> list[PullRequest]:
        """Return the pull requests to the base branch that are closed or merged, the latest change first.

        Only the hundred that were changed last are looked at: one request, however old the repository is.
        """
        with self._errors("list closed pull requests"):
            found = self._repository.get_pulls(
                state="closed", base=self._settings.base, sort="updated", direction="desc"
            ).get_page(0)
            return [_pull_request(each) for each in found]

    @retry  # where it was opened all the same, GitHub refuses a second one
    def open_pull_request(self, *, branch: str, title: str, body: str) -> PullRequest:
        """Open a pull request from ``branch``."""
        with self._errors(f"open a pull request from {branch}"):
            title, body = redact(title), redact(body)
            return _pull_request(
                self._repository.create_pull(base=self._settings.base, head=branch, title=title, body=body)
            )

    @retry
    def try_to_open(self, branch: str) -> None:
        """Ask for a pull request from a branch that is not there, and open none.

        GitHub looks at the right first and then at the branch, so its 422 says that the right is there.
        Raises Rejected where it is not, or the repository is archived.
        """
        doing = "open a pull request (tried from a branch that is not there)"
        with self._errors(doing):
            known = self._repository
            if known.archived:
                raise Rejected(
                    "the repository is archived: nothing can be pushed, opened or merged",
                    system=self._system,
                    next_step="Unarchive it, in its settings.",
                )
            try:
                made = known.create_pull(base=self._settings.base, head=branch, title=branch, body="")
            except GithubException as error:
                if error.status == 422:
                    return
                raise
            made.edit(state="closed")
            raise self._not_githubs(doing, f"it opened #{made.number}, which was closed")

    @retry
    def update_pull_request(self, number: int, *, title: str, body: str) -> PullRequest:
        """Set title and body."""
        with self._errors(f"update pull request #{number}"):
            pull = self._repository.get_pull(number)
            pull.edit(title=redact(title), body=redact(body))
            return _pull_request(pull)

    @retry
    def set_body(self, number: int, body: str) -> None:
        """Set the text of a pull request, and leave its title."""
        with self._errors(f"write the text of pull request #{number}"):
            self._repository.get_pull(number).edit(body=redact(body))

    @retry
    def close(self, number: int) -> None:
        """Close a pull request without merging it."""
        with self._errors(f"close pull request #{number}"):
            self._repository.get_pull(number).edit(state="closed")

    @retry
    def rules(self) -> Rules:
        """Return what the base branch asks of those who change it, as far as GitHub shows it."""
        with self._errors(f"read the rules of {self._settings.base}"):
            allowed = self._repository
            methods = {"squash": allowed.allow_squash_merge, "merge": allowed.allow_merge_commit}
            methods["rebase"] = allowed.allow_rebase_merge
            # GitHub does not tell those who may not push; then all may be tried.
            known = frozenset(name for name, may in methods.items() if may) or frozenset(METHODS)
            rules = self._rules_of(self._settings.base)
        for rule in rules:
            limited = (rule.get("parameters") or {}).get("allowed_merge_methods")
            if limited:
                known &= frozenset(limited)
        return Rules(known, frozenset(str(rule.get("type")) for rule in rules))

    def _rules_of(self, branch: str) -> list[dict[str, Any]]:
        """Return the active rules of rulesets that hold for a branch, which need not exist."""
        address = f"/repos/{self._settings.repository}/rules/branches/{quote(branch, safe='')}"
        try:
            _, rules = self._github.requester.requestJsonAndCheck("GET", address)
        except UnknownObjectException:
            return []  # a GitHub Enterprise Server before 3.11 has no rulesets
        if not isinstance(rules, list):
            raise _Missing("it is not a list of rules")
        return rules

    @retry
    def required_checks(self) -> frozenset[str]:
        """Return the names of the checks without which nothing is merged into the base branch.

        Those of rulesets, and of the branch's protection, which GitHub shows to everyone who may read.
        """
        base = self._settings.base
        with self._errors(f"read the rules of {base}"):
            found = [
                str(check.get("context"))
                for rule in self._rules_of(base)
                if rule.get("type") == "required_status_checks"
                for check in (rule.get("parameters") or {}).get("required_status_checks") or []
            ]
            address = f"/repos/{self._settings.repository}/branches/{quote(base, safe='')}"
            _, branch = self._github.requester.requestJsonAndCheck("GET", address)
            protection = branch.get("protection") if isinstance(branch, dict) else None
            required = (protection or {}).get("required_status_checks") or {}
            if required.get("enforcement_level") != "off":
                found += [str(name) for name in required.get("contexts") or []]
        return frozenset(found)

    @retry
    def allows_auto_merge(self) -> bool | None:
        """Say whether the repository allows auto-merge; None where GitHub does not show that to the bot."""
        with self._errors("read the repository's settings"):
            _, found = self._github.requester.requestJsonAndCheck("GET", f"/repos/{self._settings.repository}")
            allowed = found.get("allow_auto_merge") if isinstance(found, dict) else None
        return None if allowed is None else bool(allowed)

    @retry
    def rules_of_branch(self, branch: str) -> list[BranchRule]:
        """Return the rules of a branch of the bot's own, but those that the bot may go round."""
        with self._errors(f"read the rules of {branch}"):
            rules = self._rules_of(branch)
            passed = {number for number in {rule.get("ruleset_id") for rule in rules} if self._may_bypass(number)}
        return [
            BranchRule(str(rule.get("type")), rule.get("parameters") or {})
            for rule in rules
            if rule.get("ruleset_id") not in passed
        ]

    def _may_bypass(self, ruleset: object) -> bool:
        """Say whether the bot is on a ruleset's bypass list for pushes; if GitHub does not say, it is not."""
        try:
            _, found = self._github.requester.requestJsonAndCheck(
                "GET",
                f"/repos/{self._settings.repository}/rulesets/{ruleset}",
                parameters={"includes_parents": "true"},
            )
        except GithubException as error:
            if error.status not in (403, 404):
                raise
            return False
        return isinstance(found, dict) and found.get("current_user_can_bypass") == "always"

    @retry
    def signs_on(self, branch: str) -> bool:
        """Say whether commits for this branch are made by GitHub, which signs them.

        As ``github.sign_commits`` says; where it says nothing, if a ruleset asks for signatures on the branch or on
        the base. Classic branch protection is not shown to those who may only write: say it in the settings there.
        """
        if self._settings.sign_commits is not None:
            return self._settings.sign_commits
        with self._errors(f"read the rules of {branch}"):
            rules = [*self._rules_of(branch), *self._rules_of(self._settings.base)]
        return any(rule.get("type") == "required_signatures" for rule in rules)

    @retry_when_told
    def commit_on(self, branch: str, *, expected: str, message: str, files: Mapping[str, str]) -> str | None:
        """Let GitHub append a commit to a branch and sign it; return its id, None where the branch has moved.

        ``files`` are the new texts by path. The author is who the bot is, the committer is GitHub.
        """
        headline, _, body = redact(message).strip().partition("\n")
        additions = [
            {"path": path, "contents": base64.b64encode(text.encode()).decode()} for path, text in files.items()
        ]
        wanted = {
            "branch": {"repositoryNameWithOwner": self._settings.repository, "branchName": branch},
            "message": {"headline": headline, "body": body.strip()},
            "fileChanges": {"additions": additions},
            "expectedHeadOid": expected,
        }
        with self._errors(f"commit to {branch}"):
            try:
                return str(self._graphql(_COMMIT, {"input": wanted}, "createCommitOnBranch", "commit", "oid"))
            except GithubException as error:
                # GraphQL answers 200; which error it is, is in the answer.
                errors = error.data.get("errors") if isinstance(error.data, dict) else None
                if any(isinstance(one, dict) and one.get("type") == "STALE_DATA" for one in errors or ()):
                    return None
                raise

    @retry_when_told
    def merge(self, number: int, *, head: str, title: str) -> str | None:
        """Merge exactly the commit ``head`` into the base; return the new commit, None where it waits in a queue.

        Rejected where the head has moved on, and where branch protection, a conflict or a draft forbids it; a rule of
        the repository is never gone round. Where the base has a merge queue, the pull request joins it.
        """
        rules = self.rules()
        with self._errors(f"merge pull request #{number}"):
            if rules.has_queue:
                self._enqueue(number, head)
                return None
            way = self._way(number, rules)
            try:
                answer = self._repository.get_pull(number).merge(
                    sha=head, commit_title=redact(title), merge_method=way
                )
            except GithubException as error:
                if error.status not in (405, 409):
                    raise
                said = _words(error)
                if "base branch was modified" in said.lower():
                    return self._after_another_merge(number, head, said)
                if "merge queue" in said.lower():
                    self._enqueue(number, head)
                    return None
                raise self._not_merged(number, error) from error
            if not answer.merged or not answer.sha:
                raise Rejected(
                    f"the answer to merging #{number} does not say that it was merged: {excerpt(str(answer), 200)}",
                    system=self._system,
                    state="It is not known whether it was merged.",
                    next_step="Look at the pull request.",
                )
            return answer.sha

    def _way(self, number: int, rules: Rules) -> Method:
        """Return how a pull request is merged; Rejected where the settings want a way that is not allowed."""
        way = method(self._settings.merge_method, allowed=rules.methods)
        if way is None:
            wanted, allowed = self._settings.merge_method, ", ".join(sorted(rules.methods))
            raise Rejected(
                f"#{number} is not merged: github.merge_method is {wanted}, and {self._settings.base} allows "
                f"{allowed or 'nothing'}",
                system=self._system,
                state="Nothing was merged.",
                next_step="Set github.merge_method to a way that is allowed, or leave it out.",
            )
        return way

    @retry_when_told
    def merge_when_allowed(self, number: int, *, head: str, title: str) -> Asked:
        """Ask GitHub to merge exactly the commit ``head`` as soon as the base branch's rules allow it: auto-merge.

        Where they allow it already, GitHub takes no auto-merge ("clean status"), and it is merged now. Where the base
        has a merge queue, it joins that. Rejected where GitHub refuses for another reason.
        """
        rules = self.rules()
        with self._errors(f"have pull request #{number} merged"):
            if not rules.has_queue:
                asked = self._auto_merge(number, head, title, self._way(number, rules))
                if asked is not None:
                    return asked
        return "queued" if self.merge(number, head=head, title=title) is None else "merged"

    def _auto_merge(self, number: int, head: str, title: str, way: Method) -> Asked | None:
        """Switch auto-merge on; return None where GitHub takes none because nothing is left to wait for."""
        wanted = {
            "pullRequestId": self._node(number),
            "expectedHeadOid": head,
            "mergeMethod": way.upper(),
            **({"commitHeadline": redact(title)} if way != "rebase" else {}),
        }
        try:
            self._graphql(_AUTO_MERGE, {"input": wanted}, "enablePullRequestAutoMerge", "pullRequest")
        except GithubException as error:
            if error.status not in (400, 404):
                raise
            # Somebody else may have been faster. The pull request decides, and not the words of the error.
            pull, said = self._repository.get_pull(number), _words(error).lower()
            if pull.merged:
                return "merged"
            if pull.head.sha != head or not ("clean status" in said or "unstable status" in said):
                if pull.head.sha == head and pull.auto_merge:
                    return "on"
                raise self._not_merged(number, error) from error
            return None if "clean status" in said else "unstable"
        return "on"

    @retry
    def stop_merging(self, number: int) -> bool:
        """Switch auto-merge off; return False where the pull request was merged already."""
        with self._errors(f"keep #{number} from being merged"):
            try:
                self._graphql(
                    _NO_AUTO_MERGE,
                    {"input": {"pullRequestId": self._node(number)}},
                    *("disablePullRequestAutoMerge", "pullRequest"),
                )
            except GithubException as error:
                pull = self._repository.get_pull(number)
                if error.status not in (400, 404) or (pull.auto_merge and not pull.merged):
                    raise
                return not pull.merged
        return True

    def _node(self, number: int) -> str:
        """Return GraphQL's name of a pull request."""
        return str(_given(self._repository.get_pull(number).node_id, "the node's id"))

    def _after_another_merge(self, number: int, head: str, said: str) -> str:
        """Look again after another merge came in between: Unavailable where the same commit may be merged now."""
        pull = self._repository.get_pull(number)
        if pull.head.sha != head:
            raise Rejected(
                f"#{number} is not merged: its head is now {pull.head.sha[:12]}",
                system=self._system,
                state="Nothing was merged.",
                next_step=step(409, "Head branch was modified"),
            )
        if pull.merged:
            return str(_given(pull.merge_commit_sha, "the merged commit"))
        raise Unavailable(
            f"#{number} is not merged: {said}",
            system=self._system,
            state="Nothing was merged.",
            next_step="Others merge into the same branch just now: merge it again.",
            retry_after_seconds=_BASE_MOVED_SECONDS,
        )

    def _enqueue(self, number: int, head: str) -> None:
        """Put exactly the commit ``head`` into the base's merge queue, if it is not there yet."""
        node = self._node(number)
        try:
            self._graphql(
                _ENQUEUE,
                {"input": {"pullRequestId": node, "expectedHeadOid": head}},
                *("enqueuePullRequest", "mergeQueueEntry"),
            )
        except GithubException as error:
            if error.status not in (400, 404):
                raise
            if not _IN_QUEUE.search(_words(error)):
                raise self._not_merged(number, error) from error

    def _not_merged(self, number: int, error: GithubException) -> Rejected:
        said = _words(error)
        return Rejected(
            f"#{number} is not merged: HTTP {error.status} {said}",
            system=self._system,
            state="Nothing was merged.",
            next_step=step(error.status, said),
        )

    @retry_when_told
    def approve(self, number: int, *, head: str, body: str) -> bool:
        """Approve exactly the commit ``head``, once; return False where the bot opened it: nobody approves their own.

        Rejected where GitHub does not take it for another reason.
        """
        me = self.login()
        with self._errors(f"approve pull request #{number}"):
            pull = self._repository.get_pull(number)
            if _login(pull.user) == me:
                return False
            for review in pull.get_reviews():
                if (_login(review.user), review.commit_id, review.state) == (me, head, "APPROVED"):
                    return True
            made = pull.create_review(self._repository.get_commit(head), redact(body), "APPROVE")
            return bool(_given(made.id, "the review's id"))

    @retry_when_told
    def comment(self, number: int, body: str) -> str:
        """Add a comment; return its address."""
        with self._errors(f"comment on #{number}"):
            return _made(self._repository.get_issue(number).create_comment(redact(body)))

    @retry  # it looks first
    def put_comment(self, number: int, body: str, *, marker: str) -> str:
        """Write our one comment that begins with ``marker``, or update it; return its address.

        What somebody else began with the marker is left alone: it is not ours to speak in.
        """
        me, body = self.login(), redact(body)
        with self._errors(f"write the comment on #{number}"):
            issue = self._repository.get_issue(number)
            for comment in issue.get_comments():
                if (comment.body or "").startswith(marker) and _login(comment.user) == me:
                    if comment.body != body:
                        comment.edit(body)
                    return _made(comment)
            return _made(issue.create_comment(body))

    def _is_ours(self, pull: _PullRequest) -> bool:
        # Anybody may call a branch of a fork like ours; of a fork that was deleted, GitHub says nothing.
        source = pull.head.repo
        return bool(source) and source.full_name.lower() == self._settings.repository.lower()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (_Missing, BadAttributeException) as error:
            raise self._not_githubs(doing, str(error)) from error
        except AssertionError as error:  # PyGithub's own, where an address in an answer leads to another server
            raise self._not_githubs(doing, f"it names another address than github.api_url: {error}") from error
        except GithubException as error:
            said = _words(error)
            message = f"could not {doing}: HTTP {error.status} {said}".strip()
            if error.status < 300:
                raise self._not_githubs(doing, f"HTTP {error.status} {said}") from error
            if error.status < 400:
                raise self._elsewhere(doing, error) from error
            if error.status in (429, 500, 502, 503, 504) or "rate limit" in said.lower():
                raise Unavailable(message, system=self._system, retry_after_seconds=_rest(error)) from error
            who = self._who()
            step = {
                401: f"{who} is not valid, or has expired.",
                403: f"{who} may not do this; `promobot doctor` says what it may.",
                404: "Check github.repository in the environment file, and that the token may see it.",
            }.get(error.status, "")
            if "not permitted to create or approve pull requests" in said:
                step = _ACTIONS_MAY_NOT_OPEN
            raise Rejected(message, system=self._system, next_step=step) from error
        except requests.RequestException as error:
            step = trust.advice(str(error))
            raise Unavailable(f"could not {doing}: {reason(error)}", system=self._system, next_step=step) from error
        except RuntimeError as error:
            # PyGithub says so of a redirect to another host, which it does not follow.
            if "redirected" not in str(error):
                raise
            raise Rejected(
                f"could not {doing}: {error}",
                system=self._system,
                next_step="Set github.api_url to the address that answers.",
            ) from error
        except jwt.PyJWTError:
            # Not what it says: it may quote the key.
            raise Rejected(
                f"could not {doing}: {self._who()} cannot be read as an RSA key in PEM", system=self._system
            ) from None

    def _not_githubs(self, doing: str, said: str) -> Rejected:
        return Rejected(
            f"could not {doing}: the answer is not one of GitHub's: {excerpt(said, 300)}",
            system=self._system,
            state="It is not known whether GitHub did it.",
            next_step="Check github.api_url, and whether a proxy answers in GitHub's place.",
        )

    def _elsewhere(self, doing: str, error: GithubException) -> Rejected:
        """Say where GitHub sent the request instead; it is not followed, and nothing was done."""
        location = _header(error, "location")
        numbered = _NUMBERED.fullmatch(urlsplit(location).path)
        name = self._name_now(numbered["number"]) if numbered else ""
        if name:
            return Rejected(
                f"could not {doing}: HTTP {error.status}: the repository is now {name}",
                system=self._system,
                state="Nothing was done there.",
                next_step=f"Set github.repository to {name} in each file of manifests/environments.",
            )
        shown = urlsplit(location)._replace(query="", fragment="").geturl()
        return Rejected(
            f"could not {doing}: HTTP {error.status}, a redirect to {shown or 'nowhere'}",
            system=self._system,
            state="Nothing was done there.",
            next_step="Set github.repository, or github.api_url, to where it leads.",
        )

    def _name_now(self, number: str) -> str:
        """Return the name of the repository with this number; empty where GitHub does not tell it."""
        try:
            github, app = self._opened, self._settings.app
            if github is None and self._key and app is not None:
                installation = _App(app.id, self._key, self._options).installation_at(f"/repositories/{number}")
                auth = Auth.AppAuth(app.id, self._key).get_installation_auth(installation)
                github = Github(auth=auth, lazy=True, **self._options)
            _, answer = (github or self._github).requester.requestJsonAndCheck("GET", f"/repositories/{number}")
            return str(answer["full_name"])
        except (GithubException, requests.RequestException, KeyError, TypeError):
            return ""  # the redirect itself is the error to report

    def _who(self) -> str:
        if self._key and self._settings.app is not None:
            return (
                f"The private key in {self._settings.app.private_key_env}, of the GitHub App {self._settings.app.id},"
            )
        return f"The token in {self._settings.token_env}"


@lru_cache(maxsize=8)
def _installation(
    app: int, key: str, installation: int | None, repository: str, options: tuple[tuple[str, Any], ...]
) -> Auth.AppInstallationAuth:
    """Return what asks for the installation's tokens; one for all that is opened, since a token lasts an hour."""
    number = installation or _App(app, key, dict(options)).installation(repository)
    return Auth.AppAuth(app, key).get_installation_auth(number)


class _App:
    """The GitHub App itself, before it acts anywhere."""

    def __init__(self, app: int, key: str, options: dict[str, Any]) -> None:
        self._integration = GithubIntegration(auth=Auth.AppAuth(app, key), **options)

    def installation(self, repository: str) -> int:
        owner, _, name = repository.partition("/")
        return self._integration.get_repo_installation(owner, name).id

    def installation_at(self, address: str) -> int:
        """Return the installation in a repository that is not asked for by name."""
        _, answer = self._integration.requester.requestJsonAndCheck("GET", f"{address}/installation")
        return int(answer["id"])

    def permissions(self, repository: str) -> dict[str, str]:
        owner, _, name = repository.partition("/")
        return dict(self._integration.get_repo_installation(owner, name).permissions)


def _lacking(permissions: dict[str, str]) -> tuple[str, ...]:
    levels = ("", "read", "write", "admin")
    return tuple(
        f"{name}: {level}"
        for name, level in PERMISSIONS.items()
        if levels.index(permissions.get(name, "")) < levels.index(level)
    )


class _Missing(Exception):
    """An answer has no field without which it is none of GitHub's."""


def _given(value: Field | None, what: str) -> Field:
    """Return a field of an answer that must be there."""
    if not value:
        raise _Missing(f"it lacks {what}")
    return value


def _login(user: NamedUser | Organization | None) -> str:
    """Return whose it is; of a deleted account GitHub says null."""
    return user.login if user else GHOST


def _made(comment: IssueComment) -> str:
    """Return the address of a comment that GitHub says is there."""
    _given(comment.id, "the comment's id")
    return _given(comment.html_url, "the comment's address")


def _pull_request(pull: _PullRequest) -> PullRequest:
    return PullRequest(
        number=_given(pull.number, "the pull request's number"),
        url=_given(pull.html_url, "the pull request's address"),
        title=pull.title,
        body=pull.body or "",
        state=pull.state,
        merged=bool(pull.merged_at),
        branch=pull.head.ref,
        head=_given(pull.head.sha, "the head's commit"),
        base=pull.base.sha,
        author=_login(pull.user),
        merged_at=pull.merged_at,
        into=pull.base.ref,
        opened_at=pull.created_at,
    )


def _enabled_by(pull: Mapping[str, Any]) -> str:
    """Return who switched auto-merge on for a pull request; empty where nobody did."""
    auto_merge = pull.get("auto_merge")
    if not isinstance(auto_merge, dict):
        return ""
    by = auto_merge.get("enabled_by")
    return str(by.get("login") or GHOST) if isinstance(by, dict) else GHOST


def _header(error: GithubException, name: str) -> str:
    """Return a header of the answer; empty where it is not there."""
    return {known.lower(): value for known, value in (error.headers or {}).items()}.get(name, "")


def _rest(error: GithubException) -> float | None:
    """Return for how many seconds GitHub wants to be left alone; None where nothing says that it does."""
    after = read_retry_after(_header(error, "retry-after"))
    if after is not None or error.status >= 500:
        return after
    until = _header(error, "x-ratelimit-reset")
    if _header(error, "x-ratelimit-remaining") == "0" and until.isdecimal():
        return max(1.0, float(until) - time.time())
    return 60.0  # "wait for at least one minute", say its rules of secondary limits


def _words(error: GithubException) -> str:
    data: Any = error.data
    if not isinstance(data, dict):
        return excerpt(str(data or ""), 300)
    details = [str(d.get("message", d)) if isinstance(d, dict) else str(d) for d in data.get("errors") or []]
    return excerpt("; ".join([str(data.get("message", "")), *details]), 300)
