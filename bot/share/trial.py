"""A trial of the share: every operation of a deployment, under names that no deployment uses.

A killed trial leaves at most files and folders named ``promobot-doctor-…``. Readers of the share pass over
them, and :func:`forget_abandoned` removes them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.domain.package import CONFIG_FILE
from bot.folders import make_writable, of_published, set_mode, sync_folder
from bot.share.files import age_seconds, delete, rename_in, write

_NAME = re.compile(r"promobot-doctor-[0-9a-f]{16}(?:\.[a-z]+)?")
_ABANDONED_SECONDS = 600.0
"""No trial lasts as long, however slow the share is."""
_CONFIG = b'backend: "onnxruntime"\nversion_policy { specific { versions: [ 1 ] } }\n'
"""Of a model without a version: a Triton that can read it refuses to load it, with words of its own."""
_MANY = 200
"""Model folders that are looked at: what is wrong with one is wrong with those that the same writer made."""


class Unfit(Exception):
    """An operation went through, and did not do what a deployment relies on."""


def is_trial(name: str) -> bool:
    """Return whether a file or folder of this name is one of a trial, and nothing of a deployment."""
    return bool(_NAME.fullmatch(name))


def trial_name() -> str:
    """Return a name that nobody has used; it is a name of a model, and no person's."""
    return f"promobot-doctor-{secrets.token_hex(8)}"


@contextmanager
def published(root: Path, state: Path) -> Iterator[str]:
    """Bring a model without a version into Triton's root as a deployment does; yield its name, then remove it.

    Raises OSError for an operation that fails. Its folder is read-only while it is there, as a version's is.
    """
    name = trial_name()
    staged, there = state / "staging" / name, root / name
    try:
        staged.mkdir()
        write(staged / CONFIG_FILE, _CONFIG)
        _set_mode(staged, 0o755)
        sync_folder(staged)
        rename_in(staged, there)
        _replace(state, there / CONFIG_FILE)
        _set_mode(there, of_published(root))
        yield name
    finally:
        for left in (staged, there):
            if left.exists():
                # Out of Triton's root by one rename, as a version goes; a folder that moves must be writable itself.
                make_writable(left)
                trash = state / "trash" / name
                left.rename(trash)
                sync_folder(left.parent)
                delete(trash)


def try_state(state: Path) -> None:
    """Do in the state's folders what a deployment does; raise OSError, or Unfit for what does not hold.

    No turn is taken. No lock of a deployment is opened: closing its file would take it from its holder.
    """
    name = trial_name()
    file = state / "staging" / name
    with _removed(file):
        _create(file)
        _set_mode(file, 0o444)
    turn = state / "turns" / name
    with _removed(turn):
        _create(turn)
        try:
            _create(turn)
        except FileExistsError:
            pass
        else:
            raise Unfit("it creates the same file twice: two deployments could take the same turn")
        sync_folder(turn.parent)
    lock = state / f"{name}.lock"
    with _removed(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            for locks in (fcntl.lockf, fcntl.flock):
                locks(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locks(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)
    prepared, committed = state / "staging" / f"{name}.json", state / "routes" / f"{name}.json"
    with _removed(prepared), _removed(committed):
        write(prepared, b"{}\n")
        os.link(prepared, committed)
        sync_folder(committed.parent)
    for folder in ("packages", "journal", "outbox", "trash"):
        path = state / folder / name
        with _removed(path):
            _create(path)
    for others in ("lock", "overtaking"):
        _see_writable(state / others)


@contextmanager
def readable(state: Path) -> Iterator[tuple[str, str]]:
    """Put a file where routes are, with their mode; yield its name and its text, then remove it."""
    name = f"{trial_name()}.json"
    prepared, there = state / "staging" / name, state / "routes" / name
    with _removed(prepared), _removed(there):
        write(prepared, name.encode())
        os.link(prepared, there)
        sync_folder(there.parent)
        yield name, name


def try_models(root: Path) -> None:
    """Raise PermissionError where a folder of a model that is there already may not be written to."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not is_trial(path.name))[:_MANY]:
        _see_writable(folder)


def forget_abandoned(*folders: Path) -> int:
    """Remove what killed trials left in these folders; return how much it was."""
    count = 0
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if is_trial(path.name) and age_seconds(path) > _ABANDONED_SECONDS and delete(path):
                count += 1
    return count


def _set_mode(path: Path, mode: int) -> None:
    try:
        set_mode(path, mode)
    except OSError as error:
        said = f"it refuses chmod ({os.strerror(error.errno or 0)}): {error.strerror}"
        raise Unfit(f"{said}; a deployment sets the mode of all that it writes") from error
    # One that is as open to readers, and as closed to writers, is accepted.
    found = stat.S_IMODE(path.stat().st_mode)
    if ~found & mode & 0o777 or found & ~mode & 0o222:
        raise Unfit(f"it takes mode {mode:o} for {path} and keeps {found:o}: others could not read what is published")


def _replace(state: Path, target: Path) -> None:
    new = state / "staging" / f"{target.parent.name}.pbtxt"
    with _removed(new):
        write(new, _CONFIG)
        new.replace(target)
        sync_folder(target.parent)


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def _see_writable(path: Path) -> None:
    # Asked, not opened: to close the file of a lock takes the lock from its holder in this process.
    wanted = os.W_OK | (os.X_OK if path.is_dir() else 0)
    if path.exists() and not os.access(path, wanted, effective_ids=True):
        raise PermissionError(errno.EACCES, "somebody else made it, and we may not write to it", str(path))


@contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
