"""The table of models that ``python -m tests.models`` brings into service. A new model is one more row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.models import pyfuncs
from tests.models.frameworks import CATBOOST, LIGHTGBM, SKLEARN, XGBOOST, Fitted
from tests.models.given import Case, Given
from tests.models.graphs import GRAPHS
from tests.models.modules import MODULES, TRANSFORMERS
from tests.training.shapes import SHAPES, Served

ROWS = 6
"""Sample rows of each model: a smoke case each, and one of all of them."""
_TORCH = "pip install 'promobot[torch]' torch"


def _fitted(family: str, models: dict[str, Fitted]) -> list[Case]:
    def given(fit: Fitted) -> Given:
        model, rows = fit()
        return Given(model, rows[:ROWS])

    return [Case.of(family, name, lambda fit=fit: given(fit)) for name, fit in models.items()]  # type: ignore[misc]


def _shaped(shape: Callable[[], Served]) -> Given:
    made = shape()
    return Given(made.model, made.inputs, made.answers, made.given)


CASES: list[Case] = [
    *_fitted("scikit-learn", SKLEARN),
    *_fitted("XGBoost", XGBOOST),
    *_fitted("LightGBM", LIGHTGBM),
    *_fitted("CatBoost", CATBOOST),
    *(Case.of("ONNX", name, make) for name, make in GRAPHS.items()),
    *(Case.of("ONNX", name, lambda shape=shape: _shaped(shape)) for name, shape in SHAPES.items()),  # type: ignore[misc]
    *(Case.of("PyTorch", name, make, needs=("torch",), install=_TORCH) for name, make in MODULES.items()),
    *(
        Case.of("transformers", name, make, needs=("torch", "transformers"), install=f"{_TORCH} transformers")
        for name, make in TRANSFORMERS.items()
    ),
    *(Case("pyfunc", name, partial(pyfuncs.write, name)) for name in pyfuncs.PYFUNCS),
]
