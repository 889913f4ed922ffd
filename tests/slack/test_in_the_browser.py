"""A release and the way back, as people do it on the page of the workspace, with the bot's own app behind it.

``PROMOBOT_PICTURES=DIR`` keeps what was seen on the way as PNGs.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, DESKTOP, PHONE, Browser
from tests.operations.world import wait_until
from tests.slack.test_in_the_workspace import Workspace, workspace

__all__ = ["workspace"]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here (Debian: chromium)"),
]


def picture(browser: Browser, name: str) -> None:
    if folder := os.environ.get("PROMOBOT_PICTURES"):
        browser.picture(Path(folder) / f"slack-{name}.png")


def types(browser: Browser, line: str) -> None:
    browser.types("#composer input", line)
    browser.presses_enter()


def test_released_and_rolled_back_by_typing_and_pressing(workspace: Workspace, tmp_path: Path) -> None:
    world = workspace.world
    model = world.model()
    world.served(world.register(model))
    better = world.register(model, "better")
    with Browser(tmp_path / "desktop", size=DESKTOP) as browser:
        browser.open(f"{workspace.url}/?as=sam", ready="#composer")
        types(browser, f"/promote {model} {better.version} dev")
        browser.sees(".ephemeral", "proposes")
        browser.sees("#messages article", "its checks run")
        browser.sees("#messages .chart", f"{model} 2 against 1 in service")
        picture(browser, "1-proposed")
        with Browser(tmp_path / "glance", size=PHONE) as phone:
            phone.open(f"{workspace.url}/?as=sam", ready="#composer")
            phone.sees("#messages .chart", "limit")
            phone.sees("#messages td", "+0.0")
            assert phone.run("document.documentElement.scrollWidth <= innerWidth")
            picture(phone, "6-phone-metrics")
        (pull,) = world.open_pulls(f"promobot/dev/{model}")
        assert [said.code for said in world.check(pull["number"])] == [0] * 4

        browser.open(f"{workspace.url}/?as=alex", ready="#composer")
        browser.sees("#messages article", "its checks passed")
        browser.click("#messages .button", "Merge")
        browser.click(".confirm .button", "Yes")
        wait_until(lambda: world.pull(pull["number"])["merged"])
        assert world.deploy().code == 0
        browser.sees("#messages article", f"{better.version} is served")
        browser.click("#messages .replies", "repl")
        browser.sees("#thread article", f"{model} {better.version} is served in dev (was 1).")
        picture(browser, "2-thread")

        types(browser, f"/rollback {model} dev")
        browser.sees(".ephemeral", "takes")
        (revert,) = world.reverts(model)
        picture(browser, "3-rollback")
        assert browser.errors == []
    assert [said.code for said in world.check(revert["number"])] == [0] * 4
    with Browser(tmp_path / "phone", size=PHONE) as browser:
        browser.open(f"{workspace.url}/?as=sam", ready="#composer")
        browser.sees("#messages article", f"Back: {model} 2 → 1 in dev")
        browser.sees("#messages article", "its checks passed")
        picture(browser, "4-phone")
        types(browser, f"/promotions dev {model}")
        browser.sees(".ephemeral", "live 2")
        picture(browser, "5-phone-promotions")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.errors == []
