"""Read all files of desired state and settings, and name every mistake."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """None of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read nothing."""


def run(arguments: Arguments, context: Context) -> Answer:  # noqa: ARG001
    """Read the files."""
    from bot.operations.validate import validate
    from bot.render import terminal

    found = validate(context.root)
    return Answer(found, terminal.validated(found), found.exit_code)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.validate import Validated

    return Validated
