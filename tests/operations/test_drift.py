"""``promobot drift`` and ``reconcile``: each kind of difference is provoked, seen, and gone after what it says."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.domain.journal import Journal, Underway
from bot.domain.routes import RouteTable
from bot.render.differences import KINDS
from tests.operations.world import HTTP, World
from tests.stand_ins.liar import Liar

GATEWAYS = ("gateway-dev-1", "gateway-dev-2")


class Case:
    """One model with two versions in service one after the other, and what a fault left to be mended by hand."""

    def __init__(self, world: World) -> None:
        self.world, self.model = world, world.model()
        self.first = world.served(world.register(self.model))
        self.second = world.served(world.register(self.model, "better"))
        self.answer = world.ask(self.model)
        self.by_hand: Callable[[], object] = lambda: None

    @property
    def folder(self) -> Path:
        return self.world.endpoints.model_repository("dev") / self.model

    @property
    def state(self) -> Path:
        return self.world.endpoints.state("dev")

    @property
    def latest_turn(self) -> int:
        return max(int(path.name) for path in (self.state / "turns").iterdir())

    def package(self, version: int) -> Path:
        digest = (self.first if version == 1 else self.second).digest
        return self.state / "packages" / digest.removeprefix("sha256:")

    def drift(self) -> dict[str, list[dict[str, str]]]:
        """Return the differences by kind."""
        said = self.world.promobot("drift", "--env", "dev")
        found: dict[str, list[dict[str, str]]] = {}
        for difference in said.document["environments"][0]["differences"]:
            found.setdefault(difference["kind"], []).append(difference)
        assert said.code == (1 if found else 0)
        return found

    def type(self, step: str) -> None:
        """Do what a difference says."""
        quoted = re.search(r"`(promobot [^`]*)`", step)
        command = quoted[1] if quoted else step.rpartition(": ")[2] if ": " in step else step
        if not command.startswith("promobot "):
            self.by_hand()
            return
        if step.startswith("restart "):
            self.by_hand()
        self.world.promobot(*shlex.split(command)[1:])
        if step.endswith("then deploy again"):
            self.world.deploy()
        for pull in [*self.world.reverts(self.model), *self.world.open_pulls("promobot-retire/")]:
            self.world.merge(pull["number"])
            self.world.deploy()


def _overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def _damage(case: Case) -> None:
    _overwrite(case.folder / "2" / "model.onnx", b"damaged")


def _remove_version(case: Case) -> None:
    (case.folder / "2").chmod(0o755)
    shutil.rmtree(case.folder / "2")


def _add_file(case: Case) -> None:
    (case.folder / "2").chmod(0o755)
    (case.folder / "2" / "notes.txt").write_text("mine")


def _lose_config(case: Case) -> None:
    (case.folder / "config.pbtxt").unlink()


def _change_config(case: Case) -> None:
    path = case.folder / "config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size: 64", "max_batch_size: 32"))


def _narrow_config(case: Case) -> None:
    path = case.folder / "config.pbtxt"
    path.write_text(path.read_text().replace("versions: 2", "versions: 1"))


def _lose_package(case: Case) -> None:
    shutil.rmtree(case.package(2))


def _damage_package(case: Case) -> None:
    _overwrite(case.package(2) / "smoke.json", b"{}")


def _load_other_bytes(case: Case) -> None:
    """Have Triton load other bytes, and put the right ones back on the share."""
    file = case.folder / "2" / "model.onnx"
    right = file.read_bytes()
    _overwrite(file, (case.folder / "1" / "model.onnx").read_bytes())
    http_url = next(triton.http for name, triton in case.world.endpoints.tritons if name == "dev")
    HTTP.post(f"{http_url}/v2/repository/models/{case.model}/load", json={}).raise_for_status()
    _overwrite(file, right)


def _damage_way_back(case: Case) -> None:
    _overwrite(case.folder / "1" / "model.onnx", b"damaged")


def _have_the_way_back_answer_otherwise(case: Case) -> None:
    """Have Triton load other bytes as version 1, which is warm, and put the right ones back on the share."""
    file = case.folder / "1" / "model.onnx"
    right = file.read_bytes()
    _overwrite(file, (case.folder / "2" / "model.onnx").read_bytes())
    http_url = next(triton.http for name, triton in case.world.endpoints.tritons if name == "dev")
    HTTP.post(f"{http_url}/v2/repository/models/{case.model}/load", json={}).raise_for_status()
    _overwrite(file, right)

    def forget() -> None:  # as a Triton does that restarts
        case.by_hand = lambda: None
        case.world.unload(case.model)

    case.by_hand = forget


def _lose_way_back(case: Case) -> None:
    case.world.configure("dev", keep={"warm": 0})
    (case.folder / "1").chmod(0o755)
    shutil.rmtree(case.folder / "1")


def _stranger(case: Case) -> None:
    mine = case.folder / "notes.txt"
    mine.write_text("mine")
    case.by_hand = mine.unlink


def _stranger_at_the_root(case: Case) -> None:
    mine = case.folder.parent / "somebody-elses"
    mine.mkdir()
    case.by_hand = mine.rmdir


def _move_alias(case: Case) -> None:
    case.world.move_alias(case.model, "dev", 1)


def _kill(case: Case) -> None:
    case.world.configure("dev", deadlines={"request_seconds": 1})
    case.world.kill("gateway-dev-2")
    case.by_hand = lambda: case.world.restart("gateway-dev-2")


def _write_journal(case: Case, journal: Journal) -> None:
    (case.state / "journal" / f"{case.latest_turn:08d}.closed").unlink(missing_ok=True)
    (case.state / "journal" / f"{case.latest_turn:08d}.json").write_text(journal.model_dump_json())


def _journal(case: Case) -> None:
    table = RouteTable.from_json((case.state / "routes.json").read_text())
    journal = Journal(turn=1, before=table.to_json(), underway=())
    _write_journal(case, journal)


def _merge(case: Case) -> None:
    case.world.merged(case.world.register(case.model, "best"))


def _merge_unchecked(case: Case) -> None:
    case.world.desire(case.model, case.world.register(case.model, "best").entry)


def _lose_entry(case: Case) -> None:
    case.world.desire(case.model, None)


def _quarantine(case: Case) -> None:
    case.world.ledger().put_in_quarantine(case.second.release(), reason="nonsense", by="alex")


def _restart_triton(case: Case) -> None:
    case.world.kill("triton-dev-1")
    case.world.restart("triton-dev-1")


def _write_routes(case: Case) -> None:
    case.world.follow_only_when_told()  # else it is right again before anybody looks
    table = RouteTable.from_json((case.state / "routes.json").read_text())
    (case.state / "routes.json").write_text(table.following(table.models).to_json())


def _leave_a_message(case: Case) -> None:
    case.world.merged(case.world.register(case.model, "best"))
    case.world.slack_fails("chat.postMessage")
    assert case.world.deploy().code == 4
    case.world.slack_works()


def _break_settings(case: Case) -> None:
    case.world.configure("dev", freezes=[{"start": "soon"}])
    case.by_hand = lambda: case.world.configure("dev", freezes=[])


PROVOKED: dict[str, list[Callable[[Case], None]]] = {
    "silent": [_kill],
    "settings": [_break_settings],
    "unfinished": [_journal],
    "desired": [_merge],
    "held": [_merge_unchecked],
    "retired": [_lose_entry],
    "serves quarantined": [_quarantine],
    "triton": [_restart_triton],
    "gateway": [_write_routes],
    "slack": [_leave_a_message],
    "package": [_lose_package, _damage_package],
    "bytes": [_damage, _remove_version, _add_file],
    "config": [_lose_config, _change_config, _narrow_config],
    "answer": [_load_other_bytes],
    "way back": [_have_the_way_back_answer_otherwise],
    "kept": [_damage_way_back, _lose_way_back],
    "stranger": [_stranger, _stranger_at_the_root],
    "alias": [_move_alias],
}
ELSEWHERE = {"gateway answer", "main", "records", "revert", "quarantine"}
QUICK = {"triton"}
CHANGE_THE_ANSWER = (_merge, _merge_unchecked, _lose_entry, _quarantine, _leave_a_message, _load_other_bytes)


def _marks(kind: str, *, first: bool) -> list[pytest.MarkDecorator]:
    """A sample by default; each kind once among the slow ones; its other causes among the extended ones."""
    if not first:
        return [pytest.mark.extended]
    return [] if kind in QUICK else [pytest.mark.slow]


def test_every_kind_is_provoked() -> None:
    assert {*PROVOKED, *ELSEWHERE} == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "provoke"),
    [
        pytest.param(kind, provoke, id=f"{kind}{provoke.__name__}", marks=_marks(kind, first=others == 0))
        for kind, faults in PROVOKED.items()
        for others, provoke in enumerate(faults)
    ],
)
def test_what_differs_is_seen_and_gone_after_what_it_says(
    world: World, kind: str, provoke: Callable[[Case], None]
) -> None:
    case = Case(world)
    assert case.drift() == {}
    provoke(case)
    try:
        found = case.drift()
        assert list(found) == [kind], found
        case.type(found[kind][0]["next_step"])
        if kind in ("silent", "settings"):
            case.by_hand()
        assert case.drift() == {}
    finally:
        with contextlib.suppress(FileNotFoundError):
            case.by_hand()
    if provoke not in CHANGE_THE_ANSWER:
        assert world.ask(case.model) == case.answer
    assert world.words("reconcile", "--env", "dev").out.endswith("nothing to do.\n")


@pytest.mark.slow
def test_damaged_bytes_are_published_again_under_a_fresh_name(world: World) -> None:
    case = Case(world)
    _damage(case)
    said = world.words("reconcile", "--env", "dev")
    assert said.code == 0, said
    name = world.routes()["models"][case.model]["live"]["triton_model"]
    assert name.startswith(f"{case.model}.")
    sentence = f"{case.model} 2 was published again in dev: model.onnx has other bytes."
    assert said.out.splitlines()[0] == sentence
    assert not (case.folder / "2").exists(), "nothing is written over; the cleanup takes the damaged bytes away"
    assert world.loaded() == [f"{case.model} 1", f"{name} 2"]
    record = world.records(case.model)[-1]
    assert (record.outcome, record.before, record.after) == ("succeeded", case.second.entry, case.second.entry)
    assert world.slack(case.model)[-1]["text"] == f"✅ {sentence}"
    assert world.ask(case.model) == case.answer

    # And once more: never under a name that was used already.
    file = world.endpoints.model_repository("dev") / name / "2" / "model.onnx"
    _overwrite(file, b"damaged again")
    assert world.words("reconcile").code == 0
    again = world.routes()["models"][case.model]["live"]["triton_model"]
    assert again == f"{name}-2" and world.ask(case.model) == case.answer
    assert case.drift() == {}

    back = world.promobot("rollback", case.model, "--env", "dev", "--now")
    assert back.code == 0 and world.version(case.model) == 1


@pytest.mark.extended
def test_a_deploy_does_not_load_damaged_bytes_on_a_triton_that_restarted(world: World) -> None:
    case = Case(world)
    _damage(case)
    _restart_triton(case)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0, said
    assert f"{case.model} 2 was published again in dev: model.onnx has other bytes." in said.out
    assert world.ask(case.model) == case.answer


@pytest.mark.extended
def test_a_new_version_is_not_loaded_beside_a_damaged_one_that_answers(world: World) -> None:
    case = Case(world)
    _damage(case)
    third = world.register(case.model, "best")
    world.merged(third)
    assert world.deploy().code == 0
    assert world.routes()["models"][case.model]["live"]["triton_model"].startswith(f"{case.model}.")
    assert world.version(case.model) == 3


@pytest.mark.extended
def test_a_repair_that_was_cut_off_is_gone_on_with_under_its_own_name(world: World) -> None:
    case = Case(world)
    _damage(case)
    table = RouteTable.from_json((case.state / "routes.json").read_text())
    entry = case.second.entry
    # Records are in the order of their turns: this one was begun by the latest.
    name = f"dev-{case.latest_turn:08d}-{case.model}-again"
    underway = Underway(
        id=name, section="models", model=case.model, before=entry, after=entry, started_at=datetime.now(UTC)
    )
    _write_journal(case, Journal(turn=1, before=table.to_json(), underway=(underway,)))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0, said
    assert f"{case.model} 2 was published again in dev: its repair was cut off." in said.out
    assert name in [record.id for record in world.records(case.model)]
    assert world.ask(case.model) == case.answer and case.drift() == {}


@pytest.mark.extended
def test_a_repair_whose_bytes_are_nowhere_fails_and_changes_nothing(world: World) -> None:
    case = Case(world)
    _damage(case)
    artifact = case.second.artifacts / "model.onnx"
    kept = artifact.read_bytes()
    artifact.unlink()
    try:
        said = world.words("reconcile", "--env", "dev")
        told = world.told(case.model)
        again = world.words("reconcile", "--env", "dev")
    finally:
        artifact.write_bytes(kept)
    assert said.code == again.code == 1
    record = world.records(case.model)[-1]
    assert f"what happened, as {record.id} has recorded it before: " in again.err
    assert told[-1] == record.id and world.told(case.model) == told, "nobody is told the same twice"
    assert f"{case.model} 2 again in dev failed before the switch: nothing that users see has changed." in said.out
    assert world.ask(case.model) == case.answer, "Triton still has it"
    assert world.quarantined(case.model) == []
    assert world.words("reconcile", "--env", "dev").code == 0
    assert case.drift() == {}


@pytest.mark.extended
def test_reconcile_works_on_every_environment_that_it_can(world: World) -> None:
    case = Case(world)
    _damage(case)
    world.configure("prod", github={"token_env": "NOT_SET_ANYWHERE"})
    said = world.promobot("reconcile")
    assert said.code == 1
    dev, prod = said.document["environments"]
    assert [record["outcome"] for record in dev["records"]] == ["succeeded"]
    assert "NOT_SET_ANYWHERE is not set" in prod["problems"][0]
    assert world.ask(case.model) == case.answer


@pytest.mark.slow
def test_whoever_only_looks_needs_no_reload_token(world: World) -> None:
    """The workflow drift has no secret, so no branch can read one by it."""
    model = world.model()
    world.served(world.register(model))
    for verb in ("drift", "status"):
        said = world.promobot(verb, "--env", "dev", env={"PROMOBOT_RELOAD_TOKEN": ""})
        assert said.code == 0, said
        assert said.document["environments"][0]["differences"] == []
    assert (
        "PROMOBOT_RELOAD_TOKEN is not set"
        in world.words("deploy", "--env", "dev", env={"PROMOBOT_RELOAD_TOKEN": ""}).err
    )


# --- a gateway that lies --------------------------------------------------------------------------------------------


@pytest.fixture
def liar(world: World) -> Iterator[Liar]:
    running = Liar(world.endpoints.gateway["dev"][1].url)
    one, _ = world.endpoints.gateway["dev"]
    gateways = [{"name": "gateway-dev-1", "url": one.url}, {"name": "liar", "url": running.url}]
    world.configure("dev", gateways=gateways)
    yield running
    running.stop()


@pytest.mark.slow
def test_a_gateway_that_answers_with_another_version_is_named_and_restarted(world: World, liar: Liar) -> None:
    case = Case(world)
    liar.lies = True
    found = case.drift()
    assert list(found) == ["gateway answer"]
    (difference,) = found["gateway answer"]
    assert difference["what"] == f"liar answers wrong for {case.model} 2: version 1 answered instead of 2"
    said = world.words("reconcile", "--env", "dev")
    assert said.code == 1
    assert "problem: gateway liar answers wrong, though every Triton is right: version 1 answered" in said.out
    assert len(world.records(case.model)) == 2, "publishing again would not help"

    def restart() -> None:
        liar.lies = False

    case.by_hand = restart
    case.type(difference["next_step"])
    assert case.drift() == {}


@pytest.mark.slow
def test_a_pull_request_says_that_its_way_back_was_proven(world: World) -> None:
    case = Case(world)
    assert "Way back proven" not in world.proposed(world.register(case.model, "best"))["body"]
    found = world.promobot("drift", "--env", "dev", "--note").document["environments"][0]
    ways = {(way["version"], way["place"], way["wrong"]) for way in found["ways_back"] if way["model"] == case.model}
    assert ways == {(1, "warm", ""), (2, "in service", "")}
    assert f"ways back that are loaded and answer rightly: {case.model} 1" in world.words("drift", "--env", "dev").out
    body = world.proposed(world.register(case.model, "best", note="again"))["body"]
    assert "**Way back proven just now (" in body
    assert "version 2, in service, answered its golden requests on every Triton" in body
