"""The committed proof: made by this code's formats, and shown as this code shows it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bot.domain.proof import Proof, formats
from bot.render.proof import TITLES, pages
from tests.nfs import proof as nfs

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "docs" / "proof"
DAG = PROJECT / "manifests/airflow/dags/promobot_train.py"
AGAIN = "make it again: promobot proof --out docs/proof --airflow"
NFS_AGAIN = "make it again: the command is on the page"


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
        "airflow": ["succeeded"],
    }
    for case in cases.values():
        assert case.pulls and case.messages and case.objects and case.hops
        for record in case.records:
            assert len(record.criteria) == 6
        assert (FOLDER / case.picture).is_file()


def test_each_task_of_the_dag_has_its_log_in_the_bucket(proof: Proof) -> None:
    (case,) = [case for case in proof.cases if case.name == "airflow"]
    logs = [key for key in case.objects if key.startswith("dev/airflow-logs/dag_id=promobot_train/run_id=")]
    tasks = {call.name for call in ast.walk(ast.parse(DAG.read_text())) if isinstance(call, ast.FunctionDef)}
    tasks &= {key.partition("/task_id=")[2].partition("/")[0] for key in logs}
    assert len(tasks) == 6 and any("/task_id=wait_for_deployment/attempt=1.log" in key for key in logs), logs
    record = case.records[0]
    assert any(key.endswith(f"{record.id}.json") for key in case.objects), "the record is in the bucket, too"
    assert any(record.id in line and "ended as its deployment" in line for line in case.seen)


def test_the_picture_shows_the_promotion(proof: Proof) -> None:
    for case in proof.cases:
        told = [message.text for message in case.messages]
        assert all(any(f"(#{pull.number})" in text for text in told) for pull in case.pulls), (case.name, told)


@pytest.fixture(scope="module")
def share() -> nfs.ShareProof:
    return nfs.ShareProof.model_validate_json((FOLDER / "nfs.json").read_text())


def test_what_writer_and_reader_mounted_is_a_real_nfs(share: nfs.ShareProof) -> None:
    assert len(share.commit) == 40 and share.commit.isalnum(), NFS_AGAIN
    assert len(share.mounts) == 2 and len({mount.who for mount in share.mounts}) == 2
    for mount in share.mounts:
        assert mount.filesystem == "nfs4" and "vers=4.2" in mount.options, mount
    assert share.tried and all(row.passed for row in share.tried)


def test_its_page_says_what_its_facts_say(share: nfs.ShareProof) -> None:
    assert (FOLDER / "nfs.md").read_text() == nfs.page(share), NFS_AGAIN


def test_the_bytes_are_the_same_at_each_hop(proof: Proof) -> None:
    (promoted,) = [case for case in proof.cases if case.name == "promotion"]
    digest = promoted.records[0].after.digest if promoted.records[0].after else ""
    named = [
        hop for hop in promoted.hops if not hop.where.startswith("share: ") and "in service before" not in hop.where
    ]
    assert {hop.digest.rpartition(" ")[2] for hop in named} == {digest}
    places = ("MLflow", "evidence", "Git", "gateway-dev-1", "gateway-dev-2", "record")
    assert [place for place in places if not any(hop.where.startswith(place) for hop in named)] == []
