"""What is held: by the rules of a deployment, for whoever looks without deploying."""

from __future__ import annotations

from dataclasses import dataclass

from bot import platform as connect
from bot.domain.desired import Desired
from bot.domain.hold import Held
from bot.domain.plan import Live, plan
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.main_branch import Main, main_beside
from bot.operations.past import Past
from bot.settings import Environment
from bot.share import ModelRepository


@dataclass(frozen=True)
class Asked:
    """What main asks for, and what of it deployments refuse."""

    desired: Desired
    held: tuple[Held, ...]


def what_main_asks(settings: Environment, *, within_seconds: float | None = None) -> Asked:
    """Return what main asks for, and what of it a deployment would refuse right now. Asks no Triton and no gateway.

    Raises why main, the share or the records cannot be read; a main that does not answer ``within_seconds`` is one
    that cannot be read.
    """
    with main_beside(settings, within_seconds=within_seconds) as look:
        routes = ModelRepository(settings.share, environment=settings.environment).routes(settings.environment)
        main = look()
    if not isinstance(main, Main):
        raise main
    todo = plan(main.desired, Live(routes, {}, {}, {}), known={})
    return Asked(main.desired, tuple(held_among(admit_all(Past(settings, connect.ledger(settings)), todo.changes))))
