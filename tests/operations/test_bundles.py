"""Bundles: an ensemble and the models that it asks are checked, deployed and put back together, on a real Triton."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from bot.domain import desired
from bot.domain.bundled import bundle_in
from bot.domain.names import short
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, SMOKE_FILE, Package
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.systems.triton.config import asked_in
from bot.training.package import hash_file
from tests.operations.test_cases import write
from tests.operations.world import HTTP, PROMOTIONS, Registered, World

_INTERFACE = (
    'max_batch_size: 8 input [{ name: "X" data_type: TYPE_FP32 dims: [1] }] '
    'output [{ name: "Y" data_type: TYPE_FP32 dims: [1] }] '
)
_SIGNATURE = {
    part: json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1]}, "name": name}])
    for part, name in (("inputs", "X"), ("outputs", "Y"))
}


class Bundled:
    """A bundle of two parts that add a number each, and the ensemble or the Python model that asks both."""

    def __init__(self, world: World, folder: Path, *, backend: str = "ensemble") -> None:
        self.world, self.folder, self.backend = world, folder, backend
        self.first, self.second, self.last = world.model(), world.model(), world.model()
        self.models = [self.first, self.second, self.last]
        self.name = f"bundle-of-{self.last}"
        for environment in world.endpoints.triton:
            for part in (self.first, self.second):
                world.drop_gate(environment, part)  # nobody asks them for a metric
            world.configure(environment, bundles={self.name: self.models})
            if backend == "python":
                world.configure(
                    environment,
                    packages={"backends": ["onnxruntime", "python"], "file_types": [".onnx", ".py"]},
                )
        self.now: dict[str, Registered] = {}

    def adds(self, model: str, number: float, *, says: float | None = None) -> Registered:
        """Register a version of a part that adds this number; its golden requests say so, or ``says`` another."""
        folder = self.folder / f"{model}-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        weight = numpy_helper.from_array(np.array([number], np.float32), "W")
        sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in ("X", "Y")]
        graph = helper.make_graph([helper.make_node("Add", ["X", "W"], ["Y"])], model, sides[:1], sides[1:], [weight])
        built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        built.ir_version = 8
        onnx.save(built, str(folder / "model.onnx"))
        return self._register(folder, model, 'backend: "onnxruntime" ' + _INTERFACE, number if says is None else says)

    def asks(self, answers: float, *, note: str = "") -> Registered:
        """Register a version of what users ask: golden requests say that all of it adds so much."""
        folder = self.folder / f"{self.last}-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        if self.backend == "python":
            (folder / "model.py").write_text(_PYTHON + f"# {note}\n")
            parameters = " ".join(f'parameters {{ key: "BUNDLE_{part}" value {{}} }}' for part in self.models[:-1])
            config = (
                'backend: "python" '
                + _INTERFACE
                + parameters
                + f' parameters {{ key: "own.note" value {{ string_value: "{note}" }} }}'
            )
        else:
            steps = " ".join(
                f'step [{{ model_name: "{part}" model_version: -1 input_map {{ key: "X" value: "{given}" }} '
                f'output_map {{ key: "Y" value: "{gives}" }} }}]'
                for part, given, gives in ((self.first, "X", "between"), (self.second, "between", "Y"))
            )
            config = 'platform: "ensemble" ' + _INTERFACE + f"ensemble_scheduling {{ {steps} }} "
            config += f'parameters {{ key: "own.note" value {{ string_value: "{note}" }} }}'
        return self._register(folder, self.last, config, answers)

    def _register(self, folder: Path, model: str, config: str, number: float) -> Registered:
        case = SmokeCase(
            "one", (Tensor("X", "FP32", (1, 1), (0.5,)),), (Tensor("Y", "FP32", (1, 1), (0.5 + number,)),)
        )
        (folder / CONFIG_FILE).write_text(config)
        (folder / SMOKE_FILE).write_text(SmokeCases((case,)).to_json())
        package = Package.of(hash_file(folder, path.name) for path in sorted(folder.iterdir()))
        (folder / PACKAGE_FILE).write_text(package.to_json())
        (folder / "MLmodel").write_text(yaml.safe_dump({"signature": _SIGNATURE}))
        self.now[model] = registered_by_hand(self.world, folder, model, package.digest)
        return self.now[model]

    def proposed(self) -> int:
        """Propose all parts as they are now, in one pull request by hand; return its number."""
        path = PROMOTIONS.format("dev")
        text = self.world.promotions()
        for model, registered in self.now.items():
            text = desired.with_entry(text, file=path, section="models", model=model, entry=registered.entry)
        return self.world.propose_by_hand({path: text})

    def released(self) -> None:
        """Propose, check, merge and deploy all parts as they are now."""
        number = self.proposed()
        assert [said.code for said in self.world.check(number)] == [0, 0, 0, 0], self.world.sticky(number)
        self.world.merge(number)
        said = self.world.deploy()
        assert said.code == 0, said

    def answer(self, model: str = "") -> float:
        """Ask the first gateway as a user does."""
        with httpx.Client(timeout=30, trust_env=False) as client:
            return self.asked_with(client, model or self.last)[1]

    def asked_with(self, client: httpx.Client, model: str) -> tuple[int, float]:
        """Ask with this client; return the version that answered, and what it adds."""
        body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1], "data": [0.0]}]}
        url = self.world.endpoints.gateway["dev"][0].url
        reply = client.post(f"{url}/v2/models/{model}/infer", json=body)
        assert reply.status_code == 200, reply.text
        document = reply.json()
        return int(document["model_version"]), float(document["outputs"][0]["data"][0])

    @contextmanager
    def asked_all_the_while(self) -> Iterator[list[Any]]:
        """Ask without a pause; give what users of the last part got, or what was wrong."""
        seen: list[Any] = []
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(timeout=30, trust_env=False) as client:
                while not stop.is_set():
                    try:
                        seen.append(self.asked_with(client, self.last))
                    except (AssertionError, httpx.HTTPError) as error:
                        seen.append(repr(error))

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        try:
            yield seen
        finally:
            stop.set()
            for thread in asking:
                thread.join()


_PYTHON = """\
import json

import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        named = [parameters[key]["string_value"] for key in sorted(parameters) if key.startswith("BUNDLE_")]
        self.parts = [(name, int(version)) for name, _, version in (one.rpartition(":") for one in named)]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        value = triton.get_input_tensor_by_name(request, "X")
        for name, version in self.parts:
            asked = triton.InferenceRequest(
                model_name=name, model_version=version, inputs=[value], requested_output_names=["Y"]
            )
            said = asked.exec()
            if said.has_error():
                return triton.InferenceResponse([], triton.TritonError(said.error().message()))
            value = triton.Tensor("X", triton.get_output_tensor_by_name(said, "Y").as_numpy())
        return triton.InferenceResponse([triton.Tensor("Y", value.as_numpy())])
"""


def registered_by_hand(world: World, folder: Path, model: str, digest: str) -> Registered:
    """Register a package that no training job of the bot made."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=world.endpoints.mlflow, registry_uri=world.endpoints.mlflow)
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(folder), "model-by-hand")
    for metric, value in {"accuracy": 0.95, "roc_auc": 0.95, "log_loss": 0.1}.items():
        client.log_metric(run.info.run_id, metric, value)
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        assert error.error_code == "RESOURCE_ALREADY_EXISTS", error
    source = f"{run.info.artifact_uri}/model-by-hand"
    made = client.create_model_version(model, source=source, run_id=run.info.run_id, await_creation_for=0)
    return Registered(model, int(made.version), run.info.run_id, digest, folder)


@pytest.fixture
def bundle(world: World, tmp_path: Path) -> Bundled:
    """Return a bundle of which nothing is registered yet."""
    return Bundled(world, tmp_path)


def config_on_triton(world: World, name: str) -> str:
    return (world.endpoints.model_repository("dev") / name / CONFIG_FILE).read_text()


def target(world: World, model: str) -> str:
    return str(world.routes()["models"][model]["live"]["triton_model"])


def test_an_ensemble_is_released_with_its_parts(bundle: Bundled) -> None:
    world = bundle.world
    bundle.adds(bundle.first, 1), bundle.adds(bundle.second, 10), bundle.asks(11)
    bundle.released()
    assert (bundle.answer(bundle.first), bundle.answer(bundle.second), bundle.answer()) == (1, 10, 11)
    assert asked_in(config_on_triton(world, target(world, bundle.last))) == (bundle.first, bundle.second)
    records = [world.records(model)[-1] for model in bundle.models]
    digest = hashlib.sha256("".join(f"{m} {bundle.now[m].digest}\n" for m in bundle.models).encode()).hexdigest()
    assert {record.bundle and record.bundle.digest for record in records} == {f"sha256:{digest}"}


@pytest.mark.slow
def test_an_ensemble_changes_with_any_of_its_parts(bundle: Bundled) -> None:
    world = bundle.world
    bundle.adds(bundle.first, 1), bundle.adds(bundle.second, 10), bundle.asks(11)
    bundle.released()
    old = target(world, bundle.last)

    # Only a part changes, and what the ensemble answers: each of the two alone would be refused.
    bundle.adds(bundle.first, 2)
    alone = bundle.proposed()
    assert world.check(alone)[-1].code == 1
    comment = world.sticky(alone)
    assert "a part of the same bundle, did not pass" in comment or "❌" in comment
    bundle.asks(12, note="for the new part")
    with bundle.asked_all_the_while() as seen:
        bundle.released()
    assert set(seen) == {(1, 11.0), (2, 12.0)}, "no answer is made of parts of two releases"
    assert target(world, bundle.last) != old
    assert world.promobot("drift", "--env", "dev").document["environments"][0]["differences"] == []
    shown = (
        f"bundle {bundle.name} ({short(records_of(bundle)[0])}): {bundle.first} 2, {bundle.second} 1, {bundle.last} 2"
    )
    assert shown in world.words("status", "--env", "dev").out


def records_of(bundle: Bundled) -> list[str]:
    records = [bundle.world.records(model)[-1] for model in bundle.models]
    return [record.bundle.digest for record in records if record.bundle]


def quarantined(bundle: Bundled) -> list[str]:
    events = bundle.world.ledger().quarantined().values()
    return [event.digest for event in events if event.model in bundle.models]


def two_releases(bundle: Bundled) -> None:
    bundle.adds(bundle.first, 1), bundle.adds(bundle.second, 10), bundle.asks(11)
    bundle.released()
    bundle.adds(bundle.first, 2), bundle.asks(12)
    bundle.released()


@pytest.mark.slow
def test_a_rollback_of_one_part_takes_all_of_them_back(bundle: Bundled) -> None:
    world = bundle.world
    two_releases(bundle)
    left = world.records(bundle.last)[-1].bundle
    with bundle.asked_all_the_while() as seen:
        said = world.promobot("rollback", bundle.first, "--env", "dev", "--now", "--reason", "it adds too much")
    assert said.code == 0, said
    assert set(seen) == {(2, 12.0), (1, 11.0)}
    assert (bundle.answer(bundle.first), bundle.answer(bundle.second), bundle.answer()) == (1, 10, 11)
    assert left is not None
    assert quarantined(bundle) == [left.digest], "the bundle is held, and none of its parts by itself"

    held = world.deploy()
    assert held.code == 1
    assert bundle.answer() == 11, "until Git follows, what main asks for stays held"
    (revert,) = world.reverts(bundle.last)
    assert [said.code for said in world.check(revert["number"])] == [0, 0, 0, 0], world.sticky(revert["number"])
    world.merge(revert["number"])
    assert world.deploy().code == 0
    assert (bundle.answer(bundle.first), bundle.answer()) == (1, 11)


@pytest.mark.slow
def test_a_bundle_that_decides_otherwise_goes_back_with_all_its_parts(bundle: Bundled) -> None:
    """What users ask is compared with the bundle of before, whose parts stay loaded for it."""
    world = bundle.world
    bake = {"min_requests": 20, "max_error_rate": 0.5, "max_p95_worse": 1000, "max_flips": 0.02, "moved_by": 0.1}
    world.configure("dev", rollout={bundle.last: {"bake": bake}})
    two_releases(bundle)
    compared = {model: world.routes()["models"][model].get("compared") for model in bundle.models}
    assert [model for model, one in compared.items() if one] == [bundle.last]
    assert world.words("drift", "--env", "dev").code == 0
    gateways = world.endpoints.gateway["dev"]
    for number in range(400):
        url = gateways[number % len(gateways)].url
        given = {"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [number]}
        answer = HTTP.post(f"{url}/v2/models/{bundle.last}/infer", json={"inputs": [given]})
        assert answer.json()["outputs"][0]["data"] == [number + 12.0]
    said = world.words("watch", "--env", "dev", "--once")
    assert (said.code, bundle.answer(bundle.first), bundle.answer()) == (1, 1, 11), said
    assert "of decisions of 2 are others than those of 1" in world.records(bundle.last)[-1].reason
    assert world.words("drift", "--env", "dev").code == 1, "only main differs, until the revert is merged"


@pytest.mark.slow
def test_a_part_that_answers_wrong_stops_all_and_one_revert_takes_all_back(bundle: Bundled) -> None:
    world = bundle.world
    bundle.adds(bundle.first, 1), bundle.adds(bundle.second, 10), bundle.asks(11)
    bundle.released()
    before, was = world.routes()["models"], dict(bundle.now)
    bundle.adds(bundle.first, 2), bundle.asks(13)
    number = bundle.proposed()
    world.check(number)
    asked = bundle_in({model: one.entry for model, one in bundle.now.items()}, bundle.name, bundle.models)
    for registered in bundle.now.values():
        world.evidence(registered, bundle=asked)  # as checks would leave it that did not see it
    world.merge(number)
    said = world.deploy()
    assert said.code == 1
    assert world.routes()["models"] == before
    assert [world.records(model)[-1].outcome for model in bundle.models] == ["failed"] * 3
    assert quarantined(bundle) == [asked.digest]
    (revert,) = world.open_pulls("promobot-revert/dev/")
    world.merge(revert["number"])
    wanted = desired.parse(world.promotions(), file=PROMOTIONS.format("dev")).models
    assert {model: wanted[model] for model in bundle.models} == {model: one.entry for model, one in was.items()}
    assert world.deploy().code == 0


@pytest.mark.slow
def test_a_python_model_gets_names_and_versions_of_its_parts(world: World, tmp_path: Path) -> None:
    bundle = Bundled(world, tmp_path, backend="python")
    two_releases(bundle)
    assert bundle.answer() == 12
    config = config_on_triton(world, target(world, bundle.last))
    assert f'"{target(world, bundle.first)}:2"' in config and f'"{target(world, bundle.second)}:1"' in config


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ensemble", pytest.param("python", marks=pytest.mark.extended)])
def test_what_asks_a_part_keeps_it_after_the_settings_took_it_out_of_the_bundle(
    world: World, tmp_path: Path, backend: str
) -> None:
    bundle = Bundled(world, tmp_path, backend=backend)
    world.configure("dev", keep={"versions": 1, "warm": 0})
    bundle.adds(bundle.first, 1), bundle.adds(bundle.second, 10), bundle.asks(11)
    bundle.released()
    old = f"{target(world, bundle.first)} 1"
    gate = {"metrics": {"roc_auc": {"minimum": 0.5}}}
    world.configure("dev", bundles={bundle.name: [bundle.second, bundle.last]}, gates={bundle.first: gate})
    with bundle.asked_all_the_while() as seen:
        world.served(bundle.adds(bundle.first, 2))
        assert bundle.answer(bundle.first) == 2
        assert old in world.loaded(), "retention"
        world.merged(bundle.adds(bundle.first, 3, says=4))
        assert world.deploy().code == 1
        assert old in world.loaded(), "a version that failed was withdrawn beside it"
        world.retire(bundle.first)
        assert world.deploy().code == 0
        assert world.promobot("cleanup", "--env", "dev").code == 0
    assert set(seen) == {(1, 11.0)}
    assert old in world.loaded(), "retention of a model that left service"


@pytest.mark.slow
def test_retiring_one_part_retires_the_whole_bundle_in_one_pull_request(bundle: Bundled) -> None:
    world = bundle.world
    bundle.adds(bundle.first, 1), bundle.adds(bundle.second, 10), bundle.asks(11)
    bundle.released()
    said = world.promobot("retire", bundle.second, "--env", "dev", "--reason", "nobody asks for it")
    assert said.code == 0, said
    number = said.document["pull_request"]
    assert world.pull(number)["head"]["ref"] == f"promobot-retire/dev/{bundle.last}"
    for part in bundle.models:
        assert part in world.pull(number)["body"].replace("\\", "")
    assert [one.code for one in world.check(number)] == [0, 0, 0, 0], world.sticky(number)
    world.merge(number)
    assert world.deploy().code == 0
    assert not set(bundle.models) & set(world.routes()["models"])
    main = desired.parse(world.promotions(), file=PROMOTIONS.format("dev"))
    assert set(bundle.models) <= set(main.retired)


@pytest.mark.slow
def test_a_bundle_goes_to_the_next_environment_whole_and_as_it_was_verified(world: World, tmp_path: Path) -> None:
    bundled = Bundled(world, tmp_path)
    bundled.adds(bundled.first, 1)
    bundled.adds(bundled.second, 2)
    bundled.asks(3)
    refused = world.words("promote", bundled.name, "--to", "prod")
    assert refused.code == 1 and f"dev has no verified bundle {bundled.name} in service" in refused.err
    bundled.released()
    refused = world.words("promote", bundled.last, "--to", "prod", "--version", 7)
    assert refused.code == 1 and f"dev serves version 1 of {bundled.last}, not 7" in refused.err

    said = world.promobot("promote", bundled.name, "--to", "prod")
    assert said.code == 0 and said.document["action"] == "opened"
    assert {(one["model"], one["version"]) for one in said.document["proposals"]} == {(m, 1) for m in bundled.models}
    number = said.document["pull_request"]
    assert world.pull(number)["head"]["ref"].startswith("promobot-many/prod/")
    again = world.promobot("promote", bundled.last, "--to", "prod")
    assert (again.code, again.document["action"], again.document["pull_request"]) == (0, "unchanged", number)
    assert [one.code for one in world.check(number)] == [0, 0, 0, 0], world.sticky(number)
    world.merge(number)
    assert world.deploy("prod").code == 0
    assert [world.routes("prod")["models"][model]["live"]["version"] for model in bundled.models] == [1, 1, 1]
    # One of its parts alone is a model as any other.
    bundled.adds(bundled.first, 1)
    bundled.asks(3, note="again")
    bundled.released()
    said = world.promobot("promote", bundled.first, "--to", "prod")
    assert said.document["model"] == bundled.first and said.document["version"] == 2


def test_a_case_of_a_part_is_law_for_each_later_version_of_that_part(bundle: Bundled) -> None:
    two_releases(bundle)
    world, part = bundle.world, bundle.first
    before = float(
        SmokeCases.from_json((bundle.now[part].artifacts / SMOKE_FILE).read_text()).cases[0].outputs[0].data[0]
    )
    tensor = {"datatype": "FP32", "shape": [1, 1]}
    law = {
        "format": 1,
        "why": "INC-1207",
        "by": "anna",
        "inputs": [{"name": "X", **tensor, "data": [0.5]}],
        "must": [{"name": "Y", **tensor, "data": [before]}],
    }
    write(world, part, law=law)
    assert world.bot("validate").code == 0, "a part has no gate, and may have cases"
    bundle.adds(part, before + 4.5)
    bundle.asks(before + 4.5 + 10, note="third")
    number = bundle.proposed()
    smoke, verdict = world.check(number, "smoke")
    assert (smoke.code, verdict.code) == (1, 1)
    found = {
        (one["model"], case["what"]): case["passed"] for one in smoke.document["results"] for case in one["findings"]
    }
    assert found[(part, "case law")] is False and (bundle.last, "case law") not in found
    assert "failed at “case law”: Y[0]: 7.5 instead of 2.5" in world.sticky(number).splitlines()[2].replace("\\", "")
