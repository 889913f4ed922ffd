"""The pull request that brought a release, by its evidence; its people, by GitHub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from bot.domain.release import Release
from bot.errors import PromobotError, Rejected
from bot.platform import Platform
from bot.records.ledger import Ledger, Proposer


@dataclass(frozen=True)
class Approved:
    """An approval that stands. ``of_head`` is False where it was given to an earlier commit of the pull request."""

    by: str
    at: datetime | None
    of_head: bool
    said: str = ""


@dataclass(frozen=True)
class Brought:
    """A pull request that proposed a release, and who did what there; ``problem`` says why that is not known."""

    number: int
    url: str = ""
    title: str = ""
    state: Literal["open", "merged", "closed", "unknown"] = "unknown"
    asked_by: tuple[Proposer, ...] = ()
    """Who asked the bot to propose it, by the records; empty where the records do not know the proposal."""
    opened_by: str = ""
    approved_by: tuple[Approved, ...] = ()
    merged_by: str = ""
    merged_at: datetime | None = None
    problem: str = ""


def number_of(ledger: Ledger, release: Release) -> int | None:
    """Return the number of the newest pull request whose evidence counts for the release; None without one."""
    evidence = ledger.evidence_of(release.slot, release.digest)
    return next((one.pull_request for one in evidence if one.pull_request and one.covers(release)), None)


class People:
    """Asks GitHub for the people of pull requests: for each once, and not again after it did not answer."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Brought] = {}
        self._away: dict[tuple[str, str], str] = {}

    def of(self, platform: Platform, number: int, *, asked_by: Iterable[Proposer] = ()) -> Brought:
        """Return the pull request with its people; if GitHub does not tell them, ``problem`` says why."""
        settings = platform.settings.github
        where = (settings.api_url, settings.repository)
        found = self._known.get((*where, number))
        if found is None and where in self._away:
            found = Brought(number, problem=self._away[where])
        if found is None:
            try:
                found = _looked_up(platform, number)
            except PromobotError as error:
                found = Brought(number, problem=str(error))
                if not isinstance(error, Rejected):
                    self._away[where] = str(error)
            self._known[*where, number] = found
        return replace(found, asked_by=tuple(asked_by))


def _looked_up(platform: Platform, number: int) -> Brought:
    pull, approvals = platform.github.pull_request(number), platform.github.approvals(number)
    return Brought(
        number,
        pull.url,
        pull.title,
        "merged" if pull.merged else "open" if pull.state == "open" else "closed",
        opened_by=pull.author,
        approved_by=tuple(Approved(one.by, one.at, one.commit == pull.head, one.said) for one in approvals),
        merged_by=pull.merged_by,
        merged_at=pull.merged_at,
    )
