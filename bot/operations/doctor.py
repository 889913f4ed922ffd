"""``promobot doctor``: try on every system what a deployment would do there, and say what does not work.

Each trial is the operation itself, aimed so that it changes nothing: a load of a model without a version, a merge
request from a branch that is not there, an alias to a version that does not exist, a push with ``--dry-run``. What
must be written is written under names that no deployment uses, and removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bot.domain import desired as desired_module
from bot.domain.branch_rules import hindrances
from bot.domain.merging import method
from bot.domain.package import PACKAGE_FILE
from bot.domain.scope import proposal_branch, retire_branch, revert_branch
from bot.errors import OutsideError, Refused
from bot.exit_codes import ExitCode
from bot.operations import trials
from bot.operations.observe import underway
from bot.operations.proposing import AUTHOR, EMAIL, read_desired
from bot.operations.trials import Examined, NotTried, Trial, try_all
from bot.platform import Platform
from bot.platform import each as servers_of
from bot.records.ledger import Store
from bot.render import doctor as words
from bot.render import identity
from bot.render.deployment import unknown_workers
from bot.settings import Environment, GatewayEndpoint, Slack, Triton, Tritons, secret_variables
from bot.share import ModelRepository, StagingRepository, trial_name

if TYPE_CHECKING:
    from bot.systems.github import GitHubRepository
    from bot.systems.mlflow import Registry
    from bot.systems.slack import SlackChannel

SEEN_WITHIN_SECONDS = 60
"""Longer than a client of NFS goes on believing what it knew of a folder."""
FEW_MODELS = 10
"""Of so many gates' models MLflow is asked whether one has a version; each is a request."""
GIT_SECONDS = 9.0
"""For one command of Git, which would otherwise outlive its trial."""


@dataclass(frozen=True)
class Diagnosis:
    """All systems of one environment."""

    environment: str
    systems: tuple[Examined, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 nothing fails · 1 something does."""
        return ExitCode.FAILED if any(examined.works is False for examined in self.systems) else ExitCode.DONE


def doctor(platforms: Iterable[Platform], *, init: bool = False) -> list[Diagnosis]:
    """Try every system of these environments at the same time; return what works, by environment.

    Each trial has its line ``trials.DEADLINE_SECONDS`` after the start, whatever hangs. Nothing of a deployment under
    way is touched. With ``init`` the record store and the shares are first marked, where they are new. Only a person
    knows that they are, and not merely unmounted.
    """
    _import_adapters()
    with ExitStack() as opened:
        each = [opened.enter_context(one.like(_hurried(one.settings))) for one in platforms]
        if init:
            # On Kubernetes, Triton waits for the folders of the state, which this makes.
            begun = try_all([Trial(one.environment, partial(_beginnings, one)) for one in each])
        else:
            begun = [[] for _ in each]
        found = try_all([Trial(one.environment, partial(_trials, one)) for one in each])
    return [
        Diagnosis(one.environment, (*_plain_secrets(one), *_whole(lines, marking)))
        for one, lines, marking in zip(each, found, begun, strict=True)
    ]


def _import_adapters() -> None:
    """Import what is slow to import: how long that takes says nothing about a system."""
    from bot.records import bucket  # noqa: F401
    from bot.systems import dns, gateway, git, github, mlflow, slack, triton  # noqa: F401


def _hurried(settings: Environment) -> Environment:
    """Return the settings with deadlines that a person waits for."""
    seconds = min(settings.deadlines.request_seconds, trials.REQUEST_SECONDS)
    deadlines = settings.deadlines.model_copy(update={"request_seconds": seconds})
    return settings.model_copy(update={"deadlines": deadlines})


def _whole(found: list[Examined], begun: list[Examined]) -> Iterator[Examined]:
    """Yield what was found; of a store that could not be marked, why not."""
    failed = {line.system: line for line in begun if not line.works}
    for line in found:
        yield failed.get(line.system, line)


def _stores(platform: Platform) -> dict[str, Callable[[], Store | ModelRepository | StagingRepository]]:
    return {
        "records": lambda: platform.records,
        "staging share": lambda: platform.staging_share,
        "share": lambda: platform.share,
    }


def _beginnings(platform: Platform) -> list[Trial]:
    def begin(store: Callable[[], Store | ModelRepository | StagingRepository]) -> str:
        store().begin()
        return ""

    return [Trial(name, partial(begin, store)) for name, store in _stores(platform).items()]


def _trials(platform: Platform) -> list[Trial]:
    settings = platform.settings
    return [
        Trial("Git", lambda: _git(platform)),
        Trial("GitHub", lambda: _github(settings, platform.github)),
        Trial("MLflow", lambda: _mlflow(platform.registry, list(settings.gates))),
        Trial("Slack", lambda: _slack(settings.slack, platform.slack)),
        Trial("records", lambda: platform.records.check(settings.environment)),
        Trial("staging share", platform.staging_share.trials.check),
        Trial("staging Triton", lambda: _triton(platform, settings.staging.triton, platform.staging_share)),
        Trial("share", lambda: _share(platform.share)),
        *(Trial(f"Triton {named.name}", partial(_each_triton, platform, named)) for named in settings.tritons),
        *(Trial(f"gateway {named.name}", partial(_each_gateway, platform, named)) for named in settings.gateways),
    ]


def _plain_secrets(platform: Platform) -> Iterator[Examined]:
    if names := platform.credentials.too_plain(secret_variables(platform.settings)):
        yield Examined("secrets", False, words.plain_secrets(names), words.plain_secrets_step())


def _each_triton(platform: Platform, several: Tritons) -> list[Trial]:
    """Return a trial of every Triton that an entry stands for."""
    return [
        Trial(f"Triton {one.name}", partial(_triton, platform, one, platform.share)) for one in servers_of(several)
    ]


def _each_gateway(platform: Platform, several: GatewayEndpoint) -> list[Trial]:
    """Return a trial of every gateway that an entry stands for."""
    return [Trial(f"gateway {one.name}", partial(_gateway, platform, several, one)) for one in servers_of(several)]


def _git(platform: Platform) -> str:
    repository = platform.repository(limit_seconds=GIT_SECONDS)
    head = repository.head()
    desired = read_desired(repository, platform.environment, head)
    known = {desired_module.path_of(name).rpartition("/")[2] for name in platform.neighbours()}
    if stray := sorted(set(repository.names(head, "promotions")) - known):
        raise Refused(words.nobodys_desired_state(stray), next_step=words.nobodys_desired_state_step())
    repository.try_to_push(head, trial_name())
    many = "1 model" if len(desired.models) == 1 else f"{len(desired.models)} models"
    return f"head of {repository.base} is {head[:12]}, {many} desired; takes a push"


def _github(settings: Environment, github: GitHubRepository) -> str:
    repository = settings.github.repository
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
    if "required_signatures" in rules.types and way == "rebase":
        raise Refused(identity.rebase_is_not_signed(settings.github.base), next_step=identity.merges_otherwise_step())
    if refused := refused_pushes(settings, github, of_base=rules.types):
        raise Refused(identity.branch_refuses(*refused), next_step=identity.branch_refuses_step())
    github.try_to_open(trial_name())
    said = identity.access(access.login, access.kind, repository, access.permissions)
    sign = settings.github.sign_commits
    signed = identity.SIGNED if sign or (sign is None and "required_signatures" in rules.types) else ""
    return f"{said}; {identity.merges(way, queue=rules.has_queue)}{signed}{identity.requires(rules.types)}"


def refused_pushes(
    settings: Environment, github: GitHubRepository, *, of_base: Collection[str]
) -> tuple[str, list[str]] | None:
    """Return a branch of the bot's that its rules would refuse, and why; None where pushes go.

    ``of_base`` are the types of the base branch's rules.
    """
    sign = settings.github.sign_commits
    author = (github.author() or (AUTHOR, EMAIL))[1]
    for branch_of in (proposal_branch, revert_branch, retire_branch):
        branch = branch_of(settings.environment, "model")
        rules = github.rules_of_branch(branch)
        asked = "required_signatures" in {*of_base, *(rule.type for rule in rules)}
        signed = asked if sign is None else sign
        why = hindrances(
            rules,
            branch=branch,
            title=words.sample_title(settings.environment),
            author=author,
            committer="noreply@github.com" if signed else author,
            signed=signed,
        )
        if why:
            return branch, why
    return None


def _mlflow(registry: Registry, models: Sequence[str]) -> str | NotTried:
    registry.ping()
    for model in models[:FEW_MODELS]:
        if numbers := registry.versions(model, limit=1):
            break
    else:
        return NotTried(words.nothing_registered(models[:FEW_MODELS]), words.nothing_registered_step())
    version = registry.version(model, numbers[0])
    files = registry.files(version)
    registry.try_alias(model, words.TRIED_ALIAS)
    if PACKAGE_FILE not in files:
        return NotTried(words.no_package(model, numbers[0]), words.no_package_step())
    registry.package(version)
    return words.registry(model, numbers[0], len(files))


def _slack(settings: Slack, channel: SlackChannel) -> str | NotTried:
    may = settings.may
    named = {who for role in (may.read, may.propose, may.approve, may.roll_back) for who in role}
    seat = channel.try_channel(groups=sorted(who for who in named if who.startswith("S")))
    said = words.channel(seat.who, settings.channel)
    return NotTried(*words.may_be_archived(said)) if seat.may_be_archived else said


def _share(share: ModelRepository) -> str:
    seen = share.trials.check()
    return f"{seen}; {words.under_way()}" if underway(share) else seen


def _triton(platform: Platform, named: Triton, share: ModelRepository | StagingRepository) -> str | NotTried:
    with platform.triton(named) as server:
        version, index = server.version(), server.index()
        if named.http is not None:
            server.try_http()
        said = words.triton(version, sum(state.ready for state in index))
        with ExitStack() as stack:
            try:
                # Triton may not see new folders there yet.
                there = set(share.models.names(older_seconds=SEEN_WITHIN_SECONDS))
                trial = stack.enter_context(share.trials.of_a_model())
            except OutsideError:
                # The share's own line says so, and this server is not to blame for it.
                server.try_to_load(trial_name(), trial_name())
                return NotTried(words.share_untried(said))
            unseen = sorted(there - server.names())
            if unseen or not server.try_to_load(trial, trial_name()):
                raise Refused(
                    words.another_repository(named.name, platform.environment, unseen),
                    next_step=words.another_repository_step(),
                )
    return said


def _gateway(platform: Platform, of: GatewayEndpoint, named: GatewayEndpoint) -> str | NotTried:
    environment, share = platform.environment, platform.share
    with platform.gateway(named, of=of) as gateway:
        table = gateway.routes()
        if table.environment not in ("", environment):
            raise Refused(
                words.another_environment(named.name, table.environment, environment),
                next_step=words.another_environment_step(),
            )
        gateway.try_token()
        answers = gateway.workers()
        if why := unknown_workers(answers):
            raise Refused(why, next_step=words.unknown_workers_step())
        said = words.gateway(table.generation, len(answers[0].ids))
        with ExitStack() as stack:
            try:
                name, text = stack.enter_context(share.trials.of_routes())
            except OutsideError:
                return NotTried(words.gateway_untried(said, words.THE_SHARE_FAILS))  # whose own line says so
            seen = gateway.try_share(name)
            if seen is None:
                return NotTried(words.gateway_untried(said, words.OLD_GATEWAY))
            if seen != text:
                raise Refused(
                    words.another_state(named.name, seen, platform.settings.share.state),
                    next_step=words.another_state_step(),
                )
    return said
