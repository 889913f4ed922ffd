"""What clients of Triton see through a gateway, in front of a real Triton."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from bot.domain.routes import Route, RouteTable
from bot.gateway import GatewaySettings
from bot.gateway.tritons import MAY_LACK_THE_VERSION, NOT_LOADED
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import (
    RunningGateway,
    http_client,
    infer_body,
    running_gateway,
    table,
    target,
    write_routes,
)
from tests.gateway.triton import RunningTriton

VALUES = np.array([0.1, 20.25, -3.0], np.float32)


def serving(tmp_path_factory: pytest.TempPathFactory, triton: RunningTriton, name: str) -> GatewaySettings:
    routes_file = tmp_path_factory.mktemp("routes") / "routes.json"
    write_routes(routes_file, table(1, target(2, name)))
    return GatewaySettings(routes_file=routes_file, tritons=(triton.url,))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, triton_server: RunningTriton) -> Iterator[RunningGateway]:
    """A gateway that serves version 2 of ``adder``."""
    with running_gateway(serving(tmp_path_factory, triton_server, "adder")) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: RunningGateway) -> triton_http.InferenceServerClient:
    with triton_http.InferenceServerClient(gateway.host_and_port) as client:
        yield client


def infer(client, *, binary, model="adder", version="", **options):  # type: ignore[no-untyped-def]
    values = triton_http.InferInput("X", list(VALUES.shape), "FP32")
    values.set_data_from_numpy(VALUES, binary_data=binary)
    wanted = triton_http.InferRequestedOutput("Y", binary_data=binary)
    return client.infer(model, [values], outputs=[wanted], model_version=version, **options)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("version", ["", "2"])
def test_infer_answers_with_the_version_in_service(client, binary: bool, version: str) -> None:
    answer = infer(client, binary=binary, version=version, request_id="mine")
    np.testing.assert_array_equal(answer.as_numpy("Y"), VALUES + 2)
    assert {key: answer.get_response()[key] for key in ("id", "model_name", "model_version")} == {
        "id": "mine",
        "model_name": "adder",
        "model_version": "2",
    }


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_passes_through(client, binary: bool, algorithm: str) -> None:
    options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    np.testing.assert_array_equal(infer(client, binary=binary, **options).as_numpy("Y"), VALUES + 2)


def test_an_answer_is_compressed_when_the_client_asks(gateway: RunningGateway) -> None:
    response = http_client.post(
        f"{gateway.url}/v2/models/adder/infer",
        json=infer_body(*[1.0] * 500),
        headers={"Accept-Encoding": "gzip"},
    )
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["outputs"][0]["data"] == [3.0] * 500


def test_the_answer_is_tritons_byte_for_byte(gateway: RunningGateway, triton_server: RunningTriton) -> None:
    body = infer_body(0.1, 1e-30, 3.3)
    direct = http_client.post(f"{triton_server.url}/v2/models/adder/versions/2/infer", json=body)
    through = http_client.post(f"{gateway.url}/v2/models/adder/infer", json=body)
    assert (through.status_code, through.content) == (200, direct.content)


def test_errors_of_triton_come_through(client) -> None:
    wrong = triton_http.InferInput("Z", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, np.float32))
    with pytest.raises(InferenceServerException, match="unexpected inference input 'Z'"):
        client.infer("adder", [wrong])


@pytest.mark.parametrize(("model", "version"), [("adder", "1"), ("adder", "3"), ("nobody", ""), ("adder", "02")])
def test_only_what_is_in_service_answers(client, model: str, version: str) -> None:
    with pytest.raises(InferenceServerException, match="not in service here") as refused:
        infer(client, binary=True, model=model, version=version)
    assert refused.value.status() == "404"
    assert not client.is_model_ready(model, version)
    for ask in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match="not in service here"):
            ask(model, version)


def test_health_metadata_config_and_statistics(client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("adder")
    assert client.is_model_ready("adder", "2")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("adder")
    assert (metadata["name"], metadata["versions"]) == ("adder", ["2"])
    assert client.get_model_config("adder")["backend"] == "onnxruntime"
    infer(client, binary=True)
    (statistics,) = client.get_inference_statistics("adder")["model_stats"]
    assert (statistics["name"], statistics["version"]) == ("adder", "2")
    assert statistics["inference_count"] > 0


@pytest.mark.parametrize(
    "administer",
    [
        lambda client: client.load_model("adder"),
        lambda client: client.unload_model("adder"),
        lambda client: client.get_model_repository_index(),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("a", "/a", 1),
        lambda client: client.get_cuda_shared_memory_status(),
        lambda client: client.update_log_settings({"log_verbose_level": 1}),
        lambda client: client.get_trace_settings(),
        lambda client: client.update_trace_settings("adder", {"trace_level": ["TIMESTAMPS"]}),
    ],
)
def test_tritons_administration_cannot_be_reached(client, administer) -> None:
    with pytest.raises(InferenceServerException, match="this gateway has no such thing"):
        administer(client)
    assert infer(client, binary=True) is not None


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory, triton_server: RunningTriton) -> Iterator[RunningGateway]:
    """A gateway that serves ``adder`` from Triton's ``adder.1a2b3c4d``."""
    with running_gateway(serving(tmp_path_factory, triton_server, "adder.1a2b3c4d")) as gateway:
        yield gateway


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_name_for_the_model_stays_hidden(renamed: RunningGateway, binary: bool) -> None:
    tricky = '{"model_name":"adder.1a2b3c4d"}'
    with triton_http.InferenceServerClient(renamed.host_and_port) as client:
        answer = infer(client, binary=binary, request_id=tricky, response_compression_algorithm="gzip")
        np.testing.assert_array_equal(answer.as_numpy("Y"), VALUES + 2)
        assert answer.get_response()["model_name"] == "adder"
        assert answer.get_response()["id"] == tricky
        assert client.get_model_metadata("adder")["name"] == "adder"
        assert client.get_model_config("adder")["name"] == "adder"
        assert client.get_inference_statistics("adder")["model_stats"][0]["name"] == "adder"


def test_a_hidden_name_changes_no_other_byte(renamed: RunningGateway, triton_server: RunningTriton) -> None:
    body = infer_body(0.1, 1e-30, 3.3)
    direct = http_client.post(f"{triton_server.url}/v2/models/adder.1a2b3c4d/versions/2/infer", json=body)
    assert renamed.infer(0.1, 1e-30, 3.3).content == direct.content.replace(b'"adder.1a2b3c4d"', b'"adder"')


def test_a_model_with_nothing_but_a_shadow_is_not_in_service(
    start_gateway: StartGateway, triton_server: RunningTriton
) -> None:
    routes = RouteTable("dev", 1, {"adder": Route(live=None, shadow=target(2))})
    answer = start_gateway(triton_server.url, routes=routes).infer(1.0)
    assert answer.status_code == 404
    assert json.loads(answer.content) == {"error": "model 'adder' is not in service here"}


@pytest.mark.parametrize("path", ["nobody/versions/1", "adder/versions/99"], ids=["model", "version"])
def test_triton_says_of_what_it_has_not_loaded_that_it_is_unknown(triton_server: RunningTriton, path: str) -> None:
    answer = http_client.post(f"{triton_server.url}/v2/models/{path}/infer", json=infer_body(1.0))
    assert answer.status_code in MAY_LACK_THE_VERSION
    assert NOT_LOADED.decode() in answer.json()["error"]
