"""A gateway in an application of a person's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from bot.gateway import Gateway, GatewaySettings, create_app
from tests.gateway.gateways import http_client, infer_body, running_application, table, target, write_routes
from tests.stand_ins.failing_triton import StandIn


@pytest.fixture
def gateway(tmp_path: Path, start_stand_in: Callable[[], StandIn]) -> Gateway:
    write_routes(tmp_path / "routes.json", table(3, target(7)))
    return Gateway(GatewaySettings(routes_file=tmp_path / "routes.json", tritons=(start_stand_in().url,)))


def test_an_application_mounts_the_router_and_asks_for_the_version(gateway: Gateway) -> None:
    events = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        events.append("start")
        yield
        events.append("stop")

    app = FastAPI(lifespan=lifespan)
    app.include_router(gateway.router, prefix="/models")

    @app.get("/churners")
    async def churners() -> dict[str, object]:
        live = gateway.target("adder")
        return {"version": live.version if live else None, "nobody": gateway.target("nobody")}

    with running_application(app) as url, httpx.Client(base_url=url) as client:
        assert client.get("/churners").json() == {"version": 7, "nobody": None}
        answer = client.post("/models/v2/models/adder/infer", json=infer_body(1.0))
        assert answer.json()["model_version"] == "7"
        assert client.get("/models/routes").json()["generation"] == 3
        assert client.get("/models/v2/health/ready").status_code == 200
    assert events == ["start", "stop"]


def test_a_middleware_of_the_reference_application_sees_every_request(
    tmp_path: Path, start_stand_in: Callable[[], StandIn]
) -> None:
    write_routes(tmp_path / "routes.json", table(3, target(7)))
    app = create_app(GatewaySettings(routes_file=tmp_path / "routes.json", tritons=(start_stand_in().url,)))
    seen: list[str] = []

    @app.middleware("http")
    async def see(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        seen.append(request.url.path)
        return await call_next(request)

    with running_application(app) as url:
        path = "/v2/models/adder/infer"
        assert http_client.post(f"{url}{path}", json=infer_body(1.0)).json()["model_version"] == "7"
    assert seen == [path]


def test_a_gateway_whose_start_was_forgotten_says_so(gateway: Gateway) -> None:
    app = FastAPI()
    app.include_router(gateway.router)
    with running_application(app, lifespan="off") as url:
        answer = http_client.post(f"{url}/v2/models/adder/infer", json=infer_body(1.0))
    assert answer.status_code == 503
    assert "has not started" in answer.json()["error"]


def test_the_token_is_not_shown() -> None:
    settings = GatewaySettings(routes_file=Path("r"), tritons=("http://a:1",), reload_token="secret")
    assert "secret" not in repr(settings)


def test_a_gateway_without_triton_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one Triton"):
        GatewaySettings(routes_file=Path("r"), tritons=())
