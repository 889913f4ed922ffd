"""One command opens each system of an environment once, and closes all that it opened, however it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bot.operations import deploy as deploy_module
from bot.operations import drift as drift_module
from bot.share import ModelRepository
from bot.systems.gateway import Gateway
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from bot.systems.mlflow import Registry
from bot.systems.slack import SlackChannel
from bot.systems.triton.server import TritonServer
from tests.operations.world import World

KINDS: tuple[type[Any], ...] = (
    *(Repository, GitHubRepository, Registry, SlackChannel, TritonServer, Gateway, ModelRepository),
)
CLOSED_BY = {Repository: "__exit__", TritonServer: "close", Gateway: "close"}


class Counted:
    """Counts what is made and what is closed, by kind and by the server's name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        for kind in KINDS:
            self._count(monkeypatch, kind, "__init__", self.opened)
        for kind, method in CLOSED_BY.items():
            self._count(monkeypatch, kind, method, self.closed)

    @staticmethod
    def _count(monkeypatch: pytest.MonkeyPatch, kind: type[Any], method: str, counter: Counter[str]) -> None:
        real: Callable[..., Any] = getattr(kind, method)

        def counted(one: Any, *arguments: Any, **named: Any) -> Any:
            done = real(one, *arguments, **named)
            # Staging has a share of its own, and so has the other environment of a promotion.
            where = getattr(one, "root", None) or getattr(one, "name", "")
            counter[f"{kind.__name__} {where}".strip()] += 1
            return done

        monkeypatch.setattr(kind, method, counted)

    def look(self) -> tuple[Counter[str], Counter[str]]:
        """Return what was opened and closed since the last look."""
        found = Counter(self.opened), Counter(self.closed)
        self.opened.clear()
        self.closed.clear()
        return found

    def assert_once(self, command: str) -> Counter[str]:
        opened, closed = self.look()
        twice = {name: times for name, times in opened.items() if times > 1}
        assert not twice, f"{command} opened {twice}"
        to_close = {name: 1 for name in opened if name.split()[0] in {kind.__name__ for kind in CLOSED_BY}}
        assert closed == Counter(to_close), f"{command} closed {dict(closed)} of {to_close}"
        return opened


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_each_command_opens_each_system_once(world: World, counted: Counted) -> None:
    model = world.model()
    world.served(world.register(model))
    new = world.register(model, "better")
    counted.look()
    proposed = world.bot("propose", model, new.version, "--env", "dev")
    opened = counted.assert_once("propose")
    assert {"Repository", "Registry"} <= {name.split()[0] for name in opened}

    world.desire(model, new.entry)
    counted.look()
    for command in ("drift", "deploy", "status", "history", "cleanup"):
        assert world.bot(command, "--env", "dev").code in (0, 1), command
        opened = counted.assert_once(command)
        if command in ("drift", "deploy", "status", "cleanup"):
            assert [name for name in opened if name.startswith("Gateway")], command
    assert world.bot("rollback", model, "--env", "dev", "--now").code == 0
    counted.assert_once("rollback --now")
    assert proposed.code == 0


def test_all_are_closed_after_an_error_in_the_middle(
    world: World, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    model = world.model()
    world.served(world.register(model))
    monkeypatch.setattr(drift_module, "in_use", fail)
    monkeypatch.setattr(deploy_module, "observe", fail)
    counted.look()
    assert world.bot("drift", "--env", "dev").code == 3
    assert counted.assert_once("drift")
    assert world.bot("deploy", "--env", "dev").code == 3
    assert [name for name in counted.assert_once("deploy") if name.startswith("Triton")]
