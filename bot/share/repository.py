"""Triton's model repository, and what is kept of each package that is published there."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bot.concurrency import FILES
from bot.domain.contents import Look
from bot.domain.marker import MARKER_FILE
from bot.domain.package import CONFIG_FILE, MAX_PACKAGE_FILE_BYTES, PACKAGE_FILE, SMOKE_FILE, Package, PackageFile
from bot.domain.smoke import SmokeCases
from bot.errors import OtherBytes, Rejected, Unavailable
from bot.folders import ask_anew, make_folder, make_writable, of_published, set_mode, sync_folder
from bot.settings import Share
from bot.share.checked import at_hand, forget_old
from bot.share.copying import Job, Moved, ReadFile, copy_all, is_large
from bot.share.files import (
    age_seconds,
    delete,
    folders,
    read_up_to,
    rename_in,
    size_and_sha256,
    sync_folders,
    write,
)
from bot.share.lease import Lease
from bot.share.mounts import mount_of
from bot.share.notes import Notes
from bot.share.readers import readers_of
from bot.share.staging import ABANDONED_SECONDS, may_be_resumed, resumable, staged
from bot.share.state import STATE_FOLDERS, State
from bot.share.trial import Unfit, forget_abandoned, is_trial, published, readable, try_models, try_state

_MOUNT_STEP = "docs/nfs.md says how to mount it."
_TRIAL_STEP = "Give the bot's user this right on the share: a deployment does the same."


@dataclass(frozen=True)
class Described:
    """What is kept of a package beside the model repository: enough to prove and to go back to it."""

    package: Package
    config: str
    smoke: SmokeCases


class ModelRepository(State):
    """One environment's part of the share. Errors are Unavailable (the file system) or Rejected (its content).

    Bytes that lie in a neighbour's part of it already are copied from there.
    """

    def __init__(
        self,
        share: Share,
        neighbours: Sequence[Share] = (),
        *,
        environment: str = "",
        staging: bool = False,
        files_at_once: int = FILES,
    ) -> None:
        """``files_at_once``: so many files of a package are copied at the same time."""
        super().__init__(share, environment=environment, staging=staging)
        self._notes = Notes(share, neighbours)
        self._files_at_once = files_at_once

    def check(self) -> str:
        """Try what a deployment does there, and remove it again; return what was seen.

        Both folders must be there, in one mount, and take everything from a turn to the removal of a version. Of a
        deployment under way nothing is touched. Raises Unavailable for what fails, Rejected for what does not hold.
        """
        with self._errors("try the share"):
            self._make_folders()
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
        with self._trying("try the state"):
            self._forget_trials()
            try_state(self.state)
        with self._trying("try to write to the models that are there"):
            try_models(self.root)
        with self.trial():
            pass
        free = shutil.disk_usage(self.root).free
        with self._errors("see who can read the share"):
            readers = readers_of((self.root, self.state))
        return f"writable, readable for {readers}, {free / 2**30:.1f} GiB free, {mount}"

    @contextmanager
    def trial(self) -> Iterator[str]:
        """Publish a model without a version, and yield its name in Triton's root; remove it afterwards.

        Triton has it in its index as long as it is there, and can never load it.
        """
        with self._errors("try the share"):
            self._make_folders()
        with self._trying("publish a trial, and remove it"), published(self.root, self.state) as name:
            yield name

    @contextmanager
    def trial_of_routes(self) -> Iterator[tuple[str, str]]:
        """Yield name and text of a file that lies where the routes are, as long as it lies there."""
        with self._errors("try the share"):
            self._make_folders()
        with self._trying("write a trial beside the routes, and remove it"), readable(self.state) as both:
            yield both

    def _forget_trials(self) -> int:
        return forget_abandoned(self.root, self.state, *(self.state / name for name in STATE_FOLDERS))

    @contextmanager
    def _trying(self, doing: str) -> Iterator[None]:
        try:
            with self._errors(doing):
                yield
        except Unfit as error:
            raise Rejected(f"could not {doing}: {error}", system=self._system, next_step=_MOUNT_STEP) from error
        except Unavailable as error:
            error.state, error.next_step = "Nothing of a deployment was touched.", error.next_step or _TRIAL_STEP
            raise

    def described(self, digest: str) -> Described | None:
        """Return what is kept of the package, or None where it was never published here."""
        folder = self.state / "packages" / digest.removeprefix("sha256:")
        with self._errors(f"read {folder}"):
            ask_anew(folder / PACKAGE_FILE)
            try:
                package = Package.from_json(read_up_to(folder / PACKAGE_FILE, MAX_PACKAGE_FILE_BYTES))
                config, smoke = (_kept(folder, package, name) for name in (CONFIG_FILE, SMOKE_FILE))
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
            self._copy(files, read, staging)
            write(staging / PACKAGE_FILE, package.to_json().encode())
            sync_folders(staging)
            rename_in(staging, target)
        described = self.described(package.digest)
        if described is None:
            raise Rejected(f"{target} did not appear", system=self._system)
        return described

    def publish(
        self,
        package: Package,
        read: ReadFile,
        *,
        triton_model: str,
        version: int,
        moved: Moved = lambda _: None,
        look: Look | None = None,
    ) -> None:
        """Make ``<triton_model>/<version>`` hold exactly the package's files.

        Copies into staging and hashes every byte on the way, syncs, and renames in. What is there already is hashed
        and adopted; other bytes under the same number are never overwritten: Rejected. ``moved`` is told, by several
        threads, how many more bytes are in place. ``look`` gives what judges each file's contents while it is copied:
        what may not be there is Rejected before anything is renamed in. The next publish resumes what is cut off.
        """
        target = self._model(triton_model) / str(version)
        with self._errors(f"publish {triton_model} {version}"):
            ask_anew(target)
            fresh = not target.is_dir()
            if fresh:
                with self._put_together(package) as (staging, left):
                    self._copy(package.version_files, read, staging, left, moved, look)
                    sync_folders(staging)
                    make_folder(target.parent)
                    fresh = rename_in(staging, target)
                    sync_folder(self.root)
                if fresh and is_large(package.version_files):
                    self._notes.write(package, PurePosixPath(triton_model, str(version)))
        wrong = [] if fresh else self.wrong_bytes(package, triton_model=triton_model, version=version)
        if wrong:
            raise OtherBytes(
                f"{target} holds other bytes than {package.digest}: {'; '.join(wrong)}",
                system=self._system,
                state="It was not touched: a published version is never overwritten.",
                next_step="Register the model again and propose the new version.",
            )
        self._protect(target)

    def _protect(self, target: Path) -> None:
        with self._errors(f"protect {target.parent.name} {target.name}"):
            # The Python backend would write __pycache__ beside the model, which makes Triton reload the version.
            for folder in folders(target):
                set_mode(folder, of_published(target.parent))
                # Also what somebody protected who was killed before he synced it.
                sync_folder(folder)

    @contextmanager
    def at_hand(
        self, package: Package, read: ReadFile, *, moved: Moved = lambda _: None, look: Look | None = None
    ) -> Iterator[Path]:
        """Give a folder with the package's version files, whole, fetched once for all the checks of a proposal.

        It is for the staging share, and for large packages only: see :mod:`bot.share.checked`. Raises as ``publish``.
        """

        def fetch(target: Path) -> None:
            with self._put_together(package) as (staging, left):
                self._copy(package.version_files, read, staging, left, moved, look)
                sync_folders(staging)
                rename_in(staging, target)

        with self._errors(f"fetch {package.digest}"):
            self._make_folders()
            with at_hand(self.state / "checked", package, fetch, moved, look) as there:
                yield there

    def place(self, package: Package, there: Path, *, triton_model: str, version: int) -> None:
        """Make ``<triton_model>/<version>`` hold the files of a folder that ``at_hand`` gave; no byte is copied.

        Files are linked. Triton sees a link's inode only under this name, which one check uses and then removes.
        """
        target = self._model(triton_model) / str(version)
        with self._errors(f"place {triton_model} {version}"), self._staged() as staging:
            for file in package.version_files:
                path = staging / file.path
                for above in reversed(path.relative_to(staging).parents):
                    make_folder(staging / above)
                os.link(there / file.path, path)
            sync_folders(staging)
            make_folder(target.parent)
            rename_in(staging, target)
            sync_folder(self.root)
        self._protect(target)

    @contextmanager
    def _put_together(self, package: Package) -> Iterator[tuple[Path, list[Path]]]:
        """Give a folder outside Triton's root for a version, and what is left of those that were cut off."""
        if is_large(package.version_files):
            self._make_folders()
            with resumable(self.state / "staging", package) as both:
                yield both
        else:
            with self._staged() as folder:
                yield folder, []

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        self._make_folders()
        with staged(self.state / "staging") as folder:
            yield folder

    def _copy(
        self,
        files: Iterable[PackageFile],
        read: ReadFile,
        folder: Path,
        left: Sequence[Path] = (),
        moved: Moved = lambda _: None,
        look: Look | None = None,
    ) -> None:
        """Write the files into the folder; what lies on the share already is copied from there."""
        jobs, files = [], tuple(files)
        if is_large(files):
            self._notes.look_anew()
        for file in files:
            path = folder / file.path
            for above in reversed(path.relative_to(folder).parents):
                make_folder(folder / above)
            there = [*self._notes.places_of(file), *(one / file.path for one in left)] if is_large(files) else []
            jobs.append(Job(file, path, there))
        copy_all(jobs, read, system=self._system, limit=self._files_at_once, moved=moved, look=look)

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
                elif path.is_symlink() or not path.is_file() or size_and_sha256(path) != (file.size, file.sha256):
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

    def write_config(self, triton_model: str, text: str, *, lease: Lease | None = None) -> None:
        """Replace the model's configuration if it differs; written outside Triton's root and renamed in.

        Raises LeaseLost, with nothing changed, where ``lease`` is lost when all is ready for the rename: whoever was
        paused must not name other versions than the later one serves.
        """
        if self.config(triton_model) == text:
            return
        with self._errors(f"write the configuration of {triton_model}"):
            self._replace(self._model(triton_model) / CONFIG_FILE, text, lease=lease)

    def remove(self, triton_model: str, *, version: int | None = None) -> None:
        """Take a version, or a whole model, out of Triton's root and delete it; does nothing where there is none."""
        trash = self.discard(triton_model, version=version)
        with self._errors(f"delete {trash}"):
            delete(trash)  # what somebody holds open stays in the trash, for the next sweep

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
            found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            return sorted(f"sha256:{name}" for name in found if not is_trial(name))

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
                make_writable(path)
                try:
                    path.rename(trash)
                except FileNotFoundError:
                    # Somebody else removed it at the same time, or the answer to our rename was lost on NFS.
                    if path.exists():
                        raise
                # Before anything in it is deleted: else a crash could bring half of it back under its old name.
                sync_folder(trash.parent)
                sync_folder(path.parent)
        return trash

    def sweep(self, *, alone: bool) -> int:
        """Delete what lies in the trash, and what killed processes left half copied; return how much it was.

        Unless nobody else can be at work here (``alone``), only what has lain there for a day. What is left of a
        large package stays for a day in any case: the next publish goes on with it. Raises Unavailable, when all else
        is deleted, where something must stay until whoever has it open is done.
        """
        count, held = 0, 0
        for name in ("trash", "staging"):
            with self._errors(f"empty {self.state / name}"):
                folder = self.state / name
                for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                    if is_trial(path.name):
                        continue
                    if (alone and not may_be_resumed(path)) or age_seconds(path) > ABANDONED_SECONDS:
                        if delete(path):
                            count += 1
                        else:
                            held += 1
        with self._errors("forget old notes"):
            self._notes.forget_old()
        with self._errors("forget what checks had at hand"):
            count += forget_old(self.state / "checked")
        with self._errors("remove what killed trials left"):
            count += self._forget_trials()
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
                if path.name == MARKER_FILE or is_trial(path.name):
                    continue
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
            found = [path for path in self.root.iterdir() if path.is_dir() and not is_trial(path.name)]
            return sorted(path.name for path in found if not older_seconds or age_seconds(path) > older_seconds)

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


def _kept(folder: Path, package: Package, name: str) -> bytes:
    """Return a document that is kept of a package; no more of it than the package lists, and one byte."""
    listed = package.file(name)
    return read_up_to(folder / name, listed.size + 1 if listed else 0)


def _paths(package: Package) -> set[str]:
    return {file.path for file in package.version_files}
