"""The demo: nine acts in which a model is released, improved, shadowed, refused, put back, promoted, rolled back.

In the last two acts the bot measures for itself what a version claims.

Everything goes the way it goes in a company. Versions are trained and registered for real, ``promobot`` is run as a
person or a training job runs it, pull requests are merged over the forge's API, and the workflow files do the rest.
Each act asserts what users get, from outside: through the gateways, on the pull request, in Slack, in the records.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import httpx
import yaml

from bot.domain.desired import Desired, parse, path_of
from bot.domain.record import DeploymentRecord
from bot.errors import PromobotError, Rejected
from bot.exit_codes import ExitCode
from bot.render import terminal
from bot.render.slack import TAKEN
from bot.sandbox import environments
from bot.sandbox.platform import PARTS, TO_LOOK_AT, Endpoints, Sandbox, Shape
from bot.sandbox.seed import MODEL, clone, seed

Say = Callable[[str], None]
Titled = tuple[str, Callable[["Story"], None]]
"""An act before it is played."""
Found = TypeVar("Found")

CHECKS_SECONDS = 120.0
DEPLOY_SECONDS = 120.0
REQUESTS_PER_SECOND = 60


@dataclass(frozen=True)
class Act:
    """One act, as it ended."""

    number: int
    title: str
    passed: bool
    seconds: float
    seen: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class Told:
    """How the story ended."""

    acts: tuple[Act, ...]
    records: tuple[DeploymentRecord, ...]
    seconds: float
    directory: str
    kept: bool
    planned: int
    """So many acts there were to play."""
    board: str = ""
    """Where the board answers, if the sandbox was kept."""

    @property
    def exit_code(self) -> ExitCode:
        """0 only if every act ended as it must."""
        whole = len(self.acts) == self.planned and all(act.passed for act in self.acts)
        return ExitCode.DONE if whole else ExitCode.FAILED

    @property
    def text(self) -> str:
        """The outcome for a terminal: acts, the six criteria of each deployment, where to look."""
        lines = [terminal.criteria(self.records), ""]
        lines += [
            f"{'✓' if act.passed else '✗'} Act {act.number}: {act.title} ({act.seconds:.0f} s)"
            + (f"\n    {act.problem}" if act.problem else "")
            for act in self.acts
        ]
        passed = sum(act.passed for act in self.acts)
        lines.append(f"\n{passed} of {self.planned} acts ended as they must, in {self.seconds:.0f} s.")
        if self.kept:
            lines.append(f"The board shows what the acts left, with the past of the model: {self.board}")
            lines.append(f"The sandbox is still running; `promobot sandbox down --dir {self.directory}` stops it.")
        return "\n".join(lines)


class NotAsItMust(Exception):
    """The story does not go as it must; the message says what was expected and what was seen."""


class Watch(Protocol):
    """Somebody who looks at the story before and after each act, and changes nothing."""

    def begins(self, story: Story) -> None:
        """An act is about to begin."""

    def ends(self, story: Story, act: Act) -> None:
        """An act is over."""


def tell(
    *,
    keep: bool,
    directory: Path | None,
    say: Say,
    shape: Shape | None = None,
    watch: Watch | None = None,
    more: Sequence[Titled] = (),
) -> Told:
    """Tell the story in a sandbox of its own, ``more`` acts at its end; stop the sandbox unless ``keep``."""
    planned = (*ACTS, *more)
    started = time.monotonic()
    home = directory or Path(tempfile.mkdtemp(prefix="promobot-demo-"))
    warming = threading.Thread(target=_import_training, daemon=True)
    warming.start()
    say(f"Starting the platform in {home}")
    parts = TO_LOOK_AT if keep else PARTS
    sandbox = Sandbox.up(home, progress=lambda line: say(f"  {line}"), seed=seed, shape=shape, parts=parts)
    try:
        warming.join()
        story = Story(sandbox, say)
        acts = story.play(planned, watch)
        records = tuple(story.records())
    finally:
        if not keep:
            Sandbox.down(home)
            if directory is None:
                shutil.rmtree(home, ignore_errors=True)
    board = sandbox.endpoints.board if keep else ""
    return Told(tuple(acts), records, time.monotonic() - started, str(home), keep, len(planned), board)


def _import_training() -> None:
    # Takes seconds of imports, which pass while the platform starts.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import mlflow.onnx  # noqa: F401
    import skl2onnx  # noqa: F401

    from bot.sandbox import reference  # noqa: F401


@dataclass
class Story:
    """The people of the story, and what they see."""

    sandbox: Sandbox
    say: Say
    seen: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    """The commands that people typed in the current act."""

    def __post_init__(self) -> None:
        self.endpoints: Endpoints = self.sandbox.endpoints
        self.forge = Forge(self.endpoints)
        self.checkout = self.endpoints.directory / "checkout"
        clone(self.endpoints, self.checkout)
        self.samples = _samples()

    def play(self, acts: Sequence[Titled], watch: Watch | None = None) -> list[Act]:
        """Play the acts in order; stop at the first that does not end as it must."""
        told: list[Act] = []
        for number, (title, act) in enumerate(acts, start=1):
            self.say(f"\nAct {number}: {title}")
            started, self.seen, self.typed, problem = time.monotonic(), [], [], ""
            try:
                if watch:
                    watch.begins(self)
                act(self)
            except (NotAsItMust, PromobotError, httpx.HTTPError) as error:
                problem = f"{error}"
                self.say(f"  ✗ {problem}")
            told.append(Act(number, title, not problem, time.monotonic() - started, tuple(self.seen), problem))
            if problem:
                break
            if watch:
                watch.ends(self, told[-1])
        return told

    # --- what people do ----------------------------------------------------------------------------------------

    def train(self, recipe: str) -> int:
        """Train and register; return the version."""
        from bot.sandbox.reference import register_recipe

        registered = register_recipe(recipe, self.endpoints.mlflow, MODEL)
        self.see(f"trained “{recipe}” and registered it as {MODEL} {registered.version}")
        return int(registered.version)

    def promobot(self, *arguments: str) -> dict[str, Any]:
        """Run promobot in the checkout, as a person or a training job does; return its JSON document."""
        self.typed.append(f"promobot {' '.join(arguments)}")
        python = environments.runner_directory() / "bin" / "python"
        done = subprocess.run(
            [str(python), "-m", "bot", *arguments, "--json"],
            cwd=self.checkout,
            env={**os.environ, **self.endpoints.variables()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (ExitCode.DONE, ExitCode.FAILED) or not done.stdout:
            raise NotAsItMust(f"promobot {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        document: dict[str, Any] = json.loads(done.stdout)
        if "error" in document:
            raise NotAsItMust(f"promobot {' '.join(arguments)}: {document['error']}")
        return document

    def propose(self, version: int, environment: str, *more: str) -> dict[str, Any]:
        """Propose a version, with ``more`` typed behind it; return the pull request."""
        proposed = self.promobot("propose", MODEL, str(version), "--env", environment, *more)
        expect(proposed["action"], "opened", "what propose did")
        pull: dict[str, Any] = self.forge.pull(proposed["pull_request"])
        self.see(f"#{pull['number']} opened: {_first_line(pull['body'])}")
        return pull

    def log_rows(self) -> tuple[str, str]:
        """Write the reference training's held-out rows as an evaluation set; return its digest and address."""
        from bot.sandbox.reference import evaluation_rows

        return evaluation_rows(self.endpoints.directory / "evaluation-set", self.endpoints.mlflow)

    def propose_settings(self, title: str, change: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
        """Change dev's environment file as a person does, in a pull request; return that."""
        path, branch = self.checkout / "manifests/environments/dev.yaml", f"alex/{title.lower().replace(' ', '-')}"
        self._git("fetch", "--quiet", "origin", "main")
        self._git("checkout", "--quiet", "-B", branch, "FETCH_HEAD")
        document = yaml.safe_load(path.read_text())
        for part, by_model in change.items():
            for model, more in by_model.items():
                document.setdefault(part, {}).setdefault(model, {}).update(more)
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        self._git("commit", "--quiet", "--all", "--message", title)
        self._git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        pull: dict[str, Any] = self.forge.open(title, branch)
        self.see(f"#{pull['number']} opened by alex: {title}")
        return pull

    def _git(self, *arguments: str) -> None:
        who = ["-c", "user.name=alex", "-c", "user.email=alex@example.com"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=self.checkout, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise NotAsItMust(f"git {arguments[0]}: {done.stderr.strip()}")

    def comment(self, pull: dict[str, Any]) -> str:
        """Return the one comment of the checks."""
        return next(str(c["body"]) for c in self.forge.comments(pull["number"]) if "promobot:checks" in c["body"])

    def see_checks(self, pull: dict[str, Any], *, conclusion: str = "success") -> dict[str, str]:
        """Wait for the pull request's checks; expect the verdict; return all conclusions by name."""
        found = self.forge.wait_for_checks(
            pull["head"]["sha"], expected={"READY", "Triton", "Smoke", "Behaviour", "Verdict"}
        )
        expect(found["Verdict"], conclusion, f"the verdict on #{pull['number']} ({found})")
        comments = [c for c in self.forge.comments(pull["number"]) if "promobot:checks" in c["body"]]
        expect(len(comments), 1, "sticky comments")
        self.see(f"checks: {_first_line(comments[0]['body'])}")
        return found

    def merge(self, pull: dict[str, Any], *, deploy: str = "success") -> None:
        """Merge exactly what was checked, and wait for the deployment that it starts."""
        commit = self.forge.merge(pull["number"], head=pull["head"]["sha"])
        self.see(f"#{pull['number']} merged by alex")
        conclusion = self.forge.wait_for_run("deploy.yml", commit)
        expect(conclusion, deploy, f"the deploy run of #{pull['number']}")

    # --- in Slack ----------------------------------------------------------------------------------------------

    def types(self, who: str, line: str) -> str:
        """Type a slash command in Slack; return the answer, which only this person sees."""
        self.typed.append(f"{line}   # {who}, in Slack")
        before = self._told(who)
        self._in_slack(who, "types", channel=self.endpoints.slack_channel, text=line)
        return _wait(
            lambda: "".join(said for said in self._told(who)[len(before) :] if said != TAKEN), bool, seconds=60
        )

    def press(self, who: str, button: str, pull: dict[str, Any]) -> None:
        """Press a button under the message of a pull request, as soon as it is there."""
        buttons = _wait(
            lambda: [
                element
                for block in self.promotion(pull).get("blocks", [])
                for element in block.get("elements", [])
                if element.get("type") == "button" and element["text"]["text"] == button
            ],
            bool,
            seconds=60,
        )
        channel, ts = self.endpoints.slack_channel, self.promotion(pull)["ts"]
        self._in_slack(who, "acts", channel=channel, ts=ts, action_id=buttons[0]["action_id"])

    def promotion(self, pull: dict[str, Any]) -> dict[str, Any]:
        """Return the message of a pull request; an empty one where there is none."""
        key = f"dev/#{pull['number']}"
        return next((message for message in self._messages() if _key_of(message) == key), {"text": ""})

    def _told(self, who: str) -> list[str]:
        seen = get(f"{self.endpoints.slack}/people/{who}/sees.json")
        channels = {channel["id"]: channel for channel in seen["channels"]}
        return [shown["text"] for shown in channels[self.endpoints.slack_channel]["ephemerals"]]

    def _in_slack(self, who: str, deed: str, **said: str) -> None:
        url = f"{self.endpoints.slack}/people/{who}/{deed}"
        done = httpx.post(url, json=said, timeout=30, trust_env=False).json()
        expect(done.get("ok"), True, f"what Slack said to {who} ({done})")

    def see(self, line: str) -> None:
        """Note what was seen, and say it."""
        self.seen.append(line)
        self.say(f"  ✓ {line}")

    # --- what people see ---------------------------------------------------------------------------------------

    def ask(self, url: str, row: int = 0) -> tuple[str, list[float]]:
        """Ask a gateway as a user does; return the version that answered, and the probabilities."""
        answer = httpx.post(
            f"{url}/v2/models/{MODEL}/infer", json={"inputs": [self.samples[row]]}, timeout=10, trust_env=False
        )
        answer.raise_for_status()
        document = answer.json()
        outputs = {output["name"]: output["data"] for output in document["outputs"]}
        return document["model_version"], outputs["probabilities"]

    def see_served(self, environment: str, version: int) -> None:
        """Expect every gateway of the environment to answer with this version."""
        answers = {gateway.name: self.ask(gateway.url)[0] for gateway in self.endpoints.gateway[environment]}
        expect(answers, dict.fromkeys(answers, str(version)), f"who answers in {environment}")
        self.see(f"version {version} answers through {', '.join(answers)}")

    def routes(self, environment: str) -> Any:
        """Return the routes in force on the environment's first gateway."""
        return get(f"{self.endpoints.gateway[environment][0].url}/routes")

    @property
    def records_kept_in(self) -> str:
        """What kind of record store the sandbox has."""
        storage = self.endpoints.s3
        return f"the bucket `{storage.bucket}` of an object storage ({storage.region})" if storage else "a directory"

    @cached_property
    def _bucket(self) -> Any:
        """A client of the object storage, where there is one: making it takes longer than what it is asked."""
        return self.endpoints.s3.client() if self.endpoints.s3 else None

    def objects(self) -> list[str]:
        """Return the key of everything in the record store."""
        if storage := self.endpoints.s3:
            pages = self._bucket.get_paginator("list_objects_v2").paginate(Bucket=storage.bucket)
            return sorted(found["Key"] for page in pages for found in page.get("Contents", ()))
        root = self.endpoints.records
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def object(self, key: str) -> str:
        """Return what the record store has under a key."""
        if storage := self.endpoints.s3:
            answer = self._bucket.get_object(Bucket=storage.bucket, Key=key)
            return str(answer["Body"].read().decode())
        return (self.endpoints.records / key).read_text()

    def desired(self, environment: str) -> Desired:
        """Return what main asks for."""
        file = path_of(environment)
        for command in (["git", "fetch", "--quiet", "origin", "main"], ["git", "show", f"FETCH_HEAD:{file}"]):
            done = subprocess.run(command, cwd=self.checkout, capture_output=True, text=True, check=True)
        return parse(done.stdout, file=file)

    def records(self) -> list[DeploymentRecord]:
        """Return every deployment record, in the order of time."""
        keys = [key for key in self.objects() if kind_of(key) == "deployments"]
        found = [DeploymentRecord.model_validate_json(self.object(key)) for key in keys]
        return sorted(found, key=lambda record: record.finished_at)

    def last_record(self, environment: str) -> DeploymentRecord:
        """Return the newest deployment record of the environment."""
        return [record for record in self.records() if record.environment == environment][-1]

    def see_succeeded(self, environment: str) -> DeploymentRecord:
        """Expect the newest deployment to hold all six criteria."""
        record = self.last_record(environment)
        expect(record.outcome, "succeeded", f"the outcome of {record.id} ({record.problem})")
        self.see(f"{record.id}: all six criteria hold")
        return record

    def slack_messages(self, record: DeploymentRecord) -> list[dict[str, Any]]:
        """Return the channel's messages about one deployment."""
        return [message for message in self._messages() if _key_of(message).startswith(f"{record.id}/")]

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield every message in Slack, those in threads too."""
        for channel in get(f"{self.endpoints.slack}/messages.json")["channels"]:
            for message in channel["messages"]:
                yield message
                yield from message["replies"]


# --- acts ---------------------------------------------------------------------------------------------------------


def first_version(story: Story) -> None:
    """Act 1."""
    version = story.train("first")
    pull = story.propose(version, "dev")
    story.see_checks(pull)
    story.merge(pull)
    story.see_served("dev", version)
    record = story.see_succeeded("dev")
    expect(len(story.slack_messages(record)), 1, "messages in Slack")


def better_version(story: Story) -> None:
    """Act 2."""
    version = story.train("better")
    pull = story.propose(version, "dev")
    story.see_checks(pull)
    with Traffic(story) as traffic:
        story.merge(pull)
        traffic.go_on_for(1.0)
    traffic.see_one_switch("1", str(version))
    story.see_served("dev", version)
    story.see_succeeded("dev")


def weak_version(story: Story) -> None:
    """Act 3."""
    version = story.train("weak")
    pull = story.propose(version, "dev")
    expect("shadow" in pull["title"].lower(), True, f"a shadow proposal ({pull['title']})")
    story.see_checks(pull)
    before = story.ask(story.endpoints.gateway["dev"][0].url)
    story.merge(pull)
    for _ in range(20):
        expect(story.ask(story.endpoints.gateway["dev"][0].url), before, "the live answer")
    copies = _wait(lambda: _shadow_copies(story.routes("dev")), lambda count: count >= 20, seconds=10)
    story.see(f"version {version} received {copies} copies; live answers did not change")
    story.see_served("dev", 2)
    story.see_succeeded("dev")


def wrong_version(story: Story) -> None:
    """Act 4."""
    version = story.train("unscaled")
    before = story.routes("dev")["generation"]
    pull = story.propose(version, "dev")
    found = story.see_checks(pull, conclusion="failure")
    expect((found["READY"], found["Smoke"]), ("success", "failure"), "READY and Smoke")
    expect(story.routes("dev")["generation"], before, "the generation of dev")
    expect(_loaded(story.endpoints.triton_staging.http), [], "what staging has loaded afterwards")
    story.see_served("dev", 2)
    story.forge.close(pull["number"])
    story.see(f"#{pull['number']} closed by alex; staging is as it was")


def refused_reload(story: Story) -> None:
    """Act 5."""
    version = story.train("best")
    pull = story.propose(version, "dev")
    story.see_checks(pull)
    gateway = story.endpoints.gateway["dev"][-1].name
    # Somebody gave one gateway another Triton, of which the bot knows nothing, so the bot does not load there. The
    # first Triton goes on answering for what is in service. Only the reload shows that nothing new can be.
    story.sandbox.restart(gateway, more=("--triton", story.endpoints.triton_staging.http))
    story.see(f"{gateway} asks a second Triton now, which is not in the environment file")
    story.merge(pull, deploy="failure")
    story.see_served("dev", 2)
    record = story.last_record("dev")
    expect(record.outcome, "put back", f"the outcome of {record.id} ({record.problem})")
    expect(len(story.slack_messages(record)), 1, "messages in Slack")
    story.see(f"{record.id} was put back, and Slack has one message about it")
    quarantined = story.promobot("quarantine", "list", "--env", "dev")["events"]
    expect(quarantined, [], "what is in quarantine: the gateway is to blame, not the model")
    reverts = [pull for pull in story.forge.pulls("open") if pull["head"]["ref"].startswith("promobot-revert/")]
    expect([pull["user"]["login"] for pull in reverts], ["promobot[bot]"], "open reverts by the bot")
    story.see(f"#{reverts[0]['number']} opened by the bot: {reverts[0]['title']}")
    story.sandbox.restart(gateway)
    story.see_checks(reverts[0])
    story.merge(reverts[0])
    status = story.promobot("status", "--env", "dev")["environments"][0]
    expect(status["differences"], [], "differences after the revert")
    story.see_served("dev", 2)


def to_production(story: Story) -> None:
    """Act 6."""
    promoted = story.promobot("promote", MODEL, "--to", "prod")
    expect(promoted["action"], "opened", "what promote did")
    pull = story.forge.pull(promoted["pull_request"])
    story.see(f"#{pull['number']} opened: {pull['title']}")
    story.see_checks(pull)
    story.merge(pull)
    story.see_served("prod", 2)
    story.see_succeeded("prod")
    digests = {
        story.routes(environment)["models"][MODEL]["live"]["digest"] for environment in story.endpoints.gateway
    }
    expect(len(digests), 1, "digests in service")
    story.see(f"dev and prod serve the same digest, {digests.pop()[:19]}")


def rolled_back(story: Story) -> None:
    """Act 7."""
    answer = story.types("sam", f"/rollback {MODEL} dev")
    expect("takes" in answer, True, f"a way back ({answer})")
    reverts = [pull for pull in story.forge.pulls("open") if pull["head"]["ref"].startswith("promobot-revert/")]
    expect(len(reverts), 1, "open reverts")
    pull = reverts[0]
    story.see(f"sam typed /rollback {MODEL} dev in Slack: #{pull['number']} opened: {pull['title']}")
    story.see_checks(pull)
    story.press("alex", "Merge", pull)
    merged = _wait(lambda: story.forge.pull(pull["number"]), lambda found: bool(found["merged"]), seconds=60)
    story.see(f"alex pressed Merge in Slack: #{pull['number']} is merged")
    conclusion = story.forge.wait_for_run("deploy.yml", merged["merge_commit_sha"])
    expect(conclusion, "success", f"the deploy run of #{pull['number']}")
    story.see_served("dev", 1)
    said = _wait(lambda: story.promotion(pull)["text"], lambda text: "1 is served" in text, seconds=60)
    story.see(f"its message in Slack: {said}")
    story.see_succeeded("dev")
    story.see_served("prod", 2)


def claims_more(story: Story) -> None:
    """Act 8."""
    digest, address = story.log_rows()
    story.see(f"171 rows with their labels are in MLflow, pinned as {digest[:19]}")
    pull = story.propose_settings("Measure churn in dev", _measured_on(digest, address))
    story.see_checks(pull)
    # It deploys nothing, so nobody waits for the run that finds that out.
    story.forge.merge(pull["number"], head=pull["head"]["sha"])
    story.see(f"#{pull['number']} merged by alex")
    version = story.train("boasting")
    pull = story.propose(version, "dev")
    found = story.see_checks(pull, conclusion="failure")
    expect((found["READY"], found["Smoke"], found["Behaviour"]), ("success", "success", "failure"), "the checks")
    comment = story.comment(pull)
    expect("claimed accuracy" in _first_line(comment), True, f"what is wrong ({_first_line(comment)})")
    expect(_loaded(story.endpoints.triton_staging.http), [], "what staging has loaded afterwards")
    story.forge.close(pull["number"])
    story.see(f"#{pull['number']} closed by alex: its numbers were those of the rows that it learned")


def worse_in_one_clinic(story: Story) -> None:
    """Act 9."""
    version = story.train("one-sided")
    pull = story.propose(version, "dev")
    found = story.see_checks(pull, conclusion="failure")
    expect((found["READY"], found["Smoke"], found["Behaviour"]), ("success", "success", "failure"), "the checks")
    evidence = story.promobot("evidence", "show", MODEL, str(version), "--env", "dev")["evidence"][0]
    (measured,) = [check["evaluation"] for check in evidence["checks"] if check["check"] == "behaviour"]
    (accuracy,) = [one for one in measured["metrics"] if one["metric"] == "accuracy"]
    expect(accuracy["difference"] > 0, True, f"better on average ({accuracy['difference']})")
    story.see(
        f"accuracy {accuracy['proposed']:.3f}, in service {accuracy['in_service']:.3f}: better on average, on "
        f"{measured['rows']} rows that both versions answered on staging"
    )
    worst = [one for one in measured["slices"] if one["outcome"] == "misses"]
    expect([one["value"] for one in worst], ["harbour"], "clinics that lose")
    changed = measured["decisions"]
    story.see(f"{changed['changed']} rows decided otherwise: {changed['fixed']} fixed, {changed['broken']} broken")
    story.forge.close(pull["number"])
    story.see_served("dev", 1)
    story.see(f"#{pull['number']} closed by alex: one clinic would have paid for it")


def _measured_on(digest: str, address: str) -> dict[str, Any]:
    """Return what the environment file says of rows and slices, as a change of it."""
    rule = {"by": ["clinic"], "min_rows": 30, "metrics": {"accuracy": 0.03}, "confidence": 0.9}
    return {"evaluation": {MODEL: {"digest": digest, "from": address}}, "gates": {MODEL: {"slices": rule}}}


ACTS: tuple[Titled, ...] = (
    ("version 1 is trained, proposed, checked, merged, deployed, served", first_version),
    ("version 2 is better, and goes into service while clients ask", better_version),
    ("version 3 misses the threshold, and goes to the shadow path", weak_version),
    ("version 4 passes the gate but answers wrong on Triton: refused", wrong_version),
    ("version 5 passes every check, but a gateway refuses the reload: put back", refused_reload),
    ("version 2 is promoted from dev to prod, with the same digest", to_production),
    ("a person rolls dev back to version 1, from Slack", rolled_back),
    ("version 6 claims more than it has: measured, and refused", claims_more),
    ("version 7 is better on average and much worse in one clinic: refused", worse_in_one_clinic),
)


# --- who asks, and what is looked at ------------------------------------------------------------------------------


class Traffic:
    """Clients of each of dev's gateways, one request after the other each, until told to stop."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._stop = threading.Event()
        self._answers: dict[str, list[str]] = {gateway.name: [] for gateway in story.endpoints.gateway["dev"]}
        self._seconds = 0.0
        self._threads = [
            threading.Thread(target=self._ask, args=(gateway.name, gateway.url))
            for gateway in story.endpoints.gateway["dev"]
        ]

    def __enter__(self) -> Traffic:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._seconds = time.monotonic() - self._started

    def go_on_for(self, seconds: float) -> None:
        """Let the clients ask a little longer, so that what comes after the switch is seen, too."""
        time.sleep(seconds)

    def see_one_switch(self, before: str, after: str) -> None:
        """Expect no failure, the wanted rate, and exactly one change of version on each gateway."""
        total = sum(len(answers) for answers in self._answers.values())
        for gateway, answers in self._answers.items():
            failed = [answer for answer in answers if not answer.isdecimal()]
            expect(failed[:3], [], f"failed requests of {len(answers)} through {gateway}")
            runs = [version for n, version in enumerate(answers) if n == 0 or answers[n - 1] != version]
            expect(runs, [before, after], f"versions in the order of answers through {gateway}")
        rate = total / self._seconds
        if rate < 50:
            raise NotAsItMust(f"clients asked {rate:.0f} times a second only; at least 50 are wanted")
        self._story.see(f"{total} requests at {rate:.0f} a second: none failed, the version changed once")

    def _ask(self, name: str, url: str) -> None:
        body = {"inputs": [self._story.samples[0]]}
        pause = len(self._threads) / REQUESTS_PER_SECOND
        due = time.monotonic()
        with httpx.Client(timeout=10, trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{url}/v2/models/{MODEL}/infer", json=body)
                    said = answer.json()["model_version"] if answer.is_success else f"HTTP {answer.status_code}"
                except httpx.HTTPError as error:
                    said = repr(error)
                self._answers[name].append(str(said))
                due += pause
                self._stop.wait(max(0.0, due - time.monotonic()))


class Forge:
    """A person's deeds on the forge, over its API."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._client = httpx.Client(
            base_url=f"{endpoints.forge}/api/v3/repos/{endpoints.repository}",
            headers={"Authorization": f"Bearer {endpoints.secrets.people['alex']}"},
            timeout=30,
            trust_env=False,
        )

    def pull(self, number: int) -> Any:
        """Return a pull request."""
        return self._json("GET", f"/pulls/{number}")

    def pulls(self, state: Literal["open", "all"]) -> Any:
        """Return the pull requests that are open, or all."""
        return self._json("GET", f"/pulls?state={state}&per_page=100")

    def checks(self, commit: str) -> dict[str, str]:
        """Return the conclusion of each completed check run of a commit by its name."""
        runs = self._json("GET", f"/commits/{commit}/check-runs?per_page=100")["check_runs"]
        return {run["name"]: run["conclusion"] for run in runs if run["status"] == "completed"}

    def comments(self, number: int) -> Any:
        """Return the comments of a pull request."""
        return self._json("GET", f"/issues/{number}/comments?per_page=100")

    def merge(self, number: int, *, head: str) -> str:
        """Merge a pull request if it is still at ``head``; return the new commit of main."""
        return str(self._json("PUT", f"/pulls/{number}/merge", {"sha": head, "merge_method": "squash"})["sha"])

    def open(self, title: str, branch: str) -> Any:
        """Open a pull request."""
        return self._json("POST", "/pulls", {"title": title, "head": branch, "base": "main"})

    def close(self, number: int) -> None:
        """Close a pull request without merging it."""
        self._json("PATCH", f"/pulls/{number}", {"state": "closed"})

    def wait_for_checks(self, commit: str, *, expected: set[str]) -> dict[str, str]:
        """Wait until all these check runs are completed; return their conclusions by name."""
        return _wait(lambda: self.checks(commit), lambda found: expected <= set(found), seconds=CHECKS_SECONDS)

    def wait_for_run(self, workflow: str, commit: str) -> str:
        """Wait until the workflow's run for the commit is completed; return its conclusion."""

        def look() -> str:
            runs = self._json("GET", f"/actions/workflows/{workflow}/runs?head_sha={commit}")["workflow_runs"]
            done = [run for run in runs if run["status"] == "completed" and run["head_sha"] == commit]
            return str(done[0]["conclusion"]) if done else ""

        return _wait(look, bool, seconds=DEPLOY_SECONDS)

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._client.request(method, path, json=body)
        if answer.is_error:
            raise Rejected(f"{method} {path}: HTTP {answer.status_code} {answer.text[:500]}", system="forge")
        return answer.json()


def kind_of(key: str) -> str:
    """Return what an object of the record store is, as ``deployments``; in a bucket, records are below a prefix."""
    return key.rpartition("/promobot/")[2].partition("/")[0]


def get(url: str) -> Any:
    """Return the JSON that is there."""
    answer = httpx.get(url, timeout=10, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def expect(seen: object, wanted: object, what: str) -> None:
    """Raise NotAsItMust unless what was seen is what was wanted."""
    if seen != wanted:
        raise NotAsItMust(f"{what}: {seen!r} was seen, {wanted!r} was expected")


def _wait(look: Callable[[], Found], enough: Callable[[Found], bool], *, seconds: float) -> Found:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if enough(found):
            return found
        if time.monotonic() >= deadline:
            raise NotAsItMust(f"after {seconds:g} s there was only: {found!r}")
        time.sleep(0.2)


def _samples() -> list[dict[str, Any]]:
    from bot.sandbox.reference import RECIPES, train

    rows = train(RECIPES["first"]).samples
    return [
        {"name": "X", "datatype": "FP32", "shape": [1, len(row)], "data": [float(value) for value in row]}
        for row in rows
    ]


def _shadow_copies(routes: dict[str, Any]) -> int:
    return int(routes["shadows"][MODEL]["sent"])


def _loaded(triton_http: str) -> list[str]:
    answer = httpx.post(f"{triton_http}/v2/repository/index", json={"ready": True}, timeout=10, trust_env=False)
    answer.raise_for_status()
    return [f"{entry['name']} {entry['version']}" for entry in answer.json()]


def _key_of(message: dict[str, Any]) -> str:
    return str((message.get("metadata") or {}).get("event_payload", {}).get("key", ""))


def _first_line(markdown: str) -> str:
    lines = [line for line in markdown.splitlines() if line.strip() and not line.startswith("<!--")]
    return lines[0].replace("**", "").replace("\\", "") if lines else ""
