"""``promobot propose churn:8 fraud:3``, or ``--all-ready``: several versions in one pull request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from bot.concurrency import map_concurrent
from bot.domain.desired import SECTIONS, Desired, Entry, Section
from bot.domain.names import MODEL_NAME, SHADOW_SUFFIX
from bot.domain.proposal import Edit, LeftOut, WhyLeftOut, edits_of
from bot.domain.scope import many_branch, scope_of
from bot.errors import NoPackage, NotRegistered, PromobotError
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.judging import Judge, judge_on_main
from bot.operations.propose import (
    NotReady,
    Proposal,
    Seen,
    Verified,
    facts_of,
    outcome,
    proposed_by,
    put_one,
    registered,
)
from bot.operations.proposing import ASKED_BY_NOBODY, Asking, Draft, put_proposal
from bot.platform import Platform
from bot.render import many as words
from bot.render.proposal import Candidate, Facts
from bot.settings import Environment

if TYPE_CHECKING:
    from bot.systems.github import PullRequest

_KINDS: Mapping[type[PromobotError], WhyLeftOut] = {
    NotRegistered: "no version",
    NoPackage: "no package",
    NotReady: "not ready",
}


@dataclass(frozen=True)
class Proposals:
    """The result of proposing several versions to ``environment`` together.

    ``action`` says what was done with the pull request: ``"opened"``, ``"updated"``, left ``"unchanged"``; or there
    was ``"nothing"`` to propose; or this was a ``"dry run"``. ``proposals`` are the versions in it, and ``left_out``
    those that are not, with the reasons. ``pull_request`` is its number and ``url`` its address. ``judged_by`` is the
    commit of main whose gates and rules were applied; empty where main has no settings for the environment, and the
    checkout's were.
    """

    environment: str
    action: Literal["opened", "updated", "unchanged", "nothing", "dry run"]
    proposals: tuple[Proposal, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    all_ready: bool = False
    pull_request: int | None = None
    url: str = ""
    judged_by: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """0 all that was named is proposed, or desired already · 1 something that was named is left out."""
        if self.all_ready or all(one.is_done for one in self.left_out):
            return ExitCode.DONE
        return ExitCode.FAILED


def propose_many(
    platform: Platform,
    versions: Mapping[str, int] | None,
    *,
    say: Say,
    dry_run: bool = False,
    asking: Asking = ASKED_BY_NOBODY,
    verified: Mapping[str, Verified] = MappingProxyType({}),
) -> Proposals:
    """Propose these versions, by model, in one pull request; None proposes the newest of each registered model.

    Of named ones, those that miss their gate listen as shadows where it says so. Without names, only what passes is
    proposed. What cannot be proposed is left out and named, and keeps nothing else back. ``verified`` are the digests
    of a promotion, by model: these never become shadows.
    """
    left: list[LeftOut] = []
    judge = judge_on_main(platform, say=say)
    main = judge.desired
    if versions is None:
        say("looking for the newest version of each registered model")
        # Most of a large registry is in service: that is known without a look at the packages.
        wanted = _without_desired(_newest(platform, judge.settings, left), main, left)
    else:
        wanted = dict(versions)
    pulls = platform.github.open_pull_requests(prefix="promobot") if wanted else []
    facts = _facts(
        platform, wanted, judge, left, only_passing=versions is None, asking=asking, verified=verified, say=say
    )
    facts = _without_open(platform, facts, pulls, left)
    facts = _with_whole_bundles(judge, facts, left)
    left.sort(key=lambda one: one.model)
    found = Proposals(
        platform.environment,
        "nothing",
        tuple(replace(outcome(one, "opened")) for one in facts),
        tuple(left),
        all_ready=versions is None,
        judged_by=judge.judged_by,
    )
    if dry_run:
        return replace(found, action="dry run")
    if not facts:
        return found
    if len(facts) == 1:
        return _one(platform, found, facts[0], main, say, asking)
    draft = Draft(
        branch=many_branch(platform.environment, (one.change.model for one in facts)),
        edits=_edits(facts, main),
        title=words.title([one.change for one in facts]),
        body=words.body(facts, note=asking.note),
        asking=asking,
    )
    proposed = put_proposal(platform.repository(), platform.github, platform.ledger, draft, say=say)
    if proposed is None:
        # Main moved between two looks, and says all of it now.
        return replace(found, proposals=(), left_out=(*left, *(_served(one) for one in facts)))
    return _told(found, proposed.action, proposed.pull_request.number, proposed.pull_request.url)


def _one(platform: Platform, found: Proposals, facts: Facts, main: Desired, say: Say, asking: Asking) -> Proposals:
    """Propose the one that is left as it is proposed alone."""
    done = put_one(platform, facts, main, say, asking)
    match done.action:
        case "already desired":
            return replace(found, proposals=(), left_out=(*found.left_out, _served(facts)))
        case "stopped":
            stopped = LeftOut(done.model, done.version, "open", done.reason)
            return replace(found, proposals=(), left_out=(*found.left_out, stopped))
        case _:
            return _told(found, done.action, done.pull_request, done.url)


def _told(
    found: Proposals, action: Literal["opened", "updated", "unchanged"], number: int | None, url: str
) -> Proposals:
    told = (replace(one, action=action, pull_request=number, url=url) for one in found.proposals)
    return replace(found, action=action, proposals=tuple(told), pull_request=number, url=url)


def _newest(platform: Platform, settings: Environment, left: list[LeftOut]) -> dict[str, int]:
    """Return the newest version of each registered model that has a gate in these settings; note the others."""
    registry = platform.registry
    gated = []
    for model in registry.models():
        if not MODEL_NAME.fullmatch(model) or model.endswith(SHADOW_SUFFIX):
            left.append(LeftOut(model, None, "no name", words.needs_a_name(settings.environment)))
        elif not settings.has_gate(model):
            left.append(LeftOut(model, None, "no gate", words.has_no_gate(settings.environment, model)))
        else:
            gated.append(model)
    newest = map_concurrent(gated, partial(registry.versions, limit=1), limit=settings.concurrency.models)
    for model, numbers in zip(gated, newest, strict=True):
        if not numbers:
            left.append(LeftOut(model, None, "no version", "it has no version"))
    return {model: numbers[0] for model, numbers in zip(gated, newest, strict=True) if numbers}


def _without_desired(wanted: Mapping[str, int], main: Desired, left: list[LeftOut]) -> dict[str, int]:
    """Return what main neither says nor has gone past: nobody asked for an older version, or for a retired model."""
    found = {}
    for model, version in wanted.items():
        entries = {section: entry for section in SECTIONS if (entry := main.section(section).get(model))}
        same = next((section for section, entry in entries.items() if entry.version == version), None)
        newer = max((entry.version for entry in entries.values()), default=version)
        if same is not None:
            left.append(LeftOut(model, version, "served", words.is_desired(same)))
        elif newer > version:
            left.append(LeftOut(model, version, "served", words.is_older(newer)))
        elif model in main.retired:
            left.append(LeftOut(model, version, "retired", words.is_retired(main.retired[model].reason)))
        else:
            found[model] = version
    return found


def _facts(
    platform: Platform,
    wanted: Mapping[str, int],
    judge: Judge,
    left: list[LeftOut],
    *,
    only_passing: bool,
    asking: Asking,
    verified: Mapping[str, Verified],
    say: Say,
) -> list[Facts]:
    """Judge each version; return what passes, or may listen, and note the rest."""
    settings, main = judge.settings, judge.desired
    limit = settings.concurrency.models
    seconds = 0.0 if only_passing else settings.deadlines.ready_seconds

    def look(named: tuple[str, int]) -> Candidate | LeftOut:
        model, version = named
        if not settings.has_gate(model):
            return LeftOut(model, version, "no gate", words.has_no_gate(settings.environment, model))
        try:
            return registered(
                platform, lambda: settings, model, version, verified.get(model), _nothing, ready_seconds=seconds
            )
        except PromobotError as error:
            return LeftOut(model, version, _KINDS.get(type(error), "other"), _in_one_line(error))

    if wanted:
        # Side by side: a line for each would only say in which order threads come.
        say(words.waiting(wanted))
    candidates: dict[str, Candidate] = {}
    for (model, _), found in zip(wanted.items(), map_concurrent([*wanted.items()], look, limit=limit), strict=True):
        if isinstance(found, LeftOut):
            left.append(found)
        else:
            candidates[model] = found
    seen = Seen.of(platform, main, candidates)

    def judged(named: tuple[str, Candidate]) -> Facts | Proposal | LeftOut:
        model, candidate = named
        try:
            asked = replace(asking, note="")
            return facts_of(platform, judge, seen, model, candidate, verified.get(model), asking=asked)
        except PromobotError as error:
            return LeftOut(model, candidate.version, "other", _in_one_line(error))

    facts: list[Facts] = []
    for result in map_concurrent([*candidates.items()], judged, limit=limit):
        if isinstance(result, LeftOut):
            left.append(result)
        elif isinstance(result, Proposal):
            kind: WhyLeftOut = "gate" if result.gate is not None else "quarantine"
            left.append(LeftOut(result.model, result.version, kind, result.reason))
        elif result.is_desired:
            left.append(_served(result))
        elif only_passing and result.change.section == "shadow":
            left.append(LeftOut(result.change.model, result.candidate.version, "gate", result.reason))
        else:
            facts.append(result)
    return facts


def _nothing(_: str) -> None:
    """Say nothing."""


def _in_one_line(error: PromobotError) -> str:
    """Return an error with what to do about it."""
    return f"{error}. {error.next_step}".removesuffix(". ") if error.next_step else str(error)


def _served(facts: Facts) -> LeftOut:
    change = facts.change
    return LeftOut(change.model, facts.candidate.version, "served", words.is_desired(change.section))


def _without_open(
    platform: Platform, facts: Sequence[Facts], pulls: Sequence[PullRequest], left: list[LeftOut]
) -> list[Facts]:
    """Return those that no open pull request proposes, and note the others.

    Where all are proposed already, and one pull request is that of just these models, it is theirs: who asks again,
    with newer versions or after having been cut off, updates it. One alone goes the way of one version.
    """
    opened = _opened(platform, {one.change.model for one in facts}, pulls)
    kept = [one for one in facts if one.change.model not in opened]
    if not kept:
        kept = _of_one_pull_request(platform.environment, facts, opened)
    if not kept and len(facts) == 1:
        return list(facts)
    models = {one.change.model for one in kept}
    for one in facts:
        if one.change.model not in models:
            pull, there = opened[one.change.model][0]
            why = words.is_open(pull.number, there.version)
            left.append(LeftOut(one.change.model, one.candidate.version, "open", why))
    return kept


def _of_one_pull_request(
    environment: str, facts: Sequence[Facts], opened: Mapping[str, list[tuple[PullRequest, Entry]]]
) -> list[Facts]:
    """Return what the one open pull request of several models may be updated to; nothing that is older."""
    found = []
    for number in sorted({pull.number for several in opened.values() for pull, _ in several}):
        own = [
            (one, pull, there)
            for one in facts
            for pull, there in opened[one.change.model]
            if pull.number == number and one.candidate.version >= there.version
        ]
        branch = many_branch(environment, (one.change.model for one, _, _ in own))
        if own and own[0][1].branch == branch:
            found.append([one for one, _, _ in own])
    return found[0] if len(found) == 1 else []


def _with_whole_bundles(judge: Judge, facts: Sequence[Facts], left: list[LeftOut]) -> list[Facts]:
    """Return those without the parts of bundles of which another part is neither here nor on main; note these."""
    there = {one.change.model for one in facts if one.change.section == "models"} | judge.desired.models.keys()
    kept = []
    for one in facts:
        model = one.change.model
        missing = [part for part in judge.settings.parts_with(model) if part not in there and part != model]
        if missing:
            left.append(LeftOut(model, one.candidate.version, "bundle", words.lacks_parts(missing)))
        else:
            kept.append(one)
    return kept


def _opened(
    platform: Platform, models: Collection[str], pulls: Sequence[PullRequest]
) -> dict[str, list[tuple[PullRequest, Entry]]]:
    """Return by model which open proposals of this environment ask for which entry of it."""
    repository, environment = platform.repository(), platform.environment
    found: dict[str, list[tuple[PullRequest, Entry]]] = {}
    for pull in pulls:
        scope = scope_of(pull.branch)
        if scope is None or scope.environment != environment or scope.kind != "proposal":
            continue
        if not scope.is_many and scope.model not in models:
            continue
        for change in proposed_by(repository, pull, environment):
            if change.after is not None and scope.covers(change.model):
                found.setdefault(change.model, []).append((pull, change.after))
    return found


def _edits(facts: Sequence[Facts], main: Desired) -> list[Edit]:
    """Return the edits in the order of the differences of two files: checks compare what they make to the byte."""
    place: Mapping[Section, int] = {section: number for number, section in enumerate(SECTIONS)}
    edits = [edit for one in facts for edit in edits_of(one.change, main)]
    return sorted(edits, key=lambda edit: (place[edit.section], edit.model))
