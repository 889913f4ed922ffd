"""Ask two loaded versions one part of a large evaluation set, as one of many tasks."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context, resolved

_LOADED = re.compile(
    r"(?P<digest>sha256:[0-9a-f]{64})@(?P<grpc>[^\s/@]+:[0-9]+)/(?P<model>[^\s/]+)/(?P<version>[1-9][0-9]{0,9})"
)


@dataclass(frozen=True)
class Arguments:
    """Which model, its loaded versions, which part, and where the answers go."""

    model: str
    env: str
    proposed: dict[str, Any]
    in_service: dict[str, Any] | None
    part: int
    of: int
    answers: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    options.environment(parser)
    parser.add_argument(
        "--proposed",
        required=True,
        type=_loaded,
        metavar="DIGEST@HOST:PORT/MODEL/VERSION",
        help="the package, the gRPC of the Triton that has it, and its name and number there",
    )
    parser.add_argument(
        "--in-service", type=_loaded, metavar="DIGEST@HOST:PORT/MODEL/VERSION", help="the version to compare it with"
    )
    parser.add_argument("--part", required=True, type=_count, metavar="N", help="which part, from 0")
    parser.add_argument("--of", required=True, type=_count, metavar="N", help="how many parts there are")
    parser.add_argument("--answers", required=True, metavar="DIR", help="a folder that all parts share")


def run(arguments: Arguments, context: Context) -> Answer:
    """Ask it."""
    from bot.operations.evaluating import Loaded, ask_part
    from bot.output import say
    from bot.render.evaluating import part_answered

    versions = {"proposed": Loaded(**arguments.proposed)}
    if arguments.in_service is not None:
        versions["in_service"] = Loaded(**arguments.in_service)
    with context.platform(arguments.env) as platform:
        done = ask_part(
            platform,
            model=arguments.model,
            versions=versions,
            part=arguments.part,
            of=arguments.of,
            answers=resolved(arguments.answers),
            say=say,
        )
    said = part_answered(
        model=done.model,
        part=done.part,
        of=done.of,
        rows=done.rows,
        refused=done.refused,
        folder=done.folder,
        already=done.already,
    )
    return context.answer(done, said)


def _loaded(text: str) -> dict[str, Any]:
    if not (found := _LOADED.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text!r:.120} is not DIGEST@HOST:PORT/MODEL/VERSION")
    return {**found.groupdict(), "version": int(found["version"])}


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a whole number from 0 on")
    return int(text)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.evaluating import EvaluatedPart

    return EvaluatedPart
