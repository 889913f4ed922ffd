"""Environments as a board may find them, made of the values that its loops read: pages are looked at with these."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from bot import environment_files
from bot.board.board import Board
from bot.board.server import application
from bot.board.snapshot import Counted, Fresh, Rate, Server, Snapshot
from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.hold import Held, Hold
from bot.domain.journal import Journal, Underway
from bot.domain.origin import Origin
from bot.domain.plan import Live, plan
from bot.domain.policy import Decided
from bot.domain.record import CRITERIA, Criterion, DeploymentRecord, Outcome
from bot.domain.release import Slot
from bot.domain.rollout import Bakes
from bot.domain.routes import Canary, Route, RouteTable, Target
from bot.domain.shadowed import Copies
from bot.operations.main_branch import Main
from bot.operations.opened import Opened
from bot.operations.seen import FromRecords, Seen
from bot.operations.status import judged, placed_differences
from bot.render import policy
from bot.settings import Environment
from tests.gateway.gateways import running_application

NOW = datetime(2026, 12, 1, 3, 12, 40, tzinfo=UTC)
SERVERS = ("triton-1", "triton-2", "gateway-1", "gateway-2", "gateway-3")
FAILED = {
    "fastapi_reloaded": "gateway-2 refused: it asks a Triton that prod does not name",
    "smoke_passed": "through gateway-2, “row-3”: label[0]: 1 instead of 0 (1 of 8 values differs)",
}
PARTS = ("share", "main", "records", "held", "GitHub", "servers", "traffic", "rollouts")


def digest(model: str, version: int) -> str:
    return f"sha256:{hashlib.sha256(f'{model} {version}'.encode()).hexdigest()}"


def entry(model: str, version: int) -> Entry:
    return Entry(version=version, digest=digest(model, version), run=f"run-{model}-{version}")


def settings_of(environment: str, more: str = "") -> Environment:
    """Return settings with the servers of the sample, and a repository and a registry that links lead to."""
    text = f"""environment: {environment}
github: {{repository: acme/models}}
mlflow: {{uri: "https://mlflow.acme.example"}}
staging:
  triton: {{name: staging, grpc: "staging:8001", http: "staging:8000"}}
  share: {{model_repository: /share/staging, state: /share/staging-state}}
share: {{model_repository: /share/{environment}, state: /share/{environment}-state}}
tritons: [{{name: triton-1, grpc: "t1:8001"}}, {{name: triton-2, grpc: "t2:8001"}}]
gateways: [{", ".join(f'{{name: {one}, url: "http://{one}:8080"}}' for one in SERVERS if one.startswith("gateway"))}]
records: /records
slack: {{channel: C0RELEASES}}
gates: {{churn: {{metrics: {{accuracy: {{minimum: 0.9}}}}}}}}
{more}"""
    file = f"manifests/environments/{environment}.yaml"
    return environment_files.parse(text, file=file, environment=environment)


def recorded(
    environment: str,
    model: str,
    versions: tuple[int | None, int | None],
    *,
    turn: int,
    ago: timedelta,
    outcome: Outcome = "succeeded",
    section: Section = "models",
    lacks: Sequence[str] = (),
    **more: Any,
) -> DeploymentRecord:
    """Return the record of one deployment, ``ago`` before the look."""
    before, after = (entry(model, one) if one is not None else None for one in versions)
    ended = NOW - ago
    lane = "-shadow" if section == "shadow" else ""
    proofs = {
        "registered_in_mlflow": "version and alias read back",
        "ready": "every file has the digest of the package",
        "triton_loaded": "triton-1, triton-2 have it READY",
        "smoke_passed": "8 of 8 golden requests on each Triton, within 0.0001",
        "fastapi_reloaded": "gateway-1, gateway-2, gateway-3 serve generation 7",
        "slack_delivered": "message 1764558753.000200",
    } | {name: FAILED[name] for name in lacks}
    return DeploymentRecord(
        id=f"{environment}-{turn:08d}-{model}{lane}",
        environment=environment,
        section=section,
        model=model,
        before=before,
        after=after,
        commit=hashlib.sha1(f"{environment}{turn}".encode(), usedforsecurity=False).hexdigest(),
        started_at=ended - timedelta(seconds=41),
        finished_at=ended,
        outcome=outcome,
        serving=after if outcome in ("succeeded", "unconfirmed") else before,
        criteria=tuple(
            Criterion(name=name, holds=name not in lacks, at=ended, proof=proofs[name]) for name in CRITERIA
        ),
        steps=(),
        origin=Origin(
            registered_at=ended - timedelta(hours=7, minutes=turn),
            pull_request=180 + turn,
            url=f"https://github.com/acme/models/pull/{180 + turn}",
            opened_at=ended - timedelta(hours=6),
            proposed_by="sam",
            approved_by="alex",
            approved_at=ended - timedelta(minutes=20),
            merged_by="alex",
            merged_at=ended - timedelta(minutes=2),
        ),
        **more,
    )


@dataclass(frozen=True)
class Sample:
    """An environment: ``live`` versions by model, what main ``asks`` for otherwise, and what else is so.

    ``silent`` servers do not answer since the time that is given. ``lost`` parts are not known since then.
    """

    environment: str
    live: Mapping[str, int] = field(default_factory=dict)
    asks: Mapping[str, int | None] = field(default_factory=dict)
    shadows: Mapping[str, int] = field(default_factory=dict)
    canaries: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    bakes: Sequence[Bakes] = ()
    held: Mapping[str, Hold] = field(default_factory=dict)
    opened: Sequence[tuple[str, int, str]] = ()
    underway: Sequence[Underway] = ()
    by: str = ""
    silent: Mapping[str, datetime] = field(default_factory=dict)
    behind: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The models that a Triton lacks."""
    lost: Mapping[str, tuple[datetime, str]] = field(default_factory=dict)
    records: Sequence[DeploymentRecord] = ()
    rates: Mapping[str, Rate] = field(default_factory=dict)
    policies: Sequence[Decided] = ()
    settings: str = ""
    """More lines of its environment file."""

    def snapshot(self) -> Snapshot:
        """Return what a board knows of it."""
        settings, table = settings_of(self.environment, self.settings), self._table()
        names = {name: Target(name, version, digest(name, version)) for name, version in self.live.items()}
        loaded = frozenset((one.triton_model, one.version) for one in self._targets(table))
        why = "connection refused"
        live = Live(
            table,
            {
                one: None
                if one in self.silent
                else loaded - {(model, names[model].version) for model in self.behind.get(one, ())}
                for one in SERVERS
                if one.startswith("triton")
            },
            {one: None if one in self.silent else table for one in SERVERS if one.startswith("gateway")},
            {one: f"{one.replace('-', ' ').capitalize()} does not answer: {why}" for one in self.silent},
        )
        main = self._main()
        desired = main.desired
        todo = plan(desired, live, known={})
        held = tuple(Held(one, self.held[one.model]) for one in todo.changes if one.model in self.held)
        journal = Journal(turn=9, before="", underway=tuple(self.underway), by=self.by) if self.underway else None
        lost_records = self.lost.get("records")
        seen = Seen(
            settings=settings,
            at=NOW,
            live=live,
            silences=dict(self.silent),
            unproven={},
            outbox=(),
            journal=journal,
            ways=(),
            unreadable_ways=(),
            main=main,
            todo=todo,
            opened=tuple(self._opened(desired)),
            records=FromRecords(held=held, why_not=lost_records[1] if lost_records else ""),
            problems=(),
        )
        by_slot: dict[Slot, list[DeploymentRecord]] = {}
        for record in sorted(self.records, key=lambda one: one.id):
            by_slot.setdefault(record.slot, []).append(record)
        return Snapshot(
            environment=self.environment,
            at=NOW,
            settings=settings,
            seen=seen,
            status=replace(judged(seen, tuple(self.bakes)), policies=tuple(self.policies)),
            differences=placed_differences(seen),
            parts={name: self._fresh(name) for name in PARTS},
            servers=[self._server(name) for name in SERVERS],
            counted=Counted(self.rates, self._copies()),
            records=by_slot,
            listing=frozenset(
                f"evidence/{self.environment}/{one.model}/{one.after.digest.removeprefix('sha256:')}/1.json"
                for one in self.records
                if one.after
            ),
        )

    def _table(self) -> RouteTable:
        routes = {}
        for model in sorted({*self.live, *self.shadows}):
            listens = self.shadows.get(model)
            canary = self.canaries.get(model)
            routes[model] = Route(
                live=_target(model, self.live[model]) if model in self.live else None,
                shadow=_target(f"{model}-shadow", listens, model) if listens is not None else None,
                canary=Canary(_target(model, canary[0]), canary[1]) if canary else None,
            )
        return RouteTable(self.environment, 7, routes)

    @staticmethod
    def _targets(table: RouteTable) -> Iterator[Target]:
        yield from table.slots.values()
        yield from (one.target for one in table.canaries.values())

    def _main(self) -> Main:
        models = {name: entry(name, version) for name, version in self.live.items()}
        models |= {name: entry(name, version) for name, (version, _) in self.canaries.items()}
        for name, version in self.asks.items():
            models.pop(name, None)
            if version is not None:
                models[name] = entry(name, version)
        shadow = {name: entry(name, version) for name, version in self.shadows.items()}
        commit = hashlib.sha1(self.environment.encode(), usedforsecurity=False).hexdigest()
        desired = Desired(environment=self.environment, models=models, shadow=shadow)
        return Main(cast("Any", None), commit, desired)

    def _opened(self, desired: Desired) -> Iterator[Opened]:
        for model, number, title in self.opened:
            known = desired.models.get(model)
            version = 1 + (known.version if known else 0)
            yield Opened(
                Change(self.environment, "models", model, known, entry(model, version)), number, title, False
            )

    def _fresh(self, name: str) -> Fresh:
        if name in self.lost:
            at, why = self.lost[name]
            return Fresh(name, at, why, at)
        return Fresh(name, NOW)

    def _server(self, name: str) -> Server:
        since = self.silent.get(name)
        kind = "Triton" if name.startswith("triton") else "gateway"
        why = f"{name} does not answer: connection refused" if since else ""
        return Server(name, kind, "down" if since else "ok", since, why)

    def _copies(self) -> dict[str, Copies]:
        return {
            model: Copies(_target(f"{model}-shadow", version, model), sent=4120, answered=4118, failed=2)
            for model, version in self.shadows.items()
        }


class Unread(Sample):
    """An environment of which nothing was read yet."""

    def snapshot(self) -> Snapshot:
        return Snapshot(self.environment, NOW)


def _target(name: str, version: int, model: str = "") -> Target:
    return Target(name, version, digest(model or name, version))


def rate(version: int, per_second: float, *, failed: float = 0.0, p95: float = 0.012, requests: int = 90_000) -> Rate:
    return Rate(version, NOW - timedelta(hours=4), requests, int(requests * failed), per_second, failed, p95)


class Still(Board):
    """A board that knows what it is given, and reads nothing. ``samples`` may be changed; ``turn`` says so."""

    def __init__(self, *samples: Sample) -> None:
        self.samples, self.turn = list(samples), 0
        self._snapshots = [one.snapshot() for one in samples]

    def show(self, *samples: Sample) -> None:
        """Know these from now on."""
        self._snapshots = [one.snapshot() for one in samples]
        # Last: a page that is made meanwhile is kept as one of before.
        self.samples, self.turn = list(samples), self.turn + 1

    @property
    def environments(self) -> list[str]:
        return [one.environment for one in self.samples]

    def of(self, environment: str) -> None:  # noqa: ARG002 - nothing is read
        return None

    def version(self) -> int:
        return self.turn

    def snapshots(self) -> list[Snapshot]:
        return self._snapshots

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


# --- worlds to look at -------------------------------------------------------------------------------------------


FREEZE = (
    "freezes: [{start: 2026-11-30T19:12:00+00:00, end: 2026-12-01T06:00:00+00:00, reason: end-of-month billing}]\n"
)
NOT_IN_A_FREEZE = "does not merge by itself: nothing new goes out until 2026-12-01 06:00 UTC (end-of-month billing)"


def usual() -> list[Sample]:
    """Return a night in which a few things happen: dev and prod."""
    minutes = lambda number: timedelta(minutes=number)  # noqa: E731
    churn = [
        recorded("prod", "churn", (None, 5), turn=3, ago=timedelta(days=22)),
        recorded("prod", "churn", (5, 6), turn=9, ago=timedelta(days=9)),
        recorded(
            "prod",
            "churn",
            (6, 7),
            turn=21,
            ago=timedelta(days=2, hours=3),
            outcome="put back",
            lacks=("fastapi_reloaded",),
            problem="gateway-2 refused the reload: it asks a Triton that prod does not name",
            quarantined=True,
        ),
        recorded("prod", "churn", (6, 8), turn=30, ago=timedelta(hours=27)),
    ]
    fraud = [
        recorded("prod", "fraud", (11, 12), turn=28, ago=timedelta(hours=30)),
        recorded(
            "prod",
            "fraud",
            (12, 13),
            turn=31,
            ago=minutes(44),
            outcome="put back",
            problem="smoke failed through gateway-2 at “row-3”: label[0]: 1 instead of 0 (1 of 8 values differs)",
            lacks=("smoke_passed",),
        ),
    ]
    ranking = [recorded("prod", "ranking", (39, 40), turn=26, ago=timedelta(days=4))]
    prod = Sample(
        "prod",
        live={"churn": 8, "fraud": 12, "ranking": 40, "pricing": 3, "search": 17, "support-triage": 2},
        asks={"fraud": 13, "support-triage": 3},
        canaries={"ranking": (41, 25)},
        bakes=[
            Bakes("ranking", 41, 25, "12 of 30 minutes, 4,113 requests: 0.1 % failed (0.1 % of 40), p95 38 ms (36)")
        ],
        shadows={"pricing": 4},
        held={
            "fraud": Hold(
                "quarantine",
                "its digest is in quarantine: prod-00000031-fraud was put back",
                "promobot rollback fraud --env prod",
                NOW - minutes(44),
            ),
            "support-triage": Hold(
                "freeze", "a freeze until Tue 06:00 UTC: end-of-month billing", "", NOW - timedelta(hours=8)
            ),
        },
        opened=[("search", 214, "Promote search 18 to prod"), ("fraud", 219, "Revert fraud 13 in prod: back to 12")],
        policies=[
            Decided("search", "merge", "held", NOT_IN_A_FREEZE, pull_request=214),
            Decided("fraud", "merge", "due", policy.due("users have it already"), pull_request=219),
        ],
        settings=f"{FREEZE}promotes_from: {{environment: dev, after: 24h}}\n",
        silent={"triton-2": NOW - minutes(9)},
        behind={"triton-1": ["search"]},
        records=[*churn, *fraud, *ranking, recorded("prod", "pricing", (2, 3), turn=24, ago=timedelta(days=6))],
        rates={
            "churn": rate(8, 41.7),
            "fraud": rate(12, 210, failed=0.031, p95=0.041),
            "ranking": rate(40, 6.1),
            "pricing": rate(3, 0.4),
            "search": rate(17, 95, p95=0.0071),
        },
    )
    deploying = Underway(
        id="dev-00000044-churn",
        section="models",
        model="churn",
        before=entry("churn", 8),
        after=entry("churn", 9),
        started_at=NOW - timedelta(seconds=38),
    )
    dev = Sample(
        "dev",
        live={"churn": 8, "fraud": 14, "ranking": 41},
        asks={"churn": 9},
        underway=[deploying],
        by="deploy.yml run 5121 of alex",
        records=[
            recorded("dev", "churn", (7, 8), turn=38, ago=timedelta(days=3)),
            recorded("dev", "fraud", (13, 14), turn=41, ago=timedelta(hours=5)),
            recorded("dev", "ranking", (40, 41), turn=39, ago=timedelta(days=1)),
        ],
        rates={"churn": rate(8, 2.1), "fraud": rate(14, 0.05)},
    )
    return [dev, prod]


def well() -> list[Sample]:
    """Return the same where all is as main says."""
    return [
        replace(
            one, asks={}, canaries={}, bakes=(), held={}, opened=(), underway=(), silent={}, behind={}, policies=()
        )
        for one in usual()
    ]


def everything_down() -> list[Sample]:
    """Return the same where nothing answers any more: no server, no share, no Git, no GitHub, no records."""
    since = NOW - timedelta(minutes=21)
    lost = {
        "share": (since, "the share does not answer: Input/output error"),
        "main": (since, "Git (https://github.com/acme/models.git) does not answer: connection timed out"),
        "GitHub": (since, "GitHub (acme/models) does not answer: connection timed out"),
        "records": (since, "the record store does not answer: Input/output error"),
        "held": (since, "what main asks for is not known"),
        "traffic": (since, "no gateway answers"),
    }
    return [replace(one, silent=dict.fromkeys(SERVERS, since), lost=lost, held={}) for one in usual()]


def github_down() -> list[Sample]:
    """Return the same where GitHub and Git are away, and everything that serves is well."""
    since = NOW - timedelta(minutes=52)
    why = "connection timed out"
    lost = {"main": (since, f"Git does not answer: {why}"), "GitHub": (since, f"GitHub does not answer: {why}")}
    return [replace(one, lost=lost, held={}) for one in well()]


def empty() -> list[Sample]:
    """Return environments in which nothing was ever deployed."""
    return [Sample("dev"), Sample("prod")]


def many(models: int = 1000, environments: Sequence[str] = ("dev", "staging", "prod")) -> list[Sample]:
    """Return a large platform, where a few models of prod need a look."""
    names = [
        f"{kind}-{number:03d}" for number in range(-(-models // 4)) for kind in ("churn", "fraud", "price", "rank")
    ]
    found = []
    for environment in environments:
        live = {name: 1 + len(name) % 7 + number % 30 for number, name in enumerate(names[:models])}
        troubled = {name: live[name] + 1 for name in names[:models:211]} if environment == "prod" else {}
        records = [
            recorded(
                environment, name, (version - 1, version), turn=number + 1, ago=timedelta(hours=1 + number % 700)
            )
            for number, (name, version) in enumerate(live.items())
        ]
        found.append(
            Sample(
                environment,
                live=live,
                asks=troubled,
                records=records,
                rates={name: rate(version, 1 + number % 90) for number, (name, version) in enumerate(live.items())},
            )
        )
    return found


@contextmanager
def served(board: Board, *, who_header: str = "") -> Iterator[str]:
    """Serve a board on a free port of this machine; yield its address."""
    with running_application(application(board, who_header=who_header), lifespan="off") as url:
        yield url
