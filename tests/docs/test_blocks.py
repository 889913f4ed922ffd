"""Every block of code is tried: the shell is parsed and its programs are known, settings are read, Python compiles.

A command of the bot itself is parsed by its own parser (``test_docs``), and examples run where a test of their page
runs them: those of the README, the tutorial, the frameworks. Programs that need a cluster, a cloud or root are listed
with the reason, so that nothing is left out by chance.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import environment_files
from bot.domain import desired
from bot.domain.cases import CaseFile
from bot.settings import Environment
from tests.docs.test_docs import PAGES, ROOT, name
from tests.test_settings import GOOD

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HERE = re.compile(r"<<-?\s*'?(\w+)'?.*?^\s*\1$", re.MULTILINE | re.DOTALL)

ELSEWHERE = {
    **dict.fromkeys(("kubectl", "helm", "kustomize", "argocd", "flux", "cilium"), "a cluster"),
    **dict.fromkeys(("aws", "gsutil", "gcloud", "az"), "a cloud"),
    **dict.fromkeys(("mount", "install", "exportfs", "chown", "chmod", "chattr", "systemctl", "apt-get"), "root"),
    **dict.fromkeys(("docker", "podman", "buildah", "cosign", "gh", "skopeo", "crane"), "a registry or GitHub"),
    **dict.fromkeys(
        ("prometheus", "promtool", "conda", "conda-pack", "act"), "a program that the page says to install"
    ),
    **dict.fromkeys(("mlflow", "airflow", "tritonserver", "gunicorn"), "a server of one's own"),
    "${EDITOR:-vi}": "a person",
    "rollback": "Slack: it is a slash command",
}
"""Programs that no test of the pages runs, and what they need."""
SHELL = {
    *(
        "cd",
        "cat",
        "echo",
        "export",
        "for",
        "do",
        "done",
        "until",
        "while",
        "if",
        "then",
        "fi",
        "else",
        "sleep",
        "mkdir",
    ),
    *(
        "cp",
        "mv",
        "rm",
        "ls",
        "head",
        "tail",
        "grep",
        "sed",
        "jq",
        "curl",
        "git",
        "tar",
        "find",
        "sort",
        "diff",
        "test",
    ),
    *(
        "python",
        "python3",
        "pip",
        "uv",
        "uvicorn",
        "pytest",
        "ruff",
        "promobot",
        ".",
        "source",
        "set",
        "exit",
        "openssl",
    ),
    *(
        "base64",
        "bash",
        "mypy",
        "date",
        "kill",
        "ssh",
        "printf",
        "xargs",
        "tee",
        "touch",
        "stat",
        "sha256sum",
        "read",
        "true",
        "env",
    ),
}


def blocks(*kinds: str) -> Iterator[tuple[str, int, str]]:
    """Yield the page, the number of the block on it and its text."""
    for page in PAGES:
        for number, (indent, kind, text) in enumerate(_BLOCK.findall(page.read_text())):
            if kind in kinds:
                yield name(page), number, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def identified(*kinds: str) -> list[Any]:
    return [pytest.param(page, text, id=f"{page}-{number}") for page, number, text in blocks(*kinds)]


# --- the shell ------------------------------------------------------------------------------------------------------


def programs(text: str) -> Iterator[list[str]]:
    """Yield each command of a block as words, the program first."""
    text = _HERE.sub("", text).replace("\\\n", " ")
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();|&<>")
        lexer.whitespace_split = True
        try:
            words = [*lexer, ";"]
        except ValueError:  # a text over several lines, which bash -n reads
            continue
        command = list[str]()
        for word in words:
            if set(word) <= set(";|&()"):
                if command:
                    yield command
                command = []
            elif command or not re.fullmatch(r"[A-Za-z_]\w*=.*", word):
                command.append(word)


def test_shell_blocks_are_shell() -> None:
    wrong = []
    for page, number, text in blocks("sh", "bash", "shell"):
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            wrong.append((page, number, done.stderr))
    assert wrong == []


def test_each_program_on_a_page_is_known() -> None:
    """One that is run by no test says here what it needs; a new one has to be put into either list."""
    unknown = set()
    for page, number, text in blocks("sh", "bash", "shell"):
        defined = set(re.findall(r"^(\w+)\(\)", text, re.MULTILINE))
        for command in programs(text):
            program = Path(command[0]).name or command[0]
            if program in ("{", "}", "!", "do", "then", "else") and command[1:]:
                program = Path(command[1]).name
            if program not in {*ELSEWHERE, *SHELL, *defined, "{", "}", "!", "merge", "until_answers"}:
                unknown.add((page, number, program))
    assert unknown == set()


def test_each_module_that_a_page_runs_is_there() -> None:
    missing = set()
    for page, _, text in blocks("sh", "bash", "shell"):
        for module in re.findall(r"python3? -m ([\w.]+)", text):
            try:
                found = find_spec(module)
            except ModuleNotFoundError:
                found = None
            if found is None:
                missing.add((page, module))
    assert missing == set()


def test_each_file_that_is_applied_to_a_cluster_is_there() -> None:
    texts = [text for _, _, text in blocks("sh", "bash", "shell")]
    paths = {path for text in texts for path in re.findall(r"kubectl apply -[kf] (manifests/\S+)", text)}
    paths |= {path for text in texts for path in re.findall(r"--values (manifests/\S+)", text)}
    assert len(paths) > 5 and [path for path in sorted(paths) if not (ROOT / path).exists()] == []


# --- settings and documents -----------------------------------------------------------------------------------------

KEYS = set(Environment.model_fields)
SECTIONS = {"models", "shadow", "retired"}
OTHERS: dict[str, str] = {
    "apiVersion": "an object of Kubernetes",
    "jobs": "a workflow of GitHub Actions",
    "on": "a workflow of GitHub Actions",
    "mountOptions": "a part of an object of Kubernetes",
    "scrape_configs": "Prometheus",
    "repos": "pre-commit",
    "spec": "a part of an object of Kubernetes",
    "configs": "Argo CD",
    "metadata": "a part of an object of Kubernetes",
}
"""The first keys of YAML that is not ours, and whose it is."""


def merged(base: Any, more: Any) -> Any:
    if isinstance(base, dict) and isinstance(more, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in more.items()}}
    return more


@pytest.mark.parametrize(("page", "text"), identified("yaml"))
def test_yaml_is_what_reads_it_takes(page: str, text: str) -> None:
    (document, *_) = list(yaml.safe_load_all(text))
    if isinstance(document, list) or not set(document) & {*KEYS, *SECTIONS}:
        first = next(iter(document[0] if isinstance(document, list) else document))
        assert isinstance(document, list) or str(first) in OTHERS or first is True, first
        return
    if set(document) <= {"environment", *SECTIONS}:
        whole = {"environment": "dev", **document}
        full = re.sub(
            r"sha256:([0-9a-f]+)…", lambda short: f"sha256:{short[1]:0<64}", yaml.safe_dump(whole, allow_unicode=True)
        )
        desired.parse(full, file=f"promotions/{whole['environment']}.yaml")
        return
    base = yaml.safe_load(GOOD)
    settings = merged(base, document)
    if "promotes_from" in document:
        settings["environment"] = "prod"
    environment_files.parse(
        yaml.safe_dump(settings), file=f"{settings['environment']}.yaml", environment=settings["environment"]
    )


@pytest.mark.parametrize(("page", "text"), identified("json"))
def test_json_is_json_and_a_case_is_a_case(page: str, text: str) -> None:
    document = json.loads(text if text.lstrip().startswith(("{", "[")) else f"{{{text}}}")
    if isinstance(document, dict) and {"model", "inputs", "expect"} <= set(document):
        CaseFile.model_validate(document)


@pytest.mark.parametrize(("page", "text"), identified("python"))
def test_python_compiles(page: str, text: str) -> None:
    ast.parse(text)
