"""A small platform around a board: a share, records, Tritons and gateways that do as told, and a real forge."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import yaml
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bot import environment_files
from bot.board.collecting import Between, OfEnvironment, Rhythm
from bot.domain.desired import Entry
from bot.domain.record import CRITERIA, Criterion, DeploymentRecord, Outcome
from bot.domain.routes import Route, RouteTable, Target
from bot.domain.traffic import BOUNDS, Counted, Period, Traffic
from bot.platform import Platform
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from bot.sandbox.forge.app import application, open_forge
from bot.sandbox.forge.people import People, Person
from bot.settings import Environment
from tests.gateway.gateways import running_application
from tests.stand_ins.merged import commit
from tests.stand_ins.server import Seen, StandIn, answer, hang
from tests.stores import Unfenced, begin_share

REPOSITORY = "acme/models"
TOKEN = "a-token-of-the-forge"
QUICK = Rhythm(
    serving=0.1,
    main=0.1,
    records=0.2,
    held=0.2,
    pulls=0.3,
    rollouts=0.2,
    traffic=0.2,
    names=0.2,
    settings=0.1,
    late=0.5,
)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def digest(version: int) -> str:
    return f"sha256:{version:064x}"


def entry(version: int) -> Entry:
    return Entry(version=version, digest=digest(version), run=f"run{version}")


def target(model: str, version: int) -> Target:
    return Target(model, version, digest(version))


def record(
    number: int,
    model: str,
    before: int | None,
    after: int | None,
    *,
    environment: str = "dev",
    outcome: Outcome = "succeeded",
    problem: str = "",
    at: datetime = NOON,
) -> DeploymentRecord:
    """Return the record of one deployment."""
    well = outcome == "succeeded"
    asked = entry(after) if after else None
    return DeploymentRecord(
        id=f"{environment}-{number:08d}-{model}",
        environment=environment,
        section="models",
        model=model,
        before=entry(before) if before else None,
        after=asked,
        commit="c" * 40,
        started_at=at,
        finished_at=at,
        outcome=outcome,
        serving=asked if well else entry(before) if before else None,
        criteria=tuple(Criterion(name=name, holds=well, at=at, proof=f"seen {name}") for name in CRITERIA),
        steps=(),
        problem=problem,
    )


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Says what it is told that it has; asks for a key of its control where it is told to."""

    def __init__(self) -> None:
        self.ready: set[tuple[str, int]] = set()
        self.key = ""
        self.hanging = threading.Event()
        self.asked: list[str] = []
        self._server: Any = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, at the same port as before."""
        options = [("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(4), options=options)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Listen no more."""
        self.hanging.clear()
        self._server.stop(None).wait()

    def RepositoryIndex(self, _request: Any, context: Any) -> Any:  # noqa: N802
        self._note("index")
        given = dict(context.invocation_metadata())
        if self.key and given.get("triton-grpc-protocol-promobot-control") != self.key:
            context.abort(grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header 'x'")
        line = service_pb2.RepositoryIndexResponse.ModelIndex
        listed = [line(name=name, version=str(version), state="READY") for name, version in sorted(self.ready)]
        return service_pb2.RepositoryIndexResponse(models=listed)

    def ModelStatistics(self, request: Any, _context: Any) -> Any:  # noqa: N802
        self._note("statistics")
        assert not request.name, "of every model that is READY"
        line = service_pb2.ModelStatistics
        listed = [line(name=name, version=str(version)) for name, version in sorted(self.ready)]
        return service_pb2.ModelStatisticsResponse(model_stats=listed)

    def _note(self, what: str) -> None:
        self.asked.append(what)
        while self.hanging.is_set():
            threading.Event().wait(0.05)


@dataclass
class FakeGateway:
    """Serves routes, and says what it counted."""

    server: StandIn
    table: RouteTable
    counted: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Requests and failed ones, by model."""
    _made: tuple[RouteTable, Mapping[str, tuple[int, int]], bytes] | None = None

    def answers(self) -> None:
        """Answer from now on."""
        self.server.behaviour = self._answer

    def breaks(self) -> None:
        """Break every connection off."""
        self.server.behaviour = lambda _: b""

    def hangs(self) -> None:
        """Take connections, and say nothing."""
        self.server.behaviour = hang

    def _answer(self, seen: Seen) -> bytes:
        assert seen.method == "GET" and seen.path == "/routes" and "authorization" not in seen.headers
        of = self.table, self.counted
        if self._made is None or self._made[0] is not of[0] or self._made[1] is not of[1]:
            self._made = *of, answer(200, self._document())
        return self._made[2]

    def _document(self) -> dict[str, Any]:
        document = json.loads(self.table.to_json())
        periods = {}
        for model, (requests, failed) in self.counted.items():
            live = self.table.route(model).live
            assert live is not None
            cells = (0,) * 10 + (requests,) + (0,) * (len(BOUNDS) - 10)
            one = Counted(live.version, live.digest, "live", requests, failed, 0, 0.01 * requests, cells)
            periods[model] = Period(NOON, (one,))
        document |= Traffic(self.table.generation, periods).to_json()
        worker = {"id": "w", "generation": self.table.generation, "routes": "r", "draining": 0}
        return {**document, "worker": "w", "group": "g", "workers": [worker]}


class Place:
    """One environment with two Tritons and two gateways. Several share a checkout, a forge and a record store."""

    def __init__(
        self,
        folder: Path,
        opened: ExitStack,
        *,
        models: Mapping[str, int],
        environment: str = "dev",
        beside: Place | None = None,
    ) -> None:
        self.root, self.models, self.environment = folder / "checkout", dict(models), environment
        self.tritons = [FakeTriton(), FakeTriton()]
        for triton in self.tritons:
            opened.callback(triton.stop)
        self.table = RouteTable(
            environment, 1, {name: Route(live=target(name, number)) for name, number in models.items()}
        )
        self.gateways = [FakeGateway(opened.enter_context(StandIn()), self.table) for _ in range(2)]
        self.share_at, self.records_at = folder / "share" / environment, folder / "records"
        share = begin_share(self.share_at / "models", self.share_at / "state")
        assert isinstance(share, Unfenced)
        self.share = share
        self.ledger = Ledger(RecordStore(self.records_at), environment)
        if beside is None:
            RecordStore(self.records_at).begin()
            self._open_forge(folder, opened)
        else:
            self.forge, self.forge_url, self.bare = beside.forge, beside.forge_url, beside.bare
        self.route(self.table)
        self.merge(self.models)
        self.configure()

    def _open_forge(self, folder: Path, opened: ExitStack) -> None:
        people = People({TOKEN: Person(login="promobot[bot]", type="Bot")})
        self.forge = open_forge(
            folder=folder / "forge",
            repository=REPOSITORY,
            server_url="http://127.0.0.1",
            people=people,
            settings=None,
        )
        self.forge_url = opened.enter_context(running_application(application(self.forge)))  # type: ignore[arg-type]
        self.bare = folder / "forge" / "repositories" / f"{REPOSITORY}.git"

    def serve(self, model: str, version: int) -> None:
        """Have everything serve this version, by a new generation."""
        models = {**self.table.models, model: Route(live=target(model, version))}
        self.route(self.table.following(models))

    def route(self, table: RouteTable) -> None:
        """Have everything serve these routes: the share, every Triton, every gateway."""
        self.table = table
        self.share.routes.write(table)
        for gateway in self.gateways:
            gateway.table = table
            gateway.answers()
        for triton in self.tritons:
            triton.ready = {
                (one.triton_model, one.version)
                for route in table.models.values()
                for one in (route.live, route.shadow)
                if one is not None
            }

    def merge(self, models: Mapping[str, int], **more: Any) -> None:
        """Have main ask for these."""
        text = self._asking(models, **more)
        commit(self.bare, f"promotions/{self.environment}.yaml", text)

    def propose(self, model: str, version: int, title: str) -> int:
        """Open the pull request that has main ask for this version, as the bot does; return its number."""
        branch, file = f"promobot/{self.environment}/{model}", f"promotions/{self.environment}.yaml"
        text = self._asking({**self.models, model: version})
        git = ["git", "-C", str(self.bare)]
        stream = f"commit refs/heads/{branch}\ncommitter promobot <b@example.com> 1 +0000\ndata 1\nx\n"
        stream += f"from refs/heads/main^0\nM 100644 inline {file}\ndata {len(text.encode())}\n{text}\n"
        subprocess.run([*git, "fast-import", "--quiet", "--force"], input=stream.encode(), check=True)
        made = httpx.post(
            f"{self.forge_url}/api/v3/repos/{REPOSITORY}/pulls",
            json={"title": title, "body": "", "head": branch, "base": "main"},
            headers={"authorization": f"token {TOKEN}"},
            trust_env=False,
        )
        return int(made.raise_for_status().json()["number"])

    def _asking(self, models: Mapping[str, int], **more: Any) -> str:
        listed = {
            name: {"version": number, "digest": digest(number), "run": f"run{number}"}
            for name, number in models.items()
        }
        document = {"environment": self.environment, "models": listed, "shadow": {}, **more}
        return yaml.safe_dump(document, sort_keys=False)

    def configure(self, **parts: Any) -> None:
        """Write the environment file, with these parts besides."""
        name = self.environment
        state = {"model_repository": str(self.share_at / "models"), "state": str(self.share_at / "state")}
        document = {
            "environment": name,
            "github": {
                "repository": REPOSITORY,
                "server_url": self.forge_url,
                "api_url": f"{self.forge_url}/api/v3",
            },
            "mlflow": {"uri": "http://127.0.0.1:9"},
            "staging": {
                "triton": {"name": "staging", "grpc": "127.0.0.1:9"},
                "share": {"model_repository": "/nonexistent/models", "state": "/nonexistent/state"},
            },
            "share": state,
            "tritons": [
                {"name": f"triton-{number}", "grpc": f"127.0.0.1:{one.port}"}
                for number, one in enumerate(self.tritons, 1)
            ],
            "gateways": [
                {"name": f"gateway-{number}", "url": one.server.url} for number, one in enumerate(self.gateways, 1)
            ],
            "records": str(self.records_at),
            "slack": {"channel": "C0RELEASES", "api_url": "http://127.0.0.1:9/api"},
            "gates": {"default": {"metrics": {"accuracy": {"minimum": 0.5}}}},
            "deadlines": {"request_seconds": 2},
            **parts,
        }
        path = self.root / f"manifests/environments/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def settings(self) -> Environment:
        return environment_files.load_for_the_way_back(self.root, self.environment)

    def reader(self, variables: Mapping[str, str] | None = None, *, rhythm: Rhythm | None = None) -> OfEnvironment:
        """Return what reads this environment when it is told to."""
        platform = Platform(self.settings, {"GITHUB_TOKEN": TOKEN} if variables is None else variables)
        rhythm = rhythm or Rhythm(main=0.01, pulls=0.01, traffic=0.01)  # each look asks anew
        return OfEnvironment(platform, Between.new(rhythm), rhythm=rhythm)


@contextmanager
def place(folder: Path, **models: int) -> Iterator[Place]:
    """Have a platform that serves these models, as main asks, until the block ends."""
    with ExitStack() as opened:
        yield Place(folder, opened, models=models or {"churn": 7})
