"""``promobot rehearse``: back and forth on real parts while users ask, and everything that keeps it from going."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from tests.operations.world import World

pytestmark = pytest.mark.slow


class Users:
    """They ask both gateways in turn until the block ends."""

    def __init__(self, world: World, model: str) -> None:
        self._world, self._model, self._stop = world, model, threading.Event()
        self.versions: list[int] = []
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        turn = 0
        while not self._stop.wait(0.005):
            turn += 1
            try:
                self.versions.append(self._world.ask(self._model, gateway=turn % 2).version)
            except AssertionError as error:
                self.failed.append(str(error))


@pytest.fixture
def model(world: World) -> str:
    """A model with two versions, of which the second is in service, in an environment that allows rehearsals."""
    name = world.model()
    world.configure("dev", rehearse=True)
    world.served(world.register(name))
    world.served(world.register(name, "better"))
    return name


def test_users_get_the_version_before_and_lose_no_request(world: World, model: str) -> None:
    other = world.model()
    world.served(world.register(other))
    with Users(world, model) as users:
        done = world.bot("rehearse", model, "--env", "dev", "--by", "sam")
    assert done.code == 0, done
    assert users.failed == [] and set(users.versions) == {1, 2} and users.versions[-1] == 2
    assert (done.document["version"], done.document["back_to"]) == (2, 1)
    back, forth = world.records(model)[-2:]
    assert (back.after and back.after.version, forth.after and forth.after.version) == (1, 2)
    assert [one.outcome for one in (back, forth)] == ["succeeded"] * 2
    assert [one.rehearsal for one in (back, forth)] == ["sam"] * 2 and not back.way_back
    assert world.quarantined(model) == [] and world.reverts(model) == [] and world.noted_reverts() == []
    assert [one["text"] for one in world.slack(model)][-2:] == [
        f"✅ {model} 1 is served in dev (was 2), in a rehearsal by sam.",
        f"✅ {model} 2 is served in dev (was 1), in a rehearsal by sam.",
    ]
    assert len(world.records(other)) == 1, "nothing else moves"
    again = world.deploy()
    assert again.code == 0 and again.document["records"] == []
    assert world.alias(model, "dev") == 2
    back_for_good = world.bot("rollback", model, "--env", "dev", "--now", "--reason", "users complain")
    assert back_for_good.code == 0 and world.version(model) == 1 and world.quarantined(model) == [2]


def test_a_rehearsal_is_no_release(world: World, model: str) -> None:
    before = world.promobot("report", "--env", "dev", "--since", "1d").document["environments"][0]["all"]
    assert world.bot("rehearse", model, "--env", "dev").code == 0
    assert world.promobot("report", "--env", "dev", "--since", "1d").document["environments"][0]["all"] == before


def test_a_gateway_that_is_away_keeps_it_from_going(world: World, model: str) -> None:
    records = len(world.records(model))
    world.kill("gateway-dev-2")
    refused = world.words("rehearse", model, "--env", "dev")
    assert refused.code == 1 and "not every Triton and gateway has what is routed" in refused.err, refused
    world.restart("gateway-dev-2")
    assert len(world.records(model)) == records and world.version(model) == 2


@pytest.mark.parametrize("what", ["not allowed", "freeze", "held", "rollout", "bake", "first", "unknown"])
def test_it_refuses(world: World, model: str, what: str) -> None:
    asked, said = model, ""
    match what:
        case "not allowed":
            world.configure("dev", rehearse=False)
            said = "allows no rehearsals"
        case "freeze":
            now = datetime.now(UTC)
            until = (now + timedelta(hours=1)).isoformat()
            freeze = {"start": (now - timedelta(hours=1)).isoformat(), "end": until, "reason": "holidays"}
            world.configure("dev", freezes=[freeze])
            said = "nothing new may go out now"
        case "held":
            world.desire(model, world.register(model, "best").entry)
            said = "users do not get what main says"
        case "rollout":
            world.configure("dev", rollout={model: {"steps": [50, 100]}})
            world.served(world.register(model, "first", note="three"))
            said = "is being rolled out"
        case "bake":
            asked = world.model()
            world.served(world.register(asked))
            world.configure("dev", rollout={asked: {"bake": {"minutes": 60, "max_error_rate": 0.1}}})
            world.served(world.register(asked, "better"))
            said = f"{asked} 2 bakes"
        case "first":
            asked = world.model()
            world.served(world.register(asked))
            said = "nothing"
        case "unknown":
            asked = world.model()
            said = "users do not get what main says"
    records = len(world.records(asked))
    refused = world.words("rehearse", asked, "--env", "dev")
    assert refused.code == 1 and said in refused.err + refused.out, refused
    assert len(world.records(asked)) == records
    if what != "rollout":  # there either version may answer
        assert world.version(model) == 2
