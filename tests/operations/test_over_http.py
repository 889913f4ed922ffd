"""Golden requests over the wire that gateways use: where they are asked, and what is said where they are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from bot.domain.golden import Golden
from bot.domain.routes import Target
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.errors import Rejected
from bot.operations.checking import _over_http
from bot.operations.inspection import wrong_on_triton
from bot.systems.triton.server import TritonServer

RIGHT, WRONG = (Tensor("Y", "FP16", (1,), (value,)) for value in (1.0, 2.0))
SMOKE = SmokeCases(tuple(SmokeCase(name, (RIGHT,), (RIGHT,)) for name in ("row-0", "row-1")))
TARGET = Target("m", 1, f"sha256:{1:064x}")


@dataclass
class Wires:
    """A Triton that may answer otherwise over HTTP."""

    http: str | None
    over_http: Tensor | Exception = RIGHT
    asked: list[str] = field(default_factory=list)

    def infer(self, *_: object, **_named: object) -> list[Tensor]:
        self.asked.append("gRPC")
        return [RIGHT]

    def infer_over_http(self, *_: object, **_named: object) -> list[Tensor]:
        self.asked.append("HTTP")
        if isinstance(self.over_http, Exception):
            raise self.over_http
        return [self.over_http]

    @property
    def server(self) -> TritonServer:
        return cast(TritonServer, self)


def test_staging_is_asked_every_case_over_http() -> None:
    wires = Wires("staging:8000")
    found = _over_http(wires.server, "m", 1, SMOKE)
    assert (found.what, found.passed, wires.asked) == ("over HTTP", True, ["HTTP", "HTTP"])
    assert "all 2 cases" in found.detail


def test_an_answer_that_differs_over_http_alone_is_red() -> None:
    found = _over_http(Wires("staging:8000", WRONG).server, "m", 1, SMOKE)
    assert (found.passed, found.detail.split(";")[0]) == (
        False,
        "row-0: Y[0]: 2 instead of 1 (1 of 1 values differ)",
    )


def test_where_no_address_is_known_the_finding_says_that_it_was_not_asked() -> None:
    wires = Wires(None)
    found = _over_http(wires.server, "m", 1, SMOKE)
    assert (found.passed, wires.asked) == (True, [])
    assert found.detail.startswith("not asked: staging.triton.http is not set")


@pytest.mark.parametrize(
    ("wires", "asked", "wrong"),
    [
        (Wires(None), ["gRPC"] * 2, 0),
        (Wires("t:8000"), ["gRPC", "HTTP"] * 2, 0),
        (Wires("t:8000", WRONG), ["gRPC", "HTTP"] * 2, 2),
    ],
)
def test_what_serves_is_asked_on_both_wires_where_its_address_is_known(
    wires: Wires, asked: list[str], wrong: int
) -> None:
    assert len(wrong_on_triton(TARGET, Golden(SMOKE), wires.server)) == wrong
    assert wires.asked == asked


def test_what_http_refuses_is_not_right() -> None:
    wires = Wires("t:8000", Rejected("HTTP 400", system="Triton"))
    with pytest.raises(Rejected):
        wrong_on_triton(TARGET, Golden(SMOKE), wires.server)
