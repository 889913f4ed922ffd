"""Real processes die, restart, stand still and run out of disk in the middle of a deployment.

    python -m tests.reliability.processes                    all of it
    python -m tests.reliability.processes --only paused

Each verb is a process of its own, stopped or met at the lines that it prints. Afterwards: what users got was the old
or the new version, whole and right; the next run converges; Slack was told of each record exactly once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bot.sandbox.platform import BOT, STAGING, Shape
from bot.sandbox.processes import inherited_variables
from bot.sandbox.project import CODE
from tests.operations.world import HTTP, Registered, World, wait_until
from tests.reliability import outcomes
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.outcomes import Outcome, timed
from tests.reliability.users import Watch
from tests.stores import begin_share

SHAPE = Shape(tritons={"dev": 2, "prod": 1}, gateways={"dev": 2, "prod": 1})
DEADLINES = {"request_seconds": 3, "load_seconds": 20, "reload_seconds": 8}
GATEWAY, TRITON = "gateway-dev-2", "triton-dev-1"
LOADING, SWITCHING, PUBLISHING = ": loading on ", ": switching the routes", ": publishing to "
END_SECONDS = 150.0
PAGE = 4096

Found = tuple[list[str], list[str]]


class Verb:
    """``promobot`` as a process, and what it has said so far."""

    def __init__(self, world: World, *arguments: str) -> None:
        command = [sys.executable, "-m", "bot", *arguments, "--root", str(world.root), "--json"]
        self.process = subprocess.Popen(
            command,
            cwd=CODE,
            env={**inherited_variables(), **world.endpoints.variables(login=BOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.out = ""
        self._readers = [threading.Thread(target=self._read_err), threading.Thread(target=self._read_out)]
        for reader in self._readers:
            reader.start()

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        self.out = self.process.stdout.read()

    def until(self, text: str) -> None:
        """Wait until it has printed this."""
        wait_until(lambda: any(text in line for line in self.said) or self.process.poll() is not None)
        assert any(text in line for line in self.said), f"ended without {text!r}: {self.said} {self.out}"

    def send(self, number: int) -> None:
        """Send it a signal; not to whoever has its id once it has ended."""
        self.process.send_signal(number)

    def stands_still(self) -> bool:
        """Stop it; say whether it was stopped before it ended."""
        self.send(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] in "TZ")
        return stat.read_text().rpartition(")")[2].split()[0] == "T"

    def end(self) -> int:
        """Wait until it ends; return its exit code."""
        try:
            code = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"did not end within {END_SECONDS:.0f} s: {self.said}") from None
        for reader in self._readers:
            reader.join()
        return code

    def problems(self, *codes: int) -> list[str]:
        """Wait until it ends; say what is wrong with how it did."""
        code = self.end()
        everything = " ".join(["".join(self.said), self.out])
        if code in codes and "Traceback" not in everything:
            return []
        return [f"exit code {code}, not one of {codes}: {everything[-900:]}"]


class Scene:
    """A model with one version in service, and a successor that was merged."""

    def __init__(self, world: World) -> None:
        self.world, self.model, self.count = world, world.model(metrics=outcomes.LENIENT), 0
        self.recipes: dict[int, str] = {}
        self.old = self._registered("first")
        world.served(self.old)
        self.new = self.merge("best")

    def merge(self, recipe: str) -> Registered:
        """Merge another version."""
        registered = self._registered(recipe)
        self.world.merged(registered)
        return registered

    def _registered(self, recipe: str) -> Registered:
        self.count += 1
        registered = self.world.register(self.model, recipe, note=f" {self.count}")
        self.recipes[registered.version] = recipe
        return registered

    def users(self) -> Watch:
        """Have users ask all the time."""
        return Watch(self.world, self.model, pause_seconds=0.05)

    def got(self, users: Watch, *, may_fail: bool = False) -> Found:
        """Say what users got that they must not get, and how many requests failed."""
        failed = sum(bool(asked.problem) for asked in users.asked)
        return list(users.problems(self.recipes, may_fail=may_fail)), [f"{failed} of {len(users.asked)} failed"]

    def converges(self, version: int | None = None) -> list[str]:
        """Deploy; say what is not as main says."""
        world, found = self.world, []
        quarantined = world.ledger().quarantined().get(self.new.digest)
        if quarantined is not None:
            held = world.deploy()
            if held.code != 1 or not held.document["held"] or len(world.reverts(self.model)) != 1:
                found.append(f"in quarantine, but not held with one revert: {held.out[-500:]}")
            lifted = world.promobot("quarantine", "lift", self.new.digest, "--env", "dev", "--reason", "tried")
            assert lifted.code == 0, lifted
        said = world.deploy()
        if said.code != 0:
            found.append(f"the next run: exit code {said.code}: {said.out[-700:]}")
        wanted = version or self.new.version
        if (there := world.version(self.model)) != wanted:
            found.append(f"version {there} is in service, not {wanted}")
        for triton in world.endpoints.triton["dev"]:
            index = HTTP.post(f"{triton.http}/v2/repository/index", json={"ready": True}).json()
            if not any((one["name"], one.get("version")) == (self.model, str(wanted)) for one in index):
                found.append(f"{triton.name} does not have version {wanted}")
        if world.is_under_way() or world.outbox():
            found.append("the journal or the outbox is not empty")
        keys = sorted(world.told(self.model))
        records = sorted(record.id for record in world.records(self.model))
        if keys != records:
            found.append(f"Slack was told of {keys}, recorded are {records}")
        drift = world.promobot("drift", "--env", "dev").document["environments"][0]["differences"]
        return found + [f"drift: {one['what']}" for one in drift if one["kind"] != "alias"]

    def state_of(self, triton_http: str) -> str:
        """Return what a Triton's index says of the successor."""
        try:
            index = HTTP.post(f"{triton_http}/v2/repository/index", json={}).json()
        except OSError:
            return ""
        found = [
            e.get("state", "") for e in index if (e["name"], e.get("version")) == (self.model, str(self.new.version))
        ]
        return found[0] if found else ""


# --- Tritons and gateways ------------------------------------------------------------------------------------------


def triton_killed_in_a_load(world: World) -> Found:
    """A Triton dies of SIGKILL while it loads the successor."""
    scene = Scene(world)
    with scene.users() as users:
        verb = Verb(world, "deploy", "--env", "dev")
        verb.until(LOADING)
        http = world.endpoints.triton["dev"][0].http
        seen: list[str] = []

        def loading() -> bool:
            seen.append(scene.state_of(http))
            return seen[-1] in ("LOADING", "READY")

        wait_until(loading)
        world.kill(TRITON)
        problems = verb.problems(1)
    wrong, notes = scene.got(users, may_fail=True)
    if seen[-1] != "LOADING":
        notes.append(f"it was {seen[-1]} when it was killed")
    if (there := world.version(scene.model)) != scene.old.version:
        problems.append(f"version {there} answers while a Triton is away, not {scene.old.version}")
    world.restart(TRITON)
    return problems + wrong + scene.converges(), notes


def triton_restarts_between_load_and_proof(world: World) -> Found:
    """A Triton has the successor loaded, restarts, and is empty."""
    scene = Scene(world)
    with scene.users() as users:
        verb = Verb(world, "deploy", "--env", "dev")
        verb.until(LOADING)
        http = world.endpoints.triton["dev"][0].http
        wait_until(lambda: scene.state_of(http) in ("LOADING", "READY"))
        world.kill(TRITON)
        world.restart(TRITON)
        problems = verb.problems(0, 1)
    wrong, notes = scene.got(users, may_fail=True)
    return problems + wrong + scene.converges(), notes


def triton_restarts_empty(world: World) -> Found:
    """A Triton restarts between two runs; nobody deploys anything new."""
    scene = Scene(world)
    problems = scene.converges()
    with scene.users() as users:
        world.kill(TRITON)
        world.restart(TRITON)
        seen = world.promobot("drift", "--env", "dev")
        if seen.code != 1:
            problems.append("drift does not see it")
        time.sleep(0.3)
        problems += scene.converges()
    wrong, notes = scene.got(users, may_fail=True)
    return problems + wrong, notes


def gateway_killed_in_a_reload(world: World) -> Found:
    """A gateway takes the request to reload, and dies before it answers."""
    return _gateway_dies(world, comes_back=False)


def gateway_killed_in_a_reload_and_restarted(world: World) -> Found:
    """The same, and it is back before the deadline of the reload."""
    return _gateway_dies(world, comes_back=True)


def _gateway_dies(world: World, *, comes_back: bool) -> Found:
    scene = Scene(world)
    with scene.users() as users:
        verb = Verb(world, "deploy", "--env", "dev")
        verb.until(LOADING)
        pid = _pid(world, GATEWAY)
        os.kill(pid, signal.SIGSTOP)
        verb.until(SWITCHING)
        time.sleep(0.5)  # the request lies in its socket now
        world.kill(GATEWAY)
        if comes_back:
            world.restart(GATEWAY)
        problems = verb.problems(*((0,) if comes_back else (1,)))
    if not comes_back:
        world.restart(GATEWAY)
    wrong, notes = scene.got(users, may_fail=True)
    return problems + wrong + scene.converges(), notes


def gateway_restarts_in_the_middle(world: World) -> Found:
    """A gateway is restarted while the successor is loaded: it drains, ends, and begins from routes.json."""
    scene = Scene(world)
    with scene.users() as users:
        verb = Verb(world, "deploy", "--env", "dev")
        verb.until(LOADING)
        world.restart(GATEWAY)
        problems = verb.problems(0, 1)
    wrong, notes = scene.got(users, may_fail=True)
    return problems + wrong + scene.converges(), notes


# --- deployers -----------------------------------------------------------------------------------------------------


def paused_past_its_turn(line: str) -> Callable[[World], Found]:
    """Stop a deployer, let another deploy something newer, and wake the first."""

    def tries(world: World) -> Found:
        scene = Scene(world)
        with scene.users() as users:
            for _ in range(5):
                late = Verb(world, "deploy", "--env", "dev")
                late.until(line)
                if late.stands_still():
                    break
                # It was over already: once more, with another version.
                assert late.end() == 0, late.out
                scene.new = scene.merge("best")
            try:
                scene.new = scene.merge("better")
                other = Verb(world, "deploy", "--env", "dev")
                # 1 where it records what the first was about as cut off, besides what it deploys itself.
                problems = other.problems(0, 1)
                if (there := world.version(scene.model)) != scene.new.version:
                    problems.append(f"the other deployed {there}, not {scene.new.version}")
                before = _everything(world, scene.model)
            finally:
                late.send(signal.SIGCONT)
            problems += late.problems(1)
            if "is over: turn" not in late.out:
                problems.append(f"the late one was not refused: {late.out[-500:]}")
            after = _everything(world, scene.model)
            problems += [f"the late one changed {what}" for what in sorted(before) if before[what] != after[what]]
        wrong, notes = scene.got(users)
        return problems + wrong + scene.converges(), notes

    return tries


def _everything(world: World, model: str) -> dict[str, object]:
    """Return what a late deployer could have changed; not the folder in which it makes its own files ready."""
    state = world.endpoints.state("dev")
    files = [path for root in (world.endpoints.model_repository("dev"), state) for path in sorted(root.rglob("*"))]
    kept = [path for path in files if "staging" not in path.parts and path.name != "lock"]
    return {
        "the share": {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in kept if path.is_file()},
        "the records": [record.id for record in world.records(model)],
        "what Slack was told": len(world.slack(model)),
        "the routes": [world.routes(gateway=number)["generation"] for number in (0, 1)],
        "the Tritons": [
            HTTP.post(f"{triton.http}/v2/repository/index", json={}).json()
            for triton in world.endpoints.triton["dev"]
        ],
        "pull requests": [pull["number"] for pull in world.open_pulls()],
        "the alias": world.alias(model, "dev"),
    }


def _pid(world: World, part: str) -> int:
    (process,) = [process for process in world.sandbox.processes.recorded() if process.part.name == part]
    return process.pid


# --- the disk ------------------------------------------------------------------------------------------------------


class CannotMount(Exception):
    """This machine lets nobody mount a small file system here."""


@contextlib.contextmanager
def small_share(world: World, *, bytes_: int) -> Iterator[Path]:
    """Lay a small file system over the share, with nothing in service."""
    share = world.endpoints.share
    world.tidy()
    if os.geteuid() != 0:
        raise CannotMount("only root may mount a file system; this runs as somebody else")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={bytes_},mode=0755", "tmpfs", str(share)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise CannotMount(f"mount says: {made.stderr.strip()}")
    try:
        _begin_anew(world)
        yield share
        world.tidy()
    finally:
        subprocess.run(["umount", "--lazy", str(share)], check=True)
        for gateways in world.endpoints.gateway.values():
            for gateway in gateways:
                world.sandbox.restart(gateway.name)


def _begin_anew(world: World) -> None:
    for environment in {name for name, _ in world.endpoints.tritons}:
        is_staging = environment == STAGING
        begin_share(
            world.endpoints.model_repository(environment), world.endpoints.state(environment), staging=is_staging
        )
    for gateways in world.endpoints.gateway.values():
        for gateway in gateways:
            world.sandbox.restart(gateway.name)


def disk_full(world: World, pages: Sequence[int]) -> Iterator[tuple[int, Callable[[], Found]]]:
    """Yield an attempt for each number of free pages that the share has when the deployment begins."""
    scene = Scene(world)
    filler = world.endpoints.share / "filler"

    def attempt(free: int) -> Found:
        world.merged(scene.new)
        _fill(filler, free * PAGE)
        with scene.users() as users:
            try:
                verb = Verb(world, "deploy", "--env", "dev")
                problems = verb.problems(0, 1)
                text = "".join(verb.said) + verb.out
            finally:
                filler.unlink()
        wrong, notes = scene.got(users)
        if verb.process.returncode == 1 and "No space left on device" not in text:
            problems.append(f"does not say that the disk is full: {text[-600:]}")
        problems += wrong + scene.converges()
        notes.append("it fitted" if verb.process.returncode == 0 else "it was full")
        scene.old, scene.new = scene.new, scene.merge("better" if scene.count % 2 else "best")
        return problems, notes

    for free in pages:
        yield free, lambda free=free: attempt(free)  # type: ignore[misc]


def _fill(filler: Path, free_bytes: int) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * PAGE)
    with filler.open("r+b") as file:
        size = max(0, filler.stat().st_size - free_bytes)
        file.truncate(size - size % PAGE)


# -------------------------------------------------------------------------------------------------------------------

SCENES: dict[str, Callable[[World], Found]] = {
    "Triton killed in the middle of a load": triton_killed_in_a_load,
    "Triton restarted between load and proof": triton_restarts_between_load_and_proof,
    "Triton restarted empty": triton_restarts_empty,
    "gateway killed in the middle of a reload": gateway_killed_in_a_reload,
    "gateway killed in a reload and restarted": gateway_killed_in_a_reload_and_restarted,
    "gateway restarted in the middle": gateway_restarts_in_the_middle,
    "deployer paused while it publishes": paused_past_its_turn(PUBLISHING),
    "deployer paused while it loads": paused_past_its_turn(LOADING),
    "deployer paused while it switches": paused_past_its_turn(SWITCHING),
}


def run(world: World, options: argparse.Namespace) -> Iterator[Outcome]:
    """Yield an outcome for each scene, and for each number of free pages of a full disk."""
    world.configure("dev", deadlines=DEADLINES)
    times = options.times if options.points is None else min(options.times, options.points)
    for name, scene in SCENES.items():
        for _ in range(times if options.only in name else 0):
            yield timed("processes", name, lambda scene=scene: scene(world))  # type: ignore[misc]
            world.tidy()
    if options.only not in "disk full":
        return
    try:
        with small_share(world, bytes_=options.disk_bytes):
            for free, attempt in disk_full(world, outcomes.some(options.pages, options.points)):
                yield timed("processes, disk full", f"{free} pages free", attempt)
    except CannotMount as error:
        yield Outcome("processes, disk full", "skipped", [], [str(error)])


def parser() -> argparse.ArgumentParser:
    """Return what can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.processes", description=__doc__)
    parser.add_argument("--only", default="", help="only scenes whose name holds this")
    parser.add_argument("--times", type=int, default=3, help="how often each (default 3)")
    parser.set_defaults(pages=list(range(24)), disk_bytes=2 * 2**20)
    return parser


def _part(matrix: Matrix) -> Iterator[Point]:
    # In a process of its own: it starts threads and gRPC, and a sandbox whose forge, MLflow and Tritons are real.
    for outcome in outcomes.in_a_process("tests.reliability.processes", *outcomes.limits(matrix)):
        yield Point(outcome.row, outcome.name, outcome.problems)


PART = Part("processes", "real processes die, restart, stand still, and run out of disk", _part)


if __name__ == "__main__":
    sys.exit(outcomes.main(run, parser(), shape=SHAPE))
