"""Exit codes have names: what ends a command, or looks at how one ended, never does so by a bare number."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.exit_codes import ExitCode

PROJECT = Path(__file__).parents[1]
STAND_ALONE = PROJECT / "bot/sandbox/actions/stand_ins"
"""Run by a runner's Python, without this project."""


def bare(source: str) -> Iterator[int]:
    """Return the lines of a source where an exit code is a bare number, or is declared as any number."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name="main" | "exit_code"):
                if isinstance(node.returns, ast.Name) and node.returns.id == "int" and node.name == "exit_code":
                    yield node.lineno
                yield from (
                    inside.lineno
                    for returned in ast.walk(node)
                    if isinstance(returned, ast.Return) and returned.value is not None
                    for inside in _values(returned.value)
                    if _is_number(inside)
                )
            case ast.AnnAssign(target=ast.Name(id="exit_code"), annotation=ast.Name(id="int")):
                yield node.lineno
            case ast.arg(arg="exit_code", annotation=ast.Name(id="int")):
                yield node.lineno
            case ast.keyword(arg="exit_code", value=value) if _is_number(value):
                yield value.lineno
            case ast.Call(func=ast.Attribute(attr="exit") | ast.Name(id="SystemExit"), args=[value, *_]) if (
                _is_number(value)
            ):
                yield value.lineno
            case ast.Compare() if any(map(_is_exit_code, (node.left, *node.comparators))):
                if any(_is_number(x) for side in (node.left, *node.comparators) for x in ast.walk(side)):
                    yield node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Dict(keys=keys), attr="get"), args=[asked, *_]):
                if _is_exit_code(asked) and any(map(_is_number, keys)):
                    yield node.lineno


def _values(node: ast.expr) -> Iterator[ast.expr]:
    """What an expression may come to."""
    match node:
        case ast.IfExp():
            yield from _values(node.body)
            yield from _values(node.orelse)
        case ast.BoolOp():
            for value in node.values:
                yield from _values(value)
        case _:
            yield node


def _is_number(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_exit_code(node: ast.AST) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) == "exit_code"


def test_the_bot_knows_exit_codes_by_name() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{line}"
        for path in (PROJECT / "bot").rglob("*.py")
        if not path.is_relative_to(STAND_ALONE)
        for line in bare(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "def main():\n    return 0",
        "def main():\n    return 0 if done else 1",
        "def exit_code(self) -> int:\n    return self._code",
        "class Done:\n    exit_code: int",
        "def finish(said, exit_code: int): ...",
        "finish(said, exit_code=4)",
        "sys.exit(1)",
        "raise SystemExit(2)",
        "if done.exit_code == 4: ...",
        "if done.exit_code in (0, 4): ...",
        "sign = {0: 'x', 4: 'y'}.get(done.exit_code, 'z')",
    ],
)
def test_a_bare_number_is_found(source: str) -> None:
    assert list(bare(source))


def test_scripts_can_rely_on_the_numbers() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "BUG": 3,
        "UNCONFIRMED": 4,
        "INTERRUPTED": 130,
    }
