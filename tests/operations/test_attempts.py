"""A step goes on after an error of the bot, and after nothing else."""

from __future__ import annotations

import pytest

from bot.errors import InvalidInput, LeaseLost, Unavailable
from bot.operations.attempts import attempted, reported


def test_an_error_ends_the_block_and_is_there_behind_it() -> None:
    error, reached = Unavailable("away", system="Slack"), []
    with attempted() as attempt:
        reached.append("before")
        raise error
    with attempted() as other:
        reached.append("behind")
    assert (attempt.error, attempt.failed, other.error, other.failed) == (error, True, None, False)
    assert reached == ["before", "behind"]


def test_it_is_reported_once_with_what_was_tried() -> None:
    said: list[str] = []
    with reported(said.append, "the note stays") as noting:
        raise Unavailable("away", system="GitHub")
    with reported(said.append) as reading:
        raise InvalidInput("is wrong", file="promotions/dev.yaml")
    with reported(said.append, "nothing happened") as fine:
        pass
    assert said == ["the note stays: GitHub: away", "promotions/dev.yaml: is wrong"]
    assert [attempt.failed for attempt in (noting, reading, fine)] == [True, True, False]


@pytest.mark.parametrize("error", [LeaseLost("somebody else goes on"), ValueError("a bug"), KeyboardInterrupt()])
def test_nobody_goes_on_after_anything_else(error: BaseException) -> None:
    said: list[str] = []
    with pytest.raises(type(error)) as raised, reported(said.append, "a comment"), attempted():
        raise error
    assert raised.value is error
    assert said == []
