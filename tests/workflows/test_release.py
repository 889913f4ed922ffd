"""``release.yml`` through act: the file as it is, with real builds, a real SBOM, and a real upload to an index here.

act cannot run an action that is a program of GitHub's or needs a container engine. Each has a stand-in in
tests/releases/stand_ins, which notes what the workflow asks and fails where the real one would: building and pushing
an image, Sigstore's signatures, GitHub's store of artifacts. tests/kubernetes/test_container.py runs the steps of the
images' build file, and tests/releases compares the wheel in them with the released one. ``gh`` notes its arguments.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml
from packaging.utils import canonicalize_name

from bot.sandbox.actions.actions import Settings
from bot.sandbox.actions.records import Run
from tests.releases.build import SUMS, sums
from tests.releases.changelog import PAGE, PROJECT, entries
from tests.releases.conftest import lay_out
from tests.releases.index import Index
from tests.releases.sbom import INSTALLATIONS
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server, clone_of
from tests.workflows.inventory import WORKFLOWS
from tests.workflows.person import wait_for

WORKFLOW = "release.yml"
STAND_INS = PROJECT / "tests/releases/stand_ins"
VERSION = next(entries((PROJECT / PAGE).read_text())).version
GH = """#!/bin/bash
printf "%s\\n" "$@" > "$RELEASE_DESK/gh"
while [ $# != 0 ]; do
  [ "$1" != --notes-file ] || cp "$2" "$RELEASE_DESK/notes.md"
  shift
done
"""


class Desk:
    """The forge with the project as it is here, an index, and a folder with what the stand-ins noted."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder / "desk", index
        self.folder.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        (programs / "gh").write_text(GH)
        (programs / "gh").chmod(0o755)
        # The registry's authorities besides, since steps install packages.
        known = Path(os.environ.get("SSL_CERT_FILE", certifi.where())).read_text()
        (folder / "authorities.pem").write_text(f"{known}\n{index.authority}")
        passed = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_"))}
        home = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        settings = Settings(
            path=(str(programs), str(Path(sys.executable).parent)),
            env={
                "UV_CACHE_DIR": f"{home}/uv",
                **passed,
                "SSL_CERT_FILE": str(folder / "authorities.pem"),
                "RELEASE_DESK": str(self.folder),
                "UV_PUBLISH_URL": f"{index.url}/legacy/",
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{index.url}/identity?of=this-run",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "for-this-run",
            },
            stand_ins=str(STAND_INS),
            bot_token="bot-token",
        )
        self.server = Server(folder / "forge", settings)
        self.server.start()
        self.clone = self._pushed(folder / "clone")

    def _pushed(self, folder: Path) -> Clone:
        clone = clone_of(self.server, folder)
        clone.git("checkout", "--quiet", "-B", "main")
        lay_out(folder)
        for other in (folder / ".github/workflows").glob("*.yml"):
            if other.name != WORKFLOW:
                other.unlink()
        clone.commit("The project", {})
        clone.git("push", "--quiet", "origin", "main")
        return clone

    def release_commit(self) -> None:
        """Commit what a person does before a tag; docs/contributing/release.md has it."""
        page, project, site = (self.clone.folder / name for name in (PAGE, "pyproject.toml", "mkdocs.yml"))
        site.write_text(re.sub(r"(?m)^repo_url: .*$", f"repo_url: {self.server.page}", site.read_text()))
        page.write_text(page.read_text().replace(f"## {VERSION} – unreleased", f"## {VERSION} – 2026-12-05"))
        urls = f'[project.urls]\nRepository = "{self.server.page}"\n\n[project.scripts]\n'
        project.write_text(project.read_text().replace("[project.scripts]\n", urls))
        self.clone.commit(f"Release {VERSION}", {})
        self.clone.git("push", "--quiet", "origin", "main")

    def tag(self, name: str) -> Run:
        """Push a tag, and return the run that it starts, once it has ended."""
        self.clone.git("tag", name)
        return self.ran(lambda: self.clone.git("push", "--quiet", "origin", name))

    def ran(self, start: object) -> Run:
        runs = self.server.forge.actions.runs
        known = {run.id for run in runs.all()}
        assert callable(start)
        start()
        return wait_for(
            lambda: next((run for run in runs.all() if run.id not in known and run.status == "completed"), None),
            "the run",
            seconds=300,
        )

    def logs(self, run: Run) -> str:
        return "\n".join(f"{job.name}: {self.server.forge.actions.runs.log(run, job)}" for job in run.jobs)

    def noted(self, name: str) -> list[str]:
        """Return the lines that the stand-ins wrote, sorted, as jobs run at the same time."""
        file = self.folder / name
        return sorted(file.read_text().splitlines()) if file.is_file() else []


def consists_of(file: Path) -> dict[str, str]:
    """Return the parts that a list in CycloneDX names, with their versions."""
    content = json.loads(file.read_text())
    assert (content["bomFormat"], content["metadata"]["component"]["version"]) == ("CycloneDX", VERSION)
    return {part["name"].lower(): part["version"] for part in content["components"]}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Index() as index:
        desk = Desk(tmp_path, index)
        yield desk
        desk.server.stop()


@pytest.fixture
def forge_folder(desk: Desk) -> Path:
    return desk.server.folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.runs("release.yml push")
def test_a_tag_becomes_a_release(desk: Desk, forge_folder: Path) -> None:
    desk.release_commit()
    run = desk.tag(f"v{VERSION}")
    assert run.conclusion == "success", desk.logs(run)
    assert {job.conclusion for job in run.jobs} == {"success"}

    built = desk.folder / "artifacts/dist"
    files = sums(built)
    assert list(files) == [
        f"promobot-{VERSION}-py3-none-any.whl",
        f"promobot-{VERSION}.tar.gz",
        f"promobot_sandbox-{VERSION}-py3-none-any.whl",
        f"promobot_sandbox-{VERSION}.tar.gz",
    ]
    assert (built / SUMS).read_text() == "".join(f"{digest}  {name}\n" for name, digest in files.items())

    assert sorted(desk.index.uploads) == sorted(files), "and nothing else, by the identity of the run"
    assert "POST /_/oidc/mint-token" in desk.index.said

    for name in ("promobot", "promobot_sandbox"):
        with zipfile.ZipFile(built / f"{name}-{VERSION}-py3-none-any.whl") as archive:
            said = archive.read(f"{name}-{VERSION}.dist-info/METADATA").decode()
        assert f"Project-URL: Repository, {desk.server.page}\n" in said

    images = [line.split() for line in desk.noted("images")]
    assert [(target, told, pushed) for target, told, _, pushed, _, _ in images] == [
        ("bot", f"VERSION={VERSION}", "push=true"),
        ("gateway", f"VERSION={VERSION}", "push=true"),
    ]
    digests = {name: digest for _, _, name, _, _, digest in images}
    assert set(digests) == {f"ghcr.io/{REPOSITORY}:{VERSION}", f"ghcr.io/{REPOSITORY}-gateway:{VERSION}"}
    head = desk.clone.git("rev-parse", "HEAD")
    for target in ("bot", "gateway"):
        assert f"org.opencontainers.image.revision={head}" in desk.noted(f"labels-{target}")

    signed = desk.noted("attested")
    assert [line for line in signed if not line.startswith(("sbom", "publish"))] == sorted(
        [f"provenance {digest}  {name} pushed=false" for name, digest in files.items()]
        + [
            f"provenance {hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name} pushed=false"
            for file in (desk.folder / "artifacts/about").glob("*.cdx.json")
        ]
        + [
            f"provenance {digest.removeprefix('sha256:')}  {name.rpartition(':')[0]} pushed=true"
            for name, digest in digests.items()
        ]
    )
    assert len([line for line in signed if line.startswith("sbom")]) == len(images)
    assert {line.removeprefix("publish ") for line in signed if line.startswith("publish")} == set(files)

    assert (desk.folder / "artifacts/github-pages/index.html").is_file()
    assert desk.noted("pages") == ["github-pages"]

    asked = (desk.folder / "gh").read_text().splitlines()
    assert asked[:3] == ["release", "create", f"v{VERSION}"]
    assert {"--verify-tag", SUMS, "./provenance.sigstore.json"} <= set(asked) and "--prerelease" not in asked
    assert {name.removeprefix("./") for name in asked if name.endswith((".whl", ".gz"))} == set(files)
    assert {name for name in asked if name.endswith(".cdx.json")} == {
        f"./{name}.cdx.json" for name in ("promobot", "promobot-gateway", "promobot-sandbox")
    }
    described = {name: consists_of(desk.folder / f"artifacts/about/{name}.cdx.json") for name in INSTALLATIONS}
    locked = set(re.findall(r"^([\w.-]+)==(\S+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE))
    for parts in described.values():
        of_others = {(canonicalize_name(part), has) for part, has in parts.items() if not part.startswith("promobot")}
        assert of_others - locked == set() and "pydantic" in parts
    assert "fastapi" in described["promobot-gateway"] and "gitpython" not in described["promobot-gateway"]
    assert described["promobot-sandbox"]["promobot-sandbox"] == VERSION

    notes = (desk.folder / "notes.md").read_text()
    assert "- **" in notes and f"{desk.server.page}/blob/{head}/{PAGE}" in notes
    for name, digest in digests.items():
        assert f"- `{name}@{digest}`\n" in notes
    assert not re.search(r"\]\((?!https?://)", notes), "no link leads nowhere"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tag_that_is_not_ready_releases_nothing(desk: Desk) -> None:
    run = desk.tag(f"v{VERSION}")
    assert run.conclusion == "failure"
    said = desk.logs(run)
    assert f"{PAGE}: {VERSION} is unreleased there" in said
    assert "pyproject.toml: [project.urls] must say where it is from" in said
    assert "mkdocs.yml: the pages' links must lead where it is from" in said
    assert [job.name for job in run.jobs if job.conclusion == "success"] == ["Site"], "which is only built"
    assert desk.index.said == [] and [path.name for path in desk.folder.iterdir()] == ["artifacts"]
    assert [path.name for path in (desk.folder / "artifacts").iterdir()] == ["github-pages"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.runs("release.yml workflow_dispatch")
def test_a_rehearsal_builds_everything_and_lets_nothing_out(desk: Desk, forge_folder: Path) -> None:
    with desk.server.api("owner") as api:
        run = desk.ran(
            lambda: api.post(f"/actions/workflows/{WORKFLOW}/dispatches", json={"ref": "main"}).raise_for_status()
        )
    assert run.conclusion == "success", desk.logs(run)
    assert {job.name: job.conclusion for job in run.jobs if job.conclusion != "success"} == dict.fromkeys(
        ("Sign", "Publish", "Release", "Pages"), "skipped"
    )
    assert {path.name for path in (desk.folder / "artifacts").iterdir()} == {"dist", "about", "github-pages"}
    assert {line.split()[3] for line in desk.noted("images")} == {"push=false"}
    assert desk.index.said == []
    assert {path.name for path in desk.folder.iterdir()} == {"artifacts", "images", "labels-bot", "labels-gateway"}


@cache
def jobs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((WORKFLOWS / WORKFLOW).read_text())["jobs"]
    return found


def before(job: str) -> set[str]:
    """Return every job that must have succeeded before this one starts."""
    needs = jobs()[job].get("needs", [])
    named = [needs] if isinstance(needs, str) else needs
    return {*named, *(earlier for one in named for earlier in before(one))}


def test_nothing_goes_out_before_two_builds_agree_and_without_a_tag() -> None:
    out = [name for name, job in jobs().items() if "write" in job["permissions"].values()]
    assert out == ["images", "sign", "publish", "release", "pages"]
    assert [name for name in out if not {"build", "again"} <= before(name)] == []
    of_a_tag = "${{ github.ref_type == 'tag' }}"
    for name in out:
        steps = [
            step
            for step in jobs()[name]["steps"]
            if not step.get("uses", "").startswith(("actions/checkout", "docker/set"))
        ]
        whole = [jobs()[one].get("if") for one in (name, *before(name))]
        builds = [step for step in steps if step.get("uses", "").startswith("docker/build-push-action")]
        assert [step["with"]["push"] for step in builds] == [of_a_tag] * len(builds)
        assert (
            of_a_tag in whole or [step for step in steps if step not in builds and step.get("if") != of_a_tag] == []
        )


def test_no_job_has_a_token_that_could_leak() -> None:
    text = (WORKFLOWS / WORKFLOW).read_text()
    assert "secrets." not in text
    assert {name: job["environment"] for name, job in jobs().items() if "environment" in job} == {
        "publish": "pypi",
        "pages": "github-pages",
    }
    assert jobs()["publish"]["permissions"] == {"id-token": "write"}, "it runs nothing of the repository"


@pytest.mark.parametrize(("tag", "is_candidate"), [("v1.2.3", False), ("v1.2.3rc1", True)])
def test_a_candidate_is_a_pre_release(tmp_path: Path, tag: str, is_candidate: bool) -> None:
    files = tmp_path / "runner/all"
    files.mkdir(parents=True)
    for name in ("SHA256SUMS", "a.whl", "a.tar.gz", "a.cdx.json", "a.sigstore.json", "notes.md"):
        (files / name).write_text("It is better.\n")
    (files / "bot.image").write_text(f"ghcr.io/acme/promobot:1.2.3@sha256:{'a' * 64}\n")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs/gh").write_text(GH)
    (tmp_path / "programs/gh").chmod(0o755)
    (step,) = (step for step in jobs()["release"]["steps"] if "run" in step)
    variables = {"RUNNER_TEMP": str(tmp_path / "runner"), "GITHUB_REF_NAME": tag, "VERSION": tag[1:]}
    subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={
            "PATH": f"{tmp_path}/programs:/usr/bin:/bin",
            "RELEASE_DESK": str(tmp_path),
            "GITHUB_REPOSITORY": "a/b",
            **variables,
        },
        check=True,
    )
    assert ("--prerelease" in (tmp_path / "gh").read_text().splitlines()) is is_candidate
    notes = (tmp_path / "notes.md").read_text()
    assert notes.startswith(f"It is better.\n\n### Images\n\n- `ghcr.io/acme/promobot:1.2.3@sha256:{'a' * 64}`\n")


def test_the_publisher_is_the_uv_of_the_lock() -> None:
    (asked,) = re.findall(r'version: "([\d.]+)" # as requirements-uv.lock', (WORKFLOWS / WORKFLOW).read_text())
    assert re.findall(r"^uv==(\S+)", (PROJECT / "requirements-uv.lock").read_text(), re.MULTILINE) == [asked]
