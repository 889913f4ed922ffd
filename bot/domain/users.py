"""How users of a model are: whether somebody answers them, as far as it can be seen from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Health = Literal["OK", "degraded", "DOWN"]
WORST_FIRST: tuple[Health, ...] = ("DOWN", "degraded", "OK")


@dataclass(frozen=True)
class Users:
    """How those who ask for one model are; ``why`` is empty where they are well."""

    model: str
    version: int
    health: Health
    why: str = ""


def users_of(
    model: str, version: int, *, tritons: Mapping[str, bool | None], gateways: Mapping[str, int | bool | None]
) -> Users:
    """Judge by what each server says of the version that is routed.

    ``tritons``: whether each has it READY; None where it does not answer. ``gateways``: the version that each serves,
    None where it serves none, False where it does not answer. A server that does not answer *here* may still answer
    users: it counts as missing, since nobody can say that it does not.
    """
    ready = [name for name, has in tritons.items() if has]
    serving = [name for name, there in gateways.items() if there is not False and there is not None]
    why = [
        *_missing("Triton", tritons, ready, {None: "silent", False: "without it"}),
        *_missing("gateway", gateways, serving, {False: "silent", None: "without it"}),
    ]
    behind = [name for name in serving if gateways[name] != version]
    if behind:
        why.append(f"{', '.join(behind)} {'serves' if len(behind) == 1 else 'serve'} another version")
    down = (tritons and not ready) or (gateways and not serving)
    health: Health = "DOWN" if down else "degraded" if why else "OK"
    return Users(model, version, health, "; ".join(why))


def _missing(
    kind: str, servers: Mapping[str, int | bool | None], well: list[str], words: Mapping[bool | None, str]
) -> list[str]:
    """Say of one kind of servers who is missing, and how; nothing where nobody is."""
    ill = [name for name in servers if name not in well]
    if not ill:
        return []
    found = {servers[name] for name in ill}
    how = words[found.pop()] if len(found) == 1 else "silent or without it"  # type: ignore[index]
    many = f"{len(ill)} of {len(servers)} {kind}{'s' * (len(servers) > 1)}"
    return [f"{many} {how} ({', '.join(ill[:3])}{', …' if len(ill) > 3 else ''})"]
