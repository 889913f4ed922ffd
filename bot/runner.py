"""Who runs a command and where, as the variables of the process say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Runner:
    """A job of GitHub Actions, or somebody's machine. Unknown fields are empty."""

    actor: str = ""
    """Who started the workflow."""
    address: str = ""
    """The address of this run of GitHub Actions."""
    user: str = ""
    """The user of the machine."""


def runner_of(variables: Mapping[str, str]) -> Runner:
    """Return who runs this, by the variables of GitHub Actions, and those of a login."""
    server, repository, run = (variables.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    address = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else ""
    return Runner(variables.get("GITHUB_ACTOR", ""), address, variables.get("USER", ""))
