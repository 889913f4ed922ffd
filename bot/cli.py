"""``promobot``: read the command line, find the command, run it, print its answer; one error boundary.

:mod:`bot.exit_codes` explains the exit codes. ``main`` imports a command, and everything slow, only when somebody
runs it: ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import gc
import re
import signal
import sys
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, NoReturn

from bot import commands, log_options
from bot.exit_codes import ExitCode

EPILOG = """\
exit codes:
  0 done · 1 refused or failed, state as it was or put back · 2 usage · 3 a bug
  4 unconfirmed (all but Slack) · 130 interrupted

Run it in a checkout of the repository that holds promotions/ and manifests/environments/, or say --root DIR.
Secrets come from the environment variables that the environment files name; `promobot doctor` tries them.
"""


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Run one command; return the exit code."""
    command, given, context = parse(argv)
    from bot import boundary, logs, output  # not before: --help needs none of them
    from bot.errors import LeaseLost

    _die_politely()
    # SDKs make very many objects while they are imported and hardly any garbage: looking for it costs a fifth of it.
    gc.set_threshold(200_000, 50, 50)
    output.prepare(json=context.json)
    logs.configure(context.logs)
    try:
        answer = command.run(given, context)
        text = output.as_json(context.command, answer.result, answer.exit_code) if context.json else answer.text
    except commands.UsageMistake as mistake:
        build_parser(()).error(str(mistake))
    except KeyboardInterrupt:
        return boundary.interrupted(context)
    except (Exception, LeaseLost) as error:  # noqa: BLE001 - the one boundary: its user gets an answer
        return boundary.failed(error, context)
    output.show(text)
    if answer.job is not None:
        boundary.tell_the_job(answer.job)
    return answer.exit_code


def _die_politely() -> None:
    """Treat SIGTERM as Ctrl-C: what a command began is cleaned up when a runner cancels the job."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


class Parsed(NamedTuple):
    """What somebody typed: which command, its own arguments, and what every command is given."""

    command: commands.Command
    arguments: Any
    """The command's own ``Arguments``."""
    context: commands.Context


def parse(argv: Sequence[str] | None) -> Parsed:
    """Read the command line; end with exit code 2 where it is a mistake."""
    typed = list(sys.argv[1:] if argv is None else argv)
    names = commands.names()
    name = _command_in(typed)
    parser = build_parser([name] if name in names else [], typed)
    if typed and typed[0] == name and name not in names:
        from bot.domain.nearest import did_you_mean

        parser.error(f"there is no verb {name!r:.80}. {did_you_mean(name, names)}`promobot --help` lists them")
    found, unknown = parser.parse_known_args(typed)
    if unknown:
        (parser.chosen or parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    values = vars(found)
    # Of `--reason=--` argparse leaves no value at all, where a text is meant.
    for dest, value in values.items():
        if value == [] and any(word.startswith(f"--{dest.replace('_', '-')}") for word in typed):
            parser.error(f"argument --{dest.replace('_', '-')}: expected one argument")
    command, where = commands.load(name), values.get("env")
    environment = where if isinstance(where, str) else None
    try:
        logged = log_options.chosen(values, level="info" if name in commands.SERVICES else "warning")
    except ValueError as mistake:
        parser.error(str(mistake))
    context = commands.Context(name, values.pop("root"), values.pop("json"), environment, logged)
    try:
        return Parsed(command, command.Arguments(**values), context)
    except commands.UsageMistake as mistake:
        (parser.chosen or parser).error(str(mistake))


def _command_in(typed: Sequence[str]) -> str:
    """Return the first word that is neither an option nor the value of one of those that may stand before it."""
    before = ""
    for word in typed:
        if not word.startswith("-") and before not in log_options.OPTIONS:
            return word
        before = word
    return ""


class _Version(argparse.Action):
    """Looked up when somebody asks: reading what is installed takes longer than the rest of the parser."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002, ARG002 - names of argparse
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"promobot {version('promobot')}")
        except PackageNotFoundError:
            # The workflows run the checkout that they pin, and install only what it needs.
            print("promobot of a checkout that is not installed: its commit is the version")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Reads a command line; ``typed`` is all of it."""

    typed: Sequence[str] = ()
    chosen: _Parser | None = None
    """That of the command."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2. A job of GitHub Actions gets its inputs from people, and shows them what is wrong."""
        from bot import boundary, output

        options = re.findall(r"--[a-z][a-z-]*", self.format_help())
        meant = commands.meant(message, self.typed, options)
        message = f"{message}. {meant}" if meant else message
        boundary.misused(self.prog, message.rstrip(), next_step=f"`{self.prog} --help` lists what it takes.")
        self.print_usage(sys.stderr)
        output.prepare(json=False)
        output.say(f"{self.prog}: error: {message.rstrip()}")
        self.exit(ExitCode.USAGE)


def build_parser(chosen: Collection[str], typed: Sequence[str] = ()) -> _Parser:
    """Return the parser that lists every command; only the ``chosen`` ones are imported, and know their arguments."""
    parser = _Parser(
        prog="promobot",
        description="Git says which model each environment serves; promobot makes it so, proves it, or puts it back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    log_options.add_options(parser)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name in commands.names():
        says = commands.summary(name)
        added = verbs.add_parser(name, help=says[0].lower() + says[1:], description=f"{says}.")
        added.typed = typed
        if name in chosen:
            parser.chosen = added
            note = "print one JSON document on stdout and nothing else"
            added.add_argument("--json", action="store_true", help=note)
            added.add_argument("--root", default=".", metavar="DIR", help="the checkout to work in (default: here)")
            log_options.add_options(added, shown=False)
            commands.load(name).add_arguments(added)
    return parser


if __name__ == "__main__":
    sys.exit(main())
