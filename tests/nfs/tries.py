"""What is tried with the product's own code on the share, from two clients."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.nfs import inside
from tests.nfs.lab import LEASE_SECONDS, Client, Lab, Running
from tests.systems.packages import package_of

KILOBYTES = 512


@dataclass(frozen=True)
class Tried:
    """A row of the table."""

    part: str
    what: str
    problems: list[str]
    figures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def attempt(
    part: str,
    function: Callable[[Place], None],
    lab: Lab,
    export: str,
    *,
    options: str = "",
    mounted: Callable[[Place], None] = lambda _: None,
) -> Tried:
    """Run one of the functions below on a share of its own; ``mounted`` is told of it before."""
    began = time.monotonic()
    with place(lab, export, options) as at:
        try:
            mounted(at)
            function(at)
        except Exception as error:  # noqa: BLE001 - the row says it
            at.problems.append(f"{type(error).__name__}: {_short(error)}")
    what = (function.__doc__ or "").strip()
    return Tried(part, what, at.problems, at.figures, time.monotonic() - began)


@dataclass
class Place:
    """A share of its own on the export, mounted by both clients at the same path."""

    lab: Lab
    root: Path
    on_server: Path
    problems: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    @property
    def a(self) -> Client:
        return self.lab.a

    @property
    def b(self) -> Client:
        return self.lab.b

    def start(self, client: Client, function: Callable[..., Any], **arguments: Any) -> Running:
        return client.start(function, root=str(self.root), **arguments)

    def call(self, client: Client, function: Callable[..., Any], **arguments: Any) -> Any:
        return client.call(function, root=str(self.root), **arguments)

    def do(self, client: Client, what: str, **arguments: Any) -> list[Any]:
        """Do one thing with the product's code on a client; return what came of it."""
        found: list[Any] = client.call(inside.attempt, root=str(self.root), do=what, **arguments)
        return found

    def expect(self, what: str, found: Any, wanted: Any) -> None:
        """Note a problem where what was found is not what must be."""
        if found != wanted:
            self.problems.append(f"{what}: {_short(found)} instead of {_short(wanted)}")

    def done(self, client: Client, what: str, **arguments: Any) -> Any:
        """Do it; a problem where the product could not. Return what it returned."""
        came, value = self.do(client, what, **arguments)
        if came != "done":
            self.problems.append(f"{what} on {client.name}: {came}: {_short(value)}")
        return value

    def refused(self, client: Client, what: str, error: str, **arguments: Any) -> str:
        """Do it; a problem where the product did not refuse with this error. Return its words."""
        came, value = self.do(client, what, **arguments)
        if came != error:
            self.problems.append(f"{what} on {client.name}: {came} ({_short(value)}) instead of {error}")
        return str(value)

    def whole(self, client: Client, version: int, kilobytes: int = KILOBYTES, other: int = 0) -> None:
        """A problem where the version is not there, whole, in the eyes of a client."""
        wrong = self.done(client, "wrong", version=version, kilobytes=kilobytes, other=other)
        if wrong:
            self.problems.append(f"version {version} on {client.name}: {_short(wrong)}")

    def below(self, path: str) -> list[str]:
        """Return what the server has below a path."""
        folder = self.on_server / path
        return sorted(found.relative_to(folder).as_posix() for found in folder.rglob("*")) if folder.is_dir() else []

    def says(self, figure: str) -> None:
        self.figures.append(figure)

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {what}")
            time.sleep(0.02)


def _short(value: object) -> str:
    return " ".join(str(value).split())[:400]


_numbers = count(1)


@contextlib.contextmanager
def place(lab: Lab, export: str = "/share", options: str = "") -> Iterator[Place]:
    """Give a new share on the export, mounted by both clients, by default with default options."""
    name = f"place-{next(_numbers)}"
    on_server = (lab.export if export == "/share" else lab.small) / name
    on_server.mkdir()
    mount = lab.home / "mounts" / name
    for client in (lab.a, lab.b):
        client.mount(export, mount, ",".join(part for part in ("nosharecache", options) if part))
    try:
        yield Place(lab, mount / name, on_server)
    finally:
        for client in (lab.a, lab.b):
            with contextlib.suppress(Exception):
                client.unmount(mount)
        for path in [on_server, *on_server.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(on_server, ignore_errors=True)


# --- two clients ---------------------------------------------------------------------------------------------------


def publish_switch_rollback_cleanup(at: Place) -> None:
    """publish, switch, back, remove: the other client has each at once"""
    text = f"{inside.CONFIG}version_policy: {{ specific {{ versions: [1] }} }}\n"
    for version in (1, 2):
        at.done(at.a, "publish", version=version, kilobytes=KILOBYTES)
        at.done(at.a, "write config", text=text.replace("[1]", f"[{version}]"))
        at.done(at.a, "write routes", generation=version, version=version)
        at.whole(at.b, version)
        at.expect("configuration on b", at.done(at.b, "config"), text.replace("[1]", f"[{version}]"))
        at.expect("generation on b", at.done(at.b, "routes"), version)
    at.done(at.b, "write routes", generation=3, version=1)
    at.expect("generation on a after b's rollback", at.done(at.a, "routes"), 3)
    at.done(at.a, "remove", version=2)
    at.expect("versions on b", at.done(at.b, "versions"), [1])
    at.whole(at.b, 1)
    at.expect("left in staging and trash", at.below("promobot/dev/staging") + at.below("promobot/dev/trash"), [])


def what_the_other_did(at: Place) -> None:
    """a client that looked before sees what the other did since, though it may cache for a minute"""
    for number, (says, things) in enumerate(_STALE.items(), 1):
        for client in (at.a, at.b):
            client.call(inside.attempts, root=str(at.root), things=[{"do": "check"}])
        for who, what, wanted in things(number * 10):
            client, arguments = (at.a if who == "a" else at.b), dict(what)
            came = at.do(client, arguments.pop("do"), **arguments)
            at.expect(f"{says}: {what['do']} on {who}", came[: len(wanted)], wanted)
    at.says(f"{len(_STALE)} ways")


def _done(value: Any = None) -> list[Any]:
    return ["done", value]


def _p(do: str, version: int, other: int = 0) -> dict[str, Any]:
    return {"do": do, "version": version, "kilobytes": 4, "other": other}


_STALE: dict[str, Callable[[int], list[tuple[str, dict[str, Any], Any]]]] = {
    "a version that was not there, published by the other": lambda n: [
        ("a", _p("publish", 1), _done()),
        ("a", {"do": "is there", "version": n}, _done(False)),
        ("b", _p("publish", n), _done()),
        ("a", _p("publish", n), _done()),
        ("a", _p("wrong", n), _done([])),
    ],
    "a version that was there, removed by the other, published again": lambda n: [
        ("a", _p("publish", n), _done()),
        ("a", _p("wrong", n), _done([])),
        ("b", {"do": "remove", "version": n}, _done()),
        ("a", _p("publish", n), _done()),
        ("b", _p("wrong", n), _done([])),
    ],
    "what is kept of a package, described by the other": lambda n: [
        ("a", _p("described", n), _done(False)),
        ("b", _p("publish", n), _done()),
        ("a", _p("described", n), _done(True)),
    ],
    "what is kept of a package, forgotten by the other": lambda n: [
        ("a", _p("publish", n), _done()),
        ("a", _p("described", n), _done(True)),
        ("b", _p("forget", n), _done()),
        ("a", _p("described", n), _done(False)),
        ("a", _p("publish", n), _done()),
        ("b", _p("described", n), _done(True)),
    ],
    "a configuration replaced by the other": lambda n: [
        ("a", {"do": "write config", "text": f"# {n}\n"}, _done()),
        ("a", {"do": "config"}, _done(f"# {n}\n")),
        ("b", {"do": "write config", "text": f"# {n} of b\n"}, _done()),
        ("a", {"do": "write config", "text": f"# {n}\n"}, _done()),
        ("b", {"do": "config"}, _done(f"# {n}\n")),
    ],
    "routes written by the other": lambda n: [
        ("a", {"do": "write routes", "generation": 1, "version": n}, _done()),
        ("a", {"do": "routes"}, _done(1)),
        ("b", {"do": "write routes", "generation": 2, "version": n}, _done()),
        ("a", {"do": "routes"}, _done(2)),
        ("b", {"do": "write routes", "generation": 3, "version": n}, _done()),
        ("a", {"do": "write routes", "generation": 3, "version": n + 1}, ["LeaseLost"]),
        ("a", {"do": "routes"}, _done(3)),
    ],
    "a journal opened and closed by the other": lambda n: [
        ("a", {"do": "journal"}, _done(None)),
        ("b", {"do": "write journal", "turn": n, "text": "of b"}, _done()),
        ("a", {"do": "journal"}, _done("of b")),
        ("b", {"do": "write journal", "turn": n, "text": "of b, again"}, _done()),
        ("a", {"do": "journal"}, _done("of b, again")),
        ("b", {"do": "close journal", "turn": n}, _done()),
        ("a", {"do": "journal"}, _done(None)),
    ],
    "an outbox filled and emptied by the other": lambda n: [
        ("a", {"do": "outbox"}, _done([])),
        ("b", {"do": "put in outbox", "name": f"m{n}"}, _done()),
        ("a", {"do": "outbox"}, _done([f"m{n}"])),
        ("b", {"do": "drop from outbox", "name": f"m{n}"}, _done()),
        ("a", {"do": "outbox"}, _done([])),
    ],
}


def both_publish(at: Place) -> None:
    """both publish the same version at the same time"""
    rounds, lost = 10, 0
    for version in range(1, rounds + 1):
        for other in (0, 1):
            number = version + 100 * other
            started = [
                at.start(client, inside.attempt, do="publish", version=number, kilobytes=64, other=other * turn)
                for turn, client in enumerate((at.a, at.b), 1)
            ]
            came = [one.result()[0] for one in started]
            if other:
                at.expect(f"version {number}, other bytes", sorted(came), ["OtherBytes", "done"])
                lost += came.count("OtherBytes")
                winner = 1 + came.index("done") if "done" in came else 1
                at.whole(at.a, number, 64, winner)
                at.whole(at.b, number, 64, winner)
            else:
                at.expect(f"version {number}, the same bytes", came, ["done", "done"])
                at.whole(at.b, number, 64)
    at.says(f"{2 * rounds} times; other bytes refused {lost} of {rounds}")


def turns(at: Place) -> None:
    """turns taken by both at once: no number twice"""
    each = 100
    started = [at.start(client, inside.take_tokens, count=each) for client in (at.a, at.b)]
    numbers = [number for one in started for number in one.result()]
    at.expect("numbers given twice", len(numbers) - len(set(numbers)), 0)
    at.expect("numbers", len(numbers), 2 * each)
    at.says(f"{len(numbers)} turns")


def generations(at: Place) -> None:
    """each generation of the routes written by both at once: one wins"""
    rounds = 50
    at.done(at.a, "check")
    started = [at.start(client, inside.race, rounds=rounds, own=own) for own, client in enumerate((at.a, at.b), 1)]
    time.sleep(0.5)
    for one in started:
        one.tell()
    came = [one.result() for one in started]
    won = [name for outcomes in came for name in outcomes if name.isdecimal()]
    superseded = sum(outcomes.count("LeaseLost") for outcomes in came)
    at.expect("generations won twice", len(won) - len(set(won)), 0)
    at.expect("neither won nor refused", 2 * rounds - len(won) - superseded, 0)
    files = [path for path in at.below("promobot/dev/routes") if path.endswith(".json")]
    owner = {name: own for own, outcomes in enumerate(came, 1) for name in outcomes}
    for path in files:
        text = (at.on_server / "promobot/dev/routes" / path).read_text()
        says = json.loads(text)
        live = says["models"]["churn"]["live"]["version"]
        at.expect(f"generation {says['generation']} is of", live, owner[str(says["generation"])])
    at.says(f"{len(won)} won, {superseded} refused")


def overtaken(at: Place) -> None:
    """of two deployers the later turn decides; the late one is refused"""
    at.done(at.a, "publish", version=1, kilobytes=1)
    first = at.start(at.a, inside.hold_turn)
    at.wait_for("the first turn", lambda: (at.on_server / "turn-1").exists())
    waited = at.start(at.b, inside.hold_turn, wait_seconds=1.0)
    at.wait_for("the second turn", lambda: (at.on_server / "turn-2").exists())
    late = first.stop()
    second = waited.stop()
    at.expect("the first had the lock", late["alone"], True)
    at.expect("the second waited in vain", (second["alone"], second["waited"] >= 1), (False, True))
    at.expect("the late one's look", late["check"].partition(":")[0], "LeaseLost")
    at.expect("the late one's configuration", late["config"].partition(":")[0], "LeaseLost")
    at.expect("the later one", (second["check"], second["config"]), ("done", "done"))


# --- what NFS does --------------------------------------------------------------------------------------------------


def silly_rename(at: Place) -> None:
    """a reader on the bot's own machine holds a file that is deleted: cleanup finishes later"""
    for version in (1, 2):
        at.done(at.a, "publish", version=version, kilobytes=64)
    path = at.root / "model-repo/dev/churn/1/model.onnx"
    holder = at.a.start(inside.hold_open, path=str(path))
    other = at.b.start(inside.hold_open, path=str(at.root / "model-repo/dev/churn/2/model.onnx"))
    time.sleep(0.5)
    for version in (1, 2):
        at.done(at.a, "discard", version=version)
    said = at.refused(at.a, "sweep", "Unavailable")
    at.expect("the words say why", "has a file of them open" in said, True)
    left = at.below("promobot/dev/trash")
    at.expect("left in the trash: what is held, and its folder", [Path(p).name[:4] for p in left][1:], [".nfs"])
    at.done(at.a, "publish", version=3, kilobytes=64)
    at.whole(at.b, 3, 64)
    held = [one.stop() for one in (holder, other)]
    for version, digest in enumerate(held, 1):
        files = {file.path: file.sha256 for file in package_of(inside.files_of(version, 64)).files}
        at.expect(f"what a holder of version {version} still reads", digest, files["model.onnx"])
    at.done(at.a, "sweep")
    at.expect("left in the trash at the end", at.below("promobot/dev/trash"), [])
    at.says(f"{len(left)} paths left to the next run")


def stale_handle(at: Place) -> None:
    """ESTALE: what a client holds is deleted by the other, and the server restarts"""
    for version in (1, 2):
        at.done(at.a, "publish", version=version, kilobytes=64)
    at.whole(at.b, 1, 64)
    folder = at.b.start(inside.hold_folder, path=str(at.root / "model-repo/dev/churn/1"))
    holder = at.b.start(inside.hold_open, path=str(at.root / "model-repo/dev/churn/1/model.onnx"))
    time.sleep(0.5)
    at.done(at.a, "remove", version=1)
    at.lab.server.kill()
    at.lab.server.start()
    held, listed = holder.stop(), folder.stop()
    at.expect("what the holder of the file reads", held.startswith("OSError"), True)
    at.expect("what the holder of the folder opens in it", "Stale file handle" in listed, True)
    at.says(f"who held the file got {held.partition(': ')[2]}; who held the folder, {listed}")
    came, value = at.do(at.b, "wrong", version=1, kilobytes=64)
    at.expect("the product on the version that went", came in ("done", "Unavailable") and bool(value), True)
    at.whole(at.b, 2, 64)


def full_export(at: Place) -> None:
    """a full export (64 MB): nothing of the version appears, staging is empty, the words are clear"""
    at.done(at.a, "publish", version=1, kilobytes=KILOBYTES)
    at.done(at.a, "write routes", generation=1, version=1)
    words = []
    for version, megabytes in ((2, 100), (3, 58), (4, 56)):
        said = at.refused(at.a, "publish", "Unavailable", version=version, kilobytes=megabytes * 1024)
        words.append(said.partition(": ")[2].partition(" (")[0])
        at.expect("the words say which disk is full", "No space left on device" in said, True)
        at.expect("left in staging", at.below("promobot/dev/staging"), [])
        at.expect("versions", at.done(at.b, "versions"), [1])
        at.whole(at.b, 1)
    at.done(at.a, "publish", version=5, kilobytes=KILOBYTES)
    at.whole(at.b, 5)
    at.done(at.a, "prepare routes", generation=2, version=5)
    at.done(at.a, "write journal", turn=1, text="going")
    filler = at.on_server / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**16))
            file.flush()
    at.done(at.a, "write routes", generation=2, version=5)
    at.expect("generation on b, on a full disk", at.done(at.b, "routes"), 2)
    at.done(at.a, "close journal", turn=1)
    at.expect("journal on b", at.done(at.b, "journal"), None)
    at.done(at.a, "remove", version=1)
    filler.unlink()
    at.expect("versions at the end", at.done(at.b, "versions"), [5])
    at.says(f"{len(words)} times refused")


def server_restarts(at: Place) -> None:
    """the server dies for 5 s in the middle of a publish: writes wait, then succeed"""
    at.done(at.a, "publish", version=1, kilobytes=KILOBYTES)
    kilobytes = 8 * 1024
    began = time.monotonic()
    running = at.start(at.a, inside.deploy_slowly, version=2, kilobytes=kilobytes, pause=0.02, generation=1)
    at.wait_for("bytes in staging", lambda: any("model.onnx" in p for p in at.below("promobot/dev/staging")))
    time.sleep(0.5)
    at.lab.server.kill()
    time.sleep(5)
    at.lab.server.start()
    came = running.result()
    at.expect("publish, turn, routes", [came.get(k) for k in ("publish", "check", "routes")], ["done"] * 3)
    at.whole(at.b, 2, kilobytes)
    at.whole(at.b, 1)
    at.expect("generation on b", at.done(at.b, "routes"), 1)
    at.expect("left in staging", at.below("promobot/dev/staging"), [])
    at.says(f"{time.monotonic() - began:.0f} s in all, with {LEASE_SECONDS} s of grace")


def cut_off(at: Place) -> None:
    """a deployer is cut off the network while it publishes: another takes over, the late one is refused"""
    at.done(at.b, "publish", version=1, kilobytes=KILOBYTES)
    at.done(at.b, "write routes", generation=1, version=1)
    late = at.start(at.a, inside.deploy_slowly, version=2, kilobytes=8 * 1024, pause=0.02, generation=2)
    at.wait_for("bytes in staging", lambda: any("model.onnx" in p for p in at.below("promobot/dev/staging")))
    at.lab.a.cut_off()
    began = time.monotonic()
    came = at.call(at.b, inside.take_over, version=3, kilobytes=KILOBYTES, generation=2)
    seconds = time.monotonic() - began
    at.lab.a.join()
    at.expect("who took over", (came["alone"], came["publish"], came["routes"]), (True, "done", "done"))
    ended = late.result()
    at.expect("the late one's turn", ended["check"].partition(":")[0] in ("LeaseLost", "Unavailable"), True)
    at.expect("the late one's routes", ended["routes"].partition(":")[0] in ("LeaseLost", "Unavailable"), True)
    at.says(f"taken over after {came['waited']:.0f} s (lease {LEASE_SECONDS} s), {seconds:.0f} s in all")
    at.says(f"late: publish {_short(ended['publish'])[:60]}; turn {ended['check'].partition(':')[0]}")
    for client in (at.a, at.b):
        at.expect(f"generation on {client.name}", at.done(client, "routes"), 2)
        at.whole(client, 3)
        at.whole(client, 1)
    versions = at.done(at.b, "versions")
    if 2 in versions:
        at.whole(at.b, 2, 8 * 1024)


def machine_dies(at: Place) -> None:
    """a deployer's machine dies while it publishes: another takes over, what was staged is swept"""
    running = at.start(at.a, inside.deploy_slowly, version=2, kilobytes=8 * 1024, pause=0.02, generation=1)
    at.wait_for("bytes in staging", lambda: any("model.onnx" in p for p in at.below("promobot/dev/staging")))
    at.lab.a.crash()
    running.close()
    came = at.call(at.b, inside.take_over, version=2, kilobytes=8 * 1024, generation=1)
    at.expect("who took over", (came["alone"], came["publish"], came["routes"]), (True, "done", "done"))
    at.done(at.b, "sweep")
    at.expect("left in staging", at.below("promobot/dev/staging"), [])
    at.whole(at.b, 2, 8 * 1024)
    at.says(f"taken over after {came['waited']:.0f} s (lease {LEASE_SECONDS} s)")
    at.lab.a.boot()


# --- the reader -----------------------------------------------------------------------------------------------------


def _known(versions: range, kilobytes: int) -> dict[str, Any]:
    return {f"{inside.MODEL}/{n}": inside.listed(package_of(inside.files_of(n, kilobytes))) for n in versions}


def _make_root(at: Place) -> None:
    """Triton's root and the model's folder are there before any reader is."""
    at.done(at.a, "check")
    (at.on_server / "model-repo/dev/churn").mkdir()


def in_place(at: Place) -> None:
    """the reader can fail: what is written in place is seen torn"""
    known = _known(range(1, 31), KILOBYTES)
    _make_root(at)
    reader = at.start(at.b, inside.poll, packages=known, configs=False)
    for version in range(1, 31):
        at.call(at.a, inside.write_in_place, version=version, kilobytes=KILOBYTES)
        if version > 3:
            at.done(at.a, "remove", version=version - 3)
    seen = reader.stop()
    at.expect("torn views", seen["torn_count"] > 0, True)
    at.says(f"{seen['torn_count']} torn views of 30 versions in {seen['polls']} looks")


def published(at: Place) -> None:
    """the same versions, published by the product while the reader looks: none torn"""
    known = _known(range(1, 31), KILOBYTES)
    _make_root(at)
    reader = at.start(at.b, inside.poll, packages=known)
    for version in range(1, 31):
        at.done(at.a, "publish", version=version, kilobytes=KILOBYTES)
        at.done(at.a, "write config", text=f"{inside.CONFIG}# {'x' * version}\n")
        at.done(at.a, "write routes", generation=version, version=version)
        if version > 3:
            at.done(at.a, "remove", version=version - 3)
    seen = reader.stop()
    at.expect("torn views", seen["torn"], [])
    at.expect("the last generation", seen["generations"][-1:], [30])
    at.expect("versions seen", sorted(seen["versions"]), list(range(1, 31)))
    at.says(f"{seen['torn_count']} torn of {seen['packages']} packages in {seen['polls']} looks")
    at.says(f"{seen['megabytes']:.0f} MB hashed, {len(seen['generations'])} generations seen, {seen['went']} went")


TWO = (publish_switch_rollback_cleanup, what_the_other_did, both_publish, turns, generations, overtaken)
READER = (in_place, published)
FAULTS = (silly_rename, stale_handle, server_restarts, cut_off, machine_dies)
FULL = (full_export,)
