"""The whole platform on one machine: real processes on free ports of 127.0.0.1, everything in one directory.

DIR/endpoints.json      where everything is, while it runs (mode 600: it holds tokens)
DIR/promobot.env        what the bot's verbs need in a shell: ". DIR/promobot.env"
DIR/sandbox.json        ports and tokens, kept so that the same sandbox can be started again
DIR/share, DIR/records  what the real platform has as a shared volume and as a record store
DIR/forge, mlflow, slack
DIR/s3                  object storage, where it is asked for: records and MLflow's artifacts are there then
DIR/logs, DIR/pids      one log and one record for each process
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from bot.domain.marker import MARKER_FILE, MARKER_KEY, Marker
from bot.domain.names import check_environment_name
from bot.errors import InvalidInput, Refused
from bot.sandbox import environments, mlflow, triton
from bot.sandbox.processes import (
    HOST,
    Part,
    Ports,
    Process,
    Processes,
    answers,
    locked,
    port_of,
    run_at_once,
    write_private,
)
from bot.sandbox.s3 import ObjectStorage

REPOSITORY = "promobot/models"
BOT_REPOSITORY = "promobot/promobot"
"""Empty at first: where the bot goes when promotions shall call its workflows from a repository of their own."""
OWNER = "alex"
BOT = "promobot[bot]"
PEOPLE = (OWNER, "sam", BOT)
STAGING = "staging"
VERDICT = "Verdict"
"""The one job that branch protection needs to require."""
FOLLOW_SECONDS = "3"
"""Interval at which the bot's Slack app follows promotions; short, so that the story does not wait."""
SLACK_MANIFEST = Path(__file__).parent.parent / "slack" / "manifest.yaml"
"""The manifest of the bot's Slack app."""
LOCK_SECONDS = 30.0
PARTS = frozenset({"forge", "actions", "mlflow", "s3", "slack", "slack-app", "triton", "gateway"})
"""The parts of a sandbox. Without ``actions`` the forge runs no workflow: the caller runs the verbs after a merge.

``s3`` runs only where the shape asks for it.
"""
TO_LOOK_AT = PARTS | {"board"}
"""The same with what only people need, who look at it in a browser."""


@dataclass(frozen=True)
class Shape:
    """The number of Tritons and gateways of each environment.

    ``s3`` has records and MLflow's artifacts on object storage instead of in directories.
    """

    tritons: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"dev": 1, "prod": 1}))
    gateways: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"dev": 2, "prod": 1}))
    s3: bool = False

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments, in the order in which a version goes through them."""
        return tuple(self.tritons)


@dataclass(frozen=True)
class TritonEndpoint:
    """One Triton: ``grpc`` is ``host:port``, ``http`` a URL."""

    name: str
    grpc: str
    http: str


@dataclass(frozen=True)
class GatewayEndpoint:
    """One gateway of an environment."""

    name: str
    url: str


@dataclass(frozen=True)
class Secrets:
    """Tokens of this sandbox; they open nothing else. ``people`` are the forge's, by login.

    ``slack`` is the bot token, ``slack_app`` the app-level token, ``slack_signing`` the signing secret.
    """

    people: Mapping[str, str]
    slack: str
    slack_app: str
    slack_signing: str
    reload: str

    @classmethod
    def new(cls) -> Secrets:
        """Return fresh random tokens."""
        return cls(
            people={login: f"sandbox-{login.partition('[')[0]}-{secrets.token_hex(16)}" for login in PEOPLE},
            slack=f"xoxb-sandbox-{secrets.token_hex(16)}",
            slack_app=f"xapp-1-A0PROMOBOT-{secrets.token_hex(16)}",
            slack_signing=secrets.token_hex(16),
            reload=f"sandbox-reload-{secrets.token_hex(16)}",
        )


@dataclass(frozen=True)
class Endpoints:
    """Where everything of one sandbox is. URLs have no slash at their end; paths are absolute.

    ``slack`` is the workspace's page, ``slack_channel`` the id of the channel where releases are announced,
    ``slack_app`` where the bot's Slack app answers, when it runs, and ``slack_metrics`` where it serves its metrics;
    that is empty in a directory of before, and so is ``board``, where ``promobot board`` answers when it runs.
    """

    directory: Path
    repository: str
    forge: str
    mlflow: str
    triton: Mapping[str, tuple[TritonEndpoint, ...]]
    triton_staging: TritonEndpoint
    gateway: Mapping[str, tuple[GatewayEndpoint, ...]]
    slack: str
    slack_channel: str
    slack_app: str
    secrets: Secrets = field(repr=False)
    s3: ObjectStorage | None = None
    slack_metrics: str = ""
    board: str = ""

    @classmethod
    def new(cls, directory: Path, *, shape: Shape, ports: Ports) -> Endpoints:
        """Choose a port for everything."""

        def url() -> str:
            return f"http://{HOST}:{ports.take()}"

        def triton_at(name: str) -> TritonEndpoint:
            return TritonEndpoint(name=name, grpc=f"{HOST}:{ports.take()}", http=url())

        return cls(
            directory=directory,
            repository=REPOSITORY,
            forge=url(),
            mlflow=url(),
            triton={
                environment: tuple(triton_at(f"triton-{environment}-{n}") for n in range(1, count + 1))
                for environment, count in shape.tritons.items()
            },
            triton_staging=triton_at(f"triton-{STAGING}"),
            gateway={
                environment: tuple(GatewayEndpoint(f"gateway-{environment}-{n}", url()) for n in range(1, count + 1))
                for environment, count in shape.gateways.items()
            },
            slack=url(),
            slack_channel="C0RELEASES",
            slack_app=url(),
            secrets=Secrets.new(),
            s3=ObjectStorage.new(directory / "s3", ports=ports) if shape.s3 else None,
            slack_metrics=url(),
            board=url(),
        )

    @property
    def clone_url(self) -> str:
        """Git's address of the repository; the password is any of the people's tokens."""
        return f"{self.forge}/{self.repository}.git"

    @property
    def slack_api(self) -> str:
        """Base URL of Slack's Web API, for ``WebClient(base_url=…)``."""
        return f"{self.slack}/api/"

    @property
    def share(self) -> Path:
        """The shared volume."""
        return self.directory / "share"

    @property
    def records(self) -> Path:
        """The record store, where it is a directory."""
        return self.directory / "records"

    def records_setting(self) -> str | dict[str, object]:
        """Return the record store as settings name it; in a bucket each environment has a folder of its own."""
        if self.s3 is None:
            return str(self.records)
        return {"s3": {"bucket": self.s3.bucket, "endpoint": self.s3.endpoint, "region": self.s3.region}}

    @property
    def tritons(self) -> tuple[tuple[str, TritonEndpoint], ...]:
        """Every Triton with the environment that it serves, staging included."""
        serving = [(name, one) for name, several in self.triton.items() for one in several]
        return ((STAGING, self.triton_staging), *serving)

    def model_repository(self, environment: str) -> Path:
        """Return what the environment's Tritons serve from; ``staging`` is one too."""
        return self.share / "model-repo" / environment

    def state(self, environment: str) -> Path:
        """Return the bot's own directory of the environment on the share."""
        return self.share / "promobot" / environment

    def variables(self, *, login: str = OWNER) -> dict[str, str]:
        """Return the environment variables with which that person's shell runs the bot's verbs."""
        return {
            "GITHUB_TOKEN": self.secrets.people[login],
            "SLACK_BOT_TOKEN": self.secrets.slack,
            "SLACK_APP_TOKEN": self.secrets.slack_app,
            "SLACK_SIGNING_SECRET": self.secrets.slack_signing,
            "PROMOBOT_RELOAD_TOKEN": self.secrets.reload,
            **(self.s3.variables() if self.s3 else {}),
            **self.plain_variables(),
        }

    def plain_variables(self) -> dict[str, str]:
        """Return the variables without the secrets."""
        return {
            "SLACK_API_URL": self.slack_api,
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }

    def ports(self) -> list[int]:
        """Return every port of the sandbox."""
        gateways = [one.url for several in self.gateway.values() for one in several]
        tritons = [address for _, one in self.tritons for address in (one.http, one.grpc)]
        later = filter(None, [self.slack_metrics, self.board])
        one_each = (self.forge, self.mlflow, self.slack, self.slack_app, *later)
        stored = self.s3.ports.values() if self.s3 else ()
        return [*(port_of(address) for address in (*one_each, *gateways, *tritons)), *stored]

    def metrics(self) -> dict[str, str]:
        """Return where each part tells what it counts, as Prometheus reads it."""
        found = {one.name: one.url for several in self.gateway.values() for one in several}
        if self.slack_metrics:
            found["slack-app"] = self.slack_metrics
        return {part: f"{url}/metrics" for part, url in found.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``endpoints.json``, without ``pids`` and ``metrics``."""
        return {
            "directory": str(self.directory),
            "forge": self.forge,
            "forge_token": self.secrets.people[OWNER],
            "repository": self.repository,
            "clone_url": self.clone_url,
            "mlflow": self.mlflow,
            "triton": {name: [asdict(one) for one in several] for name, several in self.triton.items()},
            "triton_staging": asdict(self.triton_staging),
            "gateway": {name: [one.url for one in several] for name, several in self.gateway.items()},
            **({"board": self.board} if self.board else {}),
            "slack": self.slack,
            "slack_api": self.slack_api,
            "slack_channel": self.slack_channel,
            "slack_token": self.secrets.slack,
            "slack_app": self.slack_app,
            "slack_app_token": self.secrets.slack_app,
            "slack_signing_secret": self.secrets.slack_signing,
            "people": dict(self.secrets.people),
            "reload_token": self.secrets.reload,
            "share": str(self.share),
            "records": f"s3://{self.s3.bucket}" if self.s3 else str(self.records),
            **({"s3": self.s3.to_json()} if self.s3 else {}),
        }


KEPT = TypeAdapter(Endpoints)
"""As what ``sandbox.json`` keeps them."""


class Sandbox:
    """A running sandbox."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.processes = Processes(endpoints.directory)

    @classmethod
    def up(
        cls,
        directory: Path,
        *,
        progress: Callable[[str], None],
        seed: Callable[[Endpoints], object],
        shape: Shape | None = None,
        parts: frozenset[str] = PARTS,
    ) -> Sandbox:
        """Start everything in ``directory`` and return when all of it answers.

        ``seed`` gives the repository its content; it runs once in the life of a directory, as soon as the forge
        answers, while other parts are still starting. A directory whose sandbox was stopped starts again with its
        ports, its tokens and everything it held; only Tritons begin with nothing loaded, as after any restart.

        Raises Refused when the directory cannot be used, OutsideError when a part does not come up: it names the
        part and shows the end of its log. Then, and after Ctrl-C, everything that was started is stopped again.
        """
        if unknown := parts - TO_LOOK_AT:
            raise InvalidInput(f"no part of a sandbox: {', '.join(sorted(unknown))}")
        directory = directory.resolve()
        with _only_here(directory), Ports() as ports:
            endpoints = _endpoints(directory, shape=shape or Shape(), ports=ports)
            sandbox = cls(endpoints)
            _lay_out(endpoints)
            try:
                run_at_once(
                    [call for kind, call in sandbox._starts(progress, seed, parts) if kind in parts],
                    on_failure=sandbox._abandon,
                )
                sandbox._announce()
            except BaseException:
                sandbox._abandon()
                raise
        return sandbox

    @classmethod
    def open(cls, directory: Path) -> Sandbox:
        """Return the sandbox that runs in ``directory``; raise Refused when none does."""
        directory = directory.resolve()
        if not (directory / "endpoints.json").is_file():
            raise Refused(
                f"no sandbox runs in {directory}",
                next_step=f"promobot sandbox up --dir {shlex.quote(str(directory))}",
            )
        return cls(KEPT.validate_json((directory / "sandbox.json").read_bytes()))

    @staticmethod
    def down(directory: Path) -> list[str]:
        """Stop exactly what :meth:`up` started in ``directory``; return the names of the parts that still ran.

        Data and logs stay. Safe to run twice, and where ``up`` was killed half-way.
        """
        directory = directory.resolve()
        stopped = Processes(directory).stop()
        if (directory / "up.lock").exists():
            # An ``up`` that still runs sees its parts end, and gives up. One that was killed may have half started a
            # process, which shares the lock until it runs its own program. So every process that is left is seen now.
            with _lock(directory, wait_seconds=LOCK_SECONDS):
                stopped += Processes(directory).stop()
        for name in ("endpoints.json", "promobot.env"):
            (directory / name).unlink(missing_ok=True)
        return stopped

    def restart(
        self,
        name: str,
        *,
        env: Mapping[str, str] | None = None,
        command: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda words: words,
        more: Sequence[str] = (),
    ) -> None:
        """Stop one part and start it again, with these environment variables added or changed; wait until ready.

        ``command`` is given the words of its command and returns those to run from now on. ``more`` are arguments
        after those, until it is restarted without them. Starts a part that was halted or that died, too.
        """
        process = self._process(name)
        self.processes.halt([process])
        part = process.part.with_variables(env or {})
        part = replace(part, command=command(part.command), more=tuple(more))
        self.processes.wait_until_ready(self.processes.start(part))
        if name == "s3" and self.endpoints.s3:
            self.endpoints.s3.prepare()
        self._announce()

    def halt(self, name: str) -> None:
        """Stop one part; :meth:`restart` brings it back."""
        self.processes.halt([self._process(name)])

    def table(self) -> str:
        """Return what runs where, one line each: name, address, process id, and whether it answers."""
        addresses = {one.name: f"{one.http}  grpc {one.grpc}" for _, one in self.endpoints.tritons}
        rows = [
            (
                process.part.name,
                addresses.get(process.part.name, f"http://{HOST}:{process.part.port}"),
                str(process.pid),
                "up" if answers(process.part) else "does not answer",
            )
            for process in self.processes.recorded()
        ]
        return as_table(("part", "address", "pid", ""), rows)

    def _process(self, name: str) -> Process:
        recorded = {process.part.name: process for process in self.processes.recorded()}
        if name not in recorded:
            raise InvalidInput(f"no part is named {name!r}", next_step=f"one of {', '.join(sorted(recorded))}")
        return recorded[name]

    def _starts(
        self, progress: Callable[[str], None], seed: Callable[[Endpoints], object], parts: frozenset[str]
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield each kind of part with the call that brings it up; the slowest first."""
        endpoints, processes = self.endpoints, self.processes

        def bring_up(*parts: Part) -> None:
            begun = time.monotonic()
            for process in [processes.start(part) for part in parts]:
                processes.wait_until_ready(process)
                progress(f"{process.part.name} is up ({time.monotonic() - begun:.1f} s)")

        def mlflow_server() -> None:
            directory, port = endpoints.directory / "mlflow", port_of(endpoints.mlflow)
            bring_up(mlflow.part("mlflow", directory=directory, port=port, storage=endpoints.s3))

        def object_storage() -> None:
            if endpoints.s3 is None:
                return
            bring_up(endpoints.s3.part())
            endpoints.s3.prepare(cancelled=lambda: processes.closed)
            for environment in endpoints.gateway:
                endpoints.s3.client().put_object(
                    Bucket=endpoints.s3.bucket,
                    Key=f"{environment}/promobot/{MARKER_KEY}",
                    Body=Marker("records").to_json().encode(),
                )
            progress(f"bucket {endpoints.s3.bucket} takes objects")

        def forge() -> None:
            bring_up(_forge(endpoints, actions="actions" in parts))
            seeded = endpoints.directory / "seeded"
            if not seeded.exists():
                seed(endpoints)
                seeded.touch()
                progress(f"{endpoints.repository} has its content")
            # Without an environment in the repository there is nothing for it to serve.
            if "slack-app" in parts and (endpoints.directory / "slack-app").is_dir():
                bring_up(_slack_app(endpoints))
            if "board" in parts and endpoints.board and (endpoints.directory / "slack-app").is_dir():
                bring_up(_board(endpoints))

        def runner() -> None:
            environments.runner(progress=progress, cancelled=lambda: processes.closed)

        def tritons() -> None:
            environment = environments.triton(progress=progress, cancelled=lambda: processes.closed)
            bring_up(
                *(
                    triton.part(
                        one.name,
                        environment=environment,
                        model_repository=endpoints.model_repository(name),
                        http_port=port_of(one.http),
                        grpc_port=port_of(one.grpc),
                    )
                    for name, one in endpoints.tritons
                )
            )

        yield "mlflow", mlflow_server
        yield "s3", object_storage
        yield "forge", forge
        yield "actions", runner
        yield "triton", tritons
        yield "slack", lambda: bring_up(_slack(endpoints))
        yield "gateway", lambda: bring_up(*_gateways(endpoints))

    def _abandon(self) -> None:
        """Stop what was started, and start nothing more."""
        self.processes.close()
        self.processes.stop()

    def _announce(self) -> None:
        """Write what others read: where everything is, and the variables for a shell."""
        directory = self.endpoints.directory
        pids = {process.part.name: process.pid for process in self.processes.recorded()}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.endpoints.variables().items()]
        write_private(directory / "promobot.env", "".join(lines))
        metrics = [address for part, address in self.endpoints.metrics().items() if part in pids]
        document = {**self.endpoints.to_json(), "metrics": metrics, "pids": pids}
        write_private(directory / "endpoints.json", json.dumps(document, indent=1) + "\n")


def as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as lines with columns of equal width."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(line.rstrip() for line in lines)


@contextlib.contextmanager
def _only_here(directory: Path) -> Iterator[None]:
    """Hold the directory for one ``up``; raise Refused if a sandbox cannot be there."""
    if directory.is_dir() and any(directory.iterdir()) and not (directory / "up.lock").exists():
        raise Refused(
            f"{directory} is not empty and holds no sandbox",
            state="Nothing was started.",
            next_step="name a new directory",
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _lock(directory, wait_seconds=0):
        if Processes(directory).living():
            raise Refused(
                f"a sandbox runs in {directory} already",
                state="It was left as it is.",
                next_step=f"promobot sandbox down --dir {shlex.quote(str(directory))}",
            )
        yield


@contextlib.contextmanager
def _lock(directory: Path, *, wait_seconds: float) -> Iterator[None]:
    """Hold the lock of everybody who starts or stops parts in the directory; raise Refused when another keeps it."""
    deadline = time.monotonic() + wait_seconds

    def give_up() -> None:
        if time.monotonic() >= deadline:
            raise Refused(
                f"another command is starting or stopping a sandbox in {directory}",
                next_step="wait for it, or end it with Ctrl-C",
            )

    with locked(directory / "up.lock", while_waiting=give_up):
        yield


def _endpoints(directory: Path, *, shape: Shape, ports: Ports) -> Endpoints:
    """Return the directory's own endpoints from an earlier start, or new ones."""
    file = directory / "sandbox.json"
    if not file.exists():
        for environment in {*shape.environments, *shape.gateways}:
            check_environment_name(environment)
        endpoints = Endpoints.new(directory, shape=shape, ports=ports)
        write_private(file, KEPT.dump_json(endpoints, indent=1).decode() + "\n")
        return endpoints
    endpoints = KEPT.validate_json(file.read_bytes())
    if shape.s3 and endpoints.s3 is None:
        raise Refused(
            f"the sandbox in {directory} has its records in directories, and its repository says so",
            state="Nothing was started.",
            next_step="name a new directory, or leave out --s3",
        )
    taken = [port for port in endpoints.ports() if not ports.reserve(port)]
    if taken:
        raise Refused(
            f"ports {taken}, which the repository of this sandbox names, are used by somebody else now",
            state="Nothing was started.",
            next_step="name a new directory",
        )
    return endpoints


def _lay_out(endpoints: Endpoints) -> None:
    """Make the stores."""
    _store(endpoints.state(STAGING), Marker("staging state"))
    _store(endpoints.model_repository(STAGING), Marker("staging models"))
    for environment in endpoints.triton:
        _store(endpoints.state(environment), Marker("state", environment))
        _store(endpoints.model_repository(environment), Marker("models", environment))
    _store(endpoints.records, None if endpoints.s3 else Marker("records"))
    if not (endpoints.directory / "seeded").exists():
        shutil.rmtree(endpoints.directory / "forge", ignore_errors=True)  # half of a content would stay half


def _store(folder: Path, marker: Marker | None) -> None:
    """Make a folder, and say that it is a store, as `promobot doctor --init` does for a person."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / MARKER_FILE
    if marker and not file.exists():
        file.write_text(marker.to_json())


def _forge(endpoints: Endpoints, *, actions: bool) -> Part:
    tokens, runner = endpoints.secrets, environments.runner_directory()
    people = {
        token: {
            "login": login,
            "type": "Bot" if login == BOT else "User",
            "permission": "admin" if login == OWNER else "write",
        }
        for login, token in tokens.people.items()
    }
    given = {
        "path": [str(runner / "bin")],
        # "uv pip install" in a workflow means the runner's environment, which has everything already.
        # A runner of one's own has what it needs for the bucket from its machine, not from the repository.
        "env": {
            **endpoints.plain_variables(),
            **(endpoints.s3.variables() if endpoints.s3 else {}),
            "VIRTUAL_ENV": str(runner),
        },
        "secrets": {
            "GITHUB_TOKEN": tokens.people[BOT],
            "PROMOBOT_RELOAD_TOKEN": tokens.reload,
            "SLACK_BOT_TOKEN": tokens.slack,
        },
        "bot_token": tokens.people[BOT],
    }
    port = port_of(endpoints.forge)
    server = {
        "folder": str(endpoints.directory / "forge"),
        "port": port,
        "repositories": [endpoints.repository, BOT_REPOSITORY],
        "people": people,
        # Where no workflow runs nobody would ever report the check.
        **({"actions": given, "required_check": VERDICT} if actions else {}),
    }
    file = _told(endpoints, "forge", server)
    return _python("forge", "bot.sandbox.forge", str(file), port=port, any_answer=True)


def _told(endpoints: Endpoints, name: str, document: Mapping[str, Any]) -> Path:
    """Write the file that a part reads at its start."""
    file = endpoints.directory / f"{name}.json"
    write_private(file, json.dumps(document, indent=1) + "\n")
    return file


def _slack(endpoints: Endpoints) -> Part:
    port, tokens = port_of(endpoints.slack), endpoints.secrets
    installed: tuple[str, ...] = ()
    if SLACK_MANIFEST.exists():
        app = {
            "app_token": tokens.slack_app,
            "signing_secret": tokens.slack_signing,
            "request_url": f"{endpoints.slack_app}/slack/events",
            "manifest": SLACK_MANIFEST.read_text(),
        }
        installed = ("--app", str(_told(endpoints, "slack-app", app)))
    return _python(
        "slack",
        "bot.sandbox.slack",
        *("--dir", str(endpoints.directory / "slack"), "--port", str(port), "--token", tokens.slack),
        *("--channel", f"{endpoints.slack_channel}=ml-releases", *installed),
        port=port,
    )


def _slack_app(endpoints: Endpoints) -> Part:
    """The bot's own service; who may do what says the checkout that the seed leaves for it."""
    port = port_of(endpoints.slack_app)
    root = endpoints.directory / "slack-app"
    # A bucket has no locks, so the inbox stays a directory; elsewhere it is a folder of the record store.
    inbox = ("--state", str(endpoints.records / "slack")) if endpoints.s3 else ()
    address = endpoints.slack_metrics
    metrics = ("--metrics-port", str(port_of(address))) if address else ()
    return _python(
        "slack-app",
        "bot",
        *("slack", "--http", str(port), "--root", str(root), "--follow", FOLLOW_SECONDS, *inbox, *metrics),
        port=port,
        ready_path="/health",
        variables=endpoints.variables(login=BOT),
    )


def _board(endpoints: Endpoints) -> Part:
    """The page that people look at; of the secrets it has those that it takes to read Git, GitHub and the records."""
    port, root = port_of(endpoints.board), endpoints.directory / "slack-app"
    return _python(
        "board",
        "bot",
        *("board", "--host", HOST, "--port", str(port), "--root", str(root)),
        port=port,
        ready_path="/healthz",
        variables={
            **endpoints.plain_variables(),
            **(endpoints.s3.variables() if endpoints.s3 else {}),
            "GITHUB_TOKEN": endpoints.secrets.people[BOT],
        },
    )


def _gateways(endpoints: Endpoints) -> Iterator[Part]:
    for environment, gateways in endpoints.gateway.items():
        routes = endpoints.state(environment) / "routes.json"
        tritons = [word for one in endpoints.triton[environment] for word in ("--triton", one.http)]
        for gateway in gateways:
            port = port_of(gateway.url)
            yield _python(
                gateway.name,
                "bot.gateway",
                *("--routes", str(routes), *tritons, "--host", HOST, "--port", str(port), "--name", gateway.name),
                *("--environment", environment),
                port=port,
                ready_path="/v2/health/live",
                variables={"PROMOBOT_RELOAD_TOKEN": endpoints.secrets.reload},
            )


def _python(
    name: str,
    module: str,
    *arguments: str,
    port: int,
    ready_path: str = "/",
    any_answer: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Part:
    """Return a part that is a module of this code, run by this Python."""
    return Part(
        name=name,
        command=(sys.executable, "-m", module, *arguments),
        port=port,
        ready_path=ready_path,
        any_answer=any_answer,
        variables={**environments.bytecode_variables(), **(variables or {})},
    )
