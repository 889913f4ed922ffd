"""Today's code takes what every earlier one wrote, and nobody changes a format without keeping a document of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from bot import environment_files
from bot.domain import desired
from bot.domain.message import Message
from bot.domain.package import Package
from bot.domain.record import verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.routes import RouteTable
from bot.operations.deployment.unfinished import read_journal
from bot.operations.following import read_ways_back
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from bot.settings import Share
from bot.share import ModelRepository
from tests.formats import samples
from tests.formats.__main__ import INDEX, KEPT, SETTINGS, keys_of
from tests.stores import begin_share

SINCE: dict[str, dict[str, str]] = json.loads(INDEX.read_text())
NOW = samples.kinds()
GONE = {
    "record": {"in_service": "read as `serving`, and no longer written", "format": "2 since then"},
}
"""What today's code does not write as it was read, by kind and key, and why."""


def kept(kind: str) -> list[Path]:
    return sorted((KEPT / kind).glob("*.json"))


def of(*kinds: str) -> list[Any]:
    return [pytest.param(kind, path, id=f"{kind}-{path.stem}") for kind in kinds for path in kept(kind)]


@pytest.mark.parametrize("kind", sorted(NOW))
def test_the_format_of_today_is_kept(kind: str) -> None:
    fingerprint, written = NOW[kind]
    said = f"the format of {kind} changed: run `python -m tests.formats keep`, and see that no earlier one is lost"
    assert fingerprint in SINCE.get(kind, {}), said
    assert {path.name for path in kept(kind)} >= {f"{fingerprint}.{name}.json" for name in written}


def test_every_document_is_of_a_format_that_is_known() -> None:
    there = {
        (path.parent.name, path.name.partition(".")[0]) for path in KEPT.glob("*/*.json") if path.parent != SETTINGS
    }
    assert there == {(kind, fingerprint) for kind, of_kind in SINCE.items() for fingerprint in of_kind}
    assert SINCE.keys() == NOW.keys(), "every kind that ever was is still read"


@pytest.mark.parametrize(("kind", "path"), of(*samples.WHERE))
def test_nothing_of_a_document_is_lost(kind: str, path: Path) -> None:
    model = samples.model_of(kind)
    assert model is not None
    was = json.loads(path.read_text())
    document = model.model_validate(was) if kind == "desired" else model.model_validate_json(path.read_text())
    assert list(_lost(was, _everything(document), "", GONE.get(kind, {}))) == []


def _everything(document: BaseModel) -> Any:
    """Return what a model holds, also what it would leave out where it is empty."""
    found = json.loads(document.model_dump_json())
    empty = {name: getattr(document, name) for name in type(document).model_fields if name not in found}
    return {**found, **{name: value for name, value in empty.items() if value in ("", (), None, False)}}


def _lost(was: Any, found: Any, at: str, gone: dict[str, str]) -> Iterator[str]:
    if isinstance(was, dict) and isinstance(found, dict):
        for key, value in was.items():
            if not at and key in gone:
                continue
            if key not in found and not value:
                continue  # what is empty, and is left out today
            yield from _lost(value, found.get(key), f"{at}.{key}", gone)
    elif isinstance(was, list) and isinstance(found, list) and len(was) == len(found):
        for number, (one, other) in enumerate(zip(was, found, strict=True)):
            yield from _lost(one, other, f"{at}[{number}]", gone)
    elif was != found:
        yield f"{at}: {was!r} became {found!r}"


@pytest.mark.parametrize(("kind", "path"), of("record"))
def test_a_record_is_in_the_history(kind: str, path: Path, tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.begin()
    was = json.loads(path.read_text())
    store.put(f"deployments/dev/{was['id']}.json", path.read_text())
    (record,) = Ledger(store, "dev").deployments()
    assert record.id == was["id"] and record.format == was.get("format", 1)
    if was["after"] is not None:
        slot = Slot("dev", was["model"], Lane.of(was["section"]))
        verified = [entry.version for _, entry in verified_entries([record], slot)]
        assert verified == ([was["after"]["version"]] if was["outcome"] in ("succeeded", "unconfirmed") else [])
    served = was.get("in_service")
    if served and was["model"] in served[was["section"]]:
        assert record.serving is not None and record.serving.digest == served[was["section"]][was["model"]]["digest"]


@pytest.mark.parametrize(("kind", "path"), of("journal"))
def test_a_journal_is_resumed(kind: str, path: Path, tmp_path: Path) -> None:
    share = Share(model_repository=str(tmp_path / "models"), state=str(tmp_path / "state"))
    begin_share(tmp_path / "models", tmp_path / "state")
    (tmp_path / "state/journal").mkdir()
    (tmp_path / "state/journal/00000012.json").write_text(path.read_text())
    journal = read_journal(ModelRepository(share))
    was = json.loads(path.read_text())
    assert journal is not None and [one.id for one in journal.underway] == [one["id"] for one in was["underway"]]
    assert [journal.why_back(one) is not None for one in journal.underway] == [
        bool(was.get("going_back") or one.get("goes_back")) for one in was["underway"]
    ]
    if was["before"] != "text":
        assert journal.verified(RouteTable("dev", 13), []).models == RouteTable.from_json(was["before"]).models


@pytest.mark.parametrize(("kind", "path"), of("way_back"))
def test_the_note_of_a_rollback_is_followed(kind: str, path: Path, tmp_path: Path) -> None:
    share = Share(model_repository=str(tmp_path / "models"), state=str(tmp_path / "state"))
    begin_share(tmp_path / "models", tmp_path / "state")
    (tmp_path / "state/reverts").mkdir()
    (tmp_path / "state/reverts/00000007-churn.json").write_text(path.read_text())
    (way,), unreadable = read_ways_back(ModelRepository(share))
    assert way.target.version == json.loads(path.read_text())["target"]["version"] and unreadable == []


@pytest.mark.parametrize(("kind", "path"), of("routes"))
def test_routes_are_served(kind: str, path: Path) -> None:
    was = json.loads(path.read_text())
    table = RouteTable.from_json(path.read_text())
    assert list(_lost(was, json.loads(table.to_json()), "", {})) == []
    assert (table.environment, table.generation) == (was["environment"], was["generation"])


@pytest.mark.parametrize(("kind", "path"), of("package"))
def test_a_package_has_the_digest_that_it_had(kind: str, path: Path) -> None:
    was = json.loads(path.read_text())
    package = Package.from_json(path.read_text())
    assert package.digest == was["digest"] and len(package.files) == len(was["files"])
    assert list(_lost(was, json.loads(package.to_json()), "", {})) == []


@pytest.mark.parametrize(("kind", "path"), of("message"))
def test_a_message_of_the_outbox_is_sent(kind: str, path: Path) -> None:
    was = json.loads(path.read_text())
    assert list(_lost(was, json.loads(Message.from_json(path.read_text()).to_json()), "", {})) == []


@pytest.mark.parametrize(("kind", "path"), of("desired"))
def test_a_file_of_promotions_means_the_same(kind: str, path: Path) -> None:
    was = json.loads(path.read_text())
    for entry in was.get("models", {}).values():
        for key in ("reason", "share"):  # only a shadow has them, so no file had them here
            entry.pop(key, None)
    was["retired"] = {f"{name}-before": why for name, why in was.get("retired", {}).items()}  # it has no entry
    text = yaml.safe_dump({key: value for key, value in was.items() if value})
    found = desired.parse(text, file="promotions/dev.yaml", environment="dev")
    for section in ("models", "shadow"):
        assert {name: entry.digest for name, entry in found.section(section).items()} == {
            name: entry["digest"] for name, entry in was.get(section, {}).items()
        }


def test_no_key_of_a_settings_file_went() -> None:
    for file, keys in json.loads((SETTINGS / "keys.json").read_text()).items():
        assert set(keys) <= keys_of(file), f"{file}: a file that has it would no longer be read"


@pytest.mark.parametrize("path", sorted(SETTINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_settings_file_of_before_is_read(path: Path) -> None:
    text = path.read_text()
    environment = yaml.safe_load(text)["environment"]
    found = environment_files.parse(text, file=f"manifests/environments/{environment}.yaml", environment=environment)
    assert found.environment == environment and found.tritons and found.gateways


def test_records_are_read_from_where_they_were_written(tmp_path: Path) -> None:
    """One store with a document of every format, under the keys of their time."""
    store = RecordStore(tmp_path)
    store.begin()
    for number, path in enumerate(kept("record")):
        document = json.loads(path.read_text()) | {"id": f"dev-{number:08d}-churn"}
        store.put(f"deployments/dev/dev-{number:08d}-churn.json", json.dumps(document))
    ledger = Ledger(store, "dev")
    assert len(ledger.deployments()) == len(kept("record"))
    for number, path in enumerate(kept("quarantine")):
        store.put(f"quarantine/dev/{number:08d}.json", path.read_text())
    assert isinstance(ledger.quarantined(), dict)
    for number, path in enumerate(kept("evidence")):
        store.put(f"evidence/dev/churn/{samples.DIGEST.removeprefix('sha256:')}/{number:08d}.json", path.read_text())
    assert len(ledger.all_evidence("churn")) == len(kept("evidence"))
