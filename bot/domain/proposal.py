"""The decisions of a proposal: which entries it edits, on which path a version goes, and what goes first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bot.domain import desired
from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.gate import Gate, GateResult
from bot.domain.release import Lane, Release


@dataclass(frozen=True)
class Edit:
    """One entry of one environment, as it shall be; ``entry`` None removes it.

    ``why`` must say why what answers leaves service: without it no deployment would take it out.
    """

    section: Section
    model: str
    entry: Entry | None
    why: str = ""


def edited(text: str, edits: Iterable[Edit], *, file: str) -> str:
    """Return the text of ``file`` with these edits made; raise InvalidInput where it has a mistake."""
    for edit in edits:
        if edit.section == "models" and edit.entry is None:
            text = desired.with_retirement(text, file=file, model=edit.model, reason=edit.why)
        else:
            text = desired.with_entry(text, file=file, section=edit.section, model=edit.model, entry=edit.entry)
    return text


def edits_of(change: Change, main: Desired) -> list[Edit]:
    """Return the edits that propose ``change`` to ``main``: what comes to answer needs no shadow of itself."""
    edits = [Edit(change.section, change.model, change.after)]
    listens = main.shadow.get(change.model)
    if change.section == "models" and listens and change.after and listens.digest == change.after.digest:
        edits.append(Edit("shadow", change.model, None))
    return edits


def section_for(result: GateResult, gate: Gate, *, is_promotion: bool, as_shadow: bool = False) -> Section | None:
    """Return the section that a judged version is proposed for; None where the gate stops it.

    A version that misses listens as a shadow where the gate says so. One that is promoted never does. ``as_shadow``:
    a person wants one that passes to listen.
    """
    if result.passed:
        return "shadow" if as_shadow else "models"
    return None if gate.on_miss == "stop" or is_promotion else "shadow"


def proposed_for(model: str, there: Desired, main: Desired) -> Change | None:
    """Return what ``there``, the head of an open proposal, sets for a model over ``main``; None where nothing."""
    differing = desired.changes(main, there)
    return next((change for change in differing if change.model == model and change.after is not None), None)


def why_it_waits(wanted: Release, there: Release, *, number: int, missed: str) -> str:
    """Return why ``there``, which pull request ``number`` proposes, goes first; empty where it makes room.

    There is one pull request for each model and environment. What passes the gate takes it over from what only
    listens, whichever is newer, and never the other way round; of two of a kind the newer one does. ``missed`` is
    what ``wanted`` misses of the gate; empty where it passes, and a person wants it to listen.
    """
    if (there.slot.lane, wanted.slot.lane) == (Lane.LIVE, Lane.SHADOW):
        own = f"it misses the gate ({missed})" if missed else "it is to listen"
        return (
            f"{own}, and #{number} proposes version {there.version}, which passes: a shadow waits until #{number} is "
            "merged or closed; propose it again then"
        )
    if there.slot == wanted.slot and there.version > wanted.version:
        return f"#{number} already proposes version {there.version}, which is newer"
    return ""


WhyLeftOut = Literal[
    "no name",
    "no gate",
    "no version",
    "no package",
    "not ready",
    "quarantine",
    "gate",
    "served",
    "retired",
    "open",
    "bundle",
    "other",
]


@dataclass(frozen=True)
class LeftOut:
    """A model that is not proposed: which ``version`` it is about, ``kind`` of reason, and ``why``, in words.

    ``version`` is None where there is none to speak of.
    """

    model: str
    version: int | None
    kind: WhyLeftOut
    why: str

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: main says so already, or a pull request asks for this very version."""
        return self.kind == "served"
