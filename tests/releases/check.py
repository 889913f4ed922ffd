"""What must hold before a tag becomes a release."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.releases.changelog import IN_SHORT, PAGE, entries

TAG = re.compile(r"v(?P<release>\d+\.\d+\.\d+)(?P<candidate>(?:a|b|rc)\d+)?")
IMAGES = "manifests/kubernetes/components/images/kustomization.yaml"


@dataclass(frozen=True)
class Problem:
    """Why it may not be released, and the file that says so."""

    file: str
    says: str

    def __str__(self) -> str:
        return f"{self.file}: {self.says}"


def problems(project: Path, *, tag: str, repository_url: str, main: str) -> Iterator[Problem]:
    """Yield what is wrong with ``tag``, which is checked out; ``main`` is the branch that releases come from."""
    named = TAG.fullmatch(tag)
    if named is None:
        yield Problem(tag, "not a version: v1.2.3, or v1.2.3rc1 for a candidate")
        return
    if _git(project, "rev-parse", "HEAD") != _git(project, "rev-parse", "--verify", f"refs/tags/{tag}^{{commit}}"):
        yield Problem(tag, "not what is checked out")
    if not _is_ancestor(project, "HEAD", main):
        yield Problem(tag, f"not on {main}: only what was reviewed and tested there is released")
    yield from _of_the_changelog(project, version=named["release"], is_candidate=bool(named["candidate"]))
    site = re.findall(r"^repo_url: (\S+)$", (project / "mkdocs.yml").read_text(), re.MULTILINE)
    if site != [repository_url]:
        yield Problem("mkdocs.yml", f"the pages' links must lead where it is from: repo_url: {repository_url}")
    urls = tomllib.loads((project / "pyproject.toml").read_text())["project"].get("urls", {})
    if urls.get("Repository") != repository_url:
        yield Problem("pyproject.toml", f'[project.urls] must say where it is from: Repository = "{repository_url}"')


def _of_the_changelog(project: Path, *, version: str, is_candidate: bool) -> Iterator[Problem]:
    newest = next(entries((project / PAGE).read_text()), None)
    if newest is None or newest.version != version:
        yield Problem(PAGE, f"begins with {newest.version if newest else 'nothing'}, not with {version}")
        return
    if not newest.in_short:
        yield Problem(PAGE, f"{version} has no section “{IN_SHORT}”, which the notes of the release are made of")
    if newest.day is None and not is_candidate:
        yield Problem(PAGE, f"{version} is unreleased there: give it the day")
    if old := {tag for tag in image_tags(project) if tag != version}:
        yield Problem(IMAGES, f"the bot's own images are {', '.join(sorted(old))}, not {version}")


def image_tags(project: Path) -> list[str]:
    """Return the tags of the bot's own images, as the manifests run them."""
    return re.findall(r"name: promobot(?:-gateway)?\n.*\n +newTag: (\S+)", (project / IMAGES).read_text())


def _git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _is_ancestor(project: Path, commit: str, of: str) -> bool:
    done = subprocess.run(
        ["git", "merge-base", "--is-ancestor", commit, of], cwd=project, capture_output=True, check=False
    )
    return done.returncode == 0
