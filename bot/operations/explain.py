"""``promobot explain``: the pull requests, people, evidence and deployments behind a digest. It changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

from bot.domain.bundled import entries_of
from bot.domain.desired import SECTIONS, Change, Entry, Section
from bot.domain.evidence import Evidence
from bot.domain.names import short
from bot.domain.origin import Origin
from bot.domain.quarantine import QuarantineEvent
from bot.domain.record import DeploymentRecord, served_after
from bot.domain.release import Slot
from bot.domain.report import Delivery, deliveries
from bot.domain.scope import fingerprint
from bot.errors import InvalidInput, PromobotError, Refused
from bot.exit_codes import ExitCode
from bot.operations.brought import Approved, Brought, People
from bot.platform import Platform
from bot.records.ledger import Proposer

State = Literal["in service", "rolling out", "left service", "not in service", "not deployed"]
"""
in service      users get it now, or as a shadow it receives copies
rolling out     a canary answers some users with it
left service    it was, and something else is there now, or nothing
not in service  every deployment of it failed or was put back
not deployed    it was proposed or checked only
"""

_LISTED = 10


@dataclass(frozen=True)
class Place:
    """All that is known of the digest in one slot of one environment. Lists are newest first."""

    environment: str
    section: Section
    model: str
    entries: tuple[Entry, ...]
    """Each version and run under which the digest is known here."""
    state: State
    since: datetime | None
    """When it went into service, or left it; None where it never was in service."""
    in_service: Entry | None
    """The entry that is in service here now, by the records."""
    pull_requests: tuple[Brought, ...]
    evidence: tuple[Evidence, ...]
    deployments: tuple[DeploymentRecord, ...]
    """Those that brought the digest, or replaced it."""
    deliveries: tuple[Delivery, ...]
    """Its ways to users, as `promobot report` counts them."""
    quarantine: QuarantineEvent | None
    """The event that put the digest into quarantine; None where it is not in quarantine."""


@dataclass(frozen=True)
class Explained:
    """Every place where the digest was, and what could not be reached."""

    digest: str
    is_bundle: bool
    at: datetime
    places: tuple[Place, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Why the records of an environment cannot be read, by its name."""

    @property
    def exit_code(self) -> ExitCode:
        """0 something is known of it."""
        return ExitCode.DONE


def explain(platforms: Sequence[Platform], beginning: str) -> Explained:
    """Return what stands behind the one digest that begins so, in these environments.

    Raises InvalidInput where ``beginning`` cannot begin a digest, Refused where no digest begins so, or several do.
    """
    wanted = beginning.lower().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{1,64}", wanted):
        raise InvalidInput(
            f"{beginning!r:.80} cannot begin a digest: 1 to 64 of 0-9a-f, with or without 'sha256:' before them",
            key="DIGEST",
            next_step="`promobot status` and `promobot history` show digests; a gateway's answers carry one.",
        )
    known, unknown = dict[str, _Known](), dict[str, str]()
    people = People()
    for platform in platforms:
        try:
            known[platform.environment] = _Known(platform, f"sha256:{wanted}", people)
        except PromobotError as error:
            unknown[platform.environment] = str(error)
    digest = _the_one(wanted, known, unknown)
    places = [place for one in known.values() for place in one.places(digest)]
    is_bundle = any(digest in one.bundles for one in known.values())
    return Explained(digest, is_bundle, datetime.now(UTC), tuple(places), unknown)


def _the_one(wanted: str, known: Mapping[str, _Known], unknown: Mapping[str, str]) -> str:
    found: dict[str, set[str]] = {}
    for one in known.values():
        for digest, models in one.digests.items():
            found.setdefault(digest, set()).update(models)
    if len(found) == 1:
        return next(iter(found))
    if found:
        listed = [f"sha256:{short(digest)}… of {', '.join(sorted(models))}" for digest, models in found.items()]
        more = [f"and {len(found) - _LISTED} more"] * (len(found) > _LISTED)
        raise Refused(
            f"{len(found)} digests begin with {wanted}: {'; '.join([*sorted(listed)[:_LISTED], *more])}",
            state="Nothing was changed.",
            next_step="Give more of the digest.",
        )
    unread = [f"the records of {name} cannot be read: {why}" for name, why in unknown.items()]
    where = f" of {', '.join(known)}" if known else ""
    raise Refused(
        "; ".join([f"no record{where} knows a digest that begins with {wanted}", *unread]),
        state="Nothing was changed.",
        next_step="`promobot evidence list --env ENV` and `promobot history --env ENV` show known digests.",
    )


class _Known:
    """The records of one environment about digests that begin so. Raises PromobotError if it cannot read them."""

    def __init__(self, platform: Platform, beginning: str, people: People) -> None:
        self._platform, self._people, self._ledger = platform, people, platform.ledger
        self.records = self._ledger.with_origins(self._ledger.deployments())
        self._quarantined = self._ledger.quarantined()
        self.digests: dict[str, set[str]] = {}
        self.bundles: set[str] = set()
        for record in self.records:
            for entry in (record.before, record.after):
                if entry is not None:
                    self._note(entry.digest, record.model, beginning)
            if record.bundle is not None and self._note(record.bundle.digest, record.bundle.name, beginning):
                self.bundles.add(record.bundle.digest)
        for digest, model in self._ledger.checked_digests():
            self._note(digest, model, beginning)
        for digest, event in self._quarantined.items():
            self._note(digest, event.model, beginning)

    def _note(self, digest: str, model: str, beginning: str) -> bool:
        is_meant = digest.startswith(beginning)
        if is_meant:
            self.digests.setdefault(digest, set()).add(model)
        return is_meant

    def places(self, digest: str) -> list[Place]:
        """Return each slot of the environment where the digest is known."""
        if digest not in self.digests:
            return []
        models = {record.model for record in self.records if _is_about(record, digest)} | self.digests[digest]
        return [
            place
            for model in sorted(models)
            for section in SECTIONS
            if (place := self._place(Slot.of(self._platform.environment, model, section), digest))
        ]

    def _place(self, slot: Slot, digest: str) -> Place | None:
        records = [record for record in self.records if record.slot == slot]
        deployments = tuple(reversed([record for record in records if _is_about(record, digest)]))
        evidence = tuple(self._evidence(slot, digest, deployments))
        event = self._quarantined.get(digest)
        event = event if event is not None and event.release.slot == slot else None
        if not deployments and not evidence and event is None:
            return None
        state, since = _state(records, digest)
        entries = [record.after for record in deployments if _asks_for(record, digest) and record.after is not None]
        entries += [Entry(version=one.version, digest=one.digest, run=one.run or "unknown") for one in evidence]
        serving = served_after(slot.environment, self.records).section(slot.section).get(slot.model)
        return Place(
            environment=slot.environment,
            section=slot.section,
            model=slot.model,
            entries=tuple(_each_once(entries)),
            state=state,
            since=since,
            in_service=serving,
            pull_requests=tuple(self._pull_requests(slot, evidence, entries, deployments)),
            evidence=evidence,
            deployments=deployments,
            deliveries=tuple(reversed(self._deliveries_of(deployments, digest))),
            quarantine=event,
        )

    def _evidence(self, slot: Slot, digest: str, deployments: Iterable[DeploymentRecord]) -> list[Evidence]:
        """Return the evidence of the digest; of a bundle that of the slot's part of it."""
        if digest not in self.bundles:
            return list(self._ledger.evidence_of(slot, digest))
        parts = {record.after.digest for record in deployments if _asks_for(record, digest) and record.after}
        found = [one for part in parts for one in self._ledger.evidence_of(slot, part)]
        return [one for one in found if one.bundle is not None and one.bundle.digest == digest]

    def _deliveries_of(self, deployments: Iterable[DeploymentRecord], digest: str) -> list[Delivery]:
        ids = {record.id for record in deployments if _asks_for(record, digest) and record.before != record.after}
        return [one for one in self._deliveries if not ids.isdisjoint(one.records)]

    @cached_property
    def _deliveries(self) -> list[Delivery]:
        return deliveries(self.records)

    def _pull_requests(
        self,
        slot: Slot,
        evidence: Iterable[Evidence],
        entries: Sequence[Entry],
        deployments: Iterable[DeploymentRecord],
    ) -> list[Brought]:
        """Return those in which the digest was checked; where GitHub does not tell their people, the records may."""
        found: dict[int, Evidence] = {}
        for one in evidence:
            if one.pull_request is not None:
                found.setdefault(one.pull_request, one)
        origins = {record.origin.pull_request: record.origin for record in deployments if record.origin is not None}
        pulls = [
            self._people.of(self._platform, number, asked_by=self._askers(slot, one, entries))
            for number, one in found.items()
        ]
        return [_as_recorded(one, origins[one.number]) if one.number in origins else one for one in pulls]

    def _askers(self, slot: Slot, evidence: Evidence, entries: Sequence[Entry]) -> list[Proposer]:
        """Return who asked the bot for the proposal; nothing where a person made it without the bot.

        The records know a proposal by what it makes main say. Evidence does not keep all of that: not the reason of a
        shadow, nor that a shadow's entry went when it came to answer; so each of these is tried.
        """
        for changes in self._said_by(slot, evidence, entries):
            if proposers := self._ledger.proposers(fingerprint(changes)):
                return proposers
        return []

    def _said_by(self, slot: Slot, evidence: Evidence, entries: Sequence[Entry]) -> Iterable[list[Change]]:
        environment, section = slot.environment, slot.section
        said = entries_of(evidence.bundle)
        if not said:
            for entry in entries:
                if (entry.version, entry.run, entry.digest) == (evidence.version, evidence.run, evidence.digest):
                    alone = Change(environment, section, slot.model, None, entry)
                    yield [alone]
                    yield [alone, Change(environment, "shadow", slot.model, entry, None)]
        else:
            yield [Change(environment, section, model, None, entry) for model, entry in said.items()]
        beside = [
            one
            for one in self._all_evidence
            if (one.pull_request, one.head) == (evidence.pull_request, evidence.head)
        ]
        changes = {
            (one.section, one.model): Change(
                environment,
                one.section,
                one.model,
                None,
                Entry(version=one.version, digest=one.digest, run=one.run or "unknown"),
            )
            for one in beside
        }
        yield list(changes.values())

    @cached_property
    def _all_evidence(self) -> list[Evidence]:
        return self._ledger.all_evidence()


def _as_recorded(pull: Brought, origin: Origin) -> Brought:
    """Return a pull request with the people whom the records name, where GitHub does not tell them."""
    if not pull.problem:
        return pull
    approved = (Approved(origin.approved_by, origin.approved_at, of_head=True),) if origin.approved_by else ()
    return replace(
        pull,
        url=origin.url,
        state="merged",
        approved_by=approved,
        merged_by=origin.merged_by,
        merged_at=origin.merged_at,
    )


def _asks_for(record: DeploymentRecord, digest: str) -> bool:
    in_bundle = record.bundle is not None and record.bundle.digest == digest
    return record.after is not None and (record.after.digest == digest or in_bundle)


def _is_about(record: DeploymentRecord, digest: str) -> bool:
    """Whether a deployment brought the digest, or something else in its place."""
    return _asks_for(record, digest) or (record.before is not None and record.before.digest == digest)


def _state(records: Sequence[DeploymentRecord], digest: str) -> tuple[State, datetime | None]:
    """Return whether the digest is in service after these deployments of one slot, oldest first, and since when."""
    state: State = "not deployed"
    since: datetime | None = None
    for record in records:
        serves = record.serving is not None and _is_served(record, digest)
        if state == "rolling out" and record.outcome == "failed":
            continue  # before its switch: the canary answers on
        if record.outcome == "rolling out" and _asks_for(record, digest) and not serves:
            since = since if state == "rolling out" else record.finished_at
            state = "rolling out"
            continue
        if state == "rolling out" and not serves:
            state, since = "left service", record.finished_at
        if serves and state != "in service":
            state, since = "in service", record.finished_at
        elif not serves and state == "in service":
            state, since = "left service", record.finished_at
        elif state == "not deployed" and _asks_for(record, digest):
            state = "not in service"
    return state, since


def _is_served(record: DeploymentRecord, digest: str) -> bool:
    served = record.serving
    assert served is not None  # noqa: S101 - the caller looked
    if record.bundle is not None and record.bundle.digest == digest:
        return served == record.after
    return served.digest == digest


def _each_once(entries: Iterable[Entry]) -> list[Entry]:
    found: dict[tuple[int, str, str], Entry] = {}
    for entry in entries:
        found.setdefault((entry.version, entry.digest, entry.run), entry)
    return list(found.values())
