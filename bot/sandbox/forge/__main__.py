"""``python -m bot.sandbox.forge FILE``: a small GitHub on 127.0.0.1, as the file says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import uvicorn
from pydantic import BaseModel, ConfigDict, Field

from bot.exit_codes import ExitCode
from bot.sandbox.actions.actions import Settings
from bot.sandbox.forge.app import application, open_forge
from bot.sandbox.forge.people import People, Person
from bot.sandbox.forge.store import Protection

HOST = "127.0.0.1"


class Server(BaseModel):
    """The JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """Where repositories, pull requests and runs are kept."""
    port: int
    repositories: tuple[Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")], ...] = Field(min_length=1)
    """The first is the one with the front page."""
    people: dict[str, Person]
    """By their tokens."""
    actions: Settings | None = None
    """What workflow runs are given; without it none run."""
    required_check: str = ""
    """Protects the first repository's main, where it has no rules yet."""


def main(file: Path) -> int:
    """Serve until SIGTERM or Ctrl-C, then end what is under way; the state is on disk."""
    server = Server.model_validate_json(file.read_bytes())
    people = People(server.people)
    forge, *others = (
        open_forge(
            folder=server.folder,
            repository=repository,
            server_url=f"http://{HOST}:{server.port}",
            people=people,
            settings=server.actions,
            is_main=position == 0,
        )
        for position, repository in enumerate(server.repositories)
    )
    if server.required_check and not forge.store.knows_protection("main"):
        forge.store.put(Protection(branch="main", checks=(server.required_check,)))
    app = application(forge, *others)
    uvicorn.run(app, host=HOST, port=server.port, log_level="warning", timeout_graceful_shutdown=2)
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
