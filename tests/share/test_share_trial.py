"""A trial of the share, as `promobot doctor` makes it: what it sees, and that it leaves and disturbs nothing."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.domain.marker import MARKER_FILE
from bot.errors import Rejected, Unavailable
from bot.settings import Share
from bot.share import trial_name
from tests.privileges import without_privileges
from tests.stores import Unfenced
from tests.systems.tracing import traced

ABANDONED = time.time() - 3600


@pytest.fixture
def share(tmp_path: Path) -> Unfenced:
    """A share that was used before: its folders are there."""
    made = Unfenced(Share(model_repository=str(tmp_path / "models"), state=str(tmp_path / "state")))
    made.begin()
    with made.lease():
        return made


def everything(share: Unfenced) -> list[Path]:
    return sorted(path for root in (share.root, share.state) for path in root.rglob("*"))


def test_a_trial_leaves_nothing_and_touches_nothing_of_a_deployment(share: Unfenced) -> None:
    with share.lease() as held:
        share.journal_of(held.lease.token).write("{}")
        before = everything(share)
        assert "writable" in share.trials.check()
        assert everything(share) == before
        held.lease.check()
        assert share.journal.read() == "{}"


def test_while_a_trial_is_there_nobody_takes_it_for_a_model(share: Unfenced) -> None:
    with share.trials.of_a_model() as name, share.trials.of_routes() as (file, text):
        assert (share.root / name / "config.pbtxt").is_file()
        assert share.models.names() == [] and share.models.contents() == {} and share.packages.digests() == []
        assert (share.state / "routes" / file).read_text() == text
        assert share.routes.read("dev").generation == 0
        assert share.trash.sweep(alone=True) == 0, "a cleanup leaves a trial that is under way alone"
        assert (share.root / name).is_dir()
    assert list(share.root.iterdir()) == [share.root / MARKER_FILE]


def test_where_several_users_write_a_trial_has_the_mode_of_what_is_published_there(share: Unfenced) -> None:
    """Else another user of the group could not move it, as with a version."""
    share.root.chmod(0o2775)
    with share.trials.of_a_model() as name:
        assert stat.S_IMODE((share.root / name).stat().st_mode) & 0o777 == 0o575
    assert list(share.root.iterdir()) == [share.root / MARKER_FILE]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_who_may_not_write_is_asked_as_the_bot_and_not_as_whoever_started_it(share: Unfenced) -> None:
    (share.root / "churn").mkdir()
    os.chown(share.root / "churn", 4001, 4001)
    share.trials.check()
    with without_privileges(), pytest.raises(Unavailable, match="somebody else made it"):
        share.trials.check()


@pytest.mark.parametrize("then", [lambda share: share.trials.check(), lambda share: share.trash.sweep(alone=False)])
def test_what_a_killed_trial_left_goes_later(share: Unfenced, then: Callable[[Unfenced], object]) -> None:
    folders = [share.root, share.state, *(share.state / name for name in ("turns", "staging", "routes", "trash"))]
    paths = [folder / trial_name() for folder in folders]
    for path in paths:
        path.mkdir(mode=0o555)
        os.utime(path, (ABANDONED, ABANDONED))
    then(share)
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize(
    "call", ["rename", *(pytest.param(one, marks=pytest.mark.slow) for one in ("openat", "link", "chmod", "unlink"))]
)
def test_killed_at_any_point_a_trial_leaves_only_what_others_pass_over(share: Unfenced, call: str) -> None:
    before = everything(share)
    for point in range(1, 400):
        ended = traced(share.trials.check, inject=f"{call}:signal=SIGKILL:when={point}")
        left = [path for path in everything(share) if path not in before]
        assert all("promobot-doctor-" in path.as_posix() for path in left), left
        assert share.models.names() == [] and share.routes.read("dev").generation == 0
        if not ended.killed:
            break
    assert point > 1 and not ended.killed


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("chmod,fchmod,fchmodat:error=EPERM", Rejected, "it refuses chmod (Operation not permitted)"),
        ("link,linkat:error=EPERM", Unavailable, "could not try the state: Operation not permitted"),
        ("rename:error=EACCES", Unavailable, "could not publish a trial, and remove it: Permission denied"),
        ("fsync:error=EIO", Unavailable, "could not try the state: Input/output error"),
        ("flock:error=ENOLCK", Unavailable, "could not try the state: No locks available"),
        ("mkdir:error=EDQUOT", Unavailable, "could not publish a trial, and remove it: Disk quota exceeded"),
    ],
)
def test_a_share_that_refuses_what_a_deployment_does_is_named(
    share: Unfenced, fault: str, kind: type[Exception], said: str
) -> None:
    ended = traced(share.trials.check, inject=fault)
    assert ended.error is kind and said in ended.said


def test_a_share_that_takes_a_mode_and_keeps_another_is_named(
    share: Unfenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CIFS and some FUSE file systems do: chmod succeeds, and nothing changes."""
    monkeypatch.setattr(os, "chmod", lambda *_, **__: None)
    umask = os.umask(0o077)
    try:
        with pytest.raises(Rejected, match="others could not read what is published"):
            share.trials.check()
    finally:
        os.umask(umask)


def test_files_of_another_user_that_may_not_be_written_are_named(
    share: Unfenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of root nothing is refused, so the answer of the file system is given here."""
    for path in (share.state / "lock", share.root / "churn"):
        if path.name == "churn":
            path.mkdir()
        monkeypatch.setattr(os, "access", lambda asked, _, path=path, **__: asked != path)
        with pytest.raises(Unavailable, match="somebody else made it, and we may not write to it") as failure:
            share.trials.check()
        assert str(path) in str(failure.value) and "Give the bot's user this right" in failure.value.next_step
