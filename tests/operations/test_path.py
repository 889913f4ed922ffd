"""``promotes_from: {environment, after, when}`` on the real parts: what the policy of prod proposes, and what not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot import environment_files
from bot.commands.watch import _promote
from bot.domain.policy import Decided
from bot.domain.scope import fingerprint
from bot.operations.path import ASK_EVERY, PAUSES, Doors, Memory, carry
from bot.operations.proposing import desired_at
from bot.platform import Platform
from bot.records.ledger import Ledger, RequestDone
from bot.sandbox.platform import BOT
from bot.systems.github import GitHubRepository
from tests.operations.test_github_away import _stopped
from tests.operations.world import Registered, World

RULE = {"environment": "dev", "after": "24h"}
DAY = timedelta(days=1)


@contextmanager
def opened(world: World) -> Iterator[Doors]:
    """Give the doors of a look, as the command does."""
    with ExitStack() as closing:

        def source(name: str) -> Platform:
            settings = environment_files.load_for_the_way_back(world.root, name)
            return closing.enter_context(Platform(settings, world.endpoints.variables(login=BOT)))

        yield Doors(source, _promote)


def look(
    world: World, memory: Memory | None = None, *, after: timedelta = 2 * DAY, at: datetime | None = None
) -> list[Decided]:
    """Have a watch of prod look, that much later, or then; return what it decided."""
    with opened(world) as doors, doors.sources("prod") as prod:
        now = at or datetime.now(UTC) + after
        found = carry(prod, doors, prod.ledger.deployments(), memory or Memory(), say=lambda _: None, now=now)
    return [*found]


def of(model: str, found: Sequence[Decided]) -> Decided | None:
    """Return what was decided of a model; others of the same sandbox have been here before."""
    return next((one for one in found if one.model == model), None)


def ready(world: World, recipes: Sequence[str] = ("first",), **rule: Any) -> tuple[str, list[Registered]]:
    """Serve versions of a model in dev, and have prod carry what is verified there for a day."""
    model = world.model()
    world.configure("prod", promotes_from={**RULE, **rule})
    return model, [world.served(world.register(model, recipe)) for recipe in recipes]


def proposal(world: World, model: str) -> dict[str, Any]:
    (pull,) = world.open_pulls(f"promobot/prod/{model}")
    return pull


def test_what_dev_verified_is_proposed_to_prod_after_its_time_and_once(world: World) -> None:
    model, (served,) = ready(world)
    (record,) = world.records(model)
    early = of(model, look(world, after=timedelta(hours=23)))
    assert early is not None and early.state == "held" and early.until == record.finished_at + DAY
    assert early.said == (
        f"{model} 1 is verified in dev since {record.finished_at:%Y-%m-%d %H:%M} UTC, 1d are asked for"
    )
    assert world.open_pulls(f"promobot/prod/{model}") == []

    memory = Memory()
    done = of(model, look(world, memory))
    pull = proposal(world, model)
    assert done is not None and (done.state, done.pull_request) == ("done", pull["number"])
    assert done.said == f"{model} 1 is proposed to prod: {pull['html_url']}"
    opened_by = (
        f"🤖 Opened by the policy of prod: dev serves {model} 1, verified since "
        f"{record.finished_at:%Y-%m-%d %H:%M} UTC (47 h). Deployment `{record.id}`; its checks there: #1."
    )
    assert opened_by in pull["body"] or opened_by.replace("(47 h)", "(48 h)") in pull["body"], pull["body"]
    assert "with the digest that is verified in dev" in pull["body"]

    for again in (memory, Memory()):
        told = of(model, look(world, again, after=3 * DAY))
        assert told is not None and (told.state, told.said) == ("due", f"proposed: {done.said}")
    assert proposal(world, model)["updated_at"] == pull["updated_at"], "nothing was written again"

    assert [run.code for run in world.check(pull["number"])] == [0, 0, 0, 0]
    world.merge(pull["number"])
    assert world.deploy("prod").code == 0 and world.version(model, "prod") == 1
    assert of(model, look(world)) is None
    assert world.records(model, "prod")[-1].after == served.entry


@pytest.mark.slow
def test_the_command_carries_it_and_says_so_once(world: World) -> None:
    model, _ = ready(world, after="1m")
    world.configure("prod", promotes_from="dev")
    nothing = world.bot("watch", "--env", "prod", "--once")
    assert (nothing.code, nothing.document["policies"]) == (0, []), "the plain name is for people alone"
    world.configure("prod", promotes_from={"environment": "dev"})
    said = world.bot("watch", "--env", "prod", "--once")
    (found,) = [one for one in said.document["policies"] if one["model"] == model]
    assert (said.code, found["kind"], found["state"]) == (0, "promote", "done"), said
    assert world.open_pulls(f"promobot/prod/{model}")


@pytest.mark.slow
def test_a_newer_release_takes_its_place_and_the_same_pull_request(world: World) -> None:
    model, _ = ready(world)
    look(world)
    first = proposal(world, model)
    second = world.served(world.register(model, "better"))
    early = of(model, look(world, after=timedelta(hours=1)))
    assert early is not None and early.state == "held" and "is verified in dev since" in early.said
    done = of(model, look(world))
    pull = proposal(world, model)
    assert done is not None and (done.state, pull["number"]) == ("done", first["number"]), done
    assert pull["title"] == f"Promote {model} to 2 in prod" and f"dev serves {model} 2" in pull["body"]
    assert any("it now proposes" in comment for comment in world.comments(pull["number"]))
    assert second.version == 2


@pytest.mark.slow
def test_what_a_person_closed_stays_closed_for_that_digest(world: World) -> None:
    model, _ = ready(world)
    look(world)
    pull = proposal(world, model)
    world.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
    assert look(world) and world.open_pulls(f"promobot/prod/{model}") == []
    # Also where nobody knows any more that it was asked for.
    for path in (world.endpoints.records / "requests/prod").glob("policy-*"):
        for file in path.iterdir():
            file.unlink()
    told = of(model, look(world))
    assert told is not None and (told.state, told.said) == (
        "held",
        f"#{pull['number']}, which proposed {model} 1, was closed without a merge",
    )
    world.served(world.register(model, "better"))
    done = of(model, look(world))
    assert done is not None and done.state == "done", "another digest is another question"


@pytest.mark.slow
def test_a_pull_request_by_hand_that_was_checked_and_closed_is_an_answer_too(world: World) -> None:
    model, (first,) = ready(world)
    number = world.proposed_by_hand(first, "prod")["number"]
    world.check(number)
    world.api("PATCH", f"/pulls/{number}", {"state": "closed"})
    told = of(model, look(world))
    assert told is not None and told.said == f"#{number}, which proposed {model} 1, was closed without a merge"
    assert world.open_pulls(f"promobot/prod/{model}") == []


@pytest.mark.slow
def test_a_persons_open_proposal_is_left_alone_and_so_is_a_persons_commit(world: World) -> None:
    model, (first,) = ready(world)
    theirs = world.proposed(first, "prod")
    told = of(model, look(world))
    number = theirs["number"]
    assert told is not None and (told.state, told.said) == (
        "held",
        f"#{number} proposes {model}, and is a person's to decide on",
    )
    assert proposal(world, model)["body"] == theirs["body"]

    other, _ = ready(world)
    look(world)
    pull = proposal(world, other)
    world.git("fetch", "--quiet", "origin", pull["head"]["ref"])
    world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    path = world.clone / "promotions/prod.yaml"
    path.write_text(path.read_text() + "# mine\n")
    world.git("commit", "--quiet", "--all", "--message", "Mine")
    world.git("push", "--quiet", "origin", f"HEAD:{pull['head']['ref']}")
    head = proposal(world, other)["head"]["sha"]
    world.served(world.register(other, "better"))
    told = of(other, look(world))
    assert told is not None and told.state == "held" and "that is a person's" in told.said, told
    assert proposal(world, other)["head"]["sha"] == head


@pytest.mark.slow
def test_a_proposal_is_closed_when_dev_goes_back_and_comes_again_with_a_release(world: World) -> None:
    model, (_, second) = ready(world, ("first", "better"))
    memory, now = Memory(), datetime.now(UTC) + 2 * DAY
    look(world, memory, at=now)
    pull = proposal(world, model)
    assert world.bot("rollback", model, "--env", "dev", "--now", "--reason", "wrong").code == 0
    back = world.records(model)[-1].id
    found = look(world, memory, at=now + timedelta(seconds=5))  # at once: it might be merged
    told = next(one for one in found if one.pull_request == pull["number"])
    assert (told.state, world.open_pulls(f"promobot/prod/{model}")) == ("done", []), told
    assert any(
        f"dev went back from this version of {model} (`{back}`)" in one for one in world.comments(pull["number"])
    )
    held = [one for one in found if one.model == model and one.state == "held"]
    assert [one.said for one in held] == [
        f"dev went back to {model} 1 ({back}); a version is not carried after a way back to it"
    ]
    assert [one for one in look(world) if one.pull_request == pull["number"]] == [], "once"

    # Somebody finds that the data were wrong, and has it released again: the policy closed it, and no person did.
    world.bot("quarantine", "lift", second.digest, "--env", "dev", "--reason", "the data were wrong")
    world.served(second)
    done = of(model, look(world))
    assert done is not None and done.state == "done", done
    assert proposal(world, model)["number"] != pull["number"]


@pytest.mark.slow
def test_one_that_a_person_changed_stays_open_though_dev_went_back(world: World) -> None:
    model, _ = ready(world, ("first", "better"))
    look(world)
    pull = proposal(world, model)
    world.git("fetch", "--quiet", "origin", pull["head"]["ref"])
    world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    world.git("commit", "--quiet", "--allow-empty", "--message", "Mine")
    world.git("push", "--quiet", "origin", f"HEAD:{pull['head']['ref']}")
    assert world.bot("rollback", model, "--env", "dev", "--now", "--reason", "wrong").code == 0
    (told,) = [one for one in look(world) if one.pull_request == pull["number"]]
    assert told.state == "held" and told.said.endswith("somebody's commit is on its branch")
    assert proposal(world, model)["number"] == pull["number"]


@pytest.mark.slow
def test_after_a_way_back_in_prod_nothing_is_proposed_until_a_persons_proposal_is_released(world: World) -> None:
    model, (first,) = ready(world)
    world.served(first, environment="prod")
    second = world.served(world.register(model, "better"))
    look(world)
    number = proposal(world, model)["number"]
    world.check(number)
    world.merge(number)
    assert world.deploy("prod").code == 0 and world.version(model, "prod") == 2
    assert world.bot("rollback", model, "--env", "prod", "--now", "--reason", "wrong").code == 0
    back = world.records(model, "prod")[-1].id
    world.bot("quarantine", "lift", second.digest, "--env", "prod", "--reason", "let us see")
    world.served(world.register(model, "best"))
    told = of(model, look(world))
    why = f"{model} went back in prod ({back}): policies wait until somebody proposes"
    assert told is not None and (told.state, told.said) == ("held", why)
    # The revert of the way back is main's wish; a person promotes the third version, and it is released.
    (revert,) = world.reverts(model, "prod")
    world.check(revert["number"])
    world.merge(revert["number"])
    said = world.promobot("promote", model, "--to", "prod")
    assert said.code == 0, said
    world.check(said.document["pull_request"])
    world.merge(said.document["pull_request"])
    assert world.deploy("prod").code == 0 and world.version(model, "prod") == 3
    world.served(world.register(model, "best", note="again"))
    done = of(model, look(world))
    assert done is not None and done.state == "done", done


# --- killed, beside others, away -----------------------------------------------------------------------------------


class Killed(BaseException):
    """As a process is that is killed."""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before it is opened", "before it is noted"])
def test_who_is_killed_on_the_way_goes_on_and_opens_one(
    world: World, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = ready(world)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if where == "before it is opened":
            patched.setattr(GitHubRepository, "open_pull_request", killed)
        else:
            patched.setattr(Ledger, "finish_request", killed)
        with pytest.raises(Killed):
            look(world)
    done = of(model, look(world))
    assert done is not None and done.state == "done", done
    pull = proposal(world, model)
    changed = desired_at_head(world, pull)
    asked = world.ledger("prod").proposers(fingerprint(changed))
    assert [one.policy for one in asked] == [True], "the records say that a policy did, and nobody else"


def desired_at_head(world: World, pull: dict[str, Any]) -> Any:
    from bot.domain.desired import changes

    with opened(world) as doors, doors.sources("prod") as prod:
        repository = prod.repository()
        head = repository.fetch(pull["head"]["sha"])
        before, after = (desired_at(repository, "prod", commit) for commit in (repository.head(), head))
    assert before is not None and after is not None
    return changes(before, after)


@pytest.mark.slow
def test_one_that_a_person_closed_before_it_was_noted_is_not_opened_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = ready(world)

    def killed(_: Ledger, request: str, done: RequestDone) -> None:
        raise Killed(request, done)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "finish_request", killed)
        with pytest.raises(Killed):
            look(world)
    pull = proposal(world, model)
    world.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
    told = of(model, look(world))
    assert told is not None and told.said.endswith("was closed without a merge")
    assert world.open_pulls(f"promobot/prod/{model}") == []


@pytest.mark.slow
def test_who_is_killed_while_it_closes_a_proposal_closes_it_later_and_as_the_policy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (_, second) = ready(world, ("first", "better"))
    look(world)
    number = proposal(world, model)["number"]
    assert world.bot("rollback", model, "--env", "dev", "--now", "--reason", "wrong").code == 0

    def killed(_: GitHubRepository, number: int) -> None:
        raise Killed(number)

    with monkeypatch.context() as patched:
        patched.setattr(GitHubRepository, "close", killed)
        with pytest.raises(Killed):
            look(world)
    assert proposal(world, model)["number"] == number
    assert [one.pull_request for one in look(world) if one.state == "done"] == [number]
    assert len([one for one in world.comments(number) if "dev went back from this version" in one]) == 1
    world.bot("quarantine", "lift", second.digest, "--env", "dev", "--reason", "the data were wrong")
    world.served(second)
    done = of(model, look(world))
    assert done is not None and done.state == "done", done


@pytest.mark.slow
def test_two_watches_open_one(world: World) -> None:
    model, _ = ready(world)
    with ThreadPoolExecutor(2) as both:
        found = [of(model, one) for one in both.map(lambda memory: look(world, memory), (Memory(), Memory()))]
    assert proposal(world, model)
    assert all(one is not None and one.state in ("done", "due") for one in found), found
    pulls = world.api("GET", "/pulls?state=all&per_page=100")
    assert len([one for one in pulls if one["head"]["ref"] == f"promobot/prod/{model}"]) == 1


@pytest.mark.slow
def test_while_github_is_away_it_waits_and_says_so(world: World) -> None:
    model, _ = ready(world)
    memory = Memory()
    with _away(world):
        told = of(model, look(world, memory))
        assert told is not None and told.state == "waits", told
        assert told.said.startswith(f"{model} 1 is due, and could not be proposed: ")
    early = of(model, look(world, memory, after=2 * DAY + ASK_EVERY))
    assert early == told, "it is asked a minute later"
    done = of(model, look(world, memory, after=2 * DAY + PAUSES[0] + ASK_EVERY))
    assert done is not None and done.state == "done", done


@contextmanager
def _away(world: World) -> Iterator[None]:
    """Have prod's settings look for GitHub where nobody is."""
    addresses = {"server_url": world.endpoints.forge, "api_url": f"{world.endpoints.forge}/api/v3"}
    with _stopped(world):
        import yaml

        dev = yaml.safe_load((world.root / "manifests/environments/dev.yaml").read_text())
        world.configure("prod", github={key: dev["github"][key] for key in addresses})
        try:
            yield
        finally:
            world.configure("prod", github=addresses)


@pytest.mark.slow
def test_dev_that_went_back_a_second_before_is_not_carried(world: World) -> None:
    model, _ = ready(world, ("first", "better"))

    def gone_back_meanwhile(*arguments: Any) -> Any:
        assert world.bot("rollback", model, "--env", "dev", "--now", "--reason", "wrong").code == 0
        return _promote(*arguments)

    with opened(world) as doors, doors.sources("prod") as prod:
        late = Doors(doors.sources, gone_back_meanwhile)
        now = datetime.now(UTC) + 2 * DAY
        records = prod.ledger.deployments()
        found = carry(prod, late, records, Memory(), say=lambda _: None, now=now)
    told = of(model, found)
    assert told is not None and told.state == "held" and "dev serves version 1" in told.said, told
    assert world.open_pulls(f"promobot/prod/{model}") == []
