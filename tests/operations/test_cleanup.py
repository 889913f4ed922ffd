"""``promobot cleanup``, and the last step of a deployment: what nothing needs goes, and nobody notices."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from bot.domain.routes import RouteTable
from tests.operations.world import HTTP, World

RECIPES = ("first", "better", "best", "weak")


def _serve(world: World, model: str, versions: int, **options: int) -> None:
    for number in range(versions):
        world.served(world.register(model, RECIPES[number % len(RECIPES)], **options))


def _published(world: World, model: str) -> list[str]:
    names = [path.partition("/") for path in world.published()]
    return [f"{name}/{rest}" for name, _, rest in names if name.partition(".")[0] == model and rest != "config.pbtxt"]


def _packages(world: World) -> set[str]:
    return {path.name for path in (world.endpoints.state("dev") / "packages").iterdir()}


def _clean(world: World, *arguments: str) -> str:
    said = world.words("cleanup", "--env", "dev", *arguments)
    assert said.code == 0, said
    return said.out


@pytest.mark.slow
def test_a_deployment_leaves_the_last_verified_and_keeps_one_warm(world: World) -> None:
    model = world.model()
    world.configure("dev", keep={"versions": 2, "warm": 1})
    _serve(world, model, 2)
    assert world.loaded() == [f"{model} 1", f"{model} 2"]
    third = world.register(model, "best")
    world.merged(third)
    stop, failed = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                world.ask(model)
            except AssertionError as error:
                failed.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        said = world.deploy()
    finally:
        stop.set()
        asking.join(30)
    assert said.code == 0 and failed == []
    assert world.version(model) == 3
    assert world.loaded() == [f"{model} 2", f"{model} 3"]
    assert _published(world, model) == [f"{model}/2", f"{model}/3"]
    assert f"unloaded: {model} 1 off triton-dev-1" in said.err
    assert f"removed: {model}/1 from the model repository" in said.err
    config = (world.endpoints.model_repository("dev") / model / "config.pbtxt").read_text()
    assert "versions: 2" in config and "versions: 3" in config and "versions: 1\n" not in config
    assert list((world.endpoints.state("dev") / "trash").iterdir()) == []
    assert third.digest.removeprefix("sha256:") in _packages(world)
    assert _clean(world).endswith("dev: there is nothing to clean up.\n")
    assert world.words("drift", "--env", "dev").code == 0


@pytest.mark.extended
def test_more_than_one_may_stay_warm(world: World) -> None:
    model = world.model()
    world.configure("dev", keep={"warm": 2})
    _serve(world, model, 4)
    assert world.loaded() == [f"{model} {version}" for version in (2, 3, 4)]


@pytest.mark.extended
def test_a_rollback_beyond_what_is_kept_brings_the_bytes_back_from_mlflow(world: World) -> None:
    model = world.model()
    world.configure("dev", keep={"versions": 1, "warm": 0})
    _serve(world, model, 2)
    assert world.loaded() == [f"{model} 2"] and _published(world, model) == [f"{model}/2"]
    back = world.promobot("rollback", model, "--env", "dev", "--now")
    assert back.code == 0
    assert world.version(model) == 1


@pytest.mark.slow
def test_a_dry_run_says_what_would_go_and_changes_nothing(world: World) -> None:
    model = world.model()
    _serve(world, model, 3)
    before, loaded = _published(world, model), world.loaded()
    turns = sorted((world.endpoints.state("dev") / "turns").iterdir())
    world.configure("dev", keep={"versions": 1, "warm": 0})
    said = _clean(world, "--dry-run")
    assert f"would be unloaded: {model} 2 off triton-dev-1" in said
    for version in (1, 2):
        assert f"would be removed: {model}/{version} from the model repository" in said
    assert (_published(world, model), world.loaded()) == (before, loaded)
    assert sorted((world.endpoints.state("dev") / "turns").iterdir()) == turns
    done = _clean(world)
    assert f"unloaded: {model} 2 off triton-dev-1" in done and f"removed: {model}/2 from" in done
    assert (_published(world, model), world.loaded()) == ([f"{model}/3"], [f"{model} 3"])
    assert world.version(model) == 3


@pytest.mark.extended
def test_a_model_out_of_service_and_an_old_lane_leave_the_triton(world: World) -> None:
    gone, model = world.model(), world.model()
    world.configure("dev", keep={"versions": 1, "warm": 0})
    _serve(world, gone, 1)
    _serve(world, model, 1)
    world.served(world.register(model, "better", max_batch_size=32))
    lane = world.routes()["models"][model]["live"]["triton_model"]
    assert lane != model and world.loaded() == sorted([f"{gone} 1", f"{lane} 2"])
    assert not (world.endpoints.model_repository("dev") / model).exists(), "no version is left in it"
    world.retire(gone)
    assert world.deploy().code == 0
    assert world.loaded() == [f"{lane} 2"]
    assert _published(world, gone) == [f"{gone}/1"], "it is a way back"


@pytest.mark.extended
def test_nothing_goes_that_a_silent_triton_may_have(world: World) -> None:
    model = world.model()
    world.configure("dev", keep={"versions": 1, "warm": 0}, deadlines={"request_seconds": 2})
    _serve(world, model, 1)
    bad = world.register(model, "unscaled")
    world.merged(bad)
    world.kill("triton-dev-1")
    assert world.deploy().code == 1
    said = world.words("cleanup", "--env", "dev")
    assert said.code == 1
    assert "left: Triton triton-dev-1 does not answer and may have anything" in said.out
    assert _published(world, model) == [f"{model}/1", f"{model}/2"]
    world.restart("triton-dev-1")
    assert world.deploy().code == 1, "it answers wrong"
    assert _published(world, model) == [f"{model}/1"] and world.version(model) == 1


@pytest.mark.extended
def test_nothing_is_unloaded_while_a_gateway_may_ask_for_it(world: World) -> None:
    model = world.model()
    _serve(world, model, 3)
    world.configure("dev", keep={"versions": 1, "warm": 0})
    file = world.endpoints.state("dev") / "routes.json"
    world.follow_only_when_told()
    table = RouteTable.from_json(file.read_text())
    file.write_text(table.following(table.models).to_json())
    said = world.words("cleanup", "--env", "dev")
    assert said.code == 1
    assert (
        f"left: nothing was unloaded while gateway gateway-dev-1 may still ask for it: "
        f"it serves generation {table.generation}, not {table.generation + 1}" in said.out
    )
    assert world.loaded() == [f"{model} 2", f"{model} 3"]
    assert _published(world, model) == [f"{model}/2", f"{model}/3"], "what is READY stays"
    assert world.deploy().code == 0
    assert (world.loaded(), _published(world, model)) == ([f"{model} 3"], [f"{model}/3"])


@pytest.mark.slow
def test_a_damaged_version_in_service_is_not_loaded_again_to_narrow_its_name(world: World) -> None:
    model = world.model()
    _serve(world, model, 2)
    answer = world.ask(model)
    file = world.endpoints.model_repository("dev") / model / "2" / "model.onnx"
    file.chmod(0o644)
    file.write_bytes(b"damaged")
    world.configure("dev", keep={"versions": 1, "warm": 0})
    said = world.words("cleanup", "--env", "dev")
    assert said.code == 1
    assert f"left: {model} was not narrowed: model.onnx has other bytes" in said.out
    assert world.ask(model) == answer


@pytest.mark.slow
def test_what_a_killed_run_left_behind_goes_with_the_next(world: World) -> None:
    model = world.model()
    _serve(world, model, 1)
    state = world.endpoints.state("dev")
    for where in ("trash", "staging"):
        left = state / where / "0123456789abcdef"
        left.mkdir()
        (left / "model.onnx").write_text("half")
    unneeded = state / "packages" / ("0" * 64)
    unneeded.mkdir()
    assert world.deploy().code == 0
    assert [list((state / where).iterdir()) for where in ("trash", "staging")] == [[], []]
    assert not unneeded.exists() and world.version(model) == 1


@pytest.mark.slow
def test_what_nobody_deployed_is_left_alone(world: World) -> None:
    model = world.model()
    _serve(world, model, 1)
    root = world.endpoints.model_repository("dev")
    strangers = [root / model / "9", root / "somebody-elses" / "1"]
    try:
        for path in strangers:
            path.mkdir(parents=True)
        _clean(world)
        assert all(path.is_dir() for path in strangers)
    finally:
        for path in strangers:
            path.rmdir()
        (root / "somebody-elses").rmdir()


@pytest.mark.extended
@pytest.mark.parametrize("state", ["open", "closed"])
def test_what_a_killed_check_left_on_staging_goes_when_its_pull_request_is_closed(world: World, state: str) -> None:
    model = world.model()
    first = world.served(world.register(model))
    number = world.proposed(world.register(model, "better"))["number"]
    if state == "closed":
        world.api("PATCH", f"/pulls/{number}", {"state": "closed"})
    name = f"{model}.check-{number}-smoke"
    root, http = _staging(world)
    version = root / name / "1"
    version.mkdir(parents=True)
    served = world.endpoints.model_repository("dev") / model
    (version / "model.onnx").write_bytes((served / "1" / "model.onnx").read_bytes())
    (root / name / "config.pbtxt").write_text((served / "config.pbtxt").read_text())
    HTTP.post(f"{http}/v2/repository/models/{name}/load", json={}).raise_for_status()
    assert world.loaded("staging") == [f"{name} 1"]

    said = _clean(world)

    if state == "open":
        assert name not in said and world.loaded("staging") == [f"{name} 1"], "its check may be running"
        world.api("PATCH", f"/pulls/{number}", {"state": "closed"})
        assert world.deploy().code == 0
    else:
        assert f"removed: {name} from staging: #{number} is closed" in said
    assert world.loaded("staging") == [] and not (root / name).exists()
    assert world.version(model) == first.version


def _staging(world: World) -> tuple[Path, str]:
    http = next(triton.http for name, triton in world.endpoints.tritons if name == "staging")
    settings = yaml.safe_load((world.root / "manifests/environments/dev.yaml").read_text())
    return Path(settings["staging"]["share"]["model_repository"]), http


def test_a_cleanup_that_fails_is_said_and_fails_no_deployment(world: World) -> None:
    model = world.model()
    world.configure("dev", staging={"share": {"model_repository": "/proc/nowhere", "state": "/proc/nobody"}})
    world.merged(world.register(model))
    said = world.deploy()
    assert said.code == 0, said
    assert "left by the cleanup: model repository (/proc/nowhere): could not look at /proc/nowhere" in said.err
    assert world.version(model) == 1
