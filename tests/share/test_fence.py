"""Whoever lost the lease writes nothing: each method that writes looks for itself, and who only reads has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bot.domain.routes import RouteTable
from bot.errors import LeaseLost
from bot.records.directory import RecordStore
from bot.records.ledger import HeldLedger, Ledger
from bot.share import HeldShare, ModelRepository
from bot.share.fence import Fenced
from bot.share.volume import Part
from bot.systems.gateway import Gateway, GatewayControl
from bot.systems.mlflow.registry import Aliases, Registry
from bot.systems.triton.server import TritonControl, TritonServer
from tests.domain.entries import release
from tests.share.test_publishing import MODEL
from tests.stores import begin_share

TABLE = RouteTable("dev", 1)
DIGEST = MODEL.package.digest
CALLS: dict[str, dict[str, Callable[[Any], object]]] = {
    "models": {
        "publish": lambda part: part.publish(MODEL.package, MODEL.read, triton_model="churn", version=8),
        "write_config": lambda part: part.write_config("churn", "a: 2\n"),
        "remove": lambda part: part.remove("churn", version=7),
        "discard": lambda part: part.discard("churn", version=7),
    },
    "packages": {
        "keep": lambda part: part.keep(MODEL.package, MODEL.read),
        "discard": lambda part: part.discard(DIGEST),
    },
    "routes": {"prepare": lambda part: part.prepare(TABLE), "write": lambda part: part.write(TABLE)},
    "journal": {"write": lambda part: part.write("{}"), "close": lambda part: part.close()},
    "outbox": {"put": lambda part: part.put("dev-1", "{}"), "drop": lambda part: part.drop("dev-0")},
    "reverts": {"keep": lambda part: part.keep("00000001-churn", "{}")},
    "trash": {"sweep": lambda part: part.sweep(alone=True)},
}
"""Each method that writes, with something that it would do."""
WITHOUT_A_LEASE = {
    ("Reverts", "drop"),  # whoever opened the pull request says so
    ("Silences", "note"),  # a look decides nothing
    ("Trials", "check"),
    ("Trials", "of_a_model"),
    ("Trials", "of_routes"),  # they leave nothing behind
}
"""What may change the share and asks for no lease."""
READS = {
    "Models": {"config", "contents", "names", "names_of", "versions", "wrong_bytes"},
    "Packages": {"described", "digests"},
    **{name: {"read"} for name in ("Routes", "Journal", "Outbox", "Reverts", "Silences")},
    "Trials": set[str](),
}


def public(kind: type) -> set[str]:
    return {name for name, method in getmembers(kind, isfunction) if not name.startswith("_")}


def parts(of: object) -> Iterator[tuple[str, Part]]:
    return ((name, part) for name, part in vars(of).items() if isinstance(part, Part))


@pytest.fixture
def share(tmp_path: Path) -> ModelRepository:
    begin_share(tmp_path / "models", tmp_path / "state")
    share = ModelRepository(share_settings(tmp_path))
    with share.lease() as held:
        held.packages.keep(MODEL.package, MODEL.read)
        held.models.publish(MODEL.package, MODEL.read, triton_model="churn", version=7)
        held.models.write_config("churn", "a: 1\n")
        held.outbox.put("dev-0", "{}")
        held.journal.write("{}")
    return share


def share_settings(folder: Path) -> Any:
    from bot.settings import Share

    return Share(model_repository=str(folder / "models"), state=str(folder / "state"))


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return all that lies on the share, but for turns: the inode and the bytes of each file."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "turns" not in path.parts
    }


def of_all_that_writes() -> list[tuple[str, str]]:
    return [(part, method) for part, methods in CALLS.items() for method in methods]


@pytest.mark.parametrize(("part", "method"), of_all_that_writes())
def test_after_a_later_lease_was_taken_each_method_refuses_and_changes_nothing(
    share: ModelRepository, tmp_path: Path, part: str, method: str
) -> None:
    with share.lease() as late:
        with share.lease(overtake=True):
            before = everything(tmp_path)
        with pytest.raises(LeaseLost, match="turn 2 is over"):
            CALLS[part][method](getattr(late, part))
        assert everything(tmp_path) == before


@pytest.mark.parametrize(("part", "method"), of_all_that_writes())
def test_who_holds_the_lease_does_each_of_them(share: ModelRepository, part: str, method: str) -> None:
    with share.lease() as held:
        CALLS[part][method](getattr(held, part))


def test_every_method_that_writes_is_tried_above(share: ModelRepository) -> None:
    with share.lease() as held:
        for name, part in parts(held):
            assert isinstance(part, Fenced), name
            reads = set().union(*(public(base) for base in type(part).__mro__ if not issubclass(base, Fenced)))
            assert public(type(part)) - reads == CALLS[name].keys(), name
    assert dict(parts(held)).keys() == CALLS.keys()


def test_who_reads_has_no_method_that_writes(share: ModelRepository) -> None:
    for name, part in parts(share):
        kind = type(part).__name__
        assert not isinstance(part, Fenced), name
        assert {(kind, method) for method in public(type(part)) - READS[kind]} <= WITHOUT_A_LEASE, name


def test_a_lease_that_is_lost_while_bytes_are_copied_shows_none_of_them(share: ModelRepository) -> None:
    with share.lease() as late:

        def moved(_: int) -> None:
            (share.state / f"turns/{late.lease.token + 1:08d}").touch()

        with pytest.raises(LeaseLost):
            late.models.publish(MODEL.package, MODEL.read, triton_model="churn", version=8, moved=moved)
    assert share.models.versions("churn") == [7]


def test_a_lease_that_is_lost_while_a_file_is_written_renames_nothing(share: ModelRepository) -> None:
    def slowly(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        (share.state / "turns/00000003").touch()

    with share.lease() as late, mock.patch("bot.share.volume.write", slowly), pytest.raises(LeaseLost):
        late.models.write_config("churn", "a: 3\n")
    assert share.models.config("churn") == "a: 1\n"
    assert list((share.state / "staging").iterdir()) == []


def test_a_new_method_of_a_part_that_writes_cannot_forget_to_look(tmp_path: Path) -> None:
    class New(Fenced):
        def write(self) -> None:
            raise AssertionError("it did not look first")

    def lost() -> None:
        raise LeaseLost("turn 1 is over")

    from bot.share.volume import Volume

    with pytest.raises(LeaseLost):
        New(Volume(share_settings(tmp_path)), lost).write()


def test_what_changes_a_server_or_a_record_asks_first_and_readers_have_none_of_it(tmp_path: Path) -> None:
    asked: list[str] = []

    def lost() -> None:
        asked.append("asked")
        raise LeaseLost("turn 1 is over")

    class Server:
        """One whose every attribute but the deadline means that something was asked of it."""

        name = "one"
        retry_seconds = 1.0
        _authorization = staticmethod(dict)

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was used")

    server: Any = Server()
    ledger = HeldLedger(Ledger(RecordStore(str(tmp_path)), "dev"), lost)
    writes: list[Callable[[], object]] = [
        lambda: TritonControl(server, lost).load("churn", timeout_seconds=1),
        lambda: TritonControl(server, lost).unload("churn"),
        lambda: GatewayControl(server, lost).reload(2, timeout_seconds=1),
        lambda: Aliases(server, lost).point("churn", "dev", 2),
        lambda: ledger.confirm("dev-00000001-churn"),
        lambda: ledger.add_deployment(server),
        lambda: ledger.put_in_quarantine(release(7), reason="", by=""),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert len(asked) == len(writes)
    assert list(tmp_path.iterdir()) == []
    for reader, control in ((TritonServer, TritonControl), (Gateway, GatewayControl), (Registry, Aliases)):
        assert not public(reader) & public(control)


def test_held_has_the_token_and_says_whether_it_is_alone(share: ModelRepository) -> None:
    with share.lease() as held:
        assert isinstance(held, HeldShare) and held.lease.token == 2 and held.lease.alone
