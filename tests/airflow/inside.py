"""What only Airflow's own environment can try; test_inside runs it there, with that environment's Python.

Triggers come back from what the database keeps of them, sensors end as what was found says, and a look that finds
nothing defers.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, TaskDeferred
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize

from bot.airflow.failures import (
    DeploymentFailed,
    DeploymentUnconfirmed,
    PromobotFailed,
    PromobotRefused,
    PromobotTimeout,
    PromobotUnavailable,
    as_airflows,
)
from bot.airflow.sensors import PromobotDeploymentSensor, PromobotReadySensor, handed_over
from bot.airflow.triggers import DeploymentTrigger, ReadyTrigger
from bot.errors import Refused, Unavailable
from bot.operations.propose import Proposal

PROPOSAL = Proposal(
    "dev", "churn", 7, "opened", pull_request=12, url="u", digest="sha256:" + "0" * 64, run="r7", newest_record="r"
)


class TaskInstance:
    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.pushed[key] = value


def a_trigger_comes_back_from_what_is_kept_of_it() -> None:
    ready = ReadyTrigger(
        model="churn", version=7, tracking_uri=None, token_env="T", deadline=123.5, interval_seconds=2.0
    )
    deployment = DeploymentTrigger(
        root="/opt/promotions",
        environment="dev",
        model="churn",
        version=7,
        digest=PROPOSAL.digest,
        section="models",
        pull_request=12,
        newest_record="dev-00000001-churn",
        run="r7",
        deadline=123.5,
        interval_seconds=2.0,
    )
    for trigger in (ready, deployment):
        path, kept = trigger.serialize()
        again = import_string(path)(**deserialize(serialize(kept)))
        assert type(again) is type(trigger)
        assert again.serialize() == trigger.serialize()
    assert again.awaited == deployment.awaited


def a_sensor_ends_as_what_was_found() -> None:
    sensor = PromobotDeploymentSensor(task_id="d", environment="dev", root="/r", proposal=handed_over(PROPOSAL))
    for outcome, failure in {
        "failed": DeploymentFailed,
        "put back": DeploymentFailed,
        "incomplete": DeploymentFailed,
        "unconfirmed": DeploymentUnconfirmed,
        "refused": PromobotRefused,
    }.items():
        instance = TaskInstance()
        found = {"outcome": outcome, "said": "what happened", "next_step": "the way back", "record": "r"}
        error = raised(sensor.resume, {"ti": instance}, {"found": found})
        assert type(error) is failure, (outcome, error)
        assert isinstance(error, AirflowFailException)  # never tried again
        assert "what happened\nthe way back" in str(error)
        assert instance.pushed == {"ended": found}
    done = {"outcome": "succeeded", "said": "", "next_step": "", "record": "r"}
    assert sensor.resume({"ti": TaskInstance()}, {"found": done}) == done
    assert type(raised(sensor.resume, {}, {"error": "no such version"})) is PromobotFailed
    late = raised(sensor.resume, {}, {"late": "#12 is open"})
    assert isinstance(late, PromobotTimeout)
    assert isinstance(late, AirflowSensorTimeout)
    assert "86400 s" in str(late)
    assert "#12 is open" in str(late)


def a_system_that_does_not_answer_defers_until_the_deadline() -> None:
    os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    sensor = PromobotReadySensor(task_id="r", model="churn", version="7", timeout=60, poke_interval=1)
    before = time.time()
    deferred = raised(sensor.execute, {})
    assert isinstance(deferred, TaskDeferred), deferred
    assert before + 60 <= deferred.trigger.deadline <= time.time() + 60
    assert deferred.timeout.total_seconds() == 360
    deferred.trigger.deadline = time.time() + 2
    (event,) = asyncio.run(events(deferred.trigger))
    assert "asked in vain" in event.payload["late"]
    assert deferred.method_name == "resume"

    del os.environ["MLFLOW_TRACKING_URI"]
    error = raised(sensor.execute, {})
    assert isinstance(error, PromobotFailed)
    assert "MLFLOW_TRACKING_URI" in str(error)


def errors_become_airflows_and_a_stop_is_refused() -> None:
    def fail(error: Exception) -> None:
        with as_airflows():
            raise error

    assert type(raised(fail, Unavailable("502", system="MLflow"))) is PromobotUnavailable
    refused = raised(fail, Refused("no", state="Nothing was changed.", next_step="Ask."))
    assert type(refused) is PromobotFailed
    assert str(refused) == "no\nNothing was changed.\nAsk."
    stopped = Proposal("dev", "churn", 7, "stopped", reason="accuracy 0.8 < 0.9")
    assert "accuracy 0.8 < 0.9" in str(raised(handed_over, stopped))


async def events(trigger: Any) -> list[Any]:
    return [event async for event in trigger.run()]


def raised(function: Any, *arguments: Any) -> BaseException:
    try:
        returned = function(*arguments)
    except BaseException as error:  # noqa: BLE001 - what Airflow raises to defer is no Exception
        return error
    raise AssertionError(f"nothing was raised, but returned {returned}")


if __name__ == "__main__":
    a_trigger_comes_back_from_what_is_kept_of_it()
    a_sensor_ends_as_what_was_found()
    a_system_that_does_not_answer_defers_until_the_deadline()
    errors_become_airflows_and_a_stop_is_refused()
    print("all hold")
