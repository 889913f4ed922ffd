"""What runs on the clients: the product's own code on the mounted share, and a reader that trusts nothing."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bot.domain.package import CONFIG_FILE, SMOKE_FILE, Package
from bot.domain.routes import Route, RouteTable, Target
from bot.errors import Explained
from bot.settings import Share
from tests.nfs.guest import Told
from tests.stores import Unfenced
from tests.systems.packages import CONFIG, SMOKE, package_of

ENVIRONMENT = "dev"
MODEL = "churn"
CHUNK_BYTES = 2**16


# --- packages -----------------------------------------------------------------------------------------------------


def files_of(version: int, kilobytes: int, other: int = 0) -> dict[str, bytes]:
    """Return the files of a package: the same for the same numbers, on whatever client."""
    noise = random.Random(f"{version} {other}")  # noqa: S311 - no secret
    half = max(1, kilobytes * 512)
    return {
        CONFIG_FILE: CONFIG.encode(),
        SMOKE_FILE: SMOKE.encode(),
        "model.onnx": noise.randbytes(half),
        "weights/part.data": noise.randbytes(half),
        "weights/small.txt": f"version {version}\n".encode(),
    }


def share_at(root: str) -> Unfenced:
    """Return the share below a mount."""
    folders = Share(model_repository=f"{root}/model-repo/{ENVIRONMENT}", state=f"{root}/promobot/{ENVIRONMENT}")
    Path(folders.model_repository).mkdir(parents=True, exist_ok=True)
    share = Unfenced(folders)
    share.begin()
    return share


def table(generation: int, version: int, *, model: str = MODEL) -> RouteTable:
    """Return routes by which this version answers."""
    digest = package_of(files_of(version, 1)).digest
    live = Target(triton_model=model, version=version, digest=digest)
    return RouteTable(ENVIRONMENT, generation, {model: Route(live=live)})


# --- one thing each, done with the product's own code ------------------------------------------------------------


def attempt(root: str, do: str, **arguments: Any) -> list[Any]:
    """Do one thing of the ones below; return what came of it, or the name of the product's error and its words.

    Any other exception is a bug of the product, and raised.
    """
    try:
        return ["done", _THINGS[do](share_at(root), **arguments)]
    except Explained as error:
        return [type(error).__name__, str(error)]


def attempts(root: str, things: list[dict[str, Any]]) -> list[list[Any]]:
    """Do several things, one after the other, in one process."""
    return [attempt(root, **thing) for thing in things]


def _publish(
    share: Unfenced, version: int, kilobytes: int, other: int = 0, pause: float = 0.0, model: str = MODEL
) -> None:
    files = files_of(version, kilobytes, other)

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        content = files[path]
        for at in range(start, len(content), CHUNK_BYTES):
            time.sleep(pause)
            yield content[at : at + CHUNK_BYTES]

    package = package_of(files)
    share.packages.keep(package, read)
    share.models.publish(package, read, triton_model=model, version=version)


def _wrong(share: Unfenced, version: int, kilobytes: int, other: int = 0) -> list[str]:
    package = package_of(files_of(version, kilobytes, other))
    return share.models.wrong_bytes(package, triton_model=MODEL, version=version)


def _described(share: Unfenced, version: int, kilobytes: int, other: int = 0) -> bool:
    return share.packages.described(package_of(files_of(version, kilobytes, other)).digest) is not None


def _forget(share: Unfenced, version: int, kilobytes: int, other: int = 0) -> None:
    share.packages.discard(package_of(files_of(version, kilobytes, other)).digest)


_THINGS: Mapping[str, Any] = {
    "publish": _publish,
    "wrong": _wrong,
    "described": _described,
    "forget": _forget,
    "discard": lambda share, version: str(share.models.discard(MODEL, version=version)),
    "remove": lambda share, version: share.models.remove(MODEL, version=version),
    "versions": lambda share: share.models.versions(MODEL),
    "is there": lambda share, version: (share.root / MODEL / str(version)).is_dir(),
    "sweep": lambda share: share.trash.sweep(alone=True),
    "prepare routes": lambda share, generation, version: share.routes.prepare(table(generation, version)),
    "write routes": lambda share, generation, version: share.routes.write(table(generation, version)),
    "routes": lambda share: share.routes.read(ENVIRONMENT).generation,
    "write config": lambda share, text: share.models.write_config(MODEL, text),
    "config": lambda share: share.models.config(MODEL),
    "write journal": lambda share, turn, text: share.journal_of(turn).write(text),
    "close journal": lambda share, turn: share.journal_of(turn).close(),
    "journal": lambda share: share.journal.read(),
    "put in outbox": lambda share, name: share.outbox.put(name, name),
    "drop from outbox": lambda share, name: share.outbox.drop(name),
    "outbox": lambda share: sorted(share.outbox.read()),
    "check": lambda share: share.trials.check(),
}


def take_tokens(root: str, count: int) -> list[int]:
    """Take turns without waiting for anybody; return their numbers."""
    share, numbers = share_at(root), []
    for _ in range(count):
        with share.lease(overtake=True) as held:
            numbers.append(held.lease.token)
    return numbers


def race(root: str, rounds: int, own: int, told: Told) -> list[str]:
    """Write each generation of the routes, at the same time as somebody else; return what came of each."""
    while not told.to_stop():
        time.sleep(0.001)
    share, came = share_at(root), []
    for number in range(1, rounds + 1):
        generation = max(number, share.routes.read(ENVIRONMENT).generation + 1)
        try:
            share.routes.write(table(generation, own))
            came.append(f"{generation}")
        except Explained as error:
            came.append(type(error).__name__)
    return came


def hold_turn(root: str, told: Told, overtake: bool = False, wait_seconds: float = 60.0) -> dict[str, Any]:
    """Take a turn, hold it until told, then look whether it still counts and try to write under it."""
    share = share_at(root)
    began = time.monotonic()
    with share.lease(overtake=overtake, wait_seconds=wait_seconds) as held:
        found = {"number": held.lease.token, "alone": held.lease.alone, "waited": time.monotonic() - began}
        Path(root, f"turn-{held.lease.token}").touch()
        while not told.to_stop():
            time.sleep(0.01)
        found["check"] = _outcome(held.lease.check)
        found["config"] = _outcome(lambda: held.models.write_config(MODEL, "# late\n"))
    return found


def deploy_slowly(root: str, version: int, kilobytes: int, pause: float, generation: int) -> dict[str, Any]:
    """Publish under a turn, slowly; look at the turn, then put the version into force."""
    share = share_at(root)
    found: dict[str, Any] = {}
    try:
        with share.lease(wait_seconds=5) as held:
            found["number"] = held.lease.token
            found["publish"] = _outcome(
                lambda: _publish(share, version, kilobytes, pause=pause), unexpected=(OSError,)
            )
            found["check"] = _outcome(held.lease.check)
            found["routes"] = _outcome(lambda: share.routes.write(table(generation, version)))
    except Explained as error:
        found["turn"] = str(error)
    return found


def take_over(root: str, version: int, kilobytes: int, generation: int) -> dict[str, Any]:
    """Wait for the turn as long as deployments do; publish, and put the version into force."""
    share, began = share_at(root), time.monotonic()
    with share.lease() as held:
        found: dict[str, Any] = {
            "number": held.lease.token,
            "alone": held.lease.alone,
            "waited": time.monotonic() - began,
        }
        found["publish"] = _outcome(lambda: _publish(share, version, kilobytes))
        found["routes"] = _outcome(lambda: share.routes.write(table(generation, version)))
    return found


def _outcome(do: Any, unexpected: tuple[type[Exception], ...] = ()) -> str:
    try:
        do()
    except Explained as error:
        return f"{type(error).__name__}: {error}"
    except unexpected as error:
        return f"a bug: {type(error).__name__}: {error}"
    return "done"


def hold_open(path: str, told: Told) -> str:
    """Hold a file open until told; return the sha256 of what it still reads then, or the error."""
    with Path(path).open("rb", buffering=0) as file:
        file.read(1)
        while not told.to_stop():
            time.sleep(0.01)
        try:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            return hashlib.sha256(file.readall() or b"").hexdigest()
        except OSError as error:
            return f"{type(error).__name__} {error.errno}: {error.strerror}"


def hold_folder(path: str, told: Told) -> str:
    """Hold a folder open until told; open what was in it; return the error, if there is one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    while not told.to_stop():
        time.sleep(0.01)
    try:
        os.close(os.open("model.onnx", os.O_RDONLY, dir_fd=descriptor))
    except OSError as error:
        return str(error.strerror)
    return "no error"


def write_in_place(root: str, version: int, kilobytes: int) -> None:
    """What the product never does: write a version's files under their names, one after the other."""
    folder = Path(root, "model-repo", ENVIRONMENT, MODEL, str(version))
    for name, content in files_of(version, kilobytes).items():
        if name not in (CONFIG_FILE, SMOKE_FILE):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("wb") as file:
                for start in range(0, len(content), CHUNK_BYTES):
                    file.write(content[start : start + CHUNK_BYTES])
                os.fsync(file.fileno())


# --- the reader -----------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a reader saw."""

    polls: int = 0
    """How often it looked at everything."""
    packages: int = 0
    """How many packages it hashed whole."""
    megabytes: float = 0.0
    went: int = 0
    """Packages that went while it looked at them, and that no routes name."""
    torn: list[str] = field(default_factory=list)
    torn_count: int = 0
    generations: list[int] = field(default_factory=list)
    """Of the routes, each as it was first seen."""
    versions: list[int] = field(default_factory=list)
    """In Triton's root, each as it was first seen."""


def poll(root: str, packages: Mapping[str, Any], told: Told, configs: bool = True) -> dict[str, Any]:
    """Look at the share as fast as possible until told; ``packages`` are what each ``model/version`` must hold.

    A look reads the routes and hashes every file of every version in Triton's root, as it is then: each must be a
    package, whole, and each that the routes name must be there. Only a version that nobody is routed to may go while
    it is looked at.
    """
    known = {path: {one["path"]: one["sha256"] for one in files} for path, files in packages.items()}
    os.nice(10)  # it takes all that is left of the machine, and lets gateways and Tritons go first
    reader = _Reader(Path(root), known, configs)
    while not told.to_stop():
        reader.look()
    # The last state, too, and nothing goes any more.
    reader.look()
    return asdict(reader.seen)


class _Reader:
    def __init__(self, root: Path, known: Mapping[str, Mapping[str, str]], configs: bool) -> None:
        self._repository, self._state = root / "model-repo" / ENVIRONMENT, root / "promobot" / ENVIRONMENT
        self._root, self._known, self._configs = root, known, configs
        self.seen = Seen()

    def look(self) -> None:
        self.seen.polls += 1
        # From the mount down: that a folder is not there yet is believed, too.
        for folder in (self._root, self._repository.parent, self._repository, self._state.parent, self._state):
            self._names(folder)
        before = self._routed()
        versions = self._versions()
        for path in sorted(versions | before):
            if wrong := self._wrong(path):
                # Routes are read again: what was taken off them before it went is nobody's.
                if path not in (before & self._routed()) and path not in self._versions():
                    self.seen.went += 1
                else:
                    self._torn(f"{path}: {wrong}")
            else:
                self.seen.packages += 1
            number = int(path.rpartition("/")[2])
            if number not in self.seen.versions:
                self.seen.versions.append(number)

    def _torn(self, what: str) -> None:
        self.seen.torn_count += 1
        if len(self.seen.torn) < 5:
            self.seen.torn.append(f"look {self.seen.polls}: {what}")

    def _versions(self) -> set[str]:
        found = set()
        for model in self._names(self._repository):
            names = self._names(self._repository / model)
            found |= {f"{model}/{name}" for name in names if name.isdecimal()}
            if strange := [name for name in names if not name.isdecimal() and name != CONFIG_FILE]:
                self._torn(f"{model}: {', '.join(strange)} in Triton's root")
            if self._configs and found and CONFIG_FILE in names:
                try:
                    text = (self._repository / model / CONFIG_FILE).read_text()
                    if 'backend: "onnxruntime"' not in text or not text.endswith(("\n", "}")):
                        self._torn(f"{model}/{CONFIG_FILE} holds {text[-40:]!r}")
                except FileNotFoundError:
                    if CONFIG_FILE in self._names(self._repository / model):
                        self._torn(f"{model}/{CONFIG_FILE} is listed and not there")
        return found

    @staticmethod
    def _names(folder: Path) -> list[str]:
        try:
            return [path.name for path in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            return [] if error.errno == 116 else [f"error {error}"]

    def _routed(self) -> set[str]:
        self._names(self._state)
        try:
            text = (self._state / "routes.json").read_bytes()
        except FileNotFoundError:
            if self.seen.generations:
                self._torn("routes.json is not there any more")
            return set()
        try:
            routes = RouteTable.from_json(text)
        except ValueError as error:
            self._torn(f"routes.json: {error} ({len(text)} bytes)")
            return set()
        if routes.generation not in self.seen.generations:
            if self.seen.generations and routes.generation < self.seen.generations[-1]:
                self._torn(f"generation {routes.generation} after {self.seen.generations[-1]}")
            self.seen.generations.append(routes.generation)
        routed = [target for route in routes.models.values() for target in (route.live, route.shadow) if target]
        return {f"{target.triton_model}/{target.version}" for target in routed}

    def _wrong(self, path: str) -> str:
        """Hash a version; return what is wrong with it."""
        files = self._known.get(path)
        if files is None:
            return "nobody made it"
        folder, found = self._repository / path, {}
        try:
            for at, _, names in os.walk(folder, onerror=_raise):
                for name in names:
                    content = Path(at, name).read_bytes()
                    self.seen.megabytes += len(content) / 2**20
                    found[Path(at, name).relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
        except OSError as error:
            return f"{type(error).__name__} {error.errno} ({error.filename})"
        if missing := files.keys() - found.keys():
            return f"{', '.join(sorted(missing))} not there"
        if strange := found.keys() - files.keys():
            return f"{', '.join(sorted(strange))} does not belong there"
        different = [name for name, digest in found.items() if digest != files[name]]
        return f"{', '.join(different)} with other bytes" if different else ""


def _raise(error: OSError) -> None:
    raise error


def listed(package: Package) -> list[dict[str, Any]]:
    """Return the files of a version as ``poll`` wants them."""
    return [{"path": file.path, "sha256": file.sha256} for file in package.version_files]
