"""The share: packages appear whole or not at all, and nothing that was published ever changes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from bot.domain.marker import MARKER_FILE
from bot.domain.package import PACKAGE_FILE, TENSORS_FILE
from bot.domain.routes import Route, RouteTable, Target
from bot.errors import LeaseLost, OtherBytes, Rejected, Unavailable
from bot.settings import Share
from bot.share import mount_of
from tests.stores import Unfenced
from tests.systems.packages import CONFIG, SMOKE, SMOKE_BESIDE, TENSORS, Contents, chunks
from tests.systems.tracing import Ended, looked_blindly, synced, traced

MODEL = Contents({"model.onnx": b"the model's bytes", "weights/part.data": b"0123456789", "empty.txt": b""})
OTHER = Contents({"model.onnx": b"the model's BYTES", "weights/part.data": b"0123456789", "empty.txt": b""})


def share_at(folder: Path) -> Unfenced:
    (folder / "model-repo").mkdir(parents=True, exist_ok=True)
    share = Unfenced(Share(model_repository=str(folder / "model-repo"), state=str(folder / "state")))
    share.begin()
    return share


@pytest.fixture
def share(tmp_path: Path) -> Unfenced:
    return share_at(tmp_path)


def publish(share: Unfenced, contents: Contents = MODEL, *, version: int = 7) -> Path:
    share.models.publish(contents.package, contents.read, triton_model="churn", version=version)
    return share.root / "churn" / str(version)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def modes(folder: Path) -> dict[str, int]:
    every = [folder, *folder.rglob("*")]
    return {path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in every}


def staged(share: Unfenced) -> list[Path]:
    return list((share.state / "staging").rglob("*"))


# --- publishing ---------------------------------------------------------------------------------------------------


def test_a_version_holds_exactly_the_files_of_the_version(share: Unfenced) -> None:
    version = publish(share)
    assert tree(version) == {
        "model.onnx": b"the model's bytes",
        "weights/part.data": b"0123456789",
        "empty.txt": b"",
    }
    assert share.models.versions("churn") == [7]
    assert share.models.wrong_bytes(MODEL.package, triton_model="churn", version=7) == []
    assert staged(share) == []
    assert sorted(path.name for path in share.root.iterdir()) == [MARKER_FILE, "churn"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_published_is_readable_for_all_and_writable_for_nobody(share: Unfenced, umask: int) -> None:
    before = os.umask(umask)
    try:
        version = publish(share)
        share.models.write_config("churn", CONFIG)
        share.routes.write(RouteTable("dev", 1))
    finally:
        os.umask(before)
    assert modes(version) == {
        ".": 0o555,
        "weights": 0o555,
        "model.onnx": 0o444,
        "weights/part.data": 0o444,
        "empty.txt": 0o444,
    }
    # Triton and the gateways run as somebody else.
    assert stat.S_IMODE((share.root / "churn").stat().st_mode) & 0o555 == 0o555
    assert stat.S_IMODE((share.root / "churn" / "config.pbtxt").stat().st_mode) & 0o444 == 0o444
    assert stat.S_IMODE((share.state / "routes.json").stat().st_mode) & 0o444 == 0o444


def test_publishing_the_same_again_reads_nothing_and_changes_nothing(share: Unfenced) -> None:
    version = publish(share)

    def there() -> dict[Path, tuple[int, ...]]:
        every = {path: path.stat() for path in [version, *version.rglob("*")]}
        # All but the time of the last reading: what is adopted is hashed.
        return {path: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in every.items()}

    before = there()

    def read(path: str) -> Iterator[bytes]:
        raise AssertionError("what is there already is adopted")

    share.models.publish(MODEL.package, read, triton_model="churn", version=7)
    assert there() == before


@pytest.mark.parametrize("call", ["openat", "getdents64"])
def test_a_folder_that_cannot_be_listed_is_never_left_unprotected_in_silence(share: Unfenced, call: str) -> None:
    version = share.root / "churn" / "7"
    ended = traced(lambda: publish(share), inject=f"{call}:error=EIO", path=version)

    if ended.error is None:
        assert modes(version)["."] == modes(version)["weights"] == 0o555
    else:
        assert issubclass(ended.error, Unavailable)
        publish(share)
        assert modes(version)["."] == modes(version)["weights"] == 0o555


def test_a_version_that_a_crash_left_unprotected_is_protected_when_it_is_adopted(share: Unfenced) -> None:
    version = publish(share)
    for folder in (version, version / "weights"):
        folder.chmod(0o755)
    publish(share)
    assert modes(version)["."] == modes(version)["weights"] == 0o555


def test_other_bytes_under_the_same_number_are_never_written(share: Unfenced) -> None:
    version = publish(share)
    before = tree(version)
    with pytest.raises(Rejected, match=r"model\.onnx has other bytes") as failure:
        publish(share, OTHER)
    assert "never overwritten" in failure.value.state and "new version" in failure.value.next_step
    assert tree(version) == before
    assert staged(share) == []
    publish(share, OTHER, version=8)
    assert tree(version) == before and share.models.versions("churn") == [7, 8]


def test_many_that_publish_the_same_at_once_all_succeed(share: Unfenced) -> None:
    ready, failures = threading.Barrier(8), []

    def run() -> None:
        ready.wait(20)
        try:
            publish(share)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert share.models.wrong_bytes(MODEL.package, triton_model="churn", version=7) == []
    assert modes(share.root / "churn" / "7")["."] == 0o555
    assert staged(share) == []


def missing(path: str) -> Iterator[bytes]:
    return chunks(MODEL.files[path][:-1])


def extra(path: str) -> Iterator[bytes]:
    return chunks(MODEL.files[path] + b"!")


def endless(path: str) -> Iterator[bytes]:
    yield MODEL.files[path]
    yield from [b"!" * 2**20] * 8
    raise AssertionError("it reads on and on")


def wrong(path: str) -> Iterator[bytes]:
    return chunks(OTHER.files[path])


def nothing(path: str) -> Iterator[bytes]:
    return iter(())


@pytest.mark.parametrize("read", [missing, extra, endless, wrong, nothing])
def test_bytes_that_are_not_those_of_the_package_are_not_published(
    share: Unfenced, read: Callable[[str], Iterator[bytes]]
) -> None:
    publish(share, OTHER, version=6)
    with pytest.raises(Rejected, match="is not what the package says") as failure:
        share.models.publish(MODEL.package, read, triton_model="churn", version=7)
    assert "nothing was published" in failure.value.state and failure.value.next_step
    assert share.models.versions("churn") == [6]
    assert staged(share) == []
    assert not (share.state / "trash").is_dir() or not list((share.state / "trash").iterdir())


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Unavailable("broke off", system="MLflow"), Unavailable),
        (OSError(errno.EIO, "Input/output error"), Unavailable),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("a bug"), RuntimeError),
    ],
)
def test_reading_fails_in_the_middle(share: Unfenced, raised: BaseException, expected: type[BaseException]) -> None:
    def read(path: str) -> Iterator[bytes]:
        yield MODEL.files[path][:4]
        if path.startswith("weights"):
            raise raised
        yield MODEL.files[path][4:]

    with pytest.raises(expected):
        share.models.publish(MODEL.package, read, triton_model="churn", version=7)
    assert share.models.versions("churn") == []
    assert staged(share) == []
    assert publish(share).is_dir(), "the next try succeeds"


def test_a_full_disk_leaves_what_is_live_untouched_and_nothing_behind(small_disk: Path) -> None:
    share = share_at(small_disk)
    live = publish(share)
    share.models.write_config("churn", CONFIG)
    share.routes.write(RouteTable("dev", 1))
    free = shutil.disk_usage(small_disk).free
    big = Contents({"model.onnx": os.urandom(200_000), "weights/part.data": os.urandom(200_000)})

    with pytest.raises(Unavailable, match="No space left on device") as failure:
        publish(share, big, version=8)

    assert "did not change" in failure.value.state
    assert shutil.disk_usage(small_disk).free == free
    assert share.models.versions("churn") == [7] and tree(live)["model.onnx"] == b"the model's bytes"

    (small_disk / "filler").write_bytes(b"x" * (free // 4096 * 4096))
    text, routes = share.models.config("churn"), share.routes.read("dev")
    for write in (
        lambda: share.models.write_config("churn", "a" * 5000),
        lambda: share.routes.write(RouteTable("dev", 2)),
        lambda: share.outbox.put("dev-1", "x" * 5000),
        lambda: share.packages.keep(OTHER.package, OTHER.read),
    ):
        with pytest.raises(Unavailable, match="No space left on device"):
            write()
    assert (share.models.config("churn"), share.routes.read("dev")) == (text, routes)
    assert (
        staged(share) == [] and share.outbox.read() == {} and share.packages.described(OTHER.package.digest) is None
    )


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "ESTALE"])
@pytest.mark.parametrize("call", ["fsync", "close", "write", "rename"])
def test_a_disk_that_fails_late_is_noticed(share: Unfenced, call: str, error: str) -> None:
    """NFS tells of many failures no sooner than at fsync or close."""
    publish(share, OTHER, version=6)
    staging = share.state / "staging" / "staged"
    path = staging if call == "rename" else staging / "model.onnx"

    def work() -> None:
        with mock.patch("secrets.token_hex", return_value="staged"):  # so that strace can be told the path
            publish(share)

    ended = traced(work, inject=f"{call}:error={error}", path=path)

    assert ended.error is Unavailable
    assert os.strerror(getattr(errno, error)) in ended.said
    assert share.models.versions("churn") == [6]
    assert staged(share) == []
    assert publish(share).is_dir()


def test_whatever_a_rename_shows_was_synced_before_and_the_rename_is_synced_after(
    share: Unfenced, tmp_path: Path
) -> None:
    """A disk may lose what was not synced: then a crash would show an empty file under a good name."""
    staging = share.state / "staging"

    def work() -> None:
        with mock.patch("secrets.token_hex", return_value="staged"):
            share.packages.keep(MODEL.package, MODEL.read)
            publish(share)
            share.models.write_config("churn", CONFIG)
            share.routes.write(RouteTable("dev", 1))

    steps = synced(work, tmp_path / "strace")

    ready = staging / f"routes-1-{hashlib.sha256(RouteTable('dev', 1).to_json().encode()).hexdigest()[:16]}"
    kept = share.state / "packages" / MODEL.package.digest.removeprefix("sha256:")
    moves = [step for step in steps if step.startswith("move ")]
    assert moves == [
        f"move {staging}/staged {kept}",
        f"move {staging}/staged {share.root}/churn/7",
        f"move {staging}/config.pbtxt.staged {share.root}/churn/config.pbtxt",
        f"move {ready}.json.staged {ready}.json",
        f"move {ready}-copy.json.staged {ready}-copy.json",
        f"move {ready}.json {share.state}/routes/0000000001.json",
        f"move {ready}-copy.json {share.state}/routes.json",
    ]
    described, published, configured, prepared, _, committed, copied = (steps.index(move) for move in moves)
    inside = {
        (0, described): ["/config.pbtxt", "/smoke.json", "/package.json", ""],
        (described, published): ["/model.onnx", "/weights/part.data", "/empty.txt", "/weights", ""],
    }
    for (start, end), names in inside.items():
        assert sorted(set(steps[start:end]) & {f"sync {staging}/staged{name}" for name in names}) == sorted(
            f"sync {staging}/staged{name}" for name in names
        )
    assert f"sync {staging}/config.pbtxt.staged" in steps[published:configured]
    assert f"sync {ready}.json.staged" in steps[configured:prepared]
    assert f"sync {share.state}/routes" in steps[committed:copied]
    assert f"sync {kept.parent}" in steps[described:published]
    # The model's own folder is new, too: the name of the version in it, and its name in the root.
    assert {f"sync {share.root}/churn", f"sync {share.root}"} <= set(steps[published:configured])
    # That nobody may write into it any more is known only once it is named.
    version = f"{share.root}/churn/7"
    assert {f"sync {version}", f"sync {version}/weights"} <= set(steps[published:configured])
    assert f"sync {share.root}/churn" in steps[configured:prepared]
    assert f"sync {share.state}" in steps[copied:]


def test_a_state_that_is_new_is_there_after_a_crash(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    state = tmp_path / "promobot" / "dev"
    share = Unfenced(Share(model_repository=str(tmp_path / "models"), state=str(state)))
    steps = synced(lambda: (share.begin(), share.journal_of(1).write("{}")), tmp_path / "strace")
    written = next(number for number, step in enumerate(steps) if step.startswith(f"move {state}/staging/"))
    assert {f"sync {folder}" for folder in (tmp_path, state.parent, state)} <= set(steps[:written])


@pytest.mark.parametrize("call", ["openat", "write", "fsync", "mkdir", "rename", "chmod"])
def test_killed_at_any_point_a_version_is_whole_or_not_there(share: Unfenced, call: str) -> None:
    publish(share, OTHER, version=6)
    for point in range(1, 100):
        ended = traced(lambda: publish(share), inject=f"{call}:signal=SIGKILL:when={point}")
        assert sorted(path.name for path in share.root.iterdir()) == [MARKER_FILE, "churn"]
        assert share.models.wrong_bytes(OTHER.package, triton_model="churn", version=6) == []
        if 7 in share.models.versions("churn"):
            assert share.models.wrong_bytes(MODEL.package, triton_model="churn", version=7) == []
        version = publish(share)
        assert modes(version)["."] == modes(version)["weights"] == 0o555
        if not ended.killed:
            break
        share.models.remove("churn", version=7)
    assert point > 1, "it was never killed"
    assert not ended.killed


# --- what people plant --------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody else; tests look that it stays as it is."""
    folder = tmp_path / "outside"
    folder.mkdir(mode=0o700)
    (folder / "precious").write_text("keep me")
    (folder / "precious").chmod(0o600)
    return folder


def untouched(outside: Path) -> bool:
    return modes(outside) == {".": 0o700, "precious": 0o600} and tree(outside) == {"precious": b"keep me"}


def test_a_version_that_is_a_link_is_not_taken_for_the_version(
    share: Unfenced, outside: Path, tmp_path: Path
) -> None:
    elsewhere = share_at(tmp_path / "elsewhere")
    same_bytes = publish(elsewhere)
    (share.root / "churn").mkdir()
    (share.root / "churn" / "7").symlink_to(same_bytes)
    with pytest.raises(Rejected, match="link"):
        publish(share)


def test_links_and_strange_things_inside_a_version_are_wrong(share: Unfenced, outside: Path) -> None:
    version = publish(share)
    for folder in (version, version / "weights"):
        folder.chmod(0o755)
    (version / "model.onnx").unlink()
    (version / "model.onnx").symlink_to(outside / "precious")
    (version / "extra").symlink_to(outside)
    (version / "weights" / "__pycache__").mkdir()
    (version / "weights" / "__pycache__" / "a.pyc").write_bytes(b"")
    os.mkfifo(version / "pipe")
    found = share.models.wrong_bytes(MODEL.package, triton_model="churn", version=7)
    assert found == [
        "extra does not belong there",
        "pipe does not belong there",
        "weights/__pycache__/a.pyc does not belong there",
        "model.onnx has other bytes",
    ]


def test_a_folder_of_a_version_that_is_a_link_is_not_followed(share: Unfenced, outside: Path) -> None:
    version = publish(share)
    version.chmod(0o755)
    shutil.copytree(version / "weights", outside / "weights")
    shutil.rmtree(version / "weights")
    (version / "weights").symlink_to(outside / "weights")
    found = share.models.wrong_bytes(MODEL.package, triton_model="churn", version=7)
    assert "weights/part.data is missing" in found


def test_a_model_that_is_a_link_is_not_published_into(share: Unfenced, outside: Path) -> None:
    (share.root / "churn").symlink_to(outside)
    with pytest.raises((Rejected, Unavailable), match="link"):
        publish(share)
    assert untouched(outside)


def test_removing_follows_no_link(share: Unfenced, outside: Path) -> None:
    version = publish(share)
    version.chmod(0o755)
    (version / "extra").symlink_to(outside)
    share.models.remove("churn", version=7)
    assert share.models.versions("churn") == [] and untouched(outside)

    (share.root / "churn" / "8").symlink_to(outside)
    share.models.remove("churn", version=8)
    assert share.models.versions("churn") == [] and untouched(outside)

    (share.root / "dangling").symlink_to(outside / "nowhere")
    share.models.remove("dangling")
    assert not (share.root / "dangling").is_symlink()


@pytest.mark.parametrize("path", ["../escape", "/tmp/escape", "a/../../escape", ".hidden", "a//b", "a\\b", ""])
def test_no_package_names_a_path_outside(path: str) -> None:
    with pytest.raises(ValueError, match="not a valid path in a package"):
        Contents({"model.onnx": b"m", path: b"x"})


# --- what is kept of a package ------------------------------------------------------------------------------------


def test_describe_keeps_what_proves_a_package(share: Unfenced) -> None:
    assert share.packages.described(MODEL.package.digest) is None
    described = share.packages.keep(MODEL.package, MODEL.read)
    assert (described.package, described.config) == (MODEL.package, CONFIG)
    assert described.smoke.to_json() == SMOKE
    assert share.packages.described(MODEL.package.digest) == described
    kept = share.state / "packages" / MODEL.package.digest.removeprefix("sha256:")
    assert sorted(tree(kept)) == ["config.pbtxt", "package.json", "smoke.json"]
    assert staged(share) == []

    def read(path: str) -> Iterator[bytes]:
        raise AssertionError("what is kept already is adopted")

    assert share.packages.keep(MODEL.package, read) == described


@pytest.mark.parametrize("read", [missing, extra, endless, nothing])
def test_describe_keeps_nothing_of_other_bytes(share: Unfenced, read: Callable[[str], Iterator[bytes]]) -> None:
    with pytest.raises(Rejected, match="is not what the package says"):
        share.packages.keep(MODEL.package, read)
    assert share.packages.described(MODEL.package.digest) is None
    assert staged(share) == []


@pytest.mark.parametrize("name", ["config.pbtxt", "smoke.json", PACKAGE_FILE])
def test_what_is_kept_and_was_changed_is_rejected(share: Unfenced, name: str) -> None:
    share.packages.keep(MODEL.package, MODEL.read)
    path = share.state / "packages" / MODEL.package.digest.removeprefix("sha256:") / name
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(OTHER.package.to_json().encode() if name == PACKAGE_FILE else content.replace(b"1", b"2"))
    assert path.read_bytes() != content or name == "config.pbtxt"
    path.write_bytes(path.read_bytes() + b" " * (name == "config.pbtxt"))
    with pytest.raises(Rejected, match="is not what"):
        share.packages.described(MODEL.package.digest)


@pytest.mark.parametrize(
    "contents",
    [
        Contents({"model.onnx": b"m"}, smoke="{}"),
        Contents({"model.onnx": b"m"}, smoke="no JSON"),
        Contents({"model.onnx": b"m"}, smoke='{"format": 1, "cases": [1]}'),
    ],
)
def test_a_package_whose_smoke_cases_cannot_be_read_is_rejected(share: Unfenced, contents: Contents) -> None:
    with pytest.raises(Rejected, match=r"smoke\.json"):
        share.packages.keep(contents.package, contents.read)


BESIDE = Contents({"model.onnx": b"m", TENSORS_FILE: TENSORS}, smoke=SMOKE_BESIDE)


def test_large_tensors_of_golden_cases_are_kept_beside_and_read_one_at_a_time(share: Unfenced) -> None:
    described = share.packages.keep(BESIDE.package, BESIDE.read)
    kept = share.state / "packages" / BESIDE.package.digest.removeprefix("sha256:")
    assert sorted(tree(kept)) == ["config.pbtxt", "package.json", "smoke.json", "smoke.tensors"]
    (case,) = described.smoke.cases
    assert list(case.outputs[0].data) == [9, 10, 11, 12]
    assert share.packages.described(BESIDE.package.digest) == described
    published = publish(share, BESIDE)
    assert sorted(tree(published)) == ["model.onnx"], "Triton has no use for them"
    # Whoever read the cases before finds out, too.
    (kept / "smoke.tensors").chmod(0o644)
    (kept / "smoke.tensors").write_bytes(TENSORS[::-1])
    with pytest.raises(OtherBytes, match=r"smoke.tensors has other bytes for Y at 8 than smoke.json says"):
        list(case.outputs[0].data)
    with pytest.raises(OtherBytes, match=r"smoke.tensors is not what sha256:"):
        share.packages.described(BESIDE.package.digest)
    (kept / "smoke.tensors").unlink()
    with pytest.raises(Unavailable, match="could not read"):
        list(case.outputs[0].data)


# --- configuration, routes, outbox ---------------------------------------------------------------------------------


def test_a_configuration_is_replaced_only_when_it_differs(share: Unfenced) -> None:
    publish(share)
    assert share.models.config("churn") is None
    share.models.write_config("churn", "a: 1\n")
    first = (share.root / "churn" / "config.pbtxt").stat()
    share.models.write_config("churn", "a: 1\n")
    assert (share.root / "churn" / "config.pbtxt").stat() == first
    share.models.write_config("churn", "a: 2\n")
    assert share.models.config("churn") == "a: 2\n"
    assert (share.root / "churn" / "config.pbtxt").stat().st_ino != first.st_ino, "renamed in, never written over"
    assert staged(share) == []
    assert sorted(path.name for path in (share.root / "churn").iterdir()) == ["7", "config.pbtxt"]


def test_who_was_overtaken_while_writing_a_configuration_changes_nothing(share: Unfenced) -> None:
    publish(share)
    share.models.write_config("churn", "a: 1\n")
    with share.lease() as late:
        with share.lease(overtake=True):
            share.models.write_config("churn", "a: 2\n")
        with pytest.raises(LeaseLost):
            late.models.write_config("churn", "a: 3\n")
    assert share.models.config("churn") == "a: 2\n" and staged(share) == []


def test_a_reader_never_sees_half_a_configuration(share: Unfenced) -> None:
    publish(share)
    texts = {letter * 200_000 for letter in "ab"}
    share.models.write_config("churn", "a" * 200_000)
    ended, torn = threading.Event(), []

    def read() -> None:
        while not ended.is_set():
            text = share.models.config("churn")
            if text not in texts:
                torn.append(text)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for letter in "ba":
            share.models.write_config("churn", letter * 200_000)
    ended.set()
    reader.join(20)
    assert torn == []


def test_routes_come_back_as_they_were_written(share: Unfenced) -> None:
    assert share.routes.read("dev") == RouteTable("dev")
    target = Target("churn.1a2b3c4d", 7, MODEL.package.digest)
    table = RouteTable("dev").following({"churn": Route(live=target), "fraud": Route(shadow=target)})
    share.routes.write(table)
    assert share.routes.read("dev") == table and table.generation == 1
    assert staged(share) == []


def test_of_two_tables_for_one_generation_the_second_is_refused_however_late_it_comes(share: Unfenced) -> None:
    seen_by_both = RouteTable("dev").following({})
    share.routes.write(seen_by_both)
    ours, theirs = (
        seen_by_both.following({"churn": Route(live=Target("churn", version, MODEL.package.digest))})
        for version in (7, 8)
    )
    share.routes.prepare(ours)
    share.routes.write(theirs)
    for _ in range(2):
        with pytest.raises(LeaseLost, match="generation 2 of the routes was written by a later"):
            share.routes.write(ours)
        assert share.routes.read("dev") == theirs
    share.routes.write(theirs)  # as after a reply that was lost
    assert share.routes.read("dev") == theirs


def test_nobody_else_s_table_is_put_in_force_by_whoever_thinks_it_is_its_own(share: Unfenced) -> None:
    """Seen on NFS with two deployers at once: what was prepared was replaced right before it was linked."""
    routes = [{"churn": Route(live=Target("churn", version, MODEL.package.digest))} for version in (7, 8)]
    ours, theirs = (RouteTable("dev").following(one) for one in routes)
    link = os.link

    def late(source: Path, target: Path) -> None:
        share.routes.prepare(theirs)
        link(source, target)

    with mock.patch("os.link", late):
        share.routes.write(ours)
    assert share.routes.read("dev") == ours
    with pytest.raises(LeaseLost):
        share.routes.write(theirs)


READINGS: dict[str, Callable[[Unfenced], object]] = {
    "described": lambda share: share.packages.described(MODEL.package.digest),
    "bytes": lambda share: share.models.wrong_bytes(MODEL.package, triton_model="churn", version=7),
    "versions": lambda share: share.models.versions("churn"),
    "config": lambda share: share.models.config("churn"),
    "routes": lambda share: share.routes.read("dev"),
    "journal": lambda share: share.journal.read(),
    "outbox": lambda share: share.outbox.read(),
    "silences": lambda share: share.silences.read(),
    "packages": lambda share: share.packages.digests(),
    "contents": lambda share: share.models.contents(),
}


@pytest.mark.parametrize("what", READINGS)
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_is_opened_before_what_lies_in_it_is_looked_at(tmp_path: Path, what: str, there: bool) -> None:
    """A client of NFS believes what it knew of a name, unless the folder is opened (docs/how-to/nfs.md)."""
    share = share_at(tmp_path / "share")
    if there:
        share.trials.check()
        share.packages.keep(MODEL.package, MODEL.read)
        publish(share)
        share.models.write_config("churn", CONFIG)
        share.routes.write(RouteTable("dev").following({}))
        share.journal_of(1).write("one")
        share.outbox.put("m", "{}")
        share.silences.note("{}")
    (share.state).mkdir(exist_ok=True)
    for below in (share.root, share.state):
        assert looked_blindly(lambda: READINGS[what](share), tmp_path / "log", below=below) == []


def test_a_folder_is_opened_before_a_version_is_adopted_or_removed(share: Unfenced, tmp_path: Path) -> None:
    publish(share)
    for work in (lambda: publish(share), lambda: share.models.discard("churn", version=7)):
        assert looked_blindly(work, tmp_path / "log", below=share.root) == []


def test_a_copy_that_was_made_late_does_not_bring_old_routes_back(share: Unfenced) -> None:
    tables = [RouteTable("dev", generation) for generation in range(1, 4)]
    for table in tables:
        share.routes.write(table)
    (share.state / "routes.json").write_text(tables[0].to_json())
    assert share.routes.read("dev") == tables[2]
    (share.state / "routes.json").unlink()
    assert share.routes.read("dev") == tables[2]


def test_of_the_generations_the_last_are_kept(share: Unfenced) -> None:
    for generation in range(1, 60):
        share.routes.write(RouteTable("dev", generation))
    kept = sorted(path.name for path in (share.state / "routes").iterdir())
    assert (kept[0], kept[-1], len(kept)) == ("0000000009.json", "0000000059.json", 51)


def test_the_way_back_needs_no_space(small_disk: Path) -> None:
    share = share_at(small_disk)
    routes = {"churn": Route(live=Target("churn", 7, MODEL.package.digest))}
    forth = RouteTable("dev").following(routes)
    share.routes.prepare(forth.following({}))
    share.routes.write(forth)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"x" * (free // 4096 * 4096))

    with pytest.raises(Unavailable, match="No space left on device"):
        share.routes.write(forth.following(routes))
    share.routes.write(forth.following({}))
    assert share.routes.read("dev") == forth.following({})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"format": 2}',
        b'{"format": 1, "environment": "dev", "generation": -1, "models": {}}',
        b'{"format": 1, "environment": "dev", "generation": 1, "models": {"../x": {}}}',
        b'{"format": 1, "environment": "dev", "generation": 1, "models": {"churn": {"live": 1}}}',
    ],
)
def test_routes_that_cannot_be_read_are_rejected(share: Unfenced, content: bytes) -> None:
    share.routes.write(RouteTable("dev"))
    (share.state / "routes.json").write_bytes(content)
    with pytest.raises(Rejected, match=r"routes\.json is not readable") as failure:
        share.routes.read("dev")
    assert "last good file" in failure.value.next_step


def test_the_journal_of_the_latest_turn_is_the_one_that_counts(share: Unfenced) -> None:
    assert share.journal.read() is None
    share.journal_of(3).write("three")
    assert share.journal.read() == "three"
    share.journal_of(5).write("five, which goes on with three")
    share.journal_of(5).close()
    assert share.journal.read() is None
    share.journal_of(3).write("three woke up late")
    assert share.journal.read() is None
    share.journal_of(6).write("six")
    share.journal_of(7).close()  # by one that found nothing left to do
    share.journal_of(6).write("six woke up late")
    assert share.journal.read() is None
    share.journal_of(7).write("seven has something to do after all")
    assert share.journal.read() == "seven has something to do after all"
    share.journal_of(7).close()
    assert [path.name for path in (share.state / "journal").iterdir()] == ["00000007.closed"]


def test_closing_the_journal_needs_no_space(small_disk: Path) -> None:
    share = share_at(small_disk)
    share.journal_of(1).write("one")
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"x" * (free // 4096 * 4096))
    share.journal_of(1).close()
    assert share.journal.read() is None


def test_the_outbox(share: Unfenced) -> None:
    assert share.outbox.read() == {}
    share.outbox.put("dev-2", "second")
    share.outbox.put("dev-1", "first")
    assert list(share.outbox.read().items()) == [("dev-1", "first"), ("dev-2", "second")]
    share.outbox.put("dev-1", "first again")
    share.outbox.drop("dev-2")
    share.outbox.drop("dev-2")
    assert share.outbox.read() == {"dev-1": "first again"}


# --- looking and removing ------------------------------------------------------------------------------------------


def test_names_and_versions(share: Unfenced) -> None:
    for name, version in (("churn", 10), ("churn", 9), ("churn.1a2b3c4d", 9), ("churn-2", 1), ("churn-shadow", 2)):
        share.models.publish(MODEL.package, MODEL.read, triton_model=name, version=version)
    (share.root / "churn" / "config.pbtxt").write_text("")
    assert share.models.names() == ["churn", "churn-2", "churn-shadow", "churn.1a2b3c4d"]
    assert share.models.names_of("churn") == ["churn", "churn.1a2b3c4d"]
    assert share.models.versions("churn") == [9, 10]
    assert share.models.versions("nothing") == []


def test_what_is_not_there_has_wrong_bytes_and_is_removed_without_a_word(share: Unfenced) -> None:
    assert "is not there" in share.models.wrong_bytes(MODEL.package, triton_model="churn", version=7)[0]
    share.models.remove("churn", version=7)
    share.models.remove("churn")


@pytest.mark.parametrize("error", ["EBUSY", "ENOTEMPTY"])
def test_what_somebody_has_open_on_nfs_stays_in_the_trash_and_goes_later(share: Unfenced, error: str) -> None:
    """A file that is open on this machine is only renamed when it is deleted; its folder cannot go before it does."""
    for version in (7, 8, 9):
        publish(share, version=version)
        share.models.discard("churn", version=version)
    held = sorted((share.state / "trash").iterdir())[0]

    ended = traced(lambda: share.trash.sweep(alone=True), inject=f"rmdir:error={error}", path=held)

    assert ended.error is Unavailable
    assert "1 of 3 removed versions or packages could not be deleted yet" in ended.said
    assert list((share.state / "trash").iterdir()) == [held]
    assert share.trash.sweep(alone=True) == 1

    def work() -> None:
        with mock.patch("secrets.token_hex", return_value="held"):
            share.models.remove("churn", version=10)

    publish(share, version=10)
    assert traced(work, inject=f"rmdir:error={error}", path=share.state / "trash/held") == Ended(killed=False)
    assert share.models.versions("churn") == []
    assert share.trash.sweep(alone=True) == 1


def test_remove_takes_one_version_or_the_whole_model_by_way_of_the_trash(share: Unfenced) -> None:
    publish(share)
    publish(share, OTHER, version=8)
    share.models.write_config("churn", CONFIG)
    share.models.remove("churn", version=7)
    assert share.models.versions("churn") == [8] and share.models.config("churn") == CONFIG
    share.models.remove("churn")
    assert share.models.names() == []
    assert list((share.state / "trash").iterdir()) == []
    publish(share)
    assert share.models.versions("churn") == [7]


def test_what_is_discarded_lies_in_the_trash_until_it_is_swept(share: Unfenced, tmp_path: Path) -> None:
    publish(share)
    share.packages.keep(MODEL.package, MODEL.read)
    outside = tmp_path / "outside"
    outside.mkdir()
    (share.root / "linked").symlink_to(outside)
    there = share.models.discard("churn", version=7)
    assert tree(there) == {"model.onnx": b"the model's bytes", "weights/part.data": b"0123456789", "empty.txt": b""}
    assert share.models.versions("churn") == []
    assert share.packages.digests() == [MODEL.package.digest]
    share.packages.discard(MODEL.package.digest)
    assert share.packages.digests() == [] and share.packages.described(MODEL.package.digest) is None
    share.models.discard("linked")
    assert outside.is_dir() and share.models.names() == ["churn"]
    share.models.discard("churn")
    share.models.discard("churn")
    assert share.trash.sweep(alone=True) == 3
    assert share.models.names() == [] and list((share.state / "trash").iterdir()) == []


@pytest.mark.parametrize("error", ["EACCES", "EIO", "ESTALE"])
def test_a_model_that_cannot_be_looked_at_is_unavailable(share: Unfenced, error: str) -> None:
    publish(share)
    for work in (lambda: publish(share), lambda: share.models.write_config("churn", CONFIG)):
        ended = traced(work, inject=f"newfstatat:error={error}", path=share.root / "churn")
        assert ended.error is Unavailable and "could not look at" in ended.said


def test_a_removal_is_on_the_disk_before_anything_is_deleted(share: Unfenced, tmp_path: Path) -> None:
    publish(share)
    steps = synced(lambda: share.models.remove("churn", version=7), tmp_path / "strace")
    (moved,) = [number for number, step in enumerate(steps) if step.startswith(f"move {share.root}/churn/7 ")]
    assert set(steps[moved + 1 :]) == {f"sync {share.state}/trash", f"sync {share.root}/churn"}


def test_a_rename_into_the_trash_whose_answer_was_lost_is_no_failure(
    share: Unfenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish(share)
    rename = Path.rename

    def lost(self: Path, target: Path) -> Path:
        rename(self, target)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "rename", lost)
    there = share.models.discard("churn", version=7)
    assert not version.exists() and (there / "model.onnx").is_file()


def test_contents_are_what_triton_would_find(share: Unfenced, tmp_path: Path) -> None:
    publish(share)
    (share.root / "churn" / "notes.txt").write_text("")
    (share.root / "churn" / "8").symlink_to(tmp_path)
    (share.root / "README").write_text("")
    (share.root / "linked").symlink_to(tmp_path)
    assert share.models.contents() == {
        "README": False,
        "churn": True,
        "churn/7": True,
        "churn/8": False,
        "churn/notes.txt": False,
        "linked": False,
    }


def test_check_tries_what_publishing_needs(share: Unfenced, tmp_path: Path) -> None:
    assert "writable" in share.trials.check() and "GiB free" in share.trials.check()
    assert staged(share) == []
    shutil.rmtree(share.root)
    with pytest.raises(Unavailable, match="it is not mounted, or was never used"):
        share.trials.check()


def test_check_sees_two_file_systems(small_disk: Path, tmp_path: Path) -> None:
    split = Unfenced(Share(model_repository=str(small_disk), state=str(tmp_path / "state")))
    split.begin()
    with pytest.raises(Rejected, match="not on one file system"):
        split.trials.check()


def test_check_sees_two_mounts_of_one_file_system(small_disk: Path) -> None:
    """As two sub-paths of one volume are in a pod: the device is the same, and a rename fails all the same."""
    with ExitStack() as mounted:
        for name in ("repository", "state"):
            folder = small_disk / name
            folder.mkdir()
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            mounted.callback(subprocess.run, ["umount", folder], check=True)
        (small_disk / "state/probe").mkdir()
        with pytest.raises(OSError, match="Invalid cross-device link"):
            (small_disk / "state/probe").rename(small_disk / "repository/probe")
        share = Unfenced(Share(model_repository=str(folder.parent / "repository"), state=str(folder)))
        share.begin()
        with pytest.raises(Rejected, match="are two mounts; publishing renames") as refused:
            share.trials.check()
        assert refused.value.next_step == "Mount a folder above both."


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt rw - tmpfs tmpfs rw,size=1k
41 30 0:51 /mlops /mnt/nfs_share/ml\\040ops rw,relatime shared:9 - nfs4 10.1.2.3:/export OPTIONS
42 22 0:52 / /proc rw - proc proc rw
"""


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ("rw,vers=4.2,hard,proto=tcp,timeo=600,retrans=2,local_lock=none,actimeo=1", []),
        ("rw,vers=4.2,soft,proto=tcp,local_lock=none", ["soft"]),
        ("rw,vers=3,hard,nolock,local_lock=all", ["nolock", "local_lock=all"]),
        ("rw,vers=4.1,softerr,nocto", ["softerr", "nocto"]),
    ],
)
def test_the_mount_is_the_nearest_one_and_its_options_are_judged(options: str, wrong: list[str]) -> None:
    table = MOUNTS.replace("OPTIONS", options)
    mount = mount_of(Path("/mnt/nfs_share/ml ops/triton"), table)
    assert str(mount) == "nfs4 10.1.2.3:/export at /mnt/nfs_share/ml ops"
    assert sorted(mount.wrong) == sorted(wrong)
    assert mount_of(Path("/mnt/nfs_share/ml"), table).filesystem == "tmpfs"
    assert mount_of(Path("/mntx"), table).point == "/"
    assert mount_of(Path("/"), table.replace("ext4", "soft")).wrong == []


def test_a_share_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    share = Unfenced(Share(model_repository=str(tmp_path / "gone"), state=str(tmp_path / "state")))
    share.begin()
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(Unavailable, match="it is not mounted, or was never used"):
        publish(share)
    with pytest.raises(Unavailable, match="it is not mounted, or was never used"):
        share.models.names()
    assert staged(share) == []
