"""The public surface: what is declared is what is there, documented, and free of what is private."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

from tests import surface
from tests.surface import PROJECT, PUBLIC, Definition

FOUND = surface.surface()
EVERY = [pytest.param(one, id=f"{name}.{own}") for name, found in FOUND.items() for own, one in found.items()]


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "bot.airflow"])
def test_what_is_declared_is_there_and_nothing_else(name: str) -> None:
    module = importlib.import_module(name)
    declared = surface.declared(name)
    assert declared == sorted(declared, key=lambda one: (one.isupper(), one.islower(), one))
    for one in declared:
        where, own = surface.origin(name, one)
        assert getattr(module, one) is getattr(importlib.import_module(where), own)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


def test_what_needs_airflow_says_so() -> None:
    module = importlib.import_module("bot.airflow")
    for name in module.__all__:
        with pytest.raises(ModuleNotFoundError, match=f"bot.airflow.{name} needs Airflow 3"):
            getattr(module, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("one", EVERY)
def test_every_parameter_and_member_is_explained(one: Definition) -> None:
    assert surface.problems(one) == []


@pytest.mark.parametrize("one", EVERY)
def test_no_type_that_is_private_is_named(one: Definition) -> None:
    public = {(each.module, each.name) for found in FOUND.values() for each in found.values()}
    assert surface.leaks(one, public) == []


BAD = """
from bot.operations.observe import Live


class Thing:
    '''A thing.'''

    def __init__(self, size: int) -> None: ...

    def live(self, name: str) -> Live: ...
"""


def test_what_is_not_explained_or_private_is_found() -> None:
    tree = ast.parse(BAD)
    (node,) = (one for one in tree.body if isinstance(one, ast.ClassDef))
    surface.module.cache_clear()
    thing = Definition("bot.gateway", "Thing", node)
    surface.module("bot.gateway").imported["Live"] = ("bot.operations.observe", "Live")
    try:
        assert surface.problems(thing) == [
            "bot.gateway.Thing.live has no docstring",
            "bot.gateway.Thing.live does not say what name is",
            "bot.gateway.Thing does not say what size is",
        ]
        assert surface.leaks(thing, set()) == ["bot.gateway.Thing names bot.domain.plan.Live"]
    finally:
        surface.module.cache_clear()


def test_importing_the_surface_of_training_costs_little() -> None:
    program = (
        "import sys, bot.training\n"
        "print([n for n in ('git', 'mlflow', 'numpy', 'onnx', 'sklearn') if n in sys.modules])\n"
        "bot.training.Proposal, bot.training.GateRow"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
