"""Everything outside that a command needs: opened when it is first used, once, and closed together.

This is the composition root: it reads the variables of the process. Adapters are imported here, where they are
opened, because SDKs are slow to import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from bot import environment_files
from bot.credentials import Credentials
from bot.errors import InvalidInput
from bot.runner import Runner, runner_of
from bot.settings import Environment, EvaluationRules, GatewayEndpoint, MLflow, Share, Triton, Tritons

if TYPE_CHECKING:
    from bot.domain.usage import Usage
    from bot.recordings import Store as Recordings
    from bot.records.ledger import Ledger, Store
    from bot.share import ModelRepository, StagingRepository
    from bot.systems.gateway import Gateway
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository
    from bot.systems.mlflow import Registry
    from bot.systems.slack import SlackChannel
    from bot.systems.triton.server import TritonServer


_RELOAD_TOKEN = "the gateways' reload token"  # noqa: S105 - what it is, not what it says


Opened = TypeVar("Opened", "Gateway", "TritonServer")


@dataclass(frozen=True)
class Serving:
    """What serves an environment: the share, every Triton, every gateway.

    ``find_more`` asks DNS again and returns the servers that came up since, opened like the others, or only the
    gateways among them. ``gateway_names`` and ``triton_names`` ask it for the names of all that there are now.
    """

    share: ModelRepository
    tritons: tuple[TritonServer, ...]
    gateways: tuple[Gateway, ...]
    find_more: Callable[..., tuple[tuple[TritonServer, ...], tuple[Gateway, ...]]] = lambda **_: ((), ())
    gateway_names: Callable[[], frozenset[str]] | None = None
    triton_names: Callable[[], frozenset[str]] | None = None

    def with_more_gateways(self) -> Serving:
        """Return the same with the gateways that came up since; raise Unavailable where DNS does not answer."""
        _, gateways = self.find_more(tritons=False)
        return replace(self, gateways=(*self.gateways, *gateways))

    def that_left(self, gateways: Iterable[Gateway]) -> list[Gateway]:
        """Return those of these gateways whose address DNS gives no more; raise Unavailable where it gives none.

        Nobody reaches these by the name, so they are not gateways now. One that is named by itself never leaves.
        """
        return _not_among(gateways, self.gateway_names)

    def tritons_that_left(self, tritons: Iterable[TritonServer]) -> list[TritonServer]:
        """Return those of these Tritons whose address DNS gives no more, as ``that_left`` does."""
        return _not_among(tritons, self.triton_names)

    def without(self, servers: Sequence[Gateway | TritonServer]) -> Serving:
        """Return the same without these servers."""
        return replace(
            self,
            tritons=tuple(one for one in self.tritons if one not in servers),
            gateways=tuple(one for one in self.gateways if one not in servers),
        )

    def with_more(self) -> Serving:
        """Return the same with what came up since; raise Unavailable where DNS does not answer."""
        tritons, gateways = self.find_more()
        if not tritons and not gateways:
            return self
        return replace(self, tritons=(*self.tritons, *tritons), gateways=(*self.gateways, *gateways))


@dataclass(frozen=True)
class StagingSystems:
    """The Triton on which proposals are checked, and its part of the share."""

    share: StagingRepository
    triton: TritonServer


def _not_among(servers: Iterable[Opened], ask: Callable[[], frozenset[str]] | None) -> list[Opened]:
    listed = list(servers)
    names = ask() if listed and ask else None
    return [server for server in listed if names is not None and server.name not in names]


@dataclass
class _Lazy:
    """One system, before and after it was opened. Its lock is its own: who waits for it waits for nothing else."""

    lock: RLock = field(default_factory=RLock)
    is_open: bool = False
    opened: Any = None


System = TypeVar("System")


class Platform:
    """Everything outside that one command needs of one environment.

    Each system is opened when it is first used, once, and all are closed together when the ``with`` block ends, also
    after an error. Threads share a platform: the first that asks for a system opens it and the others wait for that
    one system only. After a failure, the next thread that asks tries again. After the end the platform opens nothing,
    so a thread that is still at work leaves nothing behind.
    """

    def __init__(self, settings: Environment, variables: Mapping[str, str] | None = None) -> None:
        """``variables`` hold the secrets that the settings name; by default those of this process."""
        self.settings = settings
        self._variables = os.environ if variables is None else variables
        self.credentials = Credentials(self._variables)
        self._each: dict[str, _Lazy] = {}
        self._closing = ExitStack()
        self._is_closed = False
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all that was opened; where one cannot be closed the others still are."""
        with self._lock:
            self._is_closed = True
        self._closing.close()

    @property
    def environment(self) -> str:
        """The environment's name."""
        return self.settings.environment

    @property
    def runner(self) -> Runner:
        """Who runs the command, and where."""
        return runner_of(self._variables)

    def like(self, settings: Environment) -> Platform:
        """Return another platform, with systems of its own, for other settings and the same secrets."""
        return Platform(settings, self._variables)

    # --- Git and GitHub ------------------------------------------------------------------------------------------

    def repository(self, *, limit_seconds: float | None = None) -> Repository:
        """Return the Git repository that holds desired state; Git and the API know the bot as the same.

        No command of what is returned lasts longer than ``limit_seconds``, by default six times as long as a request.
        """
        return self._once("Git", self._open_repository).within(limit_seconds)

    def give_up_repository(self) -> None:
        """Let the next that asks open another one: Git hangs, or was ended, in the folder of this one."""
        with self._lock:
            self._each.pop("Git", None)

    def _open_repository(self, opened: ExitStack) -> Repository:
        from bot.systems.git import Repository

        settings = self.settings
        # An App's token comes from the API, whose SDK is slow to import; any other is at hand.
        token = self.github.git_token() if self._app_key() else self._github_token()
        return opened.enter_context(
            Repository(
                settings.github.clone_url,
                token=token,
                base=settings.github.base,
                stall_seconds=settings.deadlines.request_seconds,
            )
        )

    @property
    def github(self) -> GitHubRepository:
        """GitHub's API for that repository: as the App where its key is at hand, else with the token."""
        return self._once("GitHub", self._open_github)

    def _open_github(self, _: ExitStack) -> GitHubRepository:
        from bot.systems.github import GitHubRepository

        seconds = self.settings.deadlines.request_seconds
        if key := self._app_key():
            return GitHubRepository(self.settings.github, app_key=key, request_seconds=seconds)
        return GitHubRepository(self.settings.github, token=self._github_token(), request_seconds=seconds)

    def _app_key(self) -> str | None:
        app = self.settings.github.app
        if app is None or not self.credentials.value(app.private_key_env):
            return None
        purpose = f"the private key of the GitHub App {app.id}"
        return self.credentials.secret(app.private_key_env, purpose=purpose, kind="PEM")

    def _github_token(self) -> str:
        app, purpose = self.settings.github.app, "the token for Git and GitHub"
        if app is not None:
            purpose += f", where {app.private_key_env} does not hold the key of the GitHub App {app.id}"
        return self.credentials.secret(self.settings.github.token_env, purpose=purpose)

    # --- the registry, the records, Slack ------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        """The model registry; raises InvalidInput where the settings have a mistake there."""
        self.settings.see_that_it_can_be_used("mlflow")
        return self._once("MLflow", self._open_registry)

    def _open_registry(self, _: ExitStack) -> Registry:
        from bot.systems.mlflow import Registry

        deadlines = self.settings.deadlines
        return Registry(
            self.settings.mlflow,
            self.credentials,
            names=self.settings.mlflow_names,
            request_seconds=deadlines.request_seconds,
            download_seconds=deadlines.download_seconds,
        )

    @property
    def records(self) -> Store:
        """The record store of the environment: a bucket, or a directory."""
        return self._once("records", self._open_records)

    def _open_records(self, _: ExitStack) -> Store:
        if bucket := self.settings.records_bucket:
            from bot.records import bucket as object_store

            # One for all commands of a process: what was read of a bucket never changes, and is read once.
            return object_store.opened(
                bucket,
                self.credentials.of_bucket(bucket, of="the record store"),
                request_seconds=self.settings.deadlines.request_seconds,
                at_once=self.settings.concurrency.records,
            )
        from bot.records.directory import RecordStore

        return RecordStore(str(self.settings.records))

    @property
    def ledger(self) -> Ledger:
        """The ledger: what the environment's records say."""
        return self._once("ledger", self._open_ledger)

    def _open_ledger(self, _: ExitStack) -> Ledger:
        from bot.records.ledger import Ledger

        return Ledger(self.records, self.settings.environment)

    @property
    def recordings(self) -> Recordings:
        """Where gateways record live requests; ask only where the settings say where that is."""
        return self._once("recordings", self._open_recordings)

    def _open_recordings(self, _: ExitStack) -> Recordings:
        settings = self.settings.recordings
        if settings is None:
            raise RuntimeError("the settings say nowhere that requests are recorded")
        if settings.s3 is None:
            from bot.recordings.directory import Directory

            return Directory(Path(str(settings.directory)))
        from bot.recordings.bucket import Bucket

        return Bucket(
            settings.s3.bucket,
            settings.s3.prefix,
            endpoint=settings.s3.endpoint,
            region=settings.s3.region,
            addressing_style=settings.s3.addressing_style,
            credentials=self.credentials.of_bucket(settings.s3, of="the recordings"),
            request_seconds=self.settings.deadlines.request_seconds,
        )

    @property
    def slack(self) -> SlackChannel:
        """The channel where releases are announced; raises InvalidInput where the settings have a mistake there."""
        self.settings.see_that_it_can_be_used("slack")
        return self._once("Slack", self._open_slack)

    def _open_slack(self, _: ExitStack) -> SlackChannel:
        from bot.systems.slack import SlackChannel

        token = self.credentials.secret(self.settings.slack.token_env, purpose="Slack's bot token")
        return SlackChannel(self.settings.slack, token=token, request_seconds=self.settings.deadlines.request_seconds)

    # --- what serves ---------------------------------------------------------------------------------------------

    @property
    def share(self) -> ModelRepository:
        """The environment's part of the share."""
        return self._once("share", self._open_share)

    def _open_share(self, _: ExitStack) -> ModelRepository:
        from bot.share import ModelRepository

        return ModelRepository(
            self.settings.share,
            self._before(),
            environment=self.settings.environment,
            files_at_once=self.settings.concurrency.files,
        )

    def serving(self, *, reads_only: bool = False) -> Serving:
        """Return the share, and every Triton and gateway that the settings name, or that DNS gives for a name.

        With ``reads_only`` the reload token is not read, so nobody who only looks needs it; the gateways then refuse
        to reload. A Triton's control key is used where it is set, and not asked for. Raises Refused where a secret is
        needed and not set.
        """
        if reads_only:
            return self._once("serving, to be read", lambda opened: self._open_serving(opened, token=None))
        return self._once("serving", lambda opened: self._open_serving(opened, token=self._reload_token()))

    def _open_serving(self, opened: ExitStack, *, token: str | None) -> Serving:
        settings = self.settings
        known: set[tuple[str, str]] = set()

        def find_more(*, tritons: bool = True) -> tuple[tuple[TritonServer, ...], tuple[Gateway, ...]]:
            found, gateways = [], []
            named = settings.tritons if tritons else ()
            for each_triton in (one for tritons_there in named for one in each(tritons_there)):
                if ("Triton", each_triton.name) not in known:
                    known.add(("Triton", each_triton.name))
                    found.append(self._triton(each_triton, needs_key=token is not None))
                    opened.callback(found[-1].close)
            for several in settings.gateways:
                for one in each(several):
                    if ("gateway", one.name) not in known:
                        known.add(("gateway", one.name))
                        gateways.append(self._gateway(one, of=several, token=token))
                        opened.callback(gateways[-1].close)
            return tuple(found), tuple(gateways)

        def gateway_names() -> frozenset[str]:
            return frozenset(one.name for several in settings.gateways for one in each(several))

        def triton_names() -> frozenset[str]:
            return frozenset(one.name for several in settings.tritons for one in each(several))

        return Serving(self.share, *find_more(), find_more, gateway_names, triton_names)

    @contextmanager
    def triton(self, named: Triton) -> Iterator[TritonServer]:
        """Open one Triton for a trial, with its control key where it has one, and close it afterwards."""
        server = self._triton(named)
        try:
            yield server
        finally:
            server.close()

    def _triton(self, named: Triton, *, needs_key: bool = True) -> TritonServer:
        from bot.systems.triton.server import TritonServer

        variable, key = named.control_key_env, None
        if variable and (needs_key or self.credentials.value(variable)):
            key = self.credentials.secret(variable, purpose=f"the control key of Triton {named.name}")
        return TritonServer(named, request_seconds=self.settings.deadlines.request_seconds, control_key=key)

    @contextmanager
    def gateway(self, named: GatewayEndpoint, *, of: GatewayEndpoint) -> Iterator[Gateway]:
        """Open one gateway of the entry ``of`` for a trial, and close it afterwards.

        One of several addresses is asked by the name of all of them.
        """
        gateway = self._gateway(named, of=of, token=self._reload_token())
        try:
            yield gateway
        finally:
            gateway.close()

    def _reload_token(self) -> str:
        return self.credentials.secret(self.settings.reload_token_env, purpose=_RELOAD_TOKEN)

    def _gateway(self, named: GatewayEndpoint, *, of: GatewayEndpoint, token: str | None) -> Gateway:
        from bot.systems.gateway import Gateway

        known_as = of.url if of.every_address else None
        seconds = self.settings.deadlines.request_seconds
        return Gateway(named, token=token, request_seconds=seconds, known_as=known_as)

    def usage(self, several: GatewayEndpoint, model: str) -> Usage:
        """Ask a gateway how much the version in service is used; it needs no token, and none is tried twice."""
        asked = self._gateway(each(several)[0], of=several, token=None)
        try:
            return asked.usage(model)
        finally:
            asked.close()

    # --- what checks ---------------------------------------------------------------------------------------------

    @property
    def staging_share(self) -> StagingRepository:
        """The part of the share of the Triton on which proposals are checked.

        Raises InvalidInput where the settings have a mistake there.
        """
        self.settings.see_that_it_can_be_used("staging")
        return self._once("staging share", self._open_staging_share)

    def _open_staging_share(self, _: ExitStack) -> StagingRepository:
        from bot.share import StagingRepository

        settings = self.settings
        return StagingRepository(
            settings.staging.share,
            [settings.share, *self._before()],
            files_at_once=settings.concurrency.files,
        )

    @property
    def staging(self) -> StagingSystems:
        """The Triton on which proposals are checked, and its part of the share.

        Raises InvalidInput where the settings have a mistake there.
        """
        return self._once("staging", self._open_staging)

    def _open_staging(self, opened: ExitStack) -> StagingSystems:
        share = self.staging_share
        server = self._triton(self.settings.staging.triton)
        opened.callback(server.close)
        return StagingSystems(share, server)

    def reader(self, rules: EvaluationRules) -> Callable[[str], Generator[bytes]]:
        """Return what yields the bytes of a file of an evaluation set, as they arrive from where the set is kept."""
        if rules.s3 is None:
            return partial(self.registry.unverified_of_run, rules.source or "")
        from bot.systems.bucket import FolderInBucket

        deadlines = self.settings.deadlines
        return FolderInBucket(
            rules.s3,
            self.credentials.of_bucket(rules.s3, of="the bucket of the evaluation set"),
            bucket=rules.s3.bucket,
            prefix=rules.s3.prefix,
            setting="evaluation.<model>.s3",
            request_seconds=deadlines.request_seconds,
            download_seconds=deadlines.download_seconds,
        ).unverified_chunks

    @property
    def sets_folder(self) -> Path:
        """Where evaluation sets are kept on this machine, so that the next check need not fetch them again."""
        cache = self._variables.get("XDG_CACHE_HOME")
        return (Path(cache) if cache else Path.home() / ".cache") / "promobot" / "evaluation"

    # --- the checkout --------------------------------------------------------------------------------------------

    def neighbours(self) -> list[str]:
        """Return the names of all environments that this one's checkout has settings for; its own at least."""
        checkout = self.settings.checkout
        return environment_files.environments(checkout) if checkout is not None else [self.environment]

    def _before(self) -> list[Share]:
        """Return the share of the environment that this one takes its digests from, where the same checkout says it.

        None where that file cannot be read: its bytes are only a quicker way to those of the registry.
        """
        checkout, source = self.settings.checkout, self.settings.source
        if checkout is None or source is None:
            return []
        try:
            return [environment_files.load(checkout, source).share]
        except InvalidInput:
            return []

    # --- opening and closing -------------------------------------------------------------------------------------

    def _once(self, name: str, open_it: Callable[[ExitStack], System]) -> System:
        """Return the system of this name. ``open_it`` opens it, and puts what must be closed on the given stack."""
        with self._lock:
            lazy = self._each.setdefault(name, _Lazy())
        with lazy.lock:
            if not lazy.is_open:
                lazy.opened = self._opened(open_it)
                lazy.is_open = True
            opened: System = lazy.opened
            return opened

    def _opened(self, open_it: Callable[[ExitStack], System]) -> System:
        stack = ExitStack()  # it stays open: what serves may open more later
        try:
            system = open_it(stack)
            with self._lock:
                if self._is_closed:
                    raise RuntimeError("the platform is closed: nothing more can be opened")
                self._closing.callback(stack.close)
        except BaseException:
            stack.close()
            raise
        return system


class Platforms(Mapping[str, Platform]):
    """A platform for each environment that a checkout has settings for, by its name; all are closed together.

    One whose file has a mistake can be neither used nor forgotten: asking for it raises its mistake, which ``broken``
    has by its name. Raises InvalidInput where the checkout has no environment.
    """

    def __init__(self, root: Path, variables: Mapping[str, str] | None = None) -> None:
        self.broken: dict[str, InvalidInput] = {}
        self._root, self._variables = root, variables
        self._usable: dict[str, Platform] = {}
        self._mending: Platform | None = None
        for name in environment_files.environments(root):
            try:
                self._usable[name] = Platform(environment_files.load(root, name), variables)
            except InvalidInput as error:
                self.broken[name] = error

    def __getitem__(self, name: str) -> Platform:
        if name in self._usable:
            return self._usable[name]
        raise self.broken.get(name) or KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self._usable

    def __iter__(self) -> Iterator[str]:
        return iter(self._usable)

    def __len__(self) -> int:
        return len(self._usable)

    @property
    def any_of_them(self) -> Platform:
        """One that says where GitHub is: a pull request that fixes the only file must reach a verdict."""
        if self._usable:
            return next(iter(self._usable.values()))
        if self._mending is None:
            settings = environment_files.load_for_the_way_back(self._root, next(iter(self.broken)))
            self._mending = Platform(settings, self._variables)
        return self._mending

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as closing:
            for platform in (*self._usable.values(), *([self._mending] if self._mending else [])):
                closing.callback(platform.close)


def registry_of(settings: MLflow, variables: Mapping[str, str] | None = None) -> Registry:
    """Open a model registry that belongs to no environment; ``variables`` are as of a platform."""
    from bot.systems.mlflow import Registry

    return Registry(settings, Credentials(os.environ if variables is None else variables))


Server = TypeVar("Server", Tritons, GatewayEndpoint)


def each(several: Server) -> list[Server]:
    """Return the servers that an entry stands for; raise Unavailable where DNS gives none for its name."""
    from bot.systems.dns import addresses

    return [several.at(address) for address in addresses(several.host)] if several.every_address else [several]
