"""Show which pull requests, people, evidence and deployments stand behind a digest."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """The digest, or its beginning; where, None for everywhere."""

    digest: str
    env: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("digest", metavar="DIGEST", help="the digest, or the beginning of it")
    options.environment(parser, required=False)


def run(arguments: Arguments, context: Context) -> Answer:
    """Read the records, and ask GitHub."""
    from bot.operations.explain import explain
    from bot.render import explaining

    with context.platforms(arguments.env, lenient=True) as platforms:
        found = explain(platforms, arguments.digest)
    return Answer(found, explaining.on_terminal(found))


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.explain import Explained

    return Explained
