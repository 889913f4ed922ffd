"""The board over HTTP: read-only, escaped, without secrets, from memory."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from bot import redaction
from bot.board.board import Board
from bot.board.server import CSP, application, running, serve
from bot.errors import Refused
from tests.board.place import QUICK, TOKEN, Place, place, record
from tests.board.test_collecting import _until
from tests.gateway.gateways import running_application

SECRET = "hunter2-is-a-longer-secret"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place"), churn=7) as made:
        made.ledger.add_deployment(record(1, "churn", 6, 7))
        said = f"<script>alert(1)</script> {SECRET} javascript:alert(1)"
        made.ledger.add_deployment(record(2, "churn", 7, 8, outcome="put back", problem=said))
        redaction.keep(SECRET)  # who wrote the record did not know that it is one
        yield made


@pytest.fixture(scope="module")
def board(here: Place) -> Iterator[Board]:
    # On a busy machine a read may be late; what a late one looks like has tests of its own.
    made = Board(here.root, rhythm=replace(QUICK, late=60.0), variables={"GITHUB_TOKEN": TOKEN})
    with running(made):
        _until(lambda: _is_known(made))
        yield made


def _is_known(board: Board) -> bool:
    of = board.of("dev")
    return of is not None and all(of.freshness()) and len(of.snapshot().servers) == 4


@pytest.fixture(scope="module")
def url(board: Board) -> Iterator[str]:
    app = application(board, who_header="X-Auth-Request-User", hosts=["board.example.org"])
    with running_application(app, lifespan="off") as made:
        yield made


@pytest.fixture
def web(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as client:
        yield client


def test_the_first_page(web: httpx.Client) -> None:
    page = web.get("/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<a href="/dev/churn">churn</a>' in page.text


def test_what_the_script_fetches_is_what_the_page_has(web: httpx.Client) -> None:
    def is_so() -> bool:
        before, part, after = (web.get(path).text for path in ("/", "/?part=main", "/"))
        return before == after and part in before  # the board may have looked again in between

    _until(is_so)


@pytest.mark.parametrize("path", ["/", "/dev/churn", "/nowhere", "/static/board.css", "/healthz"])
def test_every_answer_has_the_same_safe_headers(web: httpx.Client, path: str) -> None:
    headers = web.get(path).headers
    assert headers["content-security-policy"] == CSP and "unsafe" not in CSP and "default-src 'none'" in CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_it_is_only_read(web: httpx.Client, method: str) -> None:
    for path in ("/dev/churn", "/healthz", "/nowhere"):
        answer = web.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD"), path


def test_head_is_get_without_a_body(web: httpx.Client) -> None:
    answer = web.head("/dev/churn")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("board.example.org", 200), ("BOARD.example.org:8443", 200), ("localhost:1", 200), ("[::1]:80", 200)),
        *(("evil.example.org", 421), ("127.0.0.1.evil.example.org", 421), ("", 421), ("board.example.org.", 421)),
    ],
)
def test_another_name_is_refused(web: httpx.Client, host: str, status: int) -> None:
    assert web.get("/", headers={"host": host}).status_code == status
    assert web.get("/healthz", headers={"host": host}).status_code == 200, "a probe goes by any name"


def test_foreign_texts_are_escaped_and_without_secrets(web: httpx.Client) -> None:
    for path in ("/dev/churn", "/", "/?q=%3Cscript%3Ealert(1)%3C/script%3E", "/dev/records/deployments/dev/x.json"):
        text = web.get(path).text
        assert "<script>alert" not in text and SECRET not in text, path
    page = web.get("/dev/churn").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; *** javascript:alert(1)" in page
    shown = web.get("/dev/records/deployments/dev/dev-00000002-churn.json")
    assert shown.headers["content-type"] == "application/json; charset=utf-8" and SECRET not in shown.text
    assert json.loads(shown.text)["problem"].startswith("<script>")


def test_links_lead_to_the_board_and_to_what_the_settings_name(here: Place, web: httpx.Client) -> None:

    found = {
        link for path in ("/", "/dev/churn") for link in re.findall(r'(?:href|src)="([^"]*)"', web.get(path).text)
    }
    outside = {link for link in found if not link.startswith(("/", "#"))}
    assert outside and all(link.startswith((here.forge_url, "http://127.0.0.1:9/#/models/churn")) for link in outside)
    for link in found - outside:
        assert web.get(link).status_code == 200, link


@pytest.mark.parametrize(
    "path",
    [
        "deployments/dev/dev-00000009-churn.json",
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "deployments/dev/%2e%2e/dev/dev-00000001-churn.json",
        "deployments/prod/prod-00000001-churn.json",
        ".promobot.json",
        "requests/dev/x/asked.json",
        "",
    ],
)
def test_only_records_that_the_store_lists_are_shown(web: httpx.Client, path: str) -> None:
    assert web.get(f"/dev/records/{path}").status_code == 404
    assert web.get("/dev/records/deployments/dev/dev-00000001-churn.json").status_code == 200


def test_a_person_who_asks_the_bot_is_not_on_the_board(here: Place, board: Board) -> None:
    (here.records_at / "requests/dev/x").mkdir(parents=True)
    (here.records_at / "requests/dev/x/asked.json").write_text("{}")
    reader = board.of("dev")
    assert reader is not None
    reader.listing.look()
    assert reader.listing.known.value and not [key for key in reader.listing.known.value if "requests" in key]


def test_an_answer_that_did_not_change_is_not_sent_again(web: httpx.Client) -> None:
    def is_so(path: str) -> bool:
        first = web.get(path)
        again = web.get(path, headers={"if-none-match": first.headers["etag"]})
        # The board may have looked again in between.
        return (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])

    for path in ("/", "/dev/churn", "/static/board.js", "/dev/records/deployments/dev/dev-00000001-churn.json"):
        _until(lambda path=path: is_so(path))
        assert web.get(path).headers["cache-control"] == "private, no-cache"


def test_who_looks_is_named_by_the_one_header_only(web: httpx.Client, board: Board) -> None:
    named = web.get("/", headers={"x-auth-request-user": "<b>alex</b>", "x-forwarded-user": "mallory"}).text
    assert "&lt;b&gt;alex&lt;/b&gt;" in named and "mallory" not in named and "<b>alex" not in named
    assert "alex" not in web.get("/").text, "nobody gets the page of somebody else"
    with running_application(application(board), lifespan="off") as other:
        assert "alex" not in httpx.get(other, headers={"x-auth-request-user": "alex"}, trust_env=False).text


@pytest.mark.parametrize(
    "query", ["?page=99", "?page=-1", "?page=x", "?env=../..", "?env=nowhere", f"?q={'x' * 3000}"]
)
def test_a_question_that_makes_no_sense_is_answered(web: httpx.Client, query: str) -> None:
    assert web.get(f"/{query}").status_code == 200


def test_what_is_not_there_says_so(web: httpx.Client) -> None:
    for path in ("/dev/nothing", "/nowhere/churn", "/dev", "/static/../server.py", "/static/secret.css"):
        answer = web.get(path)
        assert answer.status_code == 404 and "<title>Not found</title>" in answer.text, path


def test_pages_answer_while_every_look_hangs(here: Place, board: Board, web: httpx.Client) -> None:
    try:
        for triton in here.tritons:
            triton.hanging.set()
        for gateway in here.gateways:
            gateway.hangs()
        _until(lambda: not any(one.state == "ok" for one in board.snapshots()[0].servers))
        assert web.get("/", timeout=5).status_code == 200
        assert web.get("/dev/churn", timeout=5).status_code == 200
    finally:
        for triton in here.tritons:
            triton.hanging.clear()
        for gateway in here.gateways:
            gateway.answers()
        _until(lambda: _is_known(board))


def test_a_record_that_cannot_be_read_in_time_says_so(
    board: Board, web: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bot.board import server

    ended = threading.Event()
    monkeypatch.setattr(server, "RECORD_SECONDS", 0.2)
    monkeypatch.setattr(server.Records, "read", lambda *_: ended.wait(20))
    try:
        answer = web.get("/dev/records/deployments/dev/dev-00000001-churn.json")
        assert (answer.status_code, "does not answer in time" in answer.text) == (504, True)
    finally:
        ended.set()


def test_an_environment_whose_settings_are_broken_says_so_and_the_others_go_on(here: Place, board: Board) -> None:
    with running_application(application(board), lifespan="off") as url:
        broken = here.root / "manifests/environments/prod.yaml"
        try:
            broken.write_text("environment: [")
            _until(lambda: "manifests/environments/prod.yaml" in httpx.get(url, trust_env=False).text)
            page = httpx.get(url, trust_env=False).text
            assert '<a href="/dev/churn">churn</a>' in page
        finally:
            broken.unlink()
        _until(lambda: board.environments == ["dev"])


def test_it_follows_the_checkout(here: Place, board: Board) -> None:
    before = board.of("dev")
    here.configure(deadlines={"request_seconds": 3})
    _until(lambda: board.of("dev") is not before)
    after = board.of("dev")
    assert before is not None and after is not None
    assert after.snapshot().status is not None, "what was known under the settings of before is not forgotten"
    here.configure()
    _until(lambda: board.of("dev") is not after and _is_known(board))


def test_the_settings_file_is_gone(here: Place, board: Board) -> None:
    path = here.root / "manifests/environments/dev.yaml"
    text = path.read_text()
    try:
        path.unlink()
        (path.with_name("other.yaml")).write_text("environment: [")
        _until(lambda: board.environments == ["other"])
    finally:
        path.write_text(text)
        path.with_name("other.yaml").unlink()
    _until(lambda: board.environments == ["dev"] and _is_known(board))


def test_a_port_that_is_taken_is_said(board: Board) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=f"cannot be served at 127.0.0.1:{port}: Address already in use"):
            serve(board, host="127.0.0.1", port=port)
