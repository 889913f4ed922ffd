"""``python -m tests.simulations.policies``: thousands of days of releases by policy, with everything that goes wrong.

A life is some weeks of two environments. Training registers versions, checks run, people approve, close, edit, go
back, propose by hand; freezes come, GitHub is away, processes die at any call of any port, and two watches look at
the same time. The bot's own operations and decisions run on it. What happens is held to ``rules.py``, in which the
rules stand a second time: nothing is merged that no rule allows, nothing is carried on that its source went back
from, nothing is proposed while it is held after a way back, and in the end nothing waits that could go on.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import itertools
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from datetime import time as moment
from typing import Any
from unittest import mock

from bot.commands import watch as command
from bot.domain import desired
from bot.domain.desired import Change, Entry, changes, path_of
from bot.domain.record import CRITERIA, Criterion, DeploymentRecord, undoes, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.scope import scope_of
from bot.domain.way_back import choose
from bot.errors import PromobotError
from bot.operations.deploy import Deployed
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.following import Revert, propose_way_back
from bot.operations.past import Past
from bot.operations.path import Doors
from bot.operations.proposing import Asking
from bot.operations.renewing import renew_proposals
from bot.operations.watching import Memory, watch
from bot.records.ledger import RolloutNote
from bot.requests import Actor, Promote, Propose, carry_out
from bot.settings import Environment
from tests.simulations.rules import (
    Fact,
    Facts,
    Policy,
    Proposed,
    Window,
    goes_back,
    must_carry,
    why_not_carry,
    why_not_merge,
)
from tests.simulations.world import BOT, EMAIL, SMOKE, Dies, Faults, Platform, Pull, World, made
from tests.stand_ins.merged import green_evidence

MODELS = ("churn", "fraud-eu")
BEFORE_THE_END = timedelta(hours=3)
"""Some looks of every watch come in this time."""
START = datetime(2026, 3, 2, tzinfo=UTC)
CALM = timedelta(days=8)
"""Long enough for every window to open, and for what waited to go through it."""
CALM_WITHOUT_WINDOWS = timedelta(days=3)
WINDOWS = (
    Window("Mon", "Thu", moment(10), moment(16), "Asia/Seoul"),
    Window("Fri", "Fri", moment(22), moment(2), "Asia/Seoul"),
    Window("Sat", "Mon", moment(6), moment(12), "Europe/Berlin"),
)


def print_not(_: str) -> None:
    """Say nothing."""


Fate = str
"""good, red, fails, put back, breaches"""


@dataclass(frozen=True)
class _Content:
    """What a pull request proposes since a time, and whether a person's commit is among it."""

    since: datetime
    version: int
    digest: str
    theirs: bool


@dataclass
class Found:
    """What one life showed."""

    seed: int
    days: float
    counted: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Life:
    """Some weeks of one world."""

    def __init__(self, seed: int, days: float, *, say: Callable[[str], object] = lambda _: None) -> None:
        self.seed, self.days, self.say = seed, days, say
        self.chance = random.Random(seed)  # noqa: S311 - it decides nothing but what happens
        self.facts, self.found = Facts(), Found(seed, days)
        self.policies = self._policies()
        settings = {name: settings_of(policy) for name, policy in self.policies.items()}
        self.world = World(settings, seed=seed + 1, start=START, reviews=self.chance.choice((0, 0, 1)))
        self.world.github.on_merge = self._merged
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._fates: dict[tuple[str, int], Fate] = {}
        self._by: dict[int, str] = {}
        """Who opened each pull request: policy, training, person or bot."""
        self._contents: dict[int, list[_Content]] = {}
        """What each pull request proposed, and since when."""
        self._switched_off: set[int] = set()
        """The pull requests of which a person took a policy's auto-merge off again."""
        self._changes: dict[tuple[str, str], Change | None] = {}
        self._checked: set[str] = set()
        self._looked: dict[str, datetime] = {}
        """When the last look ended that reached everything, by environment."""
        self._memories: dict[tuple[str, int], Memory] = {}
        self._is_looking = False
        self._turns: Counter[str] = Counter()
        self._reverts: list[tuple[str, Revert, Entry]] = []
        """Ways back whose pull request could not be opened yet."""
        self._told: dict[str, list[Any]] = {}
        self._is_calm = False

    # --- settings ----------------------------------------------------------------------------------------------

    def _policies(self) -> dict[str, Policy]:
        chance = self.chance

        def windows() -> tuple[Window, ...]:
            return () if chance.random() < 0.5 else (chance.choice(WINDOWS),)

        def freezes() -> tuple[tuple[datetime, datetime], ...]:
            if chance.random() < 0.6:
                return ()
            start = START + timedelta(days=chance.uniform(0, self.days))
            return ((start, start + timedelta(hours=chance.uniform(2, 60))),)

        dev = Policy(
            "dev",
            merges=chance.random() < 0.9,
            after_clean=chance.choice((None, None, 1, 3)),
            bakes=chance.random() < 0.5,
            freezes=freezes(),
        )
        prod = Policy(
            "prod",
            merges=chance.random() < 0.8,
            after_clean=chance.choice((None, 1, 2, 3)),
            source="dev",
            after=timedelta(hours=chance.choice((0, 1, 6, 24))),
            only_baked=dev.bakes and chance.random() < 0.5,
            carries=chance.random() < 0.9,
            bakes=chance.random() < 0.4,
            windows=windows(),
            freezes=freezes(),
        )
        return {"dev": dev, "prod": prod}

    # --- time --------------------------------------------------------------------------------------------------

    def _at(self, at: datetime, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), do))

    def _in(self, do: Callable[[], None], **time: float) -> None:
        self._at(self.world.later(**time), do)

    def _again(self, do: Callable[[], None], *, hours: float) -> None:
        """Do something again and again, that often on average, until the calm."""

        def event() -> None:
            if not self._is_calm:
                do()
                self._again(do, hours=hours)

        self._in(event, hours=self.chance.expovariate(1 / hours))

    def live(self) -> Found:
        """Live it, and hold it to the rules; return what was found."""
        # Reading a text gives the same each time, and takes most of it.
        read_once = mock.patch.object(desired, "_parse", functools.lru_cache(1000)(desired._parse))
        deploys = mock.patch("bot.operations.deploy.deploy", self._converge)
        with self.world.clock.told(), read_once, deploys:
            for model in MODELS:
                self._again(lambda model=model: self._train(model), hours=self.chance.choice((8, 16, 30)))
            for do, hours in (
                (self._approve, 4),
                (self._close, 60),
                (self._push, 80),
                (self._press_merge, 24),
                (self._toggle_auto_merge, 80),
                (self._roll_back, 70),
                (self._promote_by_hand, 40),
                (self._lift, 50),
                (self._github_goes, 60),
                (self._new_watches, 30),
            ):
                self._again(do, hours=hours)
            self._in(self._look_around, minutes=5)
            ends = START + timedelta(days=self.days)
            self._run_until(ends)
            self._calm_down()
            has_windows = any(policy.windows for policy in self._each())
            self._run_until(self._last_moment(ends + (CALM if has_windows else CALM_WITHOUT_WINDOWS)))
            self._see_that_nothing_waits()
        return self.found

    def _run_until(self, end: datetime) -> None:
        while self._events and self._events[0][0] <= end:
            at, _, do = heapq.heappop(self._events)
            self.world.clock.now = max(at, self.world.clock.now + timedelta(seconds=1))
            do()
            self._notice()
        self.world.clock.now = max(end, self.world.clock.now)

    def _calm_down(self) -> None:
        self._is_calm = True
        self.world.ports.faults = Faults()
        self._memories.clear()
        for pull in self.world.github.pulls.values():
            if pull.is_open and self.world.github.reviews:
                pull.approvals["sam"] = self.world.github.head(pull)
        self.world.github.settle()

    def _last_moment(self, end: datetime) -> datetime:
        """Return when the calm ends: in an open window of every environment, so that nothing waits for one."""
        while not all(policy.is_open(end) and policy.is_open(end - BEFORE_THE_END) for policy in self._each()):
            end += timedelta(minutes=30)
            if end > START + timedelta(days=self.days) + 3 * CALM:
                break
        return end

    def _each(self) -> list[Policy]:
        return list(self.policies.values())

    # --- what happens ------------------------------------------------------------------------------------------

    def _fact(
        self, environment: str, model: str, what: Any, entry: Entry | None, *, by_somebody: bool = False
    ) -> None:
        version, digest = (entry.version, entry.digest) if entry else (0, "")
        self._look_soon()
        self.facts.add(Fact(self.world.clock.now, environment, model, what, version, digest, by_somebody))
        self.say(
            f"{self.world.clock.now:%m-%d %H:%M} {environment} {model} {version}: {what}{' (somebody)' * by_somebody}"
        )

    def _train(self, model: str) -> None:
        number = 1 + max((n for name, n in self.world.versions if name == model), default=0)
        self.world.versions[model, number] = made(model, number)
        self._fates[model, number] = self.chance.choices(
            ("good", "red", "fails", "put back", "breaches"), weights=(75, 6, 5, 6, 8)
        )[0]
        self._ask(Propose(environment="dev", by=Actor("training"), model=model, version=number), "training")

    def _ask(self, request: Any, by: str) -> None:
        """Have somebody ask the bot; where a system is away they try again, as people and jobs do."""
        known = set(self.world.github.pulls)
        try:
            carry_out(request, lambda name: self.world.platform(name), say=print_not, tell=lambda _: "")  # type: ignore[arg-type, return-value]
        except PromobotError as error:
            self.say(f"   {request.verb}: {error}")
            if self.world.ports.faults.github_away and not self._is_calm:
                self._in(lambda: self._ask(request, by), hours=2)
            elif "the bot did not make" in str(error) and by == "training":
                anew = replace(request, replace=True, by=Actor("alex", github="alex"))
                self._in(lambda: self._ask(anew, "person"), hours=self.chance.uniform(1, 30))
        for number in set(self.world.github.pulls) - known:
            self._by[number] = by
        if isinstance(request, Promote):
            self._note_who_promoted(request.model)

    def _notice(self) -> None:
        """See what is new on GitHub: who opened it, what it proposes, and have its checks run."""
        github = self.world.github
        for number, pull in github.pulls.items():
            if not pull.is_open:
                continue
            self._by.setdefault(number, "bot")
            head = github.head(pull)
            if (proposed := self._content(pull)) is not None:
                seen = self._contents.setdefault(number, [])
                if not seen or replace(seen[-1], since=proposed.since) != proposed:
                    seen.append(proposed)
            if head not in self._checked:
                self._checked.add(head)
                self._in(lambda pull=pull, head=head: self._check(pull, head), minutes=self.chance.uniform(3, 90))

    def _content(self, pull: Pull) -> _Content | None:
        change, git = self._change(pull), self.world.git
        if change is None or change.after is None:
            return None
        head = self.world.github.head(pull)
        known = set(git.history(git.parted(git.branches["main"], head)))
        theirs = any(git.commits[one].email != EMAIL for one in git.history(head) if one not in known)
        return _Content(self.world.clock.now, change.after.version, change.after.digest, theirs)

    def _change(self, pull: Pull) -> Change | None:
        """Return what a pull request changes of one model."""
        between = self.world.github.left_main(pull), self.world.github.head(pull)
        if between not in self._changes:
            self._changes[between] = self._changed(*between)
        return self._changes[between]

    def _changed(self, base: str, head: str) -> Change | None:
        for path in map(path_of, self.policies):
            one, other = (self.world.git.commits[commit].files[path] for commit in (base, head))
            if one != other and (found := changes(desired.parse(one, file=path), desired.parse(other, file=path))):
                return found[0]
        return None

    def _check(self, pull: Pull, head: str) -> None:
        """Run the checks of a head: they pass as the version's fate says."""
        change = self._change(pull) if pull.is_open and self.world.github.head(pull) == head else None
        if change is None:
            self.world.github.checks[head] = pull.number not in self._by or True
            self.world.github.settle()
            return
        is_green = change.after is None or self._fates[change.model, change.after.version] != "red"
        with self.world.ports.undisturbed():
            if is_green and change.after is not None:
                platform = self.world.platform(change.environment)
                evidence = green_evidence(
                    change, SMOKE, platform.settings, at=self.world.clock.now, pull_request=pull.number
                )
                platform.ledger.add_evidence(evidence.model_copy(update={"head": head}))
        self.world.github.checks[head] = is_green
        self._look_soon()
        self.world.github.settle()

    # --- people ------------------------------------------------------------------------------------------------

    def _some_pull(self) -> Pull | None:
        found = [pull for pull in self.world.github.pulls.values() if pull.is_open]
        return self.chance.choice(found) if found else None

    def _approve(self) -> None:
        if (pull := self._some_pull()) is not None:
            pull.approvals["sam"] = self.world.github.head(pull)
            self.world.github.settle()

    def _close(self) -> None:
        pull = self._some_pull()
        if pull is not None and self.chance.random() < 0.5:
            change = self._change(pull)
            self.world.github.close(pull, "alex")
            if self.chance.random() < 0.5:
                del self.world.git.branches[pull.branch]
            if change is not None and change.after is not None and self._kind(pull) == "proposal":
                self._fact(change.environment, change.model, "rejected", change.after)

    def _push(self) -> None:
        """Push a commit of one's own to a branch of the bot, into the same entry or beside it."""
        pull = self._some_pull()
        if pull is None or scope_of(pull.branch) is None:
            return
        git, head = self.world.git, self.world.github.head(pull)
        files = dict(git.commits[head].files)
        if self.chance.random() < 0.5:
            files["README.md"] = f"by alex {head}\n"
        made_by_alex = git.commit((head,), files, "my own", "alex", "alex@example.com")
        git.branches[pull.branch] = made_by_alex
        self.say(f"   alex pushes to #{pull.number}")

    def _press_merge(self) -> None:
        pull = self._some_pull()
        if pull is not None and not self.world.github.refusal(pull):
            self.world.github.merge(pull, "alex")

    def _toggle_auto_merge(self) -> None:
        pull = self._some_pull()
        if pull is not None:
            if pull.auto_merge == BOT:
                self._switched_off.add(pull.number)
            pull.auto_merge = "" if pull.auto_merge else "alex"
            self.world.github.settle()

    def _roll_back(self) -> None:
        environment, model = self.chance.choice(list(self.policies)), self.chance.choice(MODELS)
        self._go_back(environment, model, by="alex")

    def _promote_by_hand(self) -> None:
        model = self.chance.choice(MODELS)
        self._ask(Promote(environment="prod", by=Actor("alex", github="alex"), model=model), "person")

    def _note_who_promoted(self, model: str) -> None:
        """Note that a person asked for what is proposed to prod: also where a policy had proposed the same."""
        self._notice()
        served = self.world.serves("dev", model)
        if served is None:
            return
        for number, pull in self.world.github.pulls.items():
            found = self._contents.get(number)
            if (
                pull.is_open
                and found
                and found[-1].digest == served.digest
                and pull.branch == f"promobot/prod/{model}"
            ):
                self._by[number] = "person"
                self._fact("prod", model, "asked", self.world.versions[model, served.version].entry)

    def _lift(self) -> None:
        environment = self.chance.choice(list(self.policies))
        with self.world.ports.undisturbed():
            ledger = self.world.platform(environment).ledger
            found = list(ledger.quarantined().values())
            if not found:
                return
            event = self.chance.choice(found)
            ledger.lift_quarantine(event, reason="looked at it", by="alex")
        self._fact(environment, event.model, "lifted", self.world.versions[event.model, event.version].entry)
        self._fates[event.model, event.version] = "good"
        if environment == "dev":
            request = Propose(
                environment="dev", by=Actor("alex", github="alex"), model=event.model, version=event.version
            )
            self._ask(request, "person")

    # --- what goes wrong ---------------------------------------------------------------------------------------

    def _github_goes(self) -> None:
        faults = self.world.ports.faults
        self.world.ports.faults = replace(faults, github_away=True, lost=0.0)
        self.found.counted["times that GitHub was away"] += 1

        def back() -> None:
            self.world.ports.faults = replace(self.world.ports.faults, github_away=False)

        self._in(back, hours=self.chance.uniform(0.2, 9))

    def _new_watches(self) -> None:
        """End all watches, and begin anew; they may be gone for a while."""
        self._memories.clear()

    # --- watches -----------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        """Let watches look right behind what happened, now and then."""
        if self.chance.random() < 0.5:
            self._in(lambda: self._look_around(again=False), seconds=self.chance.uniform(1, 90))

    def _look_around(self, *, again: bool = True) -> None:
        """Let one or two watches of each environment look, side by side."""
        if again:
            self._in(self._look_around, minutes=self.chance.uniform(40, 80))
        faults = self.world.ports.faults
        rough = not self._is_calm and self.chance.random() < 0.3
        self.world.ports.faults = replace(
            faults,
            dies=self.chance.choice((0.01, 0.05)) if rough else 0.0,
            lost=0.05 if rough else 0.0,
            slack_away=not self._is_calm and self.chance.random() < 0.05,
        )
        jobs = [
            lambda name=name, number=number: self._look(name, number)
            for name in self.policies
            for number in range(self.chance.choice((1, 1, 2)))
        ]
        self._is_looking = True
        known, theirs = set(self.world.github.pulls), self._of_people()
        self.world.ports.side_by_side(jobs)
        self._is_looking = False
        self.world.ports.faults = replace(faults, dies=0.0, lost=0.0)
        for number in sorted(set(self.world.github.pulls) - known):
            self._opened(self.world.github.pulls[number])
        self._see_that_it_was_left_alone(theirs)
        self.world.github.settle()

    def _look(self, environment: str, number: int) -> None:
        memory = self._memories.setdefault((environment, number), Memory())
        self.found.counted["looks"] += 1
        try:
            looked = self._watch(environment, memory)
        except Dies:
            self._memories.pop((environment, number), None)
            self.found.counted["processes that died"] += 1
        except PromobotError as error:
            self.say(f"   the look failed: {error}")
        except Exception:  # noqa: BLE001 - a bug of the bot, in a process of its own
            self.found.wrong.append(f"{self.world.clock.now}: the watch of {environment}: {traceback.format_exc()}")
        else:
            self._told[environment] = list(looked.policies)
            if not self.world.ports.faults.github_away:
                self._looked[environment] = self.world.clock.now

    def _watch(self, environment: str, memory: Memory) -> Any:
        platform: Any = self.world.platform(environment)
        sources: Any = self.world.platform
        return watch(
            platform,
            memory,
            put_back=lambda *_: "",
            say=print_not,
            now=self.world.clock.now,
            doors=Doors(sources, command._promote),
        )

    def _of_people(self) -> dict[int, tuple[str, str]]:
        """Return what open pull requests of people propose, and the auto-merge that people enabled."""
        found = {}
        for number, pull in self.world.github.pulls.items():
            content = self._content(pull) if pull.is_open else None
            if content is not None:
                is_somebodys = self._by.get(number) in ("person", "training")
                theirs = pull.auto_merge if pull.auto_merge != BOT else ""
                found[number] = content.digest if is_somebodys else "", theirs
        return found

    def _see_that_it_was_left_alone(self, before: dict[int, tuple[str, str]]) -> None:
        """Expect that looks changed nothing that is a person's."""
        now, after = self.world.clock.now, self._of_people()
        for number, (digest, auto_merge) in before.items():
            pull = self.world.github.pulls[number]
            if not pull.is_open:
                continue
            if after.get(number, ("", ""))[0] != digest:
                self.found.wrong.append(f"{now}: a policy changed #{number} ({pull.title}), which is a person's")
            if auto_merge and pull.auto_merge != auto_merge:
                self.found.wrong.append(f"{now}: a policy took auto-merge off #{number}, which a person had put on")

    # --- what the rules say ------------------------------------------------------------------------------------

    def _kind(self, pull: Pull) -> Any:
        scope = scope_of(pull.branch)
        if scope is None or pull.author != BOT or scope.kind == "retirement":
            return "other"
        return scope.kind

    def _as_proposed(self, pull: Pull, at: datetime) -> Proposed | None:
        scope = scope_of(pull.branch)
        contents = [one for one in self._contents.get(pull.number, ()) if one.since <= at]
        if scope is None or not contents:
            return None
        it, by = contents[-1], self._by.get(pull.number, "bot")
        return Proposed(scope.environment, scope.model, it.version, it.digest, self._kind(pull), by, it.theirs)

    def _merged(self, pull: Pull) -> None:
        """Hold a merge to the rules, where it is the bot's; then main is deployed."""
        now = self.world.clock.now
        change = self._change(pull)
        if change is None:
            return
        self.say(f"   #{pull.number} {pull.title} merged by {pull.merged_by}")
        if pull.merged_by == BOT:
            self.found.counted["merges by policy"] += 1
            self._judge_merge(pull, now)
        else:
            self.found.counted["merges by people"] += 1
        self._in(lambda: self._deploy(change.environment), minutes=self.chance.uniform(1, 20))
        self._look_soon()

    def _judge_merge(self, pull: Pull, now: datetime) -> None:
        scope = scope_of(pull.branch)
        name = scope.environment if scope else ""
        proposed = self._as_proposed(pull, now)
        if scope is None or proposed is None:
            self.found.wrong.append(f"{now}: #{pull.number} is not the bot's, and the bot merged it")
            return
        why = why_not_merge(self.policies[name], self.facts, proposed, now)
        if not why:
            return
        looked = self._looked.get(name)
        before = self._as_proposed(pull, looked) if looked else None
        by_github = not self._is_looking and looked is not None and before is not None
        if by_github and not why_not_merge(self.policies[name], self.facts, before, looked):
            # GitHub merged it by itself between two looks: nobody could know sooner.
            self.found.counted["merges by GitHub before a look could take them back"] += 1
            return
        self.found.wrong.append(f"{now}: #{pull.number} ({pull.title}) was merged by policy: {why}")

    def _opened(self, pull: Pull) -> None:
        """Hold a pull request that a look opened to the rules."""
        now, scope = self.world.clock.now, scope_of(pull.branch)
        if scope is None or scope.kind != "proposal":
            self._by[pull.number] = "bot"
            return
        self._by[pull.number] = "policy"
        self.found.counted["proposals by policy"] += 1
        content = self._content(pull)
        digest = content.digest if content else ""
        self.say(f"   policy opens #{pull.number} {pull.title}")
        if why := why_not_carry(self.policies[scope.environment], self.facts, scope.model, digest, now):
            self.found.wrong.append(f"{now}: #{pull.number} ({pull.title}) was proposed by policy: {why}")

    # --- deployments -------------------------------------------------------------------------------------------

    def _converge(self, platform: Any, **_: Any) -> Deployed:
        """Stand in for the deployment that a watch begins."""
        self.found.counted["deployments by a watch"] += 1
        return self._deploy(platform.environment)

    def _deploy(self, environment: str) -> Deployed:
        """Make what is served what main asks for, as far as the bot's own rules admit it."""
        done: list[DeploymentRecord] = []
        with self.world.ports.undisturbed():
            platform: Any = self.world.platform(environment)
            asked = self.world.asked(environment)
            wanted = []
            for model in sorted({*asked.models, *self.world.routes[environment].models}):
                target, entry = self.world.serves(environment, model), asked.models.get(model)
                if (target and (target.version, target.digest)) != (entry and (entry.version, entry.digest)):
                    before = self.world.versions[model, target.version].entry if target else None
                    wanted.append(Change(environment, "models", model, before, entry))
            admitted = admit_all(Past(platform), wanted)
            held = held_among(admitted)
            for change, admission in admitted.items():
                if admission.held is None:
                    done.append(self._release(platform, change))
        self._follow(environment)
        if not self.world.ports.faults.github_away:
            renew_proposals(platform, say=print_not)
        self.world.github.settle()
        return Deployed(environment, self.world.git.branches["main"], tuple(done), tuple(held))

    def _release(self, platform: Platform, change: Change) -> DeploymentRecord:
        environment, entry = change.environment, change.after
        assert entry is not None
        records = [one for one in platform.ledger.deployments() if one.slot == change.slot]
        is_way_back = undoes(records, change)
        fate = "good" if is_way_back else self._fates[change.model, entry.version]
        if fate == "breaches" and change.before is None:
            fate = "good"
        outcome: Any = {"fails": "failed", "put back": "put back"}.get(fate, "succeeded")
        record = self._record(change, outcome, way_back=is_way_back)
        platform.ledger.add_deployment(record)
        self.found.counted["deployments"] += 1
        if outcome == "succeeded":
            self.world.switch(environment, change.model, entry)
            if is_way_back:
                self._fact(environment, change.model, "went back", entry)
                if change.before is not None:
                    self._quarantine(platform, change, change.before, record)
                return record
            self._fact(environment, change.model, "served", entry, by_somebody=self._somebody_asked(change))
            if self.policies[environment].bakes:
                if fate == "breaches":
                    self._in(lambda: self._breach(change), hours=self.chance.uniform(0.1, 3))
                else:
                    self._in(lambda: self._bake(change, record), hours=self.chance.uniform(0.5, 6))
            elif fate == "breaches":
                self._in(lambda: self._go_back(environment, change.model, by="alex", only=entry.digest), hours=5)
            return record
        self._fact(environment, change.model, "failed" if outcome == "failed" else "put back", entry)
        self._quarantine(platform, change, entry, record)
        if change.before is not None:
            revert = Revert(change.model, change.before, "", "", Asking())
            self._reverts.append((environment, revert, entry))
        return record

    def _somebody_asked(self, change: Change) -> bool:
        """Whether it was not a policy that proposed what goes into service: a person, or a training job."""
        assert change.after is not None
        own = self.facts.of(change.environment, change.model)
        if any(one.what == "asked" and one.digest == change.after.digest for one in own):
            return True
        for pull in reversed(self.world.github.pulls.values()):
            found, scope = self._contents.get(pull.number), scope_of(pull.branch)
            is_here = scope is not None and (scope.environment, scope.model) == (change.environment, change.model)
            if is_here and pull.merged_at and found and found[-1].digest == change.after.digest:
                return self._by.get(pull.number) != "policy"
        return False

    def _record(self, change: Change, outcome: Any, *, way_back: bool, reason: str = "") -> DeploymentRecord:
        self._turns[change.environment] += 1
        now = self.world.clock.now
        serving = change.after if outcome == "succeeded" else change.before
        holds = outcome == "succeeded"
        return DeploymentRecord(
            id=f"{change.environment}-{self._turns[change.environment]:08d}-{change.model}",
            environment=change.environment,
            section="models",
            model=change.model,
            before=change.before,
            after=change.after,
            commit=self.world.git.branches["main"],
            started_at=now,
            finished_at=now,
            outcome=outcome,
            serving=serving,
            criteria=tuple(Criterion(name=name, holds=holds, at=now, proof="simulated") for name in CRITERIA),
            steps=(),
            problem="" if holds else "simulated",
            way_back=way_back,
            reason=reason,
            quarantined=not holds,
        )

    def _quarantine(self, platform: Platform, change: Change, entry: Entry, record: DeploymentRecord) -> None:
        release = entry.in_slot(change.slot)
        platform.ledger.put_in_quarantine(release, reason="simulated", by="promobot deploy", deployment=record.id)
        self._fact(change.environment, change.model, "quarantined", entry)

    def _bake(self, change: Change, record: DeploymentRecord) -> None:
        target = self.world.serves(change.environment, change.model)
        if change.after is None or target is None or target.digest != change.after.digest:
            return
        newest = [
            one for one in self.world.platform(change.environment).ledger.deployments() if one.slot == change.slot
        ]
        if [one.id for one in newest if one.outcome == "succeeded"][-1] != record.id:
            return
        with self.world.ports.undisturbed():
            note = RolloutNote(rollout=record.id, what="baked", at=self.world.clock.now, by="simulated")
            self.world.platform(change.environment).ledger.note_rollout(note)
        self._fact(change.environment, change.model, "baked", change.after)

    def _breach(self, change: Change) -> None:
        assert change.after is not None
        self._go_back(change.environment, change.model, by="promobot watch", only=change.after.digest)

    def _go_back(self, environment: str, model: str, *, by: str, only: str = "") -> None:
        """Go back at once, as a breach and a person do: the runtime first, then a revert that main has to follow."""
        target = self.world.serves(environment, model)
        if target is None or (only and target.digest != only):
            return
        with self.world.ports.undisturbed():
            platform = self.world.platform(environment)
            slot = Slot(environment, model, Lane.LIVE)
            leaves = self.world.versions[model, target.version].entry
            records = [one for one in platform.ledger.deployments() if one.slot == slot]
            verified = [entry for _, entry in verified_entries(records, slot)]
            entry = choose(verified, leaves=leaves, quarantined=platform.ledger.quarantined().keys(), to_version=None)
            if entry is None:
                return
            change = Change(environment, "models", model, leaves, entry)
            record = self._record(change, "succeeded", way_back=undoes(records, change), reason="it was worse")
            platform.ledger.add_deployment(record)
            self.world.switch(environment, model, entry)
            own = self.facts.of(environment, model)
            if goes_back(own, leaves.digest, entry.digest):
                self._fact(environment, model, "went back", entry)
            else:
                # Somebody brings it back themselves, which is a decision of theirs.
                self._fact(environment, model, "served", entry, by_somebody=True)
            self._quarantine(platform, change, leaves, record)
        self._reverts.append((environment, Revert(model, entry, "it was worse", by, Asking()), leaves))
        self._follow(environment)

    def _follow(self, environment: str) -> None:
        """Open the reverts that wait for GitHub; whoever deploys next tries again."""
        waiting, self._reverts = self._reverts, []
        for name, revert, left in waiting:
            asks = self.world.asked(name).models.get(revert.model)
            if name != environment or (self.world.ports.faults.github_away and not self._is_calm):
                self._reverts.append((name, revert, left))
                continue
            if asks is None or asks.digest != left.digest:
                continue
            platform: Any = self.world.platform(name)
            try:
                with self.world.ports.undisturbed():
                    propose_way_back(
                        *(platform, platform.repository(), revert),
                        current=asks,
                        asks=None,
                        is_back=True,
                        say=print_not,
                    )
            except PromobotError:
                self._reverts.append((name, revert, left))  # as the note of it stays on the share

    # --- in the end --------------------------------------------------------------------------------------------

    def _see_that_nothing_waits(self) -> None:
        now = self.world.clock.now
        before = now - BEFORE_THE_END
        for pull in self.world.github.pulls.values():
            proposed = self._as_proposed(pull, now)
            if not pull.is_open or proposed is None or self.world.github.refusal(pull):
                continue
            policy = self.policies[proposed.environment]
            if not why_not_merge(policy, self.facts, proposed, before) and pull.number not in self._switched_off:
                self.found.wrong.append(f"{now}: #{pull.number} ({pull.title}) waits, and nothing forbids its merge")
            told = self._told.get(policy.environment, ())
            if policy.merges and not any(one.pull_request == pull.number and one.said for one in told):
                self.found.wrong.append(f"{now}: nobody says why #{pull.number} ({pull.title}) waits")
        for policy in self._each():
            for model in MODELS:
                self._see_that_it_goes_on(policy, model, before)
                self._see_that_it_is_served(policy, model)

    def _see_that_it_goes_on(self, policy: Policy, model: str, now: datetime) -> None:
        digest = must_carry(policy, self.facts, model, now) if policy.carries else ""
        if not digest:
            return
        asks = self.world.asked(policy.environment).models.get(model)
        if asks is not None and asks.digest == digest:
            return
        for pull in self.world.github.pulls.values():
            scope = scope_of(pull.branch)
            is_here = scope is not None and (scope.environment, scope.model) == (policy.environment, model)
            if is_here and pull.is_open:
                return  # one pull request for each model: this one comes first
            found = self._contents.get(pull.number)
            if is_here and found and found[-1].theirs and not pull.merged_at:
                return  # a person's work is left on its branch, which nobody but a person may drop
        self.found.wrong.append(f"{now}: {policy.environment} {model} {digest[7:15]} waits to be proposed for ever")

    def _see_that_it_is_served(self, policy: Policy, model: str) -> None:
        asks = self.world.asked(policy.environment).models.get(model)
        target = self.world.serves(policy.environment, model)
        if asks is None or (target is not None and target.digest == asks.digest):
            return
        platform: Any = self.world.platform(policy.environment)
        change = Change(policy.environment, "models", model, None, asks)
        held = held_among(admit_all(Past(platform), [change]))
        if not held:
            self.found.wrong.append(
                f"{self.world.clock.now}: {policy.environment} {model} {asks.version} waits to be deployed for ever"
            )


def settings_of(policy: Policy) -> Environment:
    """Return the environment file of a policy, as the bot reads it."""
    here: dict[str, Any] = {
        "model_repository": f"/srv/{policy.environment}",
        "state": f"/srv/{policy.environment}-state",
    }
    document: dict[str, Any] = {
        "environment": policy.environment,
        "github": {"repository": "acme/models"},
        "mlflow": {"uri": "https://mlflow.example"},
        "staging": {
            "triton": {"name": "triton-staging", "grpc": "triton:8001"},
            "share": {"model_repository": "/srv/staging", "state": "/srv/staging-state"},
        },
        "share": here,
        "tritons": [{"name": "triton-1", "grpc": "triton:8001"}],
        "gateways": [{"name": "gateway-1", "url": "http://gateway:8000"}],
        "records": "/srv/records",
        "slack": {"channel": "C0RELEASES"},
        "gates": {"default": {"metrics": {"accuracy": {"minimum": 0.5}}}},
        "packages": {"backends": ["onnxruntime"], "file_types": [".onnx"]},
        "freezes": [
            {"start": start.isoformat(), "end": end.isoformat(), "reason": "stocktaking"}
            for start, end in policy.freezes
        ],
    }
    if policy.bakes:
        document["rollout"] = {"default": {"bake": {"minutes": 30, "min_requests": 10}}}
    document |= _of_policy(policy)
    return Environment.model_validate(document)


def _of_policy(policy: Policy) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if policy.merges:
        found["merge"] = {"when": "checks pass"}
        if policy.after_clean is not None:
            found["merge"]["after_clean"] = policy.after_clean
    if policy.carries:
        hours = int(policy.after / timedelta(hours=1))
        found["promotes_from"] = {"environment": policy.source, "when": "baked" if policy.only_baked else "verified"}
        if hours:
            found["promotes_from"]["after"] = f"{hours}h"
    elif policy.source:
        found["promotes_from"] = policy.source
    if policy.windows:
        found["windows"] = [str(window) for window in policy.windows]
    return found


def lives(seeds: Sequence[int], days: float, *, processes: int = 1) -> list[Found]:
    """Live a life for each seed; return what each showed."""
    if processes == 1:
        return [Life(seed, days).live() for seed in seeds]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(_live, seeds, itertools.repeat(days), chunksize=4))


def _live(seed: int, days: float) -> Found:
    return Life(seed, days).live()


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print what was counted and what is wrong, and say whether every rule held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulations.policies", description=__doc__)
    parser.add_argument("--days", type=int, default=5000, help="simulated days in all; default 5000")
    parser.add_argument("--life", type=float, default=25, help="days of one life before its calm; default 25")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the first life; default 1")
    parser.add_argument("--processes", type=int, default=1, help="lives at the same time; default 1")
    parser.add_argument("--tell", action="store_true", help="tell the first life, step by step")
    given = parser.parse_args(argv)
    began = time.monotonic()
    if given.tell:
        found = [Life(given.seed, given.life, say=print).live()]
    else:
        seeds = range(given.seed, given.seed + max(1, round(given.days / given.life)))
        found = lives(seeds, given.life, processes=given.processes)
    counted: Counter[str] = Counter()
    for one in found:
        counted.update(one.counted)
    days = sum(one.days for one in found)
    print(f"{days:.0f} days in {len(found)} lives, {time.monotonic() - began:.0f} s")
    for what, count in sorted(counted.items()):
        print(f"{count:8} {what}")
    for one in found:
        for said in one.wrong:
            print(f"seed {one.seed}: {said}")
    wrong = sum(len(one.wrong) for one in found)
    print(f"{wrong} against the rules")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
