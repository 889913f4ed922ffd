"""What a run of the lab leaves for ``docs/proof``: what each client mounted, and what was tried on it.

``python -m tests.nfs … --proof docs/proof/nfs.json`` writes the facts, and beside them the page that shows them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bot.domain.proof import Mount
from bot.render.markdown import fenced, table
from tests.nfs.lab import PROJECT, Client
from tests.nfs.tries import Place, Tried

COLUMNS = "TARGET,SOURCE,FSTYPE,OPTIONS"


class Row(BaseModel):
    """Something that was tried."""

    model_config = ConfigDict(frozen=True)

    what: str
    passed: bool
    figures: tuple[str, ...]
    problems: tuple[str, ...]
    seconds: float


class ShareProof(BaseModel):
    """A run of the lab."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    command: str
    made_at: datetime
    commit: str
    kernel: str
    server: str
    mounts: tuple[Mount, ...]
    tried: tuple[Row, ...]


@dataclass
class Notes:
    """What is noted while the lab runs: mounts go when it ends."""

    mounts: list[Mount] = field(default_factory=list)
    kernel: str = ""

    def place(self, at: Place) -> None:
        """Note what the two clients have mounted, the first time."""
        if not self.mounts:
            for client, does in ((at.a, "which writes"), (at.b, "which reads")):
                self.mount(client, f"client {client.name}, {does}", at.root, at.lab.home)

    def mount(self, client: Client, who: str, path: Path, home: Path) -> None:
        """Note what ``findmnt`` says on a client of the file system that a path is on."""
        self.kernel = client.call(kernel)
        found = client.call(findmnt, path=str(path))
        self.mounts.append(
            Mount(
                who=who,
                path=f"LAB/{path.relative_to(home)}",
                target=found["target"].replace(str(home), "LAB"),
                source=found["source"],
                filesystem=found["fstype"],
                options=found["options"],
            )
        )


def findmnt(path: str) -> dict[str, str]:
    """Ask, on a client, what a path is on."""
    command = ["findmnt", "--json", "--output", COLUMNS, "--target", path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = json.loads(said)["filesystems"][-1]
    return found


def kernel() -> str:
    """Say, on a client, which kernel it runs."""
    return subprocess.run(["uname", "-sr"], capture_output=True, text=True, check=True).stdout.strip()


def write(out: Path, notes: Notes, found: Sequence[Tried], *, command: str, server: str) -> None:
    """Write the facts into ``out`` and their page beside it."""
    proof = ShareProof(
        command=command,
        made_at=datetime.now(UTC),
        commit=_git("rev-parse", "HEAD") + ("" if not _git("status", "--porcelain", "--", "bot") else ", changed"),
        kernel=notes.kernel,
        server=server,
        mounts=tuple(notes.mounts),
        tried=tuple(
            Row(
                what=one.what,
                passed=not one.problems,
                figures=tuple(one.figures),
                problems=tuple(one.problems),
                seconds=round(one.seconds, 1),
            )
            for one in found
        ),
    )
    out.write_text(json.dumps(proof.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
    out.with_suffix(".md").write_text(page(proof))


def page(proof: ShareProof) -> str:
    """Return the page; whatever it says of the run is from its facts."""
    mounts = [
        [mount.who, f"`{mount.path}`", f"`{mount.source}`", mount.filesystem, f"`{mount.options}`"]
        for mount in proof.mounts
    ]
    tried = [
        [row.what, "passed" if row.passed else f"failed: {'; '.join(row.problems)}", "<br>".join(row.figures)]
        for row in proof.tried
    ]
    parts = (
        "# The share on NFS, seen",
        f"A run on {proof.made_at:%Y-%m-%d at %H:%M} UTC of some of what [nfs](../how-to/nfs.md) tells of: the bot's "
        "own code on two machines that mount the share from a third. Everything here is in "
        "[nfs.json](nfs.json).",
        fenced(proof.command, "sh"),
        table(
            ["part", "version"],
            [["promobot", f"commit `{proof.commit}`"], ["clients", proof.kernel], ["server", proof.server]],
        ),
        "## Mounts",
        "What `findmnt` says on each machine, while it ran. `LAB` is the lab's temporary folder.",
        table(["who", "path", "source", "file system", "options"], mounts),
        "## What was tried",
        table(["what", "", "seen"], tried),
    )
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
