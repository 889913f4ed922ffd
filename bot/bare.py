"""Imports one module of a library without the rest of it, where that rest is most of what it costs.

A command that somebody waits for starts as a new process, and most of its time is imports. Some libraries import all
that they have from the ``__init__`` of their package, whichever part is wanted.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import ModuleType
from typing import Any

_one_at_a_time = Lock()
_kept: dict[str, dict[str, ModuleType]] = {}
"""By package the modules that were imported without it, by their names."""


def module_of(package: str, name: str) -> Any:
    """Return the module ``name`` of a package, imported without the package's own ``__init__``.

    A later import of the package itself gives a whole one of its own. Where it is whole already, this returns
    its module. The module must not need anything that only the ``__init__`` sets up.
    """
    with _one_at_a_time:
        if package not in _kept:
            if package in sys.modules:
                return import_module(f"{package}.{name}")
            spec = find_spec(package)
            if spec is None:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
            _kept[package] = {package: module_from_spec(spec)}
        whole = _taken_out(package)
        sys.modules.update(_kept[package])
        try:
            return import_module(f"{package}.{name}")
        finally:
            _kept[package].update(_taken_out(package))
            sys.modules.update(whole)


def _taken_out(package: str) -> dict[str, ModuleType]:
    """Return the modules of a package that are imported, and forget that they are."""
    # A copy: other threads import meanwhile.
    names = [name for name in list(sys.modules) if name == package or name.startswith(f"{package}.")]
    return {name: sys.modules.pop(name) for name in names}
