"""Promotions and rollbacks while users ask: ``python -m tests.reliability.load --switches 200``.

Users ask through every gateway at a steady rate, from a process of their own. A version counts as in service from the
moment in which the deployment began to switch to it until the moment in which the switch away from it was over on
every gateway; both are in the deployment records. So during a switch two versions are in service, and at all other
times one. Every request must be answered, with a version that was in service at some moment between the request's
start and its end, and with the answer that the training framework gave for that version.

Most switches go back and forth between two versions that are both loaded: ``rollback --now``, and after the
quarantine is lifted ``deploy``, for main goes on asking for the newer one. Every so often a new version is
registered, merged and deployed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from tests.operations.world import Registered, Said, World
from tests.reliability import outcomes
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.outcomes import Outcome
from tests.reliability.users import Asked, Client, is_golden, question

USERS = 6
RATE = 120.0
"""Requests a second that users send; what must be reached is 100, failures or not."""
NEW_EVERY = 20
SHOWN = 5


@dataclass(frozen=True)
class InService:
    """A version, and from when until when it may answer, in seconds since 1970."""

    version: int
    begins: float
    ends: float


def _ask(urls: Sequence[str], model: str, number: int, rate: float, stop: Event, file: Path) -> None:
    """One user: at a steady rate through the gateways in turn, however long an answer takes."""
    clients = [Client(url, model, gateway=gateway) for gateway, url in enumerate(urls)]
    with file.open("w") as written:
        begun, asked = time.monotonic(), 0
        while not stop.is_set():
            written.write(json.dumps(asdict(clients[(asked + number) % len(clients)].ask())) + "\n")
            asked += 1
            # Late users do not make up for it all at once, and the next request is not left out either.
            begun = max(begun, time.monotonic() - 1 - asked / rate)
            time.sleep(max(0.0, begun + asked / rate - time.monotonic()))
    for client in clients:
        client.close()


def _users(urls: Sequence[str], model: str, stop: Event, folder: Path) -> None:
    """All users, as threads of a process that does nothing else."""
    question()  # it takes a training, which nobody shall wait for
    threads = [
        threading.Thread(target=_ask, args=(urls, model, number, RATE / USERS, stop, folder / f"{number}.jsonl"))
        for number in range(USERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def asking(world: World, model: str) -> Iterator[list[Asked]]:
    """Have users ask for as long as the block lasts; what they got is in the list afterwards."""
    spawn = multiprocessing.get_context("spawn")
    stop, found = spawn.Event(), list[Asked]()
    urls = [gateway.url for gateway in world.endpoints.gateway["dev"]]
    with tempfile.TemporaryDirectory(prefix="promobot-users-") as folder:
        process = spawn.Process(target=_users, args=(urls, model, stop, Path(folder)))
        process.start()
        try:
            while not any(Path(folder).glob("*.jsonl")):
                assert process.is_alive(), "the users did not come"
                time.sleep(0.02)
            time.sleep(0.5)
            yield found
        finally:
            stop.set()
            process.join()
        for file in sorted(Path(folder).glob("*.jsonl")):
            for line in file.read_text().splitlines():
                document = json.loads(line)
                found.append(Asked(**{**document, "probabilities": tuple(document["probabilities"])}))


def switches(world: World, model: str, count: int, recipes: dict[int, str]) -> Iterator[tuple[str, float, Said]]:
    """Promote and roll back, so many times; yield each verb that switched, its seconds, and what it said."""

    def timed(*arguments: str) -> tuple[str, float, Said]:
        started = time.monotonic()
        said = world.bot(*arguments, "--env", "dev")
        return arguments[0], time.monotonic() - started, said

    newest: Registered | None = None
    for number in range(count):
        if number % 2:
            yield timed("rollback", model, "--now")
            continue
        if number % NEW_EVERY == 0 or newest is None:
            newest = world.register(model, "best" if number % (2 * NEW_EVERY) else "better", note=f" {number}")
            recipes[newest.version] = "best" if number % (2 * NEW_EVERY) else "better"
            world.merged(newest)
        else:
            lifted = world.promobot("quarantine", "lift", newest.digest, "--env", "dev", "--reason", "again")
            assert lifted.code == 0, lifted
        yield timed("deploy")


def in_service(world: World, model: str, *, until: float) -> list[InService]:
    """Read from the records when each version was in service."""
    switched = []
    for record in world.records(model):
        (step,) = (step for step in record.steps if step.what.startswith("switch to generation"))
        assert record.after is not None
        ended = step.at.timestamp()
        switched.append((record.after.version, ended - step.seconds, ended))
    return [
        InService(version, begins, switched[number + 1][2] if number + 1 < len(switched) else until)
        for number, (version, begins, _) in enumerate(switched)
    ]


def judge(asked: Sequence[Asked], spans: Sequence[InService], recipes: dict[int, str]) -> dict[str, list[str]]:
    """Return by kind of problem what was wrong."""
    wrong: dict[str, list[str]] = {"failed": [], "not in service": [], "not golden": []}
    for one in asked:
        if one.version is None:
            wrong["failed"].append(f"gateway {one.gateway + 1} at {one.started:.3f}: {one.problem}")
            continue
        if not any(s.version == one.version and s.begins <= one.ended and one.started <= s.ends for s in spans):
            near = [s for s in spans if s.begins - 1 <= one.ended and one.started <= s.ends + 1]
            wrong["not in service"].append(
                f"version {one.version} from gateway {one.gateway + 1}, {one.started:.3f} to {one.ended:.3f}; "
                f"in service about then: {near}"
            )
        elif not is_golden(one, recipes[one.version]):
            wrong["not golden"].append(f"version {one.version} answered {one.probabilities}")
    return wrong


def run(world: World, options: argparse.Namespace) -> Iterator[Outcome]:
    """Yield the outcome of the switches, and of each of the four things that must hold for the requests."""
    model = world.model(metrics=outcomes.LENIENT)
    first = world.served(world.register(model))
    recipes = {first.version: "first"}
    failed: list[str] = []
    with asking(world, model) as asked:
        begun = time.monotonic()
        slowest: tuple[float, str] = (0.0, "")
        for number, (verb, took, done) in enumerate(switches(world, model, options.switches, recipes), start=1):
            if done.code != 0:
                failed.append(f"switch {number}: exit code {done.code}: {(done.err or done.out)[-500:]}")
            slowest = max(slowest, (took, f"{verb}, switch {number}"))
            if number % 20 == 0:
                print(f"{number} switches in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        seconds = time.monotonic() - begun
    until = time.time()
    spans = in_service(world, model, until=until)
    if len(spans) != options.switches + 1:
        failed.append(f"{len(spans) - 1} switches are recorded instead of {options.switches}")
    if sorted(world.told(model)) != sorted(record.id for record in world.records(model)):
        failed.append("Slack was not told of each record exactly once")
    wrong = judge(asked, spans, recipes)
    span = max(one.ended for one in asked) - min(one.started for one in asked)
    rate = len(asked) / span
    if rate < options.rate:
        failed.append(f"users asked {rate:.0f} times a second, not {options.rate:g}")
    longest = max(one.ended - one.started for one in asked)
    overlaps = [after.begins for after in spans[1:]]
    during = sum(any(one.started <= at <= one.ended for at in overlaps) for one in asked)
    said = f"{len(asked)} requests at {rate:.0f} a second, {during} under way at a switch; longest {longest:.3f} s"
    name = f"{options.switches} promotions and rollbacks"
    slow = f"slowest verb: {slowest[0]:.1f} s ({slowest[1]})"
    yield Outcome("load, switches", name, failed, [said, slow], round(seconds, 1))
    for kind, found in wrong.items():
        shown = [*found[:SHOWN], *([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])]
        yield Outcome("load, requests", f"{kind}: {len(found)} of {len(asked)}", shown)


def parser() -> argparse.ArgumentParser:
    """Return what can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.load", description=__doc__)
    parser.add_argument("--switches", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--rate", type=float, default=100, help="requests a second to reach (default 100)")
    return parser


def _part(matrix: Matrix) -> Iterator[Point]:
    # In a process of its own: it starts threads and gRPC, and a sandbox whose forge, MLflow and Tritons are real.
    for outcome in outcomes.in_a_process("tests.reliability.load", *(["--switches", "4"] if matrix.sample else [])):
        yield Point(outcome.row, outcome.name, outcome.problems)


PART = Part("load", "promotions and rollbacks under load", _part)


if __name__ == "__main__":
    sys.exit(outcomes.main(run, parser()))
