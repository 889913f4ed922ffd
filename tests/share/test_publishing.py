"""Large packages: several files at a time, from whatever is nearest, and on from where the last one was cut off."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import pytest

from bot.domain.package import Package, PackageFile
from bot.errors import OtherBytes, Rejected, Unavailable
from bot.settings import Share
from tests.share.test_share import share_at, staged, tree
from tests.stores import Unfenced
from tests.systems.packages import Contents
from tests.systems.tracing import clean

MEGABYTE = 2**20
PIECE = 2**16
SECONDS = 60.0


def large(seed: int = 1, *, files: int = 6, megabytes: int = 2) -> Contents:
    """A package that is copied several files at a time."""
    return Contents({f"weights/{number}.bin": noise(100 * seed + number, megabytes) for number in range(files)})


def noise(seed: int, megabytes: int) -> bytes:
    """The same bytes for the same seed, in every process."""
    return random.Random(seed).randbytes(megabytes * MEGABYTE)  # noqa: S311 - bytes of a test, no secret


MODEL = large()


class Registry:
    """Gives the bytes of a package, remembers what it was asked for, and breaks off where it is told to."""

    def __init__(self, contents: Contents, *, breaks: dict[str, int] | None = None) -> None:
        self.contents, self.breaks = contents, breaks or {}
        self.asked: dict[str, list[int]] = {}
        self.sent = 0

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        self.asked.setdefault(path, []).append(start)
        content = self.contents.files[path]
        for at in range(start, len(content), PIECE):
            if at >= self.breaks.get(path, len(content)):
                raise Unavailable("the connection is gone", system="MLflow")
            self.sent += len(content[at : at + PIECE])
            yield content[at : at + PIECE]


@pytest.fixture
def share(tmp_path: Path) -> Unfenced:
    return share_at(tmp_path)


def publish(share: Unfenced, registry: Registry, *, version: int = 7, package: Package | None = None) -> Path:
    share.models.publish(package or registry.contents.package, registry.read, triton_model="churn", version=version)
    return share.root / "churn" / str(version)


def whole(folder: Path, contents: Contents) -> bool:
    return tree(folder) == {file.path: contents.files[file.path] for file in contents.package.version_files}


def files_of(contents: Contents) -> set[str]:
    return {file.path for file in contents.package.version_files}


# --- several at a time --------------------------------------------------------------------------------------------


def test_a_large_package_is_published_whole_and_nothing_is_left(share: Unfenced) -> None:
    registry, told = Registry(MODEL), []
    share.models.publish(MODEL.package, registry.read, triton_model="churn", version=7, moved=told.append)
    version = share.root / "churn" / "7"
    assert whole(version, MODEL)
    assert staged(share) == []
    assert sum(told) == registry.sent == sum(file.size for file in MODEL.package.version_files)
    modes = {path: path.stat().st_mode & 0o777 for path in [version, *version.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o555}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o444}


def test_of_many_files_several_are_read_at_once(share: Unfenced) -> None:
    together = threading.Barrier(3)

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        together.wait(SECONDS)  # passes only when three read at the same time
        yield MODEL.files[path][start:]

    share.models.publish(MODEL.package, read, triton_model="churn", version=7)
    assert whole(share.root / "churn" / "7", MODEL)


@pytest.mark.parametrize("number", [0, 3, 5])
def test_one_wrong_file_of_many_publishes_nothing_and_is_named(share: Unfenced, number: int) -> None:
    wrong = f"weights/{number}.bin"
    spoilt = Contents({**MODEL.files, wrong: b"?" + MODEL.files[wrong][1:]})
    with pytest.raises(OtherBytes, match=rf"weights/{number}\.bin is not what the package says") as failure:
        publish(share, Registry(spoilt), package=MODEL.package)
    assert "nothing was published" in failure.value.state
    assert share.models.versions("churn") == [] and staged(share) == []


def test_the_others_stop_when_one_has_failed(share: Unfenced) -> None:
    sent: list[str] = []

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        if path == "weights/0.bin":
            raise Rejected("it was deleted", system="MLflow")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not sent or sent[-1] != path:
                sent.append(path)
            time.sleep(0.01)
            yield b""
        raise AssertionError("nobody told it to stop")

    with pytest.raises(Rejected, match="it was deleted"):
        share.models.publish(MODEL.package, read, triton_model="churn", version=7)
    assert "weights/5.bin" not in sent, "what had not begun did not begin"
    assert staged(share) == []


def test_a_full_disk_in_the_middle_of_a_large_package_leaves_nothing(small_disk: Path) -> None:
    share = share_at(small_disk)
    with pytest.raises(Unavailable, match="No space left on device"):
        publish(share, Registry(MODEL))
    assert share.models.versions("churn") == [] and staged(share) == []


def test_memory_does_not_grow_with_the_package(tmp_path: Path) -> None:
    """96 MiB go by; what the process holds at most grows by less than a quarter of that."""
    (tmp_path / "model-repo").mkdir()
    received, send = clean.Pipe(duplex=False)
    process = clean.Process(target=_publish_and_measure, args=(str(tmp_path), send))
    process.start()
    assert received.poll(SECONDS)
    grown_bytes = received.recv()
    process.join(SECONDS)
    assert process.exitcode == 0
    assert grown_bytes < 24 * MEGABYTE


def _publish_and_measure(folder: str, send: Connection) -> None:
    block = noise(1, 1)
    count, digest = 12, hashlib.sha256(block * 12).hexdigest()
    small = Contents({})
    package = Package.of(
        [*small.package.files, *(PackageFile(f"{n}.bin", count * MEGABYTE, digest) for n in range(8))]
    )

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        for at in range(start, count * MEGABYTE, PIECE):
            begin = at % MEGABYTE
            yield block[begin : begin + PIECE]

    share = share_at(Path(folder))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    share.models.publish(package, read, triton_model="churn", version=7)
    send.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


# --- on from where it was cut off ---------------------------------------------------------------------------------


def cut_off(share: Unfenced, breaks: dict[str, int]) -> Path:
    """Publish until the registry goes away; return where what is left lies."""
    with pytest.raises(Unavailable, match="the connection is gone"):
        publish(share, Registry(MODEL, breaks=breaks))
    assert share.models.versions("churn") == []
    (left,) = (path for path in (share.state / "staging").iterdir() if path.is_dir())
    return left / "files"


def test_a_publish_whose_registry_went_away_goes_on_from_there(share: Unfenced) -> None:
    had = lengths(cut_off(share, {"weights/5.bin": MEGABYTE}))
    assert had["weights/5.bin"] == MEGABYTE

    registry = Registry(MODEL)
    assert whole(publish(share, registry), MODEL)

    assert registry.asked == {path: [length] for path, length in had.items() if length < 2 * MEGABYTE}
    assert registry.sent == 12 * MEGABYTE - sum(had.values())
    assert staged(share) == []


def lengths(left: Path) -> dict[str, int]:
    """How much of each file is there."""
    there = {path: left / path for path in files_of(MODEL)}
    return {path: file.stat().st_size if file.exists() else 0 for path, file in there.items()}


def test_it_goes_on_as_often_as_it_is_cut_off_and_keeps_the_fullest_only(share: Unfenced) -> None:
    had = []
    for megabytes in (0, 1, 0):
        left = cut_off(share, {f"weights/{number}.bin": megabytes * MEGABYTE for number in range(3, 6)})
        had.append(sum(lengths(left).values()))
    # How far the other files came each time is up to the threads that copy them.
    assert had == sorted(had) and had[1] >= MEGABYTE
    registry = Registry(MODEL)
    assert whole(publish(share, registry), MODEL)
    assert registry.sent == 12 * MEGABYTE - had[-1]
    assert staged(share) == []


@pytest.mark.parametrize("where", ["the beginning", "the end", "too long"])
@pytest.mark.parametrize("path", ["weights/0.bin", "weights/5.bin"])
def test_what_was_changed_in_between_is_not_used(share: Unfenced, path: str, where: str) -> None:
    left = cut_off(share, {"weights/5.bin": MEGABYTE})
    had = lengths(left)
    (left / path).chmod(0o644)
    with (left / path).open("r+b") as file:
        if where == "too long":
            file.truncate(3 * MEGABYTE)
        else:
            file.seek(0 if where == "the beginning" else -1, os.SEEK_SET if where == "the beginning" else os.SEEK_END)
            file.write(b"!")
    registry = Registry(MODEL)
    assert whole(publish(share, registry), MODEL)
    assert 0 in registry.asked[path], "it was fetched whole"
    others = {name: [length] for name, length in had.items() if length < 2 * MEGABYTE and name != path}
    assert {name: starts for name, starts in registry.asked.items() if name != path} == others


def test_what_is_left_has_no_part_in_a_package_of_other_bytes(share: Unfenced) -> None:
    cut_off(share, {"weights/5.bin": MEGABYTE})
    other = large(2)
    registry = Registry(other)
    assert whole(publish(share, registry), other)
    assert registry.sent == 12 * MEGABYTE


def test_what_is_left_outlives_a_sweep_for_a_day(share: Unfenced) -> None:
    left = cut_off(share, {"weights/5.bin": MEGABYTE}).parent
    assert share.trash.sweep(alone=True) == 0 and left.is_dir()
    yesterday = time.time() - 25 * 3600
    for path in (share.state / "staging").iterdir():
        os.utime(path, (yesterday, yesterday))
    assert share.trash.sweep(alone=False) == 2
    assert staged(share) == []


def test_where_nobody_sweeps_the_next_publish_drops_what_is_old(share: Unfenced) -> None:
    left = cut_off(share, {"weights/5.bin": MEGABYTE}).parent
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    publish(share, Registry(large(2)))
    assert staged(share) == []


@pytest.mark.parametrize("at", range(1, 12, 2))
def test_killed_in_the_middle_the_next_one_goes_on(tmp_path: Path, at: int) -> None:
    share = share_at(tmp_path)
    with _publishing(tmp_path, pieces=at * 16) as process:
        os.kill(process.pid, signal.SIGKILL)
    assert share.models.versions("churn") == []
    registry = Registry(MODEL)
    assert whole(publish(share, registry), MODEL)
    assert registry.sent < 12 * MEGABYTE, "some of it was there"
    assert staged(share) == []


def test_who_is_paused_and_wakes_up_late_writes_into_nothing_that_is_published(tmp_path: Path) -> None:
    """Its files are open, and it believes that it still publishes: but what was published are copies."""
    share = share_at(tmp_path)
    with _publishing(tmp_path, pieces=90) as process:
        os.kill(process.pid, signal.SIGSTOP)
        its = {path.stat().st_ino for path in (share.state / "staging").rglob("*.bin")}
        assert its
        registry = Registry(MODEL)
        version = publish(share, registry)
        assert registry.sent < 12 * MEGABYTE, "what the paused one had was used"
        inodes = {path.stat().st_ino for path in version.rglob("*.bin")}
        assert not inodes & its
        assert staged(share) != [], "what somebody has locked is not deleted"

        # What it does when it wakes up would be right bytes. Here it writes wrong ones, through what it has open.
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            if descriptor.readlink().suffix == ".bin":
                with descriptor.open("r+b") as late:  # the same inode, also where it is deleted
                    late.write(b"late" * 1000)
        assert whole(version, MODEL)

        os.kill(process.pid, signal.SIGCONT)
        process.go_on()
        process.join()
    assert whole(version, MODEL)
    assert {path.stat().st_ino for path in version.rglob("*.bin")} == inodes
    assert share.models.versions("churn") == [7]
    assert staged(share) == []


def test_who_lost_its_lock_and_its_folder_publishes_nothing(tmp_path: Path) -> None:
    """As on NFS, where a server gives the locks of a client that it does not hear from to others."""
    share = share_at(tmp_path)
    with _publishing(tmp_path, pieces=90) as process:
        for lock in (share.state / "staging").glob("*.lock"):
            lock.unlink()
        version = publish(share, Registry(MODEL))
        assert staged(share) == [], "it was taken for dead"
        process.go_on()
        process.join()
    assert whole(version, MODEL)
    assert staged(share) == []


class _publishing:  # noqa: N801 - reads as what it is
    """A process that publishes MODEL and stands still after so many pieces until it is told to go on."""

    def __init__(self, folder: Path, *, pieces: int) -> None:
        self._reached, send = clean.Pipe(duplex=False)
        released, self._release = clean.Pipe(duplex=False)
        self._process = clean.Process(target=_publish_in_pieces, args=(str(folder), pieces, send, released))

    def __enter__(self) -> _publishing:
        self._process.start()
        assert self._reached.poll(SECONDS), "it does not come so far"
        assert self._process.pid is not None
        self.pid = self._process.pid
        return self

    def go_on(self) -> None:
        self._release.send("go")

    def join(self) -> None:
        self._process.join(SECONDS)
        assert self._process.exitcode is not None

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _publish_in_pieces(folder: str, pieces: int, send: Connection, released: Connection) -> None:
    left, counting = pieces, threading.Lock()

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        nonlocal left
        content = MODEL.files[path]
        for at in range(start, len(content), PIECE):
            with counting:
                left -= 1
                now = left
            if now == 0:
                time.sleep(0.1)  # the others come to stand, too
                send.send("there")
            if now <= 0:
                released.poll(SECONDS)
            yield content[at : at + PIECE]

    share_at(Path(folder)).models.publish(MODEL.package, read, triton_model="churn", version=7)


# --- bytes that are there already ---------------------------------------------------------------------------------


def sharing(contents: Contents, *, but: str) -> Contents:
    """The same package with one other file."""
    return Contents({**contents.files, but: noise(9, 2)})


def test_what_another_version_holds_is_copied_from_there(share: Unfenced) -> None:
    before = publish(share, Registry(MODEL))
    inodes = {path.stat().st_ino for path in before.rglob("*")}
    ctimes = {path: path.stat().st_ctime_ns for path in before.rglob("*")}
    next_one = sharing(MODEL, but="weights/3.bin")
    registry = Registry(next_one)
    with mock.patch("os.copy_file_range", wraps=os.copy_file_range) as copied:
        after = publish(share, registry, version=8)
    assert whole(after, next_one) and whole(before, MODEL)
    assert registry.asked == {"weights/3.bin": [0]}
    assert copied.call_count >= 5
    # No hard links: linking would change the ctime of what is served, and Triton would load it again.
    assert not inodes & {path.stat().st_ino for path in after.rglob("*")}
    assert {path: path.stat().st_ctime_ns for path in before.rglob("*")} == ctimes


def test_bytes_are_found_under_another_name_of_another_model(share: Unfenced) -> None:
    publish(share, Registry(MODEL))
    renamed = Contents({path.replace("weights/", "other/"): content for path, content in MODEL.files.items()})
    registry = Registry(renamed)
    share.models.publish(renamed.package, registry.read, triton_model="fraud", version=1)
    assert whole(share.root / "fraud" / "1", renamed) and registry.asked == {}


def test_the_next_environment_takes_them_from_the_one_before(tmp_path: Path) -> None:
    dev = share_at(tmp_path / "dev")
    publish(dev, Registry(MODEL))
    folder = tmp_path / "prod"
    (folder / "model-repo").mkdir(parents=True)
    prod = Unfenced(
        Share(model_repository=str(folder / "model-repo"), state=str(folder / "state")),
        [Share(model_repository=str(dev.root), state=str(dev.state)), Share(model_repository="/no/m", state="/no/s")],
    )
    prod.begin()
    registry = Registry(MODEL)
    assert whole(publish(prod, registry), MODEL)
    assert registry.asked == {}


def damaged(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(MEGABYTE)
        file.write(b"!")


def shortened(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, MEGABYTE)


def gone(path: Path) -> None:
    path.parent.chmod(0o755)
    path.unlink()


def linked(path: Path) -> None:
    gone(path)
    path.symlink_to("/dev/zero")


def fifo(path: Path) -> None:
    gone(path)
    os.mkfifo(path)


@pytest.mark.parametrize("what", [damaged, shortened, gone, linked, fifo])
def test_what_is_damaged_is_fetched_from_the_registry(share: Unfenced, what: Callable[[Path], None]) -> None:
    before = publish(share, Registry(MODEL))
    what(before / "weights/2.bin")
    registry = Registry(MODEL)
    assert whole(publish(share, registry, version=8), MODEL)
    assert registry.asked.keys() == {"weights/2.bin"}


@pytest.mark.parametrize("text", [b"", b"\xff", b"/etc/passwd", b"../../x", b"churn/7", b"a\0b"])
def test_a_note_that_leads_nowhere_is_only_a_hint(share: Unfenced, text: bytes) -> None:
    publish(share, Registry(MODEL))
    for note in (share.state / "bytes").iterdir():
        note.write_bytes(text)
    registry = Registry(MODEL)
    assert whole(publish(share, registry, version=8), MODEL)
    assert registry.sent == 12 * MEGABYTE


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_cannot_copy_by_itself_is_no_obstacle(share: Unfenced, code: int) -> None:
    publish(share, Registry(MODEL))
    registry = Registry(MODEL)
    with mock.patch("os.copy_file_range", side_effect=OSError(code, os.strerror(code))):
        assert whole(publish(share, registry, version=8), MODEL)
    assert registry.sent == (12 * MEGABYTE if code == errno.EIO else 0)


def test_old_notes_are_forgotten(share: Unfenced) -> None:
    publish(share, Registry(MODEL))
    notes = sorted((share.state / "bytes").iterdir())
    assert len(notes) == 6
    long_ago = time.time() - 91 * 24 * 3600
    os.utime(notes[0], (long_ago, long_ago))
    share.trash.sweep(alone=False)
    assert sorted((share.state / "bytes").iterdir()) == notes[1:]


def test_a_small_package_leaves_no_notes_and_is_read_in_order(share: Unfenced) -> None:
    small = Contents({f"{number}.bin": b"x" * number for number in range(9)})
    registry = Registry(small)
    assert whole(publish(share, registry), small)
    assert list(registry.asked) == [file.path for file in small.package.version_files]
    assert not (share.state / "bytes").exists()
