"""What the bot keeps for itself beside the model repository: turns, routes, journal, outbox, reverts."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bot.domain.marker import MARKER_FILE, Marker, Purpose
from bot.domain.routes import RouteTable, generation_file
from bot.errors import LeaseLost, Rejected, Unavailable
from bot.folders import ask_anew, make_folder, open_to_readers, sync_folder
from bot.marked import MarkedFolder
from bot.redaction import redact
from bot.settings import Share
from bot.share.files import write
from bot.share.lease import Lease, take_token, unlock, wait_for_lock

_KEPT_GENERATIONS = 50
_MOMENT_SECONDS = 1.0
STATE_FOLDERS = ("staging", "packages", "routes", "journal", "turns", "outbox", "reverts", "trash")


class State:
    """One environment's state on the share. Errors are Unavailable (the file system) or Rejected (its content)."""

    def __init__(self, share: Share, *, environment: str = "", staging: bool = False) -> None:
        """``environment`` is whose share it must be; empty where that is not known, or where several share it."""
        self.root, self.state = Path(share.model_repository), Path(share.state)
        self._system = f"model repository ({share.model_repository})"
        purposes: tuple[Purpose, Purpose] = ("staging state", "staging models") if staging else ("state", "models")
        of_state, of_models = (Marker(purpose, environment) for purpose in purposes)
        # Triton's root is marked first, so a state with a marker has a root with one.
        self._folders = (
            MarkedFolder(self.root, of_models, system=self._system, in_use=self._is_of_before),
            MarkedFolder(self.state, of_state, system=self._system, in_use=_was_used),
        )

    def begin(self) -> None:
        """Make both folders and mark them as this share. Call it where a person says that the share is new."""
        for folder in self._folders:
            folder.begin()

    def _is_of_before(self, root: Path) -> bool:
        """Whether a root without a marker belongs to a state from before there were markers: it may be empty."""
        state = self.state.stat()
        return (
            not (self.state / MARKER_FILE).exists() and _was_used(self.state) and root.stat().st_dev == state.st_dev
        )

    # --- the lease -------------------------------------------------------------------------------------------------

    @contextmanager
    def lease(self, *, overtake: bool = False, wait_seconds: float = 60) -> Iterator[Lease]:
        """Take the lease, with the next token. Waits for its holder, and for all who overtook; these wait for nobody.

        The locks are politeness, the token is what decides: a holder that is overtaken, or was paused and wakes up
        late, finds that a higher one exists, whether or not it still has the lock. But the overtaken one leaves
        the lock to whoever waited behind it: without a lock of their own for those who overtake, that one would take
        a later token in the middle of a rollback, and end it.
        """
        with self._errors("take a turn"):
            self._make_folders()
        with self._lock_file("lock") as lock, self._lock_file("overtaking") as overtaking:
            with self._errors("take a turn"):
                deadline = time.monotonic() + (0 if overtake else wait_seconds)
                locked = wait_for_lock(lock, until=deadline)
                alone = wait_for_lock(overtaking, until=deadline) and locked
                if overtake:
                    # Whoever has it for himself only takes a number, and is through at once.
                    wait_for_lock(overtaking, until=time.monotonic() + _MOMENT_SECONDS, shared=True)
                folder = self.state / "turns"
                lease = Lease(take_token(folder), alone, folder)
                if not overtake:
                    unlock(overtaking)
            yield lease

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        with self._errors("take a turn"):
            descriptor = self._opened_lock(name)
        try:
            yield descriptor
        finally:
            # Nothing was written to it, and Linux gives descriptor and lock back whatever close answers: a share that
            # answers with an error here takes nothing back of what is done.
            with suppress(OSError):
                os.close(descriptor)

    def _opened_lock(self, name: str) -> int:
        path = self.state / name
        try:
            return os.open(path, os.O_RDWR)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            open_to_readers(descriptor, self.state)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    # --- routes ------------------------------------------------------------------------------------------------

    def routes(self, environment: str) -> RouteTable:
        """Return the routes in force; the empty table of generation 0 where there are none yet."""
        table = self._table(self.state / "routes.json") or RouteTable(environment)
        # Whoever was killed, or overtaken, between the commit and its copy left an older routes.json.
        while later := self._table(self._generation(table.generation + 1)):
            table = later
        return table

    def _table(self, path: Path) -> RouteTable | None:
        with self._errors(f"read {path.name}"):
            text = self._read(path)
        if text is None:
            return None
        try:
            return RouteTable.from_json(text)
        except ValueError as error:
            raise Rejected(
                f"{path} is not readable: {error}",
                system=self._system,
                next_step="Put back the last good file; gateways go on with what they have.",
            ) from error

    def _generation(self, number: int) -> Path:
        return self.state / "routes" / generation_file(number)

    def prepare_routes(self, table: RouteTable) -> None:
        """Write a table beside routes.json that may have to come into force when the disk is full."""
        with self._errors("prepare routes.json"):
            self._make_folders()
            for prepared in self._prepared(table):
                self._replace(prepared, table.to_json())

    def write_routes(self, table: RouteTable) -> None:
        """Put the table in force, synced: from here on the new routes are what recovers after a crash.

        A generation is created once. Whoever comes second with another table for the same one has been overtaken
        since it looked, however long it was paused in between: LeaseLost, and nothing was touched.
        """
        with self._errors("write routes.json"):
            self._make_folders()
            (prepared, copy), committed = self._prepared(table), self._generation(table.generation)
            for path in (prepared, copy):
                if self._read(path) != table.to_json().encode():
                    self._replace(path, table.to_json())
            try:
                os.link(prepared, committed)
            except FileExistsError as error:
                # On NFS the first try may have succeeded, and only its reply been lost.
                if self._read(committed) != table.to_json().encode():
                    prepared.unlink(missing_ok=True)
                    copy.unlink(missing_ok=True)
                    raise LeaseLost(
                        f"generation {table.generation} of the routes was written by a later deployment or rollback",
                        state="Nothing was changed by this one; the later one converges the environment.",
                        next_step="`promobot status` shows what it did.",
                    ) from error
            sync_folder(committed.parent)
            # A copy, no link: a person may edit routes.json in place when all else fails, and history stays.
            copy.replace(self.state / "routes.json")
            sync_folder(self.state)
            prepared.unlink(missing_ok=True)
            for path in committed.parent.iterdir():
                if path.name < generation_file(table.generation - _KEPT_GENERATIONS):
                    path.unlink(missing_ok=True)

    def _prepared(self, table: RouteTable) -> tuple[Path, Path]:
        # Named by its content: else somebody else's table could take its place right before it is linked.
        name = f"routes-{table.generation}-{hashlib.sha256(table.to_json().encode()).hexdigest()[:16]}"
        return self.state / "staging" / f"{name}.json", self.state / "staging" / f"{name}-copy.json"

    # --- journal -----------------------------------------------------------------------------------------------

    def journal(self) -> str | None:
        """Return the journal of a deployment under way, or None.

        Each turn has a journal of its own, and the one of the latest turn counts: what a deployer writes that was
        overtaken and wakes up late says nothing any more.
        """
        with self._errors("read the journal"):
            latest = max(self._journals(), default=None)
            return latest[2].read_text() if latest and not latest[1] else None

    def write_journal(self, turn: int, text: str) -> None:
        """Open or replace the journal of this turn, synced."""
        with self._errors("write the journal"):
            self._make_folders()
            path = self.state / "journal" / f"{turn:08d}.json"
            self._replace(path, text)
            # Where this turn has closed one already, as it does after it finished what another one had begun.
            path.with_suffix(".closed").unlink(missing_ok=True)

    def close_journal(self, turn: int) -> None:
        """Close what is open: the deployment is over, and its record is written. Needs no space on the disk."""
        with self._errors("close the journal"):
            found = sorted(self._journals())
            _, closed, path = found[-1]
            if not closed:
                path.rename(path.with_name(f"{turn:08d}.closed"))
            for _, _, older in found[:-1]:
                older.unlink(missing_ok=True)
            sync_folder(self.state / "journal")
            for prepared in (self.state / "staging").glob("routes-*.json"):
                prepared.unlink(missing_ok=True)

    def _journals(self) -> Iterator[tuple[int, bool, Path]]:
        """Yield each journal's turn, whether it is closed, and where it is; the one that counts is the largest."""
        folder = self.state / "journal"
        ask_anew(folder)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.stem.isdecimal():
                yield int(path.stem), path.suffix == ".closed", path

    # --- outbox ------------------------------------------------------------------------------------------------

    def put_in_outbox(self, name: str, text: str) -> None:
        """Keep a message that could not be delivered."""
        with self._errors("write the outbox"):
            self._make_folders()
            self._replace(self.state / "outbox" / f"{name}.json", redact(text))

    def outbox(self) -> dict[str, str]:
        """Return the undelivered messages by name, oldest name first."""
        with self._errors("read the outbox"):
            folder = self.state / "outbox"
            ask_anew(folder)
            return {p.stem: p.read_text() for p in sorted(folder.glob("*.json"))} if folder.is_dir() else {}

    def drop_from_outbox(self, name: str) -> None:
        """Forget a message that was delivered."""
        with self._errors("write the outbox"):
            (self.state / "outbox" / f"{name}.json").unlink(missing_ok=True)
            sync_folder(self.state / "outbox")

    # --- who was silent at the last look ------------------------------------------------------------------------

    def silences(self) -> str | None:
        """Return what the last look noted of those that did not answer it, or None."""
        with self._errors("read who was silent"):
            text = self._read(self.state / "silent.json")
            return text.decode(errors="replace") if text is not None else None

    def note_silences(self, text: str) -> None:
        """Keep who was silent at this look. Of two looks at the same moment either may stay."""
        with self._errors("note who is silent"):
            self._make_folders()
            self._replace(self.state / "silent.json", text)

    # --- reverts that are still to be opened --------------------------------------------------------------------

    def keep_way_back(self, name: str, text: str) -> None:
        """Keep, synced, what the revert pull request of a rollback will say."""
        with self._errors("note the way back"):
            self._make_folders()
            self._replace(self.state / "reverts" / f"{name}.json", redact(text))

    def ways_back(self) -> dict[str, str]:
        """Return the rollbacks whose pull request is still to be opened, by name, oldest turn first."""
        with self._errors("read the ways back"):
            folder = self.state / "reverts"
            ask_anew(folder)
            texts = {p.stem: self._read(p) for p in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
            # Whoever opened a pull request since we listed them has removed its note.
            return {name: text.decode(errors="replace") for name, text in texts.items() if text is not None}

    def drop_way_back(self, name: str) -> None:
        """Forget a rollback whose pull request is open, or is not needed."""
        with self._errors("forget a way back"):
            (self.state / "reverts" / f"{name}.json").unlink(missing_ok=True)
            sync_folder(self.state / "reverts")

    # -----------------------------------------------------------------------------------------------------------

    def _read(self, path: Path) -> bytes | None:
        """Return what a file below the state holds now, whoever wrote it; None where there is none."""
        ask_anew(path)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _replace(self, path: Path, text: str, *, lease: Lease | None = None) -> None:
        temporary = self.state / "staging" / f"{path.name}.{secrets.token_hex(4)}"
        try:
            write(temporary, text.encode())
            if lease is not None:
                lease.check()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)

    def _make_folders(self) -> None:
        for folder in self._folders:
            folder.adopt()
        for name in STATE_FOLDERS:
            make_folder(self.state / name)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        for folder in self._folders:
            folder.see()
        try:
            yield
        except OSError as error:
            raise Unavailable(
                f"could not {doing}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else ""),
                system=self._system,
                state="What was staged is dropped; what is published was not changed by this step.",
            ) from error


def _was_used(state: Path) -> bool:
    """Whether a state without a marker is one from before there were markers: somebody took a turn there."""
    ask_anew(state / "turns" / "any")
    turns = state / "turns"
    return (state / "routes.json").is_file() or (turns.is_dir() and any(turns.iterdir()))
