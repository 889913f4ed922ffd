"""The commands: one file each, found by its name and imported when somebody asks for it.

A command's file has a docstring, whose first line is what ``--help`` says of it, and three names:

- ``Arguments``: what is typed behind it, as a frozen dataclass; a mistake that no single argument shows is raised as
  :class:`UsageMistake` by its ``__post_init__``;
- ``add_arguments(parser)``: how that is read, a ``dest`` for each field of ``Arguments``;
- ``run(arguments, context)``: does it, and returns an :class:`Answer`;
- ``output()``: the type of the answer's result, of which the JSON Schema of ``--json`` is made.

Whatever is slow to import is imported by ``run``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

from bot.exit_codes import ExitCode
from bot.log_options import Chosen

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from bot.operations.job import Job
    from bot.platform import Platform
    from bot.requests import Actor, Request, Result

R = TypeVar("R", bound="Result")

SERVICES = frozenset({"board", "slack", "watch"})
"""Commands that stay until somebody ends them."""
_FIRST = (
    *(
        "adopt",
        "package",
        "propose",
        "promote",
        "check",
        "recheck",
        "evaluate",
        "deploy",
        "watch",
        "rollback",
        "retire",
        "status",
        "board",
        "drift",
        "shadow",
        "reconcile",
    ),
    *(
        "history",
        "bisect",
        "explain",
        "report",
        "quarantine",
        "evidence",
        "cleanup",
        "validate",
        "init",
        "doctor",
        "slack",
        "sandbox",
        "demo",
    ),
)
"""The order in which ``--help`` lists them, by a model's life; any other comes behind these."""


class UsageMistake(Exception):
    """The arguments make no sense together: exit code 2."""


class Answer(NamedTuple):
    """The answer of a command: its result for ``--json``, the text for a person, the exit code."""

    result: object
    text: str
    exit_code: ExitCode = ExitCode.DONE
    job: Callable[[], Job] | None = None
    """Returns what GitHub Actions shows of it."""


class Context(NamedTuple):
    """What each command is given besides its own arguments."""

    command: str
    root_typed: str = "."
    json: bool = False
    environment: str | None = None
    """The one environment that it is about, where it is about one; for the title in a job of GitHub Actions."""
    logs: Chosen = Chosen("warning", "text")

    @property
    def title(self) -> str:
        """How a job of GitHub Actions names the run."""
        return f"promobot {self.command}" + (f" in {self.environment}" if self.environment else "")

    @property
    def root(self) -> Path:
        """The checkout to work in. Not resolved: a service's checkout may be a link that is flipped under it."""
        from pathlib import Path

        return from_here(Path(self.root_typed).absolute)

    def platform(self, environment: str, *, lenient: bool = False) -> Platform:
        """Return what the command needs of an environment, to be used in a ``with`` block.

        Raises InvalidInput where its settings have a mistake. With ``lenient`` a mistake in what a rollback does not
        need is kept beside them instead.
        """
        from bot import environment_files
        from bot.platform import Platform

        load = environment_files.load_for_the_way_back if lenient else environment_files.load
        return Platform(load(self.root, environment))

    @contextmanager
    def platforms(self, environment: str | None, *, lenient: bool = False) -> Iterator[list[Platform]]:
        """Give what the command needs of one environment, or of all; those that only look are ``lenient``.

        Then a mistake in one part does not hide how users are.
        """
        from bot import environment_files

        names = [environment] if environment else environment_files.environments(self.root)
        with ExitStack() as opened:
            yield [opened.enter_context(self.platform(name, lenient=lenient)) for name in names]

    def actor(self, name: str = "") -> Actor:
        """Return who runs the command: in a workflow who started it, else whom GitHub names as the author."""
        from bot.requests import Actor

        return Actor(name, github=os.environ.get("GITHUB_ACTOR", ""))

    def carry_out(
        self,
        request: Request[R],
        tell: Callable[[R], str],
        job: Callable[[R], Job] | None = None,
        *,
        lenient: bool = False,
    ) -> Answer:
        """Carry out a request; return what came of it.

        ``job`` returns what GitHub Actions shows of it; by default what the terminal shows. ``lenient`` is as of
        :meth:`platform`.
        """
        from bot.output import say
        from bot.requests import carry_out

        platforms: dict[str, Platform] = {}
        with ExitStack() as opened:

            def platform(environment: str) -> Platform:
                if environment not in platforms:
                    platforms[environment] = opened.enter_context(self.platform(environment, lenient=lenient))
                return platforms[environment]

            done = carry_out(request, platform, say=say, tell=tell)
        if done.result is None:
            from bot.render import terminal

            assert done.before is not None  # noqa: S101 - it was done before, or just now
            return self.answer(done.before, terminal.done_before(request.id, done.before), done.exit_code)
        if job is None:
            return self.answer(done.result, done.said, done.exit_code, getattr(done.result, "url", ""))
        return Answer(done.result, done.said, done.exit_code, partial(job, done.result))

    def answer(self, result: object, text: str, exit_code: ExitCode = ExitCode.DONE, url: str = "") -> Answer:
        """Return an answer of which a job of GitHub Actions shows what the terminal shows; ``url`` becomes a link."""

        def job() -> Job:
            from bot.render import job as documents

            return documents.said(text, exit_code, title=self.title, url=url)

        return Answer(result, text, exit_code, job)


class Command(Protocol):
    """A module of this package."""

    Arguments: Callable[..., Any]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say how what is typed behind the command is read."""

    def run(self, arguments: Any, context: Context) -> Answer:
        """Do it."""

    def output(self) -> Any:
        """Return the type of the answer's result."""


def meant(message: str, typed: Sequence[str], options: Collection[str]) -> str:
    """Return the right word for the wrong one, as a question; empty where none is near.

    ``message`` is what argparse says of what was ``typed``; ``options`` are those that there are.
    """
    import re

    from bot.domain.nearest import did_you_mean

    if wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
        return did_you_mean(wrong[1], [word.strip(" '") for word in wrong[2].split(",")]).strip()
    for option in (word.partition("=")[0] for word in typed if word.startswith("--") and word != "--"):
        if not any(known.startswith(option) for known in options):
            return f"There is no option {option:.80}. {did_you_mean(option, options)}".strip()
    # As in `promobot status dev`: every other place has the environment behind an option.
    word = re.fullmatch(r"unrecognized arguments: ([a-z0-9][a-z0-9-]*)", message)
    return f"Did you mean --env {word[1]}?" if word and "--env" in options else ""


def names() -> list[str]:
    """Return the names of all commands, as ``--help`` lists them."""
    with os.scandir(__path__[0]) as entries:
        found = {entry.name[:-3] for entry in entries if entry.name.endswith(".py") and entry.name[0] != "_"}
    return [name for name in _FIRST if name in found] + sorted(found.difference(_FIRST))


def summary(name: str) -> str:
    """Return the first line of a command's docstring without its full stop; the command is not imported."""
    # pathlib takes longer to import than all of this.
    with open(f"{__path__[0]}/{name}.py", encoding="utf-8") as source:  # noqa: PTH123
        return source.readline().strip('"\n').removesuffix(".")


def load(name: str) -> Command:
    """Import one command."""
    return cast("Command", import_module(f"bot.commands.{name}"))


def from_here(path: Callable[[], Path]) -> Path:
    """Return a path that depends on the current folder; raise Refused where that folder is gone."""
    try:
        return path()
    except FileNotFoundError as error:
        from bot.errors import Refused

        raise Refused(
            "the folder that this was started in is gone",
            state="Nothing was changed.",
            next_step="Go to a folder that exists, such as a checkout, and run the same command there.",
        ) from error


def resolved(typed: str) -> Path:
    """Return the whole path of a folder that somebody typed."""
    from pathlib import Path

    return from_here(Path(typed).resolve)


def see_that_mlflow_is_named() -> None:
    """Raise InvalidInput where no variable says where MLflow is: a command that registers asks as a training job."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return
    from bot.errors import InvalidInput

    raise InvalidInput(
        "is not set",
        key="MLFLOW_TRACKING_URI",
        next_step="Set it, and what else MLflow's own clients need here, as for a training job.",
    )
