"""Where a deployment comes from: kept beside its record, without keeping anybody waiting."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from bot.domain.desired import Change, Entry
from bot.domain.metrics import Measured
from bot.domain.origin import Origin
from bot.domain.record import DeploymentRecord
from bot.domain.scope import fingerprint
from bot.errors import NotRegistered, Unavailable
from bot.operations.origins import LookUp, is_of, note_origins
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger, PolicyNote, Proposer
from bot.settings import Deadlines
from bot.systems.github import Approval, PullRequest
from bot.systems.mlflow import RegisteredVersion
from tests.domain.entries import a_record, entry
from tests.operations.world import HTTP, Registered, World
from tests.stand_ins.recording import Link

AT = datetime(2026, 11, 12, 9, 0, tzinfo=UTC)


def released(world: World, registered: Registered) -> int:
    """Propose, check, approve and merge a version; return the pull request's number."""
    asked = world.bot("propose", registered.model, registered.version, "--env", "dev", env={"GITHUB_ACTOR": "alex"})
    number = int(asked.document["pull_request"])
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    reviews = f"{world.endpoints.forge}/api/v3/repos/{world.endpoints.repository}/pulls/{number}/reviews"
    token = {"Authorization": f"Bearer {world.endpoints.secrets.people['sam']}"}
    commit = world.pull(number)["head"]["sha"]
    said = {"event": "APPROVE", "body": "so", "commit_id": commit}
    HTTP.post(reviews, json=said, headers=token).raise_for_status()
    world.merge(number)
    return number


def origins(world: World, model: str) -> list[Origin | None]:
    """Where the deployments of a model come from, oldest first."""
    return [one.origin for one in world.ledger("dev").with_origins(world.records(model))]


def test_a_release_tells_who_registered_proposed_approved_and_merged_it_and_when(world: World) -> None:
    model = world.model()
    before = datetime.now(UTC)
    number = released(world, world.register(model))
    done = world.deploy()
    assert done.code == 0, done
    (origin,) = origins(world, model)
    assert origin is not None and origin.url == world.pull(number)["html_url"]
    people = origin.pull_request, origin.proposed_by, origin.approved_by, origin.merged_by, origin.by_policy
    assert people == (number, "alex", "sam", "alex", False)
    # GitHub tells by the second.
    times = [origin.opened_at, origin.approved_at, origin.merged_at]
    assert all(one is not None and one >= before.replace(microsecond=0) for one in times)
    assert origin.registered_at is not None and before - timedelta(seconds=1) <= origin.registered_at
    (record,) = world.records(model)
    (written,) = world.endpoints.directory.rglob(f"deployments/dev/{record.id}.json")
    assert "origin" not in written.read_text(), "a reader of before finds the record as it was"
    (told,) = done.document["records"]
    assert told["origin"]["pull_request"] == number

    words = world.words("history", "show", record.id).out
    for line in (
        "comes from:",
        "registered in MLflow 20",
        f"#{number} http",
        "proposed by alex 20",
        "approved by sam",
    ):
        assert line in words, words
    assert world.bot("history", "show", record.id).document["origin"]["merged_by"] == "alex"
    (listed,) = world.bot("history", model, "--env", "dev").document["records"]
    assert listed["origin"]["pull_request"] == number
    assert world.deploy().code == 0 and origins(world, model) == [origin]


def test_what_github_cannot_tell_is_left_out_and_said_and_the_next_deployment_asks_again(world: World) -> None:
    model = world.model()
    number = released(world, world.register(model))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        world.configure("dev", github={"api_url": f"http://127.0.0.1:{nobody.getsockname()[1]}/api/v3"})
        done = world.words("deploy", "--env", "dev")
    assert (done.code, world.version(model)) == (0, 1), done
    assert (
        "where the newest releases come from is not known yet, the next deployment asks again: GitHub (" in done.err
    )
    assert origins(world, model) == [None]
    world.configure("dev", github={"api_url": f"{world.endpoints.forge}/api/v3"})
    assert world.deploy().code == 0
    (origin,) = origins(world, model)
    assert origin is not None and origin.pull_request == number


def test_main_that_was_changed_by_hand_comes_from_no_pull_request(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    (origin,) = origins(world, model)
    assert origin is not None and origin.registered_at is not None
    assert origin == Origin(registered_at=origin.registered_at)
    (record,) = world.records(model)
    assert (
        "no pull request asked for it: main was changed without one" in world.words("history", "show", record.id).out
    )


def test_a_rollback_at_once_asks_github_nothing_more_and_says_who_asked(world: World) -> None:
    model = world.model()
    released(world, world.register(model))
    assert world.deploy().code == 0
    second = released(world, world.register(model, "better"))
    assert world.deploy().code == 0
    with Link(world.endpoints.forge) as link:
        world.configure("dev", github={"api_url": f"{link.url}/api/v3"})
        said = world.bot("rollback", model, "--env", "dev", "--now", "--by", "kim", "--reason", "wrong answers")
        assert said.code == 0, said
        asked = [one.path for one in link.recorder.exchanges]
    world.configure("dev", github={"api_url": f"{world.endpoints.forge}/api/v3"})
    assert not [path for path in asked if "reviews" in path], "nobody is asked who approved"
    world.merge(said.document["pull_request"])
    assert world.deploy().code == 0
    one, two, back = origins(world, model)
    assert one is not None and two is not None and two.pull_request == second != one.pull_request
    (record,) = world.records(model)[2:]
    assert back is not None and record.origin == back, "it stands in the record itself"
    assert (back.proposed_by, back.pull_request) == ("kim", None)
    assert back.asked_at is not None and back.asked_at <= record.finished_at
    assert "kim went back at once 20" in world.words("history", "show", record.id).out


def test_a_merged_revert_is_where_a_way_back_comes_from(world: World) -> None:
    model = world.model()
    first = released(world, world.register(model))
    assert world.deploy().code == 0
    released(world, world.register(model, "better"))
    assert world.deploy().code == 0
    number = world.bot("rollback", model, "--env", "dev").document["pull_request"]
    world.merge(number)
    assert world.deploy().code == 0
    back = origins(world, model)[-1]
    assert world.records(model)[-1].way_back and back is not None
    assert back.pull_request == number != first


def _deployed(number: int, after: Entry | None, minutes: float, **more: Any) -> DeploymentRecord:
    at = AT + timedelta(minutes=minutes)
    return a_record(after, number=number, at=at, finished_at=at + timedelta(seconds=30), **more)


@pytest.mark.parametrize(
    ("merged", "way_back", "expected"),
    [
        (9.9, False, True),
        (10.4, False, True),
        (10.6, False, False),  # after it ended
        (4.5, False, True),  # while the deployment before it was looking
        (3.0, False, False),  # it asked for the same once, before another one
        (4.5, True, False),
        (7.0, True, True),
        (None, False, False),
    ],
)
def test_what_was_merged_too_early_or_too_late_brought_nothing(
    merged: float | None, way_back: bool, expected: bool
) -> None:
    record = _deployed(3, entry(1), 10, way_back=way_back)
    records = [_deployed(1, entry(1), 0), _deployed(2, entry(2), 5), record, _deployed(4, entry(9), 11)]
    at = AT + timedelta(minutes=merged) if merged is not None else None
    assert is_of(at, record, records) is expected
    other = _deployed(2, entry(2), 9.95, model="fraud")
    assert is_of(AT + timedelta(minutes=9), record, [other, record]), "another model says nothing of it"


RECENT = RegisteredVersion("churn", 1, "READY", "", "", "", Measured(), {}, {}, "", registered_at=AT)


class Merged:
    """The merged pull requests: number 50 and the version of what each asked for."""

    def that_asked(self, change: Change, **_: int | None) -> PullRequest | None:
        version = change.after.version if change.after else 0
        at = AT + timedelta(minutes=10 * version - 1)
        pull = PullRequest(
            50 + version, f"https://g/{50 + version}", "", "", "closed", True, "b", "h", "b", "bot", at
        )
        return pull if version != 3 else None

    def changed(self, _: PullRequest) -> list[Change]:
        return []


class OneGitHub:
    """Knows one approval before each merge, and one after it."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def approvals(self, number: int) -> list[Approval]:
        merged = AT + timedelta(minutes=10 * (number - 50) - 1)
        self.asked.append(number)
        return [
            Approval("sam", "h", merged - timedelta(minutes=5)),
            Approval("kim", "h", merged + timedelta(minutes=5)),
        ]

    def pull_request(self, number: int) -> PullRequest:
        who = "alex" if number == 51 else "bot"
        return PullRequest(number, "", "", "", "closed", True, "b", "h", "b", "bot", merged_by=who)

    def login(self) -> str:
        return "bot"


def test_a_policy_had_it_merged_where_it_asked_for_it_until_the_end_and_no_person_merged_it(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records")
    store.begin()
    ledger = Ledger(store, "dev")
    platform: Any = SimpleNamespace(
        ledger=ledger, github=OneGitHub(), settings=SimpleNamespace(deadlines=Deadlines())
    )
    steps: dict[int, tuple[Literal["on", "merged", "taken back"], ...]] = {
        1: ("on",),  # a person was faster
        2: ("on",),
        4: ("on", "taken back"),  # somebody merged it with the bot's login, as from Slack
        5: ("merged",),
        6: (),
    }
    for version, done in steps.items():
        for number, what in enumerate(done):
            at = AT + timedelta(seconds=number)
            ledger.note_policy(
                PolicyNote(pull_request=50 + version, head="h", what=what, why="five clean releases", at=at, by="w")
            )
    records = [_deployed(version, entry(version), 10 * version) for version in steps]
    found = note_origins(platform, records, Merged, lambda *_: RECENT, say=pytest.fail)  # type: ignore[arg-type]
    by_policy = {int(id_.split("-")[1]): origin.by_policy for id_, origin in found.items()}
    assert by_policy == {1: False, 2: True, 4: False, 5: True, 6: False}


def test_the_next_deployment_asks_for_all_that_lack_their_origin(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records")
    store.begin()
    ledger, github = Ledger(store, "dev"), OneGitHub()
    platform: Any = SimpleNamespace(ledger=ledger, github=github, settings=SimpleNamespace(deadlines=Deadlines()))
    again = _deployed(5, entry(4), 50, before=entry(4))
    at_once = _deployed(6, entry(3), 60, before=entry(4), origin=Origin(asked_at=AT))
    records = [_deployed(n, entry(n), 10 * n) for n in (1, 2, 3, 4)] + [again, at_once]
    said: list[str] = []
    alone = fingerprint([Change("dev", "models", "churn", None, entry(4))])
    for who in (Proposer(policy=True), Proposer(github="alex")):
        ledger.add_proposer(alone, who)

    def ask(registered: LookUp) -> dict[str, Origin]:
        return note_origins(platform, records, Merged, registered, say=said.append)  # type: ignore[arg-type]

    def away(model: str, version: int) -> RegisteredVersion:
        raise Unavailable("no connection", system="MLflow (http://mlflow)")

    assert ask(away) == {} and ledger.origins_known() == frozenset()
    failing = "where the newest releases come from is not known yet, the next deployment asks again"
    assert said == [f"{failing}: MLflow (http://mlflow): no connection"]

    def registered(model: str, version: int) -> RegisteredVersion:
        if version == 2:
            raise NotRegistered("there is no version 2 of churn", system="MLflow (http://mlflow)")
        found = RegisteredVersion(model, version, "READY", "", "", "", Measured(), {}, {}, "")
        return replace(found, registered_at=AT - timedelta(days=version))

    found = ask(registered)
    assert set(found) == ledger.origins_known() == {one.id for one in records[:4]}
    one, two, three, four, none, asked = [record.origin for record in ledger.with_origins(records)]
    assert one is not None and (one.pull_request, one.approved_by, one.merged_by) == (51, "sam", "alex")
    assert one.registered_at == AT - timedelta(days=1) and one.proposed_by == "bot"
    assert four is not None and four.proposed_by == "alex, the policy"
    assert two is not None and two.registered_at is None
    assert two.unknown == "when it was registered: MLflow (http://mlflow): there is no version 2 of churn"
    assert three == Origin(registered_at=AT - timedelta(days=3)), "no pull request asked for it"
    assert none is None and asked == at_once.origin
    assert ask(registered) == {} and sorted(github.asked[-3:]) == [51, 52, 54], "each is asked once"
