"""How tasks of Airflow fail: our errors as Airflow's, so that it tries again what is worth it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout

from bot.errors import PromobotError, Unavailable


class PromobotUnavailable(AirflowException):
    """A system did not answer. Airflow tries again, as often as the task's ``retries`` say."""


class PromobotFailed(AirflowFailException):
    """Trying again changes nothing; the message says what happened, how things are, and what to do."""


class PromobotRefused(PromobotFailed):
    """Nothing was deployed, and nothing will be by itself: the gate, a closed pull request, a quarantine."""


class DeploymentFailed(PromobotFailed):
    """The deployment failed, before the switch or after it; what users get is the last verified state."""


class DeploymentUnconfirmed(PromobotFailed):
    """Everything holds but Slack's message, which waits in the outbox. The version is in service."""


class PromobotTimeout(AirflowSensorTimeout):
    """The awaited event did not come in time; the message says what the state was at the end."""


@contextmanager
def as_airflows() -> Iterator[None]:
    """Raise the bot's errors as Airflow's: Unavailable is tried again, everything else is not."""
    try:
        yield
    except Unavailable as error:
        raise PromobotUnavailable(text_of(error)) from error
    except PromobotError as error:
        raise PromobotFailed(text_of(error)) from error


def text_of(error: PromobotError) -> str:
    """Return the error with the state of things and the next step, as the command line prints them."""
    return "\n".join(part for part in (error.message, error.state, error.next_step) if part)
