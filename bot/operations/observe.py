"""Desired state and live state, read now, from everybody at once."""

from __future__ import annotations

from pydantic import ValidationError

from bot.concurrency import gather
from bot.domain.journal import Journal, Underway
from bot.domain.plan import Live, Loaded
from bot.domain.routes import RouteTable
from bot.errors import OutsideError, PromobotError
from bot.platform import Serving
from bot.settings import Environment
from bot.share import ModelRepository
from bot.systems.gateway import Gateway
from bot.systems.triton.server import TritonServer


def observe(settings: Environment, systems: Serving) -> Live:
    """Return what the share, every Triton and every gateway say they have."""
    silent: dict[str, str] = {}
    limit = settings.concurrency.servers
    tritons: dict[str, Loaded | None] = {}
    gateways: dict[str, RouteTable | None] = {}
    for triton, loaded in gather(systems.tritons, TritonServer.loaded, limit=limit):
        tritons[triton.name] = None if isinstance(loaded, PromobotError) else loaded
        if isinstance(loaded, PromobotError):
            silent[triton.name] = silent_words(loaded)
    for gateway, table in gather(systems.gateways, Gateway.routes, limit=limit):
        gateways[gateway.name] = None if isinstance(table, PromobotError) else table
        if isinstance(table, PromobotError):
            silent[gateway.name] = silent_words(table)
    return Live(systems.share.routes.read(settings.environment), tritons, gateways, silent)


def underway(share: ModelRepository) -> tuple[Underway, ...]:
    """Return what is being deployed right now, or was when a deployment was cut off."""
    text = share.journal.read()
    try:
        return Journal.model_validate_json(text).underway if text is not None else ()
    except ValidationError:
        return ()  # `promobot status` says that it cannot be read


def silent_words(error: PromobotError) -> str:
    """A system did not answer."""
    return f"{error.system} does not answer: {error.said}" if isinstance(error, OutsideError) else str(error)
