"""``promobot doctor``: try on every system what a deployment would do there, and say what does not work.

Each trial is the operation itself, aimed so that it changes nothing: a load of a model without a version, a merge
request from a branch that is not there, an alias to a version that does not exist, a push with ``--dry-run``. What
must be written is written under names that no deployment uses, and removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from bot import environment_files
from bot.concurrency import map_concurrent
from bot.domain import desired as desired_module
from bot.domain.branch_rules import hindrances
from bot.domain.merging import method
from bot.domain.package import PACKAGE_FILE
from bot.domain.policy import VERDICT, requires_verdict
from bot.domain.release import Lane, Slot
from bot.domain.scope import many_branch, proposal_branch, retire_branch, revert_branch
from bot.errors import InvalidInput, OutsideError, Refused
from bot.exit_codes import ExitCode
from bot.operations import trials
from bot.operations.observe import underway
from bot.operations.proposing import AUTHOR, EMAIL, read_desired
from bot.operations.trials import Examined, NotTried, Trial, try_all
from bot.platform import Platform
from bot.platform import each as servers_of
from bot.records.ledger import Store
from bot.render.deployment import unknown_workers
from bot.render.memory import free
from bot.settings import Environment, GatewayEndpoint, Slack, Triton, Tritons, path_of, secret_variables
from bot.share import ModelRepository, StagingRepository, trial_name

if TYPE_CHECKING:
    from bot.systems.github import GitHubRepository
    from bot.systems.mlflow import Registry
    from bot.systems.slack import SlackChannel

_MERGE_ANOTHER_WAY = "Set github.merge_method to a way that is allowed, or leave it out."
_UNSEEN = "GitHub does not show what it may do: try it"
_STARTS_NOTHING = (
    "GitHub starts no workflows for what it does, so pull requests that it opens have no checks: "
    "give the bot a GitHub App (github.app in the environment file)"
)

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
        Diagnosis(one.environment, (*_plain_secrets(one), *_windows(one.settings), *_whole(lines, marking)))
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
        Trial("MLflow", lambda: _mlflow(platform.registry, settings)),
        *([Trial("evaluation sets", lambda: _evaluation_sets(platform))] if settings.evaluation else []),
        Trial("Slack", lambda: _slack(settings.slack, platform.slack)),
        Trial("records", lambda: platform.records.check(settings.environment)),
        *([Trial(f"records of {settings.source}", partial(_source, platform))] if settings.path else []),
        Trial("staging share", platform.staging_share.trials.check),
        Trial("staging Triton", lambda: _triton(platform, settings.staging.triton, platform.staging_share)),
        Trial("share", lambda: _share(platform.share)),
        *(Trial(f"Triton {named.name}", partial(_each_triton, platform, named)) for named in settings.tritons),
        *(Trial(f"gateway {named.name}", partial(_each_gateway, platform, named)) for named in settings.gateways),
    ]


def _plain_secrets(platform: Platform) -> Iterator[Examined]:
    if names := platform.credentials.too_plain(secret_variables(platform.settings)):
        yield Examined(
            "secrets",
            False,
            (
                f"{', '.join(names)}: shorter than 8 characters, or a plain word. Such a value is easy to "
                "guess, and the bot cannot blank it out of what it says without blanking other words"
            ),
            "Set longer ones, made at random, as `openssl rand -hex 32` prints them.",
        )


def _source(platform: Platform) -> str:
    """Read the newest record of the environment from which releases are carried on."""
    checkout, source = platform.settings.checkout, platform.settings.source or ""
    if checkout is None:
        raise Refused("the settings were read from no checkout", state="Nothing is known of another environment.")
    with platform.like(environment_files.load_for_the_way_back(checkout, source)) as there:
        newest = there.ledger.newest_deployment()
    return f"can be read; the newest deployment is {newest or 'still to come'}"


def _windows(settings: Environment) -> Iterator[Examined]:
    """Say whether new things may go out now, where the settings have windows or a freeze is on."""
    shut = settings.closed(datetime.now(UTC))
    if shut is not None:
        step = "" if shut.until else "Correct `windows` in the environment file, or end a freeze."
        yield Examined("windows", shut.until is not None, f"{shut.said}; the way back stays open", step)
    elif settings.windows:
        yield Examined("windows", True, f"new things may go out now: {'; '.join(settings.windows)}")


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
        raise Refused(
            (f"{', '.join(stray[:5])} in promotions/ belongs to no environment that this checkout has settings for"),
            next_step=(
                "Bring this checkout up to date. Else add manifests/environments/<env>.yaml, or remove the file."
            ),
        )
    repository.try_to_push(head, trial_name())
    many = "1 model" if len(desired.models) == 1 else f"{len(desired.models)} models"
    return f"head of {repository.base} is {head[:12]}, {many} desired; takes a push"


def _github(settings: Environment, github: GitHubRepository) -> str:
    repository = settings.github.repository
    access = github.access()
    if access.lacks:
        raise Refused(
            f"{access.login} ({access.kind}) lacks {', '.join(access.lacks)} on {repository}",
            next_step=_lacks_step(access.kind),
        )
    rules, wanted = github.rules(), settings.github.merge_method
    way = method(wanted, allowed=rules.methods)
    if way is None and not rules.has_queue:
        raise Refused(
            (
                f"github.merge_method is {wanted}, and {settings.github.base} allows "
                f"{', '.join(sorted(rules.methods)) or 'nothing'}"
            ),
            next_step=_MERGE_ANOTHER_WAY,
        )
    if "required_signatures" in rules.types and way == "rebase":
        raise Refused(
            (f"{settings.github.base} takes signed commits only, and GitHub cannot sign what it merges by rebase"),
            next_step=_MERGE_ANOTHER_WAY,
        )
    if refused := refused_pushes(settings, github, of_base=rules.types):
        raise Refused(
            _branch_refuses(*refused),
            next_step=(
                "Exclude `promobot*/**` from that ruleset, or put the bot on its bypass list. For signed "
                "commits set `github.sign_commits: true`, or leave it out."
            ),
        )
    if settings.merge is not None:
        _see_that_policies_may_merge(settings, github, access.login)
    github.try_to_open(trial_name())
    said = _access(access.login, access.kind, repository, access.permissions)
    sign = settings.github.sign_commits
    signed = (
        "; GitHub makes and signs the bot's commits"
        if sign or (sign is None and "required_signatures" in rules.types)
        else ""
    )
    policies = "; pull requests may merge by themselves" if settings.merge is not None else ""
    return f"{said}; {_merges(way, queue=rules.has_queue)}{signed}{_requires(rules.types)}{policies}"


def _see_that_policies_may_merge(settings: Environment, github: GitHubRepository, login: str) -> None:
    """Raise Refused where no pull request would merge by itself, though the settings want it."""
    from bot.systems.github import ACTIONS_OWN

    base, repository = settings.github.base, settings.github.repository
    if login == ACTIONS_OWN:
        raise Refused(
            f"nothing merges by itself: GitHub starts no workflow for a merge of {login}, so nothing would deploy it",
            next_step="Give the bot a GitHub App (github.app in the environment file), or leave out merge.",
        )
    if github.allows_auto_merge() is False:
        raise Refused(
            f"nothing merges by itself: {repository} does not allow auto-merge",
            next_step="Switch on *Allow auto-merge* in Settings → General → Pull Requests, or leave out merge.",
        )
    if not requires_verdict(github.required_checks()):
        raise Refused(
            f"nothing merges by itself: the rules of {base} do not require {VERDICT}, so nothing would decide",
            next_step=f"Require {VERDICT} (Promobot / {VERDICT} where the workflow is called) in a ruleset or in the "
            f"protection of {base}, or leave out merge.",
        )


def refused_pushes(
    settings: Environment, github: GitHubRepository, *, of_base: Collection[str]
) -> tuple[str, list[str]] | None:
    """Return a branch of the bot's that its rules would refuse, and why; None where pushes go.

    ``of_base`` are the types of the base branch's rules.
    """
    sign = settings.github.sign_commits
    author = (github.author() or (AUTHOR, EMAIL))[1]
    environment, model = settings.environment, "model"
    for branch in (
        proposal_branch(environment, model),
        many_branch(environment, [model]),
        revert_branch(Slot(environment, model, Lane.LIVE)),
        retire_branch(environment, model),
    ):
        rules = github.rules_of_branch(branch)
        asked = "required_signatures" in {*of_base, *(rule.type for rule in rules)}
        signed = asked if sign is None else sign
        why = hindrances(
            rules,
            branch=branch,
            title=f"Promote model to 1 in {settings.environment}",
            author=author,
            committer="noreply@github.com" if signed else author,
            signed=signed,
        )
        if why:
            return branch, why
    return None


def _mlflow(registry: Registry, settings: Environment) -> str | NotTried:
    registry.ping()
    named = [model for model in (*settings.gates, *settings.mlflow_names) if model in settings.named_models]
    # With a gate for every model, or by a pattern, the settings need not name one.
    models = list(dict.fromkeys(named)) or [model for model in registry.models() if settings.has_gate(model)]
    for model in models[:FEW_MODELS]:
        if numbers := registry.versions(model, limit=1):
            break
    else:
        return NotTried(_nothing_registered(models[:FEW_MODELS]), "Register a version, then ask again.")
    version = registry.version(model, numbers[0])
    files = registry.files(version)
    registry.try_alias(model, "promobot-doctor")
    if PACKAGE_FILE not in files:
        return NotTried(
            (
                f"lists {model} {numbers[0]}, may set its aliases; reading was not tried: the version has no "
                "package.json"
            ),
            "Register a version with bot.training.register, then ask again.",
        )
    registry.package(version)
    return f"reads {model} {numbers[0]} ({len(files)} files), may set its aliases"


def _evaluation_sets(platform: Platform) -> str:
    """Read the description of every set and the first bytes of its rows; nothing is kept."""
    # Not with the modules that read rows: they import pyarrow, which the doctor may lack.
    from bot.evaluation.description import probe

    settings = platform.settings

    def look(name: str) -> str:
        rules = settings.evaluation[name]
        try:
            described = probe(platform.reader(rules), rules.digest)
        except InvalidInput as error:
            file, key = path_of(settings.environment), f"evaluation.{name}"
            raise InvalidInput(error.problem, file=file, key=key, next_step=error.next_step) from error
        return f"{name} {described.rows:,} rows"

    said = map_concurrent(sorted(settings.evaluation), look, limit=settings.concurrency.models)
    more = f" and {len(said) - FEW_MODELS} more" if len(said) > FEW_MODELS else ""
    return f"have the digests that the settings name: {', '.join(said[:FEW_MODELS])}{more}"


def _slack(settings: Slack, channel: SlackChannel) -> str | NotTried:
    may = settings.may
    named = {who for role in (may.read, may.propose, may.approve, may.roll_back) for who in role}
    seat = channel.try_channel(groups=sorted(who for who in named if who.startswith("S")))
    said = f"{seat.who}, reads and may write {settings.channel}"
    return (
        NotTried(
            (
                f"{said}; Slack does not show whether it is archived without the scope channels:read (private: "
                "groups:read)"
            ),
            "Add the scope in the app's settings under OAuth & Permissions, and install the app again.",
        )
        if seat.may_be_archived
        else said
    )


def _share(share: ModelRepository) -> str:
    seen = share.trials.check()
    under_way = "; a deployment is under way or was cut off, and nothing of it was touched" if underway(share) else ""
    return f"{seen}{under_way}"


def _triton(platform: Platform, named: Triton, share: ModelRepository | StagingRepository) -> str | NotTried:
    with platform.triton(named) as server:
        version, index = server.version(), server.index()
        if named.http is not None:
            server.try_http()
        said = f"version {version}, loads on command, {sum(state.ready for state in index)} model versions READY"
        reading = server.memory() if named.metrics is not None else None
        if reading is not None:
            said += f", {free(reading)}"
        with ExitStack() as stack:
            try:
                # Triton may not see new folders there yet.
                there = set(share.models.names(older_seconds=SEEN_WITHIN_SECONDS))
                trial = stack.enter_context(share.trials.of_a_model())
            except OutsideError:
                # The share's own line says so, and this server is not to blame for it.
                server.try_to_load(trial_name(), trial_name())
                return NotTried(f"{said}; whether it reads the bot's share was not tried, since the share fails")
            unseen = sorted(there - server.names())
            if unseen or not server.try_to_load(trial, trial_name()):
                raise Refused(
                    _another_repository(named.name, platform.environment, unseen),
                    next_step=(
                        "Compare its --model-repository, and what is mounted there, with the environment file; and "
                        "may its user read what the bot's user writes?"
                    ),
                )
    if reading is not None and reading.is_empty:
        raise Refused(
            f"what answers at {named.metrics} says nothing of memory: by it no version is measured, and none is held",
            next_step=(
                "Compare the Triton's metrics with its --metrics-port; and --allow-cpu-metrics, or "
                "--allow-gpu-metrics, must not be false."
            ),
        )
    return said


def _gateway(platform: Platform, of: GatewayEndpoint, named: GatewayEndpoint) -> str | NotTried:
    environment, share = platform.environment, platform.share
    with platform.gateway(named, of=of) as gateway:
        table = gateway.routes()
        if table.environment not in ("", environment):
            raise Refused(
                f"{named.name} serves {table.environment}, not {environment}: it follows another routes.json",
                next_step="Compare its address with the environment file, and its --routes with share.state there.",
            )
        gateway.try_token()
        answers = gateway.workers()
        if why := unknown_workers(answers):
            raise Refused(
                why,
                next_step="Until then nothing new is deployed here. See “Several workers” in docs/how-to/gateway.md.",
            )
        if _divides(platform.settings) and gateway.told().traffic is None:
            raise Refused(
                f"{named.name} is too old for `rollout` in the settings: it divides no requests, and counts none",
                next_step="Bring it up to date first. Until then each deployment of a canary is put back.",
            )
        if _limits_flips(platform.settings) and gateway.told().compared is None:
            raise Refused(
                f"{named.name} is too old for `max_flips` in the settings: it compares no answers with others",
                next_step="Bring it up to date first. Until then each deployment of such a model is put back.",
            )
        said = _gateway_said(table.generation, len(answers[0].ids))
        with ExitStack() as stack:
            try:
                name, text = stack.enter_context(share.trials.of_routes())
            except OutsideError:
                return NotTried(_gateway_untried(said, "the share fails"))  # whose own line says so
            seen = gateway.try_share(name)
            if seen is None:
                return NotTried(_gateway_untried(said, "it is of a version that cannot be asked"))
            if seen != text:
                raise Refused(
                    f"{named.name} does not read the routes in {platform.settings.share.state}: {seen}",
                    next_step=(
                        "Compare its --routes, and what is mounted there, with share.state in the environment file; "
                        "and may its user read what the bot's user writes?"
                    ),
                )
    return said


def _divides(settings: Environment) -> bool:
    """Whether gateways must divide requests, count them, or take routes that one Triton has before the others."""
    asked = settings.rollout.values()
    return any(rules.watched is not None or rules.replace != "beside" for rules in asked)


def _limits_flips(settings: Environment) -> bool:
    """Whether gateways are to compare a new version of any model with the one before."""
    watched = (rules.watched for rules in settings.rollout.values())
    return any(rules is not None and rules.max_flips is not None for rules in watched)


def _nothing_registered(models: Iterable[str]) -> str:
    """MLflow answers, and has nothing to try more with."""
    listed = list(models)
    named = ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
    return f"answers; reading a version and setting an alias were not tried: no version of {named} is registered"


def _gateway_said(generation: int, workers: int) -> str:
    """A gateway works."""
    of_workers = f" on all {workers} workers" if workers > 1 else ""
    return f"serves generation {generation}{of_workers}, takes the reload token"


def _gateway_untried(said: str, why: str) -> str:
    """A gateway works as far as that can be said."""
    return f"{said}; whether it reads the bot's share was not tried: {why}"


def _another_repository(triton: str, environment: str, unseen: Sequence[str]) -> str:
    """A Triton does not see what lies on the share, or cannot read what the bot has just published."""
    named = ", ".join(unseen[:3]) + (", …" if len(unseen) > 3 else "")
    said = f"it does not know {named}" if unseen else "it cannot read what the bot publishes there"
    return f"{triton} reads another model repository than that of {environment}: {said}"


def _access(login: str, kind: str, repository: str, permissions: Mapping[str, str] | None) -> str:
    """Who the bot is, with what, and what it may do there as far as that can be seen."""
    may = ", ".join(f"{name}: {level}" for name, level in sorted(permissions.items())) if permissions else _UNSEEN
    more = f"; {_STARTS_NOTHING}" if kind == "workflow token" else ""
    return f"{login} ({kind}) on {repository}; {may}{more}"


def _lacks_step(kind: str) -> str:
    """Where the permissions are given."""
    if kind == "GitHub App":
        return "Add them in the App's settings, and accept them where it is installed."
    return "Make a token that has them, for an account that may write to the repository."


def _merges(way: str | None, *, queue: bool) -> str:
    """How Slack's Merge merges."""
    return "Slack's Merge joins the merge queue" if queue else f"Slack's Merge merges by {way}"


def _requires(types: Collection[str]) -> str:
    """Say what the base's rulesets require of a pull request; empty without one. Classic protection cannot be seen.

    ``types`` are the rules' types.
    """
    if "workflows" in types:
        return "; a ruleset requires workflows by their file"
    if "required_status_checks" in types:
        why = "a ruleset requires checks by their name, which a workflow on a branch can imitate"
        return f"; {why} (docs/how-to/github.md)"
    return ""


def _branch_refuses(branch: str, why: Sequence[str]) -> str:
    """A ruleset refuses what the bot will push."""
    return f"rules refuse pushes of the bot to {branch}: {'; '.join(why)}"
