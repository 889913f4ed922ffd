"""Whatever a runner, an image or a person installs by what is written here has a hash; else it is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.render.layout import files

PROJECT = Path(__file__).resolve().parents[2]
LOCK, UV_LOCK = "requirements.lock", "requirements-uv.lock"
AIRFLOW_LOCK = "/tmp/airflow.lock"
"""Where manifests/airflow/Containerfile puts the sandbox's."""
README = "README.md"
CONTRIBUTING = "CONTRIBUTING.md"
TUTORIAL = "docs/tutorials/first-release.md"
IN_KOREAN = ("docs/README.ko.md", "docs/tutorials/first-release.ko.md")
BY_PEOPLE = (README, CONTRIBUTING, TUTORIAL, *IN_KOREAN, ".ci/run")
"""Where one line sets up a clone."""


def texts() -> dict[str, str]:
    """Return every text whose commands somebody or something runs, by path, and what `init` writes."""
    folders = [PROJECT / name for name in (".github", ".ci", "manifests", "docs")]
    paths = [
        PROJECT / README,
        PROJECT / CONTRIBUTING,
        *(path for folder in folders for path in folder.rglob("*") if path.is_file()),
    ]
    kinds = ("", ".env", ".md", ".py", ".sh", ".yaml", ".yml")
    found = {str(path.relative_to(PROJECT)): code(path) for path in paths if path.suffix in kinds}
    written = files(repository="acme/promotions", promobot="acme/promobot", ref="0" * 40, owners="@acme/mlops")
    return {**found, **{f"init: {path}": text for path, text in written.items()}}


def code(path: Path) -> str:
    """Return a file's text; of a page, what stands between backticks."""
    text = path.read_text()
    if path.suffix != ".md":
        return text
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command that installs something, also one that goes on in the next line."""
    joined = re.sub(r"(\\|&&|\|\|)\n\s*", lambda found: "" if found[0][0] == "\\" else f"{found[1]} ", text)
    for line in joined.splitlines():
        if line.lstrip().startswith("#"):
            continue
        for part in re.split(r"&&|\|\||;", line):
            if re.search(r"\b(pip3?|uv|apt-get|apt|apk|npm|gem|cargo|go|conda)\b.*\b(install|ci|add|sync)\b", part):
                yield _words(part)
            elif re.search(r"\b(curl|wget)\b", part) and re.search(r"\|\s*(ba)?sh\b", line):
                yield _words(line)
            elif re.search(r"\b(uvx|pipx|npx)\b|\buv (build|run|tool)\b", part):
                yield _words(part)


def _words(part: str) -> list[str]:
    try:
        return shlex.split(part, comments=True)
    except ValueError:
        return part.split()


def wrong(path: str, words: list[str], text: str) -> str:
    """Say why a command could install something without a hash; an empty string where it cannot."""
    given = set(words)
    if "locked[@]}" in " ".join(words):  # the action's own list of options
        (options,) = re.findall(r"^\s*locked=\((.*)\)$", text, re.MULTILINE)
        given |= set(options.split())
    if "apt-get" in given:
        # apt compares each package with the index that Debian signs.
        return "" if path == "manifests/container/Containerfile" and "--allow-unauthenticated" not in given else "apt"
    if path == "docs/how-to/frameworks/pyfunc.md" and words[:2] == ["conda", "run"]:
        return ""  # a model's own environment: what comes of it is a file whose sha256 the settings must name
    if given & {"--no-require-hashes", "--no-verify-hashes", "--trusted-host", "--allow-insecure-host"}:
        return "hashes are passed over"
    if "build" in given:
        return "" if {"--require-hashes", "--build-constraint"} <= given else "what builds has no hash"
    if not any(re.search(r"(^|/)(pip|uv)$|^install=\(uv$", word) for word in words):
        return "nothing compares it with a hash"
    if given & {"--offline", "--no-index"} and "--no-deps" in given and any(word.endswith(".whl") for word in words):
        return ""  # the wheel that was built here
    if {"--no-deps", "--build-constraint", "--editable"} <= given and "." in given:
        return ""  # this project itself, built by what the lock has
    if "--editable" in given:
        # uv takes no --require-hashes with them.
        allowed = path in BY_PEOPLE and words.count(LOCK) == 2
        return "" if allowed and {"--constraint", "--build-constraint"} <= given else "uv compares with no lock"
    if "--require-hashes" not in given:
        return "what has no hash is installed"
    if not given & {LOCK, UV_LOCK, AIRFLOW_LOCK}:
        return "no lock says which"
    # The source of a package would be built by what has no hash. uv itself has a wheel for each platform we name.
    return "" if "--only-binary" in given or (path in BY_PEOPLE and UV_LOCK in given) else "it may be built"


def test_no_line_installs_what_has_no_hash() -> None:
    found = {
        (path, " ".join(words)): wrong(path, words, text)
        for path, text in texts().items()
        for words in commands(text)
    }
    assert {key: problem for key, problem in found.items() if problem} == {}
    assert {path for path, _ in found} >= {
        ".github/actions/promobot/action.yml",
        ".ci/run",
        "manifests/container/Containerfile",
        README,
        CONTRIBUTING,
    }


@pytest.mark.parametrize(
    "line",
    [
        "python -m pip install uv",
        "python -m pip install --quiet --requirement requirements-uv.lock",
        "uv pip install --constraint requirements.lock --requirements pyproject.toml",
        "uv pip install --require-hashes --constraint requirements.lock --requirements pyproject.toml",
        "pip install --require-hashes --only-binary :all: --requirement other.txt",
        "pip install --require-hashes --only-binary :all: --trusted-host x --requirement requirements.lock",
        "uv pip install --constraint requirements.lock --build-constraint requirements.lock --editable .",
        "uv build --wheel",
        "uv tool install ruff",
        "uvx ruff check",
        "npm install -g x",
        "curl -LsSf https://example.com/install.sh | sh",
        "apt-get update && apt-get install --yes jq",
        "go install example.com/x@latest",
    ],
)
def test_such_a_line_is_seen(line: str) -> None:
    text = f"      run: {line}\n"
    assert any(wrong(".github/workflows/x.yml", words, text) for words in commands(text))


def test_uv_is_the_one_of_the_lock_and_has_hashes() -> None:
    entry = re.compile(r"^uv==\S+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", re.MULTILINE)
    (of_the_lock,) = entry.findall((PROJECT / LOCK).read_text())
    assert entry.findall((PROJECT / UV_LOCK).read_text()) == [of_the_lock]


def test_everything_in_the_lock_has_a_hash() -> None:
    entries = re.split(r"^(?=[a-zA-Z0-9])", (PROJECT / LOCK).read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
