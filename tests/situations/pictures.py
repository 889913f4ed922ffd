"""``python -m tests.situations.pictures DIR``: pictures of what is read as JSON, in a process of its own.

Of each page one as wide as a desk's and one as wide as a telephone's, what the terminal said at 80 columns, and all
of it on one sheet, to be looked at.
"""

from __future__ import annotations

import html
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.browser import DESKTOP, PHONE, Browser
from tests.situations.stage import COLUMNS, Seen

SIZES = {"1280": DESKTOP, "390": PHONE}
_STYLE = f"""
body {{ margin: 12px; background: #fff; font: 13px/1.35 "DejaVu Sans", "Noto Sans", sans-serif; }}
pre {{ width: calc({COLUMNS}ch + 3px); padding: 8px; background: #1d1f21; color: #e8e8e8; white-space: pre-wrap;
  word-break: break-all; font: 13px/1.3 "DejaVu Sans Mono", monospace; }}
.sheet {{ display: flex; gap: 10px; align-items: flex-start; flex-wrap: wrap; }}
.sheet img {{ border: 1px solid #999; height: 470px; }}
"""


def take(name: str, what: str, seen: Seen, folder: Path) -> None:
    """Take the pictures of a situation, while its servers are up; raise CalledProcessError where that fails."""
    given = json.dumps({"name": name, "what": what, "texts": seen.texts, "pages": seen.pages})
    command = [sys.executable, "-m", "tests.situations.pictures", str(folder)]
    subprocess.run(command, input=given, text=True, check=True, cwd=Path(__file__).parents[2])


def main() -> int:
    """Take them; return 0."""
    folder, given = Path(sys.argv[1]), json.load(sys.stdin)
    own = folder / given["name"]
    own.mkdir(parents=True, exist_ok=True)
    terminal = "".join(
        f"<pre>$ {html.escape(command)}\n{html.escape(text)}</pre>" for command, text in given["texts"].items()
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Browser(Path(profile)) as browser:
        taken = []
        for page, url in given["pages"].items():
            for size, (width, height) in SIZES.items():
                _size(browser, width, height)
                browser.open(url)
                taken.append(own / f"{page.replace(' ', '-')}-{size}.png")
                browser.picture(taken[-1])
        (own / "terminal.html").write_text(_document(terminal))
        _picture(browser, own / "terminal.html", width=720)
        shown = "".join(f'<img src="{file.name}">' for file in taken)
        title = html.escape(f"{given['name']}: {given['what']}")
        body = f'<b>{title}</b><div class="sheet"><div>{terminal}</div><div class="sheet">{shown}</div></div>'
        (own / "sheet.html").write_text(_document(body))
        _picture(browser, own / "sheet.html", width=1900)
    return 0


def _document(body: str) -> str:
    return f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style>{body}'


def _picture(browser: Browser, file: Path, *, width: int) -> None:
    """Take a picture of a whole page, however high it is."""
    _size(browser, width, 200)
    browser.open(file.resolve().as_uri())
    _size(browser, width, int(browser.run("document.documentElement.scrollHeight")))
    browser.picture(file.with_suffix(".png"))


def _size(browser: Browser, width: int, height: int) -> None:
    browser.ask(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
    )


if __name__ == "__main__":
    sys.exit(main())
