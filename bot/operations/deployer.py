"""Who makes this deployment, so that others who look know whom to ask and where it runs."""

from __future__ import annotations

import os
import socket


def deployer() -> str:
    """Return a name and a place: the person and the run of GitHub Actions, or the user, machine and process."""
    actor, run = os.environ.get("GITHUB_ACTOR", ""), os.environ.get("GITHUB_RUN_ID", "")
    if actor and run:
        server = os.environ.get("GITHUB_SERVER_URL", "")
        return f"{actor}, {server}/{os.environ.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}"
    user = os.environ.get("USER") or f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"
