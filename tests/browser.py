"""A page in headless Chromium, driven over the DevTools protocol: what a person would click, type and see."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

DEADLINE_SECONDS = 30.0
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The Chromium that is installed here, or None."""
LEFT = ("Inspected target navigated or closed", "Execution context was destroyed", "Cannot find context")
"""How Chromium begins to say that a page is no longer there to answer."""
KEYS: dict[str, dict[str, Any]] = {
    "Enter": {"windowsVirtualKeyCode": 13, "text": "\r"},
    "Tab": {"windowsVirtualKeyCode": 9},
}
DESKTOP = (1280, 860)
PHONE = (390, 844)


class NotAsExpected(Exception):
    """The page, or Chromium, does not do what it was waited for to do."""


class PageLeft(NotAsExpected):
    """The page that was asked made way for another one before it answered."""


def expect(holds: bool, what: str) -> None:
    """Raise NotAsExpected unless it holds."""
    if not holds:
        raise NotAsExpected(what)


class Browser:
    """One page. Elements are named by CSS selectors; every wait ends after 30 s. To be used in a ``with`` block."""

    def __init__(self, directory: Path, *, size: tuple[int, int] = DESKTOP) -> None:
        self._directory, self.size = directory, size
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self.errors: list[str] = []

    def __enter__(self) -> Browser:
        if CHROMIUM is None:
            raise NotAsExpected("no Chromium is installed here (Debian: chromium)")
        width, height = self.size
        profile = self._directory / "profile"
        profile.mkdir(parents=True)
        command = [CHROMIUM, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
        command += ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},{height}"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        # Chromium's own children end with it. Its output is kept for the analysis of a failure.
        with (self._directory / "chromium.log").open("w") as log:
            self._process = subprocess.Popen([*command, "about:blank"], stdout=log, stderr=log)
        try:
            port = self._wait_for_port(profile / "DevToolsActivePort")
            self._loop.run_until_complete(self._connect(port))
            self.resize(*self.size)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._session.close())
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_SECONDS)
        self._loop.close()

    def _wait_for_port(self, file: Path) -> int:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (file.exists() and file.read_text().strip()):
            expect(self._process.poll() is None, (self._directory / "chromium.log").read_text()[-2000:])
            expect(time.monotonic() < deadline, "Chromium did not come up")
            time.sleep(0.05)
        return int(file.read_text().split()[0])

    async def _connect(self, port: int) -> None:
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [one for one in await answer.json() if one["type"] == "page"]
        self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "Runtime", "Log"):
            await self._ask(f"{domain}.enable", {})

    async def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads((await self._socket.receive(timeout=DEADLINE_SECONDS)).data)
            self._note(said)
            if said.get("id") == number:
                if str(said.get("error", {}).get("message")).startswith(LEFT):
                    raise PageLeft(f"{method}: {said['error']}")
                expect("error" not in said, f"{method}: {said.get('error')}")
                found: dict[str, Any] = said["result"]
                return found

    def _note(self, said: dict[str, Any]) -> None:
        """Remember what the page's scripts did wrong."""
        parameters = said.get("params", {})
        if said.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        if said.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol; return its result."""
        return self._loop.run_until_complete(self._ask(method, parameters))

    def resize(self, width: int, height: int) -> None:
        """Have a screen of another size; a narrow one is a phone's."""
        mobile = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def open(self, url: str, *, ready: str = "body") -> None:
        """Go to a page, and wait until it has this element."""
        self.ask("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")
        self.sees(ready)

    def run(self, script: str) -> Any:
        """Return the value of an expression of the page's."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        expect("exceptionDetails" not in found, f"{script}: {found.get('exceptionDetails')}")
        return found["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Return the expression's value once that is true."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            shown = ""
            with suppress(PageLeft):  # the next page is asked
                if found := self.run(condition):
                    return found
                shown = self.run("document.body?.innerText")
            expect(time.monotonic() < deadline, f"never true: {condition}\nthe page says:\n{shown}")
            time.sleep(0.05)

    def sees(self, selector: str, text: str = "") -> str:
        """Wait until an element with this text can be seen; return all of its text."""
        chosen, wanted = json.dumps(selector), json.dumps(text)
        find = (
            f"[...document.querySelectorAll({chosen})].find(one => one.checkVisibility() "
            f"&& one.innerText.includes({wanted}))"
        )
        return str(self.wait(f"(one => one && (one.innerText || ' '))({find})"))

    def gone(self, selector: str) -> None:
        """Wait until nothing like this can be seen."""
        self.wait(f"![...document.querySelectorAll({json.dumps(selector)})].some(one => one.checkVisibility())")

    def click(self, selector: str, text: str = "") -> None:
        """Click with the mouse in the middle of the first such element, wherever the page has to scroll for it."""
        self.sees(selector, text)
        chosen, wanted = json.dumps(selector), json.dumps(text)
        middle = self.run(
            f"(one => {{ one.scrollIntoView({{block: 'center', behavior: 'instant'}}); "
            "const at = one.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2] })"
            f"([...document.querySelectorAll({chosen})].find(one => one.checkVisibility() "
            f"&& one.innerText.includes({wanted})))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=middle[0], y=middle[1], button="left", clickCount=1)

    def types(self, selector: str, text: str) -> None:
        """Click into a field and type."""
        self.click(selector)
        self.ask("Input.insertText", text=text)

    def presses(self, key: str) -> None:
        """Press a key by its name."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, **KEYS[key])

    def presses_enter(self) -> None:
        """Press the Enter key."""
        self.presses("Enter")

    def chooses(self, selector: str, value: str) -> None:
        """Choose an option of a menu by its value."""
        self.sees(selector)
        self.run(
            f"(one => {{ one.value = {json.dumps(value)}; "
            "one.dispatchEvent(new Event('change', {bubbles: true})) })"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def picture(self, file: Path) -> None:
        """Keep what is seen as a PNG."""
        shot = self.ask("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))
