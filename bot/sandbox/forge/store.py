"""The forge's state besides Git: kept in memory, written to one JSON file after each change."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bot.sandbox.forge.signing import Refs

MergeMethod = Literal["merge", "squash", "rebase"]
DeploymentState = Literal["error", "failure", "inactive", "in_progress", "queued", "pending", "success"]


def now() -> datetime:
    """The time as GitHub tells it: UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class AutoMerge(Record):
    """That GitHub merges a pull request as soon as its branch's rules allow it: who wants that, and how."""

    by: str
    starts_workflows: bool
    method: MergeMethod
    title: str = ""
    message: str = ""


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
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merged_by: str = ""
    merge_commit: str = ""
    """The commit that the merge made; for an open one, the test merge that ``refs/pull/N/merge`` points to."""
    auto_merge: AutoMerge | None = None


class Comment(Record):
    id: int
    number: int
    author: str
    body: str
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class Review(Record):
    id: int
    number: int
    author: str
    body: str
    state: Literal["APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING"]
    commit: str
    submitted_at: datetime = Field(default_factory=now)


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
    """The conditions before a branch moves."""

    branch: str
    checks: tuple[str, ...] = ()
    """Names of the checks that must be green on a pull request's head."""
    up_to_date: bool = False
    """Whether the head must have all of the base first."""
    reviews: int = 0
    only_by_pull_request: bool = False
    for_admins: bool = True


class Ruleset(Record):
    """A ruleset with its one rule: a merge queue for a branch, or that commits have verified signatures."""

    id: int
    name: str
    refs: Refs
    type: Literal["merge_queue", "required_signatures"]
    parameters: dict[str, Any] | None = None
    created_at: datetime = Field(default_factory=now)

    @property
    def method(self) -> MergeMethod:
        """How its merge queue merges."""
        method: MergeMethod = (self.parameters or {})["merge_method"].lower()
        return method


class Queued(Record):
    """A pull request in the merge queue. ``group`` is the commit that would be merged, once it is made."""

    number: int
    head_sha: str
    base_sha: str = ""
    group: str = ""


class Deployment(Record):
    """A job with a GitHub Environment; ``page`` is that job's."""

    id: int
    sha: str
    ref: str
    environment: str
    creator: str
    page: str
    created_at: datetime = Field(default_factory=now)


class DeploymentStatus(Record):
    id: int
    deployment: int
    state: DeploymentState
    log_url: str
    creator: str
    created_at: datetime = Field(default_factory=now)


class RepositorySettings(Record):
    """The repository's own settings."""

    name: str = ""
    """``owner/name`` where it was renamed, else empty."""
    former_names: tuple[str, ...] = ()
    methods: tuple[MergeMethod, ...] = ("merge", "squash", "rebase")
    """The ways in which pull requests may be merged."""
    allow_auto_merge: bool = False


class State(BaseModel):
    """Everything that is on disk."""

    settings: RepositorySettings = RepositorySettings()
    last_id: int = 0
    last_number: int = 0
    pulls: dict[int, Pull] = {}
    comments: dict[int, Comment] = {}
    reviews: dict[int, Review] = {}
    checks: dict[int, CheckRun] = {}
    protections: dict[str, Protection | None] = {}
    deployments: dict[int, Deployment] = {}
    deployment_statuses: dict[int, DeploymentStatus] = {}
    rulesets: dict[int, Ruleset] = {}
    queued: dict[int, Queued] = {}


_KEPT = {
    Pull: ("pulls", "number"),
    Comment: ("comments", "id"),
    Review: ("reviews", "id"),
    CheckRun: ("checks", "id"),
    Protection: ("protections", "branch"),
    Deployment: ("deployments", "id"),
    DeploymentStatus: ("deployment_statuses", "id"),
    Ruleset: ("rulesets", "id"),
    Queued: ("queued", "number"),
}
"""Where each kind of record is kept, and by what."""

Kind = TypeVar("Kind", bound=Record)


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

    def put(self, record: Record) -> None:
        """Add or replace a record, and write the file before returning."""
        kept, key = _KEPT[type(record)]
        with self._lock:
            getattr(self._state, kept)[getattr(record, key)] = record
            self._save()

    def remove(self, record: Record) -> None:
        kept, key = _KEPT[type(record)]
        with self._lock:
            getattr(self._state, kept).pop(getattr(record, key), None)
            self._save()

    def get(self, kind: type[Kind], key: int | str) -> Kind | None:
        found: Kind | None = getattr(self._state, _KEPT[kind][0]).get(key)
        return found

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Every record of a kind, oldest first."""
        return list(getattr(self._state, _KEPT[kind][0]).values())

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

    def protection(self, branch: str) -> Protection | None:
        return self._state.protections.get(branch)

    def knows_protection(self, branch: str) -> bool:
        """Whether somebody decided on it, also that there be none."""
        return branch in self._state.protections

    def drop_protection(self, branch: str) -> None:
        with self._lock:
            self._state.protections[branch] = None
            self._save()

    def pull(self, number: int) -> Pull | None:
        return self.get(Pull, number)

    def pulls(self) -> list[Pull]:
        return self.all(Pull)

    def comments(self, number: int) -> list[Comment]:
        return [comment for comment in self.all(Comment) if comment.number == number]

    def reviews(self, number: int) -> list[Review]:
        return [review for review in self.all(Review) if review.number == number]

    def checks(self, sha: str) -> list[CheckRun]:
        return [check for check in self.all(CheckRun) if check.sha == sha]

    def deployment_statuses(self, deployment: int) -> list[DeploymentStatus]:
        """The statuses of a deployment, oldest first."""
        return [one for one in self.all(DeploymentStatus) if one.deployment == deployment]

    def merge_queue(self, ref: str) -> Ruleset | None:
        """The rule that makes changes of a branch go through a queue."""
        found = (one for one in self.all(Ruleset) if one.type == "merge_queue" and one.refs.hold_for(ref))
        return next(found, None)

    def signature_rules(self) -> list[Ruleset]:
        return [one for one in self.all(Ruleset) if one.type == "required_signatures"]

    def queued(self) -> list[Queued]:
        """The entries of the merge queue, in the order in which they merge."""
        return self.all(Queued)

    def _save(self) -> None:
        # Replaced in one step: a reader, also after a crash, sees the old file or the new one.
        draft = self._file.with_suffix(".new")
        draft.write_bytes(self._state.model_dump_json(indent=1).encode())
        draft.replace(self._file)
