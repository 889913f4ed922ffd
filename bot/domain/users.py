"""How users of a model are: whether somebody answers them, as far as it can be seen from here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Health = Literal["OK", "degraded", "DOWN"]
WORST_FIRST: tuple[Health, ...] = ("DOWN", "degraded", "OK")


@dataclass(frozen=True)
class Users:
    """How those who ask for one model are; ``why`` is empty where they are well.

    ``since`` is when the silence began that is at fault, as far as somebody saw it; None where it is not known.
    """

    model: str
    version: int
    health: Health
    why: str = ""
    since: datetime | None = None


def users_of(
    model: str,
    version: int,
    *,
    tritons: Mapping[str, bool | None],
    gateways: Mapping[str, int | bool | None],
    since: Mapping[str, datetime],
    now: datetime,
) -> Users:
    """Judge by what each server says of the version that is routed.

    ``tritons``: whether each has it READY; None where it does not answer. ``gateways``: the version that each serves,
    None where it serves none, False where it does not answer. A server that does not answer *here* may still answer
    users: it counts as missing, since nobody can say that it does not. ``since`` says of silent ones since when they
    are, where that is known.
    """
    ready = [name for name, has in tritons.items() if has]
    serving = [name for name, there in gateways.items() if there is not False and there is not None]
    why = [
        *_missing("Triton", tritons, ready, {None: "silent", False: "without it"}, since, now),
        *_missing("gateway", gateways, serving, {False: "silent", None: "without it"}, since, now),
    ]
    silent = [name for name, has in tritons.items() if has is None]
    silent += [name for name, there in gateways.items() if there is False]
    behind = [name for name in serving if gateways[name] != version]
    if behind:
        why.append(f"{', '.join(behind)} {'serves' if len(behind) == 1 else 'serve'} another version")
    down = (tritons and not ready) or (gateways and not serving)
    health: Health = "DOWN" if down else "degraded" if why else "OK"
    return Users(model, version, health, "; ".join(why), all_since(silent, since))


def all_since(silent: Collection[str], since: Mapping[str, datetime]) -> datetime | None:
    """Return since when all of these are silent; None where that is not known of one."""
    return max(since[name] for name in silent) if silent and all(name in since for name in silent) else None


def _missing(
    kind: str,
    servers: Mapping[str, int | bool | None],
    well: list[str],
    words: Mapping[bool | None, str],
    since: Mapping[str, datetime],
    now: datetime,
) -> list[str]:
    """Say of one kind of servers who is missing, and how; nothing where nobody is."""
    ill = [name for name in servers if name not in well]
    if not ill:
        return []
    found = {servers[name] for name in ill}
    how = words[found.pop()] if len(found) == 1 else "silent or without it"  # type: ignore[index]
    if how == "silent" and (began := all_since(ill, since)):
        how += f" since {clock(began, now)}"
    many = f"{len(ill)} of {len(servers)} {kind}{'s' * (len(servers) > 1)}"
    return [f"{many} {how} ({', '.join(ill[:3])}{', …' if len(ill) > 3 else ''})"]


def clock(at: datetime, now: datetime) -> str:
    """Return a time as people read it; its date is left out where that is today's."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"
