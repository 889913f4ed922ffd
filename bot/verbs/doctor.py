"""``promobot doctor``: try every system with the credentials at hand, and say what works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bot.domain import desired as desired_module
from bot.domain.merging import method
from bot.errors import OutsideError, PromobotError, Refused
from bot.settings import Environment, GatewayEndpoint, Triton, plain_secrets
from bot.systems.share import ModelRepository
from bot.verbs import connect
from bot.verbs.ledger import Store
from bot.verbs.proposing import read_desired
from bot.words import doctor as words
from bot.words import identity

SEEN_WITHIN_SECONDS = 60
"""Longer than a client of NFS goes on believing what it knew of a folder."""


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


def doctor(settings: Environment, *, init: bool = False) -> Diagnosis:
    """Try each; reads only, but for a probe file on the share, and an object where records are in a bucket.

    With ``init`` it first marks the record store and the shares where they are new. Only a person knows that they
    are, and not merely unmounted.
    """
    staging = settings.staging
    serving = ModelRepository(settings.share, environment=settings.environment)
    staged = ModelRepository(staging.share, staging=True)
    tries: list[tuple[str, Callable[[], str]]] = [
        ("Git", lambda: _git(settings)),
        ("GitHub", lambda: _github(settings)),
        ("MLflow", lambda: connect.registry(settings).ping()),
        ("Slack", lambda: connect.slack(settings).identity()),
        ("records", lambda: _store(connect.records(settings), init=init)),
    ]
    # Each share before what reads it: on Kubernetes, Triton waits for the folders of the state, which --init makes.
    tries += [
        ("staging share", lambda: _store(staged, init=init)),
        ("staging Triton", lambda: _triton(settings, staging.triton, staged)),
        ("share", lambda: _store(serving, init=init)),
    ]
    found = [*_plain_secrets(settings), *(_examine(name, attempt) for name, attempt in tries)]
    for several in settings.tritons:
        found += _each("Triton", several, lambda one: _triton(settings, one, serving))
    for gateways in settings.gateways:
        found += _each("gateway", gateways, partial(_gateway, settings, gateways))
    return Diagnosis(settings.environment, tuple(found))


def _plain_secrets(settings: Environment) -> Iterator[Examined]:
    if names := plain_secrets(settings):
        yield Examined("secrets", False, words.plain_secrets(names), words.plain_secrets_step())


def _each(kind: str, several: connect.Server, examine: Callable[[connect.Server], str]) -> Iterator[Examined]:
    """Examine every server that an entry stands for; where DNS gives none, say that."""
    try:
        servers = connect.each(several)
    except PromobotError as error:
        yield Examined(f"{kind} {several.name}", False, str(error), error.next_step)
        return
    for one in servers:
        yield _examine(f"{kind} {one.name}", partial(examine, one))


def _examine(system: str, attempt: Callable[[], str]) -> Examined:
    try:
        return Examined(system, True, attempt())
    except PromobotError as error:
        return Examined(system, False, str(error), error.next_step)


def _store(store: Store | ModelRepository, *, init: bool) -> str:
    if init:
        store.begin()
    return store.check()


def _git(settings: Environment) -> str:
    with connect.repository(settings) as repository:
        head = repository.head()
        desired = read_desired(repository, settings.environment, head)
        known = {desired_module.path_of(name).rpartition("/")[2] for name in settings.neighbours}
        if stray := sorted(set(repository.names(head, "promotions")) - known):
            raise Refused(words.nobodys_desired_state(stray), next_step=words.nobodys_desired_state_step())
        return f"head of {settings.github.base} is {head[:12]}, {len(desired.models)} models desired"


def _github(settings: Environment) -> str:
    github, repository = connect.github(settings), settings.github.repository
    access = github.access()
    if access.lacks:
        raise Refused(
            identity.lacks(access.login, access.kind, repository, access.lacks),
            next_step=identity.lacks_step(access.kind),
        )
    rules, wanted = github.rules(), settings.github.merge_method
    way = method(wanted, allowed=rules.methods)
    if way is None and not rules.has_queue:
        raise Refused(
            identity.merges_otherwise(wanted, settings.github.base, sorted(rules.methods)),
            next_step=identity.merges_otherwise_step(),
        )
    said = identity.access(access.login, access.kind, repository, access.permissions)
    return f"{said}; {identity.merges(way, queue=rules.has_queue)}"


def _triton(settings: Environment, named: Triton, share: ModelRepository) -> str:
    server = connect.triton(named, request_seconds=settings.deadlines.request_seconds)
    try:
        version, index = server.version(), server.index()
        try:
            # What is new there it may not see yet.
            there = set(share.models(older_seconds=SEEN_WITHIN_SECONDS))
        except OutsideError:
            there = set()  # the share's own row says so, and this server is not to blame for it
        unseen = sorted(there - server.names())
    finally:
        server.close()
    if unseen:
        raise Refused(
            words.another_repository(named.name, settings.environment, unseen),
            next_step=words.another_repository_step(),
        )
    return f"version {version}, {sum(state.ready for state in index)} model versions READY"


def _gateway(settings: Environment, of: GatewayEndpoint, named: GatewayEndpoint) -> str:
    gateway = connect.gateway(settings, named, of=of)
    try:
        generation = gateway.routes().generation
        gateway.try_token()
    finally:
        gateway.close()
    return f"serves generation {generation}, takes the reload token"
