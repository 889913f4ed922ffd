"""Which open revert takes back what main asks for."""

from __future__ import annotations

from bot.domain.desired import Change, Entry
from bot.operations.opened import Opened, open_revert_of


def _entry(version: int) -> Entry:
    return Entry(version=version, digest=f"sha256:{version:064x}", run="r")


def _change(before: int | None, after: int | None) -> Change:
    return Change("dev", "models", "churn", _entry(before) if before else None, _entry(after) if after else None)


def _opened(before: int, after: int, number: int = 4, *, is_revert: bool = True) -> Opened:
    return Opened(_change(before, after), number, "Revert churn", is_revert=is_revert)


def test_a_revert_of_what_main_asks_for_is_found() -> None:
    assert open_revert_of(_change(1, 2), [_opened(2, 3, 3, is_revert=False), _opened(2, 1)]) == 4


def test_a_revert_of_what_main_asked_for_before_is_no_way() -> None:
    """Main went from 2 to 5 while the revert of 2 was open: to merge it would change nothing, or conflict."""
    assert open_revert_of(_change(1, 5), [_opened(2, 1)]) is None


def test_a_revert_of_another_path_is_no_way() -> None:
    shadow = Change("dev", "shadow", "churn", None, _entry(2))
    assert open_revert_of(shadow, [_opened(2, 1)]) is None


def test_one_of_several_models_is_named_without_the_others() -> None:
    alone = Opened(_change(None, 1), 3, "Promote churn to 1 in dev", is_revert=False)
    several = Opened(
        _change(None, 1), 4, "Promote 2 models in dev: churn 1, wine 1", is_revert=False, of_several=True
    )
    assert (alone.said, several.said) == ("#3 Promote churn to 1 in dev", "#4 Promote 2 models in dev")
