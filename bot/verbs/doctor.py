"""``promobot doctor``: try every system with the credentials at hand, and say what works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bot.errors import PromobotError, Refused
from bot.settings import Environment
from bot.systems.gateway import Gateway
from bot.systems.triton import TritonServer
from bot.verbs import connect
from bot.verbs.proposing import read_desired
from bot.words import identity as words


@dataclass(frozen=True)
class Examined:
    """One system: whether it works, what was seen, and what to do where it does not."""

    system: str
    works: bool
    seen: str
    next_step: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All systems of one environment."""

    environment: str
    systems: tuple[Examined, ...]

    @property
    def exit_code(self) -> int:
        """0 all work · 1 something does not."""
        return 0 if all(examined.works for examined in self.systems) else 1


def doctor(settings: Environment) -> Diagnosis:
    """Try each; reads only, but for a probe file on the share, and an object where records are in a bucket."""
    tries: list[tuple[str, Callable[[], str]]] = [
        ("Git", lambda: _git(settings)),
        ("GitHub", lambda: _github(settings)),
        ("MLflow", lambda: connect.registry(settings).ping()),
        ("Slack", lambda: connect.slack(settings).identity()),
        ("records", lambda: connect.records(settings).check()),
    ]
    found = [_examine(name, attempt) for name, attempt in tries]
    found.append(_examine("staging Triton", lambda: _staging(settings)))
    found.append(_examine("serving", lambda: _open(settings)))
    if found[-1].works:
        found.pop()
        with connect.serving(settings) as systems:
            found.append(_examine("share", systems.share.check))
            for triton in systems.tritons:
                found.append(_examine(f"Triton {triton.name}", partial(_triton, triton)))
            for gateway in systems.gateways:
                found.append(_examine(f"gateway {gateway.name}", partial(_gateway, gateway)))
    return Diagnosis(settings.environment, tuple(found))


def _examine(system: str, attempt: Callable[[], str]) -> Examined:
    try:
        return Examined(system, True, attempt())
    except PromobotError as error:
        return Examined(system, False, str(error), error.next_step)


def _git(settings: Environment) -> str:
    with connect.repository(settings) as repository:
        head = repository.head()
        desired = read_desired(repository, settings.environment, head)
        return f"head of {settings.github.base} is {head[:12]}, {len(desired.models)} models desired"


def _github(settings: Environment) -> str:
    access, repository = connect.github(settings).access(), settings.github.repository
    if access.lacks:
        raise Refused(
            words.lacks(access.login, access.kind, repository, access.lacks), next_step=words.lacks_step(access.kind)
        )
    return words.access(access.login, access.kind, repository, access.permissions)


def _staging(settings: Environment) -> str:
    with connect.staging(settings) as systems:
        return f"{_triton(systems.tritons[0])}; share {systems.share.check()}"


def _open(settings: Environment) -> str:
    with connect.serving(settings):
        return "can be reached"


def _triton(triton: TritonServer) -> str:
    ready = [state for state in triton.index() if state.ready]
    return f"version {triton.version()}, {len(ready)} model versions READY"


def _gateway(gateway: Gateway) -> str:
    generation = gateway.routes().generation
    gateway.try_token()
    return f"serves generation {generation}, takes the reload token"
