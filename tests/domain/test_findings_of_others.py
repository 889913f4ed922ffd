"""What other tools found: each way in which a demanded document does not hold has a sentence of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.evidence import rules_of
from bot.domain.findings_of_others import MAX_BYTES, Found, judge, parse
from bot.domain.gate import DemandedFindings, Gate
from bot.domain.package import of_the_package
from bot.settings import PackageRules
from tests.test_schemas import validator

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
DIGEST, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
BESIDE = "beside the package of version 7"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "name": "drift",
        "digest": DIGEST,
        "passed": True,
        "summary": "0 of 30 columns drifted.",
        "at": "2026-11-30T11:00:00+00:00",
        "by": "evidently 0.7",
        **changes,
    }


def found(where: str = BESIDE, **changes: Any) -> Found:
    return Found(where, json.dumps(document(**changes)).encode())


def said(*documents: Found, **demand: Any) -> tuple[bool, str]:
    rule = DemandedFindings(**demand)
    ((name, holds, sentence),) = judge({"drift": rule}, {"drift": documents}, digest=DIGEST, now=NOW)
    assert name == "drift"
    return holds, sentence


SAYS = "0 of 30 columns drifted (evidently 0.7, 2026-11-30 11:00 UTC)"


def test_one_that_passed_holds_and_says_what_was_found_by_whom_and_when() -> None:
    assert said(found()) == (True, SAYS)
    linked = found(details_url="https://reports.example/7")
    assert said(linked) == (True, f"{SAYS[:-1]}, https://reports.example/7)")


@pytest.mark.parametrize(
    ("documents", "demand", "sentence"),
    [
        (
            (),
            {},
            "there is no promobot.checks/drift.json, neither beside the package nor in its run; the job that makes "
            "it has not written it for this version",
        ),
        (
            (found(digest=OTHER),),
            {},
            f"promobot.checks/drift.json {BESIDE} is about 222222222222, and these bytes are 111111111111: {SAYS}",
        ),
        (
            (found(),),
            {"max_age_hours": 0.5},
            f"it is 1 hours old, and the gate takes 0.5 at most; run the job again: {SAYS}",
        ),
        ((found(passed=False),), {}, f"it failed: {SAYS}"),
        (
            (found(at="2026-12-30T11:00:00+00:00"),),
            {},
            "it is dated 2026-12-30 11:00 UTC, which is still to come: 0 of 30 columns drifted (evidently 0.7, "
            "2026-12-30 11:00 UTC)",
        ),
        (
            (Found(BESIDE, b"{"),),
            {},
            f"promobot.checks/drift.json {BESIDE} cannot be read: a key in double quotes is missing, at line 1, "
            "column 2",
        ),
        (
            (Found(BESIDE, problem="it has more than 65536 bytes"),),
            {},
            f"promobot.checks/drift.json {BESIDE} cannot be read: it has more than 65536 bytes",
        ),
    ],
    ids=["missing", "other digest", "too old", "failed", "still to come", "no JSON", "unreadable"],
)
def test_each_way_in_which_it_does_not_hold(documents: tuple[Found, ...], demand: Any, sentence: str) -> None:
    assert said(*documents, **demand) == (False, sentence)


def test_of_several_the_newest_about_these_bytes_counts() -> None:
    old, new = found(at="2026-11-29T11:00:00+00:00"), found("in run abc", passed=False)
    assert said(old, new) == (False, f"it failed: {SAYS}")
    assert said(new, old) == (False, f"it failed: {SAYS}")
    about_others = found("in run abc", digest=OTHER, at="2026-11-30T11:30:00+00:00")
    assert said(about_others, found()) == (True, SAYS)
    holds, sentence = said(found(), Found("in run abc", b"[]"))
    assert not holds and "in run abc cannot be read" in sentence, "it may be the newest"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "other"}, "name: it is 'other' in a file that is called drift.json"),
        ({"passed": 1}, "passed: it needs true or false"),
        ({"at": "2026-11-30T11:00:00"}, "at: it needs a time with its zone"),
        ({"at": 1764500000}, "at: it needs a time with its zone"),
        ({"summary": ""}, "summary: it needs at least 1 character"),
        ({"details_url": "javascript:alert(1)"}, "details_url: it must match"),
        ({"digest": "1"}, "digest: '1' is not a valid digest"),
        ({"sumary": "x"}, "sumary: unknown key"),
        ({"format": 2}, "format: it must be 1, not 2"),
    ],
)
def test_what_is_no_such_document_is_said_with_its_key(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        parse(json.dumps(document(**changes)).encode(), name="drift")
    assert says in str(error.value)
    of_another_file, without_zone = "name" in changes, "at" in changes
    assert not validator("findings").is_valid(document(**changes)) or of_another_file or without_zone


def test_the_schema_takes_what_is_read() -> None:
    validator("findings").validate(document())
    assert parse(json.dumps(document()).encode(), name="drift").at == NOW - timedelta(hours=1)
    assert len(json.dumps(document(summary="x" * 500))) < MAX_BYTES


def test_a_gate_without_them_keeps_its_fingerprint() -> None:
    gate = {"metrics": {"accuracy": {"minimum": 0.5}}}
    plain, more = Gate.model_validate(gate), Gate.model_validate({**gate, "findings": {"drift": {}}})
    assert "findings" not in plain.model_dump(mode="json")
    assert rules_of(plain, PackageRules()) != rules_of(more, PackageRules())


def test_documents_of_others_are_no_part_of_a_package_unless_it_lists_them() -> None:
    there = ["package.json", "model.onnx", "promobot.checks/drift.json", "promobot.checks/a/b.json"]
    assert of_the_package(there, {"model.onnx"}) == {"model.onnx", "promobot.checks/a/b.json"}
    assert of_the_package([*there, "promobot.checks/run.sh"], ()) >= {"promobot.checks/run.sh"}
    assert "promobot.checks/drift.json" in of_the_package(there, {"promobot.checks/drift.json"})
