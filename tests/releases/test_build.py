"""Both distributions: their version is that of the tag, and whoever builds them again gets the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.releases.build import SUMS, build, differences, sums, uv, version_of
from tests.releases.changelog import PROJECT
from tests.releases.conftest import TAG, git, lay_out

VERSION = TAG.removeprefix("v")


@pytest.fixture(scope="module")
def dist(tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(tagged, folder)
    return folder


def wheel_of(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"{name}-*.whl")
    return found


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def wheel_from(folder: Path, out: Path, project: str = ".", variables: Mapping[str, str] | None = None) -> str:
    """Build one wheel as a person does, and return its version."""
    locked = ("--require-hashes", "--build-constraint", "requirements.lock")
    subprocess.run(
        [uv(), "build", "--quiet", "--wheel", *locked, "--python", sys.executable, "--out-dir", out, project],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        check=True,
    )
    (wheel,) = out.glob("*.whl")
    return str(metadata(wheel)["Version"])


@pytest.mark.slow
def test_both_have_the_version_of_the_tag(dist: Path) -> None:
    assert sorted(path.name for path in dist.iterdir()) == [
        SUMS,
        f"promobot-{VERSION}-py3-none-any.whl",
        f"promobot-{VERSION}.tar.gz",
        f"promobot_sandbox-{VERSION}-py3-none-any.whl",
        f"promobot_sandbox-{VERSION}.tar.gz",
    ]
    assert version_of(sums(dist)) == VERSION
    for name in ("promobot", "promobot_sandbox"):
        said = metadata(wheel_of(dist, name))
        assert (said["Version"], said["License-Expression"]) == (VERSION, "Apache-2.0")
        with zipfile.ZipFile(wheel_of(dist, name)) as archive:
            licences = [one for one in archive.namelist() if one.endswith(".dist-info/licenses/LICENSE")]
            assert [archive.read(one) for one in licences] == [(PROJECT / "LICENSE").read_bytes()]
        with tarfile.open(dist / f"{name}-{VERSION}.tar.gz") as archive:
            assert f"{name}-{VERSION}/LICENSE" in archive.getnames()


@pytest.mark.slow
def test_an_index_shows_the_readme_without_links_that_lead_nowhere(dist: Path) -> None:
    said = metadata(wheel_of(dist, "promobot"))
    text = said.get_payload()
    assert isinstance(text, str) and said["Description-Content-Type"] == "text/markdown"
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", text) == []
    readme = (PROJECT / "README.md").read_text()
    assert "[Apache License 2.0](LICENSE)" in readme and "The license is the Apache License 2.0." in text
    headings = re.compile(r"^## .+$", re.MULTILINE)
    assert headings.findall(text) == headings.findall(readme)


@pytest.mark.slow
def test_the_sandbox_needs_promobot_of_its_own_version_and_what_its_extra_lists(dist: Path) -> None:
    extra = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["sandbox"]
    (bot,) = (one for one in extra if one.startswith("promobot["))
    needs = metadata(wheel_of(dist, "promobot_sandbox")).get_all("Requires-Dist") or []
    assert len(needs) == len(extra)
    assert f"{bot}=={VERSION}" in needs


@pytest.mark.slow
def test_whoever_builds_it_again_gets_the_same_bytes(
    dist: Path, tagged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "elsewhere" / "project"
    git(tmp_path, "clone", "--quiet", str(tagged), str(again))
    for name, value in (("TZ", "Asia/Seoul"), ("LANG", "C"), ("HOME", str(tmp_path)), ("UV_CACHE_DIR", "")):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    mask = os.umask(0o077)
    try:
        found = build(again, tmp_path / "dist")
    finally:
        os.umask(mask)
    assert differences(found, sums(dist)) == []
    assert (tmp_path / "dist" / SUMS).read_text() == (dist / SUMS).read_text()


def test_another_byte_is_seen() -> None:
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]


@pytest.mark.parametrize(
    "names",
    [
        ["promobot-1.2.3.tar.gz", "promobot-1.2.3-py3-none-any.whl"],
        [
            *("promobot-1.2.3.tar.gz", "promobot-1.2.3-py3-none-any.whl"),
            *("promobot_sandbox-1.2.4.tar.gz", "promobot_sandbox-1.2.4-py3-none-any.whl"),
        ],
    ],
)
def test_half_of_a_release_is_none(names: list[str]) -> None:
    with pytest.raises(ValueError, match="not a wheel and a source distribution of each, of one version"):
        version_of(dict.fromkeys(names, ""))


@pytest.mark.slow
def test_what_is_not_committed_is_not_built(tagged: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    git(tmp_path, "clone", "--quiet", str(tagged), str(folder))
    (folder / "bot/left_behind.py").write_text("")
    with pytest.raises(ValueError, match=r"not as committed:\n\?\? bot/left_behind.py"):
        build(folder, tmp_path / "dist")


@pytest.mark.slow
def test_the_source_distributions_have_all_that_the_wheels_are_built_of(
    dist: Path, tagged: Path, tmp_path: Path
) -> None:
    """`build` makes each wheel of its source distribution; made of the repository, it has the same files."""
    for name, folder in (("promobot", "."), ("promobot_sandbox", "bot/sandbox")):
        wheel_from(tagged, tmp_path / name, folder)
        with (
            zipfile.ZipFile(wheel_of(dist, name)) as one,
            zipfile.ZipFile(wheel_of(tmp_path / name, name)) as other,
        ):
            assert sorted(one.namelist()) == sorted(other.namelist())
            for file in one.namelist():
                # Its lines are in the order in which the files were found.
                assert file.endswith("/RECORD") or one.read(file) == other.read(file), file
        assert {line for line in one.namelist() if "hatch_build" in line or "tests/" in line} == set()


@pytest.mark.slow
def test_other_tags_say_nothing_and_a_commit_after_a_tag_is_on_the_way_to_the_next(
    tagged: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    git(tmp_path, "clone", "--quiet", str(tagged), str(folder))
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "One more")
    for name in ("churn-7", "v8", "v9.0.0-of-somebody"):
        git(folder, "tag", name)
    commit = git(folder, "rev-parse", "--short=8", "HEAD")
    assert wheel_from(folder, tmp_path / "out").startswith(f"7.8.10.dev1+g{commit}")


@pytest.mark.slow
@pytest.mark.parametrize("is_repository", [True, False])
def test_without_a_tag_it_is_built_all_the_same(tmp_path: Path, is_repository: bool) -> None:
    folder = lay_out(tmp_path / "project")
    if is_repository:
        git(folder, "init", "--quiet")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "All of it")
    for number, project in enumerate((".", "bot/sandbox")):
        version = wheel_from(folder, tmp_path / str(number), project)
        assert version.startswith("0.0.1.dev1+g") if is_repository else version == "0.0.0"


@pytest.mark.slow
def test_the_build_of_an_image_is_told_the_version_and_gets_the_bytes_of_the_release(
    dist: Path, tmp_path: Path
) -> None:
    """manifests/container/Containerfile sees no Git; tests/kubernetes/test_container.py runs its steps."""
    folder = lay_out(tmp_path / "project")
    shutil.rmtree(folder / "bot/sandbox")
    assert wheel_from(folder, tmp_path / "out", variables={"SETUPTOOLS_SCM_PRETEND_VERSION": VERSION}) == VERSION
    assert (
        differences(
            {path.name: path.read_bytes().hex() for path in (tmp_path / "out").glob("*.whl")},
            {wheel_of(dist, "promobot").name: wheel_of(dist, "promobot").read_bytes().hex()},
        )
        == []
    )


@pytest.mark.slow
def test_the_command_says_the_version(dist: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(wheel_of(dist, "promobot"), tmp_path, "zip")
    done = subprocess.run(
        [sys.executable, "-m", "bot", "--version"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"promobot {VERSION}\n"), done.stderr


def test_both_distributions_read_the_same_tags() -> None:
    whole, own = (tomllib.loads((PROJECT / folder / "pyproject.toml").read_text()) for folder in (".", "bot/sandbox"))
    assert set(own["build-system"]["requires"]) < set(whole["build-system"]["requires"])
    theirs = dict(own["tool"]["hatch"]["version"])
    theirs["raw-options"] = {key: value for key, value in theirs["raw-options"].items() if key != "root"}
    assert theirs == whole["tool"]["hatch"]["version"]
    assert (PROJECT / "bot/sandbox/LICENSE").read_bytes() == (PROJECT / "LICENSE").read_bytes()
