"""The documents of the record store, each written once: deployment records, evidence, quarantine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.domain import in_words
from bot.domain.bundle import Bundle, is_not_given
from bot.domain.desired import Change, Entry
from bot.domain.earned import Verdict
from bot.domain.evidence import CasesInService, CheckResult, Evidence, Revocation, newest_for
from bot.domain.names import short
from bot.domain.origin import Origin
from bot.domain.proven import WaysBackNote
from bot.domain.quarantine import QuarantineEvent, quarantined_by
from bot.domain.record import DeploymentRecord, turn_of
from bot.domain.release import Release, Slot
from bot.domain.rollout import Table
from bot.errors import Refused, Rejected
from bot.exit_codes import ExitCode
from bot.redaction import redact

Model = TypeVar("Model", bound=BaseModel)


class Store(Protocol):
    """Where records are: objects that are created once. :func:`bot.platform.records` says which."""

    def put(self, key: str, text: str) -> None:
        """Create the object; raise Refused where there is one of that key already."""

    def get(self, key: str) -> str | None:
        """Return the object's text, or None where there is none."""

    def get_all(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the texts of these listed objects by key, without those that are gone since."""

    def keys(self, prefix: str) -> list[str]:
        """Return all keys below the folder ``prefix``, sorted."""

    def begin(self) -> None:
        """Mark the store as this one; for a new one, which nobody reads or writes before."""

    def check(self, environment: str) -> str:
        """Try to write and read as a deployment of the environment does; say what was seen."""


class CheckRun(BaseModel):
    """What one check of one workflow run found; the aggregate job reads these."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    results: tuple[CheckResult, ...]
    cases: tuple[CasesInService, ...] = Field(
        default=(), description="what serves, asked the cases that a pull request proposes", exclude_if=is_not_given
    )


class Proposer(BaseModel):
    """Who asked the bot for a proposal: a Slack user's id, a GitHub login, or nobody, where the bot did it itself."""

    model_config = ConfigDict(frozen=True)

    slack: str = ""
    github: str = ""
    policy: bool = Field(
        default=False,
        description="whether a policy did, and no person",
        exclude_if=is_not_given,
    )

    @property
    def name(self) -> str:
        """Who it is, for people to read; empty where nobody knows."""
        return self.github or (f"{self.slack} in Slack" if self.slack else "the policy" if self.policy else "")


NOBODY = Proposer()


class ShadowNote(BaseModel):
    """The bot proposed, once, that a shadow answers because it has earned that, or that its time is over."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    format: Literal[1] = 1
    deployment: str = Field(description="id of the record that brought the shadow")
    what: Literal["promotable", "over"]
    at: datetime
    pull_request: int | None = Field(description="None where main says so already")
    verdict: Verdict


class RolloutNote(BaseModel):
    """A decision about a rollout, which is made once: a step or all of it is baked, or it breached its rules."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    rollout: str = Field(description="id of the record of its first step")
    what: str = Field(description="breach, unclear, baked, or a step of several that is baked, as in step-010")
    at: datetime
    by: str = Field(description="which watch decided it: host and process")
    table: Table | None = Field(default=None, description="what both versions did")
    only_told: str = Field(default="", description="why a breach is not put back; empty where it is")


class OriginNote(BaseModel):
    """Where a deployment comes from, found after its record was written."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    deployment: str = Field(description="id of its record")
    at: datetime
    origin: Origin


class Withdrawn(BaseModel):
    """A policy closed its own pull request, because the environment before went back from what it proposed."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    pull_request: int
    at: datetime
    why: str


POLICY_REQUEST = "policy-"
"""How the ids of the requests of policies begin; the id of the deployment that they carry on follows."""


class PolicyNote(BaseModel):
    """A deed of a policy about an open pull request, at one commit of it."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    pull_request: int
    head: str = Field(description="commit that it is about")
    what: Literal["asking", "on", "merged", "taken back"] = Field(
        description="asking: GitHub is about to be asked to merge it as soon as its rules allow it; on: it does so; "
        "merged: it is merged, or waits in the merge queue; taken back: it is no longer to be merged"
    )
    why: str
    at: datetime
    by: str = Field(description="which watch did it: host and process")


class RequestAsked(BaseModel):
    """What somebody asked for under an id of theirs."""

    model_config = ConfigDict(frozen=True)

    asked: dict[str, str]
    at: datetime


class RequestDone(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True)

    said: str
    exit_code: ExitCode
    at: datetime


class Ledger:
    """Typed reading and writing of one environment's records."""

    def __init__(self, store: Store, environment: str) -> None:
        self._store, self.environment = store, environment

    # --- deployments -------------------------------------------------------------------------------------------

    def add_deployment(self, record: DeploymentRecord) -> None:
        """Write a deployment record; raise Refused where its id is taken."""
        self._store.put(f"deployments/{self.environment}/{record.id}.json", _text(record))

    def confirm(self, deployment: str) -> None:
        """Write that the message of an unconfirmed deployment was delivered after all."""
        with suppress(Refused):  # somebody has confirmed it already
            key = f"confirmations/{self.environment}/{deployment}.json"
            self._store.put(key, f'{{"at": "{datetime.now(UTC).isoformat()}"}}\n')

    def newest_deployment(self) -> str:
        """Return the id of the newest deployment record; an empty string where there is none."""
        return max((_id_of(key) for key in self._store.keys(f"deployments/{self.environment}")), default="")

    def note_ways_back(self, note: WaysBackNote) -> None:
        """Keep what a deep look asked of the ways back. Of two looks at the same moment the first one stays."""
        with suppress(Refused):
            self._store.put(f"ways-back/{self.environment}/{note.at:%Y%m%dT%H%M%S.%fZ}.json", _text(note))

    def ways_back(self) -> WaysBackNote | None:
        """Return what the newest look that was noted found of the ways back; None where there is none."""
        newest = max(self._store.keys(f"ways-back/{self.environment}"), default=None)
        text = self._store.get(newest) if newest is not None else None
        return self._parsed(newest, text, WaysBackNote) if newest is not None and text is not None else None

    def newest_turn(self) -> int:
        """Return the highest turn of which there is a record; 0 where there is none."""
        newest = self.newest_deployment()
        return turn_of(newest, self.environment) if newest else 0

    def with_new(self, known: Sequence[DeploymentRecord]) -> list[DeploymentRecord]:
        """Return these records and those that were written since, oldest first.

        A run writes the records of its models side by side, so a new one may stand before one that is known.
        """
        new = self.deployments(but={record.id for record in known})
        return sorted([*known, *new], key=lambda record: f"{record.id}.json")

    def deployments(
        self, *, after: str = "", newest: int | None = None, but: Collection[str] = ()
    ) -> list[DeploymentRecord]:
        """Return all deployment records, oldest first; those confirmed later read as succeeded.

        ``after`` is an id: only what is newer is read. ``newest``: no more than so many, the newest ones. ``but``
        these ids, which are known: a record may be written after one with a greater id, by the same run, or by one
        that finishes what was cut off.
        """
        confirmed = {key.rpartition("/")[2] for key in self._store.keys(f"confirmations/{self.environment}")}
        found = []
        folder = f"deployments/{self.environment}"
        for key, record in self._read_all(folder, DeploymentRecord, after=after, newest=newest, but=but).items():
            if record.outcome in ("unconfirmed", "rolling out") and key.rpartition("/")[2] in confirmed:
                criteria = tuple(
                    c.model_copy(update={"holds": True, "proof": "delivered later"}) if not c.holds else c
                    for c in record.criteria
                )
                ended = "succeeded" if record.outcome == "unconfirmed" else record.outcome
                record = record.model_copy(update={"outcome": ended, "criteria": criteria})
            found.append(record)
        return found

    def sha256_of(self, deployment: str) -> str:
        """Return the sha256 of a deployment record as the store has it, in hexadecimal digits; empty without one."""
        text = self._store.get(f"deployments/{self.environment}/{deployment}.json")
        return hashlib.sha256(text.encode()).hexdigest() if text is not None else ""

    def note_origin(self, note: OriginNote) -> None:
        """Write where a deployment comes from; the first note of a deployment stays."""
        with suppress(Refused):
            self._store.put(f"{self._origins}/{note.deployment}.json", _text(note))

    def origins_known(self) -> frozenset[str]:
        """Return the ids of the records beside which it is kept where they come from; reads none of that."""
        return frozenset(map(_id_of, self._store.keys(self._origins)))

    def with_origins(self, records: Sequence[DeploymentRecord]) -> list[DeploymentRecord]:
        """Return the records with where each comes from, as far as that is known.

        All steps of a rollout come from where the first does.
        """
        of = {one.id: one.rollout.id if one.rollout else one.id for one in records if one.origin is None}
        known = self.origins_known() if of else frozenset()
        wanted = {id_ for own, first in of.items() for id_ in (own, first) if id_ in known}
        texts = self._store.get_all(f"{self._origins}/{id_}.json" for id_ in sorted(wanted))
        found = {_id_of(key): self._parsed(key, text, OriginNote).origin for key, text in texts.items()}
        return [
            one.model_copy(update={"origin": found.get(one.id) or found.get(of[one.id])}) if one.id in of else one
            for one in records
        ]

    @property
    def _origins(self) -> str:
        return f"origins/{self.environment}"

    def answers(self, changes: Sequence[Change]) -> list[Entry | None]:
        """Return what users get on each change's path, by the newest record of its model; else what it leaves.

        That is what the routes named when the newest deployment was over, also where it was put back: main may say
        something else since, and may have said it then. One record is read for each change.
        """
        names = [change.slot.published_name for change in changes]
        newest: dict[str, str] = {}
        for key in self._store.keys(f"deployments/{self.environment}"):
            if found := re.fullmatch(rf"{re.escape(self.environment)}-\d+-(.+)", _id_of(key)):
                newest[found[1]] = key
        keys = [newest[name] for name in names if name in newest]
        texts = self._store.get_all(keys)
        records = {key: self._parsed(key, texts.get(key, ""), DeploymentRecord) for key in keys}
        return [
            records[newest[name]].serving if name in newest else change.before
            for name, change in zip(names, changes, strict=True)
        ]

    # --- evidence ----------------------------------------------------------------------------------------------

    def add_check_run(
        self, key: str, results: Iterable[CheckResult], *, cases: Iterable[CasesInService] = ()
    ) -> None:
        """Write what one check found, for the aggregate job of the same run."""
        run = CheckRun(results=tuple(results), cases=tuple(cases))
        self._store.put(f"checks/{self.environment}/{key}.json", _text(run))

    def cases_asked(self, prefix: str) -> list[CasesInService]:
        """Return what the checks of one run asked of what serves; of each model the newest."""
        found = [
            one
            for run in self._read_all(f"checks/{self.environment}/{prefix}", CheckRun).values()
            for one in run.cases
        ]
        return list({one.model: one for one in sorted(found, key=lambda one: one.at)}.values())

    def check_runs(self, prefix: str) -> list[CheckResult]:
        """Return what the checks of one run found."""
        runs = self._read_all(f"checks/{self.environment}/{prefix}", CheckRun)
        return [result for run in runs.values() for result in run.results]

    def checks_of(self, pull_request: int) -> list[tuple[str, CheckResult]]:
        """Return all that checks found for a pull request, each with the commit for which it was written."""
        runs = self._read_all(f"checks/{self.environment}/pr-{pull_request}", CheckRun)
        return [(key.split("/")[-2], result) for key, run in runs.items() for result in run.results]

    def add_evidence(self, evidence: Evidence) -> None:
        """Write the evidence of a proposal."""
        folder = self._evidence_folder(evidence.model, evidence.digest)
        self._store.put(f"{folder}/{evidence.name}.json", _text(evidence))

    def evidence(self, release: Release, bundle: Bundle | None = None) -> Evidence | None:
        """Return the newest evidence that counts for this release, in this bundle where it is a part of one.

        Anyone with a branch may propose the same digest with another version or run. Findings about that count
        for that only.
        """
        return newest_for(self.evidence_of(release.slot, release.digest), release, bundle)

    def evidence_of(self, slot: Slot, digest: str) -> Iterator[Evidence]:
        """Yield all evidence of the digest in this place, newest first, whatever version and run were proposed."""
        found = self._evidence_below(self._evidence_folder(slot.model, digest))
        return (one for one in found if (one.slot, one.digest) == (slot, digest))

    def checked_digests(self) -> set[tuple[str, str]]:
        """Return each digest of which there is evidence, with its model; reads no evidence, only the names of it."""
        keys = (key.split("/") for key in self._store.keys(f"evidence/{self.environment}"))
        return {(f"sha256:{key[3]}", key[2]) for key in keys}

    def all_evidence(self, model: str | None = None) -> list[Evidence]:
        """Return all evidence of one model or of every one, newest first."""
        found = self._evidence_below(f"evidence/{self.environment}" + (f"/{model}" if model else ""))
        return sorted(found, key=lambda evidence: evidence.at, reverse=True)

    def revoke(self, revoked: Iterable[Evidence], *, reason: str, by: str) -> None:
        """Write that this evidence, all of one digest, counts no more."""
        listed = list(revoked)
        event = Revocation(
            environment=self.environment,
            model=listed[0].model,
            version=listed[0].version,
            digest=listed[0].digest,
            evidence=tuple(evidence.name for evidence in listed),
            reason=reason,
            by=by,
            at=datetime.now(UTC),
        )
        folder = self._revocations_folder(event.model, event.digest)
        self._store.put(f"{folder}/{event.at:%Y%m%dT%H%M%S.%fZ}.json", _text(event))

    def _evidence_below(self, folder: str) -> Iterator[Evidence]:
        revoked: dict[tuple[str, str], dict[str, Revocation]] = {}
        for key in reversed(self._store.keys(folder)):
            evidence = self._read(key, Evidence)
            of = (evidence.model, evidence.digest)
            if of not in revoked:
                events = self._read_all(self._revocations_folder(*of), Revocation)
                revoked[of] = {name: event for event in events.values() for name in event.evidence}
            yield evidence.model_copy(update={"revoked": revoked[of].get(evidence.name)})

    def _revocations_folder(self, model: str, digest: str) -> str:
        return f"revocations/{self.environment}/{model}/{digest.removeprefix('sha256:')}"

    def _evidence_folder(self, model: str, digest: str) -> str:
        return f"evidence/{self.environment}/{model}/{digest.removeprefix('sha256:')}"

    # --- proposals ---------------------------------------------------------------------------------------------

    def add_proposer(self, fingerprint: str, who: Proposer) -> None:
        """Write that the bot proposes this, and who asked for it; written before it is pushed."""
        name = hashlib.sha256(_text(who).encode()).hexdigest()[:16]
        with suppress(Refused):  # they asked for the same before
            self._store.put(f"proposals/{self.environment}/{fingerprint}/{name}.json", _text(who))

    def proposers(self, fingerprint: str) -> list[Proposer]:
        """Return who asked the bot for exactly this; nothing where the bot never proposed it."""
        return list(self._read_all(f"proposals/{self.environment}/{fingerprint}", Proposer).values())

    def note_withdrawn(self, note: Withdrawn) -> None:
        """Write that a policy closes its own pull request; written before it is closed."""
        with suppress(Refused):  # another watch, or this one before it was killed
            self._store.put(f"withdrawn/{self.environment}/pr-{note.pull_request}.json", _text(note))

    def withdrawn(self) -> frozenset[int]:
        """Return the pull requests that policies closed."""
        names = (_id_of(key) for key in self._store.keys(f"withdrawn/{self.environment}"))
        return frozenset(int(name.removeprefix("pr-")) for name in names)

    # --- requests ----------------------------------------------------------------------------------------------

    def ask(self, request: str, asked: RequestAsked) -> RequestAsked:
        """Write what is asked for under an id; return what was asked for under it first."""
        with suppress(Refused):
            self._store.put(self._request(request, "asked"), _text(asked))
        return self._read(self._request(request, "asked"), RequestAsked)

    def asked(self, request: str) -> bool:
        """Say whether anything was asked for under an id."""
        return self._store.get(self._request(request, "asked")) is not None

    def asked_by_policy(self, model: str, version: int) -> bool:
        """Say whether a policy asked for this version of a model or of a bundle's last part to be promoted here."""
        beginning = f"requests/{self.environment}/{POLICY_REQUEST}"
        keys = (key for key in self._store.keys(f"requests/{self.environment}") if key.startswith(beginning))
        asked = (self._read(key, RequestAsked).asked for key in keys if key.endswith("/asked.json"))
        return any((one.get("model"), one.get("version")) == (model, str(version)) for one in asked)

    def request_done(self, request: str) -> RequestDone | None:
        """Return what came of a request, or None where it is not done."""
        key = self._request(request, "done")
        return None if self._store.get(key) is None else self._read(key, RequestDone)

    def finish_request(self, request: str, done: RequestDone) -> None:
        """Write the result of a request; the first result stays."""
        with suppress(Refused):
            self._store.put(self._request(request, "done"), _text(done))

    def way_back_of(self, request: str) -> Entry | None:
        """Return where a rollback of this id goes; None where that was never decided."""
        key = self._request(request, "way-back")
        return None if self._store.get(key) is None else self._read(key, Entry)

    def decide_way_back(self, request: str, entry: Entry) -> Entry:
        """Write where a rollback goes; return what was decided first."""
        key = self._request(request, "way-back")
        with suppress(Refused):
            self._store.put(key, _text(entry))
        return self._read(key, Entry)

    def _request(self, request: str, what: str) -> str:
        return f"requests/{self.environment}/{request}/{what}.json"

    # --- shadows -----------------------------------------------------------------------------------------------

    def shadow_notes(self, deployment: str) -> dict[str, ShadowNote]:
        """Return what was decided of a shadow, by what; ``deployment`` is the id of the record that brought it."""
        folder = f"shadows/{self.environment}/{deployment}"
        return {note.what: note for note in self._read_all(folder, ShadowNote).values()}

    def note_shadow(self, note: ShadowNote) -> None:
        """Write what is decided; the first decision of its kind stays."""
        with suppress(Refused):
            self._store.put(f"shadows/{self.environment}/{note.deployment}/{note.what}.json", _text(note))

    # --- rollouts ----------------------------------------------------------------------------------------------

    def rollout_notes(self, rollout: str) -> dict[str, RolloutNote]:
        """Return what was decided of a rollout, by what."""
        folder = f"rollouts/{self.environment}/{rollout}"
        return {note.what: note for note in self._read_all(folder, RolloutNote).values()}

    def note_rollout(self, note: RolloutNote) -> bool:
        """Write what is decided; return whether this is the first to say so. The first decision stays."""
        try:
            self._store.put(f"rollouts/{self.environment}/{note.rollout}/{note.what}.json", _text(note))
        except Refused:
            return False
        return True

    # --- policies ----------------------------------------------------------------------------------------------

    def policy_notes(self, pull_request: int) -> list[PolicyNote]:
        """Return what policies did about a pull request, oldest first."""
        return list(self._read_all(self._policies_of(pull_request), PolicyNote).values())

    def note_policy(self, note: PolicyNote) -> None:
        """Write what a policy does, before it asks GitHub, or after it did."""
        name = f"{note.at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{note.what.replace(' ', '-')}"
        with suppress(Refused):  # another watch wrote the same at the same moment
            self._store.put(f"{self._policies_of(note.pull_request)}/{name}.json", _text(note))

    def pull_requests_of_policies(self) -> list[int]:
        """Return the pull requests about which policies did something."""
        folder = f"policies/{self.environment}"
        return sorted({int(key.split("/")[-2].removeprefix("pr-")) for key in self._store.keys(folder)})

    def _policies_of(self, pull_request: int) -> str:
        return f"policies/{self.environment}/pr-{pull_request}"

    # --- quarantine --------------------------------------------------------------------------------------------

    def quarantined(self) -> dict[str, QuarantineEvent]:
        """Return what is in quarantine here now, by digest."""
        return quarantined_by(self.quarantine_events({}).values())

    def quarantine_events(self, known: Mapping[str, QuarantineEvent]) -> dict[str, QuarantineEvent]:
        """Return these events and those that were written since, by the name of each; reads the others only."""
        found = self._read_all(f"quarantine/{self.environment}", QuarantineEvent, but=known)
        return {**known, **{_id_of(key): event for key, event in found.items()}}

    def put_in_quarantine(self, release: Release, *, reason: str, by: str, deployment: str = "") -> None:
        """Keep a digest from being proposed or deployed here; does nothing where it is in quarantine already.

        ``release`` is what is to blame, ``deployment`` the id of the deployment that blames it.
        """
        if release.digest not in self.quarantined():
            now = datetime.now(UTC)
            self._add_event(QuarantineEvent.of(release, reason=reason, by=by, at=now, deployment=deployment))

    def lift_quarantine(self, event: QuarantineEvent, *, reason: str, by: str) -> None:
        """Allow a digest again."""
        self._add_event(event.lifted_by(by, reason=reason, at=datetime.now(UTC)))

    def _add_event(self, event: QuarantineEvent) -> None:
        name = f"{event.at:%Y%m%dT%H%M%S.%fZ}-{short(event.digest)}"
        self._store.put(f"quarantine/{self.environment}/{name}.json", _text(event))

    def _read_all(
        self,
        folder: str,
        model: type[Model],
        *,
        after: str = "",
        newest: int | None = None,
        but: Collection[str] = (),
    ) -> dict[str, Model]:
        """Return all objects of a folder by key, in the order of the keys; of ids, those that are greater."""
        keys = [key for key in self._store.keys(folder) if (name := _id_of(key)) > after and name not in but]
        keys = keys if newest is None else keys[-newest:]
        texts = self._store.get_all(keys)
        # One that is listed and gone is an error: it may be what is in quarantine.
        return {key: self._parsed(key, texts.get(key, ""), model) for key in keys}

    def _read(self, key: str, model: type[Model]) -> Model:
        return self._parsed(key, self._store.get(key) or "", model)

    def _parsed(self, key: str, text: str, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise Rejected(
                f"{key} is not readable: {in_words.of_record(error.errors())}", system="record store"
            ) from error


class HeldLedger(Ledger):
    """The ledger in the hands of a run that holds the lease: what it writes about a deployment it may still write."""

    def __init__(self, ledger: Ledger, may_still: Callable[[], object]) -> None:
        super().__init__(ledger._store, ledger.environment)
        self._may_still = may_still

    def add_deployment(self, record: DeploymentRecord) -> None:
        """Write a deployment record; raise Refused where its id is taken."""
        self._may_still()
        super().add_deployment(record)

    def confirm(self, deployment: str) -> None:
        """Write that the message of an unconfirmed deployment was delivered after all."""
        self._may_still()
        super().confirm(deployment)

    def put_in_quarantine(self, release: Release, *, reason: str, by: str, deployment: str = "") -> None:
        """Keep a digest from being proposed or deployed here; does nothing where it is in quarantine already."""
        self._may_still()
        super().put_in_quarantine(release, reason=reason, by=by, deployment=deployment)


def _id_of(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def _text(model: BaseModel) -> str:
    return redact(model.model_dump_json(indent=1)) + "\n"
