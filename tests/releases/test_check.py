"""What keeps a tag from becoming a release, in a small repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.releases.changelog import PAGE, PROJECT, entries
from tests.releases.check import IMAGES, image_tags, problems
from tests.releases.conftest import git

URL = "https://github.example.com/acme/promobot"
CHANGELOG = "# Changelog\n\n## 1.2.3 – 2026-12-05\n\n### In short\n\n- It is better.\n"
SITE = f"site_name: Promobot\nrepo_url: {URL}\n"
PYPROJECT = f'[project]\nname = "promobot"\n\n[project.urls]\nRepository = "{URL}"\n'
IMAGE = "images:\n" + "".join(
    f"  - name: {name}\n    newName: x\n    newTag: 1.2.3\n" for name in ("promobot", "promobot-gateway")
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    for name, text in ((PAGE, CHANGELOG), ("pyproject.toml", PYPROJECT), (IMAGES, IMAGE), ("mkdocs.yml", SITE)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    commit(tmp_path)
    return tmp_path


def commit(project: Path) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Release")


def found(project: Path, tag: str = "v1.2.3") -> list[str]:
    git(project, "tag", "--force", tag)
    return [str(one) for one in problems(project, tag=tag, repository_url=URL, main="main")]


@pytest.mark.parametrize("tag", ["v1.2.3", "v1.2.3rc1"])
def test_nothing_keeps_it(project: Path, tag: str) -> None:
    assert found(project, tag) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (PAGE, "2026-12-05", "unreleased", f"{PAGE}: 1.2.3 is unreleased there: give it the day"),
        (PAGE, "1.2.3", "1.2.4", f"{PAGE}: begins with 1.2.4, not with 1.2.3"),
        (PAGE, "In short", "Added", f"{PAGE}: 1.2.3 has no section “In short”"),
        (IMAGES, "newTag: 1.2.3\n  -", "newTag: 1.2.2\n  -", f"{IMAGES}: the bot's own images are 1.2.2, not 1.2.3"),
        ("pyproject.toml", "acme", "other", "pyproject.toml: [project.urls] must say where it is from"),
        ("mkdocs.yml", "acme", "other", f"mkdocs.yml: the pages' links must lead where it is from: repo_url: {URL}"),
        ("pyproject.toml", "[project.urls]", "[other]", "pyproject.toml: [project.urls] must say where it is from"),
    ],
)
def test_a_file_that_says_something_else_keeps_it(project: Path, file: str, old: str, new: str, says: str) -> None:
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new, 1))
    commit(project)
    (problem,) = found(project)
    assert problem.startswith(says)


def test_a_candidate_has_no_day_yet(project: Path) -> None:
    (project / PAGE).write_text(CHANGELOG.replace("2026-12-05", "unreleased"))
    commit(project)
    assert found(project, "v1.2.3rc1") == []


def test_a_commit_that_is_not_on_main_is_not_released(project: Path) -> None:
    git(project, "checkout", "--quiet", "-b", "other")
    commit(project)
    assert found(project) == ["v1.2.3: not on main: only what was reviewed and tested there is released"]


def test_a_tag_of_another_commit_is_not_what_is_released(project: Path) -> None:
    git(project, "tag", "v1.2.3")
    commit(project)
    said = [str(one) for one in problems(project, tag="v1.2.3", repository_url=URL, main="main")]
    assert said == ["v1.2.3: not what is checked out"]


def test_another_tag_is_no_version(project: Path) -> None:
    assert found(project, "churn-7") == ["churn-7: not a version: v1.2.3, or v1.2.3rc1 for a candidate"]


def test_the_manifests_of_this_repository_name_the_coming_release_or_the_last() -> None:
    newest = next(entries((PROJECT / PAGE).read_text()))
    assert set(image_tags(PROJECT)) == {newest.version}
    assert len(image_tags(PROJECT)) == 2
