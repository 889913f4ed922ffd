"""Drills on real parts: the share, the records or both are lost, or come out of an older backup."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.domain.routes import Route, RouteTable
from bot.sandbox import seed
from bot.sandbox.platform import PARTS, Sandbox
from tests.operations.world import Registered, Said, World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of their own: what is lost here, others would miss."""
    directory = tmp_path_factory.mktemp("drills") / "platform"
    yield Sandbox.up(directory, progress=print, seed=seed.seed_promotions, parts=PARTS - {"actions", "slack-app"})
    Sandbox.down(directory)


@pytest.fixture
def world(platform: Sandbox, tmp_path: Path) -> Iterator[World]:
    seed.clone(platform.endpoints, tmp_path / "clone")
    (tmp_path / "checkout").mkdir()
    running = World(platform, clone=tmp_path / "clone", root=tmp_path / "checkout")
    yield running
    running.tidy()


class Stores:
    """The share of dev and the records of all environments: copied as an operator does, lost, and brought back."""

    def __init__(self, world: World, backups: Path) -> None:
        points = world.endpoints
        self._share = {"models": points.model_repository("dev"), "state": points.state("dev")}
        self._records = {"records": points.records}
        self._backups = backups

    def back_up(self, name: str) -> None:
        """Copy the share first, and then the records."""
        for part, folder in {**self._share, **self._records}.items():
            shutil.copytree(folder, self._backups / name / part)

    def lose_share(self) -> None:
        """Have an empty volume in its place."""
        for folder in self._share.values():
            _empty(folder)

    def lose_records(self) -> None:
        """Have an empty store in its place."""
        _empty(*self._records.values())

    def restore_share(self, name: str) -> None:
        """Copy it back, into an empty volume."""
        self.lose_share()
        for part, folder in self._share.items():
            _copy_back(self._backups / name / part, folder)

    def restore_records(self, name: str) -> None:
        """Copy them back, into an empty store."""
        self.lose_records()
        for part, folder in self._records.items():
            _copy_back(self._backups / name / part, folder)


def _empty(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    for path in list(folder.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _copy_back(kept: Path, folder: Path) -> None:
    shutil.copytree(kept, folder, dirs_exist_ok=True)


@pytest.fixture
def stores(world: World, tmp_path: Path) -> Stores:
    return Stores(world, tmp_path / "backups")


class Users:
    """They ask both gateways all the while; every answer is of one of the versions that they may get."""

    def __init__(self, world: World, model: str) -> None:
        self._world, self._model, self._stop = world, model, threading.Event()
        self.failed: list[str] = []
        self.versions: list[int] = []
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        turn = 0
        while not self._stop.wait(0.01):
            turn += 1
            try:
                self.versions.append(self._world.ask(self._model, gateway=turn % 2).version)
            except AssertionError as error:
                self.failed.append(str(error))


class Release:
    """A model of which version 2 is in service, version 1 is the way back, and version 3 was put into quarantine."""

    def __init__(self, world: World) -> None:
        self.world, self.model = world, world.model()
        self.first = world.served(world.register(self.model))
        self.second: Registered | None = None

    def goes_on(self) -> None:
        """Bring version 2, then version 3, and go back from it."""
        world = self.world
        self.second = world.served(world.register(self.model, "better"))
        world.served(world.register(self.model, "first", note="three"))
        back = world.bot("rollback", self.model, "--env", "dev", "--now", "--reason", "users complain")
        assert back.code == 0, back
        world.merge(back.document["pull_request"])
        assert world.deploy().code == 0
        assert world.version(self.model) == 2 and world.quarantined(self.model) == [3]

    def see_that_all_is_well(self, *, generation: int) -> None:
        """See everything agree; the generation is a later one, and nobody is blamed who was not before."""
        world = self.world
        assert world.version(self.model) == 2
        assert world.quarantined(self.model) == [3]
        for number, _ in enumerate(world.endpoints.gateway["dev"]):
            assert world.routes(gateway=number)["generation"] >= generation
        ids = [record.id for record in world.ledger().deployments()]
        assert ids == sorted(set(ids))
        assert world.reverts(self.model) == []
        again = world.deploy()
        assert again.code == 0 and again.document["records"] == [], again
        assert differences(world) == []


def differences(world: World) -> list[str]:
    (found,) = world.promobot("drift", "--env", "dev").document["environments"]
    return [one["what"] for one in found["differences"]]


def generation(world: World) -> int:
    return max(int(world.routes(gateway=number)["generation"]) for number in (0, 1))


def restart_all(world: World) -> None:
    """Have every Triton and gateway of dev come up anew, with nothing in memory."""
    for triton in world.endpoints.triton["dev"]:
        world.restart(triton.name)
    restart_gateways(world)


def restart_gateways(world: World) -> None:
    for gateway in world.endpoints.gateway["dev"]:
        world.restart(gateway.name)


def well(said: Said) -> Said:
    assert said.code == 0, said
    return said


def test_a_lost_share_is_filled_again_while_users_are_served(world: World, stores: Stores) -> None:
    release = Release(world)
    release.goes_on()
    before = generation(world)
    with Users(world, release.model) as users:
        stores.lose_share()
        refused = world.words("deploy", "--env", "dev")
        assert refused.code == 1 and "doctor --init" in refused.err + refused.out
        well(world.words("doctor", "--env", "dev", "--init"))
        well(world.words("reconcile", "--env", "dev"))
    assert users.failed == [] and set(users.versions) == {2}
    release.see_that_all_is_well(generation=before + 1)
    back = world.bot("rollback", release.model, "--env", "dev", "--now", "--reason", "it still goes")
    assert back.code == 0 and world.version(release.model) == 1, back


def test_a_lost_share_is_filled_again_where_everything_came_up_anew(world: World, stores: Stores) -> None:
    release = Release(world)
    release.goes_on()
    newest = world.ledger().newest_deployment()
    stores.lose_share()
    well(world.words("doctor", "--env", "dev", "--init"))
    restart_all(world)
    assert world.routes()["models"] == {}, "nobody remembers anything"
    well(world.words("reconcile", "--env", "dev"))
    assert world.ledger().newest_deployment() > newest, "it has a record of its own, of a later turn"
    release.see_that_all_is_well(generation=1)


def test_an_older_share_catches_up_with_its_gateways(world: World, stores: Stores) -> None:
    release = Release(world)
    stores.back_up("older")
    release.goes_on()
    before = generation(world)
    with Users(world, release.model) as users:
        stores.restore_share("older")
        said = well(world.words("deploy", "--env", "dev"))
    assert "the share is older than the gateways" in said.err
    assert users.failed == [] and set(users.versions) == {2}
    release.see_that_all_is_well(generation=before)


def test_an_older_share_brings_nobody_back_to_what_it_routes_to(world: World, stores: Stores) -> None:
    release = Release(world)
    stores.back_up("older")
    release.goes_on()
    stores.restore_share("older")
    restart_gateways(world)
    assert world.routes()["models"][release.model]["live"]["version"] == 1, (
        "a gateway that comes up believes the share"
    )
    well(world.words("reconcile", "--env", "dev"))
    release.see_that_all_is_well(generation=1)
    (*_, last) = world.records(release.model)
    assert not last.way_back and last.after is not None and last.after.version == 2


def test_an_older_share_tells_and_proposes_nothing_again(world: World, stores: Stores) -> None:
    release = Release(world)
    world.merged(world.register(release.model, "better"))
    world.slack_fails("chat.postMessage")
    assert world.deploy().code == 4 and len(world.outbox()) == 1
    stores.back_up("older")
    world.slack_works()
    well(world.deploy())
    told = world.told(release.model)
    stores.restore_share("older")
    assert len(world.outbox()) == 1
    well(world.deploy())
    assert world.told(release.model) == told and world.outbox() == []
    assert world.version(release.model) == 2 and differences(world) == []


def test_a_rollback_at_once_is_the_first_thing_on_an_older_share(world: World, stores: Stores) -> None:
    other = Release(world)
    release = Release(world)
    stores.back_up("older")
    other.goes_on()
    release.goes_on()
    with Users(world, other.model) as users:
        stores.restore_share("older")
        back = world.bot("rollback", release.model, "--env", "dev", "--now", "--reason", "users complain")
        assert back.code == 0, back
    assert world.version(release.model) == 1
    assert users.failed == [] and set(users.versions) == {2}, "nothing else moves"
    assert world.quarantined(other.model) == [3] and world.quarantined(release.model) == [2, 3]


def test_routes_that_nobody_knows_are_not_taken_over(world: World, stores: Stores) -> None:
    release = Release(world)
    stores.back_up("older")
    state = world.endpoints.state("dev")
    table = RouteTable.from_json((state / "routes.json").read_text())
    live = table.models[release.model].live
    assert live is not None
    strange = replace(live, digest=f"sha256:{'0' * 64}")
    later = table.following({**table.models, release.model: Route(live=strange)})
    (state / "routes.json").write_text(later.to_json())
    restart_gateways(world)
    assert generation(world) == later.generation
    stores.restore_share("older")
    before = sorted(path.name for path in (state / "routes").iterdir())
    refused = world.words("deploy", "--env", "dev")
    assert refused.code == 1 and "neither a record nor MLflow knows" in refused.out + refused.err, refused
    assert sorted(path.name for path in (state / "routes").iterdir()) == before, "nothing was changed"
    restart_gateways(world)
    well(world.words("deploy", "--env", "dev"))


def test_lost_records_leave_users_alone_and_count_on(world: World, stores: Stores) -> None:
    release = Release(world)
    release.goes_on()
    before = generation(world)
    with Users(world, release.model) as users:
        stores.lose_records()
        refused = world.words("deploy", "--env", "dev")
        assert refused.code == 1 and "doctor --init" in refused.err + refused.out
        well(world.words("doctor", "--env", "dev", "--init"))
        well(world.words("reconcile", "--env", "dev"))
    assert users.failed == [] and set(users.versions) == {2}
    assert generation(world) >= before
    refused = world.words("rollback", release.model, "--env", "dev")
    assert refused.code == 1, refused
    world.served(world.register(release.model, "better", note="four"))
    assert world.version(release.model) == 4


def test_older_records_neither_clash_nor_blame(world: World, stores: Stores) -> None:
    release = Release(world)
    stores.back_up("older")
    release.goes_on()
    turns = sorted(path.name for path in (world.endpoints.state("dev") / "turns").iterdir())
    with Users(world, release.model) as users:
        stores.restore_records("older")
        well(world.words("reconcile", "--env", "dev"))
        world.served(world.register(release.model, "better", note="four"))
    assert users.failed == [] and set(users.versions) == {2, 4}
    assert world.quarantined(release.model) == [], "what is lost is lost; and nobody is blamed for it"
    (*_, last) = world.records(release.model)
    assert last.id > f"dev-{turns[-1]}", "turns count on"


def test_both_lost_and_gateways_remember(world: World, stores: Stores) -> None:
    release = Release(world)
    release.goes_on()
    before = generation(world)
    with Users(world, release.model) as users:
        stores.lose_share()
        stores.lose_records()
        well(world.words("doctor", "--env", "dev", "--init"))
        well(world.words("reconcile", "--env", "dev"))
    assert users.failed == [] and set(users.versions) == {2}
    assert generation(world) > before
    assert differences(world) == []


def test_both_lost_and_nobody_remembers(world: World, stores: Stores) -> None:
    release = Release(world)
    release.goes_on()
    stores.lose_share()
    stores.lose_records()
    well(world.words("doctor", "--env", "dev", "--init"))
    restart_all(world)
    held = world.words("deploy", "--env", "dev")
    assert held.code == 1 and "promobot recheck" in held.out + held.err, held
    assert world.routes()["models"] == {}, "nothing goes out without evidence"
    well(world.words("recheck", release.model, "--env", "dev"))
    well(world.words("deploy", "--env", "dev"))
    assert world.version(release.model) == 2


def test_both_from_one_older_backup(world: World, stores: Stores) -> None:
    release = Release(world)
    stores.back_up("older")
    release.goes_on()
    before = generation(world)
    with Users(world, release.model) as users:
        stores.restore_share("older")
        stores.restore_records("older")
        well(world.words("deploy", "--env", "dev"))
    assert users.failed == [] and set(users.versions) == {2}
    assert generation(world) >= before
    assert world.quarantined(release.model) == []
    assert differences(world) == []
