"""The worlds that a sandbox can be like: what a reader sees in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot import trust
from bot.errors import Refused
from bot.sandbox import seed, worlds
from bot.sandbox.platform import PARTS, Sandbox, Shape

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
WITH_SETTINGS = ("private-ca", "s3-no-trailers", "s3-virtual-hosts-only", "s3-no-conditions")
"""Worlds that have environment files of their own."""
BEHIND_TLS = {"Git", "MLflow", "records", "staging Triton", "Triton triton-dev-1", "gateway gateway-dev-1"}
DOCTOR = """
import sys
from bot import cli
from bot.operations import doctor, trials
trials.DEADLINE_SECONDS, trials.REQUEST_SECONDS, doctor.GIT_SECONDS = 60.0, 20.0, 60.0
sys.exit(cli.main(sys.argv[1:]))
"""
"""A person waits 15 s for it. A loaded machine of tests may need longer for what is well."""
IN_ORDER = [*(name for name in SEEN if name != "renamed-repository"), "renamed-repository"]
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
    assert {*SEEN, *WITH_SETTINGS} == worlds.WORLDS.keys()


@pytest.fixture(scope="module")
def with_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("worlds-with-a-bucket")
    parts = PARTS - {"actions", "slack-app"}
    yield Sandbox.up(folder, progress=print, seed=seed.seed, parts=parts, shape=Shape(s3=True))
    Sandbox.down(folder)


def diagnosed(sandbox: Sandbox, root: Path, **variables: str) -> dict[str, dict[str, Any]]:
    """Return what `promobot doctor` says of dev, by system."""
    command = [sys.executable, "-c", DOCTOR, "doctor", "--env", "dev", "--json", "--root", str(root)]
    known = {name: value for name, value in os.environ.items() if name not in trust.FILES}
    environment = {**known, **sandbox.endpoints.variables(), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    (found,) = json.loads(done.stdout)["environments"]
    return {line["system"]: line for line in found["systems"]}


@pytest.mark.slow
def test_behind_a_private_authority_nobody_is_asked_who_is_not_trusted_and_everything_works_once_it_is(
    with_bucket: Sandbox,
) -> None:
    worlds.likeness("private-ca").make(with_bucket)
    root = with_bucket.endpoints.directory / "like"
    found = diagnosed(with_bucket, root)
    failing = {name for name, line in found.items() if line["works"] is False}
    assert failing >= BEHIND_TLS, found
    untold = {name: found[name] for name in BEHIND_TLS if "SSL_CERT_FILE" not in found[name]["next_step"]}
    assert untold == {}, json.dumps(untold)
    found = diagnosed(with_bucket, root, SSL_CERT_FILE=str(root / "ca.pem"))
    assert {name: line for name, line in found.items() if line["works"] is False} == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "works", "seen"),
    [
        ("s3-no-trailers", True, "cannot be overwritten"),
        ("s3-virtual-hosts-only", False, "SecondLevelDomainForbidden"),
        ("s3-no-conditions", False, "NotImplemented"),
    ],
)
def test_records_in_a_store_that_is_not_as_aws(with_bucket: Sandbox, name: str, works: bool, seen: str) -> None:
    worlds.likeness(name).make(with_bucket)
    root = with_bucket.endpoints.directory / "like"
    line = diagnosed(with_bucket, root, SSL_CERT_FILE=str(root / "ca.pem") if works else "")["records"]
    assert line["works"] is works and seen in line["seen"], line


@pytest.mark.slow
def test_a_store_like_others_needs_a_bucket(home: Path) -> None:
    with pytest.raises(Refused, match="records are in a directory") as refused:
        worlds.likeness("s3-no-trailers").make(Sandbox.open(home / "sandbox"))
    assert "--s3" in refused.value.next_step


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_ORDER)
def test_a_reader_sees_it(home: Path, name: str) -> None:
    sandbox = Sandbox.open(home / "sandbox")
    worlds.change_channel(sandbox, archived=False, has_bot=True)
    worlds.install_app(sandbox)
    worlds.drop_rulesets(sandbox)
    worlds.change_repository(sandbox, allow_merge_commit=True, allow_squash_merge=True, allow_rebase_merge=True)
    worlds.likeness(name).make(sandbox)
    system, seen = SEEN[name]
    lines = diagnosed(sandbox, home / "clone")
    assert seen in lines[system]["seen"], lines
    if name == "workers":
        answer = httpx.get(f"{sandbox.endpoints.gateway['dev'][0].url}/routes", timeout=60).json()
        assert len(answer["workers"]) == worlds.WORKERS
