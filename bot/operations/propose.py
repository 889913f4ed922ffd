"""``promobot propose``: turn a registered version into the one pull request for its model and environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.gate import GateResult, judge
from bot.domain.names import short
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, Package
from bot.domain.scope import proposal_branch
from bot.errors import PromobotError, Refused, Rejected
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.package_rules import refuse_what_is_not_allowed
from bot.operations.proposing import (
    ASKED_BY_NOBODY,
    Asking,
    Edit,
    desired_at,
    open_proposal,
    put_proposal,
    read_desired,
)
from bot.platform import Platform
from bot.render import identity as identity_words
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


def propose(
    platform: Platform,
    *,
    model: str,
    version: int,
    say: Say,
    expected_digest: str | None = None,
    promoted_from: str = "",
    note: str = "",
    asking: Asking = ASKED_BY_NOBODY,
) -> Proposal:
    """Wait for READY, see that the package is whole, run the gate, and open or update the pull request.

    A promotion from another environment says where from, and which digest was verified there. ``note`` is a
    paragraph of the pull request's text: who asked for it. ``asking`` says the same for the bot itself.
    """
    settings = platform.settings
    gate, registry = settings.gate(model), platform.registry
    say(f"waiting for {model} {version} to be READY")
    registered = registry.wait_ready(model, version, timeout_seconds=settings.deadlines.ready_seconds)
    if registered.status != "READY":
        raise not_ready(registered, waited_seconds=settings.deadlines.ready_seconds)
    contents = registry.contents(registered)
    candidate = _candidate(contents, registered)
    see_that_it_is_whole(registry, registered, candidate.package)
    if expected_digest is not None and candidate.digest != expected_digest:
        raise Rejected(
            f"{model} {version} is {candidate.digest} now, but {expected_digest} is verified in {promoted_from}",
            system="MLflow",
            state="Nothing was proposed.",
            next_step="The artifacts changed after they were deployed: register the model again.",
        )

    refuse_what_is_not_allowed(settings, contents, name=f"{model} {version}", state="Nothing was proposed.")

    ledger = platform.ledger
    newest, quarantine = ledger.newest_deployment(), ledger.quarantined().get(candidate.digest)
    if quarantine is not None:
        reason = _held_by_quarantine(settings.environment, candidate.digest, quarantine.reason)
        return Proposal(settings.environment, model, version, "stopped", reason=reason)

    repository = platform.repository()
    desired = read_desired(repository, settings.environment, repository.head())
    # What main says may have been put back: what answers is what a new version replaces.
    in_service = _answers(ledger, desired, "models", model)
    champion, problem = _champion(registry, model, in_service)
    result = judge(gate, candidate.metrics, champion.metrics if champion else None)
    if not result.passed and (gate.on_miss == "stop" or promoted_from):
        return Proposal(settings.environment, model, version, "stopped", reason=result.reason, gate=result)
    section: Section = "models" if result.passed else "shadow"
    entry = Entry(version=version, digest=candidate.digest, run=registered.run, reason=result.reason)
    if _is_desired(desired.section(section).get(model), entry):
        return Proposal(
            settings.environment,
            model,
            version,
            "already desired",
            section,
            reason=result.reason,
            gate=result,
            digest=candidate.digest,
            run=registered.run,
        )
    facts = words.Facts(
        change=Change(settings.environment, section, model, _answers(ledger, desired, section, model), entry),
        main=desired.section(section).get(model),
        candidate=candidate,
        champion=champion,
        champion_problem=problem,
        gate=result,
        reason=result.reason,
        tritons=_how_many(settings.tritons),
        gateways=_how_many(settings.gateways),
        promoted_from=promoted_from,
        note=note,
    )
    done = _put(repository, platform.github, ledger, facts, desired, say, asking)
    newest = "" if done.action == "already desired" else newest
    return replace(done, digest=candidate.digest, run=registered.run, newest_record=newest)


def _answers(ledger: Ledger, desired: Desired, section: Section, model: str) -> Entry | None:
    main = desired.section(section).get(model)
    return ledger.answers([Change(desired.environment, section, model, main, main)])[0]


def _how_many(servers: Sequence[Tritons | GatewayEndpoint]) -> int | None:
    """Return how many there are; None where only DNS knows, at the time."""
    return None if any(several.every_address for several in servers) else len(servers)


def _is_desired(there: Entry | None, entry: Entry) -> bool:
    # The reason names the champion of its day. Another champion gives another reason, but nothing to propose.
    return there is not None and (there.version, there.digest, there.run) == (entry.version, entry.digest, entry.run)


def _put(
    repository: Repository,
    github: GitHubRepository,
    ledger: Ledger,
    facts: words.Facts,
    desired: Desired,
    say: Say,
    asking: Asking,
) -> Proposal:
    change = facts.change
    assert change.after is not None  # noqa: S101 - a proposal always proposes something
    environment = change.environment
    branch = proposal_branch(environment, change.model)
    existing = open_proposal(github, branch)
    before = _proposed_there(repository, environment, change.model, existing.head) if existing else None
    if existing is not None and before is not None:
        reason = _gives_way(existing.number, *before, change.section, change.after, facts.reason)
        if reason:
            return Proposal(environment, change.model, change.after.version, "stopped", reason=reason)
    edits = [Edit(change.section, change.model, change.after)]
    in_shadow = desired.shadow.get(change.model)
    if change.section == "models" and in_shadow is not None and in_shadow.digest == change.after.digest:
        # What answers needs no shadow of itself.
        edits.append(Edit("shadow", change.model, None))
    proposed = put_proposal(
        repository,
        github,
        ledger,
        edits=edits,
        branch=branch,
        title=words.title(change),
        body=words.body(facts),
        say=say,
        asking=asking,
    )
    if proposed is None:
        return Proposal(environment, change.model, change.after.version, "already desired", change.section)
    if proposed.action == "opened" and proposed.pull_request.has_no_checks:
        say(identity_words.no_checks(proposed.pull_request.number))
    if proposed.action == "updated" and before is not None and before != (change.section, change.after):
        said = f"{'shadow ' if before[0] == 'shadow' else ''}version {before[1].version}"
        github.comment(proposed.pull_request.number, words.replaced([said], change))
    return Proposal(
        environment,
        change.model,
        change.after.version,
        proposed.action,
        change.section,
        proposed.pull_request.number,
        proposed.pull_request.url,
        facts.reason,
        facts.gate,
    )


def _gives_way(number: int, there: Section, old: Entry, section: Section, new: Entry, missed: str) -> str:
    """Say why what is proposed already goes first; an empty string where it makes room.

    There is one pull request for each model and environment. What passes the gate takes it over from what only
    listens, whichever is newer, and never the other way round; of two of a kind the newer one does.
    """
    if there == "models" and section == "shadow":
        return (
            f"it misses the gate ({missed}), and #{number} proposes version {old.version}, which passes: a "
            f"shadow waits until #{number} is merged or closed; propose it again then"
        )
    if there == section and old.version > new.version:
        return f"#{number} already proposes version {old.version}, which is newer"
    return ""


def _proposed_there(repository: Repository, environment: str, model: str, head: str) -> tuple[Section, Entry] | None:
    """Return what the open proposal's head adds for this model over main."""
    there = desired_at(repository, environment, repository.fetch(head))
    if there is None:
        return None  # somebody moved the file there; this proposal puts it back
    main = read_desired(repository, environment, repository.head())
    sections: tuple[Section, ...] = ("models", "shadow")
    for section in sections:
        entry = there.section(section).get(model)
        if entry is not None and entry != main.section(section).get(model):
            return section, entry
    return None


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


def _champion(registry: Registry, model: str, entry: Entry | None) -> tuple[words.Candidate | None, str]:
    if entry is None:
        return None, ""
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
