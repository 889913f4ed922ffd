"""``GET /metrics``: what the processes behind this address counted, in the formats of Prometheus.

The numbers are read when somebody asks. No request of a user touches a metric: counting is plain integers elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bot.domain.routes import RouteTable
from bot.domain.shadowed import WHY_LEFT_OUT, Copies
from bot.domain.traffic import BOUNDS
from bot.gateway.totals import Totals
from bot.gateway.traffic import TrafficCounts
from bot.gateway.workers import State

MOST_MODELS = 500
"""So many models have series of their own; what the others count is added up under OTHERS."""
OTHERS = "(others)"
SHOWN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
"""Of the bounds of ``GET /routes``, in seconds: a monitor keeps a series for each."""


class Family(NamedTuple):
    """A counter: its name, what it says, and its labels."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


REQUESTS, FAILED, REFUSALS, RELOADS = "requests", "failed", "refusals", "reloads"
SHADOW, SHADOW_SECONDS, RECORDED, DURATION = "shadow", "shadow seconds", "recorded", "duration"
COMPARED, LEFT_OUT = "compared", "left out"
BEFORE, BEFORE_LEFT_OUT = "before", "before left out"

COUNTERS = {
    REQUESTS: Family(
        "promobot_gateway_requests",
        "Requests of users that a version was asked, by the status of the answer; 499: the client left before it.",
        ("model", "version", "lane", "code"),
    ),
    FAILED: Family(
        "promobot_gateway_failed_requests",
        "Requests that Triton answered with 500 or more, did not answer, or did not have the version for.",
        ("model", "version", "lane"),
    ),
    REFUSALS: Family(
        "promobot_gateway_refusals",
        "Requests to infer that the gateway itself refused, by status: no version was asked, or a budget was spent.",
        ("code",),
    ),
    RELOADS: Family(
        "promobot_gateway_reloads",
        "Requests to POST /reload by result: taken, refused, or unauthorized.",
        ("result",),
    ),
    SHADOW: Family(
        "promobot_gateway_shadow_requests",
        "Copies for a shadow by result: answered, failed, or dropped because the budget was spent.",
        ("model", "version", "result"),
    ),
    SHADOW_SECONDS: Family(
        "promobot_gateway_shadow_seconds",
        "Sum of the times of the copies that a shadow answered.",
        ("model", "version"),
    ),
    COMPARED: Family(
        "promobot_gateway_shadow_rows",
        "Rows of a shadow's answers that were compared with the live ones, by decision: same or flipped.",
        ("model", "version", "decision"),
    ),
    LEFT_OUT: Family(
        "promobot_gateway_shadow_left_out",
        "Answers of a shadow that were not compared with the live ones, by the reason.",
        ("model", "version", "reason"),
    ),
    BEFORE: Family(
        "promobot_gateway_compared_rows",
        "Rows of a new version's answers that were compared with those of the one before: same or flipped.",
        ("model", "version", "decision"),
    ),
    BEFORE_LEFT_OUT: Family(
        "promobot_gateway_compared_left_out",
        "Answers of a new version that were not compared with those of the one before, by the reason.",
        ("model", "version", "reason"),
    ),
    RECORDED: Family(
        "promobot_gateway_recorded_requests",
        "Requests chosen for the recording by result: written, dropped, unreadable, or failed.",
        ("result",),
    ),
}
TIMES = Family(
    "promobot_gateway_request_duration_seconds",
    "Time from the whole request to the whole answer of Triton, of all requests that a version was asked.",
    ("model", "version"),
)


class Scrape(Collector):
    """All metrics of one address, as they are right now."""

    def __init__(self, table: RouteTable, totals: Totals, workers: Sequence[State], *, name: str) -> None:
        """``workers`` say what ``GET /routes`` has of each process; ``name`` is the gateway's."""
        self._table, self._totals, self._workers, self._name = table, totals, workers, name

    def collect(self) -> Iterator[Metric]:
        """Yield each family."""
        for kind, (name, says, labels) in COUNTERS.items():
            family = CounterMetricFamily(name, says, labels=labels)
            for key, number in self._totals.numbers.items():
                if key[0] == kind:
                    family.add_metric(key[1:], number)
            yield family
        times = HistogramMetricFamily(TIMES.name, TIMES.says, labels=TIMES.labels)
        for key, (seconds, cells) in self._totals.times.items():
            times.add_metric(key[1:], _buckets(cells), seconds)
        yield times
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        answering = [worker for worker in self._workers if worker.get("generation") is not None]
        lowest = min(worker["generation"] for worker in answering)
        yield _gauge("generation", "Generation of the routes in force; of several processes the lowest.", lowest)
        serving = not any(worker.get("problem") for worker in self._workers)
        yield _gauge("serving", "1 where every process can serve its routes, else 0.", serving)
        yield _gauge("workers", "Processes at this address.", len(self._workers))
        silent = len(self._workers) - len(answering)
        yield _gauge("silent_workers", "Processes at this address that do not answer the others.", silent)
        draining = sum(worker.get("draining", 0) for worker in answering)
        yield _gauge("draining_requests", "Requests that still run under older routes.", draining)
        tritons = GaugeMetricFamily(
            "promobot_gateway_tritons",
            "Tritons that a process knows, that do not answer it, and that lack a routed version; the most of any.",
            labels=("state",),
        )
        for state, counted in (("known", "silence"), ("silent", "silence"), ("lacking", "tritons")):
            found = [worker[counted][state] for worker in answering if counted in worker]
            tritons.add_metric([state], max(found, default=0))
        yield tritons
        routed = GaugeMetricFamily(
            "promobot_gateway_route",
            "1 for each version in the routes in force.",
            labels=("model", "version", "lane"),
        )
        named = _named(self._table)
        shares = GaugeMetricFamily(
            "promobot_gateway_canary_percent",
            "Share of the requests that the version beside the live one gets, in percent.",
            labels=("model", "version"),
        )
        for slot, target in self._table.slots.items():
            if slot.model in named:
                routed.add_metric([slot.model, str(target.version), slot.lane.value], 1)
        for model, route in self._table.models.items():
            if model in named and route.canary is not None:
                version = str(route.canary.target.version)
                routed.add_metric([model, version, "canary"], 1)
                shares.add_metric([model, version], route.canary.percent)
        yield routed
        yield shares
        info = GaugeMetricFamily(
            "promobot_gateway_info", "Always 1; says which gateway this is.", labels=("name", "environment")
        )
        info.add_metric([self._name, self._table.environment], 1)
        yield info


def exposition(scrape: Scrape, *, accept: str) -> tuple[bytes, str]:
    """Return the text and its content type, in the format that ``accept`` asks for."""
    encoder, content_type = choose_encoder(accept)
    return encoder(scrape), content_type


def totals_of(
    table: RouteTable,
    traffic: TrafficCounts,
    *,
    refusals: Mapping[int, int],
    reloads: Mapping[str, int],
    shadows: Mapping[str, Copies],
    before: Mapping[str, Copies],
    recorded: Mapping[str, int],
) -> Totals:
    """Return what one process counted, with as many labels as there may be."""
    named, found = _named(table), Totals()

    def labels(model: str, version: int) -> tuple[str, str]:
        return (model, str(version)) if model in named else (OTHERS, "")

    for model, counter in traffic.counters():
        of = labels(model, counter.target.version)
        found.add((REQUESTS, *of, counter.lane, "200"), 0)
        for code, number in counter.codes.items():
            found.add((REQUESTS, *of, counter.lane, str(code)), number)
        found.add((FAILED, *of, counter.lane), counter.failed)
        found.add_times((DURATION, *of), counter.seconds, counter.cells)
    for code, number in refusals.items():
        found.add((REFUSALS, str(code)), number)
    for result, number in reloads.items():
        found.add((RELOADS, result), number)
    for model, copies in shadows.items():
        of = labels(model, copies.target.version)
        for result in ("answered", "failed", "dropped"):
            found.add((SHADOW, *of, result), getattr(copies, result))
        found.add((SHADOW_SECONDS, *of), copies.latency_seconds_sum)
        if pair := copies.compared:
            found.add((COMPARED, *of, "same"), pair.rows - pair.flipped)
            found.add((COMPARED, *of, "flipped"), pair.flipped)
            for why in WHY_LEFT_OUT:
                found.add((LEFT_OUT, *of, why), pair.left_out.get(why, 0))
    for model, copies in before.items():
        if pair := copies.compared:
            of = labels(model, pair.live.version)
            found.add((BEFORE, *of, "same"), pair.rows - pair.flipped)
            found.add((BEFORE, *of, "flipped"), pair.flipped)
            for why in WHY_LEFT_OUT:
                found.add((BEFORE_LEFT_OUT, *of, why), pair.left_out.get(why, 0))
    for result in ("written", "dropped", "unreadable", "failed"):
        if result in recorded:
            found.add((RECORDED, result), recorded[result])
    return found


def _named(table: RouteTable) -> frozenset[str]:
    return frozenset(sorted(table.models)[:MOST_MODELS])


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"promobot_gateway_{name}", says, value=float(value))


def _buckets(cells: Iterable[int]) -> list[tuple[str, float]]:
    """Return how many requests took up to each bound that is shown."""
    reached = list(accumulate(cells))
    shown = [(str(bound), float(reached[BOUNDS.index(bound)])) for bound in SHOWN_BOUNDS]
    return [*shown, ("+Inf", float(reached[-1]))]
