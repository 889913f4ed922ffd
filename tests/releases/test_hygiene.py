"""What a repository has for those who come: licence, rules, forms, hooks. It parses, runs, and leads somewhere."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from tests.releases.changelog import PROJECT
from tests.releases.conftest import git, lay_out

PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
FORMS = sorted((PROJECT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
HOOKS = PROJECT / ".pre-commit-config.yaml"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Validations(Strict):
    required: bool


class Markdown(Strict):
    class Attributes(Strict):
        value: str = Field(min_length=1)

    type: Literal["markdown"]
    attributes: Attributes


class Asked(Strict):
    """A field that somebody fills in (docs.github.com, "Syntax for GitHub's form schema")."""

    class Attributes(Strict):
        label: str = Field(min_length=1)
        description: str = ""
        placeholder: str = ""
        value: str = ""
        render: str = ""
        multiple: bool = False
        options: list[str] = []

    type: Literal["input", "textarea", "dropdown"]
    id: str = Field(pattern=r"^[a-zA-Z0-9_-]+$")
    attributes: Attributes
    validations: Validations = Validations(required=False)


class Form(Strict):
    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    labels: list[str] = []
    body: list[Annotated[Markdown | Asked, Field(discriminator="type")]]


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return found


def test_the_licence_is_apaches_to_the_letter() -> None:
    digest = hashlib.sha256((PROJECT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert (project()["license"], project()["license-files"]) == ("Apache-2.0", ["LICENSE"])


@pytest.mark.parametrize("form", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.stem)
def test_a_form_is_what_github_takes(form: Path) -> None:
    read = Form.model_validate(yaml.safe_load(form.read_text()))
    asked = [field for field in read.body if isinstance(field, Asked)]
    assert len({field.id for field in asked}) == len({field.attributes.label for field in asked}) == len(asked) > 0
    assert all(bool(field.attributes.options) == (field.type == "dropdown") for field in asked)
    assert any(field.validations.required for field in asked)


def test_there_are_forms_for_both_and_a_way_around_them() -> None:
    assert {path.name for path in FORMS} == {"bug.yml", "config.yml", "idea.yml"}
    config = yaml.safe_load((PROJECT / ".github/ISSUE_TEMPLATE/config.yml").read_text())
    assert config == {"blank_issues_enabled": True}


def test_a_mistake_in_a_form_is_seen() -> None:
    content = yaml.safe_load((PROJECT / ".github/ISSUE_TEMPLATE/idea.yml").read_text())
    content["body"][0]["atributes"] = content["body"][0].pop("attributes")
    with pytest.raises(ValueError, match="atributes"):
        Form.model_validate(content)


@pytest.mark.parametrize("page", PAGES[:2])
def test_links_lead_somewhere(page: str) -> None:
    text = (PROJECT / page).read_text()
    links = [link for link in re.findall(r"\[[^\]\n]*\]\(([^)\s]+)\)", text) if not link.startswith("https://")]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = PROJECT / path if path else PROJECT / page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, (
            link
        )


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page: str) -> None:
    named = re.findall(
        r"`((?:bot|tests|docs|manifests|\.github|\.ci)/[\w./-]+|\.[\w.-]+\.yaml)`", (PROJECT / page).read_text()
    )
    assert [path for path in named if not (PROJECT / path).exists()] == []


def test_the_readme_leads_to_them() -> None:
    text = (PROJECT / "README.md").read_text()
    assert [page for page in (*PAGES, "LICENSE") if f"]({page})" not in text] == []


def test_set_up_is_the_readmes_second_command_with_the_hooks() -> None:
    tests, _, _ = next(
        line for line in (PROJECT / "README.md").read_text().splitlines() if "--editable '.[test]'" in line
    ).partition(" && .venv/bin/python -m pytest")
    assert f"{tests} && .venv/bin/pre-commit install" in (PROJECT / "CONTRIBUTING.md").read_text().splitlines()


def test_classifiers_are_known_and_name_each_python_that_ci_tries() -> None:
    from trove_classifiers import classifiers

    assert [one for one in project()["classifiers"] if one not in classifiers] == []
    ci = yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text())["jobs"]["beside"]["strategy"]["matrix"]
    tried = {one["python"] for one in ci["include"]}
    named = {one.rpartition(" ")[2] for one in project()["classifiers"] if re.search(r":: 3\.\d+$", one)}
    assert named == tried
    assert (PROJECT / "bot/py.typed").is_file() and "Typing :: Typed" in project()["classifiers"]


# --- hooks --------------------------------------------------------------------------------------------------------


def hooks() -> dict[str, dict[str, Any]]:
    (repo,) = yaml.safe_load(HOOKS.read_text())["repos"]
    assert repo["repo"] == "local", "a hook of somebody else's would be fetched, with no hash"
    return {hook["id"]: hook for hook in repo["hooks"]}


def test_hooks_run_what_ci_runs() -> None:
    steps = (PROJECT / ".ci/run").read_text().splitlines()
    before = {hook["entry"] for hook in hooks().values()}
    linting = [line for line in steps if re.match(r"\.venv/bin/(ruff|mypy|python -m tests\.prose)", line)]
    assert len(linting) == 4
    for line in linting:
        assert any(line.startswith(entry) for entry in before), line


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project committed in a repository of its own, with the environment that runs this test."""
    folder = lay_out(tmp_path_factory.mktemp("hooks") / "project")
    git(folder, "init", "--quiet")
    (folder / ".git/info/exclude").write_text(".venv\n")
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    cache = PROJECT / ".mypy_cache"
    if cache.is_dir():
        shutil.copytree(cache, folder / ".mypy_cache")  # else Types takes a minute
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All of it")
    return folder


def pre_commit(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [".venv/bin/pre-commit", *arguments],
        cwd=clone,
        env={"PATH": "/usr/bin:/bin", "HOME": str(clone.parent), "PRE_COMMIT_HOME": str(clone.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hooks_parse() -> None:
    program = Path(sys.executable).with_name("pre-commit")
    done = subprocess.run([program, "validate-config", HOOKS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pre-commit", "pre-push"])
def test_each_hook_runs_and_finds_nothing(clone: Path, stage: str) -> None:
    done = pre_commit(clone, "run", "--all-files", "--hook-stage", stage, "--color", "never")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"^(.+?)\.{2,}(\w+)$", done.stdout, re.MULTILINE)
    expected = {hook["name"] for hook in hooks().values() if (hook.get("stages") or ["pre-commit"]) == [stage]}
    assert dict(ran) == dict.fromkeys(expected, "Passed")
    assert git(clone, "status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "file", "text"),
    [
        ("ruff-check", "bot/broken.py", "import os\n"),
        ("ruff-format", "bot/broken.py", "x   =   1\n"),
        ("mypy", "bot/broken.py", "x: int = 'a'\n"),
        ("prose", "docs/broken.md", "# Broken\n\nWhoever reads this is told so.\n"),
        (
            "zizmor",
            ".github/workflows/broken.yml",
            "on: push\njobs:\n  x:\n    runs-on: x\n    steps: [{uses: a/b@v1}]\n",
        ),
        ("quick-tests", "mlflow.db", "x\n"),
    ],
)
def test_each_hook_stops_what_it_is_there_for(clone: Path, hook: str, file: str, text: str) -> None:
    (clone / file).write_text(text)
    try:
        git(clone, "add", file)
        done = pre_commit(clone, "run", hook, "--hook-stage", stage_of(hook), "--all-files")
        assert done.returncode == 1, done.stdout + done.stderr
    finally:
        git(clone, "reset", "--quiet", "--hard")


def stage_of(hook: str) -> str:
    (stage,) = hooks()[hook].get("stages") or ["pre-commit"]
    return str(stage)
