"""``promobot deploy``, ``rollback`` and ``cleanup`` on two machines that have the share and the records on NFS.

Forge, Slack and MLflow are those of the scene of ``tests/reliability``, on this machine. Tritons and gateways are on
client ``b``, where a reader also hashes what it sees. Deployments run on ``a``, rollbacks in turn on ``b`` and ``a``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml

from tests.nfs import inside, serving
from tests.nfs.lab import SERVER, Client, Failed, Lab, Running, run
from tests.nfs.proof import Notes
from tests.nfs.tries import Tried
from tests.reliability import servers
from tests.reliability.scene import ENVIRONMENT, Ended, Scene
from tests.stand_ins import triton as stand_in

FIRST = 5
"""The first of the versions that are promoted; 1 is what rollbacks go back to."""
COMPETING = 6
"""So many versions more: half of them are deployed by both clients at once, then cleanup has something to remove."""
OVERTAKES_AFTER_SECONDS = 2.0
VERB_SECONDS = 240.0


def promobot(argv: Sequence[str], root: str) -> int:
    """Run a verb, on a client, as a process of its own would; return its exit code."""
    from bot import cli

    os.environ.update(servers.variables({}))
    try:
        return cli.main([*argv, "--root", root])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 98


class World:
    """The scene, with its share and its records on the server of the lab, and what serves on client ``b``."""

    def __init__(self, lab: Lab, scene: Scene, promotions: int, options: str = "") -> None:
        self.lab, self.scene = lab, scene
        self.problems: list[str] = []
        self._options = options
        self._numbers = range(FIRST, FIRST + promotions)

    @contextlib.contextmanager
    def open(self) -> Iterator[World]:
        """Put the share on NFS, and start Tritons, gateways, users and the reader."""
        lab, scene = self.lab, self.scene
        with contextlib.ExitStack() as stack:
            for part in ("share", "records"):
                folder, own = lab.export / "scene" / part, scene.live / part
                folder.mkdir(parents=True)
                run(["cp", "-a", f"{own}/.", str(folder)])
                run(["mount", "--bind", str(folder), str(own)])
                stack.callback(run, ["umount", str(own)])
                for client in (lab.a, lab.b):
                    client.mount(f"/share/scene/{part}", own, self._options)
                    stack.callback(client.unmount, own)
            self._tell_where()
            modules = (scene.home / "modules").read_text().split()
            for client in (lab.a, lab.b):
                client.know(*modules, "tests.nfs.verbs", "tests.nfs.serving")
            answers = {number: stand_in.offsets(scene.version("churn", number).files) for number in self._all}
            self._serving = lab.b.start(
                serving.serve,
                address=lab.b.address,
                repository=str(scene.repository),
                state=str(scene.state),
                answers=answers,
            )
            for port in (*serving.GRPC, *serving.HTTP, *serving.GATEWAYS):
                lab.b.wait_for(port)
            packages = {f"churn/{n}": inside.listed(scene.version("churn", n).package) for n in self._all}
            self._reader = lab.b.start(inside.poll, root=str(scene.share), packages=packages)
            yield self

    @property
    def _all(self) -> list[int]:
        return [1, 2, *self._numbers]

    def _tell_where(self) -> None:
        """Write into the settings where Tritons and gateways are."""
        path = self.scene.root / f"manifests/environments/{ENVIRONMENT}.yaml"
        document = yaml.safe_load(path.read_text())
        address = self.lab.b.address
        document["tritons"] = [
            {"name": f"triton-{n}", "grpc": f"{address}:{p}"} for n, p in enumerate(serving.GRPC, 1)
        ]
        document["gateways"] = [
            {"name": f"gateway-{n}", "url": f"http://{address}:{p}"} for n, p in enumerate(serving.GATEWAYS, 1)
        ]
        document["deadlines"] |= {"request_seconds": 20, "load_seconds": 20, "reload_seconds": 10, "turn_seconds": 60}
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def start(self, client: Client, *argv: str) -> Running:
        return client.start(promobot, argv=argv, root=str(self.scene.root))

    def run(self, client: Client, *argv: str, codes: Sequence[int] = (0,)) -> Ended:
        """Run a verb on a client; a problem where it ends otherwise."""
        return self.ended(self.start(client, *argv), argv, codes)

    def ended(self, running: Running, argv: Sequence[str], codes: Sequence[int]) -> Ended:
        try:
            code = running.result(VERB_SECONDS)
        except (Failed, OSError) as error:
            self.problems.append(f"{' '.join(argv)}: {' '.join(str(error).split())[-700:]}")
            return Ended(99, str(error))
        if code not in codes or "Traceback" in running.said:
            said = " ".join(running.said.split())[-700:]
            self.problems.append(f"{' '.join(argv)}: exit code {code}: {said}")
        return Ended(code, running.said)

    def compete(self, numbers: Sequence[int]) -> list[str]:
        """Two deployments of one version at once; then a rollback while one runs. Return what came of it."""
        a, b = self.lab.a, self.lab.b
        deploy = ("deploy", "--env", ENVIRONMENT)
        figures = []
        for number in numbers[: len(numbers) // 2]:
            self.scene.merge("churn", number)
            both = [(self.start(client, *deploy), deploy) for client in (a, b)]
            for running, argv in both:
                self.ended(running, argv, (0,))
            self.in_service(number)
        for number in numbers[len(numbers) // 2 :]:
            self.scene.merge("churn", number)
            deploying = self.start(a, *deploy)
            time.sleep(OVERTAKES_AFTER_SECONDS)
            rollback = ("rollback", "churn", "--env", ENVIRONMENT, "--to", "1", "--now")
            ended = [self.ended(self.start(b, *rollback), rollback, (0, 1)), self.ended(deploying, deploy, (0, 1))]
            if ended[0].code:
                said = " ".join(ended[0].said.split())[-700:]
                self.problems.append(f"the rollback of version {number} ended with {ended[0].code}: {said}")
            self.in_service(1)
            # Whether it came into service or not, main asks for it still, and somebody went back from it.
            again = self.run(a, *deploy, codes=(1,))
            if "quarantine" not in again.said:
                self.problems.append(f"the deployment after the rollback does not hold version {number}")
            self.in_service(1)
            codes = [one.code for one in ended]
            late = " (superseded)" if "turn" in ended[1].said and codes[1] else ""
            figures.append(
                f"rollback ended with {codes[0]}, deployment with {codes[1]}{late}, the next with {again.code}; "
                f"in service then: {self._live()}"
            )
        return figures

    def _live(self) -> int | None:
        live = self.scene.routes().route("churn").live
        return live.version if live else None

    def in_service(self, version: int) -> None:
        if self._live() != version:
            self.problems.append(f"in service is {self._live()}, not {version}")

    def finish(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Stop reader and users; return what they saw."""
        return self._reader.stop(), self._serving.stop()


def fifty(
    lab: Lab, promotions: int, say: Callable[[str], None], options: str = "", notes: Notes | None = None
) -> Iterator[Tried]:
    """Promote and roll back so many times each, while users ask and a reader hashes what it sees."""
    began = time.monotonic()
    home = lab.home / "scene"
    home.mkdir()
    with Scene(home, address=SERVER, more=promotions + COMPETING) as scene:
        world = World(lab, scene, promotions + COMPETING, options)
        with world.open():
            scene.merge("churn", 1)
            world.run(lab.a, "deploy", "--env", ENVIRONMENT)
            if notes is not None:
                notes.mount(lab.a, "client a, on which promobot deploys", scene.repository, lab.home)
                notes.mount(lab.b, "client b, with Tritons and gateways, which read", scene.repository, lab.home)
            switches = 0
            for number in range(FIRST, FIRST + promotions):
                scene.merge("churn", number)
                world.run(lab.a, "deploy", "--env", ENVIRONMENT)
                world.in_service(number)
                client = lab.b if number % 2 else lab.a
                world.run(client, "rollback", "churn", "--env", ENVIRONMENT, "--now")
                world.in_service(1)
                switches += 2
                if world.problems:
                    break
                say(f"  {switches} promotions and rollbacks after {time.monotonic() - began:.0f} s")
            alone = len(world.problems)
            competing = world.compete(range(FIRST + promotions, FIRST + promotions + COMPETING))
            world.run(lab.b, "cleanup", "--env", ENVIRONMENT)
            read, got = world.finish()
            left = sorted(path.name for path in scene.repository.glob("churn/*"))
    problems = [*world.problems[:alone], *(f"torn: {torn}" for torn in read["torn"]), *got["wrong"]]
    if switches != 2 * promotions:
        problems.append(f"{switches} promotions and rollbacks, not {2 * promotions}")
    if unseen := set(range(FIRST, FIRST + promotions)) - set(read["versions"]):
        problems.append(f"the reader never saw versions {sorted(unseen)}")
    yield Tried(
        "verbs",
        f"{switches} promotions and rollbacks by promobot, from two clients",
        problems,
        [
            f"{read['torn_count']} torn views of {read['packages']} packages hashed in {read['polls']} looks",
            f"{len(read['generations'])} generations seen, {read['went']} packages went meanwhile",
            f"users: {got['asked']} answers of {len(got['versions'])} versions, {got['failed']} failed",
            f"left in Triton's folder: {', '.join(left)}",
        ],
        time.monotonic() - began,
    )
    yield Tried(
        "verbs", "two deployments at once, and a rollback while one is under way", world.problems[alone:], competing
    )
