"""What people of a company do and see, around one running sandbox whose forge runs no workflows.

A test trains and registers, runs ``promobot`` in a checkout, merges, and looks: at the pull request, through the
gateways, on Triton, in Slack, in the records. Where a workflow would run a verb, the test runs it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import yaml

from bot import cli, environment_files, retry
from bot.domain import desired
from bot.domain.desired import Entry, Section
from bot.domain.evidence import CHECKS, LIFETIME, CheckResult, Evidence, Finding, rules_of
from bot.domain.evidence import Answer as Answered
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, SMOKE_FILE, Package
from bot.domain.record import DeploymentRecord, served_after
from bot.domain.release import Lane, Release, Slot
from bot.domain.routes import RouteTable
from bot.domain.smoke import SmokeCases
from bot.operations import trials
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from bot.sandbox.mlflow import FOLDER
from bot.sandbox.platform import BOT, OWNER, Endpoints, Sandbox
from bot.sandbox.reference import RECIPES, Trained, train
from bot.sandbox.s3 import ObjectStorage
from bot.sandbox.seed import GATES, MODEL
from bot.settings import Bucket, Share
from bot.share import ModelRepository
from bot.training import Registration, build_package, register
from bot.training.package import hash_file

PROMOTIONS = "promotions/{}.yaml"
MANIFEST = "manifests/environments/{}.yaml"
# No connection stays open: a Triton that is told to stop would wait for it.
HTTP = httpx.Client(timeout=30, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
_numbers = itertools.count(1)
_LEAVING: dict[str, set[str]] = {}
"""What each Triton was asked to unload when a test was over."""


@dataclass(frozen=True)
class Said:
    """What one run of promobot said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout; fails where there is anything else."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class Registered:
    """A version in MLflow, as a proposal names it."""

    model: str
    version: int
    run: str
    digest: str
    artifacts: Path = field(repr=False)

    @property
    def entry(self) -> Entry:
        """What ``promotions/`` says of it."""
        return Entry(version=self.version, digest=self.digest, run=self.run)

    def release(self, environment: str = "dev", lane: Lane = Lane.LIVE) -> Release:
        """The same, in a place."""
        return self.entry.in_slot(Slot(environment, self.model, lane))

    def relist(self) -> Registered:
        """Write package.json for the files that are there now, as whoever replaced them would."""
        mlflows_own = {PACKAGE_FILE, "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
        names = [p.relative_to(self.artifacts).as_posix() for p in self.artifacts.rglob("*") if p.is_file()]
        package = Package.of(hash_file(self.artifacts, name) for name in names if name not in mlflows_own)
        (self.artifacts / PACKAGE_FILE).write_text(package.to_json())
        return Registered(self.model, self.version, self.run, package.digest, self.artifacts)


@dataclass(frozen=True)
class Answer:
    """What a user got from a gateway."""

    model: str
    version: int
    probabilities: list[float]


class World:
    """One test's view: a checkout of its own, and everything that can be done and seen."""

    def __init__(self, sandbox: Sandbox, *, clone: Path, root: Path) -> None:
        self.sandbox, self.clone, self.root = sandbox, clone, root
        self.endpoints: Endpoints = sandbox.endpoints
        self._disturbed: dict[str, Mapping[str, str]] = {}
        self._longer: set[str] = set()
        self._on_main()
        settings = [path for name in self.endpoints.triton if (clone / (path := MANIFEST.format(name))).exists()]
        if settings:
            # Main has none here, so that a test gives its models gates in its checkout alone: that counts then.
            self.commit({}, remove=settings, message="No settings")
        shutil.copytree(self.endpoints.directory / "slack-app/manifests", root / "manifests")
        shutil.copytree(clone / "promotions", root / "promotions")
        self._began_at = self.git("rev-parse", "HEAD")

    # --- promobot ----------------------------------------------------------------------------------------------

    def promobot(
        self, *arguments: str | int, json_too: bool = True, login: str = OWNER, env: Mapping[str, str] | None = None
    ) -> Said:
        """Run ``promobot`` in the checkout; with ``--json`` unless the words are wanted."""
        self.settle()
        command = [*map(str, arguments), "--root", str(self.root), *(["--json"] if json_too else [])]
        variables = {**self.endpoints.variables(login=login), **(env or {})}
        out, err = io.StringIO(), io.StringIO()
        before = signal.getsignal(signal.SIGTERM)
        try:
            with (
                mock.patch.dict(os.environ, variables),
                # A person waits 10 s for the doctor. A loaded machine of tests may need longer for what is well.
                mock.patch.object(trials, "DEADLINE_SECONDS", 60.0),
                mock.patch.object(trials, "REQUEST_SECONDS", 20.0),
                # As often as ever, a tenth of the time apart: tests/test_retry.py has the clock of it.
                mock.patch.multiple(retry, PAUSE_SECONDS=0.04, JITTER_SECONDS=0.02),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                code = cli.main(command)
        except SystemExit as ended:  # argparse: usage
            code = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGTERM, before)
        return Said(code, out.getvalue(), err.getvalue())

    def words(self, *arguments: str | int, **options: Any) -> Said:
        """Run ``promobot`` as a person does, who reads."""
        return self.promobot(*arguments, json_too=False, **options)

    def bot(self, *arguments: str | int, **options: Any) -> Said:
        """Run ``promobot`` as a workflow does, with the bot's token."""
        return self.promobot(*arguments, login=BOT, **options)

    def deploy(self, environment: str = "dev", **options: Any) -> Said:
        """Run the deployment that a merge would start."""
        return self.bot("deploy", "--env", environment, **options)

    def check(
        self,
        number: int,
        *names: str,
        head: str | None = None,
        needs: str = "success",
        env: Mapping[str, str] | None = None,
    ) -> list[Said]:
        """Run these checks of a pull request, all if none is named, and with them the job that sums up."""
        sha = head or self.pull(number)["head"]["sha"]
        where = ("--pull-request", number, "--head", sha, "--run-id", f"run-{next(_numbers)}")
        said = [self.bot("check", name, *where, env=env) for name in names or CHECKS]
        jobs = {name: {"result": needs, "outputs": {}} for name in CHECKS}
        return [*said, self.bot("check", "verdict", *where, "--needs", json.dumps(jobs), env=env)]

    # --- settings ----------------------------------------------------------------------------------------------

    def model(self, **gate: Any) -> str:
        """Return the name of a model that nobody used before, with a gate of its own in every environment."""
        name = f"model-{next(_numbers)}"
        for environment in self.endpoints.triton:
            self.configure(environment, gates={name: {**GATES[MODEL], **gate}})
        return name

    def configure(self, environment: str, **changes: Any) -> None:
        """Change the checkout's environment file; mappings are merged, key by key."""
        path = self.root / MANIFEST.format(environment)
        document = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            before = document.get(key)
            is_merged = isinstance(value, dict) and isinstance(before, dict)
            document[key] = {**before, **value} if is_merged else value
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def publish_settings(self) -> str:
        """Have main say the checkout's settings; return main's commit."""
        files = {MANIFEST.format(name): (self.root / MANIFEST.format(name)) for name in self.endpoints.triton}
        return self.commit({path: file.read_text() for path, file in files.items()}, message="Settings")

    def drop_gate(self, environment: str, model: str) -> None:
        """Take a model's gate out of the checkout's environment file."""
        path = self.root / MANIFEST.format(environment)
        document = yaml.safe_load(path.read_text())
        del document["gates"][model]
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    # --- training ----------------------------------------------------------------------------------------------

    def register(
        self, model: str, recipe: str = "first", *, max_batch_size: int = 64, note: str = "", **metrics: float
    ) -> Registered:
        """Train and register the next version of ``model``; ``metrics`` replace measured ones.

        The same recipe of the same model gives the same bytes, but for a ``note``.
        """
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder, "package")
            _package(package, recipe, max_batch_size=max_batch_size, model=model + note)
            return self.register_package(package, model, recipe, **metrics)

    def register_package(self, package: Path, model: str, recipe: str = "first", **metrics: float) -> Registered:
        """Register a package as the next version of ``model``, with a recipe's metrics."""
        done: Registration = register(
            package,
            model=model,
            metrics={**_trained(recipe).metrics, **metrics},
            params={"recipe": recipe},
            tracking_uri=self.endpoints.mlflow,
            commit="c0ffee" + "0" * 34,
        )
        if self.endpoints.s3 is not None:
            self._fetch(self.endpoints.s3, done.run)
        (artifacts,) = (self.endpoints.directory / "mlflow/artifacts").glob(f"*/{done.run}/artifacts/model-*")
        return Registered(model, done.version, done.run, done.digest, artifacts)

    def _fetch(self, storage: ObjectStorage, run: str) -> None:
        """Copy a run's artifacts out of the bucket, to where they are without one; to read, not to damage."""
        client, named = storage.client(), {"Bucket": storage.bucket}
        pages = client.get_paginator("list_objects_v2").paginate(**named, Prefix=f"{FOLDER}/")
        for key in [entry["Key"] for page in pages for entry in page["Contents"] if f"/{run}/" in entry["Key"]]:
            path = self.endpoints.directory / "mlflow/artifacts" / key.removeprefix(f"{FOLDER}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(**named, Key=key)["Body"].read())

    def set_status(self, registered: Registered, status: str, message: str = "") -> None:
        """Give a version the status that another registry's store would give it."""
        with contextlib.closing(sqlite3.connect(self.endpoints.directory / "mlflow/mlflow.db", timeout=30)) as store:
            store.execute(
                "UPDATE model_versions SET status = ?, status_message = ? WHERE name = ? AND version = ?",
                (status, message, registered.model, registered.version),
            )
            store.commit()

    def alias(self, model: str, alias: str) -> int | None:
        """Return where MLflow's alias points."""
        answer = HTTP.get(
            f"{self.endpoints.mlflow}/api/2.0/mlflow/registered-models/alias",
            params={"name": model, "alias": alias},
        )
        return int(answer.json()["model_version"]["version"]) if answer.is_success else None

    def move_alias(self, model: str, alias: str, version: int) -> None:
        """Move an alias by hand."""
        HTTP.post(
            f"{self.endpoints.mlflow}/api/2.0/mlflow/registered-models/alias",
            json={"name": model, "alias": alias, "version": str(version)},
        ).raise_for_status()

    # --- the forge ---------------------------------------------------------------------------------------------

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the forge's API as alex."""
        answer = HTTP.request(
            method,
            f"{self.endpoints.forge}/api/v3/repos/{self.endpoints.repository}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.endpoints.secrets.people[OWNER]}"},
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def pull(self, number: int) -> dict[str, Any]:
        """Return a pull request."""
        found: dict[str, Any] = self.api("GET", f"/pulls/{number}")
        return found

    def open_pulls(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return the open pull requests whose branch begins so."""
        found = self.api("GET", "/pulls?state=open&per_page=100")
        return [pull for pull in found if pull["head"]["ref"].startswith(prefix)]

    def reverts(self, model: str, environment: str = "dev") -> list[dict[str, Any]]:
        """Return the open pull requests that go back."""
        return self.open_pulls(f"promobot-revert/{environment}/{model}")

    def comments(self, number: int) -> list[str]:
        """Return what was commented."""
        return [comment["body"] for comment in self.api("GET", f"/issues/{number}/comments?per_page=100")]

    def sticky(self, number: int) -> str:
        """Return the one comment of the checks."""
        (body,) = [body for body in self.comments(number) if "promobot:checks" in body]
        return body

    def merge(self, number: int) -> str:
        """Merge a pull request at its head; return main's new commit."""
        head = self.pull(number)["head"]["sha"]
        return str(self.api("PUT", f"/pulls/{number}/merge", {"sha": head, "merge_method": "squash"})["sha"])

    def merge_on_top(self, number: int, model: str, environment: str = "dev") -> str:
        """Merge a pull request's entry of a model, whatever main says of it by now, as a person who resolves does."""
        self.git("fetch", "--quiet", "origin", self.pull(number)["head"]["ref"])
        proposed = self.git("show", f"FETCH_HEAD:{PROMOTIONS.format(environment)}") + "\n"
        there = desired.parse(proposed, file=PROMOTIONS.format(environment))
        return self.desire(model, there.models[model], environment=environment)

    def revert_head(self) -> None:
        """Revert main's newest commit, as GitHub's button does, and merge that."""
        self._on_main()
        self.git("revert", "--no-edit", "HEAD")
        self.git("push", "--quiet", "origin", "HEAD:main")

    def propose_by_hand(self, files: Mapping[str, str], *, title: str = "By hand", remove: Sequence[str] = ()) -> int:
        """Open a pull request with these files' new texts, as a person does; return its number."""
        branch = f"by-hand-{next(_numbers)}"
        self.commit(files, branch=branch, remove=remove)
        return int(self.api("POST", "/pulls", {"base": "main", "head": branch, "title": title})["number"])

    def commit(
        self, files: Mapping[str, str], *, branch: str = "main", message: str = "By hand", remove: Sequence[str] = ()
    ) -> str:
        """Push a commit on top of main; return its id."""
        self._on_main()
        for path, text in files.items():
            (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / path).write_text(text)
        for path in remove:
            (self.clone / path).unlink()
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        self.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        return self.git("rev-parse", "HEAD")

    def _on_main(self) -> None:
        self.git("fetch", "--quiet", "origin", "main")
        self.git("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the clone as alex; return what it says."""
        identity = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "alex"), ("EMAIL", "alex@example.com"))
        }
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.clone,
            env={**os.environ, **identity, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"git {arguments[0]}: {done.stderr}"
        return done.stdout.strip()

    def promotions(self, environment: str = "dev", *, at: str = "FETCH_HEAD") -> str:
        """Return the text of desired state on main."""
        self.git("fetch", "--quiet", "origin", "main")
        return self.git("show", f"{at}:{PROMOTIONS.format(environment)}") + "\n"

    def edited(
        self, model: str, entry: Entry | None, *, environment: str = "dev", section: Section = "models"
    ) -> dict[str, str]:
        """Return desired state as on main, with this entry."""
        path = PROMOTIONS.format(environment)
        text = self.promotions(environment)
        return {path: desired.with_entry(text, file=path, section=section, model=model, entry=entry)}

    def desire(
        self, model: str, entry: Entry | None, *, environment: str = "dev", section: Section = "models"
    ) -> str:
        """Make main desire this entry, as a merge does."""
        return self.commit(self.edited(model, entry, environment=environment, section=section))

    def retire(self, model: str, reason: str = "nobody asks for it", *, environment: str = "dev") -> str:
        """Make main take a model out of service, as a merge does."""
        return self.commit(self.retired(model, reason, environment=environment))

    def retired(self, model: str, reason: str, *, environment: str = "dev") -> dict[str, str]:
        """Return desired state as on main, with this model taken out of service."""
        path = PROMOTIONS.format(environment)
        text = self.promotions(environment)
        return {path: desired.with_retirement(text, file=path, model=model, reason=reason)}

    # --- a version on its way ----------------------------------------------------------------------------------

    def proposed(self, registered: Registered, environment: str = "dev") -> dict[str, Any]:
        """Propose a version; return the pull request."""
        said = self.promobot("propose", registered.model, registered.version, "--env", environment)
        assert said.code == 0, said
        return self.pull(said.document["pull_request"])

    def proposed_by_hand(self, registered: Registered, environment: str = "dev") -> dict[str, Any]:
        """Propose a version as a person does who edits the file: the bot's own look comes later then."""
        files = self.edited(registered.model, registered.entry, environment=environment)
        return self.pull(self.propose_by_hand(files))

    def evidence(
        self,
        registered: Registered,
        *,
        environment: str = "dev",
        section: Section = "models",
        expires: datetime | None = None,
        answers: Sequence[Answered] | None = None,
        **more: Any,
    ) -> None:
        """Write the evidence that green checks leave; test_check holds what they really leave.

        Staging answered as the training framework did, unless ``answers`` says otherwise; the base is that of now.
        """
        now = datetime.now(UTC)
        keys = {
            "environment": environment,
            "section": section,
            "model": registered.model,
            "version": registered.version,
            "digest": registered.digest,
            "run": registered.run,
        }
        looked = (Finding(what="looked at", passed=True),)
        if answers is None:
            answers = self.answers(registered)
        rules, history = environment_files.load(self.root, environment), self.ledger(environment).deployments()
        champion = served_after(environment, history).models.get(registered.model)
        checks = tuple(
            CheckResult(
                check=name,
                findings=looked,
                at=now,
                answers=tuple(answers) if name == "smoke" else (),
                champion=champion if (name, section) == ("ready", "models") else None,
                rules=rules_of(rules.gate(registered.model), rules.packages),
                **keys,
            )
            for name in CHECKS
        )
        self.ledger(environment).add_evidence(
            Evidence(
                pull_request=1,
                base="0" * 40,
                head="1" * 40,
                at=now,
                expires=expires or now + LIFETIME,
                checks=checks,
                **keys,
                **more,
            )
        )

    def answers(self, registered: Registered) -> list[Answered]:
        """Return what a Triton says that answers as the training framework did."""
        smoke = SmokeCases.from_json((registered.artifacts / SMOKE_FILE).read_bytes())
        return [Answered(case=case.name, outputs=case.outputs) for case in smoke.cases]

    def merged(self, registered: Registered, *, environment: str = "dev", section: Section = "models") -> None:
        """Have a version checked and merged; nothing is deployed yet."""
        self.evidence(registered, environment=environment, section=section)
        self.desire(registered.model, registered.entry, environment=environment, section=section)

    def served(self, registered: Registered, *, environment: str = "dev", section: Section = "models") -> Registered:
        """Bring a version into service."""
        self.merged(registered, environment=environment, section=section)
        said = self.deploy(environment)
        assert said.code == 0, said
        return registered

    def unload(self, triton_model: str, environment: str = "dev") -> None:
        """Have the environment's Tritons forget a model."""
        for http in [one.http for name, one in self.endpoints.tritons if name == environment]:
            HTTP.post(f"{http}/v2/repository/models/{triton_model}/unload", json={}).raise_for_status()

    # --- what is to be seen ------------------------------------------------------------------------------------

    def ask(self, model: str, environment: str = "dev", *, gateway: int = 0, case: int = 0) -> Answer:
        """Ask a gateway as a user does; ``case`` says with which of the reference's requests."""
        cases = json.loads(_smoke_text("first"))["cases"]
        inputs = cases[case % len(cases)]["inputs"]
        url = self.endpoints.gateway[environment][gateway].url
        answer = HTTP.post(f"{url}/v2/models/{model}/infer", json={"inputs": inputs})
        assert answer.status_code == 200, answer.text
        document = answer.json()
        outputs = {output["name"]: output["data"] for output in document["outputs"]}
        return Answer(document["model_name"], int(document["model_version"]), outputs["probabilities"])

    def version(self, model: str, environment: str = "dev") -> int | None:
        """Return the one version with which all gateways answer; None where none does."""
        found: set[int | None] = set()
        for number, _ in enumerate(self.endpoints.gateway[environment]):
            routed = self.routes(environment, gateway=number)["models"].get(model, {}).get("live")
            found.add(self.ask(model, environment, gateway=number).version if routed else None)
        assert len(found) == 1, f"gateways answer with different versions: {found}"
        return found.pop()

    def routes(self, environment: str = "dev", *, gateway: int = 0) -> dict[str, Any]:
        """Return the routes in force on a gateway."""
        url = self.endpoints.gateway[environment][gateway].url
        found: dict[str, Any] = HTTP.get(f"{url}/routes").json()
        return found

    def loaded(self, environment: str = "dev") -> list[str]:
        """Return what is READY on the environment's first Triton; ``staging`` is one, too."""
        http = next(one.http for name, one in self.endpoints.tritons if name == environment)
        index = HTTP.post(f"{http}/v2/repository/index", json={}).json()
        return [f"{entry['name']} {entry['version']}" for entry in index if entry.get("state") == "READY"]

    def published(self, environment: str = "dev") -> list[str]:
        """Return what lies in Triton's root, to the depth of versions."""
        root = self.endpoints.model_repository(environment)
        return sorted(path.relative_to(root).as_posix() for path in root.glob("*/*"))

    def ledger(self, environment: str = "dev") -> Ledger:
        """Return the records of an environment, read by a way of their own, which no fault of a test is on."""
        if (storage := self.endpoints.s3) is None:
            return Ledger(RecordStore(self.endpoints.records), environment)
        from bot.records.bucket import BucketRecords

        bucket = Bucket(bucket=storage.bucket, prefix=f"{environment}/promobot", endpoint=storage.endpoint)
        key = storage.credentials
        credentials = {"aws_access_key_id": key.access_key_id, "aws_secret_access_key": key.secret_access_key}
        return Ledger(BucketRecords(bucket, credentials), environment)

    def records(self, model: str, environment: str = "dev") -> list[DeploymentRecord]:
        """Return the deployments of a model, oldest first."""
        return [record for record in self.ledger(environment).deployments() if record.model == model]

    def quarantined(self, model: str, environment: str = "dev") -> list[int]:
        """Return the versions of a model that are in quarantine."""
        return sorted(e.version for e in self.ledger(environment).quarantined().values() if e.model == model)

    def slack(self, model: str) -> list[dict[str, Any]]:
        """Return what the channel holds about a model, oldest first."""
        answer = HTTP.get(f"{self.endpoints.slack}/messages.json").json()
        messages = [message for channel in answer["channels"] for message in channel["messages"]]
        return [message for message in messages if f"{model} " in message["text"]]

    def told(self, model: str) -> list[str]:
        """Return the deployments of a model that the channel was told of, each as often as it was."""
        keys = [message["metadata"]["event_payload"]["key"] for message in self.slack(model)]
        return [str(key).partition("/")[0] for key in keys]

    def is_under_way(self, environment: str = "dev") -> bool:
        """Whether a journal is open."""
        share = Share(
            model_repository=str(self.endpoints.share / "model-repo" / environment),
            state=str(self.endpoints.state(environment)),
        )
        return ModelRepository(share).journal.read() is not None

    def outbox(self, environment: str = "dev") -> list[str]:
        """Return the names of the messages that wait."""
        return sorted(path.stem for path in (self.endpoints.state(environment) / "outbox").glob("*.json"))

    def noted_reverts(self, environment: str = "dev") -> list[str]:
        """Return the models whose revert pull request is still to be opened."""
        names = (path.stem for path in (self.endpoints.state(environment) / "reverts").glob("*.json"))
        return sorted(name.partition("-")[2] for name in names)

    # --- faults ------------------------------------------------------------------------------------------------

    def slack_fails(self, method: str = "*", *, times: int = 1000, **fault: Any) -> None:
        """Have Slack fail until :meth:`slack_works`."""
        body = {"method": method, "times": times, **fault}
        HTTP.post(f"{self.endpoints.slack}/faults", json=body).raise_for_status()

    def slack_works(self) -> None:
        """End all faults of Slack."""
        HTTP.delete(f"{self.endpoints.slack}/faults").raise_for_status()

    def kill(self, part: str) -> None:
        """Have a part crash; it comes back when the test is over, or by :meth:`restart`."""
        self._disturbed.setdefault(part, {})
        (process,) = [process for process in self.sandbox.processes.recorded() if process.part.name == part]
        os.killpg(process.pid, signal.SIGKILL)

    def restart(self, part: str, *more: str, **env: str) -> None:
        """Start a part again, with more arguments, and with these environment variables until the test is over."""
        as_it_was = {name: self.endpoints.variables().get(name, "") for name in env}
        self._disturbed[part] = {**self._disturbed.get(part, {}), **as_it_was}
        self.sandbox.restart(part, env=env, more=more)
        if more:
            self._longer.add(part)
        else:
            self._longer.discard(part)

    def follow_only_when_told(self, environment: str = "dev") -> None:
        """Have no gateway look for newer routes by itself: what is behind stays so until a reload."""
        for gateway in self.endpoints.gateway[environment]:
            self.restart(gateway.name, PROMOBOT_FOLLOW_SECONDS="0")

    def tidy(self) -> None:
        """Put everything back as the sandbox was at its start, whatever the bot did; records and Slack stay."""
        self.put_back()
        self.settle()

    def put_back(self) -> None:
        """Tidy, but for what Triton is asked to unload: it lets go of that by and by."""
        living = {process.part.name for process in self.sandbox.processes.living()}
        for part, env in self._disturbed.items():
            if env or part not in living or part in self._longer:
                self.sandbox.restart(part, env=env)
        self.slack_works()
        # Whoever merged: a person in Slack, too.
        if self.git("ls-remote", "origin", "refs/heads/main").split()[0] != self._began_at:
            self.commit({PROMOTIONS.format(name): _nothing(name) for name in self.endpoints.triton})
        for pull in self.open_pulls():
            self.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
        for environment in self.endpoints.triton:
            self._withdraw(environment)
        for _, triton in self.endpoints.tritons:
            for name in _loaded(triton.http):
                HTTP.post(f"{triton.http}/v2/repository/models/{name}/unload", json={})
                _LEAVING.setdefault(triton.http, set()).add(name)

    def settle(self) -> None:
        """Wait for what an earlier test left on Triton: a cleanup would find, and name, what is on its way out."""
        for _, triton in self.endpoints.tritons:
            if leaving := _LEAVING.pop(triton.http, set()):
                wait_until(lambda url=triton.http, names=leaving: not names & _loaded(url))  # type: ignore[misc]

    def _withdraw(self, environment: str) -> None:
        state = self.endpoints.state(environment)
        for name in ("journal", "outbox", "reverts"):
            for left in (state / name).glob("*.json"):
                left.unlink(missing_ok=True)
        file = state / "routes.json"
        if not file.exists():
            return
        table = RouteTable.from_json(file.read_text())
        if table.models:
            file.write_text(table.following({}).to_json())
        for gateway in self.endpoints.gateway[environment]:
            HTTP.post(
                f"{gateway.url}/reload",
                json={"generation": table.generation},
                headers={"Authorization": f"Bearer {self.endpoints.secrets.reload}"},
            ).raise_for_status()


def wait_until(holds: Callable[[], object], *, seconds: float = 60) -> None:
    """Poll until ``holds`` is true; fail the test when it is not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def rows_of(markdown: str, heading: str) -> Iterator[Sequence[str]]:
    """Yield the cells of the first table below a heading, the head row first."""
    lines = markdown[markdown.index(heading) :].splitlines()
    table = itertools.dropwhile(lambda line: not line.startswith("|"), lines)
    for line in itertools.takewhile(lambda line: line.startswith("|"), table):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if set("".join(cells)) != {"-"}:
            yield cells


@cache
def _trained(recipe: str) -> Trained:
    return train(RECIPES[recipe])


def _package(directory: Path, recipe: str, *, max_batch_size: int, model: str = "") -> None:
    trained = _trained(recipe)
    answers: dict[str, Any] = {"label": trained.labels, "probabilities": trained.probabilities}
    graph = copy.deepcopy(trained.model)
    graph.doc_string = model  # models of different tests are different bytes: a quarantine is one of bytes
    build_package(
        graph,
        directory,
        inputs={"X": trained.samples},
        answers=answers,
        max_batch_size=max_batch_size,
        instances=1,
    )


@cache
def _smoke_text(recipe: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        _package(Path(folder), recipe, max_batch_size=64)
        return Path(folder, SMOKE_FILE).read_text()


def config_of(registered: Registered) -> str:
    """Return the configuration of a registered version."""
    return (registered.artifacts / CONFIG_FILE).read_text()


def _loaded(triton: str) -> set[str]:
    index = HTTP.post(f"{triton}/v2/repository/index", json={}).json()
    return {entry["name"] for entry in index if entry.get("state") in ("READY", "LOADING", "UNLOADING")}


def _nothing(environment: str) -> str:
    return f"# What {environment} serves.\nenvironment: {environment}\nmodels: {{}}\nshadow: {{}}\n"
