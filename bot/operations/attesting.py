"""``promobot evidence export`` and ``verify``: a release as one statement that somebody else checks without us."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from bot.domain.attestation import Envelope, Signature, enclosed, stated, statement
from bot.domain.package import Package
from bot.errors import InvalidInput, Refused
from bot.exit_codes import ExitCode
from bot.operations.explain import Place, explain
from bot.platform import Platform
from bot.signing import Key, Signer


@dataclass(frozen=True)
class Exported:
    """A statement about a release, in its envelope. ``signed_by`` is the name of the key; empty without one."""

    model: str
    version: int
    digest: str
    at: datetime
    environments: tuple[str, ...]
    """Those whose records tell of it."""
    deployments: int
    signed_by: str
    envelope: Mapping[str, Any]

    @property
    def exit_code(self) -> ExitCode:
        """0 done."""
        return ExitCode.DONE


@dataclass(frozen=True)
class Verified:
    """A statement that one of the keys signed and that holds together."""

    model: str
    version: int
    digest: str
    files: int
    signed_by: str
    made_at: str
    environments: tuple[str, ...]
    deployments: tuple[str, ...]
    """The records that it tells of, by their ids."""

    @property
    def exit_code(self) -> ExitCode:
        """0 it was verified."""
        return ExitCode.DONE


def export(platforms: Sequence[Platform], *, model: str, which: str, signer: Signer | None) -> Exported:
    """State what the records of these environments know of one version: people, checks, deployments, and each byte.

    ``which`` is the version, or the beginning of its digest. Asks GitHub for people, and MLflow for the list of
    files, whose digest must be that of the records. Raises Refused where no record knows it, or MLflow has others.
    """
    digest, version = _the_one(platforms, model, which)
    found = explain(platforms, digest)
    if found.unknown:
        name, why = next(iter(found.unknown.items()))
        raise Refused(
            f"the records of {name} cannot be read, so the statement would lack them: {why}",
            state="Nothing was written.",
            next_step="Run it again when they can be read, or name one environment with --env.",
        )
    places = [place for place in found.places if place.model == model]
    package = _package(platforms, places, model, version, digest)
    said = [{**_plain(TypeAdapter(Place).dump_python(place, mode="json")), "digest": digest} for place in places]
    ledgers = {platform.environment: platform.ledger for platform in platforms}
    records = {
        record.id: ledgers[place.environment].sha256_of(record.id) for place in places for record in place.deployments
    }
    now = datetime.now(UTC)
    predicate = {
        "made_at": now.isoformat(),
        "runs": sorted({entry.run for place in places for entry in place.entries}),
        "places": said,
        "records": records,
    }
    envelope = enclosed(statement(model, version, package, predicate))
    if signer is not None:
        envelope = envelope.signed_by([Signature(signer.key.name, signer.sign(envelope.to_sign))])
    return Exported(
        model=model,
        version=version,
        digest=digest,
        at=now,
        environments=tuple(dict.fromkeys(place.environment for place in places)),
        deployments=len(records),
        signed_by=signer.key.name if signer else "",
        envelope=envelope.to_json(),
    )


def verify(text: str, keys: Sequence[Key], *, file: str) -> Verified:
    """Check a statement without any system: who signed it, that it holds together, and what it is about.

    Raises InvalidInput where it is another document, and Refused where none of ``keys`` signed it.
    """
    try:
        envelope = Envelope.from_json(text)
    except ValueError as error:
        raise InvalidInput(str(error), file=file) from error
    message = envelope.to_sign
    # The name of a key only says which to try: anybody can write it.
    signed = [key for key in keys for one in envelope.signatures if key.verifies(one.signed, message)]
    if not signed:
        names = ", ".join(one.key[:12] for one in envelope.signatures) or "nobody"
        raise Refused(
            f"{file} is not signed by {' or '.join(key.name[:12] for key in keys)}, as it stands: it names {names}",
            state="Nothing in it is to be believed.",
            next_step="Ask who made it for the public key, or for the file again.",
        )
    try:
        found = stated(envelope.payload)
    except ValueError as error:
        raise InvalidInput(str(error), file=file) from error
    places = found.predicate.get("places", [])
    return Verified(
        model=found.model,
        version=found.version,
        digest=found.package.digest,
        files=len(found.package.files),
        signed_by=signed[0].name,
        made_at=str(found.predicate.get("made_at", "")),
        environments=tuple(dict.fromkeys(str(place["environment"]) for place in places)),
        deployments=tuple(sorted(map(str, found.predicate.get("records", {})))),
    )


def _the_one(platforms: Sequence[Platform], model: str, which: str) -> tuple[str, int]:
    """Return the digest and the version that are meant; what passed its checks or was deployed counts alone."""
    known = set[tuple[str, int]]()
    for platform in platforms:
        ledger = platform.ledger
        known |= {(one.digest, one.version) for one in ledger.all_evidence(model) if one.passed}
        entries = [record.after for record in ledger.deployments() if record.model == model]
        known |= {(entry.digest, entry.version) for entry in entries if entry is not None}
    beginning = which.removeprefix("sha256:")
    meant = {one for one in known if which.isdecimal() and one[1] == int(which)}
    meant = meant or {one for one in known if beginning and one[0].removeprefix("sha256:").startswith(beginning)}
    if len(meant) == 1:
        return meant.pop()
    what = "several digests" if meant else "no release"
    raise Refused(
        f"the records know {what} of {model} {which}",
        state="Nothing was written.",
        next_step=f"`promobot evidence list {model} --env {platforms[0].environment}` shows digests.",
    )


def _package(
    platforms: Sequence[Platform], places: Sequence[Place], model: str, version: int, digest: str
) -> Package:
    of = {place.environment for place in places}
    platform = next((one for one in platforms if one.environment in of), platforms[0])
    package = platform.registry.package(platform.registry.version(model, version))
    if package.digest != digest:
        raise Refused(
            f"{model} {version} is {package.digest} in MLflow now, and the records tell of {digest}",
            state="Nothing was written.",
            next_step="Its artifacts were changed; `promobot drift` says what is served.",
        )
    return package


def _plain(value: Any) -> Any:
    """Return a value with numbers that JSON has no word for as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
