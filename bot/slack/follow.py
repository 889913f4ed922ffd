"""Keep the message of each promotion up to date.

The wanted message is computed from GitHub, the record store and the share; the present one is read from the channel.
If they differ, the service posts or changes it. It keeps no other state: after a restart it computes the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from bot.domain.desired import Change, Desired, Entry, Section, changes
from bot.domain.evidence import Evidence
from bot.domain.gate import judge
from bot.domain.hold import Held
from bot.domain.promotion import Bake, Metric, Part, Progress, Promotion, progress_of, progress_of_all, thread_of
from bot.domain.record import DeploymentRecord, without_rehearsals
from bot.domain.release import Slot
from bot.domain.scope import asks_for_release, fingerprint, scope_of
from bot.errors import InvalidInput, OutsideError, PromobotError, Unavailable
from bot.metrics import ServiceMetrics
from bot.operations import Say
from bot.operations.holding import MainAsks, what_main_asks, what_was_asked
from bot.operations.observe import underway
from bot.operations.proposing import desired_at, parts_of, what_is_beside
from bot.platform import Platform
from bot.records.ledger import Ledger
from bot.render import proposal as proposal_words
from bot.render import slack as words
from bot.slack import blocks

if TYPE_CHECKING:
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository, PullRequest
    from bot.systems.slack import Posted, SlackChannel

FOLLOWED_DAYS = 30
"""Days for which a promotion's message is kept up to date."""
LINK_MARKER = "<!-- promobot:slack -->"
_BAKED = "baked"
"""The fact beside a message that names the record of a version that is baked."""


@dataclass(frozen=True)
class Away:
    """GitHub could not be read: since which round, and whether it answers and refuses the bot."""

    since: datetime
    refuses: bool

    @property
    def said(self) -> str:
        """The sentence about it in a message that shows facts from GitHub."""
        return words.github_away(self.since, refuses=self.refuses)


def follow(platform: Platform, *, say: Say, metrics: ServiceMetrics | None = None) -> None:
    """Bring every promotion's message up to date; raise where Slack or the records do not answer.

    Without GitHub, the messages still follow the records and the share. Facts that only GitHub knows stay as they
    were, and the message says since when GitHub is away. ``metrics`` receive the records and the outbox.
    """
    slack = platform.slack
    posted = _posted(slack, platform.environment)
    away: Away | None = None
    try:
        promotions = _promotions(platform, posted, say)
    except OutsideError as error:
        if not error.system.startswith(("GitHub (", "Git (")):
            raise
        say(str(error))
        promotions, away = _told_of(posted), _away(posted, error)
    ledger = platform.ledger
    records, deploying = without_rehearsals(ledger.deployments()), _underway(platform)
    if metrics is not None:
        metrics.deployments(platform.environment, records)
        metrics.outbox(platform.environment, len(platform.share.outbox.read()))
    # Asked once a round, and only where something is merged: it takes Git.
    asked = _asked(platform, say) if any(one.state == "merged" for one in promotions) else None
    presumed = _presumed(platform, ledger, promotions, posted, say) if asked is None and away is not None else None
    for promotion in promotions:
        before = posted.get(promotion.key)
        main = asked or (presumed if _may_be_asked(promotion, before) else None)
        each = [
            progress_of(
                one,
                # Of many that are merged it would be read again and again, and only says why one is held.
                evidence=_evidence(ledger, one) if _is_to_be_read(promotion, one, main) else [],
                records=records,
                underway=deploying,
                held=_held(main, one),
                is_asked=main is None or _is_asked(main, one),
                # Of several models the message has no room for it, and each would be read again and again.
                bake=partial(_bake, platform, before) if not promotion.parts else _no_bake,
            )
            for one in promotion.each
        ]
        policy = _policy(ledger, promotion, each, before)
        each = [_with_policy(one, policy) for one in each]
        progress = progress_of_all(each)
        if before is not None and main is None and any(one.stage == "merged" for one in each):
            continue  # whether it is held is not known right now: its message stays
        # The records tell what was deployed; how an open pull request ends, or what main asks for, GitHub does.
        unsure = away if progress.stage in ("checking", "green", "red", "merged", "held") else None
        said = unsure.said if unsure else ""
        ways_back = [way_back for one in promotion.each if (way_back := _way_back(one, promotions))]
        if promotion.parts:
            message = blocks.message_of_several(promotion, each, ways_back=ways_back, unsure=said)
        else:
            way_back = next(iter(ways_back), None)
            message = blocks.promotion_message(promotion, progress, way_back=way_back, unsure=said)
        linked = before is not None and before.facts.get("linked") == "yes"
        more = {"linked": "yes" if linked else "", "stage": progress.stage, "policy": policy}
        more |= {"github_away": unsure.since.isoformat()} if unsure else {}
        if progress.bake is not None and progress.bake.is_over and progress.record is not None:
            more[_BAKED] = progress.record.id
        message = replace(message, facts={**message.facts, **more})
        timestamp = slack.put(message, posted=before)
        if not linked and away is None:
            _link_back(platform.github, slack, promotion, timestamp)
            # Only now, and found again from here if this is as far as it came.
            facts = {**message.facts, "linked": "yes"}
            there = next(
                (one for one in slack.posted(since=float(timestamp) - 1) if one.timestamp == timestamp), None
            )
            slack.put(replace(message, facts=facts), posted=there)


def _bake(platform: Platform, posted: Posted | None, record: DeploymentRecord) -> Bake | None:
    """Return how what is served bakes: by the settings, the record, and the notes of `promobot watch`.

    A message that says that it is baked says so for good, so the notes are not read again.
    """
    if record.rollout is None or platform.settings.rollout_of(record.model).watched is None:
        return None
    if posted is not None and posted.facts.get(_BAKED) == record.id:
        return Bake(record.finished_at, is_over=True)
    notes = platform.ledger.rollout_notes(record.rollout.id)
    if "breach" in notes:
        return None  # watch reported it and leaves it there: nothing more is due
    return Bake(record.finished_at, is_over="baked" in notes)


def _no_bake(_: DeploymentRecord) -> None:
    return None


def _posted(slack: SlackChannel, environment: str) -> dict[str, Posted]:
    since = time.time() - FOLLOWED_DAYS * 86_400
    # Newest first: of two, which two replicas can have posted at the same moment, the older one is kept up.
    return {
        one.key: one
        for one in slack.posted(since=since)
        if one.facts.get("environment") == environment and "number" in one.facts
    }


def _told_of(posted: Mapping[str, Posted]) -> list[Promotion]:
    """Return all that has a message, as it was when GitHub answered last."""
    known = (Promotion.from_facts(one.facts) for one in posted.values())
    return sorted((one for one in known if one is not None), key=lambda promotion: promotion.number)


def _away(posted: Mapping[str, Posted], error: OutsideError) -> Away:
    """Return since when GitHub is away: since the round that the messages name already, or since now."""
    told = [facts["github_away"] for one in posted.values() if (facts := one.facts).get("github_away")]
    since = min(map(datetime.fromisoformat, told), default=datetime.now(UTC))
    return Away(since, refuses=not isinstance(error, Unavailable))


def _promotions(platform: Platform, posted: Mapping[str, Posted], say: Say) -> list[Promotion]:
    """Return the open pull requests of this environment, and the ended ones that have a message."""
    github = platform.github
    opened = github.open_pull_requests(prefix="promobot")
    pulls = [pull for pull in opened if asks_for_release(pull.branch, platform.environment)]
    known = {key: Promotion.from_facts(one.facts) for key, one in posted.items()}
    found: list[Promotion] = []
    unknown: list[PullRequest] = []
    told_of = {one.number: one for one in known.values() if one is not None}
    for pull in pulls:
        there = known.pop(f"{platform.environment}/#{pull.number}", None)
        asked = proposal_words.requester_of(pull.body)
        looked_at = "beside" in posted[there.key].facts if there is not None else False
        if there is not None and looked_at and there.head == pull.head and there.state == "open" and not there.untold:
            found.append(replace(there, requested_by=asked))
        else:
            unknown.append(pull)
    for old in known.values():
        if old is not None and old.state == "open":
            pull = github.pull_request(old.number)
            if pull.state == "open":
                continue  # opened again, or listed late: next time
            at = pull.merged_at.timestamp() if pull.merged_at else 0.0
            old = replace(old, head=pull.head).became("merged" if pull.merged else "closed", merged_at=at)
        if old is not None:
            found.append(old)
    if unknown:
        found += _described(platform, unknown, told_of, say)
    return sorted(found, key=lambda promotion: promotion.number)


def _described(
    platform: Platform, pulls: list[PullRequest], there: Mapping[int, Promotion], say: Say
) -> list[Promotion]:
    """Return what pull requests that are new, or have a new head, change.

    One whose file cannot be read, or that has its entry no more, must not keep the others' messages from going on.
    Where it has a message already (``there``, by number), that says what is wrong.
    """
    found = []
    repository = platform.repository()
    main = repository.head()
    for pull in pulls:
        base = repository.merge_base(main, repository.fetch(pull.head))
        parts = parts_of(pull.branch, platform.settings.bundles)
        beside = tuple(what_is_beside(repository, pull.branch, base=base, head=pull.head, parts=parts))
        try:
            promotion = _promotion(platform, repository, pull, base, say)
        except InvalidInput as error:
            say(f"#{pull.number}: {error}")
            promotion = None
        if promotion is None and beside and pull.number in there:
            promotion = replace(there[pull.number], head=pull.head)
        if promotion is not None:
            found.append(replace(promotion, beside=beside))
    return found


def _promotion(
    platform: Platform, repository: Repository, pull: PullRequest, base: str, say: Say
) -> Promotion | None:
    """Return what one pull request changes, or None where it changes no entry of its model."""
    scope = scope_of(pull.branch)
    if scope is None:
        return None
    way_back = scope.kind == "way back"
    before = desired_at(repository, platform.environment, base) or Desired(environment=platform.environment)
    after = desired_at(repository, platform.environment, pull.head)
    if after is None:
        say(words.desired_state_gone(pull.number, platform.environment))
        return None
    of_model = [change for change in changes(before, after) if scope.covers(change.model)]
    if scope.is_many:
        return _of_several(platform, pull, list(changes(before, after)))
    # What takes over from a shadow takes the shadow out, too; it is about what answers.
    change = next((c for c in of_model if c.after is not None), next(iter(of_model), None))
    if change is None:
        return None
    version = change.after.version if change.after else None
    champion = before.models.get(change.model)
    metrics = (
        ()
        if way_back or version is None
        else _metrics(platform, change.model, version, champion.version if champion else None, say)
    )
    return Promotion(
        environment=platform.environment,
        number=pull.number,
        url=pull.url,
        head=pull.head,
        section=change.section,
        model=change.model,
        before=change.before.version if change.before else None,
        after=version,
        digest=change.after.digest if change.after else "",
        way_back=way_back,
        requested_by=proposal_words.requester_of(pull.body),
        proposed_by=_proposer(platform.ledger, list(changes(before, after)), pull),
        metrics=metrics,
    )


def _of_several(platform: Platform, pull: PullRequest, all_changes: list[Change]) -> Promotion | None:
    """Return what a pull request of several models changes; its pull request shows their metrics."""
    parts = tuple(
        Part(
            section=change.section,
            model=change.model,
            before=change.before.version if change.before else None,
            after=change.after.version,
            digest=change.after.digest,
        )
        for change in all_changes
        if change.after is not None
    )
    if not parts:
        return None
    return Promotion(
        environment=platform.environment,
        number=pull.number,
        url=pull.url,
        head=pull.head,
        section="models",
        model="",
        before=None,
        after=None,
        digest="",
        way_back=False,
        requested_by=proposal_words.requester_of(pull.body),
        proposed_by=_proposer(platform.ledger, all_changes, pull),
        parts=parts,
    )


def _metrics(platform: Platform, model: str, version: int, champion: int | None, say: Say) -> tuple[Metric, ...]:
    """Return the gate's metrics against the champion; none where the registry does not answer: the pull request
    shows them."""
    try:
        registry = platform.registry
        candidate = registry.version(model, version).metrics
        in_service = registry.version(model, champion).metrics if champion else None
        result = judge(platform.settings.gate(model), candidate, in_service)
    except PromobotError as error:
        say(str(error))
        return ()
    return tuple(
        Metric(
            name=row.metric,
            proposed=_number(row.value),
            in_service=_number(row.champion),
            change=f"{row.change:+.4g}" if row.change is not None else "–",
            rule=row.rule,
            passed=row.passed,
            limit="" if row.limit is None else _number(row.limit),
        )
        for row in result.rows
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _is_to_be_read(promotion: Promotion, one: Promotion, main: MainAsks | None) -> bool:
    """Whether the evidence of one model of a pull request is worth reading."""
    return not promotion.parts or promotion.state == "open" or _held(main, one) is not None


def _evidence(ledger: Ledger, promotion: Promotion) -> list[Evidence]:
    if not promotion.digest:
        return []
    return list(ledger.evidence_of(promotion.slot, promotion.digest))


def _underway(platform: Platform) -> list[str]:
    """Return the threads of what is being deployed right now."""
    return [
        thread_of(Slot.of(platform.environment, one.model, one.section), one.after.digest if one.after else "")
        for one in underway(platform.share)
    ]


def _asked(platform: Platform, say: Say) -> MainAsks | None:
    """Return what main asks for and what of it is held; None, and say why, where that cannot be seen right now."""
    try:
        return what_main_asks(platform, within_seconds=platform.settings.deadlines.request_seconds)
    except PromobotError as error:
        say(str(error))
        return None


def _may_be_asked(promotion: Promotion, told: Posted | None) -> bool:
    """Say whether main, which cannot be read, may ask for this: GitHub said that it was merged, and not undone."""
    undone = told is not None and told.facts.get("stage") == "overtaken"
    return promotion.state == "merged" and all(one.after is not None for one in promotion.each) and not undone


def _presumed(
    platform: Platform, ledger: Ledger, promotions: list[Promotion], posted: Mapping[str, Posted], say: Say
) -> MainAsks | None:
    """Return what main asks for by the last merge of each model that was seen, while main cannot be read."""
    entries: dict[tuple[Section, str], Entry] = {}
    try:
        merged = sorted(promotions, key=lambda promotion: promotion.merged_at)
        asked = [
            one
            for all_of_it in merged
            if _may_be_asked(all_of_it, posted.get(all_of_it.key))
            for one in all_of_it.each
        ]
        for one in asked:
            if one.after is not None:
                evidence = (found for found in _evidence(ledger, one) if found.version == one.after)
                run = next((found.run for found in evidence), "unknown")
                entries[one.section, one.model] = Entry(version=one.after, digest=one.digest, run=run)
        return what_was_asked(platform, entries)
    except PromobotError as error:
        say(str(error))
        return None


def _held(asked: MainAsks | None, promotion: Promotion) -> Held | None:
    """Return that main's present wish for this model is held, where that is what the promotion asks for."""
    held = asked.held if asked is not None else ()
    of_slot = (one for one in held if one.slot == promotion.slot)
    return next((one for one in of_slot if _digest(one.change.after) == promotion.digest), None)


def _is_asked(asked: MainAsks, promotion: Promotion) -> bool:
    return _digest(asked.desired.section(promotion.section).get(promotion.model)) == promotion.digest


def _digest(entry: Entry | None) -> str:
    return entry.digest if entry is not None else ""


def _proposer(ledger: Ledger, changes_of_all: list[Change], pull: PullRequest) -> str:
    """Return the GitHub login that asked the bot for it, or the policy, or else who opened the pull request."""
    asked = ledger.proposers(fingerprint(changes_of_all))
    logins = sorted({one.github for one in asked if one.github})
    by_policy = "the policy" if asked and all(one.policy for one in asked) else ""
    return ", ".join(logins) or by_policy or pull.author


def _way_back(promotion: Promotion, promotions: list[Promotion]) -> Promotion | None:
    return next(
        (one for one in promotions if one.way_back and one.state == "open" and one.slot == promotion.slot),
        None,
    )


def _policy(ledger: Ledger, promotion: Promotion, each: list[Progress], before: Posted | None) -> str:
    """Return what a policy did about it last, and why; empty where none did anything.

    Notes are read until it is deployed; then the message itself knows it.
    """
    is_moving = promotion.state == "open" or any(one.stage in ("merged", "held", "deploying") for one in each)
    if not is_moving and before is not None and "policy" in before.facts:
        return before.facts["policy"]
    notes = ledger.policy_notes(promotion.number) if promotion.state != "closed" else []
    return f"{notes[-1].what}: {notes[-1].why}" if notes else ""


def _with_policy(progress: Progress, policy: str) -> Progress:
    what, _, why = policy.partition(": ")
    if what == "taken back":
        return replace(progress, no_longer=why)
    return replace(progress, merges_itself=why)


def _link_back(github: GitHubRepository, slack: SlackChannel, promotion: Promotion, timestamp: str) -> None:
    body = f"{LINK_MARKER}\n{words.link_back(slack.permalink(timestamp))}"
    github.put_comment(promotion.number, body, marker=LINK_MARKER)
