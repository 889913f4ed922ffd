"""Watch what was released: put back what breaks the rules of its bake, give more users what does well."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.results import WatchEnded

if TYPE_CHECKING:
    from bot.operations import Say
    from bot.operations.path import CarryAsked, Doors, Promoted, Sources
    from bot.operations.watching import WayBackAsked
    from bot.platform import Platform


@dataclass(frozen=True)
class Arguments:
    """Where, how often to look, and whether once."""

    env: str
    every: float
    once: bool
    host: str
    metrics_port: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser)
    parser.add_argument(
        "--every", type=options.seconds, default=5.0, metavar="SECONDS", help="how often to look (default: 5)"
    )
    parser.add_argument("--once", action="store_true", help="look once, do what is due, and return")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="with --metrics-port (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--metrics-port", type=options.port, metavar="PORT", help="serve metrics for Prometheus there, at ADDRESS"
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Look once, or until somebody ends it."""
    # Each look asks every gateway: what it found is worth a line, and that it asked is not.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from bot.metrics import ServiceMetrics
    from bot.operations.watching import Memory, watch, watch_until_ended
    from bot.output import say
    from bot.render import rollout as words

    if not arguments.once:
        metrics = ServiceMetrics("watch")
        with ExitStack() as serving:
            if arguments.metrics_port is not None:
                serving.enter_context(metrics.served(host=arguments.host, port=arguments.metrics_port))
            watch_until_ended(
                arguments.env,
                lambda: context.platform(arguments.env, lenient=True),
                put_back=_put_back,
                open_doors=lambda: _doors(context),
                every_seconds=arguments.every,
                metrics=metrics,
            )
        return Answer(WatchEnded(True), "stopped")
    with context.platform(arguments.env, lenient=True) as platform, _doors(context) as doors:
        looked = watch(platform, Memory(), put_back=_put_back, say=say, doors=doors)
    text = words.looked(looked.lines, arguments.env, has_rules=looked.has_rules)
    return context.answer(looked, text, looked.exit_code)


def _put_back(platform: Platform, way: WayBackAsked, say: Say) -> str:
    """Ask for exactly what a person asks for by ``rollback --now``."""
    from bot.render import rollout, terminal
    from bot.requests import Actor, RollBack, carry_out

    request = RollBack(
        environment=platform.environment,
        by=Actor(rollout.WATCH),
        id=way.id,
        model=way.model,
        to=way.to,
        now=True,
        reason=way.reason,
        note=way.note,
    )
    return carry_out(request, lambda _: platform, say=say, tell=terminal.rolled_back).said


@contextmanager
def _doors(context: Context) -> Iterator[Doors]:
    """Give what carries releases on: other environments, each opened once, and the request that a person makes."""
    from bot.operations.path import Doors

    opened: dict[str, Platform] = {}
    with ExitStack() as closing:

        def source(name: str) -> Platform:
            if name not in opened:
                opened[name] = closing.enter_context(context.platform(name, lenient=True))
            return opened[name]

        yield Doors(source, _promote)


def _promote(platform: Platform, asked: CarryAsked, sources: Sources, say: Say) -> Promoted:
    """Ask for exactly what a person asks for by ``promote``."""
    from bot.operations.path import Promoted
    from bot.operations.propose import Proposal
    from bot.operations.propose_many import Proposals
    from bot.render import terminal
    from bot.requests import Actor, Promote, carry_out

    request = Promote(
        environment=platform.environment,
        by=Actor("policy", is_policy=True),
        id=asked.id,
        model=asked.model,
        source=asked.source,
        version=asked.version,
        note=asked.note,
    )

    def tell(done: Proposal | Proposals) -> str:
        return terminal.proposed(done) if isinstance(done, Proposal) else terminal.proposed_many(done)

    def platforms(name: str) -> Platform:
        return platform if name == platform.environment else sources(name)

    done = carry_out(request, platforms, say=say, tell=tell)
    return Promoted(done.said, done.is_done, done.result.pull_request if done.result is not None else None)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from pydantic import TypeAdapter

    from bot.operations.watching import Looked

    return TypeAdapter[Looked | WatchEnded](Looked | WatchEnded)
