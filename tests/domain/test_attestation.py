"""The form of a statement, and that none is read which does not hold together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from bot.domain.attestation import PAYLOAD_TYPE, Envelope, Signature, enclosed, stated, statement
from bot.domain.package import Package, PackageFile

FILES = [
    PackageFile(path, 3, f"{number:064x}") for number, path in enumerate(("config.pbtxt", "model.onnx", "smoke.json"))
]
PACKAGE = Package.of(FILES)
OTHER = f"sha256:{7:064x}"


def said() -> dict[str, Any]:
    entry = {"version": 7, "digest": PACKAGE.digest, "run": "r"}
    return {
        "made_at": "2026-11-30T00:00:00+00:00",
        "places": [
            {
                "environment": "dev",
                "digest": PACKAGE.digest,
                "evidence": [{"at": "2026-11-29", "digest": PACKAGE.digest}],
                "deployments": [
                    {"id": "dev-00000001-churn", "before": None, "after": entry},
                    {"id": "dev-00000002-churn", "before": entry, "after": {**entry, "digest": OTHER}},
                ],
            }
        ],
        "records": {"dev-00000001-churn": "0" * 64},
    }


def whole() -> dict[str, Any]:
    return statement("churn", 7, PACKAGE, said())


def test_a_statement_is_one_of_in_toto_about_the_package_and_each_file() -> None:
    document = whole()
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert [one["name"] for one in document["subject"]] == ["churn/7", *(f"churn/7/{one.path}" for one in FILES)]
    assert document["subject"][0]["digest"]["sha256"] == PACKAGE.digest.removeprefix("sha256:")
    found = stated(enclosed(document).payload)
    assert (found.model, found.version, found.package) == ("churn", 7, PACKAGE)


def test_what_is_signed_is_what_dsse_says() -> None:
    envelope = Envelope(b"hello world", ())
    assert envelope.to_sign == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_an_envelope_is_read_as_it_was_written() -> None:
    envelope = enclosed(whole()).signed_by([Signature("k" * 64, b"\x00signed")])
    document = envelope.to_json()
    assert document["payloadType"] == PAYLOAD_TYPE and base64.b64decode(document["payload"]) == envelope.payload
    assert Envelope.from_json(json.dumps(document)) == envelope


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not JSON"),
        ("[]", "is not an envelope of DSSE"),
        ('{"payload": "", "payloadType": "text/plain", "signatures": []}', "has a payload of the type 'text/plain'"),
        (
            f'{{"payload": "!", "payloadType": "{PAYLOAD_TYPE}", "signatures": []}}',
            "has a payload that is not base64",
        ),
        (
            f'{{"payload": "", "payloadType": "{PAYLOAD_TYPE}", "signatures": [{{}}]}}',
            "has a signature without keyid",
        ),
    ],
)
def test_what_is_no_envelope_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Envelope.from_json(text)


def _another_file(document: dict[str, Any]) -> None:
    document["predicate"]["files"][1]["sha256"] = "f" * 64


def _another_digest(document: dict[str, Any]) -> None:
    document["predicate"]["digest"] = OTHER


def _a_subject_less(document: dict[str, Any]) -> None:
    del document["subject"][2]


def _another_subject(document: dict[str, Any]) -> None:
    document["subject"][0]["digest"]["sha256"] = "e" * 64


def _evidence_of_another(document: dict[str, Any]) -> None:
    document["predicate"]["places"][0]["evidence"][0]["digest"] = OTHER


def _a_deployment_of_another(document: dict[str, Any]) -> None:
    document["predicate"]["places"][0]["deployments"][0]["after"]["digest"] = OTHER


def _another_kind(document: dict[str, Any]) -> None:
    document["predicateType"] = "https://slsa.dev/provenance/v1"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_another_file, "does not tell of a version and its files: says digest"),
        (_another_digest, "does not tell of a version and its files: says digest"),
        (_a_subject_less, "has other subjects than the package and its files"),
        (_another_subject, "has other subjects than the package and its files"),
        (_evidence_of_another, "tells of evidence of 2026-11-29, which is about another digest"),
        (_a_deployment_of_another, "tells of deployment dev-00000001-churn, which is about another digest"),
        (_another_kind, "is a statement of the type"),
    ],
)
def test_a_statement_that_does_not_hold_together_is_refused(
    change: Callable[[dict[str, Any]], None], why: str
) -> None:
    document = json.loads(json.dumps(whole()))
    change(document)
    with pytest.raises(ValueError, match=why):
        stated(enclosed(document).payload)


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"_type": 1}', b"\xff"])
def test_what_is_no_statement_says_so(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"holds no JSON|is not a statement"):
        stated(payload)
