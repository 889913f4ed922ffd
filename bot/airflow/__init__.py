"""The part of the bot that an Airflow environment imports: sensors for anybody's DAG, and our errors as Airflow's.

    from bot.airflow import PromobotDeploymentSensor, PromobotReadySensor, as_airflows, handed_over

The bot does not depend on Airflow. Each name is imported when it is asked for, so this package can be imported where
Airflow is not; a name then raises ModuleNotFoundError that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

__all__ = [
    "DeploymentFailed",
    "DeploymentUnconfirmed",
    "PromobotDeploymentSensor",
    "PromobotFailed",
    "PromobotReadySensor",
    "PromobotRefused",
    "PromobotTimeout",
    "PromobotUnavailable",
    "as_airflows",
    "handed_over",
]

_OF_SENSORS = ("PromobotDeploymentSensor", "PromobotReadySensor", "handed_over")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        if name in _OF_SENSORS:
            from bot.airflow import sensors as module
        else:
            from bot.airflow import failures as module  # type: ignore[no-redef]
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "airflow":
            raise
        raise ModuleNotFoundError(f"bot.airflow.{name} needs Airflow 3", name=error.name) from error
    return getattr(module, name)
