"""What became of a change that a merged pull request asked for: of that one merge, whatever was asked for since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.domain.desired import Change
from bot.domain.hold import Hold
from bot.domain.record import DeploymentRecord


@dataclass(frozen=True)
class Ending:
    """The end of one change. With no record and no hold it was in service already, and nothing was deployed.

    ``record`` is the newest deployment that the merge asked for, ``left`` the way back that undid it, and ``hold``
    why a deployment refuses the change now.
    """

    change: Change
    record: DeploymentRecord | None = None
    left: DeploymentRecord | None = None
    hold: Hold | None = None
    merged_at: datetime | None = None

    @property
    def is_well(self) -> bool:
        """Whether users got, and kept, what the pull request asked for."""
        return self.hold is None and self.left is None and (self.record is None or self.record.is_well)


def ending_of(
    change: Change,
    records: Sequence[DeploymentRecord],
    *,
    hold: Hold | None,
    merged_at: datetime | None,
    next_merge: datetime | None,
) -> Ending | None:
    """Return how a change ended by the ``records``, oldest first; None where nothing is known of it yet.

    What was deployed after the ``next_merge`` of the model on its path was asked for by that one, or by a person.
    """
    of_path = [record for record in records if record.slot == change.slot]
    since = [record for record in of_path if merged_at is None or record.finished_at >= merged_at]
    made = [
        (number, record)
        for number, record in enumerate(since)
        if record.after == change.after and (next_merge is None or record.started_at < next_merge)
        if not record.leaves_rollout
    ]
    if not made:
        return Ending(change, hold=hold, merged_at=merged_at) if hold is not None else None
    number, record = made[-1]
    ways_back = (one for one in since[number + 1 :] if one.way_back and one.before == change.after)
    answered = _is_served(record) or record.outcome == "rolling out"
    left = next((one for one in ways_back if _is_served(one)), None) if answered else None
    return Ending(change, record, left, hold, merged_at)


def _is_served(record: DeploymentRecord) -> bool:
    """Say whether users got what the record asks for, if only wherever gateways answered."""
    return record.serving == record.after
