"""A sandbox as its user sees it: up, look, restart a part, down; also when something goes wrong on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from bot.errors import InvalidInput, OutsideError, Refused
from bot.sandbox.platform import Endpoints, Sandbox
from bot.sandbox.processes import Processes
from bot.sandbox.project import CODE
from tests.servers import lives

LIGHT = frozenset({"slack", "triton"})
CONTRACT = {
    *("forge", "forge_token", "repository", "clone_url", "mlflow", "triton", "triton_staging"),
    *("gateway", "slack", "slack_app", "share", "records", "metrics", "pids"),
}


def quiet(_: object) -> None:
    return None


@pytest.mark.slow
def test_two_side_by_side_then_one_down_and_up_again(tmp_path: Path) -> None:
    seeded: list[Endpoints] = []

    def seed(endpoints: Endpoints) -> None:
        assert httpx.get(endpoints.forge).status_code < 500, "the forge answers before it is given its content"
        seeded.append(endpoints)

    folders = [tmp_path / "one", tmp_path / "two"]
    try:
        with ThreadPoolExecutor() as pool:
            one, two = pool.map(lambda folder: Sandbox.up(folder, progress=quiet, seed=seed), folders)
        assert {endpoints.directory for endpoints in seeded} == set(folders)
        assert not set(one.endpoints.ports()) & set(two.endpoints.ports())

        document = json.loads((folders[0] / "endpoints.json").read_text())
        assert set(document) >= CONTRACT
        assert set(document["pids"]) == {
            *("forge", "mlflow", "slack", "triton-staging", "triton-dev-1", "triton-prod-1"),
            *("gateway-dev-1", "gateway-dev-2", "gateway-prod-1"),
        }
        assert document["triton"]["dev"][0].keys() == {"name", "grpc", "http"}
        for url in (*document["gateway"]["dev"], *document["gateway"]["prod"]):
            assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        assert len(document["metrics"]) == 3, "the Slack app is not installed there"
        assert all("promobot_gateway_generation" in httpx.get(address).text for address in document["metrics"])
        assert (folders[0] / "share/model-repo/prod").is_dir() and (folders[0] / "share/promobot/staging").is_dir()
        table = one.table()
        assert len(table.splitlines()) == 10 and "does not answer" not in table

        _check_shell(folders[0], one.endpoints)
        _check_restart(one)

        stopped = Sandbox.down(folders[0])
        assert len(stopped) == 9
        assert Sandbox.down(folders[0]) == []
        with pytest.raises(Refused, match="no sandbox runs"):
            Sandbox.open(folders[0])
        assert "does not answer" not in two.table()

        again = Sandbox.up(folders[0], progress=quiet, seed=seed)
        assert again.endpoints == one.endpoints
        assert len(seeded) == 2, "content is given once in the life of a directory"
    finally:
        for folder in folders:
            Sandbox.down(folder)


def _check_shell(folder: Path, endpoints: Endpoints) -> None:
    """A shell that sources promobot.env has what the verbs need."""
    file = folder / "promobot.env"
    assert file.stat().st_mode & 0o077 == 0
    shown = subprocess.run(
        ["sh", "-c", f'. "{file}"; env'], env={}, check=True, capture_output=True, text=True
    ).stdout
    variables = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    assert variables.items() >= endpoints.variables().items()
    assert {"GITHUB_TOKEN", "SLACK_BOT_TOKEN", "SLACK_API_URL", "PROMOBOT_RELOAD_TOKEN"} <= set(variables)


def _check_restart(sandbox: Sandbox) -> None:
    """A gateway that is restarted with another reload token refuses the old one; the others take it still."""

    def reload(gateway: int) -> int:
        url = sandbox.endpoints.gateway["dev"][gateway].url
        token = {"Authorization": f"Bearer {sandbox.endpoints.secrets.reload}"}
        return httpx.post(f"{url}/reload", headers=token, json={}).status_code

    before = json.loads((sandbox.endpoints.directory / "endpoints.json").read_text())["pids"]
    accepted = reload(0)
    sandbox.restart("gateway-dev-1", env={"PROMOBOT_RELOAD_TOKEN": "another"})
    after = json.loads((sandbox.endpoints.directory / "endpoints.json").read_text())["pids"]
    assert {name for name in before if before[name] != after[name]} == {"gateway-dev-1"}
    assert reload(0) in (401, 403) and accepted not in (401, 403)
    assert reload(1) == accepted
    with pytest.raises(InvalidInput, match="gateway-dev-9"):
        sandbox.restart("gateway-dev-9")


def test_a_part_that_does_not_come_up_is_named_and_the_others_are_stopped(tmp_path: Path) -> None:
    tmp_path.joinpath("up.lock").touch()
    tmp_path.joinpath("slack").write_text("in the way")
    with pytest.raises(OutsideError) as failure:
        Sandbox.up(tmp_path, progress=quiet, seed=quiet, parts=LIGHT)
    assert failure.value.message.startswith("slack: ended before it was ready, with code 1; the end of ")
    assert "FileExistsError" in failure.value.message
    assert Processes(tmp_path).recorded() == []
    assert not tmp_path.joinpath("endpoints.json").exists()


def test_a_directory_that_is_no_sandbox_or_runs_one_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.joinpath("thesis.tex").touch()
    with pytest.raises(Refused, match="is not empty"):
        Sandbox.up(tmp_path, progress=quiet, seed=quiet, parts=LIGHT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    folder = tmp_path / "sandbox"
    try:
        running = Sandbox.up(folder, progress=quiet, seed=quiet, parts=LIGHT)
        with pytest.raises(Refused, match=r"runs in .* already"):
            Sandbox.up(folder, progress=quiet, seed=quiet, parts=LIGHT)
        assert "does not answer" not in running.table()
    finally:
        Sandbox.down(folder)


UP = """
import signal
import sys
from pathlib import Path
from bot.sandbox.platform import Sandbox
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in the background ignores it
Sandbox.up(Path(sys.argv[1]), progress=print, seed=print, parts=frozenset({"mlflow", "slack", "triton"}))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_an_up_that_was_interrupted(tmp_path: Path, sent: signal.Signals) -> None:
    folder = tmp_path / "sandbox"
    with subprocess.Popen([sys.executable, "-c", UP, str(folder)], cwd=CODE, stderr=subprocess.DEVNULL) as up:
        deadline = time.monotonic() + 60
        while len(started := Processes(folder).recorded()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(started) >= 3 and up.poll() is None, "MLflow takes longer than the others"
        up.send_signal(sent)
        up.wait(timeout=30)
    if sent == signal.SIGKILL:  # nobody could clean up then, but the directory knows
        assert len(Sandbox.down(folder)) >= 3
    assert not [process.part.name for process in started if lives(process.pid)]
