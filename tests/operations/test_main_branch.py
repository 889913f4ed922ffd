"""What main says, for whoever does not wait for a remote that hangs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bot import environment_files
from bot.errors import PromobotError, Rejected, Unavailable
from bot.operations import main_branch
from bot.operations.main_branch import main_beside
from bot.platform import Platform

ROOT = Path(__file__).parents[2]


def test_who_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, done = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        # Only the test's end lets it go: whoever waited for it would never come to the release below.
        hanging.wait(20)
        done.set()

    monkeypatch.setattr(main_branch, "_read", hang)
    settings = environment_files.load(ROOT, "dev")
    with Platform(settings, {}) as platform, main_beside(platform, within_seconds=0.01) as look:
        found = look()
        was_over = done.is_set()
        hanging.set()
    assert isinstance(found, Unavailable) and not was_over
    assert str(found) == f"Git ({settings.github.clone_url}): did not say in time where main is"


def test_why_it_cannot_be_read_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    error: PromobotError = Rejected("HTTP 401", system="GitHub")

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(main_branch, "_read", refuse)
    with Platform(environment_files.load(ROOT, "dev"), {}) as platform, main_beside(platform) as look:
        assert look() is error
