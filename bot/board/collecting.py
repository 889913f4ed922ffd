"""The loops that read for the board, at a rhythm that is the same however many people look.

Everything of the platform's own network is read every two seconds, or as ``promobot board --every`` says: the share,
each Triton, each gateway. Git is asked where main is nearly as often, once for all environments of one repository.
What takes more is read seldom, and at once where something else shows that it changed: records, pull requests, what
is held and since when. Each thing has a thread and a deadline of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bot.board.known import Known, Part, Shared, in_turn
from bot.board.snapshot import Counted, Fresh, Rate, Server, ServerState, Snapshot
from bot.domain.desired import Change, path_of
from bot.domain.hold import Held
from bot.domain.journal import Journal
from bot.domain.path import by_slot
from bot.domain.plan import Live, Loaded, asked_for, plan
from bot.domain.policy import Decided
from bot.domain.quarantine import Quarantined
from bot.domain.record import DeploymentRecord, last_failed
from bot.domain.rollout import Bakes
from bot.domain.routes import RouteTable
from bot.domain.shadowed import Copies, copies_of
from bot.domain.silence import Silence, Silences
from bot.domain.traffic import Traffic, merged, quantile
from bot.domain.way_back import WayBack
from bot.errors import PromobotError, Rejected, Unavailable
from bot.operations.following import read_ways_back
from bot.operations.holding import as_github_tells
from bot.operations.main_branch import Main
from bot.operations.observe import silent_words
from bot.operations.opened import Opened, changed_by
from bot.operations.past import Past
from bot.operations.policies import Memory as MemoryOfPolicies
from bot.operations.policies import look_at_policies
from bot.operations.proposing import read_desired
from bot.operations.seen import LOOKED_BACK, FromRecords, Seen, held_in, journal_of
from bot.operations.silence import noted, silent_since
from bot.operations.status import judged, placed_differences
from bot.operations.watching import CountedBy, Memory, standing
from bot.platform import Platform, Serving
from bot.render.deployment import unknown_workers

if TYPE_CHECKING:
    from bot.systems.gateway import Gateway, Told
    from bot.systems.github import Listed
    from bot.systems.triton.server import TritonServer

RENEW_SECONDS = 1_800.0
"""A platform is opened anew so often: a token of a GitHub App lasts an hour, and a shallow repository grows."""
RATE_SECONDS = 60.0
SHOWN_FOLDERS = ("deployments", "confirmations", "evidence", "revocations", "quarantine", "rollouts", "shadows")
"""The records that the board shows as they are. Requests and proposals are not among them: they name people."""

Value = TypeVar("Value")
Kind = Literal["Triton", "gateway"]


@dataclass(frozen=True)
class Rhythm:
    """Seconds between two reads of each thing; the number of viewers changes none of them."""

    serving: float = 2.0
    """The share, each Triton, each gateway."""
    main: float = 3.0
    """Where the branch is; it is read where that changed."""
    records: float = 10.0
    """Besides when the routes or the journal moved."""
    all_records: float = 300.0
    """A record is read once; all of them anew so often, for what was confirmed since."""
    held: float = 15.0
    """Besides when main, the routes or the records moved."""
    pulls: float = 30.0
    rollouts: float = 5.0
    traffic: float = 10.0
    names: float = 15.0
    """Of servers that DNS gives."""
    settings: float = 5.0
    listing: float = 60.0
    """Of the records that are shown as they are, besides when there is a new one."""
    late: float = 5.0
    """By so much a read may be late until what it found before counts no more."""


@dataclass(frozen=True)
class OnShare:
    """What lies on the share: what users get, what is being deployed, what still has to be told or opened."""

    table: RouteTable
    journal: Journal | Rejected | None
    outbox: tuple[str, ...]
    ways: tuple[WayBack, ...]
    unreadable: tuple[str, ...]
    silences: Silences
    said: tuple[str, ...]

    @property
    def key(self) -> Any:
        """What two of them are compared by: errors compare by their words."""
        journal = str(self.journal) if isinstance(self.journal, Rejected) else self.journal
        return self.table, journal, self.outbox, self.ways, self.unreadable, self.silences, self.said


@dataclass(frozen=True)
class OfGateway:
    """What one gateway says: its routes, and what it counts. The counts change with each request."""

    table: RouteTable
    unproven: str
    traffic: Traffic | None = field(compare=False)
    shadows: Mapping[str, Copies] = field(compare=False)


@dataclass(frozen=True)
class OnRecord:
    """All deployment records, oldest first, and what is in quarantine."""

    all: tuple[DeploymentRecord, ...]
    quarantined: Quarantined

    @property
    def key(self) -> Any:
        """What two of them are compared by: a record changes only by being confirmed, and by where it comes from."""
        newest = [(one.id, one.outcome, one.origin is None) for one in self.all[-LOOKED_BACK:]]
        return len(self.all), newest, sorted(self.quarantined)


@dataclass(frozen=True)
class Between:
    """What environments of one repository share: one asks Git and GitHub, and the others take the answer."""

    heads: Shared[str]
    pulls: Shared[Listed]
    listed: dict[Hashable, Listed] = field(default_factory=dict)
    """What GitHub listed last: that nothing changed since does not count for its limit of requests."""

    @classmethod
    def new(cls, rhythm: Rhythm) -> Between:
        """Return one that nobody asked yet."""
        return cls(Shared(for_seconds=0.8 * rhythm.main), Shared(for_seconds=0.95 * rhythm.pulls))


class OfEnvironment:
    """Everything that is read of one environment under one state of its settings."""

    def __init__(
        self,
        platform: Platform,
        between: Between,
        *,
        rhythm: Rhythm,
        before: Mapping[str, Known[Any]] | None = None,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        """``before`` is what parts of the same names knew under other settings."""
        self.platform, self.settings = platform, platform.settings
        # Git's folder is for one thread at a time, and what is read of pull requests must not delay main.
        self._aside = platform.like(platform.settings)
        self._aside_turn = threading.Lock()
        self._between, self._rhythm, self._changed = between, rhythm, changed
        # Of the names nothing is remembered: the servers are opened anew.
        self._before = {name: known for name, known in (before or {}).items() if name != "servers"}
        self._lock = threading.Lock()
        self._started = self._ended = False
        self._serving: Serving | None = None
        self._servers: dict[tuple[Kind, str], Part[Any]] = {}
        self._opened: dict[tuple[int, str, str], tuple[list[Opened], tuple[str, ...]]] = {}
        self._told: tuple[Any, Mapping[Change, Held]] = (None, {})
        self._bakes, self._policies = Memory(), MemoryOfPolicies()
        self._main_says: str | None = None
        self._all_read_at = -rhythm.all_records
        self._counts: deque[tuple[float, Mapping[str, tuple[Any, int, int]]]] = deque()
        has_names = any(one.every_address for one in self.settings.tritons)
        has_names = has_names or any(one.every_address for one in self.settings.gateways)
        self.share = self._part(
            "share", self._read_share, rhythm.serving, key=lambda it: it.key, then=self._share_moved
        )
        self.names = self._part(
            "servers", self._read_names, rhythm.names if has_names else RENEW_SECONDS, then=self._names_changed
        )
        self.main = self._part(
            "main", self._read_main, rhythm.main, key=lambda main: main.commit, then=lambda: self.held.wake()
        )
        self.records = self._part(
            "records", self._read_records, rhythm.records, key=lambda it: it.key, then=self._records_moved
        )
        self.held = self._part("held", self._read_held, rhythm.held, then=lambda: self.told.wake())
        self.told: Part[Mapping[Change, Held]] = self._part("since when", self._read_told, rhythm.pulls)
        self.pulls = self._part("GitHub", self._read_pulls, rhythm.pulls)
        self.policies = self._part("policies", self._read_policies, rhythm.pulls)
        self.rollouts = self._part("rollouts", self._read_rollouts, rhythm.rollouts)
        self.traffic = self._part("traffic", self._read_traffic, rhythm.traffic)
        self.listing = self._part("listing", self._read_listing, rhythm.listing)

    @property
    def parts(self) -> list[Part[Any]]:
        """Every part, those of single servers last."""
        own: list[Part[Any]] = [self.share, self.names, self.main, self.records, self.held, self.told]
        own += [self.pulls, self.policies, self.rollouts, self.traffic, self.listing]
        with self._lock:
            return [*own, *self._servers.values()]

    @property
    def remembered(self) -> dict[str, Known[Any]]:
        """What every part knows, by its name."""
        return {part.name: part.known for part in self.parts}

    def start(self) -> None:
        """Begin to read."""
        self._started = True
        for part in self.parts:
            part.start()

    def look(self) -> None:
        """Read everything once, in the caller's thread."""
        for part in (self.share, self.names):
            part.look()
        with self._lock:
            servers = list(self._servers.values())
        for one in servers:
            one.look()
        for each in (self.main, self.records, self.pulls, self.held, self.told):
            each.look()
        for last in (self.policies, self.rollouts, self.traffic, self.listing):
            last.look()

    def stop(self) -> None:
        """Read no more, and close what was opened; a read that hangs is not waited for."""
        self._ended = True
        for part in self.parts:
            part.stop()
        self.platform.close()
        self._aside.close()

    def _part(
        self,
        name: str,
        read: Callable[[], Value],
        every_seconds: float,
        *,
        key: Callable[[Value], Any] = lambda value: value,
        then: Callable[[], object] = lambda: None,
    ) -> Part[Value]:
        def changed() -> None:
            then()
            self._changed()

        return Part(
            name,
            read,
            every_seconds=every_seconds,
            late_seconds=self._rhythm.late,
            key=key,
            changed=changed,
            before=self._before.get(name),
        )

    def _share_moved(self) -> None:
        # A record is written before the journal is closed, so it is there already.
        for part in (self.records, self.held):
            part.wake()

    def _records_moved(self) -> None:
        for part in (self.held, self.listing, self.policies):
            part.wake()

    # --- what serves -------------------------------------------------------------------------------------------

    def _read_share(self) -> OnShare:
        said: list[str] = []
        share = self.platform.share
        table = share.routes.read(self.platform.environment)
        ways, unreadable = read_ways_back(share)
        return OnShare(
            table,
            journal_of(share),
            tuple(share.outbox.read()),
            tuple(ways),
            tuple(unreadable),
            noted(share, said.append),
            tuple(said),
        )

    def _read_names(self) -> tuple[tuple[Kind, str], ...]:
        """See which servers there are now: DNS may give others than before."""
        if self._serving is None:
            serving = self.platform.serving(reads_only=True)
        else:
            serving = self._serving.with_more()
            serving = serving.without(
                [*serving.tritons_that_left(serving.tritons), *serving.that_left(serving.gateways)]
            )
        self._serving = serving
        tritons: list[tuple[Kind, str]] = [("Triton", one.name) for one in serving.tritons]
        return (*tritons, *(("gateway", one.name) for one in serving.gateways))

    def _names_changed(self) -> None:
        serving, added = self._serving, list[Part[Any]]()
        if serving is None:
            return
        readers: dict[tuple[Kind, str], Callable[[], Any]] = {}
        for triton in serving.tritons:
            readers["Triton", triton.name] = _reads_triton(triton)
        for gateway in serving.gateways:
            readers["gateway", gateway.name] = _reads_gateway(gateway, counts_every_seconds=self._rhythm.traffic)
        with self._lock:
            for gone in self._servers.keys() - readers.keys():
                self._servers.pop(gone).stop()
            for (kind, name), read in readers.items():
                if (kind, name) not in self._servers and not self._ended:
                    part = self._part(f"{kind} {name}", read, self._rhythm.serving)
                    self._servers[kind, name] = part
                    added.append(part)
        for part in added if self._started else ():
            part.start()

    # --- main and GitHub ---------------------------------------------------------------------------------------

    def _read_main(self) -> Main:
        github, within = self.settings.github, self.settings.deadlines.request_seconds
        commit = self._between.heads.of(
            (github.clone_url, github.base),
            self._head,
            system=f"Git ({github.clone_url})",
            within_seconds=within,
        )
        known = self.main.known.value
        if known is not None and known.commit == commit and self.main.known.error is None:
            return known
        repository = self.platform.repository(limit_seconds=within)
        found = repository.head()
        text = repository.read(found, path_of(self.platform.environment))
        if known is not None and text is not None and text == self._main_says:
            return replace(
                known, commit=found
            )  # another environment's file changed: a large one takes a while to parse
        desired = read_desired(repository, self.platform.environment, found)
        self._main_says = text
        return Main(repository, found, desired)

    def _head(self) -> str:
        github, within = self.settings.github, self.settings.deadlines.request_seconds
        found = self.platform.repository(limit_seconds=within).branch(github.base)
        if found is None:
            raise Rejected(f"there is no branch {github.base}", system=f"Git ({github.clone_url})")
        return found

    def _read_pulls(self) -> tuple[tuple[Opened, ...], tuple[str, ...]]:
        github, within = self.settings.github, self.settings.deadlines.request_seconds
        key = github.api_url, github.repository, github.base
        listed = self._between.pulls.of(
            key,
            lambda: self._list(key),
            system=f"GitHub ({github.repository})",
            within_seconds=2 * within,
        )
        found: dict[tuple[int, str, str], tuple[list[Opened], tuple[str, ...]]] = {}
        for pull in listed.pulls:
            of = pull.number, pull.head, pull.title
            known = self._opened.get(of)
            if known is None or known[1]:
                said: list[str] = []
                with self._git_aside(2 * within):
                    repository = self._aside.repository(limit_seconds=within)
                    known = changed_by(pull, self.platform.environment, repository, said.append), tuple(said)
            found[of] = known
        self._opened = found
        opened = tuple(one for each, _ in found.values() for one in each)
        return opened, tuple(said for _, listed in found.values() for said in listed)

    def _list(self, key: Hashable) -> Listed:
        found = self._aside.github.list_open(prefix="promobot", known=self._between.listed.get(key))
        self._between.listed[key] = found
        return found

    def _git_aside(self, within_seconds: float) -> Any:
        return in_turn(
            self._aside_turn, system=f"Git ({self.settings.github.clone_url})", within_seconds=within_seconds
        )

    # --- records, and what follows from them -------------------------------------------------------------------

    def _read_records(self) -> OnRecord:
        ledger, began = self.platform.ledger, time.monotonic()
        known = self.records.known.value
        if known is None or began - self._all_read_at >= self._rhythm.all_records:
            records = tuple(ledger.with_origins(ledger.deployments()))
            self._all_read_at = began
        else:
            there = ledger.with_new(known.all)
            # Where a release comes from is known a moment after its record is there.
            back = LOOKED_BACK + len(there) - len(known.all)
            records = (*there[:-back], *ledger.with_origins(there[-back:]))
        return OnRecord(records, ledger.quarantined())

    def _read_listing(self) -> frozenset[str]:
        store, name = self.platform.records, self.platform.environment
        return frozenset(key for folder in SHOWN_FOLDERS for key in store.keys(f"{folder}/{name}"))

    def _read_held(self) -> tuple[Held, ...]:
        main, share = _needed(self.main, "what main asks for"), _needed(self.share, "what is live")
        records = _needed(self.records, "what was deployed")
        todo = plan(main.desired, Live(share.table, {}, {}, {}), known={})
        past = Past(self.platform, history=records.all, quarantined=records.quarantined)
        return held_in(past, main.desired, todo)

    def _read_told(self) -> Mapping[Change, Held]:
        """Return what is held as GitHub tells it: since when, and which open revert takes it back."""
        held, main = self.held.known.value or (), self.main.known.value
        if not held or main is None:
            return {}
        pulls = self.pulls.known.value[0] if self.pulls.known.value else ()
        asked = main.commit, held, pulls
        if self._told[0] == asked:
            return self._told[1]
        said: list[str] = []
        within = self.settings.deadlines.request_seconds
        with self._git_aside(2 * within):
            repository = self._aside.repository(limit_seconds=within)
            found = as_github_tells(self._aside, repository, held, pulls, said.append)
        if said:
            raise Unavailable("; ".join(said), system=f"GitHub ({self.settings.github.repository})")
        told = {one.change: one for one in found}
        self._told = asked, told
        return told

    def _read_policies(self) -> tuple[Decided, ...]:
        """Return what policies decide of the open pull requests; nothing is asked where the settings have none."""
        if self.settings.merge is None:
            return ()
        records = _needed(self.records, "what was deployed")
        with self._git_aside(2 * self.settings.deadlines.request_seconds):
            return look_at_policies(self._aside, now=datetime.now(UTC), records=records.all, memory=self._policies)

    def _read_rollouts(self) -> tuple[Bakes, ...]:
        if not any(rules.watched for rules in self.settings.rollout.values()):
            return ()
        share, records = _needed(self.share, "what is live"), _needed(self.records, "what was deployed")
        self._bakes.records = list(records.all)
        heard = {
            part.name.partition(" ")[2]: part.known.value if _is_fresh(part) else None
            for part in self._of_kind("gateway")
        }
        counted = CountedBy(
            {name: told.traffic if told else None for name, told in heard.items()},
            {name: told.compared or {} for name, told in heard.items() if told},
        )
        return standing(self.platform, share.table, self._bakes, lambda: counted, datetime.now(UTC))

    def _read_traffic(self) -> Counted:
        gateways = self._of_kind("gateway")
        heard = {part.name.partition(" ")[2]: part.known.value for part in gateways if _is_fresh(part)}
        told = [one for one in heard.values() if one is not None]
        missing = tuple(sorted(name for _, name in self._names_of("gateway") if heard.get(name) is None))
        shadows = {
            model: found
            for model in {model for one in told for model in one.shadows}
            if (found := copies_of(one.shadows[model] for one in told if model in one.shadows)) is not None
        }
        total = merged(one.traffic for one in told if one.traffic is not None)
        return Counted(self._rates(total) if total else {}, shadows, missing)

    def _rates(self, total: Traffic) -> dict[str, Rate]:
        now = time.monotonic()
        counts = {
            model: (period.of, period.live.requests, period.live.failed)
            for model, period in total.models.items()
            if period.live is not None
        }
        while len(self._counts) > 1 and now - self._counts[1][0] >= RATE_SECONDS:
            self._counts.popleft()
        found = {}
        for model, (of, requests, failed) in counts.items():
            period = total.models[model]
            if (live := period.live) is None:
                continue
            per_second, failed_share = None, 0.0
            for began, before in self._counts:
                was = before.get(model)
                # Of another version, or of a gateway that began anew in between, nothing can be said.
                if was is not None and was[0] == of and was[1] <= requests and was[2] <= failed and began < now:
                    grown = requests - was[1]
                    per_second, failed_share = grown / (now - began), (failed - was[2]) / grown if grown else 0.0
                    break
            p95 = quantile(live.cells, total.bounds, 0.95) if live.cells else None
            found[model] = Rate(live.version, period.since, requests, failed, per_second, failed_share, p95)
        self._counts.append((now, counts))
        return found

    # --- all of it together ------------------------------------------------------------------------------------

    def _of_kind(self, kind: Kind) -> list[Part[Any]]:
        with self._lock:
            return [part for (of, _), part in self._servers.items() if of == kind]

    def _names_of(self, kind: Kind) -> list[tuple[Kind, str]]:
        with self._lock:
            return [one for one in self._servers if one[0] == kind]

    def closed(self) -> str:
        """Return why nothing new may go out now; empty where it may. A page changes when a window opens."""
        if not self.settings.windows and not self.settings.freezes:
            return ""
        shut = self.settings.closed(datetime.now(UTC))
        return shut.said if shut is not None else ""

    def freshness(self) -> tuple[bool, ...]:
        """Return of every part whether it is known now: nothing else of a snapshot depends on the time."""
        now = time.monotonic()
        return tuple(part.known.is_fresh(now) for part in self.parts)

    @property
    def version(self) -> tuple[int, ...]:
        """Return how often each part changed."""
        return tuple(part.changes for part in self.parts)

    def snapshot(self, broken: str = "") -> Snapshot:
        """Return all that is known now. It asks nobody."""
        monotonic, now = time.monotonic(), datetime.now(UTC)
        with self._lock:
            each = dict(self._servers)
        servers = [_server(kind, name, part.known, monotonic) for (kind, name), part in each.items()]
        parts = {part.name: _fresh(part, monotonic) for part in self.parts if part.name not in _NOT_SHOWN}
        records = self.records.known.value or OnRecord((), {})
        found = Snapshot(
            environment=self.platform.environment,
            at=now,
            broken=broken,
            settings=self.settings,
            parts=parts,
            servers=tuple(servers),
            counted=self.traffic.known.value or Counted(),
            records=by_slot(records.all),
            quarantined=records.quarantined,
            listing=self.listing.known.value or frozenset(),
        )
        looked = self._seen(each, monotonic, now)
        if looked is None:
            return found
        seen, routes_by = looked
        differences = placed_differences(seen)
        return replace(
            found,
            seen=seen,
            status=replace(
                judged(seen, self.rollouts.known.value or (), differences), policies=self.policies.known.value or ()
            ),
            differences=differences,
            routes_by=routes_by,
        )

    def _seen(
        self, each: Mapping[tuple[Kind, str], Part[Any]], monotonic: float, now: datetime
    ) -> tuple[Seen, Literal["share", "gateways"]] | None:
        """Return what was read last as a look of ``status`` sees it; None where nobody ever told any routes."""
        share, tritons, gateways = self.share.known.value, dict[str, Loaded | None](), dict[str, RouteTable | None]()
        silent, unproven = dict[str, str](), dict[str, str]()
        answering: list[RouteTable] = []
        for (kind, name), part in each.items():
            known: Known[Any] = part.known
            if known.error is not None:
                silent[name] = silent_words(known.error)
            elif known.value is None:
                continue  # nobody asked it yet
            if kind == "Triton":
                tritons[name] = None if known.error else known.value
                continue
            told: OfGateway | None = known.value
            gateways[name] = None if known.error or told is None else told.table
            if told is not None and known.is_fresh(monotonic):
                answering.append(told.table)
                if told.unproven:
                    unproven[name] = told.unproven
        # Where the share does not answer, what gateways serve is what users get.
        by_share = share is not None and (self.share.known.is_fresh(monotonic) or not answering)
        if share is not None and by_share:
            table = share.table
        elif answering:
            table = max(answering, key=lambda one: one.generation)
        else:
            return None
        live = Live(table, tritons, gateways, silent)
        main: Main | PromobotError = self.main.known.value or self.main.known.error or _not_yet("Git")
        desired = main.desired if isinstance(main, Main) else asked_for(table, {})
        pulls, unread = self.pulls.known.value or ((), ())
        seen = Seen(
            settings=self.settings,
            at=now,
            live=live,
            silences=self._silences(live, each, share, now),
            unproven=unproven,
            outbox=share.outbox if share else (),
            journal=share.journal if share else None,
            ways=share.ways if share else (),
            unreadable_ways=share.unreadable if share else (),
            main=main,
            todo=plan(desired, live, known={}),
            opened=pulls,
            records=self._from_records(monotonic),
            problems=(*(share.said if share else ()), *unread),
        )
        return seen, "share" if by_share else "gateways"

    def _from_records(self, monotonic: float) -> FromRecords:
        records = self.records.known
        told = self.told.known.value or {}
        held = tuple(told.get(one.change, _without_since(one)) for one in self.held.known.value or ())
        if records.value is None:
            return FromRecords(why_not=records.why(monotonic))
        failed = last_failed(records.value.all[-LOOKED_BACK:])
        return FromRecords(records.value.quarantined, held, failed, why_not=str(records.error or ""))

    def _silences(
        self, live: Live, each: Mapping[tuple[Kind, str], Part[Any]], share: OnShare | None, now: datetime
    ) -> dict[str, datetime | None]:
        own = {
            name: Silence(since=part.known.at or part.known.failed_at, seen=now)
            for (_, name), part in each.items()
            if name in live.silent and part.known.failed_at is not None
        }
        looks = [Silences(silent=own), *([share.silences] if share else [])]
        gateways = self._serving.gateways if self._serving else ()
        return silent_since(live, looks, gateways, at=now)


_NOT_SHOWN = frozenset({"since when", "listing"})


def _reads_triton(triton: TritonServer) -> Callable[[], Loaded]:
    return triton.loaded


def _reads_gateway(gateway: Gateway, *, counts_every_seconds: float) -> Callable[[], OfGateway]:
    """Return what reads the routes; what the same answer counts takes longer to read, and is read more seldom."""
    counted: tuple[float, Told] | None = None

    def read() -> OfGateway:
        nonlocal counted
        now = time.monotonic()
        if counted is None or now - counted[0] >= 0.8 * counts_every_seconds:
            told = gateway.told()
            counted, table = (now, told), told.table
        else:
            told, table = counted[1], gateway.routes()
        return OfGateway(table, unknown_workers(gateway.latest), told.traffic, told.shadows)

    return read


def _needed(part: Part[Value], what: str) -> Value:
    """Return what a part knows; raise Unavailable where it knows nothing, or no longer does."""
    known = part.known
    if known.value is None or known.error is not None:
        why = known.error or "it has not been read yet"
        raise Unavailable(f"{what} is not known: {why}", system=part.name)
    return known.value


def _is_fresh(part: Part[Any]) -> bool:
    return part.known.is_fresh(time.monotonic())


def _server(kind: Kind, name: str, known: Known[Any], monotonic: float) -> Server:
    state: ServerState = "ok" if known.is_fresh(monotonic) else "down" if known.error else "unknown"
    since = None if state == "ok" else known.at or known.failed_at
    why = silent_words(known.error) if known.error else known.why(monotonic)
    return Server(name, kind, state, since, why)


def _fresh(part: Part[Any], monotonic: float) -> Fresh:
    known = part.known
    why = known.why(monotonic)
    return Fresh(part.name, known.at, why, (known.at or known.failed_at) if why else None)


def _not_yet(system: str) -> Unavailable:
    return Unavailable("it has not been read yet", system=system)


def _without_since(held: Held) -> Held:
    return Held(held.change, held.hold.no_earlier_than(None))
