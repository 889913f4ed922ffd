"""What a check says of an entry that somebody wrote wrong by hand: the mistake, and what writes it right."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bot.domain.desired import Change
from bot.domain.evidence import Finding
from bot.domain.nearest import nearest_number
from bot.render import checks
from tests.domain.entries import entry
from tests.render.test_pull_requests import comment, result

RIGHT = "sha256:" + "a" * 64
ENTRY = entry(2)
CHURN = Change("dev", "models", "churn", entry(1), ENTRY)
SHADOW = Change("dev", "shadow", "churn", None, ENTRY)
STEP = "`promobot propose churn 2 --env dev` writes the right digest"


@pytest.mark.parametrize(
    ("owners", "says"),
    [
        ([("churn", 3), ("churn", 1)], f"this is the digest of version 3; version 2 has {RIGHT}; {STEP}"),
        ([("fraud", 5)], f"this is the digest of another model, fraud 5; version 2 has {RIGHT}; {STEP}"),
        ([("fraud", 5), ("churn", 1)], f"this is the digest of version 1; version 2 has {RIGHT}; {STEP}"),
        ([], f"no version in MLflow has this digest; version 2 has {RIGHT}; {STEP}"),
        (None, f"this is not the digest of version 2; version 2 has {RIGHT}; {STEP}"),
        (
            [("churn", 2)],
            f"version 2 was registered with this digest, and now has {RIGHT}: somebody replaced its files. "
            "Register the model again, and propose that version",
        ),
    ],
)
def test_a_wrong_digest(owners: list[tuple[str, int]] | None, says: str) -> None:
    assert checks.wrong_digest(CHURN, ENTRY, RIGHT, owners) == says


def test_a_shadow_is_written_by_hand_again() -> None:
    said = checks.wrong_digest(SHADOW, ENTRY, RIGHT, [])
    assert said.endswith("; write the right digest under shadow.churn in promotions/dev.yaml")


@pytest.mark.parametrize(
    ("there", "owners", "says"),
    [
        ("f" * 32, [("churn", 1)], f"this is the run of version 1; version 2 is of run {'f' * 32}; "),
        ("", [], "no version in MLflow has this run; version 2 is of no run; "),
    ],
)
def test_a_wrong_run(there: str, owners: list[tuple[str, int]], says: str) -> None:
    assert checks.wrong_run(CHURN, ENTRY, there, owners) == f"{says}{STEP.replace('digest', 'run')}"


@pytest.mark.parametrize(
    ("there", "owners", "says"),
    [
        (
            [9, 8, 7, 4, 3, 1],
            [],
            "there is no version 2 of churn; did you mean version 3? The newest are 9, 8, 7, 4, 3, …",
        ),
        (
            [9, 8],
            [("fraud", 3), ("churn", 8)],
            "there is no version 2 of churn; the digest is that of version 8; `promobot propose churn 8 --env dev` "
            "writes that entry",
        ),
        ([1], None, "there is no version 2 of churn; did you mean version 1? The newest are 1"),
        ([], [], "no version of churn is registered. Did you mean churm?"),
    ],
)
def test_a_version_that_is_not_there(there: list[int], owners: list[tuple[str, int]] | None, says: str) -> None:
    unknown = "no version of churn is registered. Did you mean churm?"
    assert checks.no_such_version(CHURN, ENTRY, there, owners, of_the_model=unknown) == says


@pytest.mark.parametrize(
    ("number", "possible", "nearest"), [(5, [1, 9], 9), (4, [1, 9], 1), (1, [1, 2], 1), (3, [], None)]
)
def test_the_nearest_number(number: int, possible: Sequence[int], nearest: int | None) -> None:
    assert nearest_number(number, possible) == nearest


def test_what_is_written_wrong_comes_before_what_follows_from_it() -> None:
    gate = Finding(what="gate", passed=False, detail="accuracy 0.5 < 0.9")
    written = Finding(what="digest", passed=False, detail="this is the digest of version 1")
    red = result("ready", gate, written)
    text = comment([CHURN], [red.model_copy(update={"version": 2})])
    assert text.startswith(
        "❌ **Do not merge: READY of churn 2 failed at “digest”: this is the digest of version 1.**"
    )
