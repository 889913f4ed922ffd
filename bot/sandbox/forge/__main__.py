"""``python -m bot.sandbox.forge``: a small GitHub on 127.0.0.1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from bot.errors import InvalidInput
from bot.exit_codes import ExitCode
from bot.sandbox.actions.actions import read_settings
from bot.sandbox.forge.app import application, open_forge
from bot.sandbox.forge.people import People
from bot.sandbox.forge.store import Protection

HOST = "127.0.0.1"


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; what is under way then is ended, what is kept is on disk."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.forge", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where repositories, pull requests and runs are kept")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument(
        "--repository",
        required=True,
        action="append",
        metavar="OWNER/NAME",
        help="may be given several times; the first is the one with the front page",
    )
    parser.add_argument(
        "--people", type=Path, required=True, help='JSON: {"token": {"login": "alex", "type": "User"}}'
    )
    parser.add_argument(
        "--require-check",
        default="",
        metavar="NAME",
        help="protect the first repository's main by this check, where it has no rules yet",
    )
    parser.add_argument("--actions", type=Path, help="JSON: what workflow runs are given; without it none run")
    given = parser.parse_args(arguments)
    for repository in given.repository:
        if repository.count("/") != 1:
            parser.error(f"--repository is OWNER/NAME, not {repository!r}")
    try:
        people, settings = People.read(given.people), read_settings(given.actions)
    except (ValidationError, OSError) as error:
        print(f"forge: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except InvalidInput as error:
        print(f"forge: {error}", file=sys.stderr)
        return ExitCode.USAGE
    forge, *others = (
        open_forge(
            folder=given.dir,
            repository=repository,
            server_url=f"http://{HOST}:{given.port}",
            people=people,
            settings=settings,
            is_main=position == 0,
        )
        for position, repository in enumerate(given.repository)
    )
    if given.require_check and not forge.store.knows_protection("main"):
        forge.store.put(Protection(branch="main", checks=(given.require_check,)))
    app = application(forge, *others)
    uvicorn.run(app, host=HOST, port=given.port, log_level="warning", timeout_graceful_shutdown=2)
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
