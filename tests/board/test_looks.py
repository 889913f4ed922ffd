"""The board as a person sees it, in headless Chromium: at a desk, on a phone, in the dark, and by keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bot.board import server
from tests.board import samples
from tests.board.samples import NOW, Still, served
from tests.browser import CHROMIUM, DESKTOP, PHONE, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")

WORLDS = ("usual", "well", "everything_down", "github_down", "empty", "many")
FAINT = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (one) => { one /= 255; return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4; };
  const shine = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const under = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].filter((one) => one.nodeType === 3 && one.nodeValue.trim());
    if (!own.length || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const [one, other] = [shine(parse(style.color)), shine(under(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) found.push(`${own[0].nodeValue.trim()}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
})()"""
"""The texts whose contrast is below WCAG 2.2 AA."""
TONELESS = """[...document.querySelectorAll(".sign.ok, .sign.warn, .sign.bad, .sign.unknown")]
  .filter((one) => !one.textContent.trim() || getComputedStyle(one, "::before").content === "none").length"""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Pages look ten times as often as for people, unless a test has them look by themselves."""
    if "without_script" not in request.node.name:
        monkeypatch.setattr(server, "REFRESH_SECONDS", 0.2)


@pytest.fixture(scope="module")
def board() -> Still:
    return Still(*samples.usual())


@pytest.fixture(scope="module")
def url(board: Still) -> Iterator[str]:
    with served(board, who_header="x-auth-request-user") as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium"), size=DESKTOP) as opened:
        yield opened


def shows(browser: Browser, address: str, *, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
    browser.resize(*size)
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open("about:blank")
    browser.errors.clear()
    browser.open(address, ready="main")


def looks_right(browser: Browser) -> None:
    """No script fails, nothing is wider than the screen, every text can be read, no colour says anything alone."""
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run(FAINT) == []
    assert browser.run(TONELESS) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize(
    "world", [*("usual", "everything_down"), *(pytest.param(one, marks=pytest.mark.extended) for one in WORLDS)]
)
def test_it_can_be_read(
    board: Still, url: str, browser: Browser, world: str, size: tuple[int, int], scheme: str
) -> None:
    board.show(*getattr(samples, world)())
    shows(browser, f"{url}/", size=size, scheme=scheme)
    looks_right(browser)
    if world != "empty":
        model = "churn-000" if world == "many" else "fraud"
        shows(browser, f"{url}/prod/{model}", size=size, scheme=scheme)
        looks_right(browser)
        browser.sees(".timeline article")


def test_one_glance_says_how_users_are_and_what_to_type(board: Still, url: str, browser: Browser) -> None:
    board.show(*samples.usual())
    shows(browser, f"{url}/")
    assert browser.run("document.title") == "search is DOWN in prod. 5 models are degraded in prod. Promobot"
    first = browser.run("document.querySelector('.models tbody tr').innerText")
    assert "DOWN" in first and "search" in first and "promobot deploy --env prod" in first
    fold = browser.run(
        "[...document.querySelectorAll('h1, .models tbody tr:first-child .sign, .models tbody tr:first-child code')]"
        ".every(one => one.getBoundingClientRect().bottom < innerHeight)"
    )
    assert fold, "it is seen without scrolling"


def test_a_board_that_has_just_started_claims_nothing(board: Still, url: str, browser: Browser) -> None:
    board.show(samples.Sample("dev"), samples.Unread("prod"))
    shows(browser, f"{url}/")
    browser.sees("h1", "Nothing is known yet of prod.")
    browser.gone(".empty")
    assert browser.run("document.querySelectorAll('.environment.ok').length") == 1
    looks_right(browser)


def roles(browser: Browser) -> list[tuple[str, str]]:
    """Return role and name of everything that a screen reader is told."""
    nodes: list[dict[str, Any]] = browser.ask("Accessibility.getFullAXTree")["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
    ]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_a_screen_reader_finds_its_way(board: Still, url: str, browser: Browser, size: tuple[int, int]) -> None:
    board.show(*samples.usual())
    shows(browser, f"{url}/", size=size)
    told = roles(browser)
    kinds = [role for role, _ in told]
    for landmark in ("banner", "main", "search", "contentinfo"):
        assert kinds.count(landmark) == 1, landmark
    assert ("table", "Models, those in trouble first") in told, "also as cards on a phone"
    assert kinds.count("row") == 10 and kinds.count("rowheader") == 9 and kinds.count("columnheader") == 8
    assert ("heading", "search is DOWN in prod. 5 models are degraded in prod.") in told
    assert all(name for role, name in told if role in ("link", "button", "searchbox", "combobox", "checkbox"))


def focused(browser: Browser) -> str:
    return str(browser.run("document.activeElement.innerText || document.activeElement.id"))


def test_by_keys_alone(board: Still, url: str, browser: Browser) -> None:
    board.show(*samples.usual())
    shows(browser, f"{url}/")
    browser.presses("Tab")
    assert focused(browser) == "Skip to the content"
    assert browser.run("document.activeElement.getBoundingClientRect().top >= 0"), "it is seen while it has the focus"
    browser.presses_enter()
    assert browser.run("document.activeElement.id") == "main"
    seen = []
    while focused(browser) != "q":
        browser.presses("Tab")
        ring = browser.run("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert ring >= 2, f"{focused(browser)} shows no focus"
        seen.append(focused(browser))
    assert seen[0] == "dev", "the skip link leaves out the top"
    browser.ask("Input.insertText", text="frau")
    browser.presses_enter()
    browser.wait("location.search.includes('q=frau')")
    assert browser.sees(".found") == "2 models"
    assert browser.run("[...document.querySelectorAll('.models tbody th')].map(one => one.innerText)") == [
        *("fraud\nprod", "fraud\ndev")
    ]


def test_what_changes_is_shown_and_nothing_else_moves(board: Still, url: str, browser: Browser) -> None:
    board.show(*samples.many(60))
    shows(browser, f"{url}/")
    browser.types("#q", "half typ")
    browser.run("document.querySelector('[id=\"staging.churn-007\"] a').focus()")
    browser.run("scrollTo(0, 1500)")
    browser.run("document.querySelector('[id=\"staging.churn-007\"]').kept = true")
    top = "document.querySelector('[id=\"staging.churn-007\"]').getBoundingClientRect().top"
    before = browser.run(top)
    *others, prod = samples.many(60)
    board.show(*others, replace(prod, asks={}))
    browser.wait("document.querySelector('h1').innerText.includes('everything is as main says')")
    assert browser.run("document.title").startswith("Users are OK")
    assert browser.run("document.activeElement.closest('tr').id") == "staging.churn-007"
    assert browser.run("document.querySelector('[id=\"staging.churn-007\"]').kept"), "it is the same row"
    assert browser.run("document.getElementById('q').value") == "half typ"
    assert browser.run("scrollY") > 0 and abs(browser.run(top) - before) < 400
    assert browser.errors == []


def test_what_a_person_opened_stays_open(board: Still, url: str, browser: Browser) -> None:
    board.show(*samples.usual())
    shows(browser, f"{url}/prod/churn")
    browser.click("#prod-00000030-churn summary")
    dev, prod = samples.usual()
    newest = samples.recorded("prod", "churn", (8, 9), turn=40, ago=NOW - NOW)
    board.show(dev, replace(prod, records=[*prod.records, newest]))
    browser.sees(".timeline article", "churn 9 is served")
    opened = "[...document.querySelectorAll('.timeline details[open]')].map(one => one.closest('li').id)"
    assert browser.run(opened) == ["prod-00000030-churn", "prod-00000021-churn"], "that one, and what failed"
    assert browser.errors == []


def test_paused_nothing_changes_and_it_says_so(board: Still, url: str, browser: Browser) -> None:
    board.show(*samples.well())
    shows(browser, f"{url}/")
    browser.click("#pause")
    browser.sees("#old", "Paused at")
    assert browser.run("[...document.querySelectorAll('.sign.ok')].every(one => getComputedStyle(one).borderStyle"
                       " === 'dashed')"), "nothing is called well that nobody looks at"  # fmt: skip
    board.show(*samples.usual())
    browser.click("#pause", "Go on")
    browser.sees("h1", "DOWN")
    browser.gone("#old")


def test_a_board_that_no_longer_answers_is_not_believed(browser: Browser) -> None:
    with served(Still(*samples.well())) as url:
        shows(browser, f"{url}/")
        browser.sees(".sign.ok", "OK")
    browser.sees("#old", "The board has not answered since")
    assert browser.run("document.body.classList.contains('is-old')")
    assert browser.run("getComputedStyle(document.querySelector('.sign.ok')).borderStyle") == "dashed"


def test_it_is_read_and_searched_without_script(board: Still, url: str, browser: Browser) -> None:
    board.show(*samples.many(250, ["prod"]))
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        shows(browser, f"{url}/")
        assert browser.run("document.querySelectorAll('.models tbody tr').length") == 100
        assert browser.run("document.getElementById('pause').checkVisibility()") is False
        browser.click("a[rel=next]")
        browser.sees(".found", "page 2 of 3")
        browser.types("#q", "churn-01")
        browser.click(".search button", "Show")
        browser.sees(".found", "10 models")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
