"""What is held: by the rules of a deployment, for whoever looks without deploying."""

from __future__ import annotations

from bot.domain.hold import Held
from bot.domain.plan import Live, plan
from bot.settings import Environment
from bot.systems.share import ModelRepository
from bot.verbs import connect
from bot.verbs.deployment.admission import admit_all, held_among
from bot.verbs.past import Past
from bot.verbs.proposing import read_desired


def what_is_held(settings: Environment) -> list[Held]:
    """Return what main asks for and a deployment would refuse right now. Asks no Triton and no gateway."""
    with connect.repository(settings) as repository:
        desired = read_desired(repository, settings.environment, repository.head())
    routes = ModelRepository(settings.share, environment=settings.environment).routes(settings.environment)
    todo = plan(desired, Live(routes, {}, {}, {}), known={})
    return held_among(admit_all(Past(settings, connect.ledger(settings)), todo.changes))
