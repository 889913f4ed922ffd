"""What happens in the month, day by day, and what must come of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import httpx

from bot.domain.record import DeploymentRecord
from bot.sandbox import environments, reference
from bot.sandbox import seed as content
from bot.sandbox import triton as tritons
from bot.sandbox.platform import BOT, TO_LOOK_AT, Endpoints, Sandbox
from bot.sandbox.processes import Part
from bot.sandbox.reference import LARGEST, RECIPES, Recipe
from bot.sandbox.seed import MODEL
from bot.sandbox.story import NotAsItMust, Say, Story, expect
from tests.month import moved

SEOUL = ZoneInfo("Asia/Seoul")
WINDOW = "Mon-Thu 10:00-16:00 Asia/Seoul"
SECONDS = 240.0
FIRST_DAY = "first-day"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
BAKE = {"minutes": 60, "min_requests": 40, "max_error_rate": 0.01, "max_p95_worse": 50}
GATE = {"metrics": {"accuracy": {"minimum": 0.8}}}
VERSIONS: Mapping[int, Recipe] = {
    number: Recipe(f"of-the-month-{number}", f"version {number}", inverse_regularisation=regularisation)
    for number, regularisation in enumerate((0.9, 0.8, 0.7, 0.0, 0.6, 0.5, 0.45, 0.4, 0.35), start=1)
}
COUNTED: Mapping[str, Mapping[str, int]] = {
    "dev": {"releases": 9, "by_policy": 8, "by_people": 1, "put_back": 0, "rolled_back": 1},
    "prod": {"releases": 7, "by_policy": 3, "by_people": 4, "put_back": 1, "rolled_back": 0},
}
"""What the report must count, by the story."""
BREAKS = 4
"""The version that answers some requests with an error."""


def settings(first: datetime) -> Mapping[str, dict[str, Any]]:
    """Return what the environment files say besides where everything is; ``first`` is the first day of the month."""
    freeze = {
        "start": (first + timedelta(days=23)).isoformat(),
        "end": (first + timedelta(days=28, hours=12)).isoformat(),
        "reason": "stocktaking",
    }
    return {
        "dev": {"gates": {MODEL: GATE}, "rollout": {MODEL: {"bake": BAKE}}, "merge": {"when": "checks pass"}},
        "prod": {
            "gates": {MODEL: GATE},
            "promotes_from": {"environment": "dev", "after": "24h", "when": "baked"},
            "merge": {"when": "checks pass", "after_clean": 2},
            "windows": [WINDOW],
            "freezes": [freeze],
        },
    }


def first_day() -> datetime:
    """Return the beginning of the next Monday in Seoul."""
    today = moved.now().astimezone(SEOUL).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=7 - today.weekday())


def up(home: Path, say: Say) -> Sandbox:
    """Start a sandbox whose environments have policies, on the first day of the month."""
    first = first_day()
    moved.jump_to(first + timedelta(hours=9))
    plain, written, triton = Endpoints.plain_variables, content.environment_file, tritons.part

    def told(endpoints: Endpoints) -> dict[str, str]:
        # act hands nothing on to the steps of a workflow but what it is told.
        return {**plain(endpoints), **moved.variables()}

    def in_real_time(*given: Any, **named: Any) -> Part:
        # Time that jumps leaves Triton's unload waiting for ever, and nothing of it needs the date.
        return triton(*given, **named).with_variables({"LD_PRELOAD": ""})

    def with_policies(endpoints: Endpoints, environment: str) -> dict[str, Any]:
        return {**written(endpoints, environment), **settings(first)[environment]}

    with (
        mock.patch.object(Endpoints, "plain_variables", told),
        mock.patch.object(content, "environment_file", with_policies),
        mock.patch.object(tritons, "part", in_real_time),
    ):
        sandbox = Sandbox.up(home, progress=lambda line: say(f"  {line}"), seed=content.seed, parts=TO_LOOK_AT)
    (home / FIRST_DAY).write_text(first.isoformat())
    return sandbox


class Month(Story):
    """The people, the watches, and the calendar."""

    def __init__(self, sandbox: Sandbox, say: Say) -> None:
        super().__init__(sandbox, say)
        self.first = datetime.fromisoformat((self.endpoints.directory / FIRST_DAY).read_text())
        self._allow_auto_merge()
        self.logs = {name: self.endpoints.directory / "logs" / f"watch-{name}.log" for name in ("dev", "prod")}
        self._watches = [self._watch(name, log) for name, log in self.logs.items()]
        self.counted = ""

    def _allow_auto_merge(self) -> None:
        """Tick the box in the repository's settings, as its owner does once."""
        address = f"{self.endpoints.forge}/api/v3/repos/{self.endpoints.repository}"
        token = {"Authorization": f"Bearer {self.endpoints.secrets.people['alex']}"}
        done = httpx.patch(address, json={"allow_auto_merge": True}, headers=token, timeout=30, trust_env=False)
        expect(done.json()["allow_auto_merge"], True, "that the repository allows auto-merge")

    def _watch(self, environment: str, log: Path) -> subprocess.Popen[bytes]:
        python = environments.runner_directory() / "bin" / "python"
        with log.open("ab") as output:
            return subprocess.Popen(
                [str(python), "-m", "bot", "watch", "--env", environment, "--every", "1"],
                cwd=self.checkout,
                env={**os.environ, **self.endpoints.variables(login=BOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> None:
        """End the watches."""
        for watch in self._watches:
            watch.terminate()
        for watch in self._watches:
            watch.wait()

    def what_watches_said(self) -> str:
        """Return the end of their logs."""
        return "\n".join(f"{name}:\n{log.read_text()[-3000:]}" for name, log in self.logs.items())

    # --- the calendar ------------------------------------------------------------------------------------------

    @property
    def today(self) -> str:
        """The day and the time, as people in Seoul see them."""
        now = moved.now().astimezone(SEOUL)
        return f"day {(now - self.first).days + 1}, {DAYS[now.weekday()]} {now:%H:%M}"

    def on(self, day: int, clock: str) -> None:
        """Go to a time of a day, from 1."""
        hours, minutes = map(int, clock.split(":"))
        self._let_runs_end()
        moved.jump_to(self.first + timedelta(days=day - 1, hours=hours, minutes=minutes))
        self.say(f"\n{self.today}")

    def _let_runs_end(self) -> None:
        """Wait until no workflow is under way: a jump would end it as one that took too long."""
        address = f"{self.endpoints.forge}/api/v3/repos/{self.endpoints.repository}/actions/runs?per_page=100"
        token = {"Authorization": f"Bearer {self.endpoints.secrets.people['alex']}"}

        def have_ended() -> bool:
            runs = httpx.get(address, headers=token, timeout=30, trust_env=False).json()["workflow_runs"]
            return all(run["status"] == "completed" for run in runs)

        self.wait("the end of the workflows", have_ended)

    def wait(self, what: str, look: Callable[[], Any]) -> Any:
        """Wait until something is so; raise NotAsItMust where it does not come."""
        deadline = time.monotonic() + SECONDS
        while not (found := look()):
            if time.monotonic() > deadline:
                raise NotAsItMust(f"{what}: it does not come")
            time.sleep(0.3)
        return found

    # --- who does what -----------------------------------------------------------------------------------------

    def register(self, number: int) -> None:
        """Train a version, and have the training job propose it to dev."""
        recipe = RECIPES["fragile"] if number == BREAKS else VERSIONS[number]
        with mock.patch.dict(RECIPES, {recipe.name: recipe}):
            registered = reference.register_recipe(recipe.name, self.endpoints.mlflow, MODEL)
        expect(int(registered.version), number, "the version that MLflow gave")
        done = self.as_bot("propose", MODEL, str(number), "--env", "dev")
        expect(done["action"], "opened", "what propose did")
        self.see(f"training registers churn {number}, and proposes it to dev: #{done['pull_request']}")

    def as_bot(self, *arguments: str) -> dict[str, Any]:
        """Run promobot as a job does, with the bot's own token."""
        variables = self.endpoints.variables
        with mock.patch.object(Endpoints, "variables", lambda _, **__: variables(login=BOT)):
            return self.promobot(*arguments)

    def ask_often(self, environment: str, *, times: int = 60, large: int = 0) -> None:
        """Have users ask each gateway, ``large`` times of them with a row of a large tumour."""
        row = dict(self.samples[0])
        wide = {**row, "data": [LARGEST + 5, *row["data"][1:]]}
        for gateway in self.endpoints.gateway[environment]:
            with httpx.Client(timeout=10, trust_env=False) as client:
                for number in range(times):
                    given = {"inputs": [wide if number < large else row]}
                    client.post(f"{gateway.url}/v2/models/{MODEL}/infer", json=given)

    # --- what must come ----------------------------------------------------------------------------------------

    def open_for(self, environment: str, number: int, *, kind: str = "promobot") -> dict[str, Any] | None:
        """Return the open pull request from the bot's branch of this kind, where it is about this version."""
        branch = f"{kind}/{environment}/{MODEL}"
        for pull in self.forge.pulls("open"):
            if pull["head"]["ref"] == branch and f"{number}" in pull["title"]:
                return dict(pull)
        return None

    def see_proposed(self, environment: str, number: int) -> dict[str, Any]:
        """Wait until the policy proposes a version."""
        pull: dict[str, Any] = self.wait(
            f"a pull request for churn {number} in {environment}", lambda: self.open_for(environment, number)
        )
        expect("policy" in pull["body"].lower(), True, f"that #{pull['number']} says who opened it")
        self.see(f"the policy of {environment} opens #{pull['number']}: {pull['title']}")
        return pull

    def see_merged(self, environment: str, number: int, *, by: str = BOT) -> None:
        """Wait until a version is in service, and say who merged it."""
        self.wait(f"churn {number} in service in {environment}", lambda: self._answers(environment) == {str(number)})
        record = self.wait("its record", lambda: self._record_of(environment, number))
        expect(record.outcome, "succeeded", f"the outcome of {record.id} ({record.problem})")
        branch = f"promobot/{environment}/{MODEL}"
        pull = self.forge.pull(
            next(
                one["number"]
                for one in self.forge.pulls("all")
                if one["merged_at"] and one["head"]["ref"] == branch and f"{number}" in one["title"]
            )
        )
        expect(pull["merged_by"]["login"], by, f"who merged #{pull['number']}")
        self.see(f"{environment} serves churn {number} ({record.id}); #{pull['number']} was merged by {by}")

    def _answers(self, environment: str) -> set[str]:
        try:
            return {self.ask(gateway.url)[0] for gateway in self.endpoints.gateway[environment]}
        except httpx.HTTPStatusError:
            return set()  # nothing is in service yet

    def _record_of(self, environment: str, number: int) -> DeploymentRecord | None:
        own = [r for r in self.records() if r.environment == environment and r.after and r.after.version == number]
        return own[-1] if own else None

    def see_said(self, environment: str, words: str, *, since: int = 0) -> None:
        """Wait until the watch says why something waits."""
        self.wait(f"the watch of {environment} says {words!r}", lambda: words in self._said(environment)[since:])
        line = next(line for line in reversed(self._said(environment)[since:].splitlines()) if words in line)
        self.see(f"watch says: {line.partition(' INFO ')[2] or line}")

    def _said(self, environment: str) -> str:
        return self.logs[environment].read_text(errors="replace")

    def said_so_far(self, environment: str) -> int:
        """Return where the watch's log ends now."""
        return len(self._said(environment))

    def see_baked(self, number: int) -> None:
        """Have users ask dev, and wait until the version is baked there."""
        self.ask_often("dev")
        self._let_runs_end()
        moved.jump_to(moved.now() + timedelta(minutes=65))
        rollout = self._record_of("dev", number)
        assert rollout is not None
        key = f"rollouts/dev/{rollout.id}/baked.json"
        self.wait(f"churn {number} baked", lambda: any(name.endswith(key) for name in self.objects()))
        self.see(f"churn {number} is baked in dev")

    def merge_by_hand(self, pull: dict[str, Any]) -> None:
        """Have alex merge a pull request, as soon as its checks are green."""
        self.wait(f"green checks of #{pull['number']}", lambda: self._is_green(pull))
        self.forge.merge(pull["number"], head=pull["head"]["sha"])
        self.see(f"alex merges #{pull['number']}: {pull['title']}")

    def _is_green(self, pull: dict[str, Any]) -> bool:
        return self.forge.checks(pull["head"]["sha"]).get("Verdict") == "success"

    def see_nothing_proposed(self, environment: str, number: int) -> None:
        """Expect no open pull request about a version, after some looks of the watch."""
        expect(self.open_for(environment, number), None, f"a pull request for churn {number} in {environment}")

    # --- the month ---------------------------------------------------------------------------------------------

    def live(self) -> None:
        """All of it."""
        for week in (self.first_week, self.second_week, self.third_week, self.fourth_week, self.what_is_told):
            week()

    def first_week(self) -> None:
        """Two releases: dev by policy, and in prod a person merges, because nothing is known of the model there."""
        for day, number in ((1, 1), (3, 2)):
            self.on(day, "10:30")
            self.register(number)
            self.see_merged("dev", number)
            self.see_baked(number)
            self.on(day + 1, "13:00")
            pull = self.see_proposed("prod", number)
            self.see_said("prod", f"{number - 1} of 2 clean")
            self.merge_by_hand(pull)
            self.see_merged("prod", number, by="alex")

    def second_week(self) -> None:
        """By policy alone; then a version that breaks the rules of its bake."""
        self.on(8, "10:30")
        self.register(3)
        self.see_merged("dev", 3)
        self.see_baked(3)
        self.on(9, "13:00")
        self.see_proposed("prod", 3)
        self.see_merged("prod", 3)

        self.on(10, "11:00")
        self.register(BREAKS)
        self.see_merged("dev", BREAKS)
        self.ask_often("dev", times=80, large=40)
        self.wait("3 in service again", lambda: self._answers("dev") == {"3"})
        self.see(f"churn {BREAKS} breaks the rules of its bake: users of dev have 3 again")
        self.wait("main asks for 3 again", lambda: self.desired("dev").models[MODEL].version == 3)
        self.see("its revert was merged by policy: main asks for 3 again")
        self.on(11, "13:00")
        self.see_nothing_proposed("prod", BREAKS)
        since = self.said_so_far("dev")
        self.register(5)
        self.see_said("dev", "went back", since=since)
        self.on(12, "11:00")
        pull = self.open_for("dev", 5)
        expect(pull is not None, True, "that churn 5 still waits in dev: it is held after a way back")
        assert pull is not None
        self.promobot("propose", MODEL, "5", "--env", "dev")
        self.see("alex looks at it, and proposes churn 5 to dev")
        self.merge_by_hand(pull)
        self.see_merged("dev", 5, by="alex")
        self.see_baked(5)

    def third_week(self) -> None:
        """What is ready on a weekend waits for the window; a gateway refuses a reload, and prod is held."""
        self.on(13, "13:00")
        self.see_proposed("prod", 5)
        self.see_said("prod", "window")
        self.on(15, "10:01")
        self.see_merged("prod", 5)

        self.on(16, "10:30")
        self.register(6)
        self.see_merged("dev", 6)
        self.see_baked(6)
        gateway = self.endpoints.gateway["prod"][-1].name
        self.sandbox.restart(gateway, more=("--triton", self.endpoints.triton_staging.http))
        self.see(f"somebody gave {gateway} a second Triton, of which the bot knows nothing")
        self.on(17, "13:00")
        self.see_proposed("prod", 6)
        self.wait("6 put back in prod", lambda: (r := self._record_of("prod", 6)) and r.outcome == "put back")
        expect(self._answers("prod"), {"5"}, "who answers in prod")
        self.see("churn 6 was merged by policy and put back: users of prod have 5")
        self.sandbox.restart(gateway)
        self.wait("main asks for 5 again", lambda: self.desired("prod").models[MODEL].version == 5)

        self.on(18, "10:30")
        self.register(7)
        self.see_merged("dev", 7)
        self.see_baked(7)
        self.on(19, "13:00")
        self.see_said("prod", "policies wait until somebody proposes")
        self.see_nothing_proposed("prod", 7)

    def fourth_week(self) -> None:
        """A person ends the hold; a freeze; and the last release goes by itself again."""
        self.on(22, "10:30")
        done = self.promobot("promote", MODEL, "--to", "prod")
        pull = self.forge.pull(done["pull_request"])
        self.see(f"alex promotes churn 7 to prod: #{pull['number']}")
        self.merge_by_hand(pull)
        self.see_merged("prod", 7, by="alex")
        self.on(22, "15:00")
        self.register(8)
        self.see_merged("dev", 8)
        self.see_baked(8)

        self.on(24, "13:00")
        pull = self.see_proposed("prod", 8)
        self.see_said("prod", "stocktaking")
        self.merge_by_hand(pull)
        self._let_runs_end()
        self.see("main asks for 8, and a freeze holds it")
        expect(self._answers("prod"), {"7"}, "who answers in prod")
        self.on(29, "12:01")
        self.see_merged("prod", 8, by="alex")

        self.on(29, "13:00")
        self.register(9)
        self.see_merged("dev", 9)
        self.see_baked(9)
        self.on(30, "15:00")
        self.see_proposed("prod", 9)
        self.see_merged("prod", 9)

    def what_is_told(self) -> None:
        """The report counts the month as it was, and the board shows each deployment of it."""
        self._let_runs_end()  # the last deployment notes who merged it when users have it
        told = self.promobot("report", "--since", "31d")
        for environment, wanted in COUNTED.items():
            (of,) = [one["all"] for one in told["environments"] if one["environment"] == environment]
            expect({name: of[name] for name in wanted}, dict(wanted), f"what the report counts in {environment}")
            self.see(f"`promobot report` of {environment}: {', '.join(f'{of[name]} {name}' for name in wanted)}")
        for environment in COUNTED:
            self.wait(f"the board shows {environment}", lambda name=environment: self._is_on_the_board(name))
            self.see(f"the board shows every deployment of {environment}")
        records = self.records()
        self.counted = f"{len(records)} deployments, {len(self.forge.pulls('all'))} pull requests"

    def _is_on_the_board(self, environment: str) -> bool:
        page = httpx.get(f"{self.endpoints.board}/{environment}/{MODEL}", timeout=30, trust_env=False)
        return all(one.id in page.text for one in self.records() if one.environment == environment)
