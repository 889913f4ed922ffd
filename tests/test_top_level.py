"""The top level of the repository is fixed: what a tool or a test leaves there must not come along with a commit."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = {".github", "bot", "docs", "manifests", "promotions", "tests"}
FILES = re.compile(
    r"pyproject\.toml|README(\.[a-z]{2})?\.md|mkdocs\.yml"
    r"|\.[^/]+"  # settings of tools
    r"|requirements(-[a-z]+)?\.lock"
    r"|(LICENSE|NOTICE|SECURITY|CONTRIBUTING|CODE_OF_CONDUCT|CITATION|AUTHORS)(\.[a-z]+)?"
)
ALSO = {".ci/run"}


def foreign(paths: list[str]) -> list[str]:
    """Return the paths that have no place in the repository."""
    return [
        path
        for path in paths
        if path not in ALSO
        and not (path.split("/")[0] in FOLDERS if "/" in path else FILES.fullmatch(path) is not None)
    ]


def test_the_top_level_holds_what_it_is_fixed_to_and_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.split("\0") if path]
    assert {"pyproject.toml", "README.md", *ALSO} <= set(paths)
    assert foreign(paths) == []


@pytest.mark.parametrize(
    "path",
    [
        *("mlruns/2/0418/artifacts/model/MLmodel", "mlflow.db", "catboost_info/learn_error.tsv", "conftest.py"),
        *(".ci/other", ".hypothesis/examples/1", "setup.py", "requirements.txt", "src/bot/cli.py", "docs"),
    ],
)
def test_anything_else_is_named(path: str) -> None:
    assert foreign(["bot/cli.py", path, "LICENSE", ".gitignore"]) == [path]
