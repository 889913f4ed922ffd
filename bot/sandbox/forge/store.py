"""What people and bots did on the forge, besides Git: kept in memory, written to one JSON file after each change."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bot.sandbox.forge.signing import Refs


def now() -> datetime:
    """The time as GitHub tells it: UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Label(Record):
    id: int
    name: str
    color: str = "ededed"
    description: str = ""


class Pull(Record):
    number: int
    id: int
    title: str
    body: str
    author: str
    head: str
    """Branch names, without ``refs/heads/``."""
    head_sha: str
    base: str
    base_sha: str
    """The base branch's head when the pull request was opened or last got new commits."""
    state: Literal["open", "closed"] = "open"
    draft: bool = False
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merged_by: str = ""
    merge_commit: str = ""
    """The commit that the merge made; for an open one, the test merge that ``refs/pull/N/merge`` points to."""


class Comment(Record):
    id: int
    number: int
    author: str
    body: str
    created_at: datetime
    updated_at: datetime


class Review(Record):
    id: int
    number: int
    author: str
    body: str
    state: Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING"]
    commit: str
    submitted_at: datetime


class Status(Record):
    id: int
    sha: str
    state: Literal["error", "failure", "pending", "success"]
    context: str
    description: str
    target_url: str
    creator: str
    created_at: datetime


class CheckOutput(Record):
    title: str = ""
    summary: str = ""
    text: str = ""


class CheckRun(Record):
    """A check that somebody reports through the API; the jobs of workflow runs are check runs of their own."""

    id: int
    name: str
    sha: str
    status: str
    conclusion: str | None
    started_at: datetime
    completed_at: datetime | None
    details_url: str
    external_id: str
    output: CheckOutput
    creator: str


class Protection(Record):
    """What must hold before a branch moves."""

    branch: str
    checks: tuple[str, ...] = ()
    """Names of the checks that must be green on a pull request's head."""
    up_to_date: bool = False
    """Whether the head must have all of the base first."""
    reviews: int = 0
    only_by_pull_request: bool = False
    for_admins: bool = True


class MergeQueueRule(Record):
    """A ruleset with the one rule that the forge keeps in rulesets: a merge queue for a branch."""

    id: int
    name: str
    branch: str
    method: Literal["merge", "squash", "rebase"]
    parameters: dict[str, Any]
    created_at: datetime


class SignatureRule(Record):
    """A ruleset with one rule: the commits of these branches have verified signatures."""

    id: int
    name: str
    refs: Refs
    created_at: datetime


class Queued(Record):
    """A pull request in the merge queue. ``group`` is the commit that would be merged, once it is made."""

    number: int
    head_sha: str
    base_sha: str = ""
    group: str = ""


DeploymentState = Literal["error", "failure", "inactive", "in_progress", "queued", "pending", "success"]


class Deployment(Record):
    id: int
    sha: str
    ref: str
    task: str
    environment: str
    description: str
    payload: dict[str, Any] | str
    transient: bool
    production: bool
    creator: str
    created_at: datetime


class DeploymentStatus(Record):
    id: int
    deployment: int
    state: DeploymentState
    description: str
    log_url: str
    environment_url: str
    creator: str
    created_at: datetime


class Hook(Record):
    id: int
    url: str
    secret: str
    events: tuple[str, ...]
    active: bool


class RepositorySettings(Record):
    """What the repository's own settings say."""

    name: str = ""
    """``owner/name`` where it was renamed, else empty."""
    former_names: tuple[str, ...] = ()
    methods: tuple[Literal["merge", "squash", "rebase"], ...] = ("merge", "squash", "rebase")
    """The ways in which pull requests may be merged."""


class State(BaseModel):
    """Everything that is on disk."""

    settings: RepositorySettings = RepositorySettings()

    last_id: int = 0
    last_number: int = 0
    labels: dict[str, Label] = {}
    pulls: dict[int, Pull] = {}
    comments: dict[int, Comment] = {}
    reviews: dict[int, Review] = {}
    statuses: dict[int, Status] = {}
    checks: dict[int, CheckRun] = {}
    protections: dict[str, Protection | None] = {}
    deployments: dict[int, Deployment] = {}
    deployment_statuses: dict[int, DeploymentStatus] = {}
    hooks: dict[int, Hook] = {}
    merge_queues: dict[int, MergeQueueRule] = {}
    signature_rules: dict[int, SignatureRule] = {}
    queued: dict[int, Queued] = {}


class Store:
    """The one place of the forge's state. Records are frozen: to change one, put a new one with the same key."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._state = State.model_validate_json(file.read_bytes()) if file.exists() else State()

    def next_id(self) -> int:
        with self._lock:
            self._state.last_id += 1
            return self._state.last_id

    def next_number(self) -> int:
        with self._lock:
            self._state.last_number += 1
            return self._state.last_number

    def put(
        self,
        record: Label
        | Pull
        | Comment
        | Review
        | Status
        | CheckRun
        | Protection
        | Deployment
        | DeploymentStatus
        | Hook
        | MergeQueueRule
        | SignatureRule
        | Queued,
    ) -> None:
        """Add or replace a record, and write the file before returning."""
        with self._lock:
            match record:
                case Label():
                    self._state.labels[record.name.lower()] = record
                case Pull():
                    self._state.pulls[record.number] = record
                case Comment():
                    self._state.comments[record.id] = record
                case Review():
                    self._state.reviews[record.id] = record
                case Status():
                    self._state.statuses[record.id] = record
                case CheckRun():
                    self._state.checks[record.id] = record
                case Deployment():
                    self._state.deployments[record.id] = record
                case DeploymentStatus():
                    self._state.deployment_statuses[record.id] = record
                case Hook():
                    self._state.hooks[record.id] = record
                case MergeQueueRule():
                    self._state.merge_queues[record.id] = record
                case SignatureRule():
                    self._state.signature_rules[record.id] = record
                case Queued():
                    self._state.queued[record.number] = record
                case Protection():
                    self._state.protections[record.branch] = record
            self._save()

    @property
    def settings(self) -> RepositorySettings:
        """The repository's own settings."""
        return self._state.settings

    def set(self, **changes: object) -> None:
        """Change some of the repository's own settings."""
        with self._lock:
            whole = {**self._state.settings.model_dump(), **changes}
            self._state.settings = RepositorySettings.model_validate(whole)
            self._save()

    def remove_comment(self, comment: Comment) -> None:
        with self._lock:
            del self._state.comments[comment.id]
            self._save()

    def protection(self, branch: str) -> Protection | None:
        return self._state.protections.get(branch)

    def knows_protection(self, branch: str) -> bool:
        """Whether somebody decided on it, also that there be none."""
        return branch in self._state.protections

    def drop_protection(self, branch: str) -> None:
        with self._lock:
            self._state.protections[branch] = None
            self._save()

    def label(self, name: str) -> Label | None:
        return self._state.labels.get(name.lower())

    def labels(self) -> list[Label]:
        return list(self._state.labels.values())

    def pull(self, number: int) -> Pull | None:
        return self._state.pulls.get(number)

    def pulls(self) -> list[Pull]:
        """All pull requests, oldest first."""
        return list(self._state.pulls.values())

    def comment(self, identifier: int) -> Comment | None:
        return self._state.comments.get(identifier)

    def comments(self, number: int) -> list[Comment]:
        return [comment for comment in list(self._state.comments.values()) if comment.number == number]

    def reviews(self, number: int) -> list[Review]:
        return [review for review in list(self._state.reviews.values()) if review.number == number]

    def statuses(self, sha: str) -> list[Status]:
        """The statuses of a commit, newest first."""
        return [status for status in reversed(list(self._state.statuses.values())) if status.sha == sha]

    def check(self, identifier: int) -> CheckRun | None:
        return self._state.checks.get(identifier)

    def checks(self, sha: str) -> list[CheckRun]:
        return [check for check in list(self._state.checks.values()) if check.sha == sha]

    def deployments(self) -> list[Deployment]:
        """All deployments, newest first."""
        return list(reversed(list(self._state.deployments.values())))

    def deployment_statuses(self, deployment: int) -> list[DeploymentStatus]:
        """The statuses of a deployment, oldest first."""
        return [one for one in list(self._state.deployment_statuses.values()) if one.deployment == deployment]

    def hooks(self) -> list[Hook]:
        return list(self._state.hooks.values())

    def drop_hook(self, identifier: int) -> None:
        with self._lock:
            del self._state.hooks[identifier]
            self._save()

    def merge_queues(self) -> list[MergeQueueRule]:
        return list(self._state.merge_queues.values())

    def merge_queue(self, branch: str) -> MergeQueueRule | None:
        """The rule that makes changes of a branch go through a queue."""
        return next((rule for rule in self.merge_queues() if rule.branch == branch), None)

    def signature_rules(self) -> list[SignatureRule]:
        return list(self._state.signature_rules.values())

    def drop_ruleset(self, rule: MergeQueueRule | SignatureRule) -> None:
        with self._lock:
            self._state.merge_queues.pop(rule.id, None)
            self._state.signature_rules.pop(rule.id, None)
            self._save()

    def queued(self) -> list[Queued]:
        """What is in the merge queue, the first to be merged first."""
        return list(self._state.queued.values())

    def drop_queued(self, entry: Queued) -> None:
        with self._lock:
            self._state.queued.pop(entry.number, None)
            self._save()

    def _save(self) -> None:
        # Replaced in one step, so that whoever looks (also after a crash) sees the old file or the new one.
        draft = self._file.with_suffix(".new")
        draft.write_bytes(self._state.model_dump_json(indent=1).encode())
        draft.replace(self._file)
