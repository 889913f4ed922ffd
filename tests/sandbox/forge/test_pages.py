"""What is shown of what people and bots wrote: readable, and safe."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from bot.sandbox.forge.markdown import render
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("## Title", "<h2>Title</h2>"),
        ("a **b** `**c**` ~~d~~ _e_", "<p>a <strong>b</strong> <code>**c**</code> <s>d</s> <em>e</em></p>"),
        ("snake_case_name and 2*3*4", "<p>snake_case_name and 2<em>3</em>4</p>"),
        ("one\ntwo", "<p>one<br>two</p>"),
        ("before<!-- promobot: {} -->after", "<p>beforeafter</p>"),
        ("[a](https://b.c/d?e=1&f=2)", '<p><a href="https://b.c/d?e=1&amp;f=2">a</a></p>'),
        ("see https://b.c/d.", '<p>see <a href="https://b.c/d">https://b.c/d</a>.</p>'),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("1. a\n   - b", "<ol><li>a<ul><li>b</li></ul></li></ol>"),
        ("- [x] a", '<input class="task-list-item-checkbox" disabled="" type="checkbox" checked=""> a</li></ul>'),
        ("| a | b |\n|---|---|\n| 1 | x \\| y |", "<tr><td>1</td><td>x | y</td></tr>"),
        ("<details><summary>More</summary>\n\ntext\n\n</details>", "<summary>More</summary>"),
        ("```mermaid\ngraph TD\n  A --> B\n```", "<pre><code>graph TD  A --&gt; B</code></pre>"),
        ("```\n<!-- shown -->\n# no heading\n```", "<pre><code>&lt;!-- shown --&gt;# no heading</code></pre>"),
        ("> [!WARNING]\n> Careful", 'alert-warning"><p class="markdown-alert-title">Warning</p><p>Careful</p></div>'),
    ],
)
def test_markdown(text: str, shown: str) -> None:
    assert shown in render(text).replace("\n", "")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html,x)",
        '[a](https://x/"onclick="alert(1))',
        "`<img src=x onerror=alert(1)>`",
        "<details open onclick=alert(1)><summary><img src=x></summary>",
        "```x<script>\n</code><script>\n```",
        "| <script> |\n|---|\n| <img src=x> |",
        "# <b onclick=x>",
    ],
)
def test_nothing_that_runs_comes_through(text: str) -> None:
    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "img")
            for name, value in attrs:
                assert not name.startswith("on")
                assert name != "href" or str(value).startswith("https://")

    Tags().feed(render(text))


def test_a_pull_requests_page_shows_what_it_is_about(server: Server, clone: Clone) -> None:
    clone.branch("feature/a", {"promotions/dev.yaml": "environment: dev\nmodels: {<churn>: 7}\n"})
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    pull = repo.create_pull(base="main", head="feature/a", title="Promote <churn>", body="**Why**")
    pull.create_issue_comment("<!-- promobot -->| a |\n|---|\n| shown |")
    output = {"title": "too slow", "summary": ""}
    repo.create_check_run("latency", pull.head.sha, "https://example.com/log", conclusion="failure", output=output)

    page = httpx.get(pull.html_url).text
    for part in (
        "Promote &lt;churn&gt;",
        "<strong>Why</strong>",
        "promobot[bot]",
        "latency",
        "https://example.com/log",
    ):
        assert part in page
    assert "+models: {&lt;churn&gt;: 7}" in page
    assert "&lt;!-- promobot" not in page and "<!-- promobot" not in page
    assert "Open" in page and "too slow" in page
    pull.merge()
    assert "Merged" in httpx.get(pull.html_url).text


def test_every_link_of_the_pages_leads_somewhere(server: Server, clone: Clone) -> None:
    clone.branch("feature/a", {"docs/read me.md": "# Hello\n"})
    repo = server.as_pygithub().get_repo(REPOSITORY)
    repo.create_pull(base="main", head="feature/a", title="A", body="")
    seen: set[str] = set()
    waiting = [f"/{REPOSITORY}", f"/{REPOSITORY}/tree/feature/a"]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            answer = httpx.get(server.url + path)
            assert answer.status_code == 200, path
            waiting += re.findall(r'href="(/[^"#]*)"', answer.text)
    assert {f"/{REPOSITORY}/pull/1", f"/{REPOSITORY}/actions", f"/{REPOSITORY}/tree/feature/a/docs"} <= seen
