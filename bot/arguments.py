"""The arguments of commands: the options that several commands share, and how single values are read.

A reader returns the value, or raises ``argparse.ArgumentTypeError`` with what is wrong with the text.
"""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

# --- options that several commands share ---------------------------------------------------------------------------


def environment(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--env``."""
    note = "" if required else " (default: all)"
    parser.add_argument("--env", required=required, metavar="ENV", help=f"the environment{note}")


def request(parser: argparse.ArgumentParser) -> None:
    """Add ``--request``."""
    note = "an id of your own: asked again with the same one, it is done once"
    parser.add_argument("--request", type=request_id, default="", metavar="ID", help=note)


def replace(parser: argparse.ArgumentParser) -> None:
    """Add ``--replace``."""
    note = "drop commits of people that are on the bot's branch; a comment names them (default: stop)"
    parser.add_argument("--replace", action="store_true", help=note)


def by(parser: argparse.ArgumentParser) -> None:
    """Add ``--by``, which nobody types: who started the workflow, or whose terminal it is."""
    who = os.environ.get("GITHUB_ACTOR") or os.environ.get("USER", "")
    parser.add_argument("--by", default=who, help=argparse.SUPPRESS)


# --- values --------------------------------------------------------------------------------------------------------


def model(text: str) -> str:
    """Read the name of a model."""
    from bot.domain.names import check_model_name

    try:
        return check_model_name(text)
    except ValueError as error:
        step = "mlflow_names in the environment file gives what MLflow calls otherwise a name to be served under"
        raise argparse.ArgumentTypeError(f"{error}; {step}") from error


def version(text: str) -> int:
    """Read the version of a model, or another whole number above 0."""
    from bot.domain.names import MAX_VERSION

    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_VERSION:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid version: a whole number from 1 to {MAX_VERSION}")
    return int(text)


def seconds(text: str) -> float:
    """Read a time span above 0."""
    import math

    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def seconds_or_never(text: str) -> float:
    """Read a time span; 0 stands for never."""
    return 0.0 if text == "0" else seconds(text)


def port(text: str) -> int:
    """Read the port of a server."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a valid port: a whole number from 1 to 65535")
    return int(text)


def request_id(text: str) -> str:
    """Read the id of a request; a workflow passes on an input that was left empty."""
    from bot.domain.names import check_request_id

    try:
        return check_request_id(text) if text else ""
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def repository(text: str) -> str:
    """Read owner/name of a repository."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a repository: write owner/name")
    return text


def host_name(text: str) -> str:
    """Read the name of a host."""
    label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
    if not re.fullmatch(rf"(?=.{{1,253}}$){label}(\.{label})*", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not the name of a host, as in board.example.org")
    return text.lower()


def header(text: str) -> str:
    """Read the name of a header."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not the name of a header, as in x-auth-request-user")
    return text.lower()


def owner(text: str) -> str:
    """Read a code owner."""
    if not re.fullmatch(r"@[A-Za-z0-9][A-Za-z0-9-]*(/[A-Za-z0-9._-]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a valid owner: @person or @organisation/team")
    return text


def branch(text: str) -> str:
    """Read the name of a branch."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a branch")
    return text


def runners(text: str) -> tuple[str, str]:
    """Read the labels of the runners for checks and for everything else."""
    labels = text.split(",")
    if len(labels) > 2 or not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", label) for label in labels):
        raise argparse.ArgumentTypeError(f"{text!r} is not one label, or two with a comma between them")
    return labels[0], labels[-1]


def environments(text: str) -> tuple[str, ...]:
    """Read names of environments."""
    from bot.domain.names import check_environment_name

    names = tuple(text.split(","))
    try:
        for name in names:
            check_environment_name(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names an environment twice")
    return names


def commit(text: str) -> str:
    """Read the whole id of a commit."""
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a valid commit: 40 hexadecimal digits")
    return text


def needs(text: str) -> dict[str, str]:
    """Read GitHub's ``needs`` context; return the result of each job."""
    import json

    try:
        return {job: str(outcome["result"]) for job, outcome in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise argparse.ArgumentTypeError("is not GitHub's `needs` context as JSON") from error


def time(text: str) -> datetime:
    """Read a time of ISO 8601; one without an offset is in UTC."""
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid time, as in 2026-11-22T14:00:00+01:00") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def since(text: str) -> datetime | timedelta:
    """Read how far to look back, as in 30d, 12h or 45m; or from which time on."""
    import re
    from datetime import timedelta

    span = re.fullmatch("([0-9]{1,5})([dhm])", text)
    if span is None:
        try:
            return time(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r:.80} is neither a time span, as in 30d, 12h or 45m, nor a time"
            ) from error
    units = {"d": "days", "h": "hours", "m": "minutes"}
    return timedelta(**{units[span[2]]: int(span[1])})
