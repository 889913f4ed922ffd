"""How verbs reach the systems that an environment names. Adapters are imported here, where they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from bot.settings import Environment, GatewayEndpoint, Triton, Tritons, secret

if TYPE_CHECKING:
    from bot.systems.gateway import Gateway
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository
    from bot.systems.mlflow import Registry
    from bot.systems.share import ModelRepository
    from bot.systems.slack import SlackChannel
    from bot.systems.triton import TritonServer


@dataclass(frozen=True)
class Serving:
    """What serves an environment: the share, every Triton, every gateway.

    ``find_more`` asks DNS again and returns the servers that came up since, opened like the others.
    """

    share: ModelRepository
    tritons: tuple[TritonServer, ...]
    gateways: tuple[Gateway, ...]
    find_more: Callable[[], tuple[tuple[TritonServer, ...], tuple[Gateway, ...]]] = lambda: ((), ())

    def with_more(self) -> Serving:
        """Return the same with what came up since; raise Unavailable where DNS does not answer."""
        tritons, gateways = self.find_more()
        if not tritons and not gateways:
            return self
        return replace(self, tritons=(*self.tritons, *tritons), gateways=(*self.gateways, *gateways))


@contextmanager
def serving(settings: Environment) -> Iterator[Serving]:
    """Open the environment's share, and every Triton and gateway that it names, or that DNS gives for a name."""
    from bot.systems.gateway import Gateway
    from bot.systems.share import ModelRepository

    seconds = settings.deadlines.request_seconds
    token = secret(settings.reload_token_env, purpose="the gateways' reload token")
    with ExitStack() as opened:
        known: set[tuple[str, str]] = set()

        def find_more() -> tuple[tuple[TritonServer, ...], tuple[Gateway, ...]]:
            tritons, gateways = [], []
            for triton in (one for tritons_there in settings.tritons for one in _each(tritons_there)):
                if ("Triton", triton.name) not in known:
                    known.add(("Triton", triton.name))
                    tritons.append(_triton(triton, request_seconds=seconds))
                    opened.callback(tritons[-1].close)
            for several in settings.gateways:
                known_as = several.url if several.every_address else None
                for gateway in _each(several):
                    if ("gateway", gateway.name) not in known:
                        known.add(("gateway", gateway.name))
                        gateways.append(Gateway(gateway, token=token, request_seconds=seconds, known_as=known_as))
                        opened.callback(gateways[-1].close)
            return tuple(tritons), tuple(gateways)

        yield Serving(ModelRepository(settings.share), *find_more(), find_more)


Server = TypeVar("Server", Tritons, GatewayEndpoint)


def _each(several: Server) -> list[Server]:
    from bot.systems.dns import addresses

    return [several.at(address) for address in addresses(several.host)] if several.every_address else [several]


def _triton(triton: Triton, *, request_seconds: float) -> TritonServer:
    from bot.systems.triton import TritonServer

    variable = triton.control_key_env
    key = secret(variable, purpose=f"the control key of Triton {triton.name}") if variable else None
    return TritonServer(triton, request_seconds=request_seconds, control_key=key)


@contextmanager
def staging(settings: Environment) -> Iterator[Serving]:
    """Open the Triton on which proposals are checked, and its part of the share."""
    from bot.systems.share import ModelRepository

    server = _triton(settings.staging.triton, request_seconds=settings.deadlines.request_seconds)
    try:
        yield Serving(ModelRepository(settings.staging.share), (server,), ())
    finally:
        server.close()


def repository(settings: Environment) -> Repository:
    """Open the Git repository that holds desired state; Git and the API know the bot as the same."""
    from bot.systems.git import Repository

    token = github(settings).git_token()
    seconds = settings.deadlines.request_seconds
    return Repository(settings.github.clone_url, token=token, base=settings.github.base, stall_seconds=seconds)


def github(settings: Environment) -> GitHubRepository:
    """Open GitHub's API for that repository: as the App where its key is at hand, else with the token."""
    from bot.systems.github import GitHubRepository

    app, seconds = settings.github.app, settings.deadlines.request_seconds
    if app is not None and (key := os.environ.get(app.private_key_env)):
        return GitHubRepository(settings.github, app_key=key, request_seconds=seconds)
    purpose = "the token for Git and GitHub"
    if app is not None:
        purpose += f", where {app.private_key_env} does not hold the key of the GitHub App {app.id}"
    token = secret(settings.github.token_env, purpose=purpose)
    return GitHubRepository(settings.github, token=token, request_seconds=seconds)


def registry(settings: Environment) -> Registry:
    """Open the model registry."""
    from bot.systems.mlflow import Registry

    deadlines = settings.deadlines
    return Registry(
        settings.mlflow, request_seconds=deadlines.request_seconds, download_seconds=deadlines.download_seconds
    )


def slack(settings: Environment) -> SlackChannel:
    """Open the channel where releases are announced."""
    from bot.systems.slack import SlackChannel

    token = secret(settings.slack.token_env, purpose="Slack's bot token")
    return SlackChannel(settings.slack, token=token, request_seconds=settings.deadlines.request_seconds)
