"""Live state, asked of everybody at once, some of whom are silent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bot import environment_files
from bot.concurrency import gather
from bot.domain.routes import Route, RouteTable, Target
from bot.errors import Rejected, Unavailable
from bot.operations.observe import observe
from bot.platform import Serving
from bot.settings import GatewayEndpoint, Triton
from bot.share import ModelRepository
from bot.systems.gateway import Gateway
from bot.systems.triton.server import TritonServer
from tests.gateway.triton import publish_adder
from tests.share.test_share import share_at
from tests.stand_ins.server import Seen, StandIn, answer
from tests.systems.conftest import RealTriton

SETTINGS = environment_files.load(Path(__file__).parents[2], "dev")
TABLE = RouteTable("dev", 3, {"churn": Route(live=Target("observed", 2, f"sha256:{2:064x}"))})


@pytest.fixture
def share(tmp_path: Path) -> ModelRepository:
    return share_at(tmp_path)


@pytest.fixture
def serving(real: RealTriton, share: ModelRepository, stand_in: StandIn, closed_port: int) -> Iterator[Serving]:
    """A Triton and a gateway that answer, and one of each that does not."""
    tritons = tuple(
        TritonServer(Triton(name=name, grpc=grpc), request_seconds=2)
        for name, grpc in (("t-0", real.grpc), ("t-1", f"127.0.0.1:{closed_port}"))
    )
    gateways = tuple(
        Gateway(GatewayEndpoint(name=name, url=url), token="t", request_seconds=2)
        for name, url in (("g-0", stand_in.url), ("g-1", f"http://127.0.0.1:{closed_port}"))
    )
    yield Serving(share, tritons, gateways)
    for system in (*tritons, *gateways):
        system.close()


def test_what_everybody_says_and_who_is_silent(
    real: RealTriton, serving: Serving, share: ModelRepository, stand_in: StandIn
) -> None:
    publish_adder(real.repository / "observed", versions=(1, 2))
    httpx.post(f"{real.url}/v2/repository/models/observed/load", timeout=60).raise_for_status()
    share.routes.write(TABLE)
    stand_in.answers(200, TABLE.to_json().encode())

    live = observe(SETTINGS, serving)

    assert live.routes == TABLE
    loaded = live.tritons["t-0"]
    assert loaded is not None
    assert {(model, version) for model, version in loaded if model == "observed"} == {
        ("observed", 1),
        ("observed", 2),
    }
    assert live.gateways == {"g-0": TABLE, "g-1": None}
    assert live.tritons["t-1"] is None
    assert sorted(live.silent) == ["g-1", "t-1"]
    assert "Triton t-1" in live.silent["t-1"] and "gateway g-1" in live.silent["g-1"]


def test_routes_that_cannot_be_read_stop_everything(serving: Serving, share: ModelRepository) -> None:
    """Without them nobody knows what users get."""
    share.routes.write(TABLE)
    (share.state / "routes.json").write_text("{")
    with pytest.raises(Rejected, match=r"routes\.json is not readable"):
        observe(SETTINGS, serving)


def test_all_are_asked_together(stand_in: StandIn) -> None:
    together = threading.Barrier(8)

    def answer_when_all_have_asked(_: Seen) -> bytes:
        together.wait(30)  # passes only when eight wait for their answers at the same time
        return answer(503)

    stand_in.behaviour = answer_when_all_have_asked
    gateways = [
        Gateway(GatewayEndpoint(name=f"g-{n}", url=stand_in.url), token="t", request_seconds=60) for n in range(8)
    ]
    answers = gather(gateways, Gateway.routes, limit=8)
    assert not together.broken
    assert [gateway.name for gateway, _ in answers] == [f"g-{n}" for n in range(8)]
    assert all(isinstance(answer, Unavailable) for _, answer in answers)
    for gateway in gateways:
        gateway.close()
