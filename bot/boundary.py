"""The one error boundary: however a command ends, its user gets an answer, also in a job of GitHub Actions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from bot import output
from bot.errors import Explained, InvalidInput, LeaseLost, Refused, Unavailable
from bot.exit_codes import ExitCode
from bot.output import say, show
from bot.redaction import redact
from bot.results import Bug, Failure

if TYPE_CHECKING:
    from bot.commands import Context
    from bot.operations.job import Job

COME_BACK = "Run the same command again, it goes on from there; `promobot doctor` says which system does not answer."


def tell_the_job(job: Callable[[], Job]) -> bool:
    """Show what ``job`` returns in GitHub Actions, where it runs this; return whether it does."""
    if not (os.environ.get("GITHUB_ACTIONS") or os.environ.get("GITHUB_STEP_SUMMARY")):
        return False
    from bot.operations.job import annotates, summary_not_written, tell

    try:
        tell(job(), say=say)
    except Exception as error:  # noqa: BLE001 - the command is over, and its exit code is what counts
        say(summary_not_written(error))
        return False
    return annotates()


def interrupted(context: Context) -> ExitCode:
    """Say that somebody, or a deadline, ended the command."""

    def job() -> Job:
        from bot.render import job as documents

        return documents.interrupted(context.title)

    print("\npromobot: interrupted; run the same command again to go on.", file=sys.stderr)
    tell_the_job(job)
    return ExitCode.INTERRUPTED


def failed(error: Exception | LeaseLost, context: Context) -> ExitCode:
    """Say what went wrong, in what state things are and what to do; of a bug, where its log is."""
    error = _unless_an_extra_is_missing(error, context)
    return _refused(error, context) if isinstance(error, Explained) else _bug(error, context)


def misused(title: str, message: str, *, next_step: str) -> None:
    """Show a mistake of usage in a job of GitHub Actions, which gets its inputs from people."""

    def job() -> Job:
        from bot.render import job as documents

        return documents.failed(title, message, state="Nothing was changed.", next_step=next_step)

    tell_the_job(job)


def _unless_an_extra_is_missing(error: Exception | LeaseLost, context: Context) -> Exception | LeaseLost:
    """Return what a person must do, in place of an import that failed because an extra is not installed."""
    from bot import extras

    if not (package := extras.missing_package(error)):
        return error
    extra = extras.of_a_command(context.command)
    return Refused(f"this command needs the package {package}", next_step=extras.install(extra))


def _refused(error: Explained, context: Context) -> ExitCode:
    next_step = error.next_step or (COME_BACK if isinstance(error, Unavailable) else "")
    mistakes = [(m.file, m.line, str(m)) for m in error.mistakes] if isinstance(error, InvalidInput) else []

    def job() -> Job:
        from bot.render import job as documents

        return documents.failed(context.title, str(error), state=error.state, next_step=next_step, mistakes=mistakes)

    told = tell_the_job(job)
    if context.json:
        show(output.as_json("error", Failure(str(error), error.state, next_step), ExitCode.FAILED))
    elif not told:
        lines = [f"promobot: {error}", error.state, f"→ {next_step}" if next_step else ""]
        say("\n  ".join(line for line in lines if line))
    return ExitCode.FAILED


def _bug(error: BaseException, context: Context) -> ExitCode:
    import tempfile
    import traceback

    trace = redact("".join(traceback.format_exception(error)))
    with tempfile.NamedTemporaryFile("w", prefix="promobot-bug-", suffix=".txt", delete=False) as log:
        log.write(redact(f"promobot {' '.join(sys.argv[1:])}\nPython {sys.version}\n\n") + trace)
    what = f"this is a bug in promobot: {type(error).__name__}: {error}"

    def job() -> Job:
        from bot.render import job as documents

        return documents.bug(context.title, what, trace=trace)

    told = tell_the_job(job)
    if context.json:
        show(output.as_json("error", Bug(what, log.name), ExitCode.BUG))
    elif not told:
        print(redact(f"promobot: {what}\n  Please report it with {log.name}"), file=sys.stderr)
    return ExitCode.BUG
