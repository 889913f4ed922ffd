"""What the checks of a proposal have at hand: fetched once, hashed by each, gone an hour later."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import pytest

from bot.domain.contents import look_at
from bot.errors import NotAllowed, OtherBytes, Unavailable
from bot.share.checked import KEPT_SECONDS
from tests.share.test_publishing import MODEL, Registry, large, whole
from tests.share.test_share import modes, share_at, staged
from tests.stores import Unfenced
from tests.systems.packages import Contents
from tests.systems.tracing import clean

LISTED = sum(file.size for file in MODEL.package.version_files)


@pytest.fixture
def share(tmp_path: Path) -> Unfenced:
    return share_at(tmp_path)


def brought(share: Unfenced, registry: Registry, name: str = "churn.check-1-smoke") -> Path:
    """Bring a version to staging as a check does."""
    with share.models.at_hand(registry.contents.package, registry.read) as there:
        share.models.place(registry.contents.package, there, triton_model=name, version=7)
    return share.root / name / "7"


def kept(share: Unfenced) -> list[str]:
    return sorted(path.name for path in (share.state / "checked").iterdir() if path.is_dir())


def test_three_checks_fetch_it_once_and_each_has_it_whole(share: Unfenced) -> None:
    registry, told = Registry(MODEL), list[int]()
    with share.models.at_hand(MODEL.package, registry.read, moved=told.append, look=look_at(MODEL.package)) as there:
        assert whole(there, MODEL)
    assert sum(told) == LISTED
    for name in ("churn.check-1-triton", "churn.check-1-smoke"):
        version = brought(share, registry, name)
        assert whole(version, MODEL)
        assert {mode for path, mode in modes(version).items() if "." not in path.replace("./", "")} == {0o555}
        share.models.remove(name)
    assert registry.sent == LISTED
    assert staged(share) == []


def test_what_one_check_removes_the_next_one_still_has(share: Unfenced) -> None:
    registry = Registry(MODEL)
    brought(share, registry)
    share.models.remove("churn.check-1-smoke")
    assert share.models.names() == []
    assert whole(brought(share, registry, "churn.check-2-smoke"), MODEL)
    assert registry.sent == LISTED


def test_checks_at_the_same_time_wait_for_the_one_that_fetches(share: Unfenced) -> None:
    registry, first = Registry(MODEL), threading.Event()

    def slowly(path: str, start: int = 0) -> Iterator[bytes]:
        first.set()
        for chunk in registry.read(path, start):
            time.sleep(0)
            yield chunk

    def check(number: int) -> bool:
        with share.models.at_hand(MODEL.package, slowly) as there:
            share.models.place(MODEL.package, there, triton_model=f"churn.check-{number}-smoke", version=7)
        return whole(share.root / f"churn.check-{number}-smoke" / "7", MODEL)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(check, range(3))) == [True] * 3
    assert first.is_set()
    assert registry.sent == LISTED


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("damage", ["changed", "shorter", "gone", "more", "link"])
def test_what_was_damaged_is_fetched_again(share: Unfenced, damage: str, which: int) -> None:
    registry = Registry(MODEL)
    with share.models.at_hand(MODEL.package, registry.read) as there:
        path = there / MODEL.package.version_files[which].path
    for folder in (there, there / "weights"):
        folder.chmod(0o755)
    path.chmod(0o644)
    content = path.read_bytes()
    match damage:
        case "changed":
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        case "shorter":
            path.write_bytes(content[:-1])
        case "gone":
            path.unlink()
        case "more":
            (there / "weights" / "more.bin").write_bytes(b"x")
        case "link":
            path.rename(share.state / "elsewhere")
            path.symlink_to(share.state / "elsewhere")
    told = list[int]()
    with share.models.at_hand(MODEL.package, registry.read, moved=told.append) as there:
        assert whole(there, MODEL) and not path.is_symlink()
    assert registry.sent == 2 * LISTED
    assert sum(told) == LISTED, "what is fetched again is counted once"
    assert sum(count for count in told if count > 0) <= 2 * LISTED, "what is damaged is hashed once"


def test_a_version_that_a_check_loaded_is_not_changed_by_a_later_fetch(share: Unfenced) -> None:
    registry = Registry(MODEL)
    version = brought(share, registry)
    path = share.state / "checked" / kept(share)[0] / "weights" / "1.bin"
    path.parent.chmod(0o755)
    path.unlink()
    brought(share, registry, "churn.check-2-smoke")
    assert whole(version, MODEL)


def test_other_bytes_than_listed_are_never_at_hand(share: Unfenced) -> None:
    wrong = Contents({**MODEL.files, "weights/3.bin": MODEL.files["weights/4.bin"]})
    refused = pytest.raises(OtherBytes, match=r"weights/3\.bin is not what the package says")
    with refused, share.models.at_hand(MODEL.package, Registry(wrong).read):
        pytest.fail("given out")
    assert kept(share) == []


def test_what_a_package_may_not_contain_is_refused_also_when_it_lies_there_already(share: Unfenced) -> None:
    archive = large(files=2)
    code = Contents({**archive.files, "weights/0.bin": b"\x7fELF" + archive.files["weights/0.bin"]})
    registry = Registry(code)
    with share.models.at_hand(code.package, registry.read):
        pass
    refused = pytest.raises(NotAllowed, match="whatever it is called")
    with refused, share.models.at_hand(code.package, registry.read, look=look_at(code.package)):
        pytest.fail("given out")


def test_a_fetch_that_was_cut_off_shows_nothing_and_is_resumed(share: Unfenced) -> None:
    registry = Registry(MODEL, breaks={f"weights/{number}.bin": 2**20 for number in range(6)})
    with pytest.raises(Unavailable), share.models.at_hand(MODEL.package, registry.read):
        pytest.fail("given out")
    assert kept(share) == []
    registry.breaks = {}
    assert whole(brought(share, registry), MODEL)
    assert any(start for starts in registry.asked.values() for start in starts), "it goes on from what was there"


def test_killed_while_it_fetches_the_next_check_gets_it_whole(tmp_path: Path) -> None:
    share = share_at(tmp_path)
    receive, send = clean.Pipe(duplex=False)
    process = clean.Process(target=_fetch_and_stop, args=(str(tmp_path), send))
    process.start()
    assert receive.recv() == "in the middle"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert kept(share) == []
    assert whole(brought(share, Registry(MODEL)), MODEL)


def _fetch_and_stop(folder: str, send: Connection) -> None:
    def read(path: str, start: int = 0) -> Iterator[bytes]:
        yield MODEL.files[path][start : start + 2**16]
        send.send("in the middle")
        signal.pause()

    with share_at(Path(folder)).models.at_hand(MODEL.package, read):
        pass


def test_it_is_gone_an_hour_after_its_last_use_and_never_while_it_is_used(share: Unfenced) -> None:
    other = large(2)
    with share.models.at_hand(other.package, Registry(other).read):
        (used,) = kept(share)
        _grow_old(share, KEPT_SECONDS + 60)
        with share.models.at_hand(MODEL.package, Registry(MODEL).read):
            assert used in kept(share)
    _grow_old(share, KEPT_SECONDS - 60)
    assert share.trash.sweep(alone=False) == 0
    _grow_old(share, KEPT_SECONDS + 60)
    assert share.trash.sweep(alone=False) == 2
    assert kept(share) == []


def test_what_nobody_uses_makes_room(share: Unfenced) -> None:
    other = large(2)
    with share.models.at_hand(other.package, Registry(other).read):
        pass
    (left,) = kept(share)
    usage = shutil.disk_usage(share.state)
    full = mock.patch("bot.share.checked.shutil.disk_usage", return_value=usage._replace(free=LISTED - 1))
    with full, share.models.at_hand(MODEL.package, Registry(MODEL).read):
        assert left not in kept(share)


def test_a_package_that_is_there_needs_no_room(share: Unfenced) -> None:
    other = large(2)
    for model in (other, MODEL):
        with share.models.at_hand(model.package, Registry(model).read):
            pass
    both = kept(share)
    usage = shutil.disk_usage(share.state)
    full = mock.patch("bot.share.checked.shutil.disk_usage", return_value=usage._replace(free=0))
    with full, share.models.at_hand(MODEL.package, Registry(MODEL).read):
        assert kept(share) == both


def _grow_old(share: Unfenced, seconds: float) -> None:
    then = time.time() - seconds
    for lock in (share.state / "checked").glob("*.lock"):
        os.utime(lock, (then, then))


def test_the_lock_is_held_alone_while_bytes_are_fetched(share: Unfenced) -> None:
    held = list[bool]()

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        (lock,) = (share.state / "checked").glob("*.lock")
        with lock.open("ab") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        yield MODEL.files[path][start:]

    with share.models.at_hand(MODEL.package, read):
        pass
    assert held == [True] * len(MODEL.package.version_files)
