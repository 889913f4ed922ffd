"""The container build file: linted, read, and its steps run here as they stand in it."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from bot.sandbox.processes import Part, Ports
from tests.kubernetes.cluster import PROJECT, Cluster, objects
from tests.releases.check import image_tags
from tests.servers import running

FILE = PROJECT / "manifests/container/Containerfile"
LOCK = "requirements.lock"
HADOLINT = Path(sys.executable).parent / "hadolint"


@dataclass
class Stage:
    """One stage: its base, and its instructions in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]

    @property
    def entrypoint(self) -> list[str]:
        (text,) = self.all("ENTRYPOINT")
        return [str(word) for word in json.loads(text)]

    @property
    def variables(self) -> dict[str, str]:
        pairs = (word.partition("=") for text in self.all("ENV") for word in shlex.split(text))
        return {name: value for name, _, value in pairs}


def stages(text: str) -> dict[str, Stage]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for line in joined.splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "ARG":
            argument, _, value = rest.partition("=")
            arguments[argument] = value
        elif instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            for argument, value in arguments.items():
                base = base.replace(f"${{{argument}}}", value)
            found[name] = Stage(name, base)
        else:
            found[name].steps.append((instruction, rest.strip()))
    return found


STAGES = stages(FILE.read_text())


BASE = STAGES["bot"].base


def test_every_stage_is_built_on_a_digest() -> None:
    for stage in STAGES.values():
        assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", stage.base)


def lint(text: str) -> str:
    done = subprocess.run([HADOLINT, "-"], input=text, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_the_linter_finds_nothing() -> None:
    assert lint(FILE.read_text()) == ""


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (BASE, "docker.io/library/python:latest", "DL3007"),
        (BASE, "docker.io/library/python", "DL3006"),
        ("--no-install-recommends ", "", "DL3015"),
        ("ENTRYPOINT [", "ENTRYPOINT [ 'x', ", "DL3025"),
        ("# hadolint ignore=DL3008\n", "", "DL3008"),
    ],
)
def test_the_linter_finds_what_is_wrong(old: str, new: str, rule: str) -> None:
    text = FILE.read_text().replace("${PYTHON}", STAGES["bot"].base)
    assert old in text
    assert rule in lint(text.replace(old, new))


def test_the_images_are_what_the_manifests_run() -> None:
    cluster = Cluster(objects())
    assert set(STAGES) == {"build", "bot", "gateway"}
    for path, target in (("mlops/slack", "bot"), ("ml-prod/gateway", "gateway")):
        pods, stage = cluster.pod(path), STAGES[target]
        assert "command" not in pods.main, "the image says what it runs"
        assert stage.all("USER") == [f"{pods.spec['securityContext']['runAsUser']}:1001"]
        assert [int(port) for port in stage.all("EXPOSE")] == [port["containerPort"] for port in pods.main["ports"]]
        # The root of the file system is read-only: whatever is written goes to a volume.
        mounted = {mount["mountPath"] for mount in pods.main["volumeMounts"]}
        assert {stage.variables["HOME"], *stage.all("WORKDIR")} <= mounted
    names = re.findall(r"--target (\S+) --tag (\S+) ", FILE.read_text())
    images = {pods.main["image"] for pods in cluster.pods}
    assert {target for target, _ in names} == {"bot", "gateway"}
    assert {tag for _, tag in names} <= images
    # `python -m tests.releases check` holds them to the tag before a release.
    assert {tag.rpartition(":")[2] for _, tag in names} == set(
        re.findall(r"--build-arg VERSION=(\S+) ", FILE.read_text())
    )
    assert {tag.rpartition(":")[2] for _, tag in names} == set(image_tags(PROJECT))


def ignored(path: str) -> bool:
    out = False
    for line in (PROJECT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            if any(fnmatch.fnmatch(part, pattern) for part in (path, path.split("/")[0], path.split("/")[-1])):
                out = not line.startswith("!")
    return out


def test_the_build_gets_what_it_copies_and_nothing_else() -> None:
    copied = {source for text in STAGES["build"].all("COPY") for source in text.split()[:-1]}
    known = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    tops = {path.split("/")[0] for path in known.splitlines()}
    assert copied <= tops
    assert {top for top in tops if not ignored(top)} == copied


def test_what_builds_the_wheel_has_a_hash() -> None:
    lock = (PROJECT / LOCK).read_text()
    for step in (text for stage in STAGES.values() for text in stage.all("RUN")):
        for command in step.split("&&"):
            words = shlex.split(command)
            if "build" in words and "uv" in words[words.index("build") - 1]:
                assert "--require-hashes" in words and words[words.index("--build-constraint") + 1] == LOCK, command
    # tests/workflows/test_installs.py has the rest.
    for needed in (
        "uv",
        "hatchling",
        "hatch-vcs",
        "hatch-fancy-pypi-readme",
        "setuptools-scm",
        "pathspec",
        "pluggy",
        "packaging",
        "trove-classifiers",
    ):
        assert re.search(rf"^{needed}==\S+ \\\n    --hash=sha256:", lock, re.M), needed


OUTSIDE = {"PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
"""What a step of the build finds: Python's own, and the system's."""


class Build:
    """The steps of the first stage as they are written, with /opt and the context in folders of a test."""

    def __init__(self, folder: Path) -> None:
        self.context, self.root = folder / "src", folder / "image"
        self.context.mkdir()
        (self.root / "opt").mkdir(parents=True)
        passed = ("UV_", "PIP_", "XDG_CACHE", "SSL_", "HTTP")
        self.variables = {**{key: os.environ[key] for key in os.environ if key.startswith(passed)}, **OUTSIDE}

    def copy(self, text: str) -> None:
        *sources, _ = text.split()
        for source in sources:
            if (PROJECT / source).is_dir():
                shutil.copytree(PROJECT / source, self.context / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(PROJECT / source, self.context / source)

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        command = ["/bin/sh", "-ec", text.replace("/opt/", f"{self.root}/opt/")]
        return subprocess.run(
            command, cwd=self.context, env=self.variables, capture_output=True, text=True, check=False
        )


@pytest.mark.long
@pytest.mark.parametrize(("package", "step"), [("uv", 0), ("tenacity", 1), ("uvloop", 2), ("pathspec", 3)])
def test_what_has_another_hash_than_the_lock_says_is_not_installed(tmp_path: Path, package: str, step: int) -> None:
    build = Build(tmp_path)
    runs = 0
    for instruction, text in STAGES["build"].steps:
        if instruction == "COPY":
            build.copy(text)
            for lock in build.context.glob("requirements*.lock"):
                for entry in re.findall(rf"^{package}==.*(?:\n    --hash=.*)+", lock.read_text(), re.MULTILINE):
                    wrong = re.sub("sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", entry)
                    lock.write_text(lock.read_text().replace(entry, wrong))
        elif instruction == "RUN":
            done = build.run(text)
            if runs == step:
                assert done.returncode != 0 and "0" * 64 in done.stdout + done.stderr, text
                return
            assert done.returncode == 0, done.stderr
            runs += 1


@pytest.mark.long
def test_its_steps_make_what_runs(tmp_path: Path) -> None:
    build = Build(tmp_path)
    build.variables["VERSION"] = "7.8.9"  # --build-arg
    for instruction, text in STAGES["build"].steps:
        if instruction == "COPY":
            build.copy(text)
        elif instruction == "RUN":
            done = build.run(text)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    outside, root = OUTSIDE, build.root
    environment = {**outside, "PATH": f"{root}/opt/promobot/bin:{outside['PATH']}"}
    in_the_gateway = {
        **outside,
        "PATH": f"{root}/opt/gateway/bin:{outside['PATH']}",
        "PROMOBOT_RELOAD_TOKEN": "t" * 20,
    }
    for name, variables in (("bot", environment), ("gateway", in_the_gateway)):
        copied = STAGES[name].all("COPY")[0].split()[-1]
        assert STAGES[name].variables["PATH"].startswith(f"{copied}/bin:")
        assert variables["PATH"].startswith(f"{root}{copied}/bin:")
    at_home = tmp_path / "home"
    at_home.mkdir()
    said = subprocess.run(
        [*STAGES["bot"].entrypoint, "--help"],
        cwd=at_home,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "exit codes:" in said.stdout
    said = subprocess.run(
        [*STAGES["bot"].entrypoint, "--version"],
        cwd=at_home,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "promobot 7.8.9\n"
    for variables, folder, imports in (
        (environment, "promobot", "bot, slack_bolt, fastapi"),
        (in_the_gateway, "gateway", "bot, bot.gateway.protocol"),
    ):
        where = ["python", "-c", f"import {imports}; print(bot.__file__)"]
        found = subprocess.run(where, cwd=at_home, env=variables, capture_output=True, text=True, check=True).stdout
        assert found.startswith(f"{root}/opt/{folder}/")
    # git is there: `RUN apt-get` of the last stage is the one step that is not run here.
    assert shutil.which("git", path=environment["PATH"])
    skipped = [*STAGES["bot"].all("RUN"), *STAGES["gateway"].all("RUN")]
    assert len(skipped) == 1 and "install --yes --no-install-recommends git &&" in skipped[0]

    cluster = Cluster(objects())
    pods = cluster.pod("ml-prod/gateway")
    with Ports() as ports:
        port = ports.take()
    elsewhere = {"--port=8080": f"--port={port}", "--host=0.0.0.0": "--host=127.0.0.1"}
    words = [elsewhere.get(word, word) for word in cluster.words(pods, pods.main)]
    part = Part(
        name="gateway",
        # Elsewhere than in the project, whose own bot would be found first.
        command=("/usr/bin/env", "-C", str(at_home), *STAGES["gateway"].entrypoint, *words),
        port=port,
        ready_path="/v2/health/live",
        variables=in_the_gateway,
    )
    with running(at_home, part), httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/v2/health/ready").status_code == 503  # no Triton is near
        assert client.get("/routes").json()["name"] == "gateway-0"
