"""Lay out a repository of promotions that calls the bot's workflows; overwrites nothing."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context, resolved


@dataclass(frozen=True)
class Arguments:
    """Where, and what the repository will name."""

    directory: str
    repository: str
    promobot: str
    ref: str
    owners: str
    base: str
    runner: tuple[str, str]
    environments: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument(
        "--repository", type=options.repository, required=True, metavar="OWNER/NAME", help="the new repository"
    )
    parser.add_argument(
        "--promobot", type=options.repository, required=True, metavar="OWNER/NAME", help="where the bot is"
    )
    parser.add_argument("--ref", type=options.commit, required=True, metavar="SHA", help="the bot's commit to call")
    parser.add_argument(
        "--owners", type=options.owner, required=True, metavar="@ORG/TEAM", help="who owns .github, manifests"
    )
    parser.add_argument(
        "--base",
        type=options.branch,
        default="main",
        metavar="BRANCH",
        help="whose head is desired state (default: main)",
    )
    parser.add_argument(
        "--runner",
        type=options.runners,
        default=("promobot-checks", "promobot-deploy"),
        metavar="LABEL[,LABEL]",
        help="labels of the runners for checks and for everything else; one label: for both "
        "(default: promobot-checks,promobot-deploy)",
    )
    parser.add_argument(
        "--environments",
        type=options.environments,
        default=("dev", "prod"),
        metavar="ENV[,ENV…]",
        help="in the order in which a version goes through them (default: dev,prod)",
    )


def run(arguments: Arguments, context: Context) -> Answer:  # noqa: ARG001 - it needs no checkout
    """Lay it out."""
    from bot.operations.init import init
    from bot.render import terminal

    done = init(
        resolved(arguments.directory),
        repository=arguments.repository,
        promobot=arguments.promobot,
        ref=arguments.ref,
        owners=arguments.owners,
        base=arguments.base,
        runners=arguments.runner,
        environments=arguments.environments,
    )
    return Answer(done, terminal.laid_out(done))


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.init import LaidOut

    return LaidOut
