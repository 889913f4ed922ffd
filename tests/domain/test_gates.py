"""Which gate holds for a model: patterns fit as they read, and none keeps a process busy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.gates import key_for
from bot.domain.names import check_gate_name


def fits(pattern: str, name: str) -> bool:
    """Say so by taking one character after the other."""
    ends = {0}
    for character in pattern:
        if character == "*":
            ends = set(range(min(ends), len(name) + 1)) if ends else set()
        else:
            ends = {at + 1 for at in ends if name[at : at + 1] == character}
    return len(name) in ends


@given(
    st.text("ab*", min_size=2, max_size=8).filter(lambda key: "*" in key and set(key) != {"*"}),
    st.text("ab", min_size=1, max_size=10),
)
def test_a_star_stands_for_any_characters(pattern: str, name: str) -> None:
    assert (key_for(name, [pattern]) == pattern) == fits(pattern, name)


@pytest.mark.timeout(30)
def test_a_pattern_of_many_stars_does_not_keep_a_process_busy() -> None:
    pattern = check_gate_name("*a" * 31)
    assert key_for("a" * 62 + "b", [pattern]) is None
    assert key_for("a" * 63, [pattern]) == pattern
