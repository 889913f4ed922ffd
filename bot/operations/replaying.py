"""The newest live requests, asked of the proposed version and of the one in service, side by side on staging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bot.domain.evaluation import WHO, Replay, Who
from bot.domain.replayed import Reading, Tally
from bot.domain.smoke import Tensor
from bot.errors import Denied, Foreign, OutsideError, Rejected
from bot.recordings import Store, newest

AskOne = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Asks one version; raises Rejected where it refuses the request."""


REFUSED = "it refused this request"


def replay(
    store: Store,
    environment: str,
    model: str,
    limit: int,
    ask: Mapping[Who, AskOne],
    *,
    reading: Reading | None = None,
    show_inputs: bool = False,
) -> Replay:
    """Ask both versions the newest ``limit`` recorded requests; return how many are decided otherwise.

    ``reading`` says what answers decide. A request that a version refuses is counted. Its words may quote the
    request, so they are kept with ``show_inputs`` only. Where recordings cannot be read, or staging no longer
    answers, the result says so, with what was found until then: nobody may take a part for the whole.
    """
    tally = Tally(reading)
    try:
        for number, one in enumerate(newest(store, environment, model, limit)):
            answers: dict[Who, Sequence[Tensor]] = {}
            refused: dict[Who, str] = {}
            for who in WHO if number % 2 else tuple(reversed(WHO)):
                try:
                    answers[who] = ask[who](one.inputs)
                except (Denied, Foreign):
                    raise
                except Rejected as error:
                    refused[who] = str(error) if show_inputs else REFUSED
            tally.add(one.at, answers, refused, dropped=one.dropped)
    except OutsideError as error:
        return tally.result(str(error))
    found = tally.result()
    if not found.asked:
        return tally.result(f"no request of {model} is recorded in {environment}")
    return found
