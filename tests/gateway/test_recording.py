"""A sample of live requests: kept as asked, without what must not be kept, and never in a user's way."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.domain import binary
from bot.domain.recorded import Recorded
from bot.domain.smoke import Tensor
from bot.gateway import GatewaySettings, RecordingSettings
from bot.gateway.recording import Recorder
from bot.recordings import newest
from bot.recordings.directory import Directory
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, infer_body, table, target, wait_for
from tests.gateway.triton import RunningTriton
from tests.stand_ins.failing_triton import StandIn, answer_well, http

StartStandIn = Callable[[], StandIn]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


def settings(kept: Path, **more: Any) -> RecordingSettings:
    return RecordingSettings(str(kept), **{"share": 1.0, "per_second": 1000.0, "every_seconds": 0.05, **more})


def recorded(kept: Path, model: str = "adder") -> list[Recorded]:
    return list(newest(Directory(kept), "dev", model, 1000))


def counts(gateway: RunningGateway) -> Any:
    return gateway.routes()["recording"]


def test_what_users_ask_is_kept_with_the_version_that_answered(
    start_gateway: StartGateway, start_stand_in: StartStandIn, kept: Path
) -> None:
    gateway = start_gateway(start_stand_in().url, routes=table(1, target(7)), recording=settings(kept))
    assert gateway.infer(1.25, 3.0).status_code == 200
    tensor = Tensor("X", "FP32", (1, 2), (0.5, 1.5))
    body, headers = binary.request([tensor], ["Y"])
    path = f"{gateway.url}/v2/models/adder/infer"
    secret = {**headers, "Authorization": "Bearer secret", "X-User": "ada"}
    assert http_client.post(path, content=body, headers=secret).status_code == 200
    wait_for(lambda: counts(gateway)["written"] == 2)
    second, first = recorded(kept)
    assert first.inputs == (Tensor("X", "FP32", (2,), (1.25, 3.0)),) and second.inputs == (tensor,)
    assert (first.version, first.digest, first.model) == (7, target(7).digest, "adder")
    texts = [gzip.decompress(file.read_bytes()) for file in kept.rglob("*.gz")]
    assert texts and not any(b"secret" in text or b"ada" in text for text in texts)


def test_off_is_the_default(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    gateway = start_gateway(start_stand_in().url, routes=table(1, target(7)))
    assert gateway.infer(1.0).status_code == 200
    assert "recording" not in gateway.routes()


def test_what_the_live_version_refused_is_not_kept(
    start_gateway: StartGateway, start_stand_in: StartStandIn, kept: Path
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)), recording=settings(kept))
    triton.behaviour = lambda _: http(400, b'{"error":"no"}')
    assert gateway.infer(1.0).status_code == 400
    triton.behaviour = answer_well
    assert gateway.infer(2.0).status_code == 200
    wait_for(lambda: counts(gateway)["written"] == 1)
    assert [one.inputs[0].data for one in recorded(kept)] == [(2.0,)]


def test_fields_that_are_dropped_reach_no_file(
    start_gateway: StartGateway, start_stand_in: StartStandIn, kept: Path
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)), recording=settings(kept, drop=("who", "X[0]")))
    body = {
        "id": "order-4711",
        "inputs": [
            {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [4711.0, 2.0]},
            {"name": "who", "datatype": "BYTES", "shape": [1], "data": ["ada lovelace"]},
        ],
    }
    assert http_client.post(f"{gateway.url}/v2/models/adder/infer", json=body).status_code == 200
    wait_for(lambda: counts(gateway)["written"] == 1)
    (one,) = recorded(kept)
    assert [tensor.data for tensor in one.inputs] == [(0.0, 2.0), ("",)] and one.dropped == ("X[0]", "who")
    (text,) = [gzip.decompress(file.read_bytes()) for file in kept.rglob("*.gz")]
    assert b"4711" not in text and b"ada" not in text
    assert b"4711" in triton.infers[-1].body  # Triton got it as it was


def test_a_disk_that_fails_is_counted_and_said_and_users_are_served(
    start_gateway: StartGateway, start_stand_in: StartStandIn, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start_gateway(start_stand_in().url, routes=table(1, target(7)), recording=settings(kept))
    kept.rmdir()
    for _ in range(3):
        assert gateway.infer(1.0).status_code == 200
    wait_for(lambda: counts(gateway)["failed"] == 3)
    assert "requests are not recorded: recordings" in caplog.text
    kept.mkdir()
    assert gateway.infer(5.0).status_code == 200
    wait_for(lambda: counts(gateway)["written"] == 1)


def test_the_last_ones_are_written_when_the_gateway_stops(
    start_stand_in: StartStandIn, tmp_path: Path, kept: Path
) -> None:
    from tests.gateway.gateways import running_gateway, write_routes

    write_routes(tmp_path / "routes.json", table(1, target(7)))
    chosen = GatewaySettings(
        routes_file=tmp_path / "routes.json",
        tritons=(start_stand_in().url,),
        single_process=True,
        recording=settings(kept, every_seconds=3600),
    )
    with running_gateway(chosen) as gateway:
        assert gateway.infer(1.0).status_code == 200
    assert len(recorded(kept)) == 1


def test_of_the_real_triton_a_recorded_request_gets_the_same_answer_again(
    start_gateway: StartGateway, triton_server: RunningTriton, kept: Path
) -> None:
    gateway = start_gateway(triton_server.url, routes=table(1, target(2)), recording=settings(kept))
    first = gateway.infer(1.5, -2.0).json()["outputs"]
    wait_for(lambda: counts(gateway)["written"] == 1)
    (one,) = recorded(kept)
    body, headers = binary.request(one.inputs, [first[0]["name"]])
    said = http_client.post(f"{gateway.url}/v2/models/adder/infer", content=body, headers=headers)
    assert said.status_code == 200
    _, (output,) = binary.answer(said.content, httpx.Headers(said.headers))
    assert list(output.data) == first[0]["data"]


# --- the budget, without a network --------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def recorder(kept: Path, clock: Clock, *, chance: float = 0.0, **more: Any) -> Recorder:
    return Recorder(
        settings(kept, **more), environment=lambda: "dev", writer=lambda: "w", chance=lambda: chance, clock=clock
    )


def take(recorder: Recorder, *, size: int = 1, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    body = httpx.Request("POST", "http://a", json=infer_body(*([1.0] * size))).content
    recorder.take("adder", target(7), headers or [], body)


def test_chance_decides_first(kept: Path) -> None:
    never = recorder(kept, Clock(), chance=0.5, share=0.5)
    take(never)
    assert never.counts.to_json() == dict.fromkeys(("taken", "written", "dropped", "unreadable", "failed"), 0)


def test_no_more_than_so_many_a_second(kept: Path) -> None:
    clock = Clock()
    slow = recorder(kept, clock, per_second=2.0)
    for _ in range(5):
        take(slow)
    assert (slow.counts.taken, slow.counts.dropped) == (2, 3)
    clock.now = 0.5
    take(slow)
    assert slow.counts.taken == 3


def test_less_than_one_a_second_is_some(kept: Path) -> None:
    clock = Clock()
    rare = recorder(kept, clock, per_second=0.1)
    take(rare)
    clock.now = 5.0
    take(rare)
    clock.now = 10.0
    take(rare)
    assert (rare.counts.taken, rare.counts.dropped) == (2, 1)


def test_large_bodies_and_too_many_of_them_are_dropped(kept: Path) -> None:
    small = recorder(kept, Clock(), max_request_bytes=200, max_bytes_waiting=250)
    take(small, size=100)
    assert small.counts.dropped == 1
    for _ in range(4):
        take(small)
    assert small.counts.dropped >= 2


def test_a_compressed_request_is_not_unpacked(kept: Path) -> None:
    one = recorder(kept, Clock())
    take(one, headers=[(b"content-encoding", b"gzip")])
    assert (one.counts.taken, one.counts.unreadable) == (0, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"to": "recordings"}, "absolute path"),
        ({"to": "s3://B"}, "absolute path"),
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"per_second": 0}, "per_second"),
        ({"keep_days": 0}, "keep_days"),
        ({"drop": ("X[",)}, "is not a field"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RecordingSettings(**{"to": "/recordings", **changed})
