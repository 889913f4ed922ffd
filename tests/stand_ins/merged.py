"""What a merged pull request leaves behind, made without one: a commit on main, and the evidence of green checks."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.domain.desired import Change
from bot.domain.evidence import CHECKS, LIFETIME, Answer, CheckResult, Evidence, Finding, rules_of
from bot.domain.memory import Memory
from bot.domain.smoke import SmokeCases
from bot.settings import Environment


def commit(repository: Path, path: str, text: str) -> None:
    """Have main of a bare repository hold this file, too; makes the repository where there is none."""
    if not repository.is_dir():
        repository.parent.mkdir(parents=True)
        subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(repository)], check=True)
    git, content = ["git", "-C", str(repository)], text.encode()
    there = subprocess.run([*git, "rev-parse", "-q", "--verify", "main"], capture_output=True).returncode == 0
    stream = b"".join(
        [
            b"commit refs/heads/main\n",
            f"committer alex <alex@example.com> {int(time.time())} +0000\n".encode(),
            b"data 6\nBy me\n\n",
            b"from refs/heads/main^0\n" if there else b"",
            f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n",
        ]
    )
    subprocess.run([*git, "fast-import", "--quiet"], input=stream, check=True)


def green_evidence(
    change: Change,
    smoke: SmokeCases,
    settings: Environment,
    *,
    at: datetime | None = None,
    pull_request: int = 1,
    memory: Memory | None = None,
) -> Evidence:
    """Return what the checks write of a change that passes: staging answered as the smoke cases say.

    ``at``: when they ran; now where it is not said. ``memory``: what loading took there.
    """
    assert change.after is not None
    now = at or datetime.now(UTC)
    keys: dict[str, Any] = {
        "environment": change.environment,
        "section": change.section,
        "model": change.model,
        "version": change.after.version,
        "digest": change.after.digest,
        "run": change.after.run,
    }
    looked = (Finding(what="looked at", passed=True),)
    rules = rules_of(settings.gate(change.model), settings.packages)
    answers = tuple(Answer(case=case.name, outputs=case.outputs) for case in smoke.cases)
    of = {"ready": {"champion": change.before}, "triton": {"memory": memory}, "smoke": {"answers": answers}}
    checks = tuple(
        CheckResult(check=name, findings=looked, at=now, rules=rules, **keys, **of[name]) for name in CHECKS
    )
    return Evidence(
        pull_request=pull_request,
        base="0" * 40,
        head="1" * 40,
        at=now,
        expires=now + LIFETIME,
        checks=checks,
        bundle=change.bundle,
        **keys,
    )
