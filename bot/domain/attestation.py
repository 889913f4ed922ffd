"""A release as one statement that somebody else can check: in-toto's Statement in DSSE's envelope.

The form is that of in-toto (Statement v1) and of DSSE (v1), so tools that know these read it. The subject is the
package and each of its files; the predicate is what :mod:`bot.operations.attesting` knows of the release. Nothing
here signs: :mod:`bot.signing` does.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.domain.package import Package

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:promobot:release:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_DIGEST = "sha256:"


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope: the name of its key (:attr:`bot.signing.Key.name`) and its bytes."""

    key: str
    signed: bytes


@dataclass(frozen=True)
class Envelope:
    """The bytes that were signed, and who signed them; as read from JSON, nothing of it is checked."""

    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def to_sign(self) -> bytes:
        """The bytes that a signature is made of: DSSE's pre-authentication encoding, so that no other type fits."""
        kind = PAYLOAD_TYPE.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)

    def signed_by(self, signatures: Iterable[Signature]) -> Envelope:
        """Return the envelope with these signatures besides."""
        return Envelope(self.payload, (*self.signatures, *signatures))

    def to_json(self) -> dict[str, Any]:
        """Return the object that is written to a file."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": one.key, "sig": base64.b64encode(one.signed).decode()} for one in self.signatures
            ],
        }

    @classmethod
    def from_json(cls, text: str) -> Envelope:
        """Read an envelope; raise ValueError with what is wrong with it."""
        try:
            read = json.loads(text)
        except ValueError as error:
            raise ValueError("is not JSON") from error
        match read:
            case {"payload": str(payload), "payloadType": str(kind), "signatures": list(signatures)}:
                pass
            case _:
                raise ValueError("is not an envelope of DSSE: it has payload, payloadType and signatures")
        if kind != PAYLOAD_TYPE:
            raise ValueError(f"has a payload of the type {kind!r:.80}, and not {PAYLOAD_TYPE}")
        found = []
        for one in signatures:
            match one:
                case {"keyid": str(key), "sig": str(signed)}:
                    found.append(Signature(key, _decoded(signed, "sig")))
                case _:
                    raise ValueError("has a signature without keyid or sig")
        return cls(_decoded(payload, "payload"), tuple(found))


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"has a {what} that is not base64") from error


def enclosed(statement: Mapping[str, Any]) -> Envelope:
    """Return the envelope of a statement, without a signature."""
    return Envelope(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode(), ())


def statement(model: str, version: int, package: Package, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statement about one version; its subjects are the package and each file of it."""
    name = f"{model}/{version}"
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": package.digest.removeprefix(_DIGEST)}},
            *({"name": f"{name}/{file.path}", "digest": {"sha256": file.sha256}} for file in package.files),
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "model": model,
            "version": version,
            "digest": package.digest,
            "files": [{"path": one.path, "size": one.size, "sha256": one.sha256} for one in package.files],
            **predicate,
        },
    }


@dataclass(frozen=True)
class Stated:
    """A statement that holds together: the version, its package, and the facts about the release."""

    model: str
    version: int
    package: Package
    predicate: Mapping[str, Any]


def stated(payload: bytes) -> Stated:
    """Read a statement of ours and see that it holds together; raise ValueError with what does not.

    The digest must be that of the list of files, each file must be a subject, and each deployment and each evidence
    that it tells of must be of this digest: none of another release can be slipped in.
    """
    try:
        read = json.loads(payload)
    except ValueError as error:
        raise ValueError("holds no JSON") from error
    match read:
        case {"_type": str(form), "predicateType": str(kind), "subject": list(subjects), "predicate": dict(said)}:
            pass
        case _:
            raise ValueError("is not a statement of in-toto")
    if (form, kind) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ValueError(f"is a statement of the type {kind!r:.80}, and not {PREDICATE_TYPE}")
    try:
        model, version = str(said["model"]), int(said["version"])
        listed = {"format": 1, "digest": said["digest"], "files": said["files"]}
        package = Package.from_json(json.dumps(listed))
        named = {str(one["name"]): str(one["digest"]["sha256"]) for one in subjects}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"does not tell of a version and its files: {error}") from error
    name = f"{model}/{version}"
    wanted = {
        name: package.digest.removeprefix(_DIGEST),
        **{f"{name}/{one.path}": one.sha256 for one in package.files},
    }
    if named != wanted:
        raise ValueError("has other subjects than the package and its files")
    for place in said.get("places", ()):
        for what, entry in _of(place):
            if entry != package.digest:
                raise ValueError(f"tells of {what}, which is about another digest")
    return Stated(model, version, package, said)


def _of(place: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    for one in place.get("evidence", ()):
        yield f"evidence of {one.get('at')}", one.get("digest")
    for one in place.get("deployments", ()):
        digests = [entry["digest"] for entry in (one.get("after"), one.get("before")) if entry]
        yield f"deployment {one.get('id')}", place["digest"] if place["digest"] in digests else ""
