"""What ``promobot evidence export`` and ``verify`` say in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.domain.names import short

if TYPE_CHECKING:
    from bot.operations.attesting import Exported, Verified


def exported(found: Exported, file: str) -> str:
    """Return what was written."""
    who = f"signed by key {found.signed_by[:12]}" if found.signed_by else "not signed: give --key to sign it"
    where = f"{found.deployments} deployments in {', '.join(found.environments)}"
    return f"{file}: {found.model} {found.version} ({short(found.digest)}), {where}; {who}"


def verified(found: Verified) -> str:
    """Return what was checked."""
    return "\n".join(
        [
            f"{found.model} {found.version} ({found.digest}), {found.files} files, as key {found.signed_by[:12]} "
            f"signed on {found.made_at[:16].replace('T', ' ')} UTC.",
            f"It tells of {', '.join(found.environments)}: {', '.join(found.deployments) or 'no deployment'}.",
        ]
    )
