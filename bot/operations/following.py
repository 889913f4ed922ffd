"""The pull requests of rollbacks that were taken at once: noted on the share, opened as soon as GitHub takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bot.domain import in_words
from bot.domain.bundle import Bundle, digest_of
from bot.domain.bundled import blamed, bundle_in, entries_of, spoken_for
from bot.domain.desired import Change, Desired, Entry
from bot.domain.plan import serves
from bot.domain.proposal import Edit
from bot.domain.record import verified_bundles, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.scope import revert_branch
from bot.domain.way_back import WayBack, decided_since, latest
from bot.operations import Say
from bot.operations.attempts import reported
from bot.operations.proposing import Asking, Draft, Proposed, put_proposal
from bot.platform import Platform
from bot.records.ledger import HeldLedger, Ledger, Proposer

if TYPE_CHECKING:
    from bot.share import HeldShare, ModelRepository
    from bot.systems.git import Repository


def ways_back(share: ModelRepository, say: Say) -> list[WayBack]:
    """Return the rollbacks whose pull request is still to be opened; say, and leave out, what is not readable."""
    from bot.render.differences import open_it_anew

    found, unreadable = read_ways_back(share)
    for said in unreadable:
        say(f"{said}; {open_it_anew()}")
    return found


def read_ways_back(share: ModelRepository) -> tuple[list[WayBack], list[str]]:
    """Return the rollbacks whose pull request is still to be opened, and which notes of one are not readable."""

    found, unreadable = [], []
    for name, text in share.reverts.read().items():
        try:
            found.append(WayBack.model_validate_json(text))
        except ValidationError as error:
            unreadable.append(
                f"reverts/{name}.json on the share is not readable: {in_words.of_record(error.errors())}"
            )
    return found, unreadable


def forget_ways_back(share: ModelRepository, ways: list[WayBack], *, model: str) -> None:
    """Drop what these say of a model: its pull request is open, or main says it already."""
    for way in ways:
        if model in (way.model, way.about):
            share.reverts.drop(way.name)


def let_git_follow(platform: Platform, held: HeldShare, desired: Desired, say: Say) -> None:
    """Open the pull requests that rollbacks could not open; called under a lease, with main as it is now.

    What main asks for in the place of a way back goes into quarantine first, as it does where the rollback itself
    could read main: otherwise this very deployment would undo the way back. Where people have decided anew since,
    nothing is opened or held. If a pull request cannot be opened now, its note stays, and ``say`` reports it.
    """
    from bot.render import proposal as words

    share, ledger = platform.share, platform.ledger
    ways = ways_back(share, say)
    history = ledger.deployments() if ways else []
    for about, way in sorted(latest(ways).items()):
        model = way.model
        wanted, asks = desired.models.get(model), asked_bundle(way.bundle, desired.models)
        held.lease.check()
        slot = Slot(platform.environment, model, Lane.LIVE)
        verified = {(entry.version, entry.digest) for _, entry in verified_entries(history, slot)}
        was_verified = wanted is not None and (wanted.version, wanted.digest) in verified
        if asks is not None:
            was_verified = asks.digest in {bundle.digest for bundle in verified_bundles(history, slot)}
        if decided_since(way, history) or way.is_overtaken(wanted, was_verified=was_verified, asks=asks):
            forget_ways_back(share, ways, model=about)
            continue
        hold_what_main_asks(HeldLedger(ledger, held.lease.check), way, wanted, asks)
        which = words.revert_of(model, way.target.version, way.by, way.at)
        with reported(say, f"{which} could not be opened, the next run tries again") as attempt:
            is_back = answers(share, platform.environment, way.whole)
            proposed = propose_way_back(
                platform, platform.repository(), Revert.of(way), current=wanted, asks=asks, is_back=is_back, say=say
            )
        if attempt.failed:
            continue
        forget_ways_back(share, ways, model=about)
        if proposed is not None:
            say(f"{which} is open: {proposed.pull_request.url}")


def answers(share: ModelRepository, environment: str, entries: Mapping[str, Entry]) -> bool:
    """Say whether these versions are what users get now, by the routes: main may say something else."""
    table = share.routes.read(environment)
    routes = [(table.route(model), entry) for model, entry in entries.items()]
    return all(route.canary is None and serves(route.live, entry) for route, entry in routes)


def asked_bundle(bundle: Bundle | None, entries: Mapping[str, Entry]) -> Bundle | None:
    """Return the bundle of a way back as these entries of main ask for it; None where it is of a model alone."""
    return bundle_in(entries, bundle.name, bundle.models) if bundle else None


def hold_what_main_asks(ledger: Ledger, way: WayBack, wanted: Entry | None, asks: Bundle | None) -> None:
    """Put what main asks for in the place of a way back into quarantine, so that no deployment undoes it."""
    digest = digest_of(asks) or (wanted.digest if wanted else "")
    if wanted is not None and digest != (digest_of(way.bundle) or way.target.digest):
        ledger.put_in_quarantine(
            blamed(way.slot, wanted, asks),
            reason=(
                f"rolled back to {way.target.version} while main could not be read"
                + (f": {way.reason}" if way.reason else "")
            ),
            by=way.by,
        )


@dataclass(frozen=True)
class Revert:
    """A rollback of one model as its pull request tells it: to which version, why, and who asked."""

    model: str
    target: Entry
    reason: str
    by: str
    asking: Asking
    bundle: Bundle | None = None

    @classmethod
    def of(cls, way: WayBack) -> Revert:
        """Return that of a rollback which was noted on the share."""
        asking = Asking(Proposer(slack=way.slack, github=way.github), note=way.note)
        return cls(way.model, way.target, reason=way.reason, by=way.by, asking=asking, bundle=way.bundle)


def propose_way_back(
    platform: Platform,
    repository: Repository,
    revert: Revert,
    *,
    current: Entry | None,
    asks: Bundle | None,
    is_back: bool,
    say: Say,
) -> Proposed | None:
    """Open, or update, the pull request from main's entry ``current``; return None where main says so already.

    ``asks`` is the bundle that main asks for, where the model is a part. ``is_back`` says that the target answers
    already: see :func:`answers`.
    Its text says whether ``current`` was ever in service, because only then does it go into quarantine at the merge.
    """
    from bot.render import proposal as words

    ledger = platform.ledger
    back = entries_of(revert.bundle) or {revert.model: revert.target}
    change = Change(
        ledger.environment, "models", revert.model, revert.target, current, bundle=asks, left=revert.bundle
    )
    history = ledger.deployments()
    seen = {e.digest for _, e in verified_entries(history, change.slot)} | ledger.quarantined().keys()
    seen |= {bundle.digest for bundle in verified_bundles(history, change.slot)}
    draft = Draft(
        edits=[Edit("models", model, entry) for model, entry in back.items()],
        branch=revert_branch(spoken_for(change)),
        title=words.revert_title(change, revert.target),
        body=words.revert_body(
            change,
            revert.target,
            reason=revert.reason,
            by=revert.by,
            fate="quarantined" if current is not None and change.judged_digest in seen else "unseen",
            note=revert.asking.note,
            is_back=is_back,
        ),
        asking=revert.asking,
    )
    return put_proposal(repository, platform.github, ledger, draft, say=say)
