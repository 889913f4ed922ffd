"""``python -m tests.board.pictures docs/board``: the pictures of the board that its page shows, taken in Chromium."""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.board import samples
from tests.board.samples import Still, served
from tests.browser import DESKTOP, PHONE, Browser

COLOURS = 192
"""Of a picture: text and a few signs need no more, and it is a third as large."""


@dataclass(frozen=True)
class Picture:
    """One picture: of which world, at which address, how large, in the dark, after which keys."""

    name: str
    world: str
    path: str = "/"
    size: tuple[int, int] = DESKTOP
    height: int = 0
    """Of the picture; that of the screen if 0."""
    scheme: str = "light"
    keys: tuple[str, ...] = ()


PICTURES = (
    Picture("board", "usual", height=1090),
    Picture("board-dark", "usual", scheme="dark", height=1090),
    Picture("board-phone", "usual", size=PHONE, height=1560),
    Picture("board-phone-dark", "usual", size=PHONE, height=1560, scheme="dark"),
    Picture("well", "well", height=1000),
    Picture("model", "usual", "/prod/fraud", height=1130),
    Picture("model-phone-dark", "usual", "/prod/fraud", size=PHONE, height=1700, scheme="dark"),
    Picture("github-away", "github_down", height=900),
    Picture("everything-down", "everything_down", height=1000),
    Picture("thousand-models", "many", height=1000),
    Picture("nothing-yet", "empty", height=620),
    Picture("by-keys", "usual", height=700, keys=("Tab",) * 10),
)


def main() -> None:
    """Take all of them, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.board.pictures", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="those only")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    board = Still(*samples.usual())
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(board, who_header="x-auth-request-user") as url,
        Browser(Path(scratch) / "chromium") as browser,
    ):
        browser.ask("Network.enable")
        browser.ask("Network.setExtraHTTPHeaders", headers={"x-auth-request-user": "sam"})
        for one in PICTURES:
            if not given.names or one.name in given.names:
                board.show(*getattr(samples, one.world)())
                file = given.folder / f"{one.name}.png"
                file.write_bytes(_taken(browser, one, url))
                print(f"{file}: {file.stat().st_size // 1024} KiB")


def _taken(browser: Browser, one: Picture, url: str) -> bytes:
    browser.resize(*one.size)
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": one.scheme}])
    browser.open("about:blank")
    browser.open(f"{url}{one.path}", ready="main")
    for key in one.keys:
        browser.presses(key)
    # The clock of the page is this moment's; the night of the sample is not.
    browser.run(f"looked.textContent = 'Looked at {samples.NOW:%H:%M:%S} UTC'")
    whole = browser.run("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": one.size[0], "height": min(one.height or one.size[1], whole), "scale": 1}
    shot = browser.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    kept = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(kept, "PNG", optimize=True)
    return kept.getvalue()


if __name__ == "__main__":
    main()
