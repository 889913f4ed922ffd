"""A Slack app in front of a real platform, and people who use it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
from fastapi import FastAPI

from bot.sandbox.platform import BOT
from bot.slack import SlackService
from tests.gateway.gateways import running_application
from tests.operations.world import World
from tests.slack.people import LOGINS, MAY, SECRET, Office, ears


@pytest.fixture
def office(world: World, tmp_path: Path) -> Iterator[Office]:
    """Two replicas of the app, mounted in FastAPI applications, over one inbox."""
    for environment in world.endpoints.triton:
        world.configure(environment, slack={"may": MAY, "github_logins": LOGINS})
    variables = {**world.endpoints.variables(login=BOT), "SLACK_SIGNING_SECRET": SECRET}
    with mock.patch.dict(os.environ, variables), ears() as listening, ExitStack() as running:
        urls = []
        for _ in range(2):
            app = FastAPI()
            service = SlackService(world.root, state=tmp_path / "inbox", follow_seconds=0.5)
            app.include_router(service.router)
            urls.append(running.enter_context(running_application(app)))
        yield Office(world, listening, *urls, inbox=tmp_path / "inbox")
