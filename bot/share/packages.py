"""The part that is kept of each package beside the model repository: enough to prove it and to go back to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.domain.package import CONFIG_FILE, MAX_PACKAGE_FILE_BYTES, PACKAGE_FILE, SMOKE_FILE, TENSORS_FILE, Package
from bot.domain.smoke import Beside, SmokeCases
from bot.errors import OtherBytes, Rejected
from bot.folders import revalidate
from bot.share.copying import Copying, ReadFile, copy_into
from bot.share.fence import Fence, Fenced
from bot.share.files import chunks_of, read_part, read_up_to, rename_in, sync_folders, write
from bot.share.notes import Notes
from bot.share.staging import staged
from bot.share.trash import discard
from bot.share.trial import is_trial
from bot.share.volume import Part, Volume


@dataclass(frozen=True)
class Described:
    """The part that is kept of a package beside the model repository: enough to prove and to go back to it."""

    package: Package
    config: str
    smoke: SmokeCases


class Packages(Part):
    """The packages of which something is kept."""

    def described(self, digest: str) -> Described | None:
        """Return what is kept of the package, or None where it was never published here."""
        folder = self.state / "packages" / digest.removeprefix("sha256:")
        with self._errors(f"read {folder}"):
            revalidate(folder / PACKAGE_FILE)
            try:
                package = Package.from_json(read_up_to(folder / PACKAGE_FILE, MAX_PACKAGE_FILE_BYTES))
                config, smoke = (_kept(folder, package, name) for name in (CONFIG_FILE, SMOKE_FILE))
                tensors = package.file(TENSORS_FILE)
                # Hashed here as the others are, so that what is damaged is found before anybody is asked.
                if tensors is not None and not tensors.is_in(chunks_of(folder / TENSORS_FILE)):
                    raise OtherBytes(f"{folder / TENSORS_FILE} is not what {digest} says", system=self._system)
            except FileNotFoundError:
                return None
            except ValueError as error:
                raise Rejected(f"{folder / PACKAGE_FILE} {error}", system=self._system) from error
        for name, content in ((CONFIG_FILE, config), (SMOKE_FILE, smoke)):
            listed = package.file(name)
            if package.digest != digest or listed is None or hashlib.sha256(content).hexdigest() != listed.sha256:
                raise OtherBytes(f"{folder / name} is not what {digest} says", system=self._system)
        try:
            return Described(package, config.decode(), SmokeCases.from_json(smoke, self._tensors(folder, package)))
        except ValueError as error:
            raise Rejected(f"{SMOKE_FILE} or {CONFIG_FILE} in {folder}: {error}", system=self._system) from error

    def _tensors(self, folder: Path, package: Package) -> Beside | None:
        """Return what reads the large tensors of the package's golden cases, one at a time; None where none are."""
        file = package.file(TENSORS_FILE)
        if file is None:
            return None

        def read(begin: int, size: int) -> bytes:
            with self._errors(f"read {folder / TENSORS_FILE}"):
                return read_part(folder / TENSORS_FILE, begin, size)

        return Beside(file.size, read, self._system)

    def digests(self) -> list[str]:
        """Return the digests of the packages of which something is kept, sorted."""
        with self._errors("list the packages"):
            folder = self.state / "packages"
            revalidate(folder)
            found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            return sorted(f"sha256:{name}" for name in found if not is_trial(name))


class HeldPackages(Fenced, Packages):
    """The packages, for a process that may write."""

    def __init__(self, volume: Volume, fence: Fence, notes: Notes, *, files_at_once: int) -> None:
        super().__init__(volume, fence)
        self._volume, self._notes, self._files_at_once = volume, notes, files_at_once

    def keep(self, package: Package, read: ReadFile) -> Described:
        """Keep what proves a package and goes back to it, and return it; adopts what is kept already."""
        kept = self.described(package.digest)
        if kept is not None:
            return kept
        files = tuple(file for file in package.files if file not in package.version_files)
        target = self.state / "packages" / package.digest.removeprefix("sha256:")
        with self._errors(f"keep {target}"), self._staged() as staging:
            copy_into(staging, files, self._notes, Copying(read, self._system, self._files_at_once))
            write(staging / PACKAGE_FILE, package.to_json().encode())
            sync_folders(staging)
            self._fence()
            rename_in(staging, target)
        described = self.described(package.digest)
        if described is None:
            raise Rejected(f"{target} did not appear", system=self._system)
        return described

    def discard(self, digest: str) -> None:
        """Rename what is kept of a package into the trash."""
        discard(self._volume, self.state / "packages" / digest.removeprefix("sha256:"))

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        self._make_folders()
        with staged(self.state / "staging") as folder:
            yield folder


def _kept(folder: Path, package: Package, name: str) -> bytes:
    """Return a document that is kept of a package; no more of it than the package lists, and one byte."""
    listed = package.file(name)
    return read_up_to(folder / name, listed.size + 1 if listed else 0)
