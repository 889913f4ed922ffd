"""One run of a deployment under one lease: what it works on, and what was done here before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from bot.concurrency import Heard, gather, map_concurrent
from bot.domain.plan import by_name
from bot.domain.routes import RouteTable
from bot.operations import Say
from bot.operations.following import read_ways_back
from bot.operations.past import Past
from bot.platform import Platform, Serving
from bot.records.ledger import HeldLedger
from bot.share import HeldShare, ReadFile

if TYPE_CHECKING:
    from bot.domain.asked import InUse
    from bot.domain.message import Message
    from bot.domain.plan import Named
    from bot.systems.gateway import Gateway, GatewayControl
    from bot.systems.github import GitHubRepository
    from bot.systems.mlflow import RegisteredVersion
    from bot.systems.mlflow.registry import Aliases
    from bot.systems.triton.server import TritonControl, TritonServer

Thing = TypeVar("Thing")
System = TypeVar("System")
Answer = TypeVar("Answer")


class Run(Past):
    """What every step of one deployment needs."""

    def __init__(
        self, platform: Platform, systems: Serving, *, held: HeldShare, commit: str, say: Say, rehearsal: str = ""
    ) -> None:
        """``rehearsal`` says who rehearses the way back; empty where this is meant."""
        super().__init__(platform)
        self.may_still = held.lease.check
        """Raises LeaseLost where a later deployment or rollback took over. All that the run changes goes through a
        handle that has it: ``held`` on the share, the controls below, the ledger."""
        self.ledger = HeldLedger(platform.ledger, self.may_still)
        self.systems, self.held, self.commit, self.say = systems, held, commit, say
        self.rehearsal = rehearsal
        self.alone = Lock()
        """The thread that publishes a large package holds it."""
        self.reverts: dict[str, str] = {}
        """The address of each revert that is open for what this run could not bring into service, by its branch."""
        self.ways = tuple(read_ways_back(systems.share)[0])
        """The rollbacks that nobody has followed in Git when the run began, with the reason of each."""
        self._registered: dict[tuple[str, int], RegisteredVersion] = {}

    def map(
        self,
        things: Iterable[Thing],
        work: Callable[[Thing], Answer],
        *,
        first: Callable[[Thing], object] = lambda _: None,
    ) -> list[Answer]:
        """Do the work for each, as many models at a time as the settings say."""
        return map_concurrent(things, work, limit=self.settings.concurrency.models, first=first)

    def gather(self, servers: Iterable[System], ask: Callable[[System], Answer]) -> list[Heard[System, Answer]]:
        """Ask these servers, as many at a time as the settings say; return each with its answer, or its error."""
        return gather(servers, ask, limit=self.settings.concurrency.servers)

    def tritons(self) -> Sequence[TritonServer]:
        """Return every Triton that the run works on."""
        return self.systems.tritons

    def triton(self, server: TritonServer) -> TritonControl:
        """Return what loads and unloads on this Triton, as long as the lease is held."""
        from bot.systems.triton.server import TritonControl

        return TritonControl(server, self.may_still)

    def gateway(self, gateway: Gateway) -> GatewayControl:
        """Return what has this gateway switch, as long as the lease is held."""
        from bot.systems.gateway import GatewayControl

        return GatewayControl(gateway, self.may_still)

    @property
    def aliases(self) -> Aliases:
        """What points MLflow's aliases, as long as the lease is held."""
        from bot.systems.mlflow.registry import Aliases

        return Aliases(self.registry, self.may_still)

    def github(self) -> GitHubRepository:
        """Return GitHub, for what is about to be changed there, as long as the lease is held."""
        self.may_still()
        return self.platform.github

    def tell(self, message: Message) -> str:
        """Post a message to Slack while the lease is held; return its timestamp once Slack shows it."""
        return self.platform.slack.deliver(message, may_still=self.may_still)

    def routes(self) -> RouteTable:
        """Return routes.json as it is now."""
        return self.systems.share.routes.read(self.settings.environment)

    def in_use(self, table: RouteTable) -> InUse:
        """Return all that must be loaded for these routes: what they name, and what that asks."""
        from bot.operations.asked import in_use

        return in_use(self.systems.share, self.history, table)

    def named(self) -> Named:
        """Return what is in use by the routes as they are now, by the name under which Triton has it."""
        return by_name(self.in_use(self.routes()).targets)

    def registered(self, model: str, version: int) -> RegisteredVersion:
        """Return what the registry says of a version, without its run; it is asked once."""
        found = self._registered.get((model, version))
        if found is None:
            found = self._registered[(model, version)] = self.registry.version(model, version, with_run=False)
        return found

    def reader(self, model: str, version: int) -> ReadFile:
        """Return what the share reads a version's files from: the registry, asked when the first is read."""

        def read(path: str, start: int = 0) -> Iterator[bytes]:
            return self.registry.unverified_chunks(self.registered(model, version), path, start)

        return read
