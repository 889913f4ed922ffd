"""The shared volume: Triton's model repository, and beside it what the bot keeps for itself.

    <model_repository>/<model>/config.pbtxt      written beside and renamed
    <model_repository>/<model>/<version>/…       appears by one rename, never changes, is never overwritten
    <state>/packages/<digest>/                   package.json, config.pbtxt, smoke.json of what was published
    <state>/staging/                             what is being copied; dropped when anything fails
    <state>/routes/<generation>.json             the commit point of a deployment: created once, never replaced
    <state>/routes.json                          the newest of them, for whoever does not know its number
    <state>/journal/<turn>.json                  the deployment under way; whoever finds one finishes it
    <state>/turns/<number>                       who may write: the highest number
    <state>/outbox/                              messages that Slack has not taken yet
    <state>/trash/                               what was removed and is being deleted

Why so: Triton reads version directories with stoll and lists stray directories as models, so nothing unfinished may
lie in its root; a reader on NFS may go on seeing an old directory under a name it looked up before, so names are
fresh; a crash may lose whatever was not synced, so files and folders are synced before the rename that shows them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, SMOKE_FILE, Package, PackageFile
from bot.domain.routes import RouteTable, generation_file
from bot.domain.smoke import SmokeCases
from bot.errors import OtherBytes, Rejected, Superseded, Unavailable
from bot.folders import ask_anew
from bot.settings import Share

CHUNK_BYTES = 2**20
_KEPT_TURNS = 50
_KEPT_GENERATIONS = 50
_MOUNT_STEP = "docs/nfs.md says how to mount it."
_ABANDONED_SECONDS = 24 * 3600

ReadFile = Callable[[str], Iterable[bytes]]
"""Gives the bytes of a package's file in chunks, by its path."""


@dataclass(frozen=True)
class Described:
    """What is kept of a package beside the model repository: enough to prove and to go back to it."""

    package: Package
    config: str
    smoke: SmokeCases


@dataclass(frozen=True)
class Mount:
    """What a path is on, as the kernel says."""

    point: str
    filesystem: str
    source: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.filesystem} {self.source} at {self.point}"

    @property
    def wrong(self) -> list[str]:
        """The options of NFS under which a write may be lost, or a lock excludes nobody elsewhere."""
        if not self.filesystem.startswith("nfs"):
            return []
        local = [
            option for option in self.options if option.startswith("local_lock=") and option != "local_lock=none"
        ]
        return [option for option in self.options if option in ("soft", "softerr", "nolock", "nocto")] + local


@dataclass
class Turn:
    """The right to write, until somebody takes a later one.

    ``alone`` says whether it came with the lock: then whoever wrote before is gone, not only refused.
    """

    number: int
    alone: bool
    _folder: Path

    def check(self) -> None:
        """Raise Superseded if a later turn was taken: whoever took it converges to the head of main.

        Raises Unavailable where that cannot be seen: who does not know must not write either.
        """
        try:
            latest = _latest_turn(self._folder)
        except OSError as error:
            raise Unavailable(
                f"could not look for a later turn: {error.strerror or error} ({self._folder})",
                system=f"model repository ({self._folder.parent})",
                state="Nothing more was changed from here.",
                next_step="Run the command again once the share answers: it goes on from there.",
            ) from error
        if latest > self.number:
            raise Superseded(
                f"turn {self.number} is over: turn {latest} was taken by a later deployment or rollback",
                state="Nothing more was changed from here; the later one converges the environment.",
                next_step="`promobot status` shows what it did.",
            )


class ModelRepository:
    """One environment's part of the share. Errors are Unavailable (the file system) or Rejected (its content)."""

    def __init__(self, share: Share) -> None:
        self.root, self.state = Path(share.model_repository), Path(share.state)
        self._system = f"model repository ({share.model_repository})"

    def check(self) -> str:
        """Try what publishing needs: both folders there, writable, in one mount. Returns what was seen."""
        with self._errors("try the share"):
            self._make_folders()
            probe = self.state / "staging" / f"probe-{secrets.token_hex(4)}"
            probe.write_text("probe")
            probe.unlink(missing_ok=True)  # a cleanup may have been faster
            if self.root.stat().st_dev != self.state.stat().st_dev:
                raise Rejected("model_repository and state are not on one file system", system=self._system)
            table = Path("/proc/self/mountinfo").read_text()
            mount, other = (mount_of(path.resolve(), table) for path in (self.root, self.state))
        if mount.point != other.point:
            raise Rejected(
                f"model_repository ({mount.point}) and state ({other.point}) are two mounts; publishing renames, "
                "and a rename does not cross mounts, even of one file system",
                system=self._system,
                next_step="Mount a folder above both.",
            )
        if wrong := mount.wrong:
            raise Rejected(f"{mount} is mounted with {', '.join(wrong)}", system=self._system, next_step=_MOUNT_STEP)
        free = shutil.disk_usage(self.root).free
        return f"writable, {free / 2**30:.1f} GiB free, {mount}"

    # --- turns -------------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, *, overtake: bool = False, wait_seconds: float = 60) -> Iterator[Turn]:
        """Take the next turn. Waits for whoever holds the lock; who overtakes waits for nobody.

        The lock is politeness, the number is what decides: a holder that is overtaken, or was paused and wakes up
        late, finds that a higher number exists, whether or not it still has the lock.
        """
        with self._errors("take a turn"):
            self._make_folders()
            lock = (self.state / "lock").open("a")
        with lock:
            with self._errors("take a turn"):
                deadline = time.monotonic() + (0 if overtake else wait_seconds)
                while not (locked := _try_lock(lock.fileno())) and time.monotonic() < deadline:
                    time.sleep(0.05)
                folder = self.state / "turns"
                turn = Turn(_take_turn(folder), locked, folder)
            yield turn

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
        since it looked, however long it was paused in between: Superseded, and nothing was touched.
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
                    raise Superseded(
                        f"generation {table.generation} of the routes was written by a later deployment or rollback",
                        state="Nothing was changed by this one; the later one converges the environment.",
                        next_step="`promobot status` shows what it did.",
                    ) from error
            _sync_folder(committed.parent)
            # A copy, no link: a person may edit routes.json in place when all else fails, and history stays.
            copy.replace(self.state / "routes.json")
            _sync_folder(self.state)
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
            _sync_folder(self.state / "journal")
            for prepared in (self.state / "staging").glob("routes-*.json"):
                prepared.unlink(missing_ok=True)

    def _journals(self) -> Iterator[tuple[int, bool, Path]]:
        """Yield each journal's turn, whether it is closed, and where it is; the one that counts is the largest."""
        folder = self.state / "journal"
        ask_anew(folder)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.stem.isdecimal():
                yield int(path.stem), path.suffix == ".closed", path

    # --- packages ----------------------------------------------------------------------------------------------

    def described(self, digest: str) -> Described | None:
        """Return what is kept of the package, or None where it was never published here."""
        folder = self.state / "packages" / digest.removeprefix("sha256:")
        with self._errors(f"read {folder}"):
            ask_anew(folder / PACKAGE_FILE)
            try:
                package = Package.from_json((folder / PACKAGE_FILE).read_bytes())
                config, smoke = (folder / CONFIG_FILE).read_bytes(), (folder / SMOKE_FILE).read_bytes()
            except FileNotFoundError:
                return None
            except ValueError as error:
                raise Rejected(f"{folder / PACKAGE_FILE} {error}", system=self._system) from error
        for name, content in ((CONFIG_FILE, config), (SMOKE_FILE, smoke)):
            listed = package.file(name)
            if package.digest != digest or listed is None or hashlib.sha256(content).hexdigest() != listed.sha256:
                raise OtherBytes(f"{folder / name} is not what {digest} says", system=self._system)
        try:
            return Described(package, config.decode(), SmokeCases.from_json(smoke))
        except ValueError as error:
            raise Rejected(f"{SMOKE_FILE} or {CONFIG_FILE} in {folder}: {error}", system=self._system) from error

    def describe(self, package: Package, read: ReadFile) -> Described:
        """Keep what proves a package and goes back to it, and return it; adopts what is kept already."""
        kept = self.described(package.digest)
        if kept is not None:
            return kept
        files = tuple(file for file in package.files if file not in package.version_files)
        target = self.state / "packages" / package.digest.removeprefix("sha256:")
        with self._errors(f"keep {target}"), self._staged() as staging:
            for file in files:
                self._copy(file, read(file.path), staging / file.path)
            _write(staging / PACKAGE_FILE, package.to_json().encode())
            _sync_folders(staging)
            _rename_in(staging, target)
        described = self.described(package.digest)
        if described is None:
            raise Rejected(f"{target} did not appear", system=self._system)
        return described

    def publish(self, package: Package, read: ReadFile, *, triton_model: str, version: int) -> None:
        """Make ``<triton_model>/<version>`` hold exactly the package's files.

        Copies into staging and hashes every byte on the way, syncs, and renames in. What is there already is hashed
        and adopted; other bytes under the same number are never overwritten: Rejected.
        """
        target = self._model(triton_model) / str(version)
        with self._errors(f"publish {triton_model} {version}"):
            ask_anew(target)
            fresh = not target.is_dir()
            if fresh:
                with self._staged() as staging:
                    for file in package.version_files:
                        path = staging / file.path
                        path.parent.mkdir(parents=True, exist_ok=True)
                        self._copy(file, read(file.path), path)
                    _sync_folders(staging)
                    if not target.parent.is_dir():
                        target.parent.mkdir(exist_ok=True)
                        target.parent.chmod(0o755)
                    fresh = _rename_in(staging, target)
                    _sync_folder(self.root)
        wrong = [] if fresh else self.wrong_bytes(package, triton_model=triton_model, version=version)
        if wrong:
            raise OtherBytes(
                f"{target} holds other bytes than {package.digest}: {'; '.join(wrong)}",
                system=self._system,
                state="It was not touched: a published version is never overwritten.",
                next_step="Register the model again and propose the new version.",
            )
        with self._errors(f"protect {triton_model} {version}"):
            # The Python backend would write __pycache__ beside the model, which makes Triton reload the version.
            for folder in _folders(target):
                if stat.S_IMODE(folder.stat().st_mode) != 0o555:
                    folder.chmod(0o555)

    def wrong_bytes(self, package: Package, *, triton_model: str, version: int) -> list[str]:
        """Hash a published version; return what differs from the package, in a sentence each."""
        folder = self.root / triton_model / str(version)
        with self._errors(f"read {folder}"):
            ask_anew(folder)
            if folder.is_symlink():
                return [f"{folder} is a link"]
            if not folder.is_dir():
                return [f"{folder} is not there"]
            found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
            there = {path.relative_to(folder).as_posix(): path for path in found}
            wrong = [f"{path} does not belong there" for path in sorted(there.keys() - _paths(package))]
            for file in package.version_files:
                path = there.get(file.path)
                if path is None:
                    wrong.append(f"{file.path} is missing")
                elif path.is_symlink() or not path.is_file() or _size_and_sha256(path) != (file.size, file.sha256):
                    wrong.append(f"{file.path} has other bytes")
        return wrong

    def versions(self, triton_model: str) -> list[int]:
        """Return the published versions under this name, sorted."""
        with self._errors(f"list {triton_model}"):
            ask_anew(self.root / triton_model)
            try:
                return sorted(int(p.name) for p in (self.root / triton_model).iterdir() if p.name.isdecimal())
            except FileNotFoundError:
                return []

    def config(self, triton_model: str) -> str | None:
        """Return the model's configuration as Triton reads it, or None."""
        with self._errors(f"read the configuration of {triton_model}"):
            path = self.root / triton_model / CONFIG_FILE
            ask_anew(path)
            try:
                return path.read_bytes().decode()
            except FileNotFoundError:
                return None
            except UnicodeDecodeError as error:
                raise Rejected(f"{path} is not UTF-8", system=self._system) from error

    def write_config(self, triton_model: str, text: str, *, turn: Turn | None = None) -> None:
        """Replace the model's configuration if it differs; written outside Triton's root and renamed in.

        Raises Superseded, with nothing changed, where ``turn`` is over when all is ready for the rename: whoever was
        paused must not name other versions than the later one serves.
        """
        if self.config(triton_model) == text:
            return
        with self._errors(f"write the configuration of {triton_model}"):
            self._replace(self._model(triton_model) / CONFIG_FILE, text, turn=turn)

    def remove(self, triton_model: str, *, version: int | None = None) -> None:
        """Take a version, or a whole model, out of Triton's root and delete it; does nothing where there is none."""
        trash = self.discard(triton_model, version=version)
        with self._errors(f"delete {trash}"):
            _delete(trash)  # what somebody holds open stays in the trash, for the next sweep

    def discard(self, triton_model: str, *, version: int | None = None) -> Path:
        """Rename a version, or a whole model, out of Triton's root into the trash; return where it lies now.

        Does nothing where there is none. A link is taken away, never followed.
        """
        return self._discard(self.root / triton_model if version is None else self.root / triton_model / str(version))

    def packages(self) -> list[str]:
        """Return the digests of the packages of which something is kept, sorted."""
        with self._errors("list the packages"):
            folder = self.state / "packages"
            ask_anew(folder)
            return sorted(f"sha256:{path.name}" for path in folder.iterdir()) if folder.is_dir() else []

    def discard_package(self, digest: str) -> None:
        """Rename what is kept of a package into the trash."""
        self._discard(self.state / "packages" / digest.removeprefix("sha256:"))

    def _discard(self, path: Path) -> Path:
        trash = self.state / "trash" / secrets.token_hex(8)
        with self._errors(f"remove {path}"):
            self._make_folders()
            ask_anew(path)
            if path.is_symlink():
                path.unlink()
            elif path.exists():
                # A folder that changes its parent must be writable itself.
                path.chmod(0o755)
                try:
                    path.rename(trash)
                except FileNotFoundError:
                    # Somebody else removed it at the same time, or the answer to our rename was lost on NFS.
                    if path.exists():
                        raise
                # Before anything in it is deleted: else a crash could bring half of it back under its old name.
                _sync_folder(trash.parent)
                _sync_folder(path.parent)
        return trash

    def sweep(self, *, alone: bool) -> int:
        """Delete what lies in the trash, and what killed processes left half copied; return how much it was.

        Unless nobody else can be at work here (``alone``), only what has lain there for a day. Raises Unavailable,
        when all else is deleted, where something must stay until whoever has it open is done.
        """
        count, held = 0, 0
        for name in ("trash", "staging"):
            with self._errors(f"empty {self.state / name}"):
                folder = self.state / name
                for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                    if alone or _age_seconds(path) > _ABANDONED_SECONDS:
                        if _delete(path):
                            count += 1
                        else:
                            held += 1
        if held:
            raise Unavailable(
                f"{held} of {held + count} removed versions or packages could not be deleted yet: somebody on this "
                "machine has a file of them open",
                system=self._system,
                state="They are out of Triton's root; they only take up space.",
                next_step="Nothing: the next cleanup deletes them.",
            )
        return count

    def contents(self) -> dict[str, bool]:
        """Return what lies in Triton's root, two levels deep, by relative path: whether it is a folder.

        Links are not followed; a link is no folder.
        """
        with self._errors("list the model repository"):
            found = {}
            for path in sorted(self.root.iterdir()):
                found[path.name] = path.is_dir() and not path.is_symlink()
                if found[path.name]:
                    for inner in sorted(path.iterdir()):
                        found[f"{path.name}/{inner.name}"] = inner.is_dir() and not inner.is_symlink()
            return found

    def names_of(self, model: str) -> list[str]:
        """Return the names in Triton's root under which versions of this model are published, sorted.

        The dot cannot occur in a model's own name: ``churn.1a2b3c4d`` is churn with another configuration.
        """
        return [name for name in self.models() if name == model or name.startswith(f"{model}.")]

    def models(self, *, older_seconds: float = 0) -> list[str]:
        """Return the names of all models in Triton's root that did not change for so long, sorted."""
        with self._errors("list the model repository"):
            found = [path for path in self.root.iterdir() if path.is_dir()]
            return sorted(path.name for path in found if not older_seconds or _age_seconds(path) > older_seconds)

    # --- outbox ------------------------------------------------------------------------------------------------

    def put_in_outbox(self, name: str, text: str) -> None:
        """Keep a message that could not be delivered."""
        with self._errors("write the outbox"):
            self._make_folders()
            self._replace(self.state / "outbox" / f"{name}.json", text)

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
            _sync_folder(self.state / "outbox")

    # -----------------------------------------------------------------------------------------------------------

    def _model(self, triton_model: str) -> Path:
        """Return the model's folder to write into; raise Rejected where it leads to somewhere else."""
        folder = self.root / triton_model
        with self._errors(f"look at {folder}"):
            ask_anew(folder)
            is_link = folder.is_symlink()
        if is_link:
            raise Rejected(
                f"{folder} is a link",
                system=self._system,
                state="Nothing was written through it.",
                next_step="See who made it, and remove it.",
            )
        return folder

    def _read(self, path: Path) -> bytes | None:
        """Return what a file below the state holds now, whoever wrote it; None where there is none."""
        ask_anew(path)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _copy(self, file: PackageFile, chunks: Iterable[bytes], target: Path) -> None:
        digest, size = hashlib.sha256(), 0
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
        with os.fdopen(descriptor, "wb") as out:
            # Whatever the umask: Triton runs as somebody else.
            os.fchmod(out.fileno(), 0o444)
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                if size > file.size:
                    break
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        if size != file.size or digest.hexdigest() != file.sha256:
            raise OtherBytes(
                f"{file.path} is not what the package says: {size} bytes, sha256 {digest.hexdigest()[:12]}…, "
                f"instead of {file.size} bytes, {file.sha256[:12]}…",
                system=self._system,
                state="What was staged is dropped; nothing was published.",
                next_step="Somebody changed the artifact after it was registered: register and propose anew.",
            )

    def _replace(self, path: Path, text: str, *, turn: Turn | None = None) -> None:
        temporary = self.state / "staging" / f"{path.name}.{secrets.token_hex(4)}"
        try:
            _write(temporary, text.encode())
            if turn is not None:
                turn.check()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """Give a folder outside Triton's root that is gone afterwards, whatever happens."""
        self._make_folders()
        folder = self.state / "staging" / secrets.token_hex(8)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _make_folders(self) -> None:
        for name in ("staging", "packages", "routes", "journal", "turns", "outbox", "trash"):
            _make_folder(self.state / name)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(
                f"could not {doing}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else ""),
                system=self._system,
                state="What was staged is dropped; what is published was not changed by this step.",
            ) from error


def mount_of(path: Path, table: str) -> Mount:
    """Return what the resolved ``path`` is on, by the text of ``/proc/self/mountinfo``."""
    found = None
    for line in table.splitlines():
        mounted, _, about = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mounted.split()[4])
        if path.is_relative_to(point) and (found is None or len(point) >= len(found.point)):
            filesystem, source, options = about.split(maxsplit=2)
            found = Mount(point, filesystem, source, (*mounted.split()[5].split(","), *options.split(",")))
    if found is None:
        raise OSError(errno.ENOENT, "in no mount", str(path))
    return found


def _delete(path: Path) -> bool:
    """Delete a file or a folder with all that is in it, also while somebody else deletes the same.

    Say whether all of it is gone: what a process of this machine has open on NFS is only renamed (``.nfs…``), and its
    folder stays until it is closed.
    """
    held = False
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return True
    for folder in _folders(path):
        with suppress(FileNotFoundError):
            folder.chmod(0o755)  # published folders are read-only, and so could not be emptied

    def failed(_: object, __: str, reason: tuple[type, BaseException, object]) -> None:
        nonlocal held
        error = reason[1]
        if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            held = True
        elif not isinstance(error, FileNotFoundError):
            raise error

    shutil.rmtree(path, onerror=failed)
    return not held


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _paths(package: Package) -> set[str]:
    return {file.path for file in package.version_files}


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        # Whatever the umask: Triton and the gateways run as somebody else.
        os.fchmod(file.fileno(), 0o644)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _size_and_sha256(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, synced: all that will lie in it hangs on its name."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(root: Path) -> None:
    for folder in reversed(list(_folders(root))):
        _sync_folder(folder)


def _folders(root: Path) -> Iterator[Path]:
    """Yield ``root`` and each folder below it, parents first. Links are not followed."""
    for folder, _, _ in os.walk(root):
        yield Path(folder)


def _rename_in(source: Path, target: Path) -> bool:
    """Rename and sync; say whether it was surely our rename that made the target."""
    fresh = True
    try:
        source.rename(target)
    except OSError:
        # It may have happened all the same (a lost reply on NFS), or somebody published the same before: look.
        ask_anew(target)
        if not target.is_dir():
            raise
        fresh = False
    _sync_folder(target.parent)
    return fresh


def _latest_turn(folder: Path) -> int:
    return max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0)


def _take_turn(folder: Path) -> int:
    number = _latest_turn(folder)
    while True:
        number += 1
        try:
            os.close(os.open(folder / f"{number:08d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            continue
        # A crash must not make the number free again: a record is named by it.
        _sync_folder(folder)
        # Old numbers go, recent ones stay: a listing from an NFS cache must not make a number free again.
        for path in folder.iterdir():
            if path.name.isdecimal() and int(path.name) <= number - _KEPT_TURNS:
                path.unlink(missing_ok=True)
        return number


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
