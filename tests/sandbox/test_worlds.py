"""The worlds that a sandbox can be like: what a reader sees in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bot.sandbox import seed, worlds
from bot.sandbox.platform import PARTS, Sandbox

SEEN = {
    "slack-archived": ("Slack", "the channel is archived"),
    "slack-not-invited": ("Slack", "not_in_channel"),
    "slack-scope": ("Slack", "missing_scope: channels:history"),
    "triton-none": ("Triton triton-dev-1", "explicit model load / unload is not allowed"),
    "triton-poll": ("Triton triton-dev-1", "explicit model load / unload is not allowed"),
    "triton-other-repository": ("Triton triton-dev-1", "reads another model repository"),
    "gateway-other-share": ("gateway gateway-dev-1", "does not read the routes in"),
    "records-not-mounted": ("records", "it is not mounted, or was never used"),
    "renamed-repository": ("GitHub", "the repository is now promobot/models-moved"),
    "squash-only": ("GitHub", "Slack's Merge merges by squash"),
    "rebase-only": ("GitHub", "Slack's Merge merges by rebase"),
    "merge-queue": ("GitHub", "Slack's Merge joins the merge queue"),
    "signed-commits": ("GitHub", "GitHub makes and signs the bot's commits"),
    "workers": ("gateway gateway-dev-1", "serves generation 0"),
}
"""What `promobot doctor` shows in each, on which line."""
IN_ORDER = [*(name for name in worlds.WORLDS if name != "renamed-repository"), "renamed-repository"]
"""After the last nobody finds the repository by the name in the clone."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A sandbox with a person's clone beside it; it becomes like one world after the other."""
    home = tmp_path_factory.mktemp("worlds")
    sandbox = Sandbox.up(home / "sandbox", progress=print, seed=seed.seed, parts=PARTS - {"actions", "slack-app"})
    try:
        seed.clone(sandbox.endpoints, home / "clone")
        yield home
    finally:
        Sandbox.down(home / "sandbox")


def test_each_world_has_something_to_see() -> None:
    assert SEEN.keys() == worlds.WORLDS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_ORDER)
def test_a_reader_sees_it(home: Path, name: str) -> None:
    sandbox = Sandbox.open(home / "sandbox")
    worlds.change_channel(sandbox, archived=False, has_bot=True)
    worlds.install_app(sandbox)
    worlds.likeness(name).make(sandbox)
    system, seen = SEEN[name]
    command = [sys.executable, "-m", "bot", "doctor", "--env", "dev", "--json", "--root", str(home / "clone")]
    variables = {**os.environ, **sandbox.endpoints.variables()}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    (found,) = json.loads(done.stdout)["environments"]
    lines = {line["system"]: line for line in found["systems"]}
    assert seen in lines[system]["seen"], lines
    if name == "workers":
        answer = httpx.get(f"{sandbox.endpoints.gateway['dev'][0].url}/routes", timeout=60).json()
        assert len(answer["workers"]) == worlds.WORKERS
