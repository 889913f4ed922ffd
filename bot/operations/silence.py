"""Since when a Triton or a gateway is silent: noted by who deploys and by who looks regularly, told by who looks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bot.domain import in_words
from bot.domain.plan import Live
from bot.domain.silence import Silences, all_silent_since
from bot.operations import Say
from bot.operations.attempts import reported

if TYPE_CHECKING:
    from bot.share import ModelRepository
    from bot.systems.gateway import Gateway


def note(share: ModelRepository, silent: Iterable[str], *, at: datetime, say: Say) -> None:
    """Keep on the share which servers did not answer a look ``at``. It reports a failure, and stops nothing."""
    with reported(say, "could not note since when a server is silent"):
        before = noted(share, say)
        after = before.after(silent, at=at)
        if after.silent or before.silent:
            share.silences.note(after.model_dump_json())


def note_look(share: ModelRepository, silent: Iterable[str], *, say: Say) -> None:
    """Keep which servers did not answer the look that has just been made; later looks read it."""
    note(share, silent, at=datetime.now(UTC), say=say)


def noted(share: ModelRepository, say: Say) -> Silences:
    """Return who was silent at the last look that was noted; say so, and return nothing, where that is unreadable."""
    text = share.silences.read()
    try:
        return Silences.model_validate_json(text) if text is not None else Silences()
    except ValidationError as error:
        say(
            "since when a server is silent: silent.json on the share is not readable: "
            f"{in_words.of_record(error.errors())}; the next deployment or `promobot drift --note` "
            "replaces it"
        )
        return Silences()


def silent_since(
    live: Live, looks: Iterable[Silences], gateways: Iterable[Gateway], *, at: datetime
) -> dict[str, datetime | None]:
    """Return who is silent now and since when, by the looks before this one and by what gateways know."""
    known: dict[str, list[datetime]] = {name: [] for name in live.silent}
    for look in looks:
        for name, since in look.since(at).items():
            if name in known:
                known[name].append(since)
    if live.tritons and not any(loaded is not None for loaded in live.tritons.values()):
        workers = [worker for gateway in gateways for said in gateway.latest for worker in said.workers or ()]
        said = [worker.tritons for worker in workers if worker.tritons is not None]
        all_since = all_silent_since(said, tritons=len(live.tritons))
        if all_since is not None:
            for name in live.tritons:
                known[name].append(all_since)
    return {name: min(times, default=None) for name, times in known.items()}
