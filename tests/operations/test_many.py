"""Many models in one run: what can be asked once for all is, and an error stays with its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from unittest import mock

import pytest

from bot import cli, environment_files
from bot.operations.deployment.conclusion import TOLD_APART
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from bot.share import Lease
from bot.share.routes import Routes
from bot.share.volume import Volume
from bot.systems.triton.server import TritonServer
from tests.benchmarks.company import TOKENS, TRITONS, Company, Version
from tests.controls import control

MODELS = TOLD_APART + 4


@dataclass(frozen=True)
class Said:
    code: int
    document: dict[str, Any]
    lines: list[str]


def promobot(company: Company, *arguments: str, **env: str) -> Said:
    """Run a verb here, where a test can count what it does to files."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with (
        mock.patch.dict(os.environ, {**TOKENS, **env}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = cli.main([*arguments, "--json", "--root", str(company.root)])
    signal.signal(signal.SIGTERM, before)
    return Said(code, json.loads(out.getvalue()) if out.getvalue() else {}, err.getvalue().splitlines())


def deploy(company: Company, **env: str) -> Said:
    return promobot(company, "deploy", "--env", "dev", **env)


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    with Company(tmp_path, MODELS) as opened:
        yield opened


def begin(company: Company, **more: Any) -> dict[str, Version]:
    versions = company.register(1, **more)
    company.merge(versions)
    company.start()
    return versions


def live(company: Company) -> dict[str, int]:
    table = json.loads((company.share("dev") / "state/routes.json").read_text())
    return {name: route["live"]["version"] for name, route in table["models"].items()}


@pytest.mark.slow
def test_what_is_asked_for_all_is_asked_once_and_said_in_the_order_of_the_models(company: Company) -> None:
    begin(company)
    with mock.patch.object(Routes, "read", autospec=True, side_effect=Routes.read) as read:
        said = deploy(company)

    assert said.code == 0, said
    asked = company.asked()
    assert read.call_count <= 10
    # Observed, READY after the loads, looked at again after the switch, and by the cleanup.
    assert asked["Triton RepositoryIndex"] == 4 * TRITONS
    assert asked["Triton RepositoryModelLoad"] == MODELS * TRITONS
    assert asked["Triton ModelInfer"] == 2 * MODELS * TRITONS
    assert asked["MLflow GET /api/*/mlflow/model-versions/get"] == MODELS
    assert asked["MLflow GET /api/*/mlflow/runs/get"] == 0
    assert asked["MLflow GET /api/*/mlflow/registered-models/get"] == 0
    assert asked["MLflow POST /api/*/mlflow/registered-models/alias"] == MODELS
    assert asked["Slack POST /api/chat.postMessage"] == 1
    assert live(company) == dict.fromkeys(company.names, 1)
    for begins in ("publishing", "loading on"):
        lines = [line for line in said.lines if begins in line]
        assert lines == sorted(lines) and len(lines) == MODELS
    assert [record["model"] for record in said.document["records"]] == company.names


@pytest.mark.slow
def test_one_that_does_not_load_stays_behind_and_the_others_go_on(company: Company) -> None:
    bad = f"model-{3:05d}"
    begin(company, broken=bad)
    said = deploy(company)

    assert said.code == 1
    assert live(company) == {name: 1 for name in company.names if name != bad}
    outcomes = {record["model"]: record["outcome"] for record in said.document["records"]}
    assert outcomes == {name: "failed" if name == bad else "succeeded" for name in company.names}
    (quarantined,) = Ledger(RecordStore(company.home / "records"), "dev").quarantined().values()
    assert quarantined.model == bad and "is no model" in quarantined.reason
    (text, blocks) = company.told()[0]
    assert text == f"❌ {MODELS} deployments in dev: {MODELS - 1} as main asks, 1 failed before the switch."
    assert bad in blocks and "is no model" in blocks and "merge the revert" in blocks


@pytest.mark.slow
def test_what_slack_does_not_take_waits_as_one_message_and_confirms_them_all(company: Company) -> None:
    begin(company)
    said = deploy(company, SLACK_BOT_TOKEN="xoxb-of-somebody-else")
    assert said.code == 4
    assert {record["outcome"] for record in said.document["records"]} == {"unconfirmed"}
    assert [path.stem for path in (company.share("dev") / "state/outbox").iterdir()] == ["dev-00000001"]

    assert deploy(company).code == 0
    records = Ledger(RecordStore(company.home / "records"), "dev").deployments()
    assert {record.outcome for record in records} == {"succeeded"} and len(records) == MODELS
    assert len(company.told()) == 1


@pytest.mark.slow
def test_who_was_cut_off_after_the_message_tells_nobody_twice(company: Company) -> None:
    begin(company)
    written = 0

    def dies(ledger: Ledger, record: Any, real: Any = Ledger.add_deployment) -> None:
        nonlocal written
        written += 1
        if written > MODELS // 2:
            raise KeyboardInterrupt
        real(ledger, record)

    with mock.patch.object(Ledger, "add_deployment", dies):
        assert deploy(company).code == 130
    assert len(company.told()) == 1

    assert deploy(company).code == 0
    records = Ledger(RecordStore(company.home / "records"), "dev").deployments()
    assert {record.id for record in records} == {f"dev-00000001-{name}" for name in company.names}
    assert {record.outcome for record in records} == {"succeeded"}
    assert len(company.told()) == 1


@pytest.mark.slow
def test_a_triton_that_lost_them_all_has_them_again_proven_with_one_look(company: Company) -> None:
    begin(company)
    assert deploy(company).code == 0
    opened = TritonServer(environment_files.load(company.root, "dev").tritons[2], request_seconds=10)
    try:
        for name in company.names:
            control(opened).unload(name)
    finally:
        opened.close()
    company.asked()
    said = deploy(company)

    repaired = said.document["repaired"]
    assert said.code == 0 and len(repaired) == MODELS
    assert all(name in line and "triton-3" in line for name, line in zip(company.names, repaired, strict=True))
    asked = company.asked()
    assert asked["Triton RepositoryModelLoad"] == asked["Triton ModelInfer"] == MODELS
    # Observed, READY after the loads on the one that lost them, and by the cleanup.
    assert asked["Triton RepositoryIndex"] == 2 * TRITONS + 1


@pytest.mark.slow
def test_who_is_overtaken_in_the_middle_changes_nothing_more(company: Company) -> None:
    begin(company)
    configs = company.share("dev") / "model-repo"
    there: list[set[str]] = []
    alone = Lock()  # several models look at the turn at the same time

    def overtaken(lease: Lease, real: Any = Lease.check) -> None:
        with alone:
            found = {path.parent.name for path in configs.glob("*/config.pbtxt")}
            if len(found) >= 5 and not there:
                (company.share("dev") / f"state/turns/{lease.token + 1:08d}").touch()
                there.append({path.parent.name for path in configs.glob("*/config.pbtxt")})
        real(lease)

    with mock.patch.object(Lease, "check", overtaken):
        said = deploy(company)
    assert said.code == 1 and said.document["error"].startswith("turn 1 is over")
    (before,) = there
    after = {path.parent.name for path in configs.glob("*/config.pbtxt")}
    # Of those whose turn was looked at already, some may have been in the middle of their rename.
    assert before <= after and len(after) < MODELS
    assert not (company.share("dev") / "state/routes.json").exists()
    assert company.told() == []


def test_status_asks_each_triton_once_and_reads_one_file_of_each_environment(tmp_path: Path) -> None:
    environments = ("dev", "prod", "stage")
    with Company(tmp_path, 5, environments=environments) as company:
        versions = company.register(1)
        for environment in environments:
            company.merge(versions, environment, evidence=False)
            company.serve(versions, environment)
        company.start()
        table = mock.patch.object(Volume, "read", autospec=True, side_effect=Volume.read)
        records = mock.patch.object(RecordStore, "get", autospec=True, side_effect=RecordStore.get)
        with table as read, records as got:
            said = promobot(company, "status")
        asked = company.asked()

    assert said.code == 0 and all(not found["differences"] for found in said.document["environments"])
    assert [found["environment"] for found in said.document["environments"]] == list(environments)
    assert asked["Triton RepositoryIndex"] == TRITONS * len(environments)
    # The routes in force, whether there is a later generation, and who did not answer before.
    assert sorted(call.args[1].name for call in read.call_args_list) == [
        *["0000000002.json"] * len(environments),
        *["routes.json"] * len(environments),
        *["silent.json"] * len(environments),
    ]
    assert got.call_count == 0
