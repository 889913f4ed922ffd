"""The trigger that runs while a task of ours waits: it holds no worker, and no connection between two looks.

A trigger is its arguments: names, numbers and a deadline as a time of the clock. So a triggerer that is restarted, or
another one that takes over, goes on waiting until the same moment. It reads tokens from its own environment; the
arguments lie in Airflow's database and hold none.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from bot.airflow.failures import text_of
from bot.airflow.waiting import wait
from bot.errors import InvalidInput, PromobotError
from bot.operations.awaiting import Awaited, Ended, NotYet, Ready, look_for_end, look_for_ready

TRACKING_URI = "MLFLOW_TRACKING_URI"


class _Trigger(BaseTrigger):
    """Looks until something is found; its one event is a mapping with ``found``, ``late`` or ``error``."""

    def __init__(self, *, deadline: float, interval_seconds: float) -> None:
        super().__init__()
        self.deadline, self.interval_seconds = deadline, interval_seconds

    @abstractmethod
    def look(self) -> Ready | Ended | NotYet:
        """Look once."""

    def arguments(self) -> dict[str, Any]:
        """Return what it takes to make this trigger again."""
        return {"deadline": self.deadline, "interval_seconds": self.interval_seconds}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, for Airflow's database."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event."""
        yield TriggerEvent(await event_of(self.look, self.deadline, self.interval_seconds, say=self.log.info))


async def event_of(
    look: Callable[[], Ready | Ended | NotYet],
    deadline: float,
    interval_seconds: float,
    *,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Wait, and return what the task is resumed with. A bug is raised: Airflow fails the task and shows it."""
    found: Ready | Ended | NotYet
    try:
        found = await wait(look, deadline=deadline, interval_seconds=interval_seconds, say=say)
    except PromobotError as error:
        return {"error": text_of(error)}
    return {"late": found.said} if isinstance(found, NotYet) else {"found": asdict(found)}


class ReadyTrigger(_Trigger):
    """Waits for a version to be READY and whole."""

    def __init__(
        self, *, model: str, version: int, tracking_uri: str | None, token_env: str | None, **when: float
    ) -> None:
        super().__init__(**when)
        self.model, self.version = model, version
        self.tracking_uri, self.token_env = tracking_uri, token_env

    def arguments(self) -> dict[str, Any]:
        """Return what it takes to make this trigger again."""
        return {
            **super().arguments(),
            "model": self.model,
            "version": self.version,
            "tracking_uri": self.tracking_uri,
            "token_env": self.token_env,
        }

    def look(self) -> Ready | NotYet:
        """Ask MLflow once."""
        # Imported when it is needed, in the thread that needs it: MLflow takes seconds, and DAGs are parsed often.
        from bot.platform import registry_of
        from bot.settings import MLflow

        uri = self.tracking_uri or os.environ.get(TRACKING_URI)
        if not uri:
            raise InvalidInput(
                "is not set",
                key=TRACKING_URI,
                next_step="Set it for workers and triggerers, or give the sensor tracking_uri.",
            )
        registry = registry_of(MLflow(uri=uri, token_env=self.token_env))
        return look_for_ready(registry, model=self.model, version=self.version)


class DeploymentTrigger(_Trigger):
    """Waits for what becomes of a proposal. Its arguments name the parts of :class:`Awaited`, too."""

    def __init__(
        self, *, root: str, environment: str, deadline: float, interval_seconds: float, **awaited: Any
    ) -> None:
        super().__init__(deadline=deadline, interval_seconds=interval_seconds)
        self.root, self.environment, self.awaited = root, environment, Awaited(**awaited)

    def arguments(self) -> dict[str, Any]:
        """Return what it takes to make this trigger again."""
        where = {"root": self.root, "environment": self.environment}
        return {**super().arguments(), **where, **asdict(self.awaited)}

    def look(self) -> Ended | NotYet:
        """Ask the records, and GitHub where they do not say."""
        from bot.environment_files import load
        from bot.platform import Platform

        with Platform(load(Path(self.root), self.environment)) as platform:
            return look_for_end(platform, self.awaited)
