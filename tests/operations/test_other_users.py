"""A whole deployment where the bot, with the narrowest umask, and the gateways are different users."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.sandbox import seed
from bot.sandbox.platform import PARTS, Sandbox
from tests.operations.world import World
from tests.systems.test_permissions import NOBODY, as_root, umask, unreadable

AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


@pytest.fixture
def world() -> Iterator[World]:
    """A world whose gateways run as nobody, in a folder that everybody can enter; pytest's own are closed."""
    home = Path(tempfile.mkdtemp(prefix="promobot-other-users-"))
    (home / "sandbox").mkdir()
    for folder in (home, home / "sandbox"):
        folder.chmod(0o755)
    try:
        sandbox = Sandbox.up(
            home / "sandbox", progress=print, seed=seed.seed_promotions, parts=PARTS - {"actions", "slack-app"}
        )
        seed.clone(sandbox.endpoints, home / "clone")
        (home / "root").mkdir()
        for gateway in sandbox.endpoints.gateway["dev"]:
            sandbox.restart(gateway.name, command=lambda words: (*AS_NOBODY, *words))
        yield World(sandbox, clone=home / "clone", root=home / "root")
    finally:
        Sandbox.down(home / "sandbox")
        shutil.rmtree(home)


@as_root
@pytest.mark.slow
def test_a_bot_with_umask_077_serves_and_goes_back_by_gateways_of_another_user(world: World) -> None:
    gateways = {gateway.name for gateway in world.endpoints.gateway["dev"]}
    pids = [process.pid for process in world.sandbox.processes.recorded() if process.part.name in gateways]
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {NOBODY}
    model = world.model()
    with umask(0o077):
        first = world.served(world.register(model))
        said = world.promobot("doctor", "--env", "dev")
        lines = {line["system"]: line for line in said.document["environments"][0]["systems"]}
        assert said.code == 0 and "readable for everybody" in lines["share"]["seen"], lines
        second = world.served(world.register(model, "better"))
        assert world.version(model) == second.version
        done = world.bot("rollback", model, "--env", "dev", "--now", "--reason", "a test")
        assert done.code == 0, done
    assert world.version(model) == first.version
    for root in (world.endpoints.model_repository("dev"), world.endpoints.state("dev"), world.endpoints.records):
        assert unreadable(NOBODY, root) == []
