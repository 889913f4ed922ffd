"""The board on real parts: Triton, gateways, a forge. A release, and a gateway that goes, are there in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.board.board import Board
from bot.board.server import running
from tests.board.samples import served
from tests.browser import CHROMIUM, Browser
from tests.operations.world import World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)"),
]


@pytest.fixture
def board(world: World) -> Iterator[Board]:
    """A board that has a token to read GitHub, and no other secret."""
    token = {"GITHUB_TOKEN": world.endpoints.variables()["GITHUB_TOKEN"]}
    made = Board(world.root, environments=["dev"], variables=token)
    with running(made):
        yield made


def test_a_release_and_what_breaks_are_there_in_seconds(world: World, board: Board, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    row = f"tr[id='dev.{model}']"
    with served(board) as url, Browser(tmp_path / "chromium") as browser:
        browser.open(f"{url}/?env=dev&q={model}", ready="main")
        browser.sees(row, "OK")
        browser.sees(f"{row} .c3", str(first.version))
        browser.sees(f"{row} .c6", f"{first.version} succeeded")

        better = world.register(model, "better")
        pull = world.proposed(better)
        # Pull requests are read every 30 s: they need not be there sooner.
        browser.sees(f"{row} .c3", str(first.version))
        world.merged(better)
        browser.sees(f"{row} .c3", f"main asks for {better.version}")
        browser.sees(f"{row} .c8", "promobot")
        assert world.deploy().code == 0
        browser.sees(f"{row} .c6", f"{better.version} succeeded")
        browser.gone(f"{row} .asked")

        world.sandbox.halt("gateway-dev-2")
        try:
            browser.sees(row, "degraded")
            browser.sees(".environment", "gateway-dev-2 does not answer")
            browser.sees("h1", "degraded in dev")
            picture(browser, "real-board")
        finally:
            world.restart("gateway-dev-2")
        browser.sees(row, "OK")

        browser.click(f"{row} a", model)
        browser.sees("h1", f"{model} in dev")
        assert browser.run("document.querySelectorAll('.timeline article').length") == 2
        browser.sees(".timeline article", f"{model} {better.version} is served in dev (was {first.version}).")
        picture(browser, "real-model")
        browser.click(".timeline .links a", "dev-0")
        browser.wait(f"document.body.innerText.includes('\"model\":') && document.body.innerText.includes('{model}')")
        assert pull["number"] > 0
        assert browser.errors == []


def picture(browser: Browser, name: str) -> None:
    if folder := os.environ.get("PROMOBOT_PICTURES"):
        browser.picture(Path(folder) / f"{name}.png")
