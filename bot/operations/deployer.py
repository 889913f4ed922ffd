"""Who makes this deployment, so that others who look know whom to ask and where it runs."""

from __future__ import annotations

import os
import socket

from bot.runner import Runner


def deployer(runner: Runner) -> str:
    """Return a name and a place: the person and the run of GitHub Actions, or the user, machine and process."""
    if runner.actor and runner.address:
        return f"{runner.actor}, {runner.address}"
    user = runner.user or f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"
