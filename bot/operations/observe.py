"""Desired state and live state, read now, from everybody at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import ValidationError

from bot.domain.journal import Journal, Underway
from bot.domain.plan import Live, Loaded
from bot.domain.routes import RouteTable
from bot.errors import PromobotError
from bot.platform import Serving
from bot.settings import Environment
from bot.share import ModelRepository
from bot.systems.gateway import Gateway
from bot.systems.triton import TritonServer

System = TypeVar("System")
Answer = TypeVar("Answer")


def at_once(
    systems: Iterable[System], ask: Callable[[System], Answer]
) -> list[tuple[System, Answer | PromobotError]]:
    """Ask all systems at the same time; return each with its answer, or with its error."""

    def asked(system: System) -> Answer | PromobotError:
        try:
            return ask(system)
        except PromobotError as error:
            return error

    listed = list(systems)
    with ThreadPoolExecutor(max_workers=max(1, min(32, len(listed)))) as pool:
        return list(zip(listed, pool.map(asked, listed), strict=True))


def observe(settings: Environment, systems: Serving) -> Live:
    """Return what the share, every Triton and every gateway say they have."""
    silent: dict[str, str] = {}
    tritons: dict[str, Loaded | None] = {}
    gateways: dict[str, RouteTable | None] = {}
    for triton, loaded in at_once(systems.tritons, _loaded):
        tritons[triton.name] = None if isinstance(loaded, PromobotError) else loaded
        if isinstance(loaded, PromobotError):
            silent[triton.name] = str(loaded)
    for gateway, table in at_once(systems.gateways, Gateway.routes):
        gateways[gateway.name] = None if isinstance(table, PromobotError) else table
        if isinstance(table, PromobotError):
            silent[gateway.name] = str(table)
    return Live(systems.share.routes(settings.environment), tritons, gateways, silent)


def underway(settings: Environment) -> tuple[Underway, ...]:
    """Return what is being deployed right now, or was when a deployment was cut off."""
    text = ModelRepository(settings.share, environment=settings.environment).journal()
    try:
        return Journal.model_validate_json(text).underway if text is not None else ()
    except ValidationError:
        return ()  # `promobot status` says that it cannot be read


def _loaded(triton: TritonServer) -> Loaded:
    return frozenset((state.model, state.version) for state in triton.index() if state.ready)
