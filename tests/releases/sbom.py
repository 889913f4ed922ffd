"""What an installation consists of, in CycloneDX: installed as the lock says it, then read."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.releases.build import sums, uv, version_of


@dataclass(frozen=True)
class Installation:
    """One way to install: the extras of the lock, and the wheels on top."""

    extras: tuple[str, ...]
    wheels: tuple[str, ...] = ("promobot",)


INSTALLATIONS: Mapping[str, Installation] = {
    "promobot": Installation(("slack", "board")),  # as manifests/container/Containerfile has it
    "promobot-gateway": Installation(("gateway",)),
    "promobot-sandbox": Installation(("sandbox",), ("promobot", "promobot_sandbox")),
}


def write(project: Path, dist: Path, out: Path) -> str:
    """Install what was built in each way, and write ``<way>.cdx.json``; return the version that the program says.

    Raises ValueError where one cannot be installed, or says another version than the wheel's name.
    """
    version = version_of(sums(dist))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="promobot-installed-") as folder:
        for name, installation in INSTALLATIONS.items():
            _describe(project, dist, out / f"{name}.cdx.json", installation, Path(folder, name), version=version)
    return version


def _describe(
    project: Path, dist: Path, described: Path, installation: Installation, environment: Path, *, version: str
) -> None:
    name = environment.name
    _install(project, dist, installation, environment)
    said = _run("promobot --version", environment / "bin/promobot", "--version").split()[-1]
    if said != version:
        raise ValueError(f"{name}: promobot --version says {said}, its wheel {version}")
    reads = (sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON")
    root = ("--pyproject", project / "pyproject.toml", "--mc-type", "application")
    _run("cyclonedx-py", *reads, *root, "--output-file", described, environment / "bin/python")
    _name(described, name, version)


def _install(project: Path, dist: Path, installation: Installation, environment: Path) -> None:
    _run("uv venv", uv(), "venv", "--quiet", "--python", sys.executable, environment)
    python = ("--quiet", "--python", environment / "bin/python")
    lock = ("--require-hashes", "--only-binary", ":all:", "--constraint", project / "requirements.lock")
    extras = [word for extra in installation.extras for word in ("--extra", extra)]
    _run(
        "uv pip install",
        uv(),
        "pip",
        "install",
        *python,
        *lock,
        "--requirements",
        project / "pyproject.toml",
        *extras,
    )
    wheels = [
        dist / name for name in sums(dist) if name.endswith(".whl") and name.split("-")[0] in installation.wheels
    ]
    _run("uv pip install", uv(), "pip", "install", *python, "--offline", "--no-deps", *wheels)


def _name(described: Path, name: str, version: str) -> None:
    """Say of which installation it is; the reader knows only the project."""
    content = json.loads(described.read_text())
    content["metadata"]["component"] |= {"name": name, "version": version}
    described.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _run(what: str, *command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{what}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
