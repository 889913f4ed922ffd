"""The same work in parts: every row once, put together exactly, and what is missing or of something else is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InvalidInput, Rejected
from bot.evaluation import parts, sets
from bot.evaluation.asking import IN_SERVICE, PROPOSED, Answered, AskOne, ask
from bot.evaluation.parts import About, is_answered, keep_answers, merged, part_of, split
from bot.evaluation.sets import Batch, EvaluationSet, open_set, write
from tests.evaluation.rows import churn

VERSIONS = {PROPOSED: "sha256:" + "1" * 64, IN_SERVICE: "sha256:" + "2" * 64}
OUTPUTS = dict.fromkeys(VERSIONS, "class")
CLASS, SCORE = (
    {"name": name, "dtype": dtype, "shape": []} for name, dtype in (("class", "text"), ("score", "float32"))
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """A set of 1,000 rows in several files. Nobody changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "GROUP_ROWS", 100)
        patch.setattr(sets, "FILE_BYTES", 300 * 50)
        return write(tmp_path_factory.mktemp("sets") / "churn", [churn(1000)])


def version(weight: float, *, refuses: Callable[[int], bool] = lambda _: False) -> AskOne:
    """Answer a class as text, a probability, a vector and a flag; refuse a request with a row that ``refuses``."""

    def answer(batch: Batch) -> Mapping[str, Any]:
        if any(refuses(row) for row in range(batch.start, batch.start + batch.rows)):
            raise Rejected("not this one", system="Triton")
        score = (batch.inputs["X"] * np.float32(weight)).sum(axis=1)
        return {
            "class": np.where(score > 0, "yes", "nö"),
            "probability": 1 / (1 + np.exp(-score)),
            "vector": batch.inputs["X"].astype(np.float64) / 3,
            "raw": np.array([[b"\xff", b""]] * batch.rows, object),
            "flag": (score > 1)[:, np.newaxis],
        }

    return answer


def asked(opened: EvaluationSet, versions: Mapping[str, AskOne], root: Path, *, of: int, batch_rows: int) -> None:
    """Ask each part as a task of its own does, the last first."""
    for part in reversed(split(opened.rows, of, batch_rows=batch_rows)):
        batches = open_set(opened.folder, opened.digest, start=part.start, stop=part.stop).batches(
            batch_rows, start=part.start, stop=part.stop
        )
        keep_answers(root, About(opened.digest, VERSIONS, part), ask(batches, versions, most_refused=None))


def assert_same(found: list[Answered], wanted: list[Answered]) -> None:
    """Hold every value of two lists of answers to be the same bits; seconds are measured."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one.batch.start, one.errors) == (other.batch.start, other.errors)
        np.testing.assert_equal(one.batch.labels, other.batch.labels)
        assert set(one.seconds) == set(other.seconds)
        for who in (PROPOSED, IN_SERVICE):
            np.testing.assert_array_equal(one.refused[who], other.refused[who])
            assert list(one.outputs[who]) == list(other.outputs[who])
            for name, array in other.outputs[who].items():
                again = one.outputs[who][name]
                assert again.shape == array.shape and again.dtype.kind == array.dtype.kind
                if array.dtype.kind in "OU":
                    assert again.tolist() == array.tolist()
                else:
                    assert again.dtype == array.dtype and again.tobytes() == array.tobytes()


REFUSALS: dict[str, Callable[[int], bool]] = {
    "none": lambda _: False,
    "some": lambda row: row % 97 == 5,
    "the first": lambda row: row < 130,
    "a whole part": lambda row: 240 <= row < 520,
    "the last": lambda row: row > 900,
    "everything, and few": lambda _: True,
}


@pytest.mark.parametrize("refuses", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize(("of", "batch_rows"), [(1, 64), (4, 64), (7, 33), (40, 64)])
def test_parts_together_are_the_whole(
    opened: EvaluationSet, refuses: Callable[[int], bool], of: int, batch_rows: int, tmp_path: Path
) -> None:
    versions = {PROPOSED: version(1, refuses=refuses), IN_SERVICE: version(-0.5)}
    # A whole run gives up after as many rows as this set has.
    wanted = list(ask(opened.batches(batch_rows), versions, most_refused=None))
    asked(opened, versions, tmp_path, of=of, batch_rows=batch_rows)
    found: list[Answered] = []
    try:
        found.extend(merged(tmp_path, opened, VERSIONS, OUTPUTS))
    except InvalidInput as error:
        with pytest.raises(InvalidInput) as of_the_whole:
            list(ask(opened.batches(batch_rows), versions))
        assert str(error) == str(of_the_whole.value)
        wanted = wanted[: len(found)]
    assert_same(found, wanted)


def test_sums_over_merged_parts_are_those_of_the_whole(opened: EvaluationSet, tmp_path: Path) -> None:
    versions = {PROPOSED: version(1), IN_SERVICE: version(-0.5)}
    asked(opened, versions, tmp_path, of=5, batch_rows=50)

    def total(answers: Any) -> float:
        return sum(float(a.outputs[PROPOSED]["probability"].sum()) for a in answers)

    assert total(merged(tmp_path, opened, VERSIONS, OUTPUTS)) == total(ask(opened.batches(50), versions))


@given(rows=st.integers(1, 10_000), of=st.integers(1, 70), batch_rows=st.integers(1, 300))
def test_parts_hold_every_row_once_in_whole_batches(rows: int, of: int, batch_rows: int) -> None:
    found = split(rows, of, batch_rows=batch_rows)
    assert [part.number for part in found] == list(range(of))
    assert (found[0].start, found[-1].stop) == (0, rows)
    assert all(one.stop == other.start for one, other in pairwise(found))
    assert all(part.start % batch_rows == 0 for part in found if part.start < rows)
    batches = [-(-(part.stop - part.start) // batch_rows) for part in found]
    assert max(batches) - min(batches) <= 1


@pytest.mark.parametrize(
    ("number", "of", "says"),
    [(4, 4, "no part 4 of 4: they count from 0 to 3"), (-1, 4, "no part -1"), (0, 0, "cannot be split into 0 parts")],
)
def test_a_part_that_does_not_exist_is_named(number: int, of: int, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        part_of(1000, number, of, batch_rows=64)
    assert part_of(1000, 1, 4, batch_rows=64) == split(1000, 4, batch_rows=64)[1]


# --- a task that runs again ---------------------------------------------------------------------------------------


@pytest.fixture
def answered(opened: EvaluationSet, tmp_path: Path) -> Path:
    asked(opened, {PROPOSED: version(1), IN_SERVICE: version(2)}, tmp_path / "answers", of=4, batch_rows=64)
    return tmp_path / "answers"


def about(opened: EvaluationSet, number: int, **changes: Any) -> About:
    values: dict[str, Any] = {"digest": opened.digest, "versions": VERSIONS} | changes
    return About(part=part_of(1000, number, 4, batch_rows=64), **values)


def test_a_part_that_has_its_answers_needs_nothing_more(opened: EvaluationSet, answered: Path) -> None:
    assert is_answered(answered, about(opened, 2), OUTPUTS)
    assert not is_answered(answered, about(opened, 2), {**OUTPUTS, IN_SERVICE: "score"})
    assert not is_answered(answered, about(opened, 2, digest="sha256:" + "3" * 64), OUTPUTS)
    other = {PROPOSED: "sha256:" + "4" * 64}
    assert not is_answered(answered, about(opened, 2, versions=other), {PROPOSED: "class"})
    (answered / "part-00002-of-00004" / "answers.parquet").write_bytes(b"damaged")
    assert not is_answered(answered, about(opened, 2), OUTPUTS)
    assert not is_answered(answered / "elsewhere", about(opened, 2), OUTPUTS)


def test_a_part_that_breaks_off_leaves_nothing_and_may_run_again(opened: EvaluationSet, tmp_path: Path) -> None:
    part = part_of(1000, 1, 4, batch_rows=64)
    versions = {PROPOSED: version(1), IN_SERVICE: version(2)}
    batches = list(opened.batches(64, start=part.start, stop=part.stop))
    with pytest.raises(ValueError, match="192 rows were answered, and the part has 256"):
        keep_answers(tmp_path, about(opened, 1), ask(batches[:-1], versions))
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        place = keep_answers(tmp_path, about(opened, 1), ask(batches, versions))
        assert list(tmp_path.iterdir()) == [place] and is_answered(tmp_path, about(opened, 1), OUTPUTS)


# --- what does not belong together --------------------------------------------------------------------------------


def changed(answered: Path, number: int, **values: Any) -> None:
    path = answered / f"part-{number:05d}-of-00004" / "answers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: parts.shutil.rmtree(root / "part-00002-of-00004"), "part 2 of 4 is missing"),
        (lambda root: changed(root, 1, digest="sha256:" + "9" * 64), "part-00001-of-00004: is of another digest"),
        (
            lambda root: changed(root, 1, versions={**VERSIONS, IN_SERVICE: "sha256:" + "7" * 64}),
            f"part-00001-of-00004: is of sha256:{'7' * 64} as in_service, and not of {VERSIONS[IN_SERVICE]}",
        ),
        (lambda root: changed(root, 1, versions={}), "cannot be understood: answers.json: .*lists other versions"),
        (
            lambda root: changed(root, 3, batch_rows=32),
            "part-00003-of-00004: is of another batch_rows: 32 instead of",
        ),
        (lambda root: changed(root, 3, of=10**8), "part-00003-of-00004: is of another of: 100000000 instead of 4"),
        (lambda root: changed(root, 3, of="many"), "part-00003-of-00004.answers.json: cannot be understood: of"),
        (
            lambda root: changed(root, 0, outputs={PROPOSED: []}),
            "cannot be understood: answers.json: .*other versions",
        ),
        (lambda root: changed(root, 0, outputs=7), "cannot be understood: outputs"),
        (
            lambda root: changed(root, 2, outputs={who: [SCORE] for who in VERSIONS}),
            "part-00002-of-00004: has no answers of the output class, which is measured",
        ),
        (
            lambda root: changed(root, 0, outputs={who: [CLASS, SCORE] for who in VERSIONS}),
            "part-00000-of-00004: has other columns than answers.json says",
        ),
        (lambda root: changed(root, 3, start=0), "part-00003-of-00004: is of another start"),
        (lambda root: changed(root, 0, format=2), "cannot be understood: format"),
        (lambda root: changed(root, 0, files=[]), "cannot be understood: files"),
        (lambda root: (root / "part-00000-of-00004" / "answers.json").write_text("{"), "cannot be understood"),
        (lambda root: (root / "part-00000-of-00004" / "answers.json").unlink(), "cannot be read: No such file"),
        (lambda root: (root / "part-00001-of-00004" / "answers.parquet").write_bytes(b""), "is damaged: 0 bytes"),
        (lambda root: (root / "part-00001-of-00004" / "batches.parquet").unlink(), "cannot be read: No such file"),
        (
            lambda root: parts.shutil.copytree(root / "part-00000-of-00004", root / "part-00000-of-00005"),
            "has parts of another division: part-00000-of-00005",
        ),
        (lambda root: parts.shutil.rmtree(root), "has no answers"),
    ],
)
def test_parts_that_do_not_make_the_whole_are_named(
    spoil: Callable[[Path], object], says: str, opened: EvaluationSet, answered: Path
) -> None:
    spoil(answered)
    with pytest.raises(InvalidInput, match=says) as failure:
        list(merged(answered, opened, VERSIONS, OUTPUTS))
    assert failure.value.next_step


def test_parts_may_have_answers_of_a_version_that_nobody_measures_any_more(
    opened: EvaluationSet, answered: Path
) -> None:
    alone = {PROPOSED: VERSIONS[PROPOSED]}
    found = list(merged(answered, opened, alone, {PROPOSED: "probability"}))
    assert sum(each.batch.rows for each in found) == opened.rows
    assert all(set(each.outputs) == set(each.refused) == {PROPOSED} for each in found)
