"""``promobot report``: what came of the releases of a time, from records alone. It asks no other system."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from bot.domain.report import Delivery, Numbers, deliveries, numbers
from bot.errors import PromobotError
from bot.exit_codes import ExitCode
from bot.platform import Platform


@dataclass(frozen=True)
class OfModel:
    """The numbers of one model, or of one bundle."""

    name: str
    is_bundle: bool
    numbers: Numbers


@dataclass(frozen=True)
class OfEnvironment:
    """The numbers of one environment, and the deliveries that they count, oldest first."""

    environment: str
    all: Numbers
    models: tuple[OfModel, ...]
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class Report:
    """What came of the releases from ``since`` to ``until``, by environment."""

    since: datetime
    until: datetime
    environments: tuple[OfEnvironment, ...]
    unknown: dict[str, str]
    """Why records cannot be read, by environment."""

    @property
    def exit_code(self) -> ExitCode:
        """1 where the records of an environment cannot be read; else 0."""
        return ExitCode.FAILED if self.unknown else ExitCode.DONE


def report(platforms: Iterable[Platform], *, since: datetime, until: datetime) -> Report:
    """Count what ended, or was taken back, from ``since`` to ``until`` in each of these environments."""
    found: list[OfEnvironment] = []
    unknown: dict[str, str] = {}
    for platform in platforms:
        try:
            ledger = platform.ledger
            records = ledger.with_origins(ledger.deployments())
        except PromobotError as error:
            unknown[platform.environment] = str(error)
            continue
        every = deliveries(records)
        listed = [one for one in every if _is_counted(one, since, until)]
        by_name: dict[tuple[str, bool], list[Delivery]] = {}
        for one in listed:
            by_name.setdefault((one.name, one.is_bundle), []).append(one)
        models = [
            OfModel(name, is_bundle, numbers(own, since, until)) for (name, is_bundle), own in sorted(by_name.items())
        ]
        found.append(OfEnvironment(platform.environment, numbers(listed, since, until), tuple(models), tuple(listed)))
    return Report(since, until, tuple(found), unknown)


def _is_counted(one: Delivery, since: datetime, until: datetime) -> bool:
    return since <= one.ended_at <= until or (one.back is not None and since <= one.back.at <= until)
