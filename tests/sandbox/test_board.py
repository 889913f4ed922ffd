"""The board of a sandbox: it answers where ``endpoints.json`` says, and has no secret but what reading needs."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from bot.sandbox.platform import Sandbox
from bot.sandbox.seed import seed_promotions
from tests.operations.world import wait_until


def test_a_board_runs_and_says_what_answers_and_what_does_not(tmp_path: Path) -> None:
    parts = frozenset({"forge", "board"})
    sandbox = Sandbox.up(tmp_path, progress=print, seed=seed_promotions, parts=parts)
    try:
        document = json.loads((tmp_path / "endpoints.json").read_text())
        assert set(document["pids"]) == parts and document["board"] in sandbox.table()
        wait_until(lambda: "No model is in service" in _shown(document["board"]))
        wait_until(lambda: "gateway-dev-2 does not answer" in _shown(document["board"]))
        page = _shown(document["board"])
        assert '<a href="/?env=dev">dev</a>' in page and '<a href="/?env=prod">prod</a>' in page
        wait_until(lambda: _shown(document["board"]).count("main is at") == 2)
        (running,) = (one for one in sandbox.processes.recorded() if one.part.name == "board")
        told = Path(f"/proc/{running.pid}/environ").read_text()
        kept = [
            *(document[name] for name in ("reload_token", "slack_token", "slack_app_token")),
            document["forge_token"],
        ]
        assert not any(secret in told for secret in kept)
        assert document["people"]["promobot[bot]"] in told, "GitHub is read with a token"
    finally:
        assert set(Sandbox.down(tmp_path)) == parts


def _shown(url: str) -> str:
    return httpx.get(url, trust_env=False).text
