"""What the documentation says is so: links lead somewhere, commands are understood, examples run."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from bot import cli
from bot.commands import names
from bot.domain.desired import Change
from bot.evaluation.sets import open_set
from bot.exit_codes import ExitCode
from bot.records.directory import RecordStore
from bot.render import checks, differences, evaluation, proposal
from bot.training import WrittenSet
from bot.training.package import read_package
from tests.docs.translations import is_translation
from tests.domain.entries import entry
from tests.gateway.gateways import running_application
from tests.surface import origin

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").rglob("*.md"))]

INSTALL = (
    "python3 -m venv .venv && .venv/bin/pip install --quiet --require-hashes --requirement requirements-uv.lock && "
    ".venv/bin/uv pip install --quiet --python .venv/bin/python --constraint requirements.lock "
    "--build-constraint requirements.lock --editable '.[{extra}]'"
)
DEMO = INSTALL.format(extra="sandbox") + " && .venv/bin/promobot demo"
TESTS = INSTALL.format(extra="test") + " && .venv/bin/python -m pytest"

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_SEPARATORS = {"&&", "||", "|", ";"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fenced(page: Path, language: str) -> list[str]:
    return [body for kind, body in _FENCED.findall(page.read_text()) if kind == language]


def prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them in addresses."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links and paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = {code for code in _INLINE.findall(prose(page)) if re.fullmatch(r"(bot|\.github)/[\w./-]+", code)}
    named |= {code for code in _INLINE.findall(prose(page)) if re.fullmatch(r"tests/[\w./-]+\.py", code)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).is_file() or f"def {test}(" not in (ROOT / path).read_text()
    ]
    assert missing == []


def test_every_page_is_in_an_index() -> None:
    indexes = [ROOT / "docs" / name for name in ("index.md", "decisions/README.md", "proof/README.md")]
    linked = {(page.parent / link).resolve() for page in indexes for link in _LINK.findall(page.read_text())}
    pages = [page for page in PAGES[2:] if not is_translation(page)]  # a translation is linked by its language
    assert [name(page) for page in pages if page not in {indexes[0], *linked}] == []


def test_each_decision_has_one_row_in_order() -> None:
    folder = ROOT / "docs" / "decisions"
    rows = re.findall(r"^\| \[(\d+)\]\(([^)]+)\)", (folder / "README.md").read_text(), re.MULTILINE)
    decisions = sorted(folder.glob("0*.md"))
    assert rows == [(str(int(path.name[:4])), path.name) for path in decisions]


def test_each_line_about_security_names_tests_that_exist() -> None:
    rows = re.findall(
        r"^\| (?!they try)([^|]*) \|.*\|$", (ROOT / "docs/explanation/security.md").read_text(), re.MULTILINE
    )
    lines = re.findall(r"^\| (?!they try).*$", (ROOT / "docs/explanation/security.md").read_text(), re.MULTILINE)
    assert sorted({row for row in rows if rows.count(row) > 1}) == []
    wrong = []
    for line in lines:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line.rsplit(" | ", 1)[-1])
        found = [f"def {test}(" in (ROOT / path).read_text() for path, test in tests if (ROOT / path).is_file()]
        if not tests or len(found) < len(tests) or not all(found):
            wrong.append(line)
    assert wrong == []


# --- commands -----------------------------------------------------------------------------------------------------


def verbs() -> set[str]:
    return set(names())


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of promobot that the page shows, as arguments."""
    lines = [line for body in fenced(page, "sh") for line in body.splitlines()]
    # A verb alone, within a sentence, is its name.
    mentioned = {f"promobot {verb}" for verb in verbs()}
    lines += [c for c in _INLINE.findall(prose(page)) if c.startswith("promobot ") and c not in mentioned]
    for line in lines:
        if "promobot" not in line:
            continue
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if word not in _SEPARATORS:
                words.append(word)
                continue
            if words and Path(words[0]).name == "promobot":
                yield words[1:]
            words = []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_is_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = []
    for arguments in commands(page):
        try:
            cli.build_parser(names()).parse_args(arguments)
        except SystemExit as ended:
            if ended.code != 0:  # --help ends with 0
                refused.append((arguments, capsys.readouterr().err.splitlines()[-1]))
    assert refused == []


def test_the_readme_begins_with_the_two_commands() -> None:
    blocks = [body.strip() for _, body in _FENCED.findall((ROOT / "README.md").read_text())]
    assert blocks[:2] == [DEMO, TESTS]


def test_what_runs_in_ci_is_the_readmes_second_command() -> None:
    script = ROOT / ".ci" / "run"
    assert TESTS in script.read_text().splitlines()
    assert os.access(script, os.X_OK) or "bash .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()


def test_the_readme_shows_a_pull_request_as_the_bot_writes_it() -> None:
    text = (ROOT / "README.md").read_text()
    quoted = [line.removeprefix(">").strip() for line in text.splitlines() if line.startswith(">")]
    change = Change("dev", "models", "churn", entry(1), entry(2))
    verdict = checks.headline([change], [], [], other_paths=())
    assert quoted.count(verdict) == 2 and quoted[0] == verdict, "the text and the comment begin with it"
    sources = "".join(map(inspect.getsource, (checks, proposal, evaluation)))
    heads = [line for line, below in itertools.pairwise(quoted) if set(below) == set("| -")]
    assert len(heads) == 5
    for head in heads:
        columns = [cell.strip() for cell in head.strip("|").split("|")]
        assert ", ".join(f'"{column}"' for column in columns) in sources.replace("\n", " "), head


def test_the_readme_tells_of_every_verb_and_exit_code() -> None:
    table = re.findall(r"^\| `promobot (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(table) == verbs()
    for page in ("README.md", "docs/how-to/operations.md"):
        text = (ROOT / page).read_text()
        assert [code for code in ExitCode if f"**{code}**" not in text and f"| {code} |" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_diagram_ends_a_line_by_accident(page: Path) -> None:
    # To Mermaid a semicolon is the end of a line, and # the beginning of a character's number.
    lines = [line for body in fenced(page, "mermaid") for line in body.splitlines()]
    assert [line for line in lines if set(line) & set(";#")] == []


# --- examples -----------------------------------------------------------------------------------------------------

EXAMPLES = [
    (page, number, code)
    for page in PAGES
    if not is_translation(page)  # its code is its source's
    for number, code in enumerate(fenced(page, "python"))
]


def made_by(module: str, name: str) -> object:
    """Return a function that takes what the class or the function takes, as its source says."""
    tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())
    found = next(node for node in tree.body if getattr(node, "name", "") == name)
    if isinstance(found, ast.ClassDef):
        found = next(node for node in found.body if getattr(node, "name", "") == "__init__")
        assert isinstance(found, ast.FunctionDef)
        found.args.args.pop(0)
    assert isinstance(found, ast.FunctionDef)
    arguments = found.args
    for argument in [*arguments.args, *arguments.kwonlyargs, *filter(None, [arguments.kwarg])]:
        argument.annotation = None
    return eval(f"lambda {ast.unparse(arguments)}: None")  # noqa: S307 - our own source


@pytest.mark.parametrize(
    ("page", "code"), [(page, code) for page, _, code in EXAMPLES], ids=[f"{name(p)}-{n}" for p, n, _ in EXAMPLES]
)
def test_every_call_of_an_example_fits(page: Path, code: str) -> None:
    ours: dict[str, object] = {}
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bot":
            if (node.module or "").startswith("bot.airflow"):  # imports Airflow, which is not here
                ours |= {alias.name: made_by(*origin(node.module or "", alias.name)) for alias in node.names}
                continue
            module = importlib.import_module(node.module or "")
            ours |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and callable(ours.get(node.func.id)):
            keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(ours[node.func.id]).bind(*node.args, **keywords)  # type: ignore[arg-type]


MOUNTED = [(page, number, code) for page, number, code in EXAMPLES if "FastAPI()" in code and "Gateway(" in code]


@pytest.mark.parametrize(
    ("page", "code"), [(page, code) for page, _, code in MOUNTED], ids=[f"{name(p)}-{n}" for p, n, _ in MOUNTED]
)
def test_an_application_that_mounts_the_gateway_runs(
    page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(compile(code, name(page), "exec"), scope)  # noqa: S102 - our own pages
    app = scope["app"]
    assert isinstance(app, FastAPI)
    prefix = "/models" if 'prefix="/models"' in code else ""
    with running_application(app) as url, httpx.Client(base_url=url + prefix) as client:
        # No share on this machine: the gateway starts, and says that it serves nothing.
        state = client.get("/routes").json()
        assert state["generation"] == 0 and "the share is not mounted here" in state["problem"]
        assert client.get("/v2/models/churn").status_code == 503


def test_an_application_that_mounts_the_slack_app_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (code,) = (code for page, _, code in EXAMPLES if name(page) == "docs/how-to/slack.md")
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    RecordStore(tmp_path / "records").begin()
    for manifest in (tmp_path / "manifests/environments").iterdir():
        text = manifest.read_text().replace("/mnt/nfs_share/mlops/promobot-records", f"{tmp_path}/records")
        manifest.write_text(text.replace("slack:\n", "slack:\n  api_url: http://127.0.0.1:9\n"))
    for variable in ("SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"):
        monkeypatch.setenv(variable, "for-an-example")
    scope: dict[str, object] = {}
    exec(compile(code.replace("/srv/promotions", str(tmp_path)), "docs/how-to/slack.md", "exec"), scope)  # noqa: S102
    app = scope["app"]
    assert isinstance(app, FastAPI)
    with running_application(app) as url:
        assert httpx.post(f"{url}/slack/events", content=b"payload={}").status_code == 401


def test_every_page_with_a_gateway_example_was_run() -> None:
    assert {name(page) for page, _, _ in MOUNTED} == {"README.md", "docs/how-to/gateway.md"}


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/training.md"])
def test_the_training_example_builds_a_package(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = next(code for where, _, code in EXAMPLES if name(where) == page and "build_package(" in code)
    until_registered = code[: code.index("registered = register(")]
    scope: dict[str, object] = {}
    exec(compile(until_registered, page, "exec"), scope)  # noqa: S102 - our own pages
    package = scope["package"]
    assert isinstance(package, Path)
    assert {file.path for file in read_package(package).files} == {"config.pbtxt", "smoke.json", "model.onnx"}


@pytest.mark.parametrize(
    "code",
    [code for page, _, code in EXAMPLES if name(page) == "docs/how-to/evaluation-sets.md" and "written.rows" in code],
)
def test_every_example_of_an_evaluation_set_writes_one(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(compile(code, "docs/how-to/evaluation-sets.md", "exec"), scope)  # noqa: S102 - our own pages
    written = scope["written"]
    assert isinstance(written, WrittenSet)
    assert open_set(written.directory, written.digest).rows == written.rows


FRAMEWORKS = [
    (page, number, code)
    for page, number, code in EXAMPLES
    if "build_package(" in code and page.parent.name == "frameworks"
]
_TORCH = ("pytorch.md", "transformers.md")
"""Their libraries are several GB, so the tests do not install them."""


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{page.name}-{number}", marks=pytest.mark.long if page.name in _TORCH else ())
        for page, number, code in FRAMEWORKS
    ],
)
def test_every_example_of_a_framework_builds_a_package(
    page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # CatBoost leaves a folder where it is trained
    scope: dict[str, object] = {}
    exec(compile(code, name(page), "exec"), scope)  # noqa: S102 - our own pages
    package = scope["package"]
    assert isinstance(package, Path)
    assert {"config.pbtxt", "smoke.json", "model.onnx"} <= {file.path for file in read_package(package).files}


def test_operations_tells_of_every_kind_of_difference() -> None:
    assert differences.table() in (ROOT / "docs/how-to/operations.md").read_text()
