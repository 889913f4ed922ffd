"""The newest live requests, asked of the proposed version and of the one in service, side by side on staging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bot.domain.evaluation import WHO, Replay, Who
from bot.domain.replayed import Tally
from bot.domain.smoke import Tensor
from bot.errors import Denied, Foreign, OutsideError, Rejected
from bot.recordings import Store, newest

AskOne = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Asks one version; raises Rejected where it refuses the request."""


def replay(store: Store, environment: str, model: str, limit: int, ask: Mapping[Who, AskOne]) -> Replay:
    """Ask both versions the newest ``limit`` recorded requests; return how many are decided otherwise.

    A request that a version refuses is counted. Where recordings cannot be read, or staging no longer answers,
    the result says so, with what was found until then: nobody may take a part for the whole.
    """
    tally = Tally()
    try:
        for number, one in enumerate(newest(store, environment, model, limit)):
            answers: dict[Who, Sequence[Tensor]] = {}
            for who in WHO if number % 2 else tuple(reversed(WHO)):
                try:
                    answers[who] = ask[who](one.inputs)
                except (Denied, Foreign):
                    raise
                except Rejected as error:
                    tally.refused(one.at, who, str(error))
                    break
            else:
                tally.answered(one.at, answers["in_service"], answers["proposed"])
    except OutsideError as error:
        return tally.result(str(error))
    found = tally.result()
    if not found.asked:
        return tally.result(f"no request of {model} is recorded in {environment}")
    return found
