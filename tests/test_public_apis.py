"""The bot uses public APIs of libraries only: what begins with ``_`` may change with any release of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

import pytest

from tests.test_layers import modules

ALLOWED: dict[tuple[str, str], str] = {}
"""A module and the private name that it uses, and why. There is none so far."""

OF_NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make", "_field_defaults"}
"""Public by Python's documentation."""
AIRFLOWS = {"bot.airflow.failures", "bot.airflow.sensors", "bot.airflow.triggers"}
"""Their classes are looked at as text only: Airflow is not in the bot's environment."""


def production() -> list[tuple[str, Path]]:
    return [(module, path) for module, path, _ in modules() if not module.startswith("bot.sandbox")]


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return bool(top) and top not in ("bot", "__future__") and top not in sys.stdlib_module_names


def names_of(tree: ast.AST) -> set[str]:
    """Return every name that this source defines: functions, classes, variables, parameters, attributes."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case ast.arg(arg=name) | ast.alias(asname=str(name)):
                found.add(name)
    return found


@cache
def our_names() -> frozenset[str]:
    return frozenset().union(*(looked_at(path.read_text())[0] for _, path in production()))


@cache
def looked_at(source: str) -> tuple[frozenset[str], tuple[tuple[int, str, bool], ...]]:
    """Return the names that a source defines, and what it uses that is private: line, name, if only a name tells.

    Both are asked for of every module, one after the other; its source is parsed once.
    """
    tree = ast.parse(source)
    return frozenset(names_of(tree)), tuple(_private(tree))


def private_uses(source: str, ours: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each private thing of a library that the source imports or asks for.

    An attribute counts as a library's where no line of ``ours`` defines that name.
    """
    for line, name, by_name in looked_at(source)[1]:
        if not by_name or name not in ours:
            yield line, name


def _private(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=imported):
                for alias in imported:
                    parts = alias.name.split(".")
                    foreign = is_foreign(parts[0])
                    yield from ((node.lineno, part, False) for part in parts if foreign and is_private(part))
            case ast.ImportFrom(module=str(module), names=imported, level=0) if is_foreign(module):
                parts = [*module.split("."), *(alias.name for alias in imported)]
                yield from ((node.lineno, part, False) for part in parts if is_private(part))
            case ast.Attribute(attr=name) if is_private(name) and name not in OF_NAMED_TUPLES:
                yield node.lineno, name, True
            case ast.Call(func=ast.Name(id=function), args=[_, ast.Constant(value=str(name)), *_]):
                if function in ("getattr", "setattr", "hasattr") and is_private(name):
                    yield node.lineno, name, True


@pytest.mark.parametrize(("module", "path"), production(), ids=lambda value: value if isinstance(value, str) else "")
def test_nothing_private_is_imported_or_asked_for(module: str, path: Path) -> None:
    found = [
        f"{path}:{line}: {name}"
        for line, name in private_uses(path.read_text(), our_names())
        if (module, name) not in ALLOWED
    ]
    assert not found


# --- classes that derive from a library's ---------------------------------------------------------------------------


@lru_cache(maxsize=256)
def private_names(cls: type) -> frozenset[str]:
    """Return the private names of a class: those that it defines, and those that its methods set on ``self``."""
    found = set(vars(cls))
    with suppress(OSError, TypeError):  # of C, where what it defines is all that can be seen
        found |= names_of(source_of(cls))
    return frozenset(name for name in found if is_private(name))


def source_of(cls: type) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(cls)))


def borrowed(cls: type) -> set[str]:
    """Return the private names of libraries' classes that ``cls`` overrides or uses on itself."""
    own: set[str] = set()
    bases = [base for base in cls.__mro__[1:] if is_foreign(base.__module__)]
    for node in ast.walk(source_of(cls)) if bases else ():
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                own.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super")), attr=name):
                own.add(name)
    return {name for name in own if is_private(name) and any(name in private_names(base) for base in bases)}


def classes(module: str) -> list[type]:
    found = importlib.import_module(module)
    return [cls for cls in vars(found).values() if isinstance(cls, type) and cls.__module__ == module]


@pytest.mark.parametrize(
    "module", [module for module, _ in production() if module not in AIRFLOWS and not module.endswith("__main__")]
)
def test_no_class_overrides_or_uses_what_is_private_to_its_base(module: str) -> None:
    found = {(cls.__name__, name) for cls in classes(module) for name in borrowed(cls)}
    assert not {(cls, name) for cls, name in found if (module, name) not in ALLOWED}


# --- the test itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "finds"),
    [
        ("import httpx._client", ["_client"]),
        ("from httpx import _models", ["_models"]),
        ("from urllib3._collections import HTTPHeaderDict", ["_collections"]),
        ("repository._download_file(path, target)", ["_download_file"]),
        ("Github()._Github__requester", ["_Github__requester"]),
        ("getattr(answer, '_content')", ["_content"]),
        ("answer._raw = 1\nprint(answer._raw)", []),
        ("import _thread\nfrom bot.x import _y\nnamed._replace(a=1)\nx.__dict__", []),
    ],
)
def test_it_sees_private_names(source: str, finds: list[str]) -> None:
    ours = frozenset(names_of(ast.parse(source)))
    assert [name for _, name in private_uses(source, ours)] == finds


def test_it_sees_what_a_class_borrows() -> None:
    from slack_sdk import WebClient

    class Overrides(WebClient):
        def _sync_send(self, api_url: str, req_args: dict[str, object]) -> object:  # type: ignore[override]
            return api_url, req_args

    class Uses(WebClient):
        def ask(self) -> object:
            return self._logger

    class Calls(WebClient):
        def ask(self) -> object:
            return super()._sync_send("", {})  # type: ignore[no-untyped-call]

    class Fine(WebClient):
        def ask(self) -> object:
            self._ours = self.token
            return self._ours

    assert borrowed(Overrides) == {"_sync_send"} == borrowed(Calls)
    assert borrowed(Uses) == {"_logger"}
    assert borrowed(Fine) == set()


def test_what_is_allowed_is_still_used() -> None:
    texts = {module: path.read_text() for module, path in production()}
    assert all(name in texts[module] for module, name in ALLOWED)
