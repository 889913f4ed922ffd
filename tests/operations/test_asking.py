"""How often policies ask GitHub, by a clock of the test: seldom, at once where something is new, and later each time
that GitHub does not merge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from bot.domain.desired import Change
from bot.domain.policy import Candidate, Decided, Standing
from bot.domain.windows import Closed
from bot.errors import Unavailable
from bot.operations.policies import ASK_EVERY, Memory, Ports, merges
from bot.records.ledger import PolicyNote
from bot.settings import Merge
from bot.systems.github import Asked, Listed, PullRequest
from tests.domain.entries import entry

BEGAN = datetime(2026, 11, 2, 9, tzinfo=UTC)
HEAD = "a" * 40
PULL = PullRequest(
    number=7,
    url="https://github.example/7",
    title="Promote churn to 4 in dev",
    body="",
    state="open",
    merged=False,
    branch="promobot/dev/churn",
    head=HEAD,
    base="b" * 40,
    author="promobot[bot]",
)
CANDIDATE = Candidate(
    number=7,
    head=HEAD,
    kind="proposal",
    changes=(Change("dev", "models", "churn", entry(3), entry(4)),),
    by_the_bot=True,
    was_asked=True,
    checked="green",
)
STANDING = Standing(
    environment="dev", rule=Merge(when="checks pass"), records=(), quarantined=(), requires_verdict=True
)


@dataclass
class GitHub:
    """GitHub, where one pull request is open; ``answers`` to what it is asked to merge."""

    pull: PullRequest = PULL
    answers: list[Asked | Exception] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    away: bool = False

    def login(self) -> str:
        return "promobot[bot]"

    def list_open(self, *, prefix: str, known: Listed | None = None) -> Listed:
        self.asked["list"] += 1
        if self.away:
            raise Unavailable("no connection", system="GitHub (acme/models)")
        assert self.pull.branch.startswith(prefix) and (known is None or known.pulls)
        return Listed((self.pull,))

    def pull_request(self, number: int) -> PullRequest:
        self.asked["one"] += number == self.pull.number
        return self.pull

    def required_checks(self) -> frozenset[str]:
        self.asked["rules"] += 1
        return frozenset({"Verdict"})

    def merge_when_allowed(self, number: int, *, head: str, title: str) -> Asked:
        assert (number, head, title) == (7, self.pull.head, "Promote churn to 4 in dev (#7)")
        self.asked["merge"] += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop_merging(self, number: int) -> bool:
        self.asked["stop"] += number
        return True

    def put_comment(self, number: int, body: str, *, marker: str) -> str:
        assert number == 7 and body.startswith(marker)
        self.asked["comment"] += 1
        return "https://github.example/7#1"


@dataclass
class Records:
    """The record store."""

    notes: list[PolicyNote] = field(default_factory=list)
    newest: str = "dev-00000001-churn"

    def policy_notes(self, pull_request: int) -> list[PolicyNote]:
        return [note for note in self.notes if note.pull_request == pull_request]

    def note_policy(self, note: PolicyNote) -> None:
        self.notes.append(note)

    def pull_requests_of_policies(self) -> list[int]:
        return sorted({note.pull_request for note in self.notes})

    def newest_deployment(self) -> str:
        return self.newest


@dataclass
class Scene:
    """One watch, which looks when the test says so."""

    github: GitHub = field(default_factory=GitHub)
    records: Records = field(default_factory=Records)
    memory: Memory = field(default_factory=Memory)
    standing: Standing = STANDING
    candidate: Candidate = CANDIDATE
    held: str = ""

    def look(self, seconds: float) -> tuple[Decided, ...]:
        ports = Ports(
            environment="dev",
            base="main",
            newest=self.records.newest,
            forge=self.github,
            notes=self.records,
            standing=lambda: self.standing,
            describe=lambda pull, _: replace(self.candidate, head=pull.head),
            would_be_held=lambda _: self.held,
        )
        return merges(ports, self.memory, say=lambda _: None, now=BEGAN + timedelta(seconds=seconds))


def test_github_is_asked_every_thirty_seconds_at_most_and_at_once_after_a_deployment() -> None:
    scene = Scene(candidate=replace(CANDIDATE, checked="not yet"))
    for second in range(0, 61, 5):
        scene.look(second)
    assert scene.github.asked == {"list": 3}, "nothing else is asked of what may not merge"
    scene.records.newest = "dev-00000002-churn"
    scene.look(61)
    scene.look(62)
    assert scene.github.asked == {"list": 4}


def test_it_is_asked_at_once_where_a_freeze_ends() -> None:
    scene = Scene(standing=replace(STANDING, shut=Closed("freeze", "x", BEGAN, BEGAN + timedelta(seconds=12))))
    (held,) = scene.look(0)
    assert held.until == BEGAN + timedelta(seconds=12) and scene.look(11) == (held,)
    scene.standing, scene.github.answers = STANDING, ["merged"]
    (done,) = scene.look(12)
    assert done.state == "done" and timedelta(seconds=12) < ASK_EVERY


def test_what_github_does_not_merge_is_asked_for_later_each_time() -> None:
    scene = Scene(github=GitHub(answers=["unstable"] * 20))
    asked = []
    for second in range(0, 3600, 30):
        before = scene.github.asked["merge"]
        (due,) = scene.look(second)
        assert due.state == "due"
        asked += [second] if scene.github.asked["merge"] > before else []
    assert asked[:6] == [0, 30, 90, 210, 510, 1110] and len(asked) <= 10
    assert scene.github.asked["rules"] == len(asked), "nor are the rules of the branch asked meanwhile"
    assert [note.what for note in scene.records.notes] == ["asking"] and scene.github.asked["comment"] == 1
    scene.github.pull = replace(PULL, head="c" * 40)
    scene.github.answers = ["merged"]
    assert scene.look(3601 + 30)[0].state == "done", "another commit is another question"


def test_a_refusal_waits_as_well_and_is_told_meanwhile() -> None:
    away = Unavailable("no connection", system="GitHub (acme/models)")
    scene = Scene(github=GitHub(answers=[away, "on"]))
    (first,) = scene.look(0)
    assert first.state == "waits" and "no connection" in first.said
    assert scene.look(5) == (first,) == scene.look(29)
    assert scene.look(30)[0].state == "due" and scene.github.asked["merge"] == 2


def test_what_is_held_is_not_asked_for_even_while_it_is_put_off() -> None:
    scene = Scene(github=GitHub(answers=["unstable"]))
    scene.look(0)
    scene.candidate = replace(CANDIDATE, people=("1a2b by eve",))
    (held,) = scene.look(30)
    assert held.state == "held" and scene.github.asked["merge"] == 1


def test_what_a_deployment_would_refuse_is_not_asked_for() -> None:
    scene = Scene(held="churn: a Triton has no room for it")
    (held,) = scene.look(0)
    assert held.said == "does not merge by itself: a deployment would hold it: churn: a Triton has no room for it"
    assert not scene.records.notes and scene.github.asked["merge"] == 0


def test_a_list_that_lags_behind_neither_hides_what_is_on_nor_is_taken_for_a_person() -> None:
    scene = Scene(github=GitHub(answers=["on"]))
    scene.look(0)
    on = replace(PULL, auto_merge_by="promobot[bot]")

    class Lags(GitHub):
        def pull_request(self, number: int) -> PullRequest:
            self.asked["one"] += number == 7
            return on

    scene.github = Lags()
    assert scene.look(30)[0].state == "due" and not scene.memory.switched_off
    scene.candidate = replace(CANDIDATE, people=("1a2b by eve",))
    (off,) = scene.look(60)
    assert off.state == "held" and scene.github.asked["stop"] == 7
    assert [note.what for note in scene.records.notes] == ["asking", "on", "taken back"]


def test_while_github_is_away_it_is_asked_again_after_as_long() -> None:
    scene = Scene(github=GitHub(away=True, answers=["merged"]))
    for second in (0, 5, 29, 30):
        (waits,) = scene.look(second)
        assert (waits.state, waits.pull_request) == ("waits", None)
    assert scene.github.asked["list"] == 2
    scene.github.away = False
    assert scene.look(60)[0].state == "done"


def test_where_nothing_merges_by_itself_nobody_is_asked_unless_something_may_be_left_on() -> None:
    scene = Scene(standing=replace(STANDING, rule=None))
    assert scene.look(0) == () == scene.look(30) and not scene.github.asked
    scene = Scene(github=GitHub(answers=["on"]))
    scene.look(0)
    scene.github.pull = replace(PULL, auto_merge_by="promobot[bot]")
    scene.standing = replace(STANDING, rule=None)
    (off,) = scene.look(30)
    assert off.said.startswith("no longer merges by itself") and scene.github.asked["stop"] == 7
    scene.github.pull = PULL
    before = scene.github.asked["list"]
    assert scene.look(60) == () == scene.look(90) and scene.github.asked["list"] <= before + 1
