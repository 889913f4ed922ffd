"""Estimators and pipelines of scikit-learn, by skl2onnx; XGBoost and LightGBM inside, by onnxmltools."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bot.training.converters.boosting import catboost_graph
from bot.training.converters.converted import Converted, NotConverted, class_of
from bot.training.converters.graph import (
    OPSETS,
    joined,
    renamed,
    runs,
    with_a_locale_of_every_server,
    with_shapes_as_they_are,
    without_zipmap,
)
from bot.training.converters.rows import INPUT, Rows

if TYPE_CHECKING:
    import onnx
    from numpy.typing import ArrayLike


def convert(estimator: Any, inputs: Any) -> Converted:
    """Convert a fitted estimator or pipeline.

    An array is the one input ``X`` [rows, features]; it keeps its datatype where the converter and onnxruntime have
    it, and becomes FP32 otherwise. Columns of a DataFrame, or columns by name, are that input, too, side by side.
    Where the first step chooses columns by their names, each is an input of its own [rows, 1]: FP32 for numbers,
    BYTES for text. A classifier has the outputs ``label`` and ``probabilities``, a regressor and a
    transformer ``variable``, a model of clusters or outliers ``label`` and ``scores``.
    """
    _check_answers(estimator)
    given = Rows.of(inputs)
    if given.frame and not _chooses_columns(estimator):
        given = Rows({INPUT: given.one_array()}, frame=False)
    _know_the_boosters()
    rows = given.rounded()
    model = None if given.frame else _at_full_width(estimator, given)
    if model is not None:
        rows = given
    else:
        model = _graph(estimator, rows)
    # The converter writes other characters for those that its names may not have, and keeps the order.
    names = [value.name for value in model.graph.input]
    model = with_shapes_as_they_are(without_zipmap(model), _renamed(rows, names))
    outputs = [output.name for output in model.graph.output]

    def ask() -> Mapping[str, ArrayLike]:
        known = rows.as_trained(given)
        if not rows.frame and (columns := getattr(estimator, "feature_names_in_", None)) is not None:
            import pandas as pd

            known = pd.DataFrame(known, columns=columns)  # so it was trained, and warns of anything else
        return _asked(estimator, known, outputs)

    return Converted(model, _renamed(given, names), _renamed(rows, names), ask)


def _check_answers(estimator: Any) -> None:
    """Raise NotConverted for answers of a form that no graph here has, also at the end of a pipeline or a search."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
    from sklearn.pipeline import Pipeline

    last = estimator
    while (isinstance(last, Pipeline) and len(last)) or hasattr(last, "best_estimator_"):
        last = last[-1] if isinstance(last, Pipeline) else last.best_estimator_
    if isinstance(last, MultiOutputClassifier | ClassifierChain):
        raise NotConverted(
            f"{class_of(last)} answers several labels for a row, with a list of probabilities, which the converter "
            "does not write as tensors",
            key="model",
            next_step="Package each of its estimators_ as a model of its own; a bundle releases them together "
            "(docs/how-to/bundles.md).",
        )
    if isinstance(last, TransformedTargetRegressor):
        raise NotConverted(
            f"{class_of(last)} turns the answers of its regressor back by a function of Python, which the converter "
            "does not know",
            key="model",
            next_step="Package its regressor_, and apply inverse_func in the client; or train on the transformed "
            "target, and say so to the clients. docs/how-to/frameworks/pyfunc.md serves it as Python code.",
        )


def _renamed(rows: Rows, names: list[str]) -> dict[str, Any]:
    return dict(zip(names, rows.arrays.values(), strict=True))


def _chooses_columns(estimator: Any) -> bool:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    while isinstance(estimator, Pipeline) or hasattr(estimator, "best_estimator_"):
        estimator = estimator[0] if isinstance(estimator, Pipeline) else estimator.best_estimator_
    return isinstance(estimator, ColumnTransformer)


def _at_full_width(estimator: Any, given: Rows) -> onnx.ModelProto | None:
    """Return the graph that takes the rows in their own datatype; None where there is none that runs."""
    if given.arrays[INPUT].dtype == given.rounded().arrays[INPUT].dtype:
        return None
    try:
        model = _graph(estimator, given)
    except (NameError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None  # FP32 is tried next, and its error counts
    return model if runs(model) else None


def _graph(estimator: Any, rows: Rows) -> onnx.ModelProto:
    """Return the graph. Those that have the option give tensors for their classes, and the others have no maps."""
    from skl2onnx import convert_sklearn

    if (last := _last_of_catboost(estimator)) is not None:
        graph = renamed(catboost_graph(last), {"predictions": "variable"})
        return joined(renamed(_graph(estimator[:-1], rows), {"variable": "encoded"}), graph, at="features")

    def converted(**options: Any) -> onnx.ModelProto:
        graph: onnx.ModelProto = convert_sklearn(
            estimator,
            name=class_of(estimator),  # a random one otherwise, and with it another digest each time
            initial_types=[(name, _type_of(array)) for name, array in rows.arrays.items()],
            target_opset=OPSETS,
            **options,
        )
        return with_a_locale_of_every_server(graph)

    try:
        return converted(options={"zipmap": False})
    except NameError as error:
        if "zipmap" not in str(error):
            raise
        return converted()


def _last_of_catboost(estimator: Any) -> Any:
    """Return the last step of a pipeline where CatBoost has its own exporter for it; None elsewhere."""
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline) or len(estimator) == 1:
        return None
    last = estimator[-1]
    return last if type(last).__module__.partition(".")[0] == "catboost" else None


def _type_of(array: Any) -> Any:
    from skl2onnx.common import data_types

    types = {
        "f": data_types.DoubleTensorType if array.dtype.itemsize == 8 else data_types.FloatTensorType,
        "i": data_types.Int64TensorType,
        "u": data_types.Int64TensorType,
        "b": data_types.BooleanTensorType,
    }
    return types.get(array.dtype.kind, data_types.StringTensorType)([None, *(array.shape[1:] or (1,))])


def _know_the_boosters() -> None:
    """Teach skl2onnx the estimators of the libraries that are imported; a pipeline holds no others."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes as of_classes,
    )
    from skl2onnx.common.shape_calculator import (
        calculate_linear_regressor_output_shapes as of_numbers,
    )

    zipmap = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    if xgboost := sys.modules.get("xgboost"):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        update_registered_converter(xgboost.XGBClassifier, "Xgboost", of_classes, convert_xgboost, options=zipmap)
        update_registered_converter(xgboost.XGBRegressor, "XgboostR", of_numbers, convert_xgboost)
    if lightgbm := sys.modules.get("lightgbm"):
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        update_registered_converter(lightgbm.LGBMClassifier, "Lightgbm", of_classes, convert_lightgbm, options=zipmap)
        split = {"split": None}
        update_registered_converter(lightgbm.LGBMRegressor, "LightgbmR", of_numbers, convert_lightgbm, options=split)


def _asked(estimator: Any, rows: Any, outputs: list[str]) -> Mapping[str, ArrayLike]:
    """Return the estimator's own answers, for those of the graph's outputs of which one knows the meaning."""
    questions = {
        "label": ("predict",),
        "probabilities": ("predict_proba",),
        "variable": ("predict", "transform"),
        "scores": ("decision_function", "transform"),
    }
    answers: dict[str, ArrayLike] = {}
    for output in outputs:
        for name in questions.get(output, ()):
            if (ask := getattr(estimator, name, None)) is not None:
                answers[output] = ask(rows)
                break
    return answers
