"""The committed proof: made by this code's formats, and shown as this code shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.proof import Proof, formats
from bot.words.proof import TITLES, pages

FOLDER = Path(__file__).parents[2] / "docs" / "proof"
AGAIN = "make it again: promobot proof --out docs/proof"


@pytest.fixture(scope="module")
def proof() -> Proof:
    return Proof.model_validate_json((FOLDER / "proof.json").read_text())


def test_it_is_not_older_than_the_formats_that_it_shows(proof: Proof) -> None:
    assert proof.formats == formats(), AGAIN


def test_its_pages_say_what_its_facts_say(proof: Proof) -> None:
    for name, text in pages(proof).items():
        assert (FOLDER / name).read_text() == text, f"{name}: {AGAIN}"


def test_it_was_made_by_a_commit(proof: Proof) -> None:
    assert len(proof.commit) == 40 and proof.commit.isalnum(), "changes that were not committed are not proven"


def test_each_case_ended_as_it_must(proof: Proof) -> None:
    cases = {case.name: case for case in proof.cases}
    assert set(cases) == set(TITLES)
    outcomes = {name: [record.outcome for record in case.records] for name, case in cases.items()}
    assert outcomes == {
        "promotion": ["succeeded"],
        "shadow": ["succeeded"],
        "refused": [],
        "put-back": ["put back"],
        "rolled-back": ["succeeded"],
    }
    for case in cases.values():
        assert case.pulls and case.messages and case.objects and case.hops
        for record in case.records:
            assert len(record.criteria) == 6
        assert (FOLDER / case.picture).is_file()


def test_the_bytes_are_the_same_at_each_hop(proof: Proof) -> None:
    (promoted,) = [case for case in proof.cases if case.name == "promotion"]
    digest = promoted.records[0].after.digest if promoted.records[0].after else ""
    named = [
        hop for hop in promoted.hops if not hop.where.startswith("share: ") and "in service before" not in hop.where
    ]
    assert {hop.digest.rpartition(" ")[2] for hop in named} == {digest}
    places = ("MLflow", "evidence", "Git", "gateway-dev-1", "gateway-dev-2", "record")
    assert [place for place in places if not any(hop.where.startswith(place) for hop in named)] == []
