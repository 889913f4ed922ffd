"""A small world of one environment, ``dev``, that is put back to a named starting state in milliseconds.

Two Tritons and two gateways, a forge, Slack, MLflow, a share and a record store. The servers run in a process of
their own (``servers.py``); this side starts verbs, kills them, and looks.

A verb is ``bot.cli.main`` in a process that is *forked* from this one, which has imported everything and has
initialised nothing (no gRPC, no thread): a run begins at once, and is otherwise what ``promobot`` does. It is killed
either by a server of the scene at its k-th request (before it is handled, or after it is handled and before the
answer), or by strace at its k-th system call. strace watches the main thread only. With a ``seed`` that is where all
that a verb does side by side is done, in an order that the seed decides (``schedule.py``); a run that logs the calls
says which there are.

Reset: the directories (share, record store, forge, Slack) are copied from where they were saved, Tritons and MLflow's
aliases are told what they remembered, and gateways start anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import httpx
import yaml

from bot import cli, environment_files
from bot.domain import desired
from bot.domain.bundled import together
from bot.domain.desired import Change, Entry, Section
from bot.domain.memory import Memory
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, SMOKE_FILE, Package, PackageFile
from bot.domain.record import DeploymentRecord
from bot.domain.routes import RouteTable
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.errors import LeaseLost, PromobotError
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from bot.sandbox import mlflow
from bot.sandbox.processes import Ports as FreePorts
from bot.sandbox.processes import Processes
from bot.settings import Share
from bot.share import ModelRepository
from tests.reliability import servers
from tests.reliability.schedule import seeded
from tests.reliability.servers import CHANNEL, ENVIRONMENT, PARTS_OF_A_STATE, REPOSITORY, Look
from tests.stand_ins import triton as stand_in
from tests.stand_ins.merged import commit, green_evidence
from tests.stores import begin_share

SECONDS = 60.0
BUNDLE = ("tokens", "ranks", "fraud")
"""The parts of the one bundle, in their order."""
HUNG = 124
"""The exit code that stands for a verb that did not end in time."""
PROMOTIONS = f"promotions/{ENVIRONMENT}.yaml"
_forking = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Version:
    """A registered version: what Git says of it, and every byte that Triton's directory of it must hold."""

    model: str
    entry: Entry
    files: Mapping[str, bytes]
    package: Package
    of_parts: tuple[float, ...] = ()
    """What an ensemble adds by its parts."""

    @property
    def adds(self) -> tuple[float, ...]:
        """What it adds to what it is asked."""
        return self.of_parts or stand_in.offsets(self.files)

    @property
    def number(self) -> int:
        return self.entry.version


@dataclass(frozen=True)
class Ended:
    """How a verb ended: its exit code, None where it was killed; and what it said: stderr, then stdout."""

    code: int | None
    said: str
    out: str = ""
    """What it said on stdout alone."""

    @property
    def killed(self) -> bool:
        return self.code is None


@dataclass(frozen=True)
class Kill:
    """Where to kill: at request number ``request``, at the first ``named`` so, or by strace's ``inject``."""

    request: int = 0
    after: bool = False
    inject: str = ""
    named: str = ""

    def __str__(self) -> str:
        if self.inject:
            return self.inject
        if self.named:
            return f"{self.named} {'answered' if self.after else 'arriving'}"
        return f"request {self.request} {'answered' if self.after else 'arriving'}" if self.request else "no kill"


NO_KILL = Kill()


@dataclass
class Paused:
    """A verb that stands still."""

    pid: int
    out: Path
    tracer: subprocess.Popen[str] | None = None

    def wake(self) -> Ended:
        """Let it go on; return how it ends."""
        os.kill(self.pid, signal.SIGCONT)
        return self.ended(_wait(self.pid))

    def ended(self, status: int) -> Ended:
        """Return how it ended, by the status that it was waited for with."""
        _end_group(self.pid)
        if self.tracer is not None:
            self.tracer.wait(SECONDS)
        code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return Ended(code, *_what_was_said(self.out))


class StraceMissing(RuntimeError):
    """strace is not installed, or may not attach here."""


class Scene:
    """The world. Enter it to start the servers; nothing else may have started threads or gRPC in this process."""

    def __init__(self, home: Path | None = None, *, address: str = "127.0.0.1", more: int = 0) -> None:
        """``address``: where the servers listen; ``more``: so many versions of churn besides, from 5 on."""
        self.address, self._more = address, more
        self._own = tempfile.TemporaryDirectory(prefix="promobot-scene-") if home is None else None
        self.home = Path(self._own.name) if self._own else home or Path()
        self.live, self.root = self.home / "live", self.home / "root"
        self.share = self.live / "share"
        self.repository = self.share / "model-repo" / ENVIRONMENT
        self.state = self.share / "promobot" / ENVIRONMENT
        self.records = self.live / "records"
        self.versions: dict[tuple[str, int], Version] = {}
        self.seed: int | None = None
        """What decides the order of all that verbs do side by side, in one thread; None leaves it to threads."""
        self._retirements = itertools.count(1)
        self._saved: set[str] = set()
        self._warm = False
        self._forked = 0

    # --- start and stop ----------------------------------------------------------------------------------------

    def __enter__(self) -> Scene:
        self._closing = contextlib.ExitStack()
        if self._own:
            self._closing.callback(lambda: servers.empty(self.home))
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._closing.close()

    def _start(self) -> None:
        free = self._closing.enter_context(FreePorts())
        processes = Processes(self.home / "processes")
        part = mlflow.part("mlflow", directory=self.home / "mlflow", port=free.take())
        started = processes.start(part)
        self._closing.callback(processes.stop)
        self.ports = servers.Ports(
            forge=free.take(),
            slack=free.take(),
            mlflow=free.take(),
            grpc=(free.take(), free.take()),
            http=(free.take(), free.take()),
            gateways=(free.take(), free.take()),
            staging=free.take(),
            address=self.address,
        )
        mlflow_uri = f"http://127.0.0.1:{part.port}"
        self._control, theirs = _forking.Pipe()
        arguments = (self.home, self.ports, mlflow_uri, self.home / "mlflow/mlflow.db", theirs)
        self._servers = _forking.Process(target=servers.serve, args=arguments)
        self._servers.start()
        theirs.close()
        self._closing.callback(self._stop_servers)
        if not self._control.poll(SECONDS) or self._control.recv() != "ready":
            raise RuntimeError("the servers of the scene did not start")
        self._write_settings()
        processes.wait_until_ready(started)
        self._register(mlflow_uri)
        self.tell("know", versions={key: one.adds for key, one in self.versions.items()})
        self._first_commit()
        self.save("empty")
        self._warm_up()

    def _warm_up(self) -> None:
        """Import here what verbs import late, lest each of thousands do it: what a first run tells."""
        self.merge("churn", 1)
        ended = self.deploy()
        if ended.code != 0:
            raise RuntimeError(f"the first deployment ended with {ended.code}: {ended.said}")
        self._warm = True
        for name in (self.home / "modules").read_text().split():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        if threading.active_count() > 1:
            raise RuntimeError(f"this process has threads: {threading.enumerate()}")
        self.restore("empty")

    def _stop_servers(self) -> None:
        with contextlib.suppress(OSError, EOFError, RuntimeError):
            self.tell("quit")
        self._servers.join(10)
        if self._servers.is_alive():
            self._servers.kill()
            self._servers.join()

    def tell(self, command: str, **arguments: Any) -> Any:
        """Have the servers do something; return their answer."""
        self._control.send((command, arguments))
        if not self._control.poll(SECONDS):
            raise RuntimeError(f"the servers do not answer to {command}")
        answer = self._control.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _write_settings(self) -> None:
        here = f"http://{self.address}"
        share = {"model_repository": str(self.repository), "state": str(self.state)}
        document = {
            "environment": ENVIRONMENT,
            "github": {
                "repository": REPOSITORY,
                "server_url": f"{here}:{self.ports.forge}",
                "api_url": f"{here}:{self.ports.forge}/api/v3",
            },
            "mlflow": {"uri": f"{here}:{self.ports.mlflow}"},
            "staging": {
                "triton": {"name": "triton-staging", "grpc": f"{self.address}:{self.ports.staging}"},
                "share": {"model_repository": str(self.home / "staging"), "state": str(self.home / "staging-state")},
            },
            "share": share,
            "tritons": [
                {"name": f"triton-{n}", "grpc": f"{self.address}:{port}"} for n, port in enumerate(self.ports.grpc, 1)
            ],
            "gateways": [
                {"name": f"gateway-{n}", "url": f"{here}:{port}"} for n, port in enumerate(self.ports.gateways, 1)
            ],
            "records": str(self.records),
            "slack": {"channel": CHANNEL, "api_url": f"{here}:{self.ports.slack}/api"},
            "gates": {
                "churn": {"metrics": {"accuracy": {"minimum": 0.5}}},
                "wine": {"metrics": {"accuracy": {"minimum": 0.5}}},
                "iris": {"metrics": {"accuracy": {"minimum": 0.5}}},
                "rose": {"metrics": {"accuracy": {"minimum": 0.5}}},
                "pine": {"metrics": {"accuracy": {"minimum": 0.5}}},
                "fraud": {"metrics": {"accuracy": {"minimum": 0.5}}},
            },
            "packages": {"backends": ["onnxruntime", "python"], "file_types": [".onnx", ".data", ".py"]},
            "bundles": {"fraud": list(BUNDLE)},
            "rehearse": True,
            "deadlines": {
                "request_seconds": 10,
                "load_seconds": 10,
                "reload_seconds": 5,
                "ready_seconds": 5,
                "turn_seconds": 0.1,
            },
        }
        begin_share(self.home / "staging", self.home / "staging-state", staging=True)
        path = self.settings_file
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def settings_file(self) -> Path:
        return self.root / f"manifests/environments/{ENVIRONMENT}.yaml"

    @contextlib.contextmanager
    def settings_with(self, **parts: Any) -> Iterator[None]:
        """Have these parts in the environment file; it is as it was after the block."""
        was = self.settings_file.read_text()
        self.change_settings(**parts)
        try:
            yield
        finally:
            self.settings_file.write_text(was)

    def change_settings(self, **parts: Any) -> None:
        """Put these parts into the environment file, in the place of those that are there."""
        document = yaml.safe_load(self.settings_file.read_text())
        self.settings_file.write_text(yaml.safe_dump({**document, **parts}, sort_keys=False))

    # --- versions ----------------------------------------------------------------------------------------------

    def _register(self, uri: str) -> None:
        """Register every version there is, once.

        Of churn, 3 answers wrong and 4 does not load; of the others there is one. Fraud is an ensemble of tokens and
        ranks: of tokens there are two versions, and its own second one is for the second. Its third is a Python model
        that asks the same as the first.
        """
        made = [
            _package("churn", 1),
            _package("churn", 2),
            _package("churn", 3, wrong=True),
            _package("churn", 4, loads=False),
            *(_package("churn", number) for number in range(5, 5 + self._more)),
            _package("wine", 1),
            _package("iris", 1),
            _package("rose", 1),
            _package("pine", 1),
            _package("tokens", 1),
            _package("tokens", 2),
            _package("ranks", 1),
        ]
        *_, tokens, other_tokens, ranks = made
        made += [_ensemble("fraud", 1, tokens, ranks), _ensemble("fraud", 2, other_tokens, ranks)]
        made += [_asking("fraud", 3, tokens, ranks)]
        runs = []
        # Not by MLflow's client: it takes two seconds to import, and starts threads, which no process may that forks.
        with httpx.Client(base_url=f"{uri}/api/2.0/mlflow/", timeout=SECONDS, trust_env=False) as client:

            def ask(what: str, **given: Any) -> dict[str, Any]:
                answer = client.post(what, json=given).raise_for_status()
                found: dict[str, Any] = answer.json()
                return found

            for model in sorted({model for model, _, _, _ in made}):
                ask("registered-models/create", name=model)
            for model, number, contents, _ in made:
                run = ask("runs/create", experiment_id="0")["run"]["info"]
                package = self.home / f"packages/{model}-{number}"
                for path, content in contents.items():
                    (package / path).parent.mkdir(parents=True, exist_ok=True)
                    (package / path).write_bytes(content)
                (package / MLMODEL_FILE).write_text(_MLMODEL)
                # Where MLflow would put what it is sent.
                shutil.copytree(package, self.home / f"mlflow/artifacts/0/{run['run_id']}/artifacts/model")
                # Judged again where the champion moved, it passes.
                now = int(time.time() * 1000)
                ask("runs/log-metric", run_id=run["run_id"], key="accuracy", value=0.9, timestamp=now)
                source = f"{run['artifact_uri']}/model"
                registered = ask("model-versions/create", name=model, source=source, run_id=run["run_id"])
                assert int(registered["model_version"]["version"]) == number
                runs.append(run["run_id"])
        for (model, number, contents, package), run in zip(made, runs, strict=True):
            files = {file.path: contents[file.path] for file in package.version_files}
            entry = Entry(version=number, digest=package.digest, run=run)
            adds = SmokeCases.from_json(contents[SMOKE_FILE]).cases[0].outputs[0].data
            of_parts = tuple(value - 0.25 for value in adds) if model == BUNDLE[-1] else ()
            self.versions[(model, number)] = Version(model, entry, files, package, of_parts)

    def version(self, model: str, number: int) -> Version:
        return self.versions[(model, number)]

    # --- what people do ----------------------------------------------------------------------------------------

    def _first_commit(self) -> None:
        commit(self._bare, PROMOTIONS, f"environment: {ENVIRONMENT}\nmodels: {{}}\nshadow: {{}}\n")

    def merge(self, model: str, number: int | None, *, section: Section = "models", evidence: bool = True) -> None:
        """Have main desire a version, or retire the model, with the evidence that green checks leave.

        Each retirement has a reason of its own, as those of people have.
        """
        entry = self.versions[(model, number)].entry if number is not None else None
        if entry is not None and evidence:
            self._evidence(model, entry, section)
        text = self.promotions()
        if section == "models" and number is None:
            reason = f"not needed ({next(self._retirements)})"
            text = desired.with_retirement(text, file=PROMOTIONS, model=model, reason=reason)
        else:
            text = desired.with_entry(text, file=PROMOTIONS, section=section, model=model, entry=entry)
        commit(self._bare, PROMOTIONS, text)

    def merge_bundle(self, *numbers: int, section: Section = "models") -> None:
        """Have main desire these versions of a bundle's parts, in one commit, with the evidence of green checks.

        Without any, main desires none of them.
        """
        given = zip(BUNDLE, numbers or (None,) * len(BUNDLE), strict=True)
        entries = {model: self.versions[model, number].entry if number else None for model, number in given}
        text, before = self.promotions(), self.desired.section(section)
        for model, entry in entries.items():
            text = desired.with_entry(text, file=PROMOTIONS, section=section, model=model, entry=entry)
        if not numbers:
            commit(self._bare, PROMOTIONS, text)
            return
        changes = [Change(ENVIRONMENT, section, model, before.get(model), entry) for model, entry in entries.items()]
        wanted = desired.parse(text, file=PROMOTIONS, environment=ENVIRONMENT)
        for change in together(changes, {ENVIRONMENT: wanted}, {ENVIRONMENT: {BUNDLE[-1]: BUNDLE}}):
            assert change.after is not None
            path = self.home / "packages" / f"{change.model}-{change.after.version}" / SMOKE_FILE
            settings = environment_files.load(self.root, ENVIRONMENT)
            self.ledger.add_evidence(green_evidence(change, SmokeCases.from_json(path.read_bytes()), settings))
        commit(self._bare, PROMOTIONS, text)

    def passes(
        self,
        model: str,
        number: int,
        *,
        pull_request: int,
        at: datetime | None = None,
        memory: Memory | None = None,
    ) -> None:
        """Leave what green checks of a pull request leave; ``at``: when they ran; ``memory``: what loading took."""
        entry = self.version(model, number).entry
        self._evidence(model, entry, "models", at=at, pull_request=pull_request, memory=memory)

    def promotions(self) -> str:
        """Return the file at the head of main."""
        return self._git("show", f"refs/heads/main:{PROMOTIONS}").decode()

    @property
    def desired(self) -> desired.Desired:
        """What main asks for."""
        return desired.parse(self.promotions(), file=PROMOTIONS, environment=ENVIRONMENT)

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", "-C", self._bare, *arguments], check=True, stdout=subprocess.PIPE).stdout

    @property
    def _bare(self) -> Path:
        return self.live / "forge/repositories" / f"{REPOSITORY}.git"

    def _evidence(
        self,
        model: str,
        entry: Entry,
        section: Section,
        *,
        at: datetime | None = None,
        pull_request: int = 1,
        memory: Memory | None = None,
    ) -> None:
        champion = self.desired.models.get(model) if section == "models" else None
        change = Change(ENVIRONMENT, section, model, champion, entry)
        smoke = SmokeCases.from_json((self.home / "packages" / f"{model}-{entry.version}" / SMOKE_FILE).read_bytes())
        self.ledger.add_evidence(
            green_evidence(
                change,
                smoke,
                environment_files.load(self.root, ENVIRONMENT),
                at=at,
                pull_request=pull_request,
                memory=memory,
            )
        )

    # --- states ------------------------------------------------------------------------------------------------

    def save(self, name: str) -> str:
        """Keep everything as it is now, under this name; return what is the same for states that are the same."""
        if self._bare.is_dir():
            self._git("repack", "-adq")  # fewer files to copy, each time that the state is put back
            shutil.rmtree(self._bare / "objects/info", ignore_errors=True)
        found: str = self.tell("save", name=name)
        self._saved.add(name)
        return found

    def restore(self, name: str, *, models: Sequence[str] = ("churn",)) -> None:
        """Put everything back as it was; users ask for ``models`` from then on."""
        self.tell("restore", name=name, models=tuple(models))

    def forget(self, name: str) -> None:
        """Remove what was kept under this name."""
        servers.empty(self.home / "states" / name)
        self._saved.discard(name)

    def has(self, name: str) -> bool:
        return name in self._saved

    # --- verbs -------------------------------------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        kill: Kill = NO_KILL,
        log: Path | None = None,
        inject: Sequence[str] = (),
        on: str = "",
        data: bool = False,
        env: Mapping[str, str] | None = None,
        columns: int = 0,
    ) -> Ended:
        """Run ``promobot`` with these arguments, and variables; kill it where ``kill`` says.

        ``columns``: its stdout is a terminal that is so wide, and whose buffer takes all that it says.

        ``log`` has strace write its main thread's system calls there: those that matter to the kill or to ``inject``
        (more of strace's expressions), all without them, and with ``data`` all that change something, in full. With
        ``on``, calls on this path are the only ones that count.
        """
        options = [*_strace_options(kill, log, inject, data=data), *(("-P", on) if on else ())]
        out = self.live / "tmp-out"
        screen, terminal = os.openpty() if columns else (-1, -1)
        if columns:
            termios.tcsetwinsize(terminal, (1000, columns))
        sys.stdout.flush()
        sys.stderr.flush()
        released, release = os.pipe()
        child = os.fork()
        if not child:
            os.close(release)
            self._be_the_verb(argv, released, out, env or {}, terminal)
        os.close(released)
        tracer: subprocess.Popen[str] | None = None
        try:
            if options:
                tracer = _attach(child, options)
            if kill.request or kill.named:
                self.tell("arm", pid=child, at=kill.request, after=kill.after, named=kill.named)
            else:
                self.tell("disarm")
            os.write(release, b"x")
            status = _wait(child)
        finally:
            os.close(release)
            _end_group(child)
            if tracer is not None:
                tracer.wait(SECONDS)
        if columns:
            os.close(terminal)
            out.write_text(_read_all(screen).replace("\r\n", "\n"))
        said, stdout = _what_was_said(out)
        if os.WIFSIGNALED(status):
            if os.WTERMSIG(status) != signal.SIGKILL:
                raise RuntimeError(f"the verb died of signal {os.WTERMSIG(status)}: {said}")
            return Ended(None, said, stdout)
        return Ended(os.WEXITSTATUS(status), said, stdout)

    def paused(self, *argv: str, stop: Kill) -> Paused | Ended:
        """Run ``promobot`` until it is stopped there, instead of killed; or to its end where it never gets there."""
        self._forked += 1
        out = self.home / f"paused-{self._forked}"
        sys.stdout.flush()
        sys.stderr.flush()
        released, release = os.pipe()
        child = os.fork()
        if not child:
            os.close(release)
            self._be_the_verb(argv, released, out)
        os.close(released)
        tracer: subprocess.Popen[str] | None = None
        if stop.inject:
            expression = stop.inject.replace(" at ", ":signal=SIGSTOP:when=")
            called = expression.partition(":")[0]
            tracer = _attach(child, ["-o", "/dev/null", "-e", f"trace={called}", "-e", f"inject={expression}"])
            self.tell("disarm")
        else:
            self.tell("arm", pid=child, at=stop.request, after=stop.after, stop=True)
        os.write(release, b"x")
        os.close(release)
        paused = Paused(child, out, tracer)
        status = os.waitpid(child, os.WUNTRACED)[1]
        return paused if os.WIFSTOPPED(status) else paused.ended(status)

    def _be_the_verb(
        self,
        argv: Sequence[str],
        released: int,
        out: Path,
        env: Mapping[str, str] = MappingProxyType({}),
        terminal: int = -1,
    ) -> None:
        """Run as the verb, in the forked process; never returns."""
        code = 99
        try:
            os.setsid()
            self._control.close()
            for number, path in ((1, out), (2, _beside(out))):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            if terminal >= 0:
                os.dup2(terminal, 1)
                sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the process ends
            os.environ.update(servers.variables({"TMPDIR": str(self.live / "tmp"), **env}))
            tempfile.tempdir = str(self.live / "tmp")
            os.read(released, 1)
            try:
                with contextlib.nullcontext() if self.seed is None else seeded(self.seed):
                    verb = step if argv[0] == STEP else cli.main
                code = verb([*argv, "--root", str(self.root)])
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 98
            if not self._warm:
                (self.home / "modules").write_text("\n".join(sys.modules))
        except BaseException:  # noqa: BLE001 - there is nobody above
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def deploy(self, **more: Any) -> Ended:
        return self.run("deploy", "--env", ENVIRONMENT, **more)

    # --- looking -----------------------------------------------------------------------------------------------

    def look(self, *, ask: bool = True, quiet: bool = True) -> Look:
        """Return what the servers have in memory; ``ask`` has users ask once more first.

        ``quiet`` waits until no request is under way; not where a verb stands still in one.
        """
        found: Look = self.tell("look", ask=ask, quiet=quiet)
        return found

    @property
    def ledger(self) -> Ledger:
        return Ledger(RecordStore(self.records), ENVIRONMENT)

    def deployments(self) -> list[DeploymentRecord]:
        return self.ledger.deployments()

    @property
    def model_repository(self) -> ModelRepository:
        return ModelRepository(Share(model_repository=str(self.repository), state=str(self.state)))

    def routes(self) -> RouteTable:
        """Return the routes in force: the newest generation; raise ValueError where a file of them is torn."""
        tables = [RouteTable(ENVIRONMENT)]
        for path in (self.state / "routes.json", *(self.state / "routes").glob("*.json")):
            with contextlib.suppress(FileNotFoundError):
                tables.append(RouteTable.from_json(path.read_text()))
        return max(tables, key=lambda table: table.generation)


STEP = "step"
"""Brings a rollout of a model to a percent, as ``promobot watch`` does where it is due: ``step churn 50``."""


def step(argv: Sequence[str]) -> int:
    """Make the step that is due; return the exit code of the deployment."""
    from bot.commands import Context
    from bot.operations.deployment.rollouts import under_way
    from bot.operations.rollout import advance

    _, model, percent, _, root = argv
    try:
        with Context("deploy", root, json=False, environment=ENVIRONMENT).platform(
            ENVIRONMENT, lenient=True
        ) as platform:
            records = platform.ledger.deployments()
            now = under_way(platform.share.routes.read(ENVIRONMENT), records, model)
            done = advance(platform, model, int(percent), rollout=now.id if now else "", say=print)
    except (PromobotError, LeaseLost) as error:
        print(error)
        return 1
    for record in done.records:
        print(record.id, record.outcome, record.rollout and record.rollout.percent, record.problem)
    print(*done.held, *done.problems, sep="\n")
    return done.exit_code


_TENSORS = {
    "inputs": [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1]}, "name": "X"}],
    "outputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}, "name": "Y"}],
}
MLMODEL_FILE = "MLmodel"
_MLMODEL = yaml.safe_dump({"signature": {part: json.dumps(tensors) for part, tensors in _TENSORS.items()}})
"""What MLflow writes beside a model, as far as the checks read it: the signature."""


# --- packages -----------------------------------------------------------------------------------------------------


def _package(
    model: str, number: int, *, wrong: bool = False, loads: bool = True
) -> tuple[str, int, dict[str, bytes], Package]:
    """Make a small package of two files, one of them in a folder. ``wrong``: its golden answer is another's."""
    noise = hashlib.sha256(f"{model} {number}".encode()).digest()
    files = {stand_in.MODEL_FILE: stand_in.model_file(noise * 40, loads=loads), "weights/part.data": noise[::-1] * 20}
    expected = [0.25 + offset for offset in stand_in.offsets({"other": b""} if wrong else files)]
    case = SmokeCase("one", (Tensor("X", "FP32", (1, 1), (0.25,)),), (Tensor("Y", "FP64", (1, 4), tuple(expected)),))
    contents = {**files, CONFIG_FILE: stand_in.CONFIG.encode(), SMOKE_FILE: SmokeCases((case,)).to_json().encode()}
    package = Package.of(
        PackageFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in contents.items()
    )
    contents[PACKAGE_FILE] = package.to_json().encode()
    return model, number, contents, package


def _ensemble(
    model: str, number: int, *parts: tuple[str, int, dict[str, bytes], Package]
) -> tuple[str, int, dict[str, bytes], Package]:
    """Make the package of an ensemble of these: its golden answer is theirs, one after the other."""
    expected = stand_in.added(
        stand_in.offsets({file.path: contents[file.path] for file in package.version_files})
        for _, _, contents, package in parts
    )
    answer = tuple(0.25 + value for value in expected)
    case = SmokeCase("one", (Tensor("X", "FP32", (1, 1), (0.25,)),), (Tensor("Y", "FP64", (1, 4), answer),))
    steps = ", ".join(f'{{ model_name: "{name}" model_version: -1 }}' for name, _, _, _ in parts)
    config = stand_in.CONFIG.partition("max_batch_size")[2].replace(
        f'default_model_filename: "{stand_in.MODEL_FILE}"\n', ""
    )
    config = f'platform: "ensemble"\nmax_batch_size{config}ensemble_scheduling {{ step [ {steps} ] }}\n'
    contents = {CONFIG_FILE: config.encode(), SMOKE_FILE: SmokeCases((case,)).to_json().encode()}
    package = Package.of(
        PackageFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in contents.items()
    )
    contents[PACKAGE_FILE] = package.to_json().encode()
    return model, number, contents, package


def _asking(
    model: str, number: int, *parts: tuple[str, int, dict[str, bytes], Package]
) -> tuple[str, int, dict[str, bytes], Package]:
    """Make the package of a Python model that asks these; it answers as their ensemble."""
    _, _, of_ensemble, _ = _ensemble(model, number, *parts)
    config = of_ensemble[CONFIG_FILE].decode().partition("ensemble_scheduling")[0]
    config = config.replace('platform: "ensemble"', 'backend: "python"')
    config += "".join(f'parameters {{ key: "BUNDLE_{name}" value {{}} }}\n' for name, _, _, _ in parts)
    contents = {CONFIG_FILE: config.encode(), SMOKE_FILE: of_ensemble[SMOKE_FILE], "model.py": b"# asks its parts\n"}
    package = Package.of(
        PackageFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in contents.items()
    )
    contents[PACKAGE_FILE] = package.to_json().encode()
    return model, number, contents, package


# --- strace -------------------------------------------------------------------------------------------------------

MUTATING = (
    *("creat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat"),
    *("unlink", "unlinkat", "rmdir", "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "utimensat"),
    *("write", "writev", "pwrite64", "pwritev", "ftruncate", "truncate", "fallocate"),
    *("fsync", "fdatasync", "copy_file_range", "sendfile"),
)
OPENING = ("open", "openat")
READING = ("read", "pread64", "getdents64", "stat", "lstat", "fstat", "newfstatat", "statx", "readlink", "fcntl")
TRACED = (*MUTATING, *OPENING, *READING, "close")
_LINE = re.compile(r"(\w+)\((.*)\) += +(-?\d+|\?)(.*)")
_OPENED_TO_CHANGE = re.compile(r"O_CREAT|O_TRUNC|O_APPEND")


@dataclass(frozen=True)
class Call:
    """One system call of the log: the ``number``-th of its name, from 1."""

    name: str
    number: int
    arguments: str
    failed: bool
    injected: bool = False

    @property
    def mutates(self) -> bool:
        """Whether it changes a file or a directory, or may."""
        if self.name in OPENING:
            return bool(_OPENED_TO_CHANGE.search(self.arguments))
        return self.name in MUTATING and not self._of_no_file

    @property
    def _of_no_file(self) -> bool:
        found = re.match(r"\d+<([^>]*)>?", self.arguments)
        return bool(found) and not found[1].startswith(("/", "\\x2f"))

    @property
    def shape(self) -> str:
        """The arguments, short, without what differs from run to run."""
        paths = re.findall(r'"([^"]*)"|\d+<(/[^>]*)>', self.arguments)
        named = filter(None, (quoted or opened for quoted, opened in paths))  # data that was read is left out
        names = ["/".join(path.split("/")[-2:]) for path in named]
        return re.sub(r"[0-9a-f]{8,}", "*", " → ".join(names))

    @property
    def path(self) -> str:
        """The first path that it names from the root; empty where it names none."""
        found = re.search(r'"(/[^"]*)"|^\d+<(/[^>]*)>', self.arguments)
        return (found[1] or found[2]) if found else ""

    @property
    def kind(self) -> tuple[str, str, bool]:
        """What makes two calls of two runs the same."""
        return self.name, self.shape, self.mutates

    def is_on(self, *folders: Path) -> bool:
        """Whether it names a path in one of the folders."""
        return any(str(folder) in self.arguments for folder in folders)


def calls(log: Path) -> list[Call]:
    """Return the system calls of a run that was logged, in order."""
    counted: dict[str, int] = {}
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if not (match := _LINE.match(line)):
            continue
        name = match[1]
        counted[name] = counted.get(name, 0) + 1
        found.append(Call(name, counted[name], match[2], match[3].startswith("-"), match[4].endswith("(INJECTED)")))
    return found


def _strace_options(kill: Kill, log: Path | None, inject: Sequence[str], *, data: bool) -> list[str]:
    """Return strace's options; none where it is not needed."""
    expressions = [kill.inject.replace(" at ", ":signal=SIGKILL:when=")] if kill.inject else list(inject)
    if not expressions and log is None:
        return []
    traced = {expression.partition(":")[0] for expression in expressions} or {*TRACED}
    if data:
        traced |= {*MUTATING, *OPENING}
    options = ["-y", *(("-xx", "-s", "10000000") if data else ("-s", "0")), "-o", str(log or os.devnull)]
    options += ["-e", f"trace={','.join(sorted(traced))}"]
    return options + [part for expression in expressions for part in ("-e", f"inject={expression}")]


def _attach(pid: int, options: Sequence[str]) -> subprocess.Popen[str]:
    if shutil.which("strace") is None:
        raise StraceMissing("strace is not installed")
    command = ["strace", "-qq", *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + SECONDS
    while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
        if tracer.poll() is not None:
            os.kill(pid, signal.SIGKILL)
            raise StraceMissing("strace cannot attach here")
        if time.monotonic() > deadline:
            raise StraceMissing("strace does not attach")
        time.sleep(0.001)
    return tracer


def _wait(child: int) -> int:
    pidfd = os.pidfd_open(child)
    try:
        if not select.select([pidfd], [], [], SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return HUNG << 8
    finally:
        os.close(pidfd)
    return os.waitpid(child, 0)[1]


def _beside(out: Path) -> Path:
    """Return where a verb's stderr goes whose stdout goes to ``out``."""
    return out.with_name(f"{out.name}-err")


def _read_all(screen: int) -> str:
    """Return what was written to a terminal that nobody has open any more; close it."""
    found = b""
    with contextlib.suppress(OSError):  # the end, where a terminal is gone
        while chunk := os.read(screen, 65536):
            found += chunk
    os.close(screen)
    return found.decode(errors="replace")


def _what_was_said(out: Path) -> tuple[str, str]:
    """Return what a verb said on stderr and stdout together, and on stdout alone."""
    stderr, stdout = (path.read_text(errors="replace") if path.exists() else "" for path in (_beside(out), out))
    return stderr + stdout, stdout


def _end_group(child: int) -> None:
    """End what the verb left running, such as its Git."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


__all__ = ["PARTS_OF_A_STATE", "Call", "Ended", "Kill", "Look", "Scene", "StraceMissing", "Version", "calls"]
