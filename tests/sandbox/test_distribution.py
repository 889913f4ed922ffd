"""The sandbox is a distribution of its own: production has none of it, and two wheels alone make the whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

PROJECT = Path(__file__).parents[2]
SANDBOX = PROJECT / "bot" / "sandbox"
PACKED = (".github", "manifests/airflow", "pyproject.toml", "requirements.lock", "requirements-uv.lock", "README.md")
IMAGES = ("manifests/container/Containerfile", "manifests/airflow/Containerfile")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return both wheels by the name of their distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (PROJECT, SANDBOX):
        command = [sys.executable, "-P", "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    return {wheel.name.partition("-")[0]: wheel for wheel in folder.glob("*.whl")}


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def tracked(*paths: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *paths], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    return set(listed.stdout.split())


def test_production_holds_no_emulator(wheels: dict[str, Path]) -> None:
    assert files_of(wheels["promobot"]) >= {"bot/cli.py", "bot/gateway/__init__.py", "bot/operations/sandbox.py"}
    assert not {name for name in files_of(wheels["promobot"]) if name.startswith("bot/sandbox")}


def test_the_images_get_the_wheel_and_nothing_of_the_sandbox_but_a_lock() -> None:
    for image in IMAGES:
        text = (PROJECT / image).read_text()
        _, *final = re.split(r"^FROM (?=\S+ AS (?!build\b))", text, flags=re.MULTILINE)
        assert final, image
        copied = [line.split()[1:-1] for stage in final for line in stage.splitlines() if line.startswith("COPY ")]
        allowed = (["--from=build", f"/opt/{name}"] for name in ("promobot", "gateway", "build/wheel"))
        allowed = (*allowed, ["bot/sandbox/airflow.lock"])
        assert all(sources in allowed for sources in copied), image
        builds = re.findall(r"uv build [^&\n]*", text.replace("\\\n", ""))
        assert builds and "bot/sandbox" not in "".join(builds), "the wheel that is built there is production's"


def test_the_sandboxs_wheel_is_all_of_it_with_what_it_lays_out(wheels: dict[str, Path]) -> None:
    found = files_of(wheels["promobot_sandbox"])
    own = tracked("bot/sandbox") - {f"bot/sandbox/{name}" for name in ("pyproject.toml", "hatch_build.py", "LICENSE")}
    assert {name for name in found if "/content/" not in name} == own
    packed = {f"bot/sandbox/content/{name}" for name in tracked(*PACKED)}
    assert {name for name in found if "/content/" in name} == packed
    with zipfile.ZipFile(wheels["promobot_sandbox"]) as archive:
        for name in packed:
            assert archive.read(name) == (PROJECT / name.removeprefix("bot/sandbox/content/")).read_bytes(), name


@pytest.mark.parametrize("command", [["sandbox", "up", "--dir", "x"], ["demo"], ["proof", "--out", "x"]])
def test_without_it_the_commands_say_what_to_install(
    wheels: dict[str, Path], tmp_path: Path, command: list[str]
) -> None:
    with zipfile.ZipFile(wheels["promobot"]) as archive:
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "bot", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "pip install promobot-sandbox" in done.stdout + done.stderr
    assert not (tmp_path / "x").exists()


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 180
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


@pytest.mark.long
@pytest.mark.timeout(900)
def test_from_the_wheels_alone_a_model_is_proposed_and_deployed(wheels: dict[str, Path], tmp_path: Path) -> None:
    """In a new environment, with nothing of a clone in sight; as docs/how-to/sandbox.md has it."""
    uv, venv, home = Path(sys.executable).with_name("uv"), tmp_path / "venv", tmp_path / "sandbox"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", venv / "bin/python", "--constraint"]
    subprocess.run([*install, PROJECT / "requirements.lock", *wheels.values()], check=True)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(*words: str, folder: Path = tmp_path, variables: dict[str, str] | None = None) -> Any:
        command = [str(venv / "bin" / words[0]), *words[1:]]
        environment = {**plain, **(variables or {})}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
        return json.loads(done.stdout)

    try:
        up = run("promobot", "sandbox", "up", "--dir", str(home), "--json")
        assert up["pids"]
        shell = subprocess.run(["sh", "-c", f'. "{home}/promobot.env"; env'], env={}, check=True, capture_output=True)
        variables = dict(line.split("=", 1) for line in shell.stdout.decode().splitlines() if "=" in line)
        url = up["clone_url"].replace("://", f"://alex:{variables['GITHUB_TOKEN']}@")
        subprocess.run(["git", "clone", "--quiet", url, tmp_path / "clone"], check=True)
        train = ("-m", "bot.sandbox.reference", "first", "--tracking-uri", up["mlflow"], "--model", "churn")
        assert run("python", *train, variables=variables)["version"] == 1
        said = run(
            *("promobot", "propose", "churn", "1", "--env", "dev", "--json"),
            folder=tmp_path / "clone",
            variables=variables,
        )
        with httpx.Client(
            base_url=f"{up['forge']}/api/v3/repos/{up['repository']}",
            headers={"Authorization": f"Bearer {variables['GITHUB_TOKEN']}"},
            timeout=30,
        ) as forge:
            pull = f"/pulls/{said['pull_request']}"
            until(lambda: forge.get(pull).json()["mergeable_state"] == "clean")
            merged = forge.put(f"{pull}/merge", json={"merge_method": "squash"})
            assert merged.status_code == 200, merged.text
            runs = f"/actions/workflows/deploy.yml/runs?head_sha={merged.json()['sha']}"
            (done,) = until(
                lambda: [one for one in forge.get(runs).json()["workflow_runs"] if one["status"] == "completed"]
            )
            assert done["conclusion"] == "success"
        for gateway in up["gateway"]["dev"]:
            live = httpx.get(f"{gateway}/routes").json()["models"]["churn"]["live"]
            assert live["version"] == 1
    finally:
        subprocess.run([venv / "bin/promobot", "sandbox", "down", "--dir", home], env=plain, check=True)
