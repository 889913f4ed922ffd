"""What stands behind a digest, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from bot.domain.names import short
from bot.domain.origin import POLICY
from bot.render import evaluation as evaluation_words
from bot.render import memory as memory_words
from bot.render import metrics as metric_words
from bot.render.deliveries import came_back, lasting
from bot.render.deployment import checked_in
from bot.render.terminal import grid, outcome, versions

if TYPE_CHECKING:
    from bot.domain.evidence import Evidence
    from bot.domain.report import Delivery
    from bot.operations.brought import Approved, Brought
    from bot.operations.explain import Explained, Place

_CHECK_NAMES = {"ready": "READY", "triton": "Triton", "smoke": "Smoke", "behaviour": "Behaviour"}


def on_terminal(found: Explained) -> str:
    """Return what is known of a digest: where it is in service first, then each place, then what is not known."""
    return "\n\n".join([_first(found), *(_place(found, one) for one in found.places), *_not_known(found)])


def _first(found: Explained) -> str:
    names = sorted({f"{one.model} {_version(one)}" for one in found.places})
    what = f"{', '.join(names)} ({short(found.digest)})"
    now = "; ".join(
        f"{said} in {', '.join(where)}"
        for state, said in (("in service", "in service"), ("rolling out", "a canary"))
        if (where := dict.fromkeys(_where(one) for one in found.places if one.state == state))
    )
    now = now or "in service nowhere"
    kind = "a bundle, " if found.is_bundle else ""
    known = "" if not found.unknown else ", as far as records could be read"
    return f"{what}: {kind}{now}{known}.\n{found.digest}"


def _version(place: Place) -> str:
    return "/".join(dict.fromkeys(str(entry.version) for entry in place.entries)) or "of an unknown version"


def _where(place: Place) -> str:
    return place.environment + (" (shadow)" if place.section == "shadow" else "")


def _place(found: Explained, place: Place) -> str:
    lines = [f"{place.model} in {_where(place)}: {_state(place)}"]
    if place.quarantine is not None:
        event = place.quarantine
        why = event.reason or "no reason was given"
        lines.append(f"  in quarantine since {_time(event.at)}, by {event.by or 'somebody'}: {why}")
    lines += [f"  version {entry.version}, run {entry.run}" for entry in place.entries]
    lines += [f"  {line}" for pull in place.pull_requests for line in _pull_request(pull)]
    if not place.pull_requests:
        lines.append("  no pull request is known: no evidence names one")
    lines += [f"  {line}" for number, one in enumerate(place.evidence) for line in _evidence(one, found.at, number)]
    if not place.evidence:
        lines.append("  no evidence")
    if place.deployments:
        rows = [
            [f"{record.finished_at:%Y-%m-%d %H:%M}", record.id, versions(record), outcome(record), record.problem]
            for record in place.deployments
        ]
        table = grid(["when (UTC)", "deployment", "version", "outcome", "what happened"], rows)
        lines += [f"  {line}" for line in table.splitlines()]
    lines += [f"  {line}" for one in place.deliveries for line in _delivery(one)]
    return "\n".join(lines)


def _state(place: Place) -> str:
    now = place.in_service
    instead = f"version {now.version} ({short(now.digest)}) is there now" if now else "nothing is there now"
    match place.state:
        case "in service":
            return f"in service since {_time(place.since)}"
        case "rolling out":
            return f"a canary answers some users with it since {_time(place.since)}; {instead}"
        case "left service":
            return f"left service {_time(place.since)}; {instead}"
        case "not in service":
            return f"never came into service: its deployments failed or were put back; {instead}"
        case "not deployed":
            return f"never deployed; {instead}"


def _pull_request(pull: Brought) -> list[str]:
    asked_by = [one.name for one in pull.asked_by if one.name]
    who = [
        f"asked for by {_names(asked_by)}" if asked_by else "",
        f"opened by {pull.opened_by}" if pull.opened_by else "",
        f"approved by {_names(map(_approval, pull.approved_by))}" if pull.approved_by else "",
        f"merged by {pull.merged_by} {_time(pull.merged_at)}" if pull.merged_by else "",
    ]
    if pull.problem and pull.merged_by:
        who.append(f"so the records say; GitHub does not: {pull.problem}")
    elif pull.problem:
        who.append(f"who opened, approved and merged it is not known: {pull.problem}")
    elif not pull.approved_by:
        who.append("approved by nobody")
    state = "" if pull.state in ("unknown", "merged") else f" ({pull.state})"
    return [f"#{pull.number}{state} {pull.url}".rstrip(), *(f"  {part}" for part in who if part)]


def _delivery(one: Delivery) -> list[str]:
    """Return how a release came to users, and what became of it: each number with the record that it comes from."""
    origin, lines = one.origin, list[str]()
    if one.result == "served":
        said = f"all users had it {_time(one.ended_at)} ({one.records[-1]})"
        if one.lead_seconds is not None and not one.is_again:
            said += f", {lasting(one.lead_seconds)} after its registration"
        lines.append(said)
    if origin is not None and origin.pull_request is not None and one.review_seconds is not None:
        for_what = "its review" if origin.approved_at is not None else "its merge"
        by = f", merged by {POLICY}" if origin.by_policy else ""
        lines.append(f"#{origin.pull_request} waited {lasting(one.review_seconds)} for {for_what}{by}")
    if back := came_back(one):
        lines.append(f"failed users: {back}")
    return lines


def _approval(one: Approved) -> str:
    return one.by if one.of_head else f"{one.by} (an earlier commit)"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _evidence(one: Evidence, at: datetime, number: int) -> list[str]:
    """Return what one set of checks found; in full of the newest, which is number 0."""
    found = [
        f"{_CHECK_NAMES[check.check]} {sum(f.passed for f in check.findings)} of {len(check.findings)}"
        for check in one.checks
    ]
    lines = [
        f"checked {checked_in(one)} {_time(one.at)}: {', '.join(found) or 'nothing'}; worth now: {one.state(at)}"
    ]
    if one.revoked is not None:
        lines.append(f"  revoked by {one.revoked.by or 'somebody'}: {one.revoked.reason}")
    lines += [f"  ✗ {problem}" for problem in one.problems]
    lines += [f"  ✗ {problem.what}: {problem.detail}" for check in one.checks for problem in check.problems]
    if number == 0:
        lines += [f"  loading took {memory_words.in_words(one.memory)}"] if one.memory else []
        lines += [f"  {j.metric}: {metric_words.judged(j)}" for check in one.checks for j in check.judged]
        lines += [f"  {line}" for line in (evaluation_words.lines(one.evaluation) if one.evaluation else ())]
    return lines


def _not_known(found: Explained) -> list[str]:
    return [f"The records of {name} cannot be read: {why}" for name, why in found.unknown.items()]


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else "at an unknown time"
