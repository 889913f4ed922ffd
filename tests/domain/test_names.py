"""Names that cross borders: a table of what is taken and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bot.domain import names
from bot.domain.names import MAX_VERSION, Version, short
from tests.domain.test_hostile_files import HOSTILE_NAMES

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "name", ["a", "0", "churn", "churn_2", "churn-2", "shadow", "a-shadows", "x" * 63, "on", "2026-01-01"]
)
def test_model_names(name: str) -> None:
    assert names.check_model_name(name) == name


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_name_nothing(name: str) -> None:
    for check in (names.check_model_name, names.check_environment_name, names.check_digest):
        if check is names.check_environment_name and name in ("churn-shadow", "x-shadow"):
            continue  # the suffix means something for models only
        with pytest.raises(ValueError, match=r"name|digest|-shadow") as error:
            check(name)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            names.check_environment_name,
            ["dev", "prod-eu", "1", "x" * 31],
            ["x" * 32, "a_b", "-a", "Dev", "a.b", "dev\n"],
        ),
        (names.check_digest, [DIGEST], [DIGEST[:-1], DIGEST + "0", DIGEST.upper(), DIGEST[7:], DIGEST + "\n", ""]),
        (names.check_run_id, ["a", "A-_0", "0" * 64], ["0" * 65, "-a", "_a", "a.b", "a/b", "", "a\n", "ä"]),
        (names.check_model_name, ["a"], ["a\n", "a-shadow", "x" * 64]),
    ],
)
def test_checks(check: Callable[[str], str], good: list[str], bad: list[str]) -> None:
    for text in good:
        assert check(text) == text
    for text in bad:
        with pytest.raises(ValueError):
            check(text)


@pytest.mark.parametrize("version", [1, 2, MAX_VERSION])
def test_versions(version: int) -> None:
    assert TypeAdapter(Version).validate_python(version) == version


@pytest.mark.parametrize("version", [0, -1, MAX_VERSION + 1, 2**63, 1.0, "1", True, None])
def test_no_versions(version: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Version).validate_python(version)


@given(st.text(max_size=70))
def test_a_name_is_one_component_of_a_path_or_refused(text: str) -> None:
    try:
        name = names.check_model_name(text)
    except ValueError as error:
        assert len(str(error)) < 300
        return
    assert name.isascii()
    assert not set(name) & set("/\\.:~ ")
    assert name[0] not in "-_"


def test_people_see_twelve_digits() -> None:
    assert short(DIGEST) == "0123456789ab"
