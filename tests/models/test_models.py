"""A few of the models of ``python -m tests.models``, which brings all of them into service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.__main__ import report
from tests.models.cases import CASES
from tests.models.given import Case, Given
from tests.models.graphs import GRAPHS
from tests.models.trying import Tried, try_all
from tests.operations.world import World

SAMPLE = ("stacking of text and numbers", "LightGBM quantile", "perceptron of FP16", "tokens of any length")


def test_the_table_has_sixty_models_that_need_no_more_than_the_tests_install() -> None:
    names = [(case.family, case.name) for case in CASES]
    assert len(set(names)) == len(names)
    assert sum(not case.needs for case in CASES) >= 60
    assert {case.family for case in CASES} >= {"scikit-learn", "XGBoost", "LightGBM", "CatBoost", "ONNX", "PyTorch"}
    assert all(case.install for case in CASES if case.needs)


def test_a_few_are_served_and_answer_as_their_frameworks(world: World, tmp_path: Path) -> None:
    chosen = [case for case in CASES if case.name in SAMPLE]
    found = list(try_all(world, chosen, tmp_path))
    assert {tried.name for tried in found if tried.holds} == set(SAMPLE), report(found)
    assert {tried.name: tried.json for tried in found}["perceptron of FP16"] == "JSON has no FP16"
    assert all(tried.largest is not None and tried.largest < 5e-3 for tried in found)


@pytest.mark.slow
def test_a_wrong_answer_is_found_and_the_others_go_on(world: World, tmp_path: Path) -> None:
    right = GRAPHS["BOOL to BOOL"]()
    wrong = Given(right.model, right.inputs, np.asarray(right.inputs))
    cases = [Case.of("ONNX", "wrong", lambda: wrong), Case.of("ONNX", "right", lambda: right)]
    bad, good = try_all(world, cases, tmp_path)
    assert good.holds and not bad.holds
    assert bad.problem.startswith("checks: ") and not bad.deployed
    assert "1 of 2 models are served" in report([bad, good])


def test_a_model_whose_framework_is_missing_does_not_count_as_served(world: World, tmp_path: Path) -> None:
    absent = Case.of(
        "Absent",
        "net",
        lambda: pytest.fail("it is not asked for"),
        needs=("no_such_module",),
        install="pip install it",
    )
    (tried,) = try_all(world, [absent], tmp_path)
    assert not tried.holds and tried.not_installed == ["no_such_module"]
    said = report([tried])
    assert "not installed" in said and "no_such_module is not installed here. → pip install it" in said
    assert "0 of 0 models are served" in said


def test_a_package_that_cannot_be_built_is_told_with_its_reason() -> None:
    tried = Tried("ONNX", "broken", problem="package: InvalidInput: why")
    assert "✗ ONNX, broken: package: InvalidInput: why" in report([tried])
