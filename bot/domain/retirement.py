"""Taking a model out of service: what would stop answering, and whether the file says that this is meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.domain.desired import Change, Entry
from bot.domain.record import DeploymentRecord, served_after


@dataclass(frozen=True)
class Stop:
    """A model that answers now and would not after the merge.

    ``since`` is the deployment that put it into service, ``spent`` an earlier one that carried out this very mark.
    """

    change: Change
    answers: Entry
    since: DeploymentRecord | None
    spent: DeploymentRecord | None

    @property
    def is_meant(self) -> bool:
        """Whether the file says that the model is to leave service, and nobody put it back since."""
        return bool(self.change.retired) and self.spent is None


def is_removal(change: Change) -> bool:
    """Say whether the change takes away what answers. A shadow answers nobody, so its end removes nothing."""
    return change.section == "models" and change.after is None


def stops(changes: Iterable[Change], records: Sequence[DeploymentRecord]) -> list[Stop]:
    """Return what these changes of one environment would take out of service; ``records`` come oldest first."""
    found = []
    for change in filter(is_removal, changes):
        of_model = [record for record in records if record.slot == change.slot]
        answers = served_after(change.environment, of_model).models.get(change.model)
        if answers is not None:
            began = [r for r in of_model if r.verified and r.after is not None and r.after.digest == answers.digest]
            found.append(Stop(change, answers, began[-1] if began else None, spent_by(of_model, change)))
    return found


def spent_by(records: Iterable[DeploymentRecord], change: Change) -> DeploymentRecord | None:
    """Return the deployment that carried out this mark already, where the model came back after that; else None.

    ``rollback --now`` brings a retired model back before main says so. Until its revert is merged, main still has the
    mark, which must not take the model out a second time. The reason tells one mark from another.
    """
    carried_out: DeploymentRecord | None = None
    came_back = False
    for record in records:
        if record.slot != change.slot.live or not record.verified:
            continue
        if record.after is None:
            carried_out, came_back = record, False
        else:
            came_back = True
    if carried_out is None or not came_back or carried_out.reason != change.retired:
        return None
    return carried_out


def last_left(records: Iterable[DeploymentRecord]) -> DeploymentRecord | None:
    """Return the retirement that the model's newest verified record (oldest first) tells of, or None."""
    newest = next((record for record in reversed(list(records)) if record.verified), None)
    return newest if newest is not None and newest.after is None else None
