"""Who owns what: everything but the file in which the bot may propose, by GitHub's own rules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bot.render.layout import ENVIRONMENTS, files

PROJECT = Path(__file__).parents[1]
OURS = (PROJECT / ".github/CODEOWNERS").read_text()
LAID_OUT = files(repository="acme/promotions", promobot="acme/promobot", ref="0" * 40, owners="@acme/mlops")
FREE = {"promotions/dev.yaml"}
ATTACKS = (
    *("pyproject.toml", "requirements.lock", "setup.py", "conftest.py", "sitecustomize.py", ".gitattributes"),
    *("bot/cli.py", ".github/workflows/checks.yml", ".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"),
    *("manifests/environments/dev.yaml", "manifests/kubernetes/base/gateway.yaml", "promotions/prod.yaml"),
    *("promotions/qa.yaml", "promotions/dev.yml", "ml/promotions/dev.yaml", "new"),
)


def owners_of(path: str, text: str) -> list[str]:
    """Return the owners of a path as GitHub finds them: the last pattern that matches counts, owners or none.

    Patterns are those of gitignore without ``!``, ``[ ]`` and ``\\#``
    (docs.github.com, "About code owners", CODEOWNERS syntax).
    """
    found: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and _pattern(words[0]).match(path):
            found = words[1:]
    return found


def _pattern(pattern: str) -> re.Pattern[str]:
    anchored = "/" in pattern.rstrip("/")
    inner = pattern.strip("/")
    parts = [re.escape(part) for part in re.split(r"(\*\*/|/\*\*|\*|\?)", inner)]
    meant = {r"\*\*/": "(?:.*/)?", r"/\*\*": "/.*", r"\*": "[^/]*", r"\?": "[^/]"}
    expression = "".join(meant.get(part, part) for part in parts)
    # "docs/*" owns the files of a folder and not those below; everything else that names a folder owns all below it.
    below = "" if anchored and inner.endswith("/*") else "(?:/.*)?"
    if pattern.endswith("/"):
        below = "/.*"
    return re.compile(f"{'' if anchored else '(?:.*/)?'}{expression}{below}$")


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        # The example of GitHub's own page, line by line.
        ("README.md", ["@global-owner1", "@global-owner2"]),
        ("lib/app.js", ["@js-owner"]),
        ("lib/app.go", ["docs@example.com"]),
        ("notes.txt", ["@octo-org/octocats"]),
        ("build/logs/today/x.log", ["@doctocat"]),
        ("src/build/x.log", ["@global-owner1", "@global-owner2"]),
        ("docs/getting-started.md", ["@doctocat"]),
        ("docs/build-app/troubleshooting.md", ["@doctocat"]),
        ("lib/docs/getting-started.md", ["docs2@example.com"]),
        ("lib/docs/build-app/troubleshooting.md", ["@global-owner1", "@global-owner2"]),
        ("deep/apps/x", ["@octocat"]),
        ("scripts/x", ["@doctocat", "@octocat"]),
        ("deeply/nested/logs/x", ["@octocat"]),
        ("apps/github/x", []),
    ],
)
def test_the_rules_are_githubs(path: str, owners: list[str]) -> None:
    example = """
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
lib/docs/*  docs2@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @octocat
/apps/ @octocat
/apps/github
"""
    expected = ["@octocat"] if path.startswith("build/logs") else owners  # **/logs comes later there
    assert owners_of(path, example) == expected


def test_everything_of_this_repository_is_owned_but_what_the_bot_may_propose() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    paths = {*filter(None, listed.stdout.split("\0")), *ATTACKS, *FREE}
    assert {path for path in paths if not owners_of(path, OURS)} == FREE


def test_everything_that_init_lays_out_is_owned_but_what_the_bot_may_propose() -> None:
    text = LAID_OUT[".github/CODEOWNERS"]
    paths = {*LAID_OUT, *ATTACKS, *FREE}
    assert {path for path in paths if not owners_of(path, text)} == FREE
    assert {f"promotions/{environment}.yaml" for environment in ENVIRONMENTS} > FREE
    assert owners_of("pyproject.toml", text) == ["@acme/mlops"]
    assert LAID_OUT.keys().isdisjoint({"CODEOWNERS", "docs/CODEOWNERS"}), "the one in .github counts"
