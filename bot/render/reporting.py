"""What came of releases, for the terminal. A number that nobody knows is not known, and never zero."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from bot.domain.report import Delivery, Numbers, Share, Times
from bot.render.deliveries import came_back, lasting
from bot.render.terminal import grid

if TYPE_CHECKING:
    from bot.operations.report import OfEnvironment, Report

_SHOWN = 20
"""So many failures are listed; ``--json`` has all of them."""


def on_terminal(found: Report) -> str:
    """Return the numbers of each environment, its models in a table, and what failed users."""
    when = f"from {_time(found.since)} to {_time(found.until)}"
    parts = [_environment(one, when) for one in found.environments]
    parts += [f"The records of {name} cannot be read: {why}" for name, why in found.unknown.items()]
    return "\n\n".join(parts or ["There is no environment."])


def _environment(found: OfEnvironment, when: str) -> str:
    numbers = found.all
    rows = [
        ["releases", releases(numbers)],
        ["change-failure rate", failures(numbers)],
        ["lead time", times(numbers.lead_time)],
        ["waiting for review", times(numbers.waiting_for_review)],
        ["time to restore", times(numbers.time_to_restore)],
        ["users had what failed", times(numbers.exposed)],
        ["stopped before users", str(numbers.stopped)],
        ["ways back", _ways_back(numbers)],
        ["shadows", str(numbers.shadows)],
        *([["under way", str(numbers.under_way)]] if numbers.under_way else []),
        *([["ended on the way", str(numbers.ended)]] if numbers.ended else []),
        *([["out of service", str(numbers.out_of_service)]] if numbers.out_of_service else []),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{found.environment}, {when}", *(f"  {name.ljust(width)}  {said}" for name, said in rows)]
    if found.models:
        head = ["model", "releases", "failed users", "lead time", "review", "restored in"]
        table = [
            [
                f"{one.name} (bundle)" if one.is_bundle else one.name,
                str(one.numbers.releases),
                _share(one.numbers.change_failures),
                _median(one.numbers.lead_time),
                _median(one.numbers.waiting_for_review),
                _median(one.numbers.time_to_restore),
            ]
            for one in found.models
        ]
        lines += ["", *grid(head, table).splitlines()]
    return "\n".join([*lines, *_what_failed(found.deliveries)])


def _what_failed(found: Sequence[Delivery]) -> list[str]:
    failed = [one for one in found if one.back is not None][::-1]
    if not failed:
        return []
    rows = [[_time(one.back.at), what(one), came_back(one)] for one in failed[:_SHOWN] if one.back is not None]
    more = [f"and {len(failed) - _SHOWN} more; --json lists them"] if len(failed) > _SHOWN else []
    return ["", *grid(["users were back", "release", "what happened"], rows).splitlines(), *more]


def releases(numbers: Numbers) -> str:
    """Return how many there were, and who had them merged, as far as that is known."""
    said = [f"{numbers.repeated} of a version that was in service before"] if numbers.repeated else []
    said += [f"merged by the policy: {numbers.by_policy}", f"by people: {numbers.by_people}"]
    unknown = numbers.releases - numbers.by_policy - numbers.by_people
    said += [f"not known: {unknown}"] if unknown else []
    return f"{numbers.releases}" + (f" ({', '.join(said)})" if numbers.releases else "")


def failures(numbers: Numbers) -> str:
    """Return the change-failure rate, and how users came back."""
    how = [f"{numbers.put_back} put back"] if numbers.put_back else []
    how += [f"{numbers.rolled_back} rolled back"] if numbers.rolled_back else []
    return _share(numbers.change_failures) + (f": {', '.join(how)}" if how else "")


def times(found: Times) -> str:
    """Return the median and the ninth of ten, and of how many these are known."""
    if not found.of:
        return "–"
    if found.median_seconds is None or found.p90_seconds is None:
        return f"not known (of {found.of})"
    of = f"{found.known}" if found.known == found.of else f"{found.known} of {found.of}, the others are not known"
    return f"median {lasting(found.median_seconds)}, nine of ten within {lasting(found.p90_seconds)} (of {of})"


def what(one: Delivery) -> str:
    """Return the release and the record of its last deployment."""
    bundle = f"{one.name}: " if one.is_bundle else ""
    return f"{bundle}{', '.join(one.versions)} ({one.records[-1]})"


def _median(found: Times) -> str:
    if found.median_seconds is None:
        return "not known" if found.of else "–"
    return lasting(found.median_seconds)


def _share(found: Share) -> str:
    return "–" if found.rate is None else f"{found.rate:.0%} ({found.count} of {found.of})".replace("%", " %")


def _ways_back(numbers: Numbers) -> str:
    failed = f", and {numbers.failed_ways_back} failed" if numbers.failed_ways_back else ""
    return f"{numbers.ways_back}{failed}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
