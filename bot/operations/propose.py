"""``promobot propose``: turn a registered version into the one pull request for its model and environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.gate import GateResult, judge
from bot.domain.names import short
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, Package
from bot.domain.proposal import edits_of, proposed_for, section_for, why_it_waits
from bot.domain.scope import proposal_branch
from bot.errors import PromobotError, Refused, Rejected
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.package_rules import refuse_what_is_not_allowed
from bot.operations.proposing import (
    ASKED_BY_NOBODY,
    Asking,
    Draft,
    desired_at,
    open_proposal,
    put_proposal,
    read_desired,
)
from bot.platform import Platform
from bot.render import proposal as words
from bot.settings import GatewayEndpoint, Tritons
from bot.systems.triton.config import parse_config

if TYPE_CHECKING:
    from bot.records.ledger import Ledger
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository
    from bot.systems.mlflow import PackageContents, RegisteredVersion, Registry

Action = Literal["opened", "updated", "unchanged", "already desired", "stopped"]


@dataclass(frozen=True)
class Proposal:
    """The result of proposing ``version`` of ``model`` to ``environment``.

    ``action`` says what was done. The pull request was ``"opened"``, ``"updated"`` or left ``"unchanged"``; or main
    was ``"already desired"`` so; or the gate ``"stopped"`` it. ``reason`` says why the gate stopped it, or why it
    goes to the shadow path. ``section`` is ``"models"`` or ``"shadow"``. ``pull_request`` is its number and ``url``
    its address, None and empty without one. ``gate`` is the gate's result, None if the gate was not asked. ``digest``
    is the package's (``sha256:…``), ``run`` the id of its MLflow run.
    """

    environment: str
    model: str
    version: int
    action: Action
    section: Section = "models"
    pull_request: int | None = None
    url: str = ""
    reason: str = ""
    gate: GateResult | None = None
    digest: str = ""
    run: str = ""
    newest_record: str = ""
    """The environment's newest deployment before this was proposed; empty where it was desired already."""

    @property
    def exit_code(self) -> ExitCode:
        """0 proposed, or desired already · 1 stopped."""
        return ExitCode.FAILED if self.action == "stopped" else ExitCode.DONE


@dataclass(frozen=True)
class Verified:
    """The digest that a promotion carries on: another environment serves it, and has verified it."""

    environment: str
    digest: str


def propose(
    platform: Platform,
    *,
    model: str,
    version: int,
    say: Say,
    verified: Verified | None = None,
    asking: Asking = ASKED_BY_NOBODY,
) -> Proposal:
    """Wait for READY, see that the package is whole, run the gate, and open or update the pull request.

    ``verified`` is the digest of a promotion; None where a registered version is proposed.
    """
    settings = platform.settings
    gate = settings.gate(model)
    candidate = _registered(platform, model, version, verified, say)
    ledger = platform.ledger
    newest = ledger.newest_deployment()
    stopped = Proposal(settings.environment, model, version, "stopped")
    if event := ledger.quarantined().get(candidate.digest):
        return replace(stopped, reason=_held_by_quarantine(settings.environment, candidate.digest, event.reason))

    repository = platform.repository()
    main = read_desired(repository, settings.environment, repository.head())
    champion, problem = _champion(platform, main, model)
    result = judge(gate, candidate.metrics, champion.metrics if champion else None)
    section = section_for(result, gate, is_promotion=verified is not None)
    if section is None:
        return replace(stopped, reason=result.reason, gate=result)
    entry = Entry(version=version, digest=candidate.digest, run=candidate.run, reason=result.reason)
    facts = words.Facts(
        change=Change(settings.environment, section, model, _answers(ledger, main, section, model), entry),
        main=main.section(section).get(model),
        candidate=candidate,
        champion=champion,
        champion_problem=problem,
        gate=result,
        reason=result.reason,
        tritons=_how_many(settings.tritons),
        gateways=_how_many(settings.gateways),
        promoted_from=verified.environment if verified else "",
        note=asking.note,
    )
    # The reason names the champion of its day. Another champion gives another reason, but nothing to propose.
    if facts.main is not None and facts.main.names_the_same_as(entry):
        return _outcome(facts, "already desired")
    done = _put(platform, facts, main, say, asking)
    return done if done.action == "already desired" else replace(done, newest_record=newest)


def _registered(platform: Platform, model: str, version: int, verified: Verified | None, say: Say) -> words.Candidate:
    """Wait for READY; return the version if its package is whole, the one that was verified, and allowed here."""
    settings, registry = platform.settings, platform.registry
    say(f"waiting for {model} {version} to be READY")
    registered = registry.wait_ready(model, version, timeout_seconds=settings.deadlines.ready_seconds)
    if registered.status != "READY":
        raise not_ready(registered, waited_seconds=settings.deadlines.ready_seconds)
    contents = registry.contents(registered)
    candidate = _candidate(contents, registered)
    see_that_it_is_whole(registry, registered, candidate.package)
    if verified is not None and candidate.digest != verified.digest:
        raise Rejected(
            f"{model} {version} is {candidate.digest} now, but {verified.digest} is verified in "
            f"{verified.environment}",
            system="MLflow",
            state="Nothing was proposed.",
            next_step="The artifacts changed after they were deployed: register the model again.",
        )
    refuse_what_is_not_allowed(settings, contents, name=f"{model} {version}", state="Nothing was proposed.")
    return candidate


def _answers(ledger: Ledger, main: Desired, section: Section, model: str) -> Entry | None:
    """Return what answers there, which a new version replaces: what main says may have been put back."""
    entry = main.section(section).get(model)
    return ledger.answers([Change(main.environment, section, model, entry, entry)])[0]


def _how_many(servers: Sequence[Tritons | GatewayEndpoint]) -> int | None:
    """Return how many there are; None where only DNS knows, at the time."""
    return None if any(several.every_address for several in servers) else len(servers)


def _put(platform: Platform, facts: words.Facts, main: Desired, say: Say, asking: Asking) -> Proposal:
    """Open or update the one pull request of the model, unless what it proposes already goes first."""
    repository, github, change = platform.repository(), platform.github, facts.change
    branch = proposal_branch(change.environment, change.model)
    existing = open_proposal(github, branch)
    there = _proposed_there(repository, existing.head, main, change.model) if existing else None
    if existing and there and there.release and change.release:
        why = why_it_waits(change.release, there.release, number=existing.number, missed=facts.reason)
        if why:
            return replace(_outcome(facts, "stopped"), section="models", reason=why, gate=None)
    draft = Draft(
        branch=branch,
        edits=edits_of(change, main),
        title=words.title(change),
        body=words.body(facts),
        asking=asking,
    )
    proposed = put_proposal(repository, github, platform.ledger, draft, say=say)
    if proposed is None:
        return _outcome(facts, "already desired")
    if proposed.action == "updated" and there is not None:
        _tell_of_another(github, proposed.pull_request.number, there, change)
    return replace(
        _outcome(facts, proposed.action),
        pull_request=proposed.pull_request.number,
        url=proposed.pull_request.url,
    )


def _tell_of_another(github: GitHubRepository, number: int, there: Change, change: Change) -> None:
    """Comment on a pull request which version it proposed until now, where that is another one."""
    if there.release is not None and (there.section, there.after) != (change.section, change.after):
        was = f"{'shadow ' if there.section == 'shadow' else ''}version {there.release.version}"
        github.comment(number, words.replaced(was, change))


def _outcome(facts: words.Facts, action: Action) -> Proposal:
    """Return the result of a proposal about which this is known."""
    change, candidate = facts.change, facts.candidate
    return Proposal(
        change.environment,
        change.model,
        candidate.version,
        action,
        change.section,
        reason=facts.reason,
        gate=facts.gate,
        digest=candidate.digest,
        run=candidate.run,
    )


def _proposed_there(repository: Repository, head: str, main: Desired, model: str) -> Change | None:
    """Return what the head of the open proposal sets for this model over main."""
    there = desired_at(repository, main.environment, repository.fetch(head))
    # Where somebody moved the file there, this proposal puts it back.
    return proposed_for(model, there, main) if there is not None else None


def not_ready(registered: RegisteredVersion, *, waited_seconds: float = 0) -> Refused:
    """Return why a version that is not READY is not proposed."""
    name = f"{registered.model} {registered.version}"
    if registered.status == "FAILED_REGISTRATION":
        said = f": {registered.status_message}" if registered.status_message else ""
        return Refused(
            f"the registration of {name} failed{said}",
            state="Nothing was proposed.",
            next_step="Register the model again; this version never becomes READY.",
        )
    return Refused(
        f"{name} is still {registered.status} after {waited_seconds:g} s",
        state="Nothing was proposed.",
        next_step="Run the same command again when MLflow shows the version as READY.",
    )


def see_that_it_is_whole(registry: Registry, registered: RegisteredVersion, package: Package) -> None:
    """Raise Rejected where MLflow has other files than the version's package lists: READY alone says little."""
    there = set(registry.files(registered)) - {PACKAGE_FILE}
    listed = {file.path for file in package.files}
    missing, extra = sorted(listed - there), sorted(there - listed)
    if missing or extra:
        parts = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"not listed: {', '.join(extra)}"] * bool(extra)
        raise Rejected(
            f"the package of {registered.model} {registered.version} is not whole; {'; '.join(parts)}",
            system="MLflow",
            state="Nothing was proposed.",
            next_step="Register the model again with bot.training.register.",
        )


def _champion(platform: Platform, main: Desired, model: str) -> tuple[words.Candidate | None, str]:
    """Return the version that answers users, with which the gate compares, or why it cannot be read."""
    entry = _answers(platform.ledger, main, "models", model)
    if entry is None:
        return None, ""
    registry = platform.registry
    try:
        registered = registry.version(model, entry.version)
        return _candidate(registry.contents(registered), registered), ""
    except PromobotError as error:
        # A registry that lost the version in service must not stop its successor; the reviewer reads of it.
        return None, f"The version in service ({entry.version}) could not be read, so nothing is compared: {error}"


def _candidate(contents: PackageContents, registered: RegisteredVersion) -> words.Candidate:
    package = contents.package
    config = contents.read(CONFIG_FILE).decode(errors="replace")
    try:
        parsed = parse_config(config)
    except ValueError as error:
        raise Rejected(f"{registered.model} {registered.version}: {error}", system="MLflow") from error
    return words.Candidate(
        version=registered.version,
        digest=package.digest,
        run=registered.run,
        url=registered.url,
        commit=registered.commit,
        metrics=registered.metrics,
        params=registered.params,
        package=package,
        config=config,
        signature=parsed.signature,
    )


def _held_by_quarantine(environment: str, digest: str, reason: str) -> str:
    """Why a digest is not proposed, and who can change that."""
    lift = f"promobot quarantine lift {short(digest)} --env {environment} --reason '…'"
    return f"its digest is in quarantine in {environment}: {reason}; `{lift}` allows it again"
