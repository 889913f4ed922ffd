"""The content of the pages, as values: all texts, all links, in the order of the page. Templates only lay them out.

A value that is no longer known stays, says since when it is not known, and is never ``ok``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from bot.board.carried import carried
from bot.board.snapshot import Fresh, Rate, Server, Snapshot
from bot.domain.hold import Held
from bot.domain.journal import Journal, Underway
from bot.domain.names import short
from bot.domain.path import NotYet
from bot.domain.record import CRITERIA, DeploymentRecord, is_failed_rollback
from bot.domain.release import Lane, Slot
from bot.domain.report import Delivery, deliveries
from bot.domain.routes import Target
from bot.domain.shadowed import Copies
from bot.domain.underway import step_of
from bot.operations.status import Difference, ModelStatus, Status
from bot.render import origins as origin_words
from bot.render.deliveries import came_back, lasting
from bot.render.deployment import CRITERION_NAMES, verdict
from bot.settings import Environment

Tone = Literal["ok", "warn", "bad", "unknown", "plain"]
WORST_FIRST: tuple[Tone, ...] = ("bad", "warn", "unknown", "plain", "ok")
ROWS = 100
"""On one page."""
SHOWN_ENTRIES = 200
"""Of a model's past."""
SHORT = 110
"""Characters of a cause in a row."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FAILING = 0.01
"""From this share of failed requests in the last minute on, traffic is shown as a warning."""


@dataclass(frozen=True)
class Link:
    """A text that leads somewhere; ``href`` is empty where it leads nowhere that is configured."""

    text: str
    href: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Cell:
    """One thing of a row. ``unknown`` says since when ``text`` is no longer known; empty while it is.

    ``more`` is what only the model's own page says, among it why something is not known.
    """

    text: str
    detail: str = ""
    tone: Tone = "plain"
    at: datetime | None = None
    """When it was last true, or began."""
    unknown_since: datetime | None = None
    unknown: str = ""
    href: str = ""
    more: str = ""


@dataclass(frozen=True)
class Dot:
    """One Triton or gateway, as it is for one model or for all. ``said`` tells it in words."""

    name: str
    kind: Literal["triton", "gateway"]
    state: Literal["ok", "degraded", "down", "unknown"]
    since: datetime | None = None
    said: str = ""


@dataclass(frozen=True)
class Row:
    """One model in one environment."""

    environment: str
    model: str
    href: str
    tone: Tone
    """The worst of it."""
    users: Cell
    live: Cell
    desired: Cell
    traffic: Cell
    underway: Cell | None = None
    shadow: Cell | None = None
    proposals: tuple[Link, ...] = ()
    carried: Link | None = None
    """Why a policy does not propose what the environment before serves."""
    hold: Cell | None = None
    last: Cell | None = None
    dots: tuple[Dot, ...] = ()
    next_command: str = ""
    """What to type, or to do, about what is wrong; empty where nothing is."""
    rank: int = 9
    """The smaller, the more it needs somebody."""

    @property
    def in_trouble(self) -> bool:
        """Whether somebody should look at it."""
        return self.tone in ("bad", "warn", "unknown")


@dataclass(frozen=True)
class Source:
    """One thing that is read, and whether it is known now."""

    name: str
    tone: Tone
    said: str
    at: datetime | None = None
    unknown_since: datetime | None = None
    why: str = ""


@dataclass(frozen=True)
class Lost:
    """Things that are unknown since the same time: ``said`` names them, ``why`` says of each why."""

    said: str
    why: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """A difference that is of no one model, with the command for it."""

    kind: str
    what: str
    next_step: str


@dataclass(frozen=True)
class EnvironmentView:
    """One environment, above its rows."""

    name: str
    href: str
    tone: Tone
    said: str
    """How users are, in one line."""
    models: int
    troubles: int
    broken: str = ""
    """Why its settings cannot be read; empty where they can."""
    closed: str = ""
    """Why nothing new goes out now, and until when; empty where it may."""
    main: Cell | None = None
    sources: tuple[Source, ...] = ()
    lost: tuple[Lost, ...] = ()
    dots: tuple[Dot, ...] = ()
    notes: tuple[Note, ...] = ()
    next_command: str = ""
    """What to type where something does not answer, which ``sources`` and ``dots`` say."""
    is_chosen: bool = False
    is_known: bool = True
    """Whether routes were ever read; until then nobody can say that it has no model."""


@dataclass(frozen=True)
class Filter:
    """The choice of a viewer. ``environment`` empty is all of them; ``trouble`` leaves out what is well."""

    environment: str = ""
    q: str = ""
    trouble: bool = False

    def href(self, *, page: int = 1, **changed: str | bool) -> str:
        """Return the address of the board with this filter, ``changed`` in these."""
        one = replace(self, **changed)  # type: ignore[arg-type]
        asked = {
            "env": one.environment,
            "q": one.q,
            "show": "trouble" if one.trouble else "",
            "page": str(page) if page > 1 else "",
        }
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"/?{query}" if query else "/"


@dataclass(frozen=True)
class BoardPage:
    """The first page: ``rows`` of this page, ``total`` of all that the filter leaves."""

    environments: tuple[EnvironmentView, ...]
    rows: tuple[Row, ...]
    filter: Filter
    who: str
    generated_at: datetime
    """When what it shows changed last."""
    page: int
    pages: int
    total: int
    previous: str = ""
    next: str = ""
    said: str = ""
    """The first thing to know, in one line."""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Criterion:
    """One of the six that a deployment proves."""

    name: str
    holds: bool
    proof: str


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a model. ``id`` is its record's, where it has one."""

    at: datetime
    title: str
    detail: str = ""
    tone: Tone = "plain"
    links: tuple[Link, ...] = ()
    criteria: tuple[Criterion, ...] = ()
    lane: Literal["live", "shadow"] = "live"
    id: str = ""
    ways: tuple[Link, ...] = ()
    """Who brought it, and how long it took, each with the page that it comes from."""


@dataclass(frozen=True)
class ModelPage:
    """One model in one environment: how it is now, and its past, newest first."""

    environment: str
    model: str
    row: Row
    notes: tuple[Note, ...]
    timeline: tuple[Entry, ...]
    left_out: int
    """Older ones that are not shown."""
    quarantine: tuple[Entry, ...]
    elsewhere: tuple[Link, ...]
    """The same model in other environments."""
    commands: tuple[Link, ...]
    """Commands about it; ``detail`` says what each does."""
    who: str
    generated_at: datetime
    back: str = "/"


@dataclass(frozen=True)
class ProblemPage:
    """The page that says why there is no other."""

    status: int
    title: str
    said: str
    who: str = ""


# --- rows --------------------------------------------------------------------------------------------------------


def rows_of(found: Snapshot) -> tuple[Row, ...]:
    """Return a row for each model of an environment, those in trouble first."""
    if found.status is None or found.seen is None or found.settings is None:
        return ()
    rows = _Rows(found, found.status, found.settings)
    return tuple(sorted(rows.all(), key=lambda row: (row.rank, row.model)))


class _Rows:
    """Makes the rows of one environment."""

    def __init__(self, found: Snapshot, status: Status, settings: Environment) -> None:
        self._found, self._status, self._links = found, status, Links(settings)
        self._live = found.seen.live if found.seen else None
        self._now = found.at
        self._by_slot = {Slot.of(found.environment, one.model, one.section): one for one in status.models}
        self._users = {one.model: one for one in status.users}
        self._held = {one.slot: one for one in status.held}
        self._bakes = {one.model: one for one in status.bakes}
        self._steps: dict[Slot, list[Difference]] = {}
        for slot, difference in found.differences:
            if slot is not None:
                self._steps.setdefault(slot, []).append(difference)
        journal = found.seen.journal if found.seen else None
        self._journal = journal if isinstance(journal, Journal) else None
        self._underway = {
            item.slot_in(found.environment): item for item in (self._journal.underway if self._journal else ())
        }
        self._doctor = next((one.next_step for slot, one in found.differences if slot is None), "")
        self._unknown_server = next((one for one in found.servers if one.state == "unknown"), None)

    def all(self) -> Iterator[Row]:
        """Yield a row for each model."""
        for model in sorted({slot.model for slot in self._by_slot}):
            yield self._row(model)

    def _row(self, model: str) -> Row:
        slot = Slot(self._found.environment, model, Lane.LIVE)
        shadow = Slot(self._found.environment, model, Lane.SHADOW)
        one = self._by_slot.get(slot)
        users, live = self._users_cell(model), self._live_cell(slot, one)
        desired = self._desired_cell(one or self._by_slot.get(shadow), slot if one else shadow)
        hold, last = self._hold_cell(slot, shadow), self._last_cell(slot, shadow)
        waiting = [(one, self._steps.get(one, [])) for one in (slot, shadow) if one not in self._underway]
        steps = [*self._steps.get(slot, []), *self._steps.get(shadow, [])]
        underway = self._underway_cell(slot, shadow)
        tones = [users.tone, live.tone]
        # Where main or the records cannot be read, the environment says so once, and no row is green.
        others = [cell.tone for cell in (desired, hold, underway) if cell is not None]
        tones += ["plain" if one == "unknown" else one for one in others]
        # How the last deployment ended is past: where main still asks for it, it is held, or differs.
        tones += ["plain"] if last is not None and last.tone == "unknown" else []
        tones += ["warn" for _, lane_steps in waiting if lane_steps]
        tone = min(tones, key=WORST_FIRST.index)
        return Row(
            environment=self._found.environment,
            model=model,
            href=f"/{quote(self._found.environment)}/{quote(model)}",
            tone=tone,
            users=users,
            live=live,
            desired=desired,
            traffic=self._traffic_cell(model, is_served=one is not None and one.routed is not None),
            underway=underway,
            shadow=self._shadow_cell(shadow),
            proposals=self._proposals(model),
            hold=hold,
            last=last,
            dots=tuple(self._dots(slot if one is not None and one.routed is not None else shadow)),
            next_command=steps[0].next_step if steps else self._doctor if tone in ("bad", "warn", "unknown") else "",
            rank=_rank(users, tone, is_underway=underway is not None),
        )

    def _users_cell(self, model: str) -> Cell:
        users = self._users.get(model)
        if users is None:
            return Cell("not served", "it answers no users")
        tones: dict[str, Tone] = {"OK": "ok", "degraded": "warn", "DOWN": "bad"}
        cell = Cell(users.health, users.why, tones[users.health], users.since)
        server = self._unknown_server
        if server is not None and cell.tone == "ok":
            return _unknown(replace(cell, detail=f"{server.name} is not known"), server.since, server.why, self._now)
        return cell

    def _live_cell(self, slot: Slot, one: ModelStatus | None) -> Cell:
        if one is None or one.routed is None:
            return self._of_share(Cell("–", "nothing is live"))
        text = str(one.routed) + (f" · {one.canary} at {one.percent} %" if one.canary is not None else "")
        target = self._live.routes.target(slot) if self._live else None
        served = self._since(slot, target)
        parts = [f"since {when(served, self._now)}"] if served else []
        parts += ["as the gateways say"] if self._found.routes_by == "gateways" else []
        href = self._links.version(slot.model, one.routed)
        cell = Cell(text, " ".join(parts), self._agrees(slot, one), served, href=href)
        if target is not None:
            cell = replace(cell, more=short(target.digest))
        return self._of_share(cell)

    def _of_share(self, cell: Cell) -> Cell:
        if self._found.routes_by == "gateways":
            return cell
        return _if_known(cell, self._found.part("share"), self._now)

    def _since(self, slot: Slot, target: Target | None) -> datetime | None:
        """Return when the deployment ended that brought what is live, without a gap since."""
        found: datetime | None = None
        for record in reversed(self._found.records.get(slot, ())):
            if target is None or record.serving is None or record.serving.digest != target.digest:
                break
            found = record.finished_at
        return found

    def _desired_cell(self, one: ModelStatus | None, slot: Slot) -> Cell:
        part = self._found.part("main")
        if one is None or one.desired == "unknown":
            return _if_known(Cell("unknown", tone="unknown"), part, self._now)
        text = "–" if one.desired is None else str(one.desired)
        detail = "shadow" if slot.lane is Lane.SHADOW else ""
        cell = Cell(text, detail, self._agrees(slot, one), href=self._links.commit(self._status.commit))
        return _if_known(cell, part, self._now)

    def _agrees(self, slot: Slot, one: ModelStatus) -> Tone:
        """Return the tone of what is live beside what main asks for. A deployment under way troubles nobody."""
        if one.agrees is None or (not one.agrees and slot in self._underway):
            return "plain"
        return "ok" if one.agrees else "warn"

    def _traffic_cell(self, model: str, *, is_served: bool) -> Cell:
        rate, missing = self._found.counted.models.get(model), self._found.counted.missing
        if rate is None:
            cell = Cell("–", "no request counted" if is_served else "")
        else:
            total = f"{_two_digits(rate.requests)} requests to {rate.version} since {when(rate.since, self._now)}"
            cell = Cell(per_second(rate), traffic_detail(rate), at=rate.since, more=total)
            if rate.failed_share >= FAILING:
                cell = replace(cell, tone="warn")
        if missing and is_served:
            cell = replace(cell, detail=f"{cell.detail}; without {', '.join(missing)}".lstrip("; "))
        return _if_known(cell, self._found.part("traffic"), self._now)

    def _underway_cell(self, *slots: Slot) -> Cell | None:
        for slot in slots:
            if (item := self._underway.get(slot)) is not None:
                return self._of_share(self._deploying(item))
        bakes = self._bakes.get(slots[0].model)
        if bakes is None:
            return None
        share = "" if bakes.percent == 100 else f" at {bakes.percent} %"
        cell = Cell(f"{bakes.version}{share} bakes", bakes.said)
        if "breaks the rules" in bakes.said:
            cell = replace(cell, tone="bad")
        return _if_known(cell, self._found.part("rollouts"), self._now)

    def _deploying(self, item: Underway) -> Cell:
        step = step_of(item, self._live) if self._live else ""
        version = str(item.after.version) if item.after else "out"
        by = f", by {self._journal.by}" if self._journal and self._journal.by else ""
        detail = f"since {when(item.started_at, self._now)}{by}"
        return Cell(f"{version}: {step}", detail, at=item.started_at)

    def _shadow_cell(self, slot: Slot) -> Cell | None:
        one = self._by_slot.get(slot)
        if one is None or (one.routed is None and one.desired is None):
            return None
        route = self._live.routes.route(slot.model) if self._live else None
        share = f" gets {route.shadow_share} %" if route is not None and one.routed is not None else ""
        text = f"{one.routed or '–'}{share}"
        copies = self._found.counted.shadows.get(slot.model)
        tone: Tone = "plain" if one.agrees is None or one.agrees else "warn"
        return self._of_share(Cell(text, copies_said(copies) if copies else "", tone))

    def _proposals(self, model: str) -> tuple[Link, ...]:
        opened = self._found.seen.opened if self._found.seen else ()
        why = self._found.part("GitHub")
        unknown = "" if why.is_known else _since_words(why.since, self._now)
        decided = {one.pull_request: one.said for one in self._status.policies if one.pull_request is not None}
        found: dict[int, Link] = {}
        for one in opened:
            if one.change.model == model:
                text = f"#{one.number} {one.title}"
                detail = unknown or decided.get(one.number, "")
                found.setdefault(one.number, Link(text, self._links.pull(one.number), detail))
        return tuple(found.values())

    def _hold_cell(self, *slots: Slot) -> Cell | None:
        held = next((self._held[slot] for slot in slots if slot in self._held), None)
        if held is None:
            return None
        cell = Cell(_held_words(held, self._now), held.hold.why, "warn", held.hold.since)
        return _if_known(cell, self._found.part("held"), self._now)

    def _last_cell(self, *slots: Slot) -> Cell | None:
        newest = [self._found.records[slot][-1] for slot in slots if self._found.records.get(slot)]
        if not newest:
            return None
        record = max(newest, key=lambda one: one.id)
        key = f"deployments/{record.environment}/{record.id}.json"
        ended, cause = when(record.finished_at, self._now), shortened(record.problem)
        cell = Cell(
            f"{record.after.version} {record.outcome}" if record.after else f"out of service: {record.outcome}",
            f"{ended}: {cause}" if cause else ended,
            outcome_tone(record),
            record.finished_at,
            href=record_href(record.environment, key),
            more=record.id,
        )
        return _if_known(cell, self._found.part("records"), self._now)

    def _dots(self, slot: Slot) -> Iterator[Dot]:
        one = self._by_slot.get(slot)
        for server in self._found.servers:
            dot = dot_of(server, self._now)
            if dot.state == "ok" and one is not None and one.routed is not None:
                if server.kind == "Triton" and one.tritons.get(server.name) is False:
                    dot = replace(dot, state="degraded", said=f"{server.name} does not have {one.routed} READY")
                there = one.gateways.get(server.name)
                if server.kind == "gateway" and there != one.routed:
                    dot = replace(dot, state="degraded", said=f"{server.name} serves {there or 'none'}")
            yield dot


def _rank(users: Cell, tone: Tone, *, is_underway: bool) -> int:
    if users.tone == "bad":
        return 0
    ranks: dict[Tone, int] = {"bad": 1, "warn": 3, "unknown": 4}
    if users.tone == "warn":
        return 2
    return ranks.get(tone, 5 if is_underway else 9)


def dot_of(server: Server, now: datetime) -> Dot:
    """Return how a server is, whatever the model."""
    kind: Literal["triton", "gateway"] = "triton" if server.kind == "Triton" else "gateway"
    since = f" since {when(server.since, now)}" if server.since else ""
    said = {
        "ok": f"{server.name} answers",
        "down": f"{server.name} does not answer{since}",
        "unknown": f"{server.name}: unknown{since}",
    }[server.state]
    return Dot(server.name, kind, server.state, server.since, said)


def _unknown(cell: Cell, since: datetime | None, why: str, now: datetime) -> Cell:
    more = f"{cell.more}; {why}".lstrip("; ") if why not in cell.more else cell.more
    return replace(cell, tone="unknown", more=more, unknown_since=since, unknown=_since_words(since, now))


def _if_known(cell: Cell, part: Fresh, now: datetime) -> Cell:
    """Return the cell as it is, or as one that is no longer known; a bad one stays bad."""
    if part.is_known:
        return cell
    found = _unknown(cell, part.since, part.why, now)
    return replace(found, tone="bad") if cell.tone == "bad" else found


def _since_words(since: datetime | None, now: datetime) -> str:
    return f"unknown since {when(since, now)}" if since else "unknown"


def _held_words(held: Held, now: datetime) -> str:
    version = str(held.change.after.version) if held.change.after else "its leaving service"
    since = f" since {when(held.hold.since, now)}" if held.hold.since else ""
    return f"{version} is held{since}"


def shortened(text: str) -> str:
    """Return the beginning of a text that may be long. The model's page has all of it."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= SHORT else f"{line[:SHORT].rpartition(' ')[0]} …"


def when(at: datetime, now: datetime) -> str:
    """Return a time as people read it on a page. Today's has no date."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    if at.date() == now.date():
        return f"{at:%H:%M} UTC"
    year = "" if at.year == now.year else f" {at.year}"
    return f"{at.day} {MONTHS[at.month - 1]}{year} {at:%H:%M} UTC"


def outcome_tone(record: DeploymentRecord) -> Tone:
    """Return how well a deployment went."""
    if is_failed_rollback(record) or record.outcome in ("failed", "put back"):
        return "bad"
    return "ok" if record.outcome == "succeeded" else "warn" if record.outcome != "rolling out" else "plain"


def per_second(rate: Rate) -> str:
    """Return how often a model is asked, to two digits: more would change at each look."""
    if rate.per_second is None:
        return f"{_two_digits(rate.requests)} requests"
    if rate.per_second == 0:
        return "0/s"
    if rate.per_second < 0.1:
        return "< 0.1/s"
    return f"{_two_digits(rate.per_second)}/s"


def traffic_detail(rate: Rate) -> str:
    """Return how requests fare: how many of the last minute failed, and how long nearly all take."""
    failed = f"{100 * rate.failed_share:.2g} % failed" if rate.failed_share else ""
    p95 = f"p95 {rate.p95_seconds * 1000:.3g} ms" if rate.p95_seconds is not None else ""
    return ", ".join(part for part in (failed, p95) if part)


def _two_digits(number: float) -> str:
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 or rounded == int(rounded) else f"{rounded:g}"


def copies_said(copies: Copies) -> str:
    """Return what became of the copies for a shadow."""
    said = f"{_two_digits(copies.sent)} copies"
    if copies.failed:
        said += f", {_two_digits(copies.failed)} failed"
    if (compared := copies.compared) is not None and compared.copies:
        said += f", {compared.flips / compared.copies:.2%} decided otherwise"
    return said


# --- environments ------------------------------------------------------------------------------------------------


_UNANSWERED = frozenset({"silent", "main", "records"})
"""Differences that are somebody's silence."""
_SOURCES = {
    "share": "share",
    "main": "main",
    "records": "records",
    "held": "what is held",
    "GitHub": "pull requests",
    "servers": "names of servers",
    "traffic": "traffic",
    "rollouts": "bakes",
}


def environment_view(found: Snapshot, rows: Sequence[Row], chosen: Filter) -> EnvironmentView:
    """Return what is shown above the rows of an environment."""
    name, now = found.environment, found.at
    href = Filter(environment=name, q=chosen.q, trouble=chosen.trouble).href()
    troubles = sum(row.in_trouble for row in rows)
    sources = tuple(_source(found.parts[part], words, now) for part, words in _SOURCES.items() if part in found.parts)
    own = [difference for slot, difference in found.differences if slot is None]
    # The rows show a deployment under way.
    told = _UNANSWERED | ({"unfinished"} if any(row.underway for row in rows) else set())
    notes = tuple(Note(one.kind, one.what, one.next_step) for one in own if one.kind not in told)
    tones: list[Tone] = [row.tone for row in rows]
    tones += [source.tone for source in sources] or ["unknown"]
    if found.broken:
        tones.append("bad")
    if notes:
        tones.append("warn")
    if any(server.state != "ok" for server in found.servers):
        tones.append("warn")
    return EnvironmentView(
        name=name,
        href=href,
        tone=min(tones, key=WORST_FIRST.index),
        said=users_said(found, rows),
        models=len(rows),
        troubles=troubles,
        broken=found.broken,
        closed=found.status.closed.said if found.status is not None and found.status.closed is not None else "",
        main=_main_cell(found),
        sources=sources,
        lost=tuple(_lost(sources)),
        dots=tuple(dot_of(server, now) for server in found.servers),
        notes=notes,
        next_command=next((one.next_step for one in own if one.kind in _UNANSWERED), ""),
        is_chosen=chosen.environment == name,
        is_known=found.status is not None,
    )


def users_said(found: Snapshot, rows: Sequence[Row]) -> str:
    """Return how users are, in one line."""
    if found.status is None:
        return "nothing is known yet" if not found.broken else "its settings cannot be read"
    counted: dict[str, int] = {}
    for row in rows:
        health = "unknown" if row.users.tone == "unknown" else row.users.text
        counted[health] = counted.get(health, 0) + 1
    words = ("DOWN", "degraded", "unknown", "OK")
    said = [f"{counted[word]:,} {word}" for word in words if counted.get(word)]
    return ", ".join(said) if said else "no model is in service"


def _main_cell(found: Snapshot) -> Cell | None:
    if found.status is None or found.settings is None:
        return None
    part, commit = found.part("main"), found.status.commit
    cell = Cell(commit[:12] or "unknown", "", "plain", href=Links(found.settings).commit(commit))
    return _if_known(cell, part, found.at)


def _source(part: Fresh, words: str, now: datetime) -> Source:
    if part.is_known:
        return Source(words, "ok", "known", part.at)
    return Source(words, "unknown", _since_words(part.since, now), part.at, part.since, part.why)


def _lost(sources: Sequence[Source]) -> Iterator[Lost]:
    since: dict[str, list[Source]] = {}
    for one in sources:
        if one.tone == "unknown":
            since.setdefault(one.said, []).append(one)
    for said, listed in since.items():
        names = ", ".join(one.name for one in listed)
        yield Lost(f"{said}: {names}", tuple(f"{one.name}: {one.why}" for one in listed))


# --- pages -------------------------------------------------------------------------------------------------------


def board_page(
    found: Sequence[Snapshot],
    rows: Mapping[str, Sequence[Row]],
    chosen: Filter,
    *,
    page: int = 1,
    who: str = "",
) -> BoardPage:
    """Return one page of the board. ``rows`` are those of each environment, as :func:`rows_of` returns them."""
    order = {one.environment: number for number, one in enumerate(found)}
    environments = tuple(environment_view(one, rows.get(one.environment, ()), chosen) for one in found)
    listed = sorted(
        (
            row
            for each in rows.values()
            for row in each
            if chosen.environment in ("", row.environment)
            and chosen.q.lower() in row.model
            and (row.in_trouble or not chosen.trouble)
        ),
        key=lambda row: (row.rank, order.get(row.environment, 0), row.model),
    )
    pages = max(1, -(-len(listed) // ROWS))
    page = min(max(page, 1), pages)
    at = max((one.at for one in found), default=datetime.now(UTC))
    tone, said = _first_words(environments, [row for each in rows.values() for row in each])
    return BoardPage(
        environments=environments,
        rows=tuple(_with_path(row, found) for row in listed[(page - 1) * ROWS : page * ROWS]),
        filter=chosen,
        who=who,
        generated_at=at,
        page=page,
        pages=pages,
        total=len(listed),
        previous=chosen.href(page=page - 1) if page > 1 else "",
        next=chosen.href(page=page + 1) if page < pages else "",
        said=said,
        tone=tone,
    )


def _with_path(row: Row, found: Sequence[Snapshot]) -> Row:
    """Return the row with what the environment before offers."""
    by_name = {one.environment: one for one in found}
    own = by_name[row.environment]
    judged = carried(own, by_name, row.model)
    if judged is None or own.settings is None or own.settings.path is None:
        return row
    until = f" (until {when(judged.until, own.at)})" if isinstance(judged, NotYet) and judged.until else ""
    text = f"from {own.settings.path.source}: {'not yet' if isinstance(judged, NotYet) else 'held'}"
    return replace(row, carried=Link(text, detail=judged.why + until))


def _first_words(environments: Sequence[EnvironmentView], rows: Sequence[Row]) -> tuple[Tone, str]:
    """Return how users are, everywhere, and what else needs somebody."""
    down = [row for row in rows if row.users.tone == "bad"]
    degraded = [row for row in rows if row.users.tone == "warn"]
    unknown = [row for row in rows if row.users.tone == "unknown"]
    others = [row for row in rows if row.in_trouble and row.users.tone not in ("bad", "warn", "unknown")]
    said = [_models(down, "DOWN"), _models(degraded, "degraded"), _models(unknown, "not known")]
    said = [f"{one}." for one in said if one]
    if others:
        more = " more" if said else ""
        said.append(f"{_many(len(others), more)} need{'s' * (len(others) == 1)} a look, in {_where(others)}.")
    bad = [one for one in environments if one.tone in ("bad", "warn", "unknown")]
    tone: Tone = min((one.tone for one in bad), key=WORST_FIRST.index, default="ok")
    if said:
        return tone, " ".join(said)
    if not rows and (unread := [one.name for one in environments if not one.is_known]):
        return tone, f"Nothing is known yet of {' and '.join(unread)}."
    users = "Users are OK" if rows else "No model is in service"
    if bad:
        where = " and ".join(one.name for one in bad)
        unknown_sources = dict.fromkeys(one.name for view in bad for one in view.sources if one.tone == "unknown")
        if tone == "unknown" and unknown_sources:
            return tone, f"{users}. Unknown in {where}: {', '.join(unknown_sources)}."
        return tone, f"{users}. Something else needs a look, in {where}."
    return ("ok", f"{users}, and everything is as main says.") if rows else ("plain", f"{users} yet.")


def _models(rows: Sequence[Row], how: str) -> str:
    """Return how these are, by their names where they are few."""
    if not rows:
        return ""
    names = " and ".join(row.model for row in rows[:2]) if len(rows) <= 2 else _many(len(rows))
    return f"{names} {'is' if len(rows) == 1 else 'are'} {how} in {_where(rows)}"


def _many(number: int, more: str = "") -> str:
    return f"{number:,}{more} model{'s' * (number != 1)}"


def _where(rows: Sequence[Row]) -> str:
    return " and ".join(dict.fromkeys(row.environment for row in rows))


def model_page(
    found: Snapshot,
    rows: Mapping[str, Sequence[Row]],
    model: str,
    *,
    beside: Sequence[Snapshot] = (),
    who: str = "",
) -> ModelPage | None:
    """Return the page of one model; None where neither routes, main nor records know it here.

    ``beside`` are the other environments, from which a version may come by itself.
    """
    row = next((one for one in rows.get(found.environment, ()) if one.model == model), None)
    slots = [Slot(found.environment, model, lane) for lane in Lane]
    records = sorted((one for slot in slots for one in found.records.get(slot, ())), key=lambda one: one.id)
    if row is None and not records:
        return None
    row = _with_path(row, [*beside, found]) if row else _left_row(found, model, records)
    links = Links(found.settings) if found.settings else None
    shown = records[-SHOWN_ENTRIES:]
    ways = _deliveries(found, records)
    notes = tuple(
        Note(difference.kind, difference.what, difference.next_step)
        for slot, difference in found.differences
        if slot is not None and slot.model == model
    )
    quarantine = tuple(
        Entry(
            event.at,
            f"{event.version} ({short(event.digest)}) is in quarantine",
            f"{event.reason} (by {event.by})" if event.by else event.reason,
            "bad",
        )
        for event in found.quarantined.values()
        if event.model == model
    )
    elsewhere = tuple(
        Link(f"{model} in {one.environment}", one.href, one.users.text)
        for name, each in rows.items()
        if name != found.environment
        for one in each
        if one.model == model
    )
    return ModelPage(
        environment=found.environment,
        model=model,
        row=row,
        notes=notes,
        timeline=tuple(
            replace(one, ways=tuple(_ways(record, ways.get(record.id), links)))
            for record in reversed(shown)
            for one in [_entry(record, found, links)]
        ),
        left_out=len(records) - len(shown),
        quarantine=quarantine,
        elsewhere=elsewhere,
        commands=tuple(_commands(found.environment, model)),
        who=who,
        generated_at=found.at,
        back=Filter(environment=found.environment).href(),
    )


def _left_row(found: Snapshot, model: str, records: Sequence[DeploymentRecord]) -> Row:
    """Return the row of a model that only the records still know."""
    nothing = Cell("–")
    last = records[-1]
    key = f"deployments/{last.environment}/{last.id}.json"
    href = f"/{quote(found.environment)}/{quote(model)}"
    cell = Cell(last.outcome, last.id, outcome_tone(last), last.finished_at, href=record_href(last.environment, key))
    return Row(found.environment, model, href, "plain", nothing, nothing, nothing, nothing, last=cell)


def _entry(record: DeploymentRecord, found: Snapshot, links: Links | None) -> Entry:
    key = f"deployments/{record.environment}/{record.id}.json"
    listed = [Link(record.id, record_href(record.environment, key), "the record")]
    entry = record.after
    if entry is not None:
        folder = f"evidence/{record.environment}/{record.model}/{entry.digest.removeprefix('sha256:')}/"
        evidence = sorted(one for one in found.listing if one.startswith(folder))
        listed += [
            Link("evidence", record_href(record.environment, one), "what the checks found") for one in evidence[-1:]
        ]
        if links is not None and (href := links.version(record.model, entry.version)):
            listed.append(Link(f"{record.model} {entry.version} in MLflow", href))
    if links is not None and record.commit:
        listed.append(Link(record.commit[:12], links.commit(record.commit), "the commit that was deployed"))
    held = {one.name: one for one in record.criteria}
    return Entry(
        at=record.finished_at,
        title=verdict(record),
        detail=record.problem or record.reason,
        tone=outcome_tone(record),
        links=tuple(listed),
        criteria=tuple(
            Criterion(CRITERION_NAMES[name], held[name].holds, held[name].proof) for name in CRITERIA if name in held
        ),
        lane="shadow" if record.slot.lane is Lane.SHADOW else "live",
        id=record.id,
    )


def _deliveries(found: Snapshot, records: Sequence[DeploymentRecord]) -> dict[str, Delivery]:
    """Return the ways of a model's releases to users, by the record that ended each; a bundle's has all its parts."""
    bundles = {(one.slot.lane, model) for one in records if one.bundle for model in one.bundle.models}
    slots = {one.slot for one in records} | {Slot(found.environment, model, lane) for lane, model in bundles}
    listed = sorted((one for slot in slots for one in found.records.get(slot, ())), key=lambda one: one.id)
    return {id_: one for one in deliveries(listed) for id_ in one.records[-1:]}


def _ways(record: DeploymentRecord, way: Delivery | None, links: Links | None) -> Iterable[Link]:
    """Yield who brought it and what `promobot report` counts of it, each with the page that it comes from."""
    origin, environment = record.origin, record.environment
    if origin is not None and origin.pull_request is not None:
        people = origin_words.people(origin)
        yield Link(f"#{origin.pull_request}", links.pull(origin.pull_request) if links else "", ", ".join(people))
    elif origin is not None and origin.asked_at is not None:
        yield Link(f"asked for at once by {origin.proposed_by or 'somebody'}")
    if way is None or way.kind != "release":
        return
    entry = record.after
    if way.lead_seconds is not None and not way.is_again:
        version = links.version(record.model, entry.version) if links and entry else ""
        yield Link(f"{lasting(way.lead_seconds)} from its registration to all users", version)
    if way.review_seconds is not None and way.origin is not None and way.origin.pull_request is not None:
        href = links.pull(way.origin.pull_request) if links else ""
        yield Link(f"waited {lasting(way.review_seconds)} for review", href)
    if way.back is not None:
        key = f"deployments/{environment}/{way.back.record}.json"
        yield Link(came_back(way), record_href(environment, key))


def _commands(environment: str, model: str) -> Iterable[Link]:
    yield Link(f"promobot status --env {environment}", detail="how it is, in a terminal")
    yield Link(f"promobot history {model} --env {environment}", detail="what was deployed")
    yield Link(f"promobot rollback {model} --env {environment}", detail="back to the last verified version")


# --- links -------------------------------------------------------------------------------------------------------


def record_href(environment: str, key: str) -> str:
    """Return where the board shows a record as it is."""
    return f"/{quote(environment)}/records/{quote(key)}"


class Links:
    """Addresses of pages that the settings of an environment name; an empty text where they name none."""

    def __init__(self, settings: Environment) -> None:
        self._github = f"{settings.github.server_url}/{settings.github.repository}"
        self._mlflow = settings.mlflow.uri if settings.can_use("mlflow") else ""
        self._names = settings.mlflow_names
        self._hosts = {urlsplit(url).netloc for url in (self._github, self._mlflow) if url}

    def commit(self, commit: str) -> str:
        """Where GitHub shows a commit."""
        return self._checked(f"{self._github}/commit/{quote(commit, safe='')}") if commit else ""

    def pull(self, number: int) -> str:
        """Where GitHub shows a pull request."""
        return self._checked(f"{self._github}/pull/{number}")

    def version(self, model: str, version: int) -> str:
        """Where MLflow shows a version."""
        name = self._names.get(model, model)
        return (
            self._checked(f"{self._mlflow}/#/models/{quote(name, safe='')}/versions/{version}")
            if self._mlflow
            else ""
        )

    def _checked(self, url: str) -> str:
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "https") and "@" not in parts.netloc
        return url if is_plain and parts.netloc in self._hosts else ""


def stamp(at: datetime) -> str:
    """Return a time in full."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
