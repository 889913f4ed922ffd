"""The next step of a rollout, made as a deployment of the same change: under the lease, proven, and recorded."""

from __future__ import annotations

from bot.operations import Say
from bot.operations.deploy import Deployed, deploy
from bot.operations.deployment.rollouts import Due
from bot.platform import Platform


def advance(platform: Platform, model: str, percent: int, *, rollout: str, say: Say) -> Deployed:
    """Bring the rollout with the id ``rollout`` to its next step, which must be ``percent`` of the requests.

    Several callers make each step once: where that step was made, or the rollout has ended, or is another one,
    nothing is done, and the result has no records. Of a bundle ``model`` is any part, and all go together. A
    deployment that was cut off is finished instead; call again after that. It converges to the head of main as
    ``deploy`` does, so it needs Git: raises what ``deploy`` raises where main cannot be read.
    """
    return deploy(platform, say=say, due=Due(model, rollout, percent))
