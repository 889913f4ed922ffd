"""Whether what a check found at an earlier commit of a pull request holds for a later one.

Triton, Smoke and Behaviour look at bytes, and the digest names those. So a branch that was written anew on another
main needs no second look on staging, as long as all that the check depended on is the same. READY asks MLflow and the
records what holds now, and is never carried over.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bot.domain.desired import Change, Entry
from bot.domain.evidence import LIFETIME, CheckName, CheckResult, Finding

CARRIED: frozenset[CheckName] = frozenset({"triton", "smoke", "behaviour"})
CARRIED_FOR = LIFETIME / 2
"""An older result is not carried over: evidence made of it would expire soon after."""
SAYS_SO = "carried over"
"""The finding that says that nothing was looked at again, and where it was looked at."""


def carried_over(
    name: CheckName,
    change: Change,
    found: Iterable[tuple[str, CheckResult]],
    *,
    head: str,
    rules: str,
    now: datetime,
) -> CheckResult | None:
    """Return the result of an earlier commit that holds for ``change`` at ``head``; None where it must be checked.

    ``found`` are the results of the pull request with the commits for which they were written, ``rules`` is the
    fingerprint of today's. The newest result about the release decides: one that failed is never passed over for an
    older one that passed. A commit that has a result of its own is looked at again, as somebody asked.
    """
    about = [(commit, one) for commit, one in found if one.check == name and one.is_about(change) and one.run]
    if name not in CARRIED or not about or any(commit == head for commit, _ in about):
        return None
    if change.bundle is not None:
        return None  # what it was asked beside is more than its own bytes
    commit, newest = max(about, key=lambda pair: pair[1].at)
    holds = newest.passed and newest.rules == rules and now - newest.at < CARRIED_FOR
    if not (holds and _same_champion(newest, change)):
        return None
    if any(finding.what == SAYS_SO for finding in newest.findings):
        return newest
    said = (
        f"from {commit[:12]} of this pull request, {newest.at:%Y-%m-%d %H:%M} UTC: the same bytes, rules and version "
        "in service"
    )
    return newest.model_copy(update={"findings": (*newest.findings, Finding(what=SAYS_SO, passed=True, detail=said))})


def _same_champion(result: CheckResult, change: Change) -> bool:
    """Whether it was compared with the version that is in service now; Triton compares with none."""
    if result.check == "triton":
        return True
    champion: Entry | None = change.champion
    if champion is not None and change.after is not None and champion.digest == change.after.digest:
        champion = None
    if result.check == "behaviour":
        measured = result.evaluation
        if measured is None or measured.problem or measured.champion_problem:
            return False
        of = measured.champion
    else:
        seen = result.behaviour
        if seen is not None and seen.problem:
            return False
        of = seen.champion if seen else None
    if champion is None or of is None:
        return champion is None and of is None
    return champion.names_the_same_as(of)
