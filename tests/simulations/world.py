"""A world in memory for what policies do: Git, GitHub, records, MLflow, Slack, routes, and a clock.

It has the ports of the adapters, so the bot's own operations run on it as they are. Each call of a port is a place
where another process may act first, where the process that calls may die, before the deed or after it, and where
GitHub may be away, or do it while its answer is lost.
"""

from __future__ import annotations

import bisect
import hashlib
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

from greenlet import getcurrent, greenlet

from bot.domain import desired
from bot.domain.desired import Desired, Entry
from bot.domain.metrics import Measured
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, SMOKE_FILE, Package, PackageFile
from bot.domain.routes import Route, RouteTable, Target
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.errors import PromobotError, Refused, Rejected, Unavailable
from bot.records.ledger import Ledger
from bot.runner import Runner
from bot.settings import Environment
from bot.systems.git import BranchMoved, Commit
from bot.systems.github import Approval, Listed, PullRequest, Rules
from bot.systems.mlflow import PackageContents, RegisteredVersion
from tests.stand_ins import triton as stand_in

REPOSITORY = "acme/models"
BOT = "promobot[bot]"
VERDICT = "Verdict"
EMAIL = "1+promobot[bot]@users.noreply.github.com"
SMOKE = SmokeCases(
    (SmokeCase("one", (Tensor("X", "FP32", (1, 1), (0.25,)),), (Tensor("Y", "FP64", (1, 1), (1.0,)),)),)
)


class Dies(BaseException):
    """The process that called a port is killed here."""


# --- time and processes --------------------------------------------------------------------------------------------


class _AsDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class Clock:
    """The time of the world, which everything in the bot that asks for it is told."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell this time to every module of the bot that is imported."""
        clock = self

        class Simulated(datetime, metaclass=_AsDatetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return clock.now.astimezone(tz)

        asking = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("bot.") and getattr(module, "datetime", None) is datetime
        ]
        patches = [mock.patch.object(module, "datetime", Simulated) for module in asking]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()


@dataclass
class Faults:
    """What may go wrong at a call of a port now, each as a probability; nothing while all are 0."""

    dies: float = 0.0
    lost: float = 0.0
    """GitHub does it, and its answer is lost."""
    github_away: bool = False
    slack_away: bool = False


class Ports:
    """Where every call of an adapter passes."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.faults = chance, Faults()
        self.calls = 0
        self._alone = 0
        self._thread = threading.get_ident()

    def call(self, effect: Callable[[], Any], *, of: str = "", changes: bool = False) -> Any:
        """Have a port do something, as far as the world lets it."""
        self._pause()
        self._may_die()
        if of in ("GitHub", "Git") and self.faults.github_away:
            raise Unavailable("could not connect", system=of)
        if of == "Slack" and self.faults.slack_away:
            raise Unavailable("could not connect", system=of)
        found = effect()
        self.calls += 1
        if changes:
            self._may_die()
            if of == "GitHub" and self.chance.random() < self.faults.lost:
                raise Unavailable("the connection was reset before the answer", system=of)
        return found

    def _may_die(self) -> None:
        if self.faults.dies and self.chance.random() < self.faults.dies and threading.get_ident() == self._thread:
            raise Dies

    def _pause(self) -> None:
        """Let another process go on, where one is under way."""
        parent = getcurrent().parent
        if parent is not None and not self._alone and threading.get_ident() == self._thread:
            parent.switch()

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Let nothing go wrong in the block, and nobody else act."""
        before, self.faults, self._alone = self.faults, Faults(), self._alone + 1
        try:
            yield
        finally:
            self.faults, self._alone = before, self._alone - 1

    def side_by_side(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run processes side by side, from call to call in any order."""
        ready = [greenlet(job) for job in jobs]
        while ready:
            one = self.chance.choice(ready)
            one.switch()
            ready = [each for each in ready if not each.dead]


# --- records -------------------------------------------------------------------------------------------------------


class Records:
    """A record store: objects that are created once."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._texts: dict[str, str] = {}
        self._keys: list[str] = []

    def put(self, key: str, text: str) -> None:
        def create() -> None:
            if key in self._texts:
                raise Refused(f"{key} is there already")
            self._texts[key] = text
            bisect.insort(self._keys, key)

        self._ports.call(create, changes=True)

    def get(self, key: str) -> str | None:
        return self._texts.get(key)

    def get_all(self, keys: Iterable[str]) -> dict[str, str]:
        return {key: self._texts[key] for key in keys if key in self._texts}

    def keys(self, prefix: str) -> list[str]:
        first, behind = (bisect.bisect_left(self._keys, f"{prefix}{end}") for end in ("/", "0"))
        return self._keys[first:behind]


# --- Git -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Commit:
    id: str
    parents: tuple[str, ...]
    files: Mapping[str, str]
    author: str
    email: str
    subject: str


class Git:
    """The repository as the server has it: commits, and where branches are."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.commits: dict[str, _Commit] = {}
        self.branches: dict[str, str] = {}
        self.branches["main"] = self.commit((), files, "first", "alex", "alex@example.com")

    def commit(self, parents: Sequence[str], files: Mapping[str, str], subject: str, author: str, email: str) -> str:
        number = f"{len(self.commits)} {parents} {sorted(files.items())} {subject}"
        made = hashlib.sha1(number.encode(), usedforsecurity=False).hexdigest()
        self.commits[made] = _Commit(made, tuple(parents), dict(files), author, email, subject)
        return made

    @property
    def main(self) -> _Commit:
        """The head of main."""
        return self.commits[self.branches["main"]]

    def history(self, commit: str) -> list[str]:
        """Return a commit and all that lead to it, newest first."""
        found, waiting = dict[str, None](), [commit]
        while waiting:
            one = waiting.pop(0)
            if one not in found:
                found[one] = None
                waiting += self.commits[one].parents
        return list(found)

    def parted(self, one: str, other: str) -> str:
        """Return the newest commit that leads to both."""
        behind = set(self.history(other))
        return next(commit for commit in self.history(one) if commit in behind)


class Repository:
    """What :class:`bot.systems.git.Repository` is for the bot."""

    def __init__(self, git: Git, ports: Ports) -> None:
        self._git, self._ports = git, ports
        self.url, self.base = f"https://github.com/{REPOSITORY}.git", "main"

    def within(self, limit_seconds: float | None) -> Repository:  # noqa: ARG002 - nothing hangs here
        return self

    def _ask(self, effect: Callable[[], Any], *, changes: bool = False) -> Any:
        return self._ports.call(effect, of="Git", changes=changes)

    def fetch(self, reference: str) -> str:
        def find() -> str:
            name = reference.removeprefix("refs/heads/")
            found = self._git.branches.get(name, name)
            if found not in self._git.commits:
                raise Rejected(f"could not fetch {reference}", system="Git")
            return found

        return str(self._ask(find))

    def head(self) -> str:
        return self.fetch("refs/heads/main")

    def branch(self, name: str) -> str | None:
        found: str | None = self._ask(lambda: self._git.branches.get(name))
        return found

    def parent(self, commit: str) -> str:
        return str(self._ask(lambda: self._git.commits[commit].parents[0]))

    def merge_base(self, one: str, other: str) -> str:
        return str(self._ask(lambda: self._git.parted(one, other)))

    def read(self, commit: str, path: str) -> str | None:
        return self._git.commits[commit].files.get(path)

    def merges(self, base: str, one: str, other: str) -> bool:
        return one in (base, other) or other == base

    def commits(self, before: str, after: str) -> list[Commit]:
        known = set(self._git.history(before))
        found = [self._git.commits[one] for one in self._git.history(after) if one not in known]
        return [Commit(c.id, c.parents, c.author, c.email, c.author, c.email, c.subject) for c in found]

    def names(self, commit: str, folder: str) -> list[str]:
        paths = self._git.commits[commit].files
        return sorted(path.removeprefix(f"{folder}/") for path in paths if path.startswith(f"{folder}/"))

    def changed_paths(self, before: str, after: str) -> list[str]:
        one, other = (self._git.commits[commit].files for commit in (before, after))
        return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))

    def commit(self, parent: str, files: Mapping[str, str], *, message: str, author: str, email: str) -> str:
        subject = message.partition("\n")[0]
        return self._git.commit((parent,), {**self._git.commits[parent].files, **files}, subject, author, email)

    def push(self, commit: str, branch: str, *, expected: str | None) -> None:
        def move() -> None:
            if self._git.branches.get(branch) != expected:
                raise BranchMoved(branch)
            self._git.branches[branch] = commit

        self._ask(move, changes=True)

    def delete(self, branch: str, *, expected: str) -> None:
        def move() -> None:
            if self._git.branches.get(branch) != expected:
                raise BranchMoved(branch)
            del self._git.branches[branch]

        self._ask(move, changes=True)


# --- GitHub --------------------------------------------------------------------------------------------------------


@dataclass
class Pull:
    """A pull request as GitHub has it."""

    number: int
    title: str
    body: str
    branch: str
    author: str
    base: str
    opened_at: datetime
    head: str = ""
    """Where its branch was when it was closed; while it is open that is the branch's own."""
    left_main: str = ""
    """Where its branch had left main when it was closed."""
    is_open: bool = True
    merged_at: datetime | None = None
    merged_by: str = ""
    closed_by: str = ""
    auto_merge: str = ""
    """Login of who enabled it; empty where nobody did."""
    approvals: dict[str, str] = field(default_factory=dict)
    """The commit that each person approved."""
    comments: list[str] = field(default_factory=list)


class GitHubServer:
    """What stands on GitHub: pull requests, their checks, and the rules of main, which GitHub itself keeps."""

    def __init__(self, git: Git, clock: Clock, *, reviews: int) -> None:
        self.git, self.clock, self.reviews = git, clock, reviews
        self.pulls: dict[int, Pull] = {}
        self.checks: dict[str, bool] = {}
        """Commit to whether its checks passed; a commit whose checks run is not there."""
        self.on_merge: Callable[[Pull], None] = lambda _: None

    def head(self, pull: Pull) -> str:
        return self.git.branches[pull.branch] if pull.is_open else pull.head

    def open(self, branch: str, title: str, body: str, author: str) -> Pull:
        if any(pull.is_open and pull.branch == branch for pull in self.pulls.values()):
            raise Rejected(f"a pull request already exists for {branch}", system="GitHub")
        number = len(self.pulls) + 1
        base = self.git.branches["main"]
        pull = self.pulls[number] = Pull(number, title, body, branch, author, base, self.clock.now)
        return pull

    def close(self, pull: Pull, by: str) -> None:
        if pull.is_open:
            self._end(pull)
            pull.closed_by = by

    def _end(self, pull: Pull) -> None:
        pull.head, pull.is_open, pull.auto_merge = self.head(pull), False, ""
        pull.left_main = self.git.parted(self.git.branches["main"], pull.head)

    def left_main(self, pull: Pull) -> str:
        """Return where its branch leaves main."""
        return self.git.parted(self.git.branches["main"], self.head(pull)) if pull.is_open else pull.left_main

    def merged_text(self, pull: Pull) -> dict[str, str] | None:
        """Return the files of main with this merged; None where that is a conflict."""
        head = self.head(pull)
        base = self.git.parted(self.git.branches["main"], head)
        before, theirs, ours = (self.git.commits[one].files for one in (base, head, self.git.branches["main"]))
        found = dict(ours)
        for path, text in theirs.items():
            if text == before.get(path):
                continue
            if ours.get(path) == before.get(path):
                found[path] = text
                continue
            merged = _merged_entries(before[path], text, ours[path], path) if path in before else None
            if merged is None:
                return None
            found[path] = merged
        return found

    def refusal(self, pull: Pull) -> str:
        """Return why the rules of main do not let it in now; empty where they do."""
        head = self.head(pull)
        if not pull.is_open:
            return "it is closed"
        if head not in self.checks:
            return "its checks run"
        if not self.checks[head]:
            return "its checks failed"
        approved = [who for who, commit in pull.approvals.items() if commit == head and who != pull.author]
        if len(approved) < self.reviews:
            return "at least one approving review is required"
        return "" if self.merged_text(pull) is not None else "it conflicts with main"

    def merge(self, pull: Pull, by: str) -> str:
        files = self.merged_text(pull)
        assert files is not None and not self.refusal(pull)
        # A squash: main stays one line, which has one place where a branch leaves it.
        email = EMAIL if by == BOT else f"{by}@users.noreply.github.com"
        made = self.git.commit((self.git.branches["main"],), files, f"{pull.title} (#{pull.number})", by, email)
        self._end(pull)
        pull.merged_at, pull.merged_by = self.clock.now, by
        self.git.branches["main"] = made
        self.on_merge(pull)
        return made

    def settle(self) -> None:
        """Merge what auto-merge waits for, as far as the rules let it in now."""
        for pull in list(self.pulls.values()):
            if pull.is_open and pull.auto_merge and not self.refusal(pull):
                self.merge(pull, pull.auto_merge)


def _merged_entries(base: str, one: str, other: str, path: str) -> str | None:
    """Merge two texts of a file of desired state as Git does where entries stand apart; None for a conflict."""
    name = desired.environment_of(path)
    try:
        states = [desired.parse(text, file=path, environment=name) for text in (base, one, other)]
    except PromobotError:
        return None
    theirs, ours = desired.changes(states[0], states[1]), desired.changes(states[0], states[2])
    if {change.slot for change in theirs} & {change.slot for change in ours}:
        same = {change.slot: change.after for change in ours}
        if any(same.get(change.slot, change.after) != change.after for change in theirs):
            return None
    text = other
    for change in theirs:
        text = desired.with_entry(text, file=path, section=change.section, model=change.model, entry=change.after)
    return text


class GitHub:
    """What :class:`bot.systems.github.GitHubRepository` is for the bot."""

    def __init__(self, server: GitHubServer, ports: Ports, login: str = BOT) -> None:
        self._server, self._ports, self._login = server, ports, login
        self.name = REPOSITORY

    def _ask(self, effect: Callable[[], Any], *, changes: bool = False) -> Any:
        return self._ports.call(effect, of="GitHub", changes=changes)

    def _shown(self, pull: Pull) -> PullRequest:
        return PullRequest(
            number=pull.number,
            url=f"https://github.com/{REPOSITORY}/pull/{pull.number}",
            title=pull.title,
            body=pull.body,
            state="open" if pull.is_open else "closed",
            merged=pull.merged_at is not None,
            branch=pull.branch,
            head=self._server.head(pull),
            base=pull.base,
            author=pull.author,
            merged_at=pull.merged_at,
            into="main",
            merged_by=pull.merged_by,
            auto_merge_by=pull.auto_merge,
        )

    def login(self) -> str:
        return self._login

    def author(self) -> tuple[str, str] | None:
        return self._login, EMAIL

    def signs_on(self, branch: str) -> bool:  # noqa: ARG002
        return False

    def rules(self) -> Rules:
        return self._ask(lambda: Rules(frozenset({"squash"}), frozenset({"required_status_checks", "pull_request"})))

    def pull_request(self, number: int) -> PullRequest:
        return self._ask(lambda: self._shown(self._server.pulls[number]))

    def approvals(self, number: int) -> list[Approval]:
        pull = self._server.pulls[number]
        return self._ask(lambda: [Approval(who, commit, None) for who, commit in pull.approvals.items()])

    def open_pull_requests(self, *, prefix: str) -> list[PullRequest]:
        pulls = self._server.pulls.values()
        return self._ask(lambda: [self._shown(one) for one in pulls if one.is_open and one.branch.startswith(prefix)])

    def merged_pull_requests(self) -> list[PullRequest]:
        def found() -> list[PullRequest]:
            merged = [pull for pull in self._server.pulls.values() if pull.merged_at is not None]
            return [self._shown(one) for one in sorted(merged, key=lambda one: (one.merged_at, one.number))[::-1]]

        return self._ask(found)

    def closed_pull_requests(self) -> list[PullRequest]:
        def found() -> list[PullRequest]:
            return [self._shown(one) for one in reversed(self._server.pulls.values()) if not one.is_open][:100]

        return self._ask(found)

    def list_open(self, *, prefix: str, known: Listed | None = None) -> Listed:  # noqa: ARG002 - it always asks anew
        return Listed(tuple(self.open_pull_requests(prefix=prefix)))

    def required_checks(self) -> frozenset[str]:
        return self._ask(lambda: frozenset({VERDICT}))

    def allows_auto_merge(self) -> bool | None:
        return True

    def merge_when_allowed(self, number: int, *, head: str, title: str) -> str:  # noqa: ARG002
        def ask() -> str:
            pull = self._server.pulls[number]
            if pull.merged_at is not None:
                return "merged"
            if not pull.is_open or self._server.head(pull) != head:
                raise Rejected(f"#{number} is not merged: it is closed, or its head moved", system="GitHub")
            if not self._server.refusal(pull):
                self._server.merge(pull, self._login)
                return "merged"
            pull.auto_merge = pull.auto_merge or self._login
            return "on"

        return str(self._ask(ask, changes=True))

    def stop_merging(self, number: int) -> bool:
        def stop() -> bool:
            pull = self._server.pulls[number]
            pull.auto_merge = ""
            return pull.merged_at is None

        return bool(self._ask(stop, changes=True))

    def open_pull_request(self, *, branch: str, title: str, body: str) -> PullRequest:
        return self._ask(lambda: self._shown(self._server.open(branch, title, body, self._login)), changes=True)

    def update_pull_request(self, number: int, *, title: str, body: str) -> PullRequest:
        def edit() -> PullRequest:
            pull = self._server.pulls[number]
            pull.title, pull.body = title, body
            return self._shown(pull)

        return self._ask(edit, changes=True)

    def set_body(self, number: int, body: str) -> None:
        self._ask(lambda: setattr(self._server.pulls[number], "body", body), changes=True)

    def close(self, number: int) -> None:
        self._ask(lambda: self._server.close(self._server.pulls[number], self._login), changes=True)

    def comment(self, number: int, body: str) -> str:
        self._ask(lambda: self._server.pulls[number].comments.append(body), changes=True)
        return f"https://github.com/{REPOSITORY}/pull/{number}#1"

    def put_comment(self, number: int, body: str, *, marker: str) -> str:
        def put() -> None:
            comments = self._server.pulls[number].comments
            comments[:] = [one for one in comments if not one.startswith(marker)] + [body]

        self._ask(put, changes=True)
        return f"https://github.com/{REPOSITORY}/pull/{number}#1"

    def merge(self, number: int, *, head: str, title: str) -> str | None:  # noqa: ARG002
        def merge() -> str:
            pull = self._server.pulls[number]
            if self._server.head(pull) != head:
                raise Rejected(f"#{number} is not merged: HTTP 409 Head branch was modified", system="GitHub")
            if why := self._server.refusal(pull):
                raise Rejected(f"#{number} is not merged: HTTP 405 {why}", system="GitHub")
            return self._server.merge(pull, self._login)

        return self._ask(merge, changes=True)


# --- MLflow --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """A registered version, and its fate where it is deployed to each environment."""

    entry: Entry
    model: str
    contents: Mapping[str, bytes]
    package: Package


def made(model: str, number: int) -> Version:
    """Make the package of a version."""
    noise = hashlib.sha256(f"{model} {number}".encode()).digest()
    contents = {
        stand_in.MODEL_FILE: noise,
        CONFIG_FILE: stand_in.CONFIG.encode(),
        SMOKE_FILE: SMOKE.to_json().encode(),
    }
    package = Package.of(PackageFile(path, len(it), hashlib.sha256(it).hexdigest()) for path, it in contents.items())
    contents[PACKAGE_FILE] = package.to_json().encode()
    return Version(Entry(version=number, digest=package.digest, run=f"run{number}"), model, contents, package)


class Registry:
    """What :class:`bot.systems.mlflow.Registry` is for the bot."""

    def __init__(self, versions: Mapping[tuple[str, int], Version]) -> None:
        self._versions = versions

    def version(self, model: str, version: int, *, with_run: bool = True) -> RegisteredVersion:  # noqa: ARG002
        if (model, version) not in self._versions:
            raise Rejected(f"there is no {model} {version}", system="MLflow")
        return RegisteredVersion(
            model=model,
            version=version,
            status="READY",
            status_message="",
            run=self._versions[model, version].entry.run,
            source=f"models:/{model}/{version}",
            metrics=Measured({"accuracy": 0.9}),
            params={},
            tags={},
            url=f"https://mlflow.example/{model}/{version}",
        )

    def wait_ready(self, model: str, version: int, *, timeout_seconds: float) -> RegisteredVersion:  # noqa: ARG002
        return self.version(model, version)

    def contents(self, registered: RegisteredVersion) -> PackageContents:
        version = self._versions[registered.model, registered.version]

        def stream(path: str, *_: object, **__: object) -> Iterator[bytes]:
            yield version.contents[path]

        return PackageContents(version.package, stream, "MLflow")

    def files(self, registered: RegisteredVersion) -> list[str]:
        return list(self._versions[registered.model, registered.version].contents)


# --- one environment -----------------------------------------------------------------------------------------------


class Slack:
    """The channel."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.messages: list[Any] = []

    def deliver(self, message: Any, **_: object) -> str:
        self._ports.call(lambda: self.messages.append(message), of="Slack", changes=True)
        return f"{len(self.messages)}"


class Platform:
    """What :class:`bot.platform.Platform` is for the bot: one environment of the world."""

    def __init__(self, world: World, environment: str) -> None:
        self._world, self.environment = world, environment
        self.settings: Environment = world.settings[environment]
        self.ledger = Ledger(world.records, environment)
        self.records = world.records
        self.github, self.registry, self.slack = GitHub(world.github, world.ports), world.registry, world.slack
        self.runner = Runner()
        self.share = SimpleNamespace(
            routes=SimpleNamespace(read=lambda name: world.routes[name]),
            journal=SimpleNamespace(read=lambda: None),
        )

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def repository(self, *, limit_seconds: float | None = None) -> Repository:  # noqa: ARG002
        return Repository(self._world.git, self._world.ports)

    def give_up_repository(self) -> None:
        pass

    def serving(self, *, reads_only: bool = False) -> Any:  # noqa: ARG002
        return SimpleNamespace(share=self.share, tritons=(), gateways=())

    def neighbours(self) -> list[str]:
        return list(self._world.settings)


class World:
    """Everything that stays while processes come and go."""

    def __init__(self, settings: Mapping[str, Environment], *, seed: int, start: datetime, reviews: int = 0) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - it decides nothing but what happens
        self.clock = Clock(start)
        self.ports = Ports(self.chance)
        self.settings = dict(settings)
        files = {desired.path_of(name): f"environment: {name}\nmodels: {{}}\n" for name in settings}
        self.git = Git(files)
        self.github = GitHubServer(self.git, self.clock, reviews=reviews)
        self.records = Records(self.ports)
        self.versions: dict[tuple[str, int], Version] = {}
        self.registry = Registry(self.versions)
        self.slack = Slack(self.ports)
        self.routes = {name: RouteTable(name) for name in settings}

    def platform(self, environment: str) -> Platform:
        return Platform(self, environment)

    def asked(self, environment: str) -> Desired:
        """Return what main asks for."""
        path = desired.path_of(environment)
        return desired.parse(self.git.main.files[path], file=path, environment=environment)

    def serves(self, environment: str, model: str) -> Target | None:
        return self.routes[environment].route(model).live

    def switch(self, environment: str, model: str, entry: Entry | None) -> None:
        """Serve a version."""
        table = self.routes[environment]
        target = Target(model, entry.version, entry.digest) if entry else None
        routes = {**table.models, model: replace(table.route(model), live=target)} if target else dict(table.models)
        if target is None:
            routes.pop(model, None)
        self.routes[environment] = table.following({name: Route(live=one.live) for name, one in routes.items()})

    def later(self, **time: float) -> datetime:
        return self.clock.now + timedelta(**time)


__all__ = ["BOT", "UTC", "Dies", "Faults", "Platform", "Ports", "Pull", "Version", "World", "made"]
