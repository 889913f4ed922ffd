"""Promotions in a repository of their own, as `promobot init` lays it out, and the bot's repository beside it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from pathlib import Path

from bot.operations.init import init
from bot.sandbox import seed
from bot.sandbox.platform import BOT_REPOSITORY, Endpoints


def seed_apart(endpoints: Endpoints) -> None:
    """Put this project, whole, into the bot's repository, and what `init` writes into that of the promotions.

    The workflows are as they are. Only what `init` tells people to edit is edited: the addresses of the systems.
    """
    with tempfile.TemporaryDirectory(prefix="promobot-apart-") as folder:
        promotions, repositories = Path(folder), endpoints.directory / "forge" / "repositories"
        bot = repositories / f"{BOT_REPOSITORY}.git"
        seed.seed(dataclasses.replace(endpoints, repository=BOT_REPOSITORY))
        init(
            promotions,
            repository=endpoints.repository,
            promobot=BOT_REPOSITORY,
            ref=git(bot, "rev-parse", "main"),
            owners="@promobot/mlops",
        )
        for path in ("manifests/environments/dev.yaml", "manifests/environments/prod.yaml"):
            addresses = git(bot, "show", f"main:{path}").replace(BOT_REPOSITORY, endpoints.repository)
            (promotions / path).write_text(addresses + "\n")
        git(promotions, "init", "--quiet", "--initial-branch=main")
        git(promotions, "add", "--all")
        git(promotions, "commit", "--quiet", "--message", "A repository of promotions")
        git(promotions, "push", "--quiet", str(repositories / f"{endpoints.repository}.git"), "HEAD:refs/heads/main")


def git(folder: Path, *arguments: str) -> str:
    """What git says; it must not refuse."""
    who = ["-c", "user.name=alex", "-c", "user.email=alex@example.com"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
