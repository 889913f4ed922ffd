"""Who may read and write what, whatever the umask: the modes of what the bot writes on the share and in records."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot import folders
from bot.domain.routes import RouteTable
from bot.errors import Unavailable
from bot.records.directory import RecordStore
from bot.settings import Share
from tests.gateway.gateways import gateway_process
from tests.share.test_share import CONFIG, MODEL, OTHER, modes, publish
from tests.stores import Unfenced
from tests.systems.packages import Contents
from tests.systems.tracing import traced

NOBODY, BOT, OTHER_BOT, GROUP = 65534, 4001, 4002, 4711
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that every user can enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="promobot-permissions-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def share_in(folder: Path) -> Unfenced:
    return Unfenced(Share(model_repository=str(folder / "models"), state=str(folder / "state")))


def as_user(user: int, work: Callable[[], object], *, group: int | None = None, mask: int = 0o077) -> str:
    """Run ``work`` in a process of another user and group; return what it raised, empty where it raised nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "it did not end"
        try:
            os.setgroups([])
            os.setgid(group or user)
            os.setuid(user)
            os.umask(mask)
            work()
            said = ""
        except BaseException as error:  # noqa: BLE001 - told to the parent
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


def everything(share: Unfenced) -> None:
    """Do all that a deployment writes."""
    with share.lease() as held:
        share.journal_of(held.lease.token).write("{}")
        share.packages.keep(MODEL.package, MODEL.read)
        publish(share)
        share.models.write_config("churn", CONFIG)
        share.routes.prepare(RouteTable("dev", 1))
        share.routes.write(RouteTable("dev", 1))
        share.outbox.put("one", "{}")
        share.journal_of(held.lease.token).close()


def unreadable(user: int, folder: Path) -> list[str]:
    """Return what this user cannot read below a folder."""
    found = subprocess.run(
        ["find", str(folder), "(", "!", "-readable", "-o", "-type", "d", "!", "-executable", ")", "-print"],
        user=user,
        group=user,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    return sorted(found.stdout.split()) + found.stderr.splitlines()


@pytest.mark.parametrize("mask", [0o000, 0o027, 0o077, 0o777])
def test_whatever_the_umask_modes_are_the_same(mask: int, tmp_path: Path) -> None:
    with umask(mask):
        share = share_in(tmp_path / "share")
        share.begin()
        everything(share)
        records = RecordStore(tmp_path / "records")
        records.begin()
        records.put("deployments/dev/one.json", "{}")
    of_share, of_records = modes(tmp_path / "share"), modes(tmp_path / "records")
    published = {name for name in of_share if name.startswith("models/churn/7")}
    assert {of_share[name] for name in published} == {0o555, 0o444}
    for folder, found in ((tmp_path / "share", of_share), (tmp_path / "records", of_records)):
        wrong = {
            name: oct(mode)
            for name, mode in found.items()
            if name not in published and mode not in ((0o755,) if (folder / name).is_dir() else (0o644, 0o444))
        }
        assert wrong == {}


@as_root
@pytest.mark.parametrize("mask", [0o027, 0o077])
def test_another_user_reads_all_that_was_written(mask: int, everybodys: Path) -> None:
    """Tritons and gateways run as somebody else."""

    def write() -> None:
        share = share_in(everybodys / "share")
        share.begin()
        everything(share)

    (everybodys / "share").mkdir()
    os.chown(everybodys / "share", BOT, BOT)
    assert as_user(BOT, write, mask=mask) == ""
    assert unreadable(NOBODY, everybodys / "share") == []


def test_folders_of_a_run_with_a_narrow_umask_are_opened_by_the_next(tmp_path: Path) -> None:
    share = share_in(tmp_path)
    share.begin()
    everything(share)
    for name in ("routes", "staging", "packages"):
        (share.state / name).chmod(0o700)
    (share.root / "churn").chmod(0o700)
    publish(share, OTHER, version=8)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (share.state / "routes", share.root / "churn")} == {0o755}


def test_what_a_link_leads_to_is_not_opened(tmp_path: Path) -> None:
    share = share_in(tmp_path)
    share.begin()
    everything(share)
    elsewhere = tmp_path / "elsewhere"
    (share.state / "outbox").rename(elsewhere)
    elsewhere.chmod(0o700)
    (share.state / "outbox").symlink_to(elsewhere)
    share.outbox.put("two", "{}")
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700


def test_the_roots_keep_the_mode_that_somebody_gave_them(tmp_path: Path) -> None:
    share = share_in(tmp_path)
    share.begin()
    for root in (share.root, share.state):
        root.chmod(0o750)
    everything(share)
    share.begin()
    assert {stat.S_IMODE(root.stat().st_mode) for root in (share.root, share.state)} == {0o750}


@as_root
def test_several_users_of_one_group_write_where_the_roots_say_so(everybodys: Path) -> None:
    """One publishes, the other replaces, removes and cleans up; each with the narrowest umask."""
    share = share_in(everybodys)
    for root in (share.root, share.state):
        root.mkdir()
        os.chown(root, 0, GROUP)
        root.chmod(0o2775)

    def first() -> None:
        share.begin()
        everything(share)
        # What a publish that was cut off leaves.
        broken_off = Contents({"model.onnx": os.urandom(5 * 2**20)})
        with pytest.raises(Unavailable):
            share.models.publish(broken_off.package, cut_off, triton_model="churn", version=9)

    def cut_off(path: str, start: int = 0) -> Iterator[bytes]:
        yield b"half"
        raise Unavailable("cut off", system="a test")

    def second() -> None:
        with share.lease() as held:
            share.journal_of(held.lease.token).write("{}")
            share.packages.keep(OTHER.package, OTHER.read)
            publish(share, OTHER, version=8)
            share.models.publish(MODEL.package, MODEL.read, triton_model="churn", version=7)  # adopted
            share.models.write_config("churn", CONFIG + " ")
            share.routes.write(RouteTable("dev", 2))
            share.models.remove("churn", version=7)
            share.packages.discard(MODEL.package.digest)
            share.outbox.drop("one")
            share.journal_of(held.lease.token).close()
            share.trash.sweep(alone=True)

    assert as_user(BOT, first, group=GROUP) == ""
    (left,) = (path for path in (share.state / "staging").iterdir() if path.is_dir())
    os.utime(left, (0, 0))  # a day later
    assert as_user(OTHER_BOT, second, group=GROUP) == ""
    assert not left.exists()
    assert share.models.versions("churn") == [8]
    assert share.routes.read("dev").generation == 2
    assert unreadable(NOBODY, everybodys) == []
    assert as_user(BOT, lambda: share.models.remove("churn", version=8), group=GROUP) == "", "and back again"
    assert as_user(NOBODY, lambda: share.journal_of(9).write("{}")).startswith("Unavailable: "), "nobody else writes"


@as_root
@pytest.mark.parametrize("user", [pytest.param(BOT, id="another user"), pytest.param(NOBODY, id="root, squashed")])
def test_a_user_who_may_not_write_is_told_where(everybodys: Path, user: int) -> None:
    share = share_in(everybodys)
    share.begin()
    everything(share)

    def turn() -> None:
        with share.lease():
            pass

    said = as_user(user, turn)
    assert said.startswith("Unavailable: ") and "could not take a turn: Permission denied" in said
    assert str(share.state) in said


def under(mask: int, *works: Callable[[], object]) -> Callable[[], object]:
    """Return what does these works with a umask of its own, wherever it runs."""

    def work() -> None:
        os.umask(mask)
        for one in works:
            one()

    return work


@pytest.mark.parametrize("call", ["chmod", "fchmod"])
def test_a_share_that_refuses_chmod_is_said_to(call: str, tmp_path: Path) -> None:
    share = share_in(tmp_path)
    share.begin()
    everything(share)
    ended = traced(under(0o077, lambda: publish(share, OTHER, version=8)), inject=f"{call}:error=EPERM")
    assert ended.error is Unavailable
    assert "this share refuses to set modes" in ended.said


def test_a_share_whose_modes_are_wide_enough_needs_no_chmod_but_for_what_is_published(tmp_path: Path) -> None:
    """As an SMB share that is mounted with ``file_mode`` and ``dir_mode``."""
    share = share_in(tmp_path)
    written = under(0o022, share.begin, lambda: share.routes.write(RouteTable("dev", 1)))
    ended = traced(written, inject="chmod:error=EPERM")
    assert ended.error is None, ended.said
    ended = traced(under(0o022, lambda: publish(share)), inject="chmod:error=EPERM")
    assert "keeps 755, and 555 is needed" in ended.said


@as_root
def test_a_gateway_of_another_user_follows_a_writer_with_the_narrowest_umask(everybodys: Path) -> None:
    share = share_in(everybodys)
    with umask(0o077):
        share.begin()
        share.routes.write(RouteTable("dev", 1))
    with gateway_process(share.state / "routes.json", ["http://127.0.0.1:1"], user=NOBODY) as gateway:
        assert gateway.routes()["generation"] == 1
        with umask(0o077):
            share.routes.write(RouteTable("dev", 2))
        answered = gateway.reload(2)
        assert (answered.status_code, gateway.routes()["generation"]) == (200, 2), answered.text


@pytest.mark.parametrize(
    ("models", "state", "groups", "said"),
    [
        (0o755, 0o755, (0, 0), "everybody"),
        (0o755, 0o2750, (0, GROUP), f"the group {GROUP}"),
        (0o2750, 0o2750, (GROUP, GROUP), f"the group {GROUP}"),
        (0o2750, 0o2750, (GROUP, GROUP + 1), f"nobody but members of {GROUP} and {GROUP + 1}"),
        (0o755, 0o700, (0, 0), "nobody but its owner"),
        (0o711, 0o755, (0, 0), "nobody but its owner"),
    ],
)
@as_root
def test_doctor_says_who_can_read(
    models: int, state: int, groups: tuple[int, int], said: str, everybodys: Path
) -> None:
    share = share_in(everybodys)
    share.begin()
    for root, mode, group in ((share.root, models, groups[0]), (share.state, state, groups[1])):
        os.chown(root, 0, group)
        root.chmod(mode)
    seen = share.trials.check()
    assert f"readable for {said}" in seen
    others = not any(unreadable(NOBODY, root) for root in (share.root, share.state))
    assert others == (said == "everybody")


@as_root
def test_a_closed_folder_above_the_share_is_named(everybodys: Path) -> None:
    share = share_in(everybodys / "above")
    share.begin()
    (everybodys / "above").chmod(0o700)
    assert f"readable for nobody but its owner ({everybodys}/above has mode 700)" in share.trials.check()


# --- the rule itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent", "made", "file"), [(0o755, 0o755, 0o644), (0o2775, 0o2775, 0o664), (0o777, 0o755, 0o644)]
)
def test_what_a_folder_says_holds_below_it(parent: int, made: int, file: int, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(parent)
    with umask(0o077):
        folders.make_folder(above / "below")
        with (above / "file").open("x") as opened:
            folders.open_to_readers(opened.fileno(), above)
    assert stat.S_IMODE((above / "below").stat().st_mode) == made
    assert stat.S_IMODE((above / "file").stat().st_mode) == file


@pytest.mark.parametrize(
    ("keeps", "wanted", "enough"),
    [(0o755, 0o644, True), (0o755, 0o555, False), (0o700, 0o755, False), (0o777, 0o755, False), (0o600, 0o600, True)],
)
def test_a_mode_that_stays_is_accepted_where_it_is_wide_enough(
    keeps: int, wanted: int, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SMB makes every file executable by default, and lets nobody change that."""
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(keeps)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    if enough:
        folders.set_mode(tmp_path / "file", wanted)
    else:
        with pytest.raises(PermissionError, match="refuses to set modes"):
            folders.set_mode(tmp_path / "file", wanted)


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "routes").write_text("")
    with pytest.raises(NotADirectoryError):
        folders.make_folder(tmp_path / "routes")
    with pytest.raises(FileNotFoundError):
        folders.make_folder(tmp_path / "gone" / "routes")
