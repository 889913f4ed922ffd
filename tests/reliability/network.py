"""Every link of the bot fails in every way, while its verbs run: ``python -m tests.reliability.network``.

    python -m tests.reliability.network                           all of it
    python -m tests.reliability.network --verb deploy --link mlflow --fault reset
    python -m tests.reliability.network --first 1                 every fault of each verb and link, from the start
    python -m tests.reliability.network --points 3                three of each verb and link

After each fault: the verb ended in time, with words and not with a bug; whoever it asked was not waited for longer
than the deadlines say; users got the old or the new version, whole and right, without one failed request. When the
fault is gone, the next run converges, and Slack was told of each record exactly once.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bot.domain.routes import RouteTable
from bot.records import bucket as object_store
from bot.sandbox.platform import Shape
from tests.operations.world import Registered, Said, World
from tests.reliability import outcomes
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.outcomes import Outcome, timed
from tests.reliability.users import Watch
from tests.stand_ins.links import Fault, GrpcLink, HttpLink, Link

REQUEST, LOAD, RELOAD, READY = 2.0, 6.0, 4.0, 4.0
DEADLINES = {
    "request_seconds": REQUEST,
    "download_seconds": 3.0,
    "load_seconds": LOAD,
    "reload_seconds": RELOAD,
    "ready_seconds": READY,
}
# Each question to one system takes at most two of its deadlines (bot/retry.py). A run that goes on after a system
# failed asks it a few questions more: to take back, to say, to record.
QUESTIONS = 8
BOUND_SECONDS = QUESTIONS * 2 * REQUEST + LOAD + 2 * RELOAD + 20
LATE_SECONDS = 2.5
"""A client that gives up is this much late at most, on a machine that does much else."""

KINDS: tuple[Fault, ...] = (
    Fault("refused"),
    Fault("hangs"),
    Fault("hangs after the head"),
    Fault("reset"),
    Fault("truncated"),
    Fault("status", status=500),
    Fault("status", status=502),
    Fault("status", status=503),
    Fault("status", status=503, retry_after=3600),
    Fault("status", status=429, retry_after=1),
    Fault("status", status=429, retry_after=3600),
    Fault("slow"),
)
PASSING: tuple[Fault, ...] = (
    Fault("refused", seconds=0.7),
    Fault("reset", times=1),
    Fault("reset", times=2),
    Fault("truncated", times=1),
    Fault("hangs", times=1),
    Fault("status", status=500, times=1),
    Fault("status", status=502, times=2),
    Fault("status", status=503, times=2),
    Fault("status", status=429, retry_after=1, times=1),
)
LATER: tuple[Fault, ...] = (
    Fault("reset"),
    Fault("refused"),
    Fault("hangs"),
    Fault("hangs after the head", times=1),
    Fault("reset", times=1),
    Fault("status", status=503),
)


class Hung(BaseException):
    """A verb did not end; no Exception, lest the verb's own boundary takes it for a bug."""


@dataclass
class Net:
    """A world whose links to everything go through proxies; ``records`` where its sandbox has object storage."""

    world: World
    links: dict[str, Link] = field(default_factory=dict)
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    count: int = 0

    def __enter__(self) -> Net:
        endpoints, world = self.world.endpoints, self.world
        (triton,), gateways = endpoints.triton["dev"], endpoints.gateway["dev"]
        self.links = {
            "mlflow": HttpLink(endpoints.mlflow),
            "triton": GrpcLink(triton.grpc),
            "staging": GrpcLink(endpoints.triton_staging.grpc),
            "gateway": HttpLink(gateways[1].url),
            "github": HttpLink(endpoints.forge),
            "git": HttpLink(endpoints.forge),
            "slack": HttpLink(endpoints.slack),
        }
        for link in self.links.values():
            self.opened.enter_context(link)
        world.configure(
            "dev",
            mlflow={"uri": self.links["mlflow"].url},
            tritons=[{"name": triton.name, "grpc": self.links["triton"].address}],
            staging={"triton": {"name": "triton-staging", "grpc": self.links["staging"].address}},
            gateways=[
                {"name": gateways[0].name, "url": gateways[0].url},
                {"name": gateways[1].name, "url": self.links["gateway"].url},
            ],
            github={"server_url": self.links["git"].url, "api_url": f"{self.links['github'].url}/api/v3"},
            slack={"api_url": f"{self.links['slack'].url}/api"},
            deadlines=DEADLINES,
        )
        if endpoints.s3 is not None:
            self.links["records"] = self.opened.enter_context(HttpLink(endpoints.s3.endpoint))
            store = endpoints.records_setting()
            assert isinstance(store, dict)
            world.configure("dev", records={"s3": {**store["s3"], "endpoint": self.links["records"].url}})
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def fresh(self, model: str, recipe: str) -> Registered:
        """Register a version whose bytes nobody saw before."""
        self.count += 1
        return self.world.register(model, recipe, note=f" {self.count}")


def bounded(run: Callable[[], Said]) -> tuple[Said, float]:
    """Run a verb; it is a failure if it does not end long after the bound."""
    object_store._opened.cache_clear()  # a process that begins has read no record yet

    def hang(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(round(BOUND_SECONDS * 2))
    started = time.monotonic()
    try:
        return run(), time.monotonic() - started
    except Hung as error:
        raise AssertionError(f"did not end within {BOUND_SECONDS * 2:.0f} s") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- what a verb starts from, does, and leaves ---------------------------------------------------------------------


class Case:
    """One verb: what it starts from, how it is run, and what must be so when the fault is gone."""

    name = ""
    links: tuple[str, ...] = ()
    fails_anyway = False
    """Its exit code is 1 without any fault, too; then a fault that passes need not be named."""

    def __init__(self, net: Net) -> None:
        self.net, self.world = net, net.world
        self.model = self.world.model(metrics=outcomes.LENIENT)
        self.recipes: dict[int, str] = {}

    def prepare(self) -> None:
        """Make the state that the verb starts from."""

    def run(self) -> Said:
        """Run the verb."""
        raise NotImplementedError

    def again(self) -> Sequence[str]:
        """Run again without the fault; say what does not hold."""
        raise NotImplementedError

    def _served(self, recipe: str) -> Registered:
        registered = self.net.fresh(self.model, recipe)
        self.recipes[registered.version] = recipe
        self.world.served(registered)
        return registered

    def _converges(self, run: Callable[[], Said], version: int) -> list[str]:
        said = run()
        found = [] if said.code == 0 else [f"the next run: exit code {said.code}: {said.out[-700:]}"]
        return found + self._settled(version)

    def _settled(self, version: int) -> list[str]:
        """Say what is not as it must be once everything is as main says."""
        world, found = self.world, []
        if (there := world.version(self.model)) != version:
            found.append(f"version {there} is in service, not {version}")
        if world.outbox():
            found.append(f"the outbox holds {world.outbox()}")
        if world.is_under_way():
            found.append("the journal is open")
        found += self.told()
        drift = world.promobot("drift", "--env", "dev")
        (status,) = drift.document["environments"]
        # The alias is moved by the next change; a pull request that waits is no difference either.
        differences = [d["what"] for d in status["differences"] if d["kind"] != "alias"]
        return found + [f"drift: {what}" for what in differences]

    def told(self) -> list[str]:
        """Say which record Slack was not told of exactly once."""
        keys = self.world.told(self.model)
        records = [record.id for record in self.world.records(self.model)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        unsaid = sorted(set(records) - set(keys) - set(self.world.outbox()))
        strange = sorted(set(keys) - set(records))
        return [
            f"{said}: {', '.join(which)}"
            for said, which in (("told twice", twice), ("unsaid", unsaid), ("told of no record", strange))
            if which
        ]


class Deploy(Case):
    """A successor was merged."""

    name = "deploy"
    links = ("mlflow", "triton", "gateway", "git", "slack", "records")

    def prepare(self) -> None:
        if not self.recipes:
            self._served("first")
        self.old = self.world.version(self.model)
        assert self.old is not None
        recipe = "better" if self.recipes[self.old] == "best" else "best"
        self.new = self.net.fresh(self.model, recipe)
        self.recipes = {self.old: self.recipes[self.old], self.new.version: recipe}
        self.world.merged(self.new)

    def run(self) -> Said:
        return self.world.deploy()

    def again(self) -> Sequence[str]:
        found: list[str] = []
        quarantine = self.world.ledger().quarantined().get(self.new.digest)
        if quarantine is not None:
            return [f"the digest is blamed for the network: {quarantine.reason}"]
        found += self._converges(self.world.deploy, self.new.version)
        if reverts := self.world.reverts(self.model):
            found.append(f"it is in service, and {len(reverts)} reverts are open")
        return found


class DeployWrong(Case):
    """What was merged answers wrong, so that the revert must be opened."""

    name = "deploy of a wrong one"
    fails_anyway = True
    links = ("github", "git", "slack", "records")

    def prepare(self) -> None:
        if not self.recipes:
            self._served("first")
        self.old = self.world.version(self.model)
        self.new = self.net.fresh(self.model, "unscaled")
        self.world.merged(self.new)

    def run(self) -> Said:
        return self.world.deploy()

    def again(self) -> Sequence[str]:
        found: list[str] = []
        for _ in range(2):  # where nothing could be begun the first fails and opens it; else the first opens it
            said = self.world.deploy()
            if said.code != 1:
                found.append(f"held, but the exit code is {said.code}")
        reverts = self.world.reverts(self.model)
        if len(reverts) != 1:
            return [*found, f"{len(reverts)} reverts are open"]
        self.world.merge(reverts[0]["number"])
        assert self.old is not None
        return found + self._converges(self.world.deploy, self.old)


class RollbackNow(Case):
    """The version in service is left at once."""

    name = "rollback --now"
    links = ("triton", "gateway", "git", "github", "slack", "mlflow", "records")

    def prepare(self) -> None:
        world = self.world
        if not self.recipes:
            self.old, self.new = self._served("first"), self._served("best")
            return
        for pull in world.reverts(self.model):
            world.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
        if self.new.digest in world.ledger().quarantined():
            lifted = world.promobot("quarantine", "lift", self.new.digest, "--env", "dev", "--reason", "again")
            assert lifted.code == 0, lifted
        said = world.deploy()
        assert said.code == 0 and world.version(self.model) == self.new.version, said

    def run(self) -> Said:
        return self.world.promobot("rollback", self.model, "--env", "dev", "--now")

    def again(self) -> Sequence[str]:
        said = self.run()
        found = [] if said.code == 0 else [f"the next run: exit code {said.code}: {said.out[-700:]}"]
        if len(self.world.reverts(self.model)) != 1:
            found.append(f"{len(self.world.reverts(self.model))} reverts are open")
        if self.world.version(self.model) != self.old.version:
            found.append(f"version {self.world.version(self.model)} is in service, not {self.old.version}")
        return found + self.told()


class Propose(Case):
    """A version was registered."""

    name = "propose"
    links = ("mlflow", "git", "github", "records")

    def prepare(self) -> None:
        if not self.recipes:
            self._served("first")
        self.new = self.net.fresh(self.model, "best")

    def run(self) -> Said:
        return self.world.promobot("propose", self.model, self.new.version, "--env", "dev")

    def again(self) -> Sequence[str]:
        said = self.run()
        found = [] if said.code == 0 else [f"the next run: exit code {said.code}: {said.out[-700:]}"]
        pulls = self.world.open_pulls(f"promobot/dev/{self.model}")
        if len(pulls) != 1:
            return [*found, f"{len(pulls)} proposals are open"]
        there = self.world.git("ls-remote", "origin", f"refs/heads/promobot/dev/{self.model}").split()[0]
        self.world.git("fetch", "--quiet", "origin", there)
        if f"version: {self.new.version}\n" not in self.world.promotions(at=there):
            found.append("the branch does not hold the new version")
        if not pulls[0]["title"].endswith(f" to {self.new.version} in dev"):
            found.append(f"the title is {pulls[0]['title']!r}")
        return found


class Check(Case):
    """A pull request is open."""

    name = "check smoke"
    links: tuple[str, ...] = ("mlflow", "git", "github", "staging", "records")

    def prepare(self) -> None:
        if not self.recipes:
            self._served("first")
            self.pull = self.world.proposed(self.net.fresh(self.model, "best"))["number"]

    def run(self) -> Said:
        return self.world.bot("check", "smoke", "--pull-request", self.pull, "--run-id", f"run-{time.time_ns()}")

    def again(self) -> Sequence[str]:
        said = self.run()
        found = [] if said.code == 0 else [f"the next run: exit code {said.code}: {said.out[-700:]}"]
        left = [name for name in self.world.loaded("staging") if ".check-" in name]
        left += [name for name in self.world.published("staging") if ".check-" in name]
        return found + ([f"left on staging: {', '.join(left)}"] if left else [])


class Verdict(Check):
    """A pull request was checked."""

    name = "check verdict"
    links = ("git", "github", "records")

    def run(self) -> Said:
        return self.world.bot("check", "verdict", "--pull-request", self.pull, "--needs", "{}")

    def prepare(self) -> None:
        if not self.recipes:
            super().prepare()
            self.world.check(self.pull)

    def again(self) -> Sequence[str]:
        found = super().again()
        comments = [body for body in self.world.comments(self.pull) if "promobot:checks" in body]
        return [*found, *([] if len(comments) == 1 else [f"{len(comments)} comments of the checks"])]


class Status(Case):
    """Nothing changes."""

    name = "status"
    links = ("triton", "gateway", "git", "github", "records")

    def prepare(self) -> None:
        if not self.recipes:
            self.there = self._served("first")
        self.before = self._seen()

    def run(self) -> Said:
        return self.world.promobot(self.name, "--env", "dev")

    def again(self) -> Sequence[str]:
        changed = [] if self._seen() == self.before else ["looking changed something"]
        return changed + self._converges(self.run, self.there.version)

    def _seen(self) -> tuple[RouteTable, int, int]:
        routes = (self.world.endpoints.state("dev") / "routes.json").read_text()
        return (
            RouteTable.from_json(routes),
            len(self.world.records(self.model)),
            len(self.world.slack(self.model)),
        )


class Drift(Status):
    """Nothing changes."""

    name = "drift"
    links = ("triton", "gateway", "git", "mlflow", "records")


CASES: tuple[type[Case], ...] = (Deploy, RollbackNow, DeployWrong, Propose, Check, Verdict, Status, Drift)

NAMES = {
    "mlflow": ("MLflow",),
    "triton": ("Triton triton-dev-1",),
    "staging": ("Triton triton-staging",),
    "gateway": ("gateway-dev-2",),
    "github": ("GitHub",),
    "git": ("Git",),
    "slack": ("Slack", "slack"),
    "records": ("record store",),
}
_LATENCY_FAILED = re.compile(r'"what": "latency",\s+"passed": false')


def attempt(case: Case, link: str, fault: Fault) -> tuple[list[str], list[str]]:
    """Run the verb under the fault, and again without; return what was wrong, and what was seen."""
    failing = case.net.links[link]
    case.prepare()
    with Watch(case.world, case.model) as users:
        failing.fails(fault)
        try:
            said, seconds = bounded(case.run)
            spoiled, waited = failing.spoiled, list(failing.waited)
        finally:
            failing.works()
    problems = list(users.problems(case.recipes))
    if seconds > BOUND_SECONDS:
        problems.append(f"took {seconds:.1f} s, at most {BOUND_SECONDS:.0f} s are due")
    allowed = {"triton": LOAD, "staging": LOAD, "gateway": RELOAD, "mlflow": 3.0}.get(link, REQUEST) + LATE_SECONDS
    if waited and max(waited) > allowed:
        problems.append(f"waited {max(waited):.1f} s for one answer, at most {allowed:.1f} s are due")
    # A model on a line that is only slow is too slow: that is what a check says of it, and not whose fault it is.
    too_slow = fault.kind == "slow" and _LATENCY_FAILED.search(said.out)
    if said.code not in (0, 1, 4) or "this is a bug" in said.err + said.out or "Traceback" in said.err + said.out:
        problems.append(f"exit code {said.code}: {said.err[-600:]} {said.out[-300:]}")
    elif (
        said.code == 1
        and not (case.fails_anyway and (fault.times or fault.seconds or fault.kind == "slow"))
        and not too_slow
        and not any(name in said.out + said.err for name in NAMES[link])
    ):
        problems.append(f"does not say who failed: {said.err[-300:]} {said.out[-600:]}")
    if not spoiled and fault.first == 1:
        problems.append("the fault was never met")
    problems += case.again()
    word = "met nothing" if not spoiled else f"exit code {said.code} in {seconds:.1f} s"
    return problems, [word] if problems or not spoiled else []


def requests_of(case: Case, link: str) -> int:
    """Count the requests of a run without a fault."""
    case.prepare()
    case.net.links[link].fails(Fault("slow", first=10**6))
    said, _ = bounded(case.run)
    count = case.net.links[link].requests
    case.net.links[link].works()
    assert said.code in (0, 1), said
    assert not (wrong := case.again()), f"without any fault: {wrong}"
    return count


def faults_of(case: Case, link: str, options: argparse.Namespace) -> Iterator[Fault]:
    """Yield the faults to try on this link during this verb."""
    yield from (*KINDS, *PASSING)
    last = min(options.first or sys.maxsize, requests_of(case, link))
    for first in range(2, last + 1):
        # The hangs are the slow ones: at every third request.
        yield from (
            replace(fault, first=first)
            for fault in LATER
            if "hangs" not in fault.kind or (first + len(fault.kind)) % 3 == 0
        )


def run(world: World, options: argparse.Namespace) -> Iterator[Outcome]:
    """Yield an outcome for each verb, link and fault that the options let pass."""
    with Net(world) as net:
        for kind in CASES:
            if options.verb not in ("", kind.name):
                continue
            case: Case | None = None
            for link in kind.links:
                if options.link not in ("", link) or link not in net.links:
                    continue
                case = case or kind(net)
                faults = [fault for fault in faults_of(case, link, options) if options.fault in str(fault)]
                for fault in outcomes.some(faults, options.points):
                    outcome = timed(f"{kind.name}, {link}", str(fault), partial(attempt, case, link, fault))
                    yield outcome
                    if outcome.problems:
                        # What is broken now must not count again.
                        world.tidy()
                        case = kind(net)
            if case is not None:
                world.tidy()  # what is left in quarantine would hold others


def parser() -> argparse.ArgumentParser:
    """Return what can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.network", description=__doc__)
    parser.add_argument("--verb", default="", choices=["", *(case.name for case in CASES)])
    parser.add_argument("--link", default="", choices=["", *NAMES])
    parser.add_argument("--fault", default="", help="only faults whose name holds this")
    parser.add_argument(
        "--first", type=int, metavar="N", help="only faults that begin at one of the first N requests"
    )
    return parser


def _part(matrix: Matrix) -> Iterator[Point]:
    # In a process of its own: it starts threads and gRPC, and a sandbox whose forge, MLflow and Tritons are real.
    for outcome in outcomes.in_a_process("tests.reliability.network", *outcomes.limits(matrix)):
        yield Point(outcome.row, outcome.name, outcome.problems)


PART = Part("network", "every link fails in every way while verbs run", _part)


if __name__ == "__main__":
    sys.exit(outcomes.main(run, parser(), shape=Shape(s3=True)))
