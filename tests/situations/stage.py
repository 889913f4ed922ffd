"""A scene that is brought into a situation, and the first line of every place where a person looks then.

The world is the one of ``tests/reliability/scene.py``: the real bot, gateways, Git, MLflow, forge and Slack; Triton
is a stand-in. What users get is asked through the gateways, so that a surface that says something else is caught.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from bot.domain.evidence import CHECKS
from tests.reliability.scene import NO_KILL, Ended, Kill, Scene
from tests.reliability.servers import ENVIRONMENT, REPOSITORY, USER

MODELS = ("churn", "wine", "iris")
COLUMNS = 80
_SHORT = {"request_seconds": 1, "load_seconds": 5, "reload_seconds": 3, "ready_seconds": 3, "turn_seconds": 0.1}
_ANNOTATION = re.compile(r"^::.*\n", re.MULTILINE)
_HIDDEN = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass
class Seen:
    """What a person sees in a situation: the first line of each surface, and all of what the terminal said."""

    lines: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """By command, as it is typed."""
    pages: dict[str, str] = field(default_factory=dict)
    """Addresses of the pages that a browser shows."""


class Stage:
    """One situation. People and runners do things here; then :meth:`see` looks."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.settings = scene.root / f"manifests/environments/{ENVIRONMENT}.yaml"
        self._as_it_was = self.settings.read_text()
        self._files = ExitStack()
        self._runs = 0
        self._summary = scene.home / "summary.md"
        self.command, self.ended = "", Ended(0, "")
        self.columns = 0
        """How wide the terminal is on which people read; 0 where lines are as long as they are."""
        self.pull = 0
        """The pull request that this is about; 0 where there is none."""

    def begin(self, name: str, models: Sequence[str] = ("churn",)) -> None:
        """Put a saved state in place, with the settings of its beginning."""
        self.scene.restore(name, models=models)
        self.settings.write_text(self._as_it_was)
        self.configure(deadlines=_SHORT)
        self.command, self.ended, self.pull = "", Ended(0, ""), 0
        self._summary.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Put back what a restore of the scene does not."""
        self._files.close()
        self.settings.write_text(self._as_it_was)

    def on_leaving(self, undo: Callable[[], object]) -> None:
        """Have this done when the situation is over."""
        self._files.callback(undo)

    # --- what people do ----------------------------------------------------------------------------------------

    def configure(self, **changes: Any) -> None:
        """Change the checkout's environment file; mappings are merged, key by key."""
        document = yaml.safe_load(self.settings.read_text())
        for key, value in changes.items():
            before = document.get(key)
            document[key] = {**before, **value} if isinstance(value, dict) and isinstance(before, dict) else value
        self.settings.write_text(yaml.safe_dump(document, sort_keys=False))

    def promobot(
        self,
        *words: str,
        codes: Sequence[int | None] = (0,),
        kill: Kill = NO_KILL,
        env: Mapping[str, str] | None = None,
        columns: int = 0,
    ) -> Ended:
        """Run a verb in the checkout; raise AssertionError where it ends otherwise than it must."""
        ended = self.scene.run(*words, kill=kill, env=env, columns=columns)
        assert ended.code in codes, f"promobot {' '.join(words)} ended with {ended.code}: {ended.said}"
        return ended

    def runs(self, *words: str, codes: Sequence[int | None] = (0,), kill: Kill = NO_KILL) -> Ended:
        """Run the verb whose end this situation is about, as a job of GitHub Actions does."""
        self.command = f"promobot {' '.join(words)}"
        self._summary.unlink(missing_ok=True)
        in_a_job = {"NO_COLOR": "1", "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(self._summary)}
        self.ended = self.promobot(*words, codes=codes, kill=kill, env=in_a_job, columns=self.columns)
        self.follows()
        return self.ended

    def deploys(self, *codes: int | None, kill: Kill = NO_KILL) -> Ended:
        """Run the deployment that a merge starts."""
        return self.runs("deploy", "--env", ENVIRONMENT, codes=codes or (0,), kill=kill)

    def proposes(self, model: str, version: int) -> int:
        """Propose a version, as the training job does; return the pull request."""
        done = self.promobot("propose", model, str(version), "--env", ENVIRONMENT, "--json")
        self.pull = int(json.loads(done.out)["pull_request"])
        self.follows()
        return self.pull

    def checks(self, number: int, *names: str, codes: Sequence[int] = (0,)) -> None:
        """Run these checks of a pull request, all if none is named, and with them the job that sums up."""
        head = self.api("GET", f"/pulls/{number}")["head"]["sha"]
        self._runs += 1
        where = ("--pull-request", str(number), "--head", head, "--run-id", f"run-{self._runs}")
        for name in names or CHECKS:
            self.promobot("check", name, *where, codes=codes)
        needs = json.dumps({name: {"result": "success", "outputs": {}} for name in CHECKS})
        self.promobot("check", "verdict", *where, "--needs", needs, codes=codes)
        self.follows()

    def merges(self, number: int) -> None:
        """Merge a pull request at its head, as alex does."""
        head = self.api("GET", f"/pulls/{number}")["head"]["sha"]
        self.api("PUT", f"/pulls/{number}/merge", {"sha": head, "merge_method": "squash"})

    def merged(self, model: str, version: int) -> int:
        """Have a version proposed, checked and merged; return the pull request."""
        number = self.proposes(model, version)
        self.checks(number)
        self.merges(number)
        return number

    def follows(self) -> None:
        """Have the Slack app bring each promotion's message up to date, as it does every few seconds."""
        self.promobot("slack", "--env", ENVIRONMENT, "--once", codes=(0, 1))

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the forge as alex; None where it does not answer."""
        url = f"{self.forge}/api/v3/repos/{REPOSITORY}{path}"
        headers = {"Authorization": "Bearer alex-token", USER.decode(): "1"}
        answer = httpx.request(method, url, json=body, headers=headers, timeout=30, trust_env=False)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    @property
    def forge(self) -> str:
        return f"http://{self.scene.address}:{self.scene.ports.forge}"

    # --- what is to be seen ------------------------------------------------------------------------------------

    def see(self) -> Seen:
        """Look everywhere; what is down is started again for those who only want to read it."""
        seen = Seen()
        if self.command and not self.ended.killed:
            seen.texts[self.command] = self.ended.out or _ANNOTATION.sub("", self.ended.said)
        for name in ("status", "drift", "history"):
            words = (name, "--env", ENVIRONMENT)
            ended = self.scene.run(*words, columns=self.columns, env={"NO_COLOR": "1"})
            assert ended.code in (0, 1), f"promobot {name} ended with {ended.code}: {ended.said}"
            seen.texts[f"promobot {' '.join(words)}"] = ended.out or ended.said
        for command, text in seen.texts.items():
            seen.lines["command" if command == self.command else command.split()[1]] = first_line(text)
        seen.lines = {surface: line for surface, line in seen.lines.items() if line}
        self._see_the_job(seen)
        seen.lines["users"] = self.users()
        self.follows()
        self.scene.tell("start")
        self._see_slack(seen)
        self._see_pull_requests(seen)
        return seen

    def users(self) -> str:
        """Return what users are answered with, asked through each gateway now."""
        if self.scene.routes().route("churn").canary is not None:
            return self._divided()
        self.scene.look(quiet=False)
        answers = self.scene.look(quiet=False).answers
        told: dict[str, dict[int, str]] = {}
        for answer in answers:
            said = {200: f"version {answer.version}", 404: "404", 0: "no answer"}.get(
                answer.status, f"error {answer.status}"
            )
            said = said if answer.whole or answer.status != 200 else f"{said}, wrong"
            of = told.setdefault(answer.model, {})
            of[answer.gateway] = f"{of[answer.gateway]} and {said}" if answer.gateway in of else said
        listed = []
        for model, by_gateway in sorted(told.items()):
            kinds = sorted(set(by_gateway.values()))
            said = kinds[0] if len(kinds) == 1 else ", ".join(
                f"{what} from {', '.join(f'gateway-{n}' for n, w in sorted(by_gateway.items()) if w == what)}"
                for what in kinds
            )  # fmt: skip
            listed.append(said if len(told) == 1 else f"{model}: {said}")
        return "; ".join(listed)

    def _divided(self) -> str:
        """Return the same while a canary answers some: ask as each of so many users, who get it on every gateway."""
        body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}]}
        answered: dict[str, set[str]] = {}
        for user in map(str, range(40)):
            for port in self.scene.ports.gateways:
                url = f"http://{self.scene.address}:{port}/v2/models/churn/infer"
                answer = httpx.post(url, json=body, headers={"x-user-id": user}, timeout=30, trust_env=False)
                said = f"version {answer.json()['model_version']}" if answer.is_success else str(answer.status_code)
                answered.setdefault(user, set()).add(said)
        both = sorted({said for of_user in answered.values() for said in of_user})
        assert all(len(of_user) == 1 for of_user in answered.values()), answered
        return " or ".join(both)

    def _see_the_job(self, seen: Seen) -> None:
        """Add what the job shows: its summary's first line, and its first annotation."""
        if self._summary.is_file():
            seen.lines["job summary"] = first_line(rendered(self._summary.read_text()))
        found = re.search(r"^::(?:error|warning) (?:\S+,)?title=(.*?)::(.*)$", self.ended.said, re.MULTILINE)
        if found:
            title, text = (
                re.sub("%([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), part) for part in found.groups()
            )
            seen.lines["annotation"] = f"{title}: {first_line(text)}"

    def _see_slack(self, seen: Seen) -> None:
        messages = self.scene.look(ask=False).messages
        own = f"{ENVIRONMENT}/#{self.pull}"
        deployments = [text for key, text in messages if key.startswith(f"{ENVIRONMENT}-")]
        promotions = [text for key, text in messages if key == own]
        ways_back = [text for key, text in messages if key.startswith(f"{ENVIRONMENT}/#") and "Back: " in text]
        for surface, texts in (("deployment", deployments), ("promotion", promotions), ("way back", ways_back)):
            if texts:
                seen.lines[f"Slack, {surface}"] = first_line(texts[-1])
        seen.pages["slack"] = f"http://{self.scene.address}:{self.scene.ports.slack}/"

    def _see_pull_requests(self, seen: Seen) -> None:
        if self.pull:
            seen.lines["pull request"] = first_line(rendered(self.api("GET", f"/pulls/{self.pull}")["body"]))
            comments = [one["body"] for one in self.api("GET", f"/issues/{self.pull}/comments?per_page=100")]
            ours = [body for body in comments if "promobot:" in body and "promobot:slack" not in body]
            if ours:
                seen.lines["comment"] = first_line(rendered(ours[-1]))
            seen.pages["pull request"] = f"{self.forge}/{REPOSITORY}/pull/{self.pull}"
        opened = self.api("GET", "/pulls?state=open&per_page=100")
        reverts = [pull for pull in opened if pull["head"]["ref"].startswith(f"promobot-revert/{ENVIRONMENT}/")]
        if reverts:
            seen.lines["revert"] = first_line(rendered(reverts[0]["body"]))
            seen.pages["revert"] = f"{self.forge}/{REPOSITORY}/pull/{reverts[0]['number']}"


def rendered(markdown: str) -> str:
    """Return Markdown as people read it, as far as a first line has any."""
    return re.sub(r"\\([^\w\s])", r"\1", markdown.replace("\u200b", "")).replace("**", "")


def first_line(text: str) -> str:
    """Return the first line that a person can see."""
    lines = (line.strip() for line in _HIDDEN.sub("", text).splitlines())
    return next((line for line in lines if line), "")


def written(path: Path, text: str) -> None:
    """Write a file, whatever its mode is."""
    path.chmod(0o644)
    path.write_text(text)
