"""The rows of the table of models: each knows how its package is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.training import build_package


@dataclass(frozen=True)
class Given:
    """What ``build_package`` is given. ``answers`` are None where it asks the framework itself."""

    model: Any
    inputs: Any
    answers: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the package."""
        build_package(self.model, directory, inputs=self.inputs, answers=self.answers, **self.options)


@dataclass(frozen=True)
class Case:
    """One model of ``family``. ``write`` writes its package, with the answers of its framework, into a directory.

    ``needs`` are the modules without which there is no such model, ``install`` says how to have them.
    """

    family: str
    name: str
    write: Callable[[Path], object]
    needs: tuple[str, ...] = ()
    install: str = ""

    @property
    def missing(self) -> list[str]:
        """The modules of ``needs`` that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    @classmethod
    def of(cls, family: str, name: str, make: Callable[[], Given], **more: Any) -> Case:
        """Return the row of what ``make`` gives ``build_package``."""
        return cls(family, name, lambda directory: make().write(directory), **more)
