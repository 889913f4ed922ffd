"""Deferrable sensors for anybody's DAG.

    ready = PromobotReadySensor(task_id="wait_until_ready", model="churn", version=registered["version"])
    PromobotDeploymentSensor(task_id="wait_for_deployment", environment="dev", proposal=proposed)

Each looks once in the worker. Where that is not enough it hands over to the triggerer and gives its slot back.
``timeout`` and ``poke_interval`` are those of every sensor, in seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from bot.airflow.failures import (
    DeploymentFailed,
    DeploymentUnconfirmed,
    PromobotFailed,
    PromobotRefused,
    PromobotTimeout,
)
from bot.airflow.triggers import DeploymentTrigger, ReadyTrigger, event_of

if TYPE_CHECKING:
    from bot.operations.propose import Proposal

_GRACE = timedelta(minutes=5)
"""Airflow's own timeout of what is deferred: it only counts where no triggerer is there to keep the deadline."""


def handed_over(proposal: Proposal) -> dict[str, Any]:
    """Return the facts about ``proposal`` that the next task needs, as names and numbers for XCom.

    Raises PromobotRefused if the gate stopped the proposal: then there is nothing to wait for.
    """
    if proposal.action == "stopped":
        raise PromobotRefused(
            f"{proposal.model} {proposal.version} is not proposed to {proposal.environment}: {proposal.reason}"
        )
    names = ("environment", "model", "version", "digest", "run", "section", "action", "pull_request", "url")
    return {name: getattr(proposal, name) for name in (*names, "newest_record")}


class _Sensor(BaseSensorOperator):
    """Looks once, then defers; raises what the event says."""

    def _trigger(self, *, deadline: float) -> ReadyTrigger | DeploymentTrigger:
        raise NotImplementedError

    def execute(self, context: Any) -> Any:
        """Look once; return what was found, or defer."""
        deadline = time.time() + self.timeout
        trigger = self._trigger(deadline=deadline)
        event = asyncio.run(event_of(trigger.look, 0, self.poke_interval, say=self.log.info))
        if "late" in event:
            timeout = timedelta(seconds=self.timeout) + _GRACE
            self.defer(trigger=trigger, method_name="resume", timeout=timeout)
        return self.resume(context, event)

    def resume(self, context: Any, event: Mapping[str, Any]) -> Any:  # noqa: ARG002 - Airflow gives both
        """Return what was found, which goes into XCom: names and numbers."""
        if "error" in event:
            raise PromobotFailed(event["error"])
        if "late" in event:
            raise PromobotTimeout(f"not within {self.timeout:g} s; at the end: {event['late']}")
        return dict(event["found"])


class PromobotReadySensor(_Sensor):
    """Waits until MLflow calls a version READY and every file of its package is there.

    ``model`` and ``version`` may be templates or the output of another task. ``tracking_uri`` is MLflow's address
    (default: ``MLFLOW_TRACKING_URI``). ``token_env`` names the variable with a bearer token, on workers and
    triggerers. ``poke_interval`` is the time between two looks and ``timeout`` the longest wait, both in seconds.

    Returns ``{"model", "version", "digest", "run"}``. Raises PromobotFailed, which Airflow does not retry, if the
    registration failed, the version does not exist, or its package is not whole. Raises PromobotTimeout after
    ``timeout``.
    """

    template_fields: Sequence[str] = ("model", "version", "tracking_uri")

    def __init__(
        self,
        *,
        model: str,
        version: Any,
        tracking_uri: str | None = None,
        token_env: str | None = None,
        poke_interval: float = 10,
        timeout: float = 600,
        **operator: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **operator)
        self.model, self.version = model, version
        self.tracking_uri, self.token_env = tracking_uri, token_env

    def _trigger(self, *, deadline: float) -> ReadyTrigger:
        return ReadyTrigger(
            model=self.model,
            version=int(self.version),
            tracking_uri=self.tracking_uri,
            token_env=self.token_env,
            deadline=deadline,
            interval_seconds=self.poke_interval,
        )


class PromobotDeploymentSensor(_Sensor):
    """Waits for the deployment record of a proposal to ``environment``, and ends as the deployment did.

    ``proposal`` is the result of ``handed_over``: a mapping with ``model``, ``version``, ``digest``, ``run``,
    ``section``, ``pull_request`` (None if main asked for it already) and ``newest_record``. ``root`` is a checkout of
    the repository of promotions, on workers and triggerers. ``poke_interval`` is the time between two looks and
    ``timeout`` the longest wait, both in seconds.

    Returns the record's id and outcome if the deployment succeeded. Otherwise it pushes the same under the key
    ``ended`` and raises DeploymentFailed (failed, put back, incomplete), DeploymentUnconfirmed, PromobotRefused or
    PromobotTimeout.
    """

    template_fields: Sequence[str] = ("environment", "proposal", "root")

    def __init__(
        self,
        *,
        environment: str,
        proposal: Any,
        root: str,
        poke_interval: float = 30,
        timeout: float = 24 * 3600,
        **operator: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **operator)
        self.environment, self.proposal, self.root = environment, proposal, root

    def _trigger(self, *, deadline: float) -> DeploymentTrigger:
        return DeploymentTrigger(
            root=self.root,
            environment=self.environment,
            model=self.proposal["model"],
            version=int(self.proposal["version"]),
            digest=self.proposal["digest"],
            section=self.proposal["section"],
            pull_request=self.proposal["pull_request"],
            newest_record=self.proposal["newest_record"],
            run=self.proposal.get("run", ""),  # not in what an earlier version handed over
            deadline=deadline,
            interval_seconds=self.poke_interval,
        )

    def resume(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was found where the deployment succeeded; else fail as it did."""
        found: dict[str, Any] = super().resume(context, event)
        if found["outcome"] == "succeeded":
            return found
        # Airflow drops the return value of a failed task, and others ask for its outcome.
        context["ti"].xcom_push(key="ended", value=found)
        failures = {"refused": PromobotRefused, "unconfirmed": DeploymentUnconfirmed}
        raise failures.get(found["outcome"], DeploymentFailed)(
            "\n".join(filter(None, (found["said"], found["next_step"])))
        )
