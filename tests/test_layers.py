"""Who may import whom, read from the source: also inside functions, under TYPE_CHECKING, and by name.

A layer is a package or a module, named by its longest prefix below. What a layer may import is listed; everything
else is a violation, so a new dependency is a decision that shows in this file.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

PURE = frozenset(
    {
        *(
            "__future__",
            "base64",
            "bisect",
            "collections",
            "contextvars",
            "dataclasses",
            "datetime",
            "difflib",
            "enum",
            "functools",
            "hashlib",
            "itertools",
        ),
        *(
            "json",
            "math",
            "operator",
            "pathlib",
            "re",
            "statistics",
            "string",
            "struct",
            "textwrap",
            "typing",
            "unicodedata",
            "zoneinfo",
        ),
    }
)
"""Of the standard library: values in, values out; of pathlib and urllib only what reads names. Types may be any."""

IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint", "now", "utcnow", "today", "Path"})
"""Calls that reach the world through a module that is pure otherwise."""


@dataclass(frozen=True)
class Layer:
    """What a layer may import: of this project, and of others. ``for_types`` only under TYPE_CHECKING.

    ``but`` is what it may not import of all that ``own`` names.
    """

    own: frozenset[str]
    others: frozenset[str] = frozenset()
    for_types: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()
    pure: bool = False
    any_other: bool = False


def layer(
    own: str = "",
    others: str = "",
    *,
    for_types: str = "",
    but: str = "",
    pure: bool = False,
    any_other: bool = False,
) -> Layer:
    def names(text: str) -> frozenset[str]:
        return frozenset(f"bot.{name}" for name in text.split())

    return Layer(names(own), frozenset(others.split()), names(for_types), names(but), pure, any_other)


OF_RESULTS = (
    "render.adoption render.attesting render.bisecting render.explaining render.packaging render.reporting "
    "render.job render.slack render.terminal"
)
"""Documents that are made of results. They stand above the operations; the other documents are made of values."""

LAYERS = {
    "bot": layer(),
    "bot.__main__": layer("cli"),
    "bot.cli": layer("boundary commands domain errors exit_codes log_options logs output"),
    "bot.arguments": layer("domain"),
    # What every door calls; an operation knows nothing of doors.
    # What the services tell monitors.
    "bot.metrics": layer("domain errors extras", "prometheus_client"),
    "bot.requests": layer("errors exit_codes operations records.ledger render settings", for_types="domain platform"),
    "bot.results": layer(pure=True),
    "bot.output": layer("exit_codes operations.progress redaction render", "pydantic"),
    "bot.boundary": layer(
        "errors exit_codes extras operations.job output redaction render results", for_types="commands"
    ),
    # The service is one of the commands, which stays until it is stopped.
    "bot.commands": layer(
        "arguments board commands domain environment_files errors exit_codes log_options metrics operations output "
        "platform records.ledger render requests results settings signing slack training.adoption "
        "training.model_directory "
        "training.registration training.samples",
        "pydantic",
    ),
    "bot.errors": layer("redaction", pure=True),
    "bot.exit_codes": layer(pure=True),
    # Which extra to install where an import fails.
    "bot.extras": layer(),
    "bot.redaction": layer(),
    "bot.log_options": layer(),
    "bot.logs": layer("log_options redaction"),
    "bot.retry": layer("errors logs", "stamina"),
    "bot.concurrency": layer("errors"),
    "bot.folders": layer(),
    # What is too large for memory: golden cases from MLflow, and what staging answered to them.
    "bot.spool": layer("errors"),
    # Imports one module of a library, which is named by whoever asks: their own rules say which.
    "bot.bare": layer("", "<computed>"),
    # What tells a store from the folder under a mount that is missing: records and the share both need it.
    "bot.marked": layer("domain errors folders"),
    # What two systems are made of: records and artifacts may both lie in buckets.
    "bot.s3": layer("concurrency errors redaction retry transport_errors trust web", "boto3 botocore"),
    # How every client over HTTP is made. PyGithub brings requests, which knows what NO_PROXY may say.
    "bot.web": layer("trust", "httpx requests"),
    # Keys in files, which sign statements.
    "bot.signing": layer("errors", "cryptography"),
    # Whom every client trusts. requests brings certifi, for a machine without a store of its own.
    "bot.trust": layer("errors", "certifi"),
    # Why a server was not reached, in one place for all libraries.
    "bot.transport_errors": layer("trust"),
    "bot.domain": layer("domain errors exit_codes", "pydantic yaml", pure=True),
    # Values, and no I/O; the other module reads them from files.
    "bot.settings": layer("concurrency domain errors", "pydantic", pure=True),
    "bot.environment_files": layer("domain errors settings", "pydantic"),
    # What the variables hold that settings name.
    "bot.credentials": layer("domain errors redaction settings"),
    # Who runs a command, and where.
    "bot.runner": layer(pure=True),
    "bot.schemas": layer("commands domain exit_codes output results settings", "pydantic pydantic_core"),
    "bot.render": layer("domain errors exit_codes render", but=OF_RESULTS, pure=True),
    # For types: a command imports its own operation. Importing all of them would take it 0.15 to 0.3 s more.
    "bot.render.adoption": layer("render", for_types="training.adoption", pure=True),
    "bot.render.attesting": layer("domain", for_types="operations", pure=True),
    "bot.render.bisecting": layer("domain render", for_types="operations", pure=True),
    "bot.render.explaining": layer("domain render", for_types="operations", pure=True),
    "bot.render.reporting": layer("domain render", for_types="operations", pure=True),
    "bot.render.packaging": layer("render", for_types="training.model_directory", pure=True),
    "bot.render.job": layer("domain exit_codes operations.job render", for_types="operations", pure=True),
    "bot.render.slack": layer("domain render", for_types="operations", pure=True),
    "bot.render.terminal": layer("domain exit_codes render", for_types="operations records", pure=True),
    # One file or package per system, with that system's SDK and what carries it; no system knows another.
    "bot.systems": layer(),
    "bot.systems.bucket": layer("retry s3 settings"),
    "bot.systems.dns": layer("errors"),
    "bot.systems.gateway": layer("domain errors redaction retry settings transport_errors trust", "httpx"),
    "bot.systems.git": layer("bare domain errors redaction retry settings trust web", "git"),
    "bot.systems.github": layer(
        "domain errors redaction retry settings transport_errors trust", "github jwt requests"
    ),
    "bot.systems.mlflow": layer(
        "credentials domain errors extras redaction retry s3 settings spool systems.mlflow transport_errors trust "
        "web",
        "httpx mlflow yaml",
    ),
    "bot.records": layer(),
    "bot.records.bucket": layer("concurrency domain errors retry s3 settings", "botocore"),
    "bot.records.directory": layer("domain errors folders marked"),
    "bot.records.ledger": layer("domain errors exit_codes redaction", "pydantic"),
    # What a command needs of the outside is opened here.
    "bot.platform": layer(
        "credentials domain environment_files errors recordings records runner settings share systems"
    ),
    "bot.share": layer("concurrency domain errors folders marked redaction settings share"),
    "bot.systems.slack": layer(
        "domain errors redaction retry settings transport_errors trust web", "httpx slack_sdk"
    ),
    "bot.systems.triton": layer(
        "bare domain errors redaction retry settings systems.triton transport_errors trust",
        "tritonclient grpc google httpx",
    ),
    "bot.operations": layer(
        "concurrency domain environment_files errors evaluation exit_codes extras redaction settings signing spool "
        "systems operations platform recordings records runner share render",
        "pydantic",
        but=OF_RESULTS,
    ),
    "bot.operations.sandbox": layer(
        "domain errors exit_codes settings systems operations platform records share render sandbox"
    ),
    # What gateways write and checks read: not of the records, which nothing ever removes.
    "bot.recordings": layer("domain errors folders recordings retry s3"),
    # What is measured of a model's answers. Who calls hands in what reads bytes and what asks a Triton.
    "bot.evaluation": layer("concurrency domain errors evaluation settings", "numpy pyarrow pydantic"),
    "bot.gateway": layer(
        "domain errors exit_codes extras folders gateway logs recordings redaction",
        "fastapi starlette uvicorn httptools uvloop prometheus_client",
    ),
    # Bolt and what carries it. What is said to Slack goes through the adapter, as everywhere.
    "bot.slack": layer(
        "concurrency credentials domain environment_files errors metrics redaction requests settings slack records "
        "systems.slack operations platform share render",
        "slack_bolt slack_sdk fastapi starlette uvicorn pydantic yaml",
        for_types="systems.git systems.github",
    ),
    # What people look at: it reads as `status` does, and changes nothing.
    "bot.board": layer(
        "board concurrency domain environment_files errors extras operations platform redaction render settings",
        "jinja2 starlette uvicorn",
        but=OF_RESULTS,
        for_types="systems.gateway systems.github systems.triton",
    ),
    "bot.training": layer(
        "domain environment_files errors evaluation extras redaction settings systems.triton training "
        "operations.propose platform",
        "mlflow numpy onnx onnxruntime pydantic requests yaml pandas skl2onnx sklearn onnxmltools xgboost lightgbm "
        "catboost torch tensorflow tf2onnx google",
    ),
    # What an Airflow environment imports, and nobody else: Airflow is no dependency of the bot.
    "bot.airflow": layer(
        "airflow domain environment_files errors exit_codes settings operations.awaiting platform render",
        "airflow",
        for_types="operations.propose",
    ),
    "bot.airflow.waiting": layer("errors operations.awaiting render"),
    # It speaks the wire, so that the real adapters are what is tested.
    "bot.sandbox": layer("airflow.logs domain errors exit_codes gateway sandbox training render", any_other=True),
}


@dataclass(frozen=True)
class Imported:
    name: str
    line: int
    for_types: bool


@cache
def imports(source: str, module: str, *, package: bool) -> tuple[Imported, ...]:
    """Every import of a module's source, with full names; what a package gives away counts by its own name."""
    return tuple(_imports(_nodes(source), module, package=package))


@lru_cache(maxsize=1)
def _nodes(source: str) -> Sequence[ast.AST]:
    """Every node of a source. Of the last one only: those of all modules would be a hundred megabytes."""
    return list(ast.walk(ast.parse(source)))


@cache
def _calls(source: str) -> tuple[tuple[str, int], ...]:
    """What a source calls, by name, and on which line."""
    return tuple((_called(node), node.lineno) for node in _nodes(source) if isinstance(node, ast.Call))


def _imports(nodes: Sequence[ast.AST], module: str, *, package: bool) -> Iterator[Imported]:
    for_types = {
        id(inside)
        for node in nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inside in ast.walk(statement)
    }
    for node in nodes:
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = module.split(".") if package else module.split(".")[:-1]
            start = around[: len(around) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            argument = node.args[0] if node.args else None
            found = [_named(argument)]
        elif isinstance(node, ast.Call) and _called(node) == "module_of":
            found = [_named(node.args[0] if node.args else None)]
        for name in found:
            yield Imported(name, node.lineno, id(node) in for_types)


def _named(argument: ast.expr | None) -> str:
    """Return what is imported by name; of one that only the running program knows, the part that is written down.

    Without such a part it cannot be judged, so it is none of this project's layers'.
    """
    if isinstance(argument, ast.JoinedStr) and isinstance(beginning := argument.values[0], ast.Constant):
        argument = ast.Constant(f"{str(beginning.value).rpartition('.')[0]}.<computed>")
    return str(argument.value) if isinstance(argument, ast.Constant) else "<computed>"


def violations(source: str, module: str, *, package: bool = False) -> list[str]:
    """Return one sentence for each import, and each impure call of a pure layer, that the layer may not have."""
    name, rules = max(
        ((name, rules) for name, rules in LAYERS.items() if _within(module, name)), key=lambda x: len(x[0])
    )
    found = [
        f"{module}:{imported.line}: {name} imports {imported.name}"
        for imported in imports(source, module, package=package)
        if not _allowed(imported, rules)
    ]
    impure = [(called, line) for called, line in _calls(source) if rules.pure and called in IMPURE_CALLS]
    return found + [f"{module}:{line}: {name} calls {called}" for called, line in impure]


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _within(module: str, name: str) -> bool:
    return module == name or module.startswith(name + ".")


def _allowed(imported: Imported, rules: Layer) -> bool:
    top = imported.name.split(".")[0]
    if top == "bot":
        if any(_within(imported.name, name) for name in rules.but):
            return False
        allowed = rules.own | (rules.for_types if imported.for_types else frozenset())
        return any(_within(imported.name, name) for name in allowed)
    if top in sys.stdlib_module_names:
        pure = top in PURE and imported.name not in ("pathlib", "pathlib.Path", "pathlib.PosixPath")
        return pure or imported.for_types or not rules.pure or imported.name.startswith("urllib.parse.")
    return rules.any_other or top in rules.others


def modules() -> list[tuple[str, Path, bool]]:
    found = []
    for path in sorted((PROJECT / "bot").rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        package = parts[-1] == "__init__"
        found.append((".".join(parts[:-1] if package else parts), path, package))
    return found


@pytest.mark.parametrize(
    ("module", "path", "package"), modules(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_module_imports_what_its_layer_may(module: str, path: Path, package: bool) -> None:
    assert not violations(path.read_text(), module, package=package)


UNVERIFIED = {"unverified_chunks", "unverified_of_run", "reader"}
"""What gives bytes of MLflow that nobody has compared with a package's list yet."""


def reads_unverified(source: str) -> list[int]:
    """Return the lines where unverified bytes go elsewhere than to the share, which compares what it writes."""
    if not any(name in source for name in UNVERIFIED):
        return []
    tree = ast.parse(source)
    for_the_share = {
        id(inside)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and _called(node) in ("publish", "keep", "at_hand", "probe"))
        or (isinstance(node, ast.FunctionDef) and node.name == "reader")
        for inside in ast.walk(node)
    }
    assigned = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in (node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets)
        if isinstance(target, ast.Name) and target.id == "read"
    ]
    by_name = {
        id(inside)
        for value in assigned
        for inside in ast.walk(value)
        if isinstance(inside, ast.Attribute) and inside.attr in UNVERIFIED
    }
    elsewhere = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "read" and isinstance(node.ctx, ast.Load)
        if by_name and id(node) not in for_the_share
    ]
    return elsewhere + [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in UNVERIFIED and id(node) not in for_the_share | by_name
    ]


def test_only_the_share_gets_bytes_that_were_not_compared_with_the_package() -> None:
    used = 0
    for module, path, _ in modules():
        if not _within(module, "bot.systems.mlflow"):
            source = path.read_text()
            used += sum(source.count(name) for name in ("unverified_chunks", ".reader("))
            assert not reads_unverified(source), module
    assert used >= 4
    for bad in (
        "text = registry.unverified_chunks(version, 'config.pbtxt')",
        "x = b''.join(run.reader('churn', 1)('smoke.json'))",
        "read = run.reader('churn', 1)\nconfig = read('config.pbtxt')",
    ):
        assert reads_unverified(bad), bad
    assert not reads_unverified("read = run.reader('churn', 1)\nshare.publish(package, read)")


OPENED = {
    *("Repository", "GitHubRepository", "Registry", "RecordStore", "BucketRecords", "Ledger", "SlackChannel"),
    *("ModelRepository", "TritonServer", "Gateway", "FolderInBucket"),
}
"""What reaches outside; ``bot.platform`` alone opens them, once for each command."""
ROOTS = ("bot.platform", "bot.slack.inbox", "bot.records.bucket", "bot.training.model_directory")
"""Who opens them: the platform; an inbox, a store of its own; the module that keeps one of each bucket; and what asks
a Triton of no environment, which somebody names on the command line.
"""


def opens(source: str) -> list[int]:
    """Return the lines where something that reaches outside is made."""
    return [line for called, line in _calls(source) if called in OPENED]


def test_only_the_platform_opens_what_reaches_outside() -> None:
    # The gateway is a program of its own, whose Gateway is another class.
    others = ("bot.sandbox", "bot.gateway")
    found = {
        module: opens(path.read_text())
        for module, path, _ in modules()
        if not any(_within(module, other) for other in others)
    }
    assert {module for module, lines in found.items() if lines} == set(ROOTS)
    assert opens("def propose(settings):\n    github = GitHubRepository(settings.github)") == [2]


SWITCHES = {
    ("bot.systems.triton.server", "GRPC_VERBOSITY"),
    ("bot.systems.mlflow.artifacts", "MLFLOW_DISABLE_TELEMETRY"),
    ("bot.systems.mlflow.artifacts", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"),
}
"""What libraries read from the environment alone, before they are imported. None of it is a credential."""


def written_variables(source: str) -> list[str]:
    """Return the variables of the process that a module writes; ``?`` where the source does not say which."""
    found: list[str] = []
    if not re.search(r"\b(environ|putenv|unsetenv)\b", source):
        return found
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            if ast.unparse(node.value).endswith("environ"):
                found.append(node.slice.value if isinstance(node.slice, ast.Constant) else "?")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            what, name = ast.unparse(node.func.value), node.func.attr
            first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else "?"
            of_environ = what.endswith("environ") and name in ("setdefault", "update", "pop", "popitem", "clear")
            if of_environ or name in ("putenv", "unsetenv"):
                found.append(str(first))
        elif isinstance(node, ast.AugAssign) and ast.unparse(node.target).endswith("environ"):
            found.append("?")
    return found


def test_nothing_writes_the_variables_of_the_process() -> None:
    found = {
        (module, name)
        for module, path, _ in modules()
        if not _within(module, "bot.sandbox")
        for name in written_variables(path.read_text())
    }
    assert found == SWITCHES
    for bad in ("os.environ['A'] = 'b'", "os.environ.update(a)", "del os.environ['A']", "os.putenv('A', 'b')"):
        assert written_variables(bad), bad
    assert not written_variables("x = os.environ.get('A', os.environ['B'])")


READERS = {
    # The doors, and what others mount or import: each is the first of a process, or of another program.
    **dict.fromkeys(
        (
            *("bot.boundary", "bot.commands", "bot.commands.check"),
            *("bot.arguments", "bot.log_options", "bot.output"),
        ),
        "the command line",
    ),
    "bot.operations.job": "where a job of GitHub Actions reads: it is told also where no settings could be read",
    **dict.fromkeys(
        ("bot.airflow.triggers", "bot.gateway.__main__", "bot.slack.service", "bot.training.registration"),
        "what others mount or import",
    ),
    "bot.platform": "the composition root: secrets, and who runs the command",
    # The process itself, whoever runs in it.
    **dict.fromkeys(("bot.trust", "bot.s3"), "whom this process trusts, by the variables that its libraries read"),
    "bot.systems.git": "which variables Git does not get",
    "bot.redaction": "everything that must never be shown",
}
"""The modules that read the variables of the process, and why they do. No adapter falls back to them for a secret."""


def reads_variables(source: str) -> bool:
    """Say whether a module reads the variables of the process, apart from those that it sets for a library."""
    if not re.search(r"\b(environ|getenv)\b", source):
        return False
    tree = ast.parse(source)
    of_switches = {
        id(node.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setdefault"
    }
    return any(
        (isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ" and id(node) not in of_switches)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "os.getenv")
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and "environ" in ast.unparse(node))
        for node in ast.walk(tree)
    )


def test_only_the_composition_root_and_the_doors_read_the_variables_of_the_process() -> None:
    found = {
        module
        for module, path, _ in modules()
        if not _within(module, "bot.sandbox") and reads_variables(path.read_text())
    }
    assert found == set(READERS)
    for bad in ("x = os.environ.get('A')", "f(os.environ)", "os.getenv('A')", "from os import environ"):
        assert reads_variables(bad), bad
    assert not reads_variables("os.environ.setdefault('A', 'b')")


def test_every_system_is_listed_by_itself() -> None:
    systems = {".".join(module.split(".")[:3]) for module, _, _ in modules() if module.startswith("bot.systems.")}
    assert systems == {name for name in LAYERS if name.startswith("bot.systems.")}


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        # domain does no I/O and knows no clock
        ("bot.domain.x", "import os", "imports os"),
        ("bot.domain.x", "import time", "imports time"),
        ("bot.domain.x", "from pathlib import Path", "imports pathlib.Path"),
        ("bot.domain.x", "import pathlib", "imports pathlib"),
        ("bot.domain.x", "import httpx", "imports httpx"),
        ("bot.domain.x", "def f():\n    import socket", "bot.domain.x:2: bot.domain imports socket"),
        ("bot.domain.x", "if TYPE_CHECKING:\n    from github import Github", "imports github.Github"),
        ("bot.domain.x", "from bot.systems.git import Repository", "imports bot.systems.git.Repository"),
        ("bot.domain.x", "from bot import settings", "imports bot.settings"),
        ("bot.domain.x", "from .. import settings", "imports bot.settings"),
        ("bot.domain.x", "from ..operations.deploy import deploy", "imports bot.operations.deploy.deploy"),
        ("bot.domain.x", "import importlib", "imports importlib"),
        ("bot.domain.x", "from urllib.request import urlopen", "imports urllib.request"),
        ("bot.settings", "import os", "imports os"),
        ("bot.settings", "from pathlib import Path", "imports pathlib.Path"),
        ("bot.settings", "x = open('a')", "calls open"),
        ("bot.domain.x", "x = open('a')", "calls open"),
        ("bot.domain.x", "from datetime import datetime\nx = datetime.now()", "calls now"),
        ("bot.domain.x", "x = __import__('os')", "imports os"),
        # one system knows no other; an SDK is at home in one file
        ("bot.systems.git", "from bot.systems.github import GitHub", "imports bot.systems.github.GitHub"),
        ("bot.systems.git", "from . import slack", "imports bot.systems.slack"),
        ("bot.share", "from bot.records.ledger import Ledger", "imports bot.records.ledger.Ledger"),
        ("bot.share", "from bot.render import deployment", "imports bot.render"),
        ("bot.share", "import mlflow", "imports mlflow"),
        ("bot.systems.gateway", "import requests", "imports requests"),
        ("bot.systems.new", "import boto3", "imports boto3"),
        # operations and render know no SDK
        *(
            (f"bot.{layer}.x", f"def f():\n    import {sdk}", f"imports {sdk}")
            for layer in ("operations", "render")
            for sdk in (
                *("github", "git", "mlflow", "tritonclient.grpc", "grpc", "httpx", "slack_sdk", "slack_bolt"),
                *("requests", "fastapi", "numpy", "yaml", "boto3"),
            )
        ),
        ("bot.render.x", "from bot.operations.check import Checked", "imports bot.operations.check.Checked"),
        (
            "bot.render.x",
            "if TYPE_CHECKING:\n    from bot.operations.check import Checked",
            "imports bot.operations.check.Checked",
        ),
        ("bot.render.x", "from bot.render import terminal", "imports bot.render.terminal"),
        ("bot.operations.x", "from bot.render.job import deployed", "imports bot.render.job.deployed"),
        ("bot.render.x", "import subprocess", "imports subprocess"),
        ("bot.render.x", "print('x')", "calls print"),
        ("bot.render.x", "from bot import settings", "imports bot.settings"),
        # the sandbox stays outside
        ("bot.operations.deploy", "from bot.sandbox.platform import Sandbox", "imports bot.sandbox"),
        ("bot.operations.deploy", "from bot import sandbox", "imports bot.sandbox"),
        ("bot.operations.deploy", "import bot.sandbox", "imports bot.sandbox"),
        ("bot.operations.deploy", "import_module('bot.sandbox.up')", "imports bot.sandbox"),
        ("bot.operations.deploy", "importlib.import_module(name)", "imports <computed>"),
        ("bot.operations.deploy", "import_module(f'{name}.up')", "imports <computed>"),
        ("bot.operations.deploy", "import_module(f'bot.sandbox.{name}')", "imports bot.sandbox.<computed>"),
        *(
            (of, source, says)
            for of in ("bot.cli", "bot.commands.x")
            for source, says in (
                ("from bot.sandbox.story import tell", "imports bot.sandbox"),
                ("from bot.systems.git import Repository", "imports bot.systems"),
                ("import httpx", "imports httpx"),
            )
        ),
        ("bot.operations.deploy", "from bot.commands import deploy", "imports bot.commands"),
        ("bot.systems.git", "from bot.sandbox.forge.git import Git", "imports bot.sandbox"),
        ("bot.gateway.app", "from bot.sandbox import triton", "imports bot.sandbox"),
        ("bot.gateway.app", "from bot import settings", "imports bot.settings"),
        ("bot.gateway.app", "import tritonclient.http", "imports tritonclient"),
        ("bot.sandbox.x", "from bot.share import ModelRepository", "imports bot.share"),
        ("bot.sandbox.x", "from bot.operations.deploy import deploy", "imports bot.operations"),
        ("bot.sandbox.forge.x", "from ...systems import git", "imports bot.systems.git"),
        ("bot.training.x", "from bot.operations.deploy import deploy", "imports bot.operations.deploy"),
        # Airflow stays where only Airflow imports it
        ("bot.training.x", "from bot.airflow.sensors import PromobotReadySensor", "imports bot.airflow"),
        ("bot.operations.x", "from bot.airflow.waiting import wait", "imports bot.airflow"),
        ("bot.operations.x", "import airflow", "imports airflow"),
        ("bot.airflow.x", "import mlflow", "imports mlflow"),
        ("bot.airflow.x", "from bot.operations.deploy import deploy", "imports bot.operations.deploy"),
        ("bot.airflow.waiting", "import airflow", "imports airflow"),
        ("bot.new", "import yaml", "bot imports yaml"),
    ],
)  # fmt: skip
def test_what_may_not_be_is_found(module: str, source: str, says: str) -> None:
    found = violations(source, module)
    assert any(says in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bot.domain.x", "import yaml\nfrom pydantic import BaseModel\nfrom pathlib import PurePosixPath"),
        (
            "bot.render.terminal",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bot.operations.check import Checked",
        ),
        ("bot.operations.sandbox", "from bot.sandbox.platform import Sandbox"),
        ("bot.commands", "import_module(f'bot.commands.{name}')"),
        ("bot.sandbox.x", "import httpx, mlflow\nfrom bot.domain.names import check_model_name"),
        ("bot.systems.git", "import git\nimport tempfile"),
    ],
)
def test_what_may_be_is_no_violation(module: str, source: str) -> None:
    assert not violations(source, module)


def _graph(*, for_types: bool) -> dict[str, set[str]]:
    """Return which modules of this project each imports, wherever in it; ``for_types`` also those for types only."""
    known = frozenset(module for module, _, _ in modules())
    graph = {}
    for module, path, package in modules():
        found = set()
        for imported in imports(path.read_text(), module, package=package):
            name = imported.name
            while name not in known and "." in name:
                name = name.rpartition(".")[0]
            if for_types or not imported.for_types:
                found.add(name)
        graph[module] = (found & known) - {module, "bot"}
    return graph


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules each of which imports the next, and the last the first; empty where there are none such."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_around_a_corner() -> None:
    assert _cycle(_graph(for_types=False)) == []
    sandbox = {
        module: {one for one in imported if one.startswith("bot.sandbox")}
        for module, imported in _graph(for_types=True).items()
        if module.startswith("bot.sandbox")
    }
    assert len(sandbox) > 40
    assert _cycle(sandbox) == [], "the sandbox's modules not for types either"
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), "a cycle is found"
