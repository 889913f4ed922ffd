"""Metrics of the bot's services: what their looks found, in the formats of Prometheus, on a port of their own.

A scrape reads nothing but memory. Several replicas each tell what they saw, so a monitor takes the largest of each.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from bot.domain.record import DeploymentRecord, Outcome
from bot.errors import Refused
from bot.extras import needed

if TYPE_CHECKING:
    from prometheus_client.core import Metric

EXTRA = "slack"
"""Has the library that writes them; it is imported where they are served only."""


class Family(NamedTuple):
    """A metric: its name, what it says, its labels, and whether it only rises."""

    name: str
    says: str
    labels: tuple[str, ...]
    rises: bool = False


DEPLOYMENTS = Family("promobot_deployments", "Deployments on record, by outcome.", ("environment", "outcome"), True)
NEWEST = Family("promobot_newest_deployment_timestamp_seconds", "When the newest deployment ended.", ("environment",))
OUTBOX = Family("promobot_outbox_messages", "Messages that Slack has not taken yet.", ("environment",))
ROLLOUT = Family(
    "promobot_rollout_percent",
    "Share of the requests that the new version gets, in percent.",
    ("environment", "model"),
)
LOOKED = Family(
    "promobot_look_timestamp_seconds", "When this service last looked at the environment.", ("service", "environment")
)
FAILED_LOOKS = Family(
    "promobot_failed_looks", "Looks at the environment that failed.", ("service", "environment"), True
)
DIFFERENCES = Family(
    "promobot_differences",
    "Differences between main and the world that a look finds, by kind.",
    ("environment", "kind"),
)
HELD = Family("promobot_held_changes", "Merged changes that are held.", ("environment",))
DRIFT = Family("promobot_drift_differences", "Differences that the last deep look found.", ("environment",))
DRIFT_LOOKED = Family("promobot_drift_timestamp_seconds", "When the last deep look ended.", ("environment",))

FAMILIES = (
    *(DEPLOYMENTS, NEWEST, OUTBOX, ROLLOUT, LOOKED, FAILED_LOOKS),
    *(DIFFERENCES, HELD, DRIFT, DRIFT_LOOKED),
)


class ServiceMetrics:
    """What one ``service`` saw. Any thread may tell it something."""

    def __init__(self, service: str, *, clock: Callable[[], float] = time) -> None:
        self._service, self._clock = service, clock
        self._lock = threading.Lock()
        self._values: dict[Family, dict[tuple[str, ...], float]] = {family: {} for family in FAMILIES}

    def looked(self, environment: str) -> None:
        """Note that a look at the environment ended well."""
        self._set(LOOKED, {(self._service, environment): self._clock()})
        self._add(FAILED_LOOKS, (self._service, environment), 0)

    def look_failed(self, environment: str) -> None:
        """Note that a look at the environment failed."""
        self._add(FAILED_LOOKS, (self._service, environment), 1)

    def deployments(self, environment: str, records: Iterable[DeploymentRecord]) -> None:
        """Note all deployment records of the environment, oldest first; outcomes that never came count 0.

        A model whose newest record is a step of a rollout is rolling out. A deployment that failed before its switch
        leaves a rollout where it is.
        """
        listed = list(records)
        counted = Counter(record.outcome for record in listed)
        self._set(DEPLOYMENTS, {(environment, outcome): counted[outcome] for outcome in get_args(Outcome)})
        if listed:
            newest = max(record.finished_at for record in listed)
            self._set(NEWEST, {(environment,): newest.timestamp()})
        last = {record.slot: record for record in listed if record.outcome != "failed"}
        rolling = (record for record in last.values() if record.outcome == "rolling out")
        shares: dict[tuple[str, ...], float] = {
            (environment, record.model): record.rollout.percent for record in rolling if record.rollout
        }
        self._replace(ROLLOUT, environment, shares)

    def outbox(self, environment: str, waiting: int) -> None:
        """Note how many messages wait for Slack."""
        self._set(OUTBOX, {(environment,): waiting})

    def differences(self, environment: str, kinds: Iterable[str], *, held: int) -> None:
        """Note the kinds of all differences that a look found, and how many changes are held."""
        counted = Counter(kinds)
        self._replace(DIFFERENCES, environment, {(environment, kind): counted[kind] for kind in counted})
        self._set(HELD, {(environment,): held})

    def drifted(self, environment: str, differences: int) -> None:
        """Note what a deep look found."""
        self._set(DRIFT, {(environment,): differences})
        self._set(DRIFT_LOOKED, {(environment,): self._clock()})

    def collect(self) -> Iterator[Metric]:
        """Yield each family; the library calls this at each scrape."""
        with needed(EXTRA, by="/metrics"):
            from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            values = {family: dict(of) for family, of in self._values.items()}
        for family, of in values.items():
            made = (CounterMetricFamily if family.rises else GaugeMetricFamily)(
                family.name, family.says, labels=family.labels
            )
            for labels, value in of.items():
                made.add_metric(labels, value)
            yield made

    @contextmanager
    def served(self, *, host: str, port: int) -> Iterator[int]:
        """Serve ``GET /metrics`` until the block ends; yield the port. With port 0 it is a free one.

        Raise Refused where nothing can listen there.
        """
        with needed(EXTRA, by="/metrics"):
            from prometheus_client import start_http_server

        itself: Any = self  # it is what the library calls a collector
        try:
            server, thread = start_http_server(port, host, itself)
        except OSError as error:
            raise Refused(f"metrics cannot be served at {host}:{port}: {error.strerror or error}") from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _set(self, family: Family, values: Mapping[tuple[str, ...], float]) -> None:
        with self._lock:
            self._values[family].update(values)

    def _add(self, family: Family, labels: tuple[str, ...], number: float) -> None:
        with self._lock:
            self._values[family][labels] = self._values[family].get(labels, 0) + number

    def _replace(self, family: Family, environment: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Forget all values of the environment: a series that ends must not stay as it was."""
        with self._lock:
            kept = {labels: value for labels, value in self._values[family].items() if labels[0] != environment}
            self._values[family] = {**kept, **values}
