"""A command is found by its file: what --help says of it, what it reads, and that nothing else is imported for it."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from bot import cli, commands

PROJECT = Path(__file__).parents[2]
TYPED: dict[str, list[str]] = {
    "propose": ["churn", "7", "--env", "dev"],
    "promote": ["churn", "--to", "prod"],
    "check": ["ready", "--pull-request", "1"],
    "recheck": ["churn", "--env", "dev"],
    "bisect": ["churn", "--env", "dev", "--case", "case.json"],
    "explain": ["3b1f"],
    "report": ["--since", "7d"],
    "shadow": ["churn", "--env", "dev"],
    "evaluate": [
        *("churn", "--env", "dev", "--part", "0", "--of", "4", "--answers", "there"),
        *("--proposed", f"sha256:{'0' * 64}@triton:8001/churn/7"),
    ],
    "deploy": ["--env", "dev"],
    "watch": ["--env", "dev", "--once"],
    "rollback": ["churn", "--env", "dev"],
    "rehearse": ["churn", "--env", "dev"],
    "retire": ["churn", "--env", "dev", "--reason", "x"],
    "history": ["--env", "dev"],
    "quarantine": ["list", "--env", "dev"],
    "evidence": ["list", "--env", "dev"],
    "cleanup": ["--env", "dev"],
    "init": [
        *("there", "--repository", "a/p", "--promobot", "a/b", "--ref", "0" * 40, "--owners", "@a/b"),
    ],
    "slack": ["--once"],
    "sandbox": ["up", "--dir", "there"],
    "adopt": ["churn", "7"],
    "package": ["churn", "--samples", "rows.npz", "--answers", "answers.npz", "--to", "there"],
    "proof": ["--out", "there"],
}
"""What each command needs behind it, where it needs anything."""


@pytest.mark.parametrize("name", commands.names())
def test_what_is_typed_becomes_the_commands_own_arguments(name: str) -> None:
    parsed = cli.parse([name, *TYPED.get(name, []), "--root", "there", "--json"])
    assert parsed.command is commands.load(name)
    assert type(parsed.arguments) is commands.load(name).Arguments
    assert dataclasses.is_dataclass(parsed.arguments)
    assert (parsed.context.command, parsed.context.root_typed, parsed.context.json) == (name, "there", True)
    # A value that nobody reads would be an option that does nothing.
    source = (PROJECT / f"bot/commands/{name}.py").read_text()
    read = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    assert {field.name for field in dataclasses.fields(parsed.arguments)} <= read


@pytest.mark.parametrize("name", commands.names())
def test_help_says_the_first_line_of_the_docstring(name: str) -> None:
    documentation = ast.get_docstring(ast.parse((PROJECT / f"bot/commands/{name}.py").read_text()))
    assert documentation is not None
    first, _, rest = documentation.partition("\n")
    assert first.endswith(".") and not rest.strip(), "one line, so that it is read without importing anything"
    assert commands.summary(name) == first[:-1]


def test_a_title_names_the_one_environment() -> None:
    titles = {name: cli.parse([name, *TYPED.get(name, [])]).context.title for name in commands.names()}
    assert titles["deploy"] == "promobot deploy in dev"
    assert titles["promote"] == "promobot promote in prod"
    assert titles["status"] == "promobot status"
    assert cli.parse(["slack", "--once", "--env", "dev", "--env", "prod"]).context.title == "promobot slack"


@pytest.mark.parametrize(
    ("typed", "imported"),
    [(["--help"], []), ([], []), (["deploi"], []), (["deploy", "--help"], ["deploy"]), (["validate"], ["validate"])],
)
def test_a_command_is_imported_when_it_is_asked_for(typed: list[str], imported: list[str]) -> None:
    program = (
        "import sys\nfrom bot.cli import main\n"
        f"try:\n    main({typed!r})\nexcept SystemExit:\n    pass\n"
        "print(sorted(n.split('.')[-1] for n in sys.modules if n.startswith('bot.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == repr(imported)


def test_help_imports_hardly_more_than_argparse() -> None:
    program = (
        "import sys\nfrom bot.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "slow = {'dataclasses', 'json', 'logging', 'pathlib'}\n"
        "print(sorted(n for n in sys.modules if n in slow or n.startswith('bot.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    ours = ["bot.cli", "bot.commands", "bot.exit_codes", "bot.log_options"]
    assert done.stdout.splitlines()[-1] == repr(ours)


def test_a_new_file_is_a_new_command_and_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "zebra.py").write_text('"""Count stripes."""\n')
    (tmp_path / "deploy.py").write_text('"""Deploy."""\n')
    (tmp_path / "abacus.py").write_text('"""Count beads."""\n')
    (tmp_path / "_shared.py").write_text("")
    monkeypatch.setattr(commands, "__path__", [str(tmp_path)])
    assert commands.names() == ["deploy", "abacus", "zebra"]
    assert "abacus count beads" in " ".join(cli.build_parser(()).format_help().split())


def test_the_command_line_itself_stays_small() -> None:
    assert len((PROJECT / "bot/cli.py").read_text().splitlines()) < 200
