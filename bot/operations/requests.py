"""What is asked for with an id is done once: asked again, it says what it said, and does nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.errors import Refused
from bot.exit_codes import ExitCode
from bot.records.ledger import Ledger, RequestAsked, RequestDone


def begin(ledger: Ledger, request: str, asked: dict[str, str]) -> RequestDone | None:
    """Claim an id for what is asked; return what came of it where it is done already.

    One that was cut off is gone on with. Raises Refused where the id was used for something else.
    """
    known = ledger.ask(request, RequestAsked(asked=asked, at=datetime.now(UTC)))
    if known.asked != asked:
        was = " ".join(value for value in known.asked.values() if value)
        raise Refused(
            f"the request {request} was for something else: {was}",
            state="Nothing was changed.",
            next_step="Use an id of its own for each request.",
        )
    return ledger.request_done(request)


def finish(ledger: Ledger, request: str, said: str, exit_code: ExitCode) -> None:
    """Write what came of a request, so that it is not done again."""
    ledger.finish_request(request, RequestDone(said=said, exit_code=exit_code, at=datetime.now(UTC)))
