"""Triton's model repository: versions that appear by one rename and never change, and configurations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bot.domain.contents import Look
from bot.domain.marker import MARKER_FILE
from bot.domain.package import CONFIG_FILE, Package
from bot.errors import OtherBytes, Rejected
from bot.folders import make_folder, of_published, revalidate, set_mode, sync_folder
from bot.share.checked import at_hand
from bot.share.copying import Copying, Moved, ReadFile, copy_into, is_large
from bot.share.fence import Fence, Fenced
from bot.share.files import age_seconds, chunks_of, delete, folders, make_parents, rename_in, sync_folders
from bot.share.notes import Notes
from bot.share.staging import resumable, staged
from bot.share.trash import discard
from bot.share.trial import is_trial
from bot.share.volume import Part, Volume


class Models(Part):
    """What lies in Triton's root."""

    def wrong_bytes(self, package: Package, *, triton_model: str, version: int) -> list[str]:
        """Hash a published version; return what differs from the package, in a sentence each."""
        folder = self.root / triton_model / str(version)
        with self._errors(f"read {folder}"):
            revalidate(folder)
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
                elif path.is_symlink() or not path.is_file() or not file.is_in(chunks_of(path)):
                    wrong.append(f"{file.path} has other bytes")
        return wrong

    def versions(self, triton_model: str) -> list[int]:
        """Return the published versions under this name, sorted."""
        with self._errors(f"list {triton_model}"):
            revalidate(self.root / triton_model)
            try:
                return sorted(int(p.name) for p in (self.root / triton_model).iterdir() if p.name.isdecimal())
            except FileNotFoundError:
                return []

    def config(self, triton_model: str) -> str | None:
        """Return the model's configuration as Triton reads it, or None."""
        with self._errors(f"read the configuration of {triton_model}"):
            path = self.root / triton_model / CONFIG_FILE
            revalidate(path)
            try:
                return path.read_bytes().decode()
            except FileNotFoundError:
                return None
            except UnicodeDecodeError as error:
                raise Rejected(f"{path} is not UTF-8", system=self._system) from error

    def contents(self) -> dict[str, bool]:
        """Return what lies in Triton's root, two levels deep, by relative path: whether it is a folder.

        Links are not followed; a link does not count as a folder.
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
        return [name for name in self.names() if name == model or name.startswith(f"{model}.")]

    def names(self, *, older_seconds: float = 0) -> list[str]:
        """Return the names of all models in Triton's root that did not change for so long, sorted."""
        with self._errors("list the model repository"):
            found = [path for path in self.root.iterdir() if path.is_dir() and not is_trial(path.name)]
            return sorted(path.name for path in found if not older_seconds or age_seconds(path) > older_seconds)


class HeldModels(Fenced, Models):
    """Triton's root, for a process that may write."""

    def __init__(self, volume: Volume, fence: Fence, notes: Notes, *, files_at_once: int) -> None:
        super().__init__(volume, fence)
        self._volume, self._notes, self._files_at_once = volume, notes, files_at_once

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

        Copies into staging and hashes every byte on the way, syncs, and renames in. A version that exists is hashed
        and adopted; other bytes under the same number are never overwritten: Rejected. ``moved`` is called by several
        threads with the number of further bytes in place. ``look`` gives what judges each file's contents while it is
        copied: what may not be there is Rejected before anything is renamed in. The next publish resumes what is cut
        off.
        """
        target = self._model(triton_model) / str(version)
        with self._errors(f"publish {triton_model} {version}"):
            revalidate(target)
            fresh = not target.is_dir()
            if fresh:
                with self._put_together(package) as (staging, left):
                    copy_into(
                        staging, package.version_files, self._notes, self._copying(read, moved, look), left=left
                    )
                    fresh = self._bring_in(staging, target)
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

    def _bring_in(self, staging: Path, target: Path) -> bool:
        """Rename a version that was put together into Triton's root; say whether it was surely our rename."""
        sync_folders(staging)
        make_folder(target.parent)
        self._fence()
        fresh = rename_in(staging, target)
        sync_folder(self.root)
        return fresh

    def _protect(self, target: Path) -> None:
        with self._errors(f"protect {target.parent.name} {target.name}"):
            # The Python backend would write __pycache__ beside the model, which makes Triton reload the version.
            for folder in folders(target):
                set_mode(folder, of_published(target.parent))
                # Also what somebody protected who was killed before he synced it.
                sync_folder(folder)

    def write_config(self, triton_model: str, text: str) -> None:
        """Replace the model's configuration if it differs; written outside Triton's root and renamed in.

        Raises LeaseLost, with nothing changed, where the lease is lost when all is ready for the rename: a process
        that was paused must not name other versions than the later one serves.
        """
        if self.config(triton_model) == text:
            return
        with self._errors(f"write the configuration of {triton_model}"):
            self._replace(self._model(triton_model) / CONFIG_FILE, text)

    def remove(self, triton_model: str, *, version: int | None = None) -> None:
        """Take a version, or a whole model, out of Triton's root and delete it; does nothing where there is none."""
        trash = self.discard(triton_model, version=version)
        with self._errors(f"delete {trash}"):
            delete(trash)  # what somebody holds open stays in the trash, for the next sweep

    def discard(self, triton_model: str, *, version: int | None = None) -> Path:
        """Rename a version, or a whole model, out of Triton's root into the trash; return where it lies now.

        Does nothing where there is none. A link is taken away, never followed.
        """
        return discard(
            self._volume, self.root / triton_model if version is None else self.root / triton_model / str(version)
        )

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

    def _copying(self, read: ReadFile, moved: Moved, look: Look | None) -> Copying:
        return Copying(read, self._system, self._files_at_once, moved, look)

    def _model(self, triton_model: str) -> Path:
        """Return the model's folder to write into; raise Rejected where it leads to somewhere else."""
        folder = self.root / triton_model
        with self._errors(f"look at {folder}"):
            revalidate(folder)
            is_link = folder.is_symlink()
        if is_link:
            raise Rejected(
                f"{folder} is a link",
                system=self._system,
                state="Nothing was written through it.",
                next_step="See who made it, and remove it.",
            )
        return folder


class StagingModels(HeldModels):
    """Triton's root on staging, and what the checks of a proposal have at hand."""

    @contextmanager
    def at_hand(
        self, package: Package, read: ReadFile, *, moved: Moved = lambda _: None, look: Look | None = None
    ) -> Iterator[Path]:
        """Give a folder with the package's version files, whole, fetched once for all the checks of a proposal.

        It is for the staging share, and for large packages only: see :mod:`bot.share.checked`. Raises as ``publish``.
        """

        def fetch(target: Path) -> None:
            with self._put_together(package) as (staging, left):
                copy_into(staging, package.version_files, self._notes, self._copying(read, moved, look), left=left)
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
                os.link(there / file.path, make_parents(staging, file.path))
            self._bring_in(staging, target)
        self._protect(target)


def _paths(package: Package) -> set[str]:
    return {file.path for file in package.version_files}
