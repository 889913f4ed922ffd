"""The models that an environment knows: everything that a person may mean there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bot.settings import Environment

if TYPE_CHECKING:
    from bot.domain.desired import Desired
    from bot.domain.record import DeploymentRecord


def known_models(
    settings: Environment, *, desired: Desired | None = None, records: Iterable[DeploymentRecord] = ()
) -> frozenset[str]:
    """Return the models that the settings name, that ``desired`` asks for, and that ``records`` tell of.

    A model may have its gate by ``default`` or by a pattern, so the settings alone do not name every model.
    """
    wanted = desired.names() if desired is not None else ()
    return settings.named_models.union(wanted, (record.model for record in records))
