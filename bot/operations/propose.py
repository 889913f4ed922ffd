"""``promobot propose``: turn a registered version into the one pull request for its model and environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from bot.concurrency import lazy
from bot.domain.desired import SECTIONS, Change, Desired, Entry, Section, changes
from bot.domain.gate import GateResult, judge
from bot.domain.names import short
from bot.domain.package import CONFIG_FILE, Package, of_the_package
from bot.domain.proposal import edits_of, proposed_for, section_for, why_it_waits
from bot.domain.proven import WaysBackNote, proof_of
from bot.domain.release import Slot
from bot.domain.scope import proposal_branch, scope_of
from bot.errors import PromobotError, Refused, Rejected
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.judging import Judge, judge_on_main
from bot.operations.package_rules import refuse_what_is_not_allowed
from bot.operations.proposing import (
    ASKED_BY_NOBODY,
    Asking,
    Draft,
    desired_at,
    put_proposal,
    readable_at,
)
from bot.platform import Platform
from bot.render import many
from bot.render import proposal as words
from bot.settings import Environment, GatewayEndpoint, Tritons
from bot.systems.triton.config import parse_config

if TYPE_CHECKING:
    from bot.domain.quarantine import QuarantineEvent
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository, PullRequest
    from bot.systems.mlflow import PackageContents, RegisteredVersion, Registry

Action = Literal["opened", "updated", "unchanged", "already desired", "stopped"]


@dataclass(frozen=True)
class Proposal:
    """The result of proposing ``version`` of ``model`` to ``environment``.

    ``action`` says what was done. The pull request was ``"opened"``, ``"updated"`` or left ``"unchanged"``; or main
    was ``"already desired"`` so; or the gate ``"stopped"`` it. ``reason`` says why the gate stopped it, or why it
    goes to the shadow path. ``section`` is ``"models"`` or ``"shadow"``. ``pull_request`` is its number and ``url``
    its address, None and empty without one. ``gate`` is the gate's result, None if the gate was not asked. ``digest``
    is the package's (``sha256:…``), ``run`` the id of its MLflow run. ``judged_by`` is the commit of main whose gates
    and rules were applied; empty where main has no settings for the environment, and the checkout's were.
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
    judged_by: str = ""
    newest_record: str = ""
    """The environment's newest deployment before this was proposed; empty where it was desired already."""

    @property
    def exit_code(self) -> ExitCode:
        """0 proposed, or desired already · 1 stopped."""
        return ExitCode.FAILED if self.action == "stopped" else ExitCode.DONE


@dataclass(frozen=True)
class Listener:
    """A person wants the version to listen as a shadow, and to get copies of this ``share`` of the requests.

    None: of as many as main says for the model's shadow now, else of all.
    """

    share: float | None = None


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
    listener: Listener | None = None,
    only_to_answer: bool = False,
    asking: Asking = ASKED_BY_NOBODY,
) -> Proposal:
    """Wait for READY, see that the package is whole, run the gate, and open or update the pull request.

    ``verified`` is the digest of a promotion; None where a registered version is proposed. ``listener`` proposes it
    as a shadow. ``only_to_answer``: where it misses its gate it is stopped, also where it might listen.
    """
    main = lazy(partial(judge_on_main, platform, say=say))
    try:
        platform.settings.gate(model)
    except Refused:
        main().settings.gate(model)  # which may have it already; who has none waits for nothing
    # Main is read when the version is READY, which may take long.
    candidate = registered(platform, lambda: main().settings, model, version, verified, say)
    newest = platform.ledger.newest_deployment()
    judge = main()
    seen = Seen.of(platform, judge.desired, [model])
    facts = facts_of(
        platform, judge, seen, model, candidate, verified, listener, only_to_answer=only_to_answer, asking=asking
    )
    if isinstance(facts, Proposal):
        return facts
    # The reason names the champion of its day. Another champion gives another reason, but nothing to propose.
    if facts.is_desired:
        return outcome(facts, "already desired")
    done = put_one(platform, facts, judge.desired, say, asking)
    return done if done.action == "already desired" else replace(done, newest_record=newest)


@dataclass(frozen=True)
class Seen:
    """The records by which several versions are judged: the quarantine, and what answers in each place."""

    quarantined: Mapping[str, QuarantineEvent]
    answers: Mapping[Slot, Entry | None]
    ways_back: WaysBackNote | None = None
    """The findings of the newest deep look about what answers, and what is kept loaded before it."""

    @classmethod
    def of(cls, platform: Platform, main: Desired, models: Iterable[str]) -> Seen:
        """Read it for these models at once."""
        places = [(section, model) for model in models for section in SECTIONS]
        wished = [(section, model, main.section(section).get(model)) for section, model in places]
        asked = [Change(main.environment, section, model, entry, entry) for section, model, entry in wished]
        ledger = platform.ledger
        found = {change.slot: entry for change, entry in zip(asked, ledger.answers(asked), strict=True)}
        return cls(ledger.quarantined(), found, ledger.ways_back())


def facts_of(
    platform: Platform,
    main: Judge,
    seen: Seen,
    model: str,
    candidate: words.Candidate,
    verified: Verified | None = None,
    listener: Listener | None = None,
    *,
    only_to_answer: bool = False,
    asking: Asking,
) -> words.Facts | Proposal:
    """Judge a version; return all that its pull request says, or why it is stopped: quarantine, or the gate."""
    settings, wanted = main.settings, main.desired
    gate = settings.gate(model)
    main.see_that_it_is_the_same(model)
    stopped = Proposal(settings.environment, model, candidate.version, "stopped", judged_by=main.judged_by)
    if event := seen.quarantined.get(candidate.digest):
        return replace(stopped, reason=_held_by_quarantine(settings.environment, candidate.digest, event.reason))
    champion, problem = _champion(platform, model, seen.answers[Slot.of(wanted.environment, model, "models")])
    result = judge(gate, candidate.metrics, champion.metrics if champion else None)
    never_listens = only_to_answer or verified is not None
    section = section_for(result, gate, is_promotion=never_listens, as_shadow=listener is not None)
    if section is None:
        return replace(stopped, reason=result.reason, gate=result)
    answers = seen.answers[Slot.of(wanted.environment, model, "models")]
    if listener is not None and answers is not None and answers.digest == candidate.digest:
        return replace(stopped, reason=f"it answers in {settings.environment} already", gate=result)
    entry = Entry(version=candidate.version, digest=candidate.digest, run=candidate.run, reason=result.reason)
    if section == "shadow":
        there, share = wanted.shadow.get(model), listener.share if listener else None
        entry = entry.model_copy(update={"share": share if share is not None or there is None else there.share})
    before = seen.answers[Slot.of(wanted.environment, model, section)]
    return words.Facts(
        change=Change(settings.environment, section, model, before, entry),
        main=wanted.section(section).get(model),
        candidate=candidate,
        champion=champion,
        champion_problem=problem,
        gate=result,
        reason=result.reason,
        tritons=_how_many(settings.tritons),
        gateways=_how_many(settings.gateways),
        promoted_from=verified.environment if verified else "",
        note=asking.note,
        judged_by=main.judged_by,
        proof=proof_of(seen.ways_back, model, before, now=datetime.now(UTC)) if section == "models" else None,
        steps=tuple(settings.rollout_of(model).steps) if before is not None and section == "models" else (),
    )


def registered(
    platform: Platform,
    rules: Callable[[], Environment],
    model: str,
    version: int,
    verified: Verified | None,
    say: Say,
    *,
    ready_seconds: float | None = None,
) -> words.Candidate:
    """Wait for READY; return the version if its package is whole, the one that was verified, and allowed here.

    ``rules`` returns the settings that say what is allowed.
    """
    registry = platform.registry
    seconds = platform.settings.deadlines.ready_seconds if ready_seconds is None else ready_seconds
    say(f"waiting for {model} {version} to be READY")
    found = registry.wait_ready(model, version, timeout_seconds=seconds)
    if found.status != "READY":
        raise not_ready(found, waited_seconds=seconds)
    contents = registry.contents(found)
    candidate = _candidate(contents, found)
    ensure_complete(registry, found, candidate.package)
    if verified is not None and candidate.digest != verified.digest:
        raise Rejected(
            f"{model} {version} is {candidate.digest} now, but {verified.digest} is verified in "
            f"{verified.environment}",
            system="MLflow",
            state="Nothing was proposed.",
            next_step="The artifacts changed after they were deployed: register the model again.",
        )
    refuse_what_is_not_allowed(rules(), contents, name=f"{model} {version}", state="Nothing was proposed.")
    return candidate


def _how_many(servers: Sequence[Tritons | GatewayEndpoint]) -> int | None:
    """Return how many there are; None where only DNS knows, at the time."""
    return None if any(several.every_address for several in servers) else len(servers)


def put_one(platform: Platform, facts: words.Facts, main: Desired, say: Say, asking: Asking) -> Proposal:
    """Open or update the one pull request of the model, unless what it proposes already goes first."""
    repository, github, change = platform.repository(), platform.github, facts.change
    branch = proposal_branch(change.environment, change.model)
    pulls = github.open_pull_requests(prefix="promobot")
    if why := _is_among_many(repository, change, pulls):
        return replace(outcome(facts, "stopped"), section="models", reason=why, gate=None)
    existing = next((pull for pull in pulls if pull.branch == branch), None)
    there = _proposed_there(repository, existing.head, main, change.model) if existing else None
    if existing and there and there.release and change.release:
        why = why_it_waits(change.release, there.release, number=existing.number, missed=facts.reason)
        if why:
            return replace(outcome(facts, "stopped"), section="models", reason=why, gate=None)
    draft = Draft(
        branch=branch,
        edits=edits_of(change, main),
        title=words.title(change),
        body=words.body(facts),
        asking=asking,
    )
    proposed = put_proposal(repository, github, platform.ledger, draft, say=say)
    if proposed is None:
        return outcome(facts, "already desired")
    if proposed.action == "updated" and there is not None:
        _tell_of_another(github, proposed.pull_request.number, there, change)
    return replace(
        outcome(facts, proposed.action),
        pull_request=proposed.pull_request.number,
        url=proposed.pull_request.url,
    )


def _is_among_many(repository: Repository, change: Change, pulls: Sequence[PullRequest]) -> str:
    """Return which open pull request proposes the model together with others; empty where none does."""
    for pull in pulls:
        scope = scope_of(pull.branch)
        if scope is None or not scope.is_many or scope.environment != change.environment:
            continue
        for one in proposed_by(repository, pull, change.environment):
            if one.model == change.model and one.after is not None:
                return many.is_open(pull.number, one.after.version)
    return ""


def proposed_by(repository: Repository, pull: PullRequest, environment: str) -> list[Change]:
    """Return what an open pull request changes in the environment; nothing where its file cannot be read."""
    base = repository.merge_base(repository.head(), repository.fetch(pull.head))
    before, after = (readable_at(repository, environment, commit) for commit in (base, pull.head))
    return changes(before, after) if before and after else []  # of one that is not readable its checks say so


def _tell_of_another(github: GitHubRepository, number: int, there: Change, change: Change) -> None:
    """Comment on a pull request which version it proposed until now, where that is another one."""
    if there.release is not None and (there.section, there.after) != (change.section, change.after):
        was = f"{'shadow ' if there.section == 'shadow' else ''}version {there.release.version}"
        github.comment(number, words.replaced(was, change))


def outcome(facts: words.Facts, action: Action) -> Proposal:
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
        judged_by=facts.judged_by,
    )


def _proposed_there(repository: Repository, head: str, main: Desired, model: str) -> Change | None:
    """Return what the head of the open proposal sets for this model over main."""
    there = desired_at(repository, main.environment, repository.fetch(head))
    # Where somebody moved the file there, this proposal puts it back.
    return proposed_for(model, there, main) if there is not None else None


class NotReady(Refused):
    """MLflow does not call the version READY, so nobody proposes it."""


def not_ready(registered: RegisteredVersion, *, waited_seconds: float = 0) -> NotReady:
    """Return why a version that is not READY is not proposed."""
    name = f"{registered.model} {registered.version}"
    if registered.status == "FAILED_REGISTRATION":
        said = f": {registered.status_message}" if registered.status_message else ""
        return NotReady(
            f"the registration of {name} failed{said}",
            state="Nothing was proposed.",
            next_step="Register the model again; this version never becomes READY.",
        )
    return NotReady(
        f"{name} is still {registered.status} after {waited_seconds:g} s",
        state="Nothing was proposed.",
        next_step="Run the same command again when MLflow shows the version as READY.",
    )


def ensure_complete(registry: Registry, registered: RegisteredVersion, package: Package) -> None:
    """Raise Rejected where MLflow has other files than the version's package lists: READY alone says little."""
    listed = {file.path for file in package.files}
    there = of_the_package(registry.files(registered), listed)
    missing, extra = sorted(listed - there), sorted(there - listed)
    if missing or extra:
        parts = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"not listed: {', '.join(extra)}"] * bool(extra)
        raise Rejected(
            f"the package of {registered.model} {registered.version} is not whole; {'; '.join(parts)}",
            system="MLflow",
            state="Nothing was proposed.",
            next_step="Register the model again with bot.training.register.",
        )


def _champion(platform: Platform, model: str, entry: Entry | None) -> tuple[words.Candidate | None, str]:
    """Return the version that answers users, with which the gate compares, or why it cannot be read."""
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
