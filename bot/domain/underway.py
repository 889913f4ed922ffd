"""At which step a deployment is that somebody else makes: by its journal, and by what every server has."""

from __future__ import annotations

from bot.domain.journal import Underway
from bot.domain.plan import Live, serves

PUBLISHING = "publishing it and loading it on the Tritons"
LOADING = "loading it on the remaining Tritons"
ASKING = "asking every Triton its golden requests"
SWITCHING = "switching the gateways"
PROVING = "proving it through every gateway, and recording it"
GOING_BACK = "putting it back"
TAKING_OUT = "taking it out of service"


def step_of(item: Underway, live: Live) -> str:
    """Return the step in words.

    Nobody writes it down: a step is done when its effect is there. So the answer is right after a crash, too.
    """
    if item.goes_back is not None:
        return GOING_BACK
    slot = item.slot_in(live.routes.environment)
    if serves(live.routes.target(slot), item.after):
        behind = [t for t in live.gateways.values() if t is not None and t.generation != live.routes.generation]
        return SWITCHING if behind else PROVING
    if item.after is None:
        return TAKING_OUT
    published = (slot.published_name, item.after.version)
    has = [
        # Behind a dot stands the fingerprint of a configuration that is not the model's first.
        any((name.partition(".")[0], version) == published for name, version in loaded)
        for loaded in live.tritons.values()
        if loaded is not None
    ]
    if has and all(has):
        return ASKING
    return LOADING if any(has) else PUBLISHING
