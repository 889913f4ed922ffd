"""Boosters and estimators of XGBoost, LightGBM and CatBoost: by onnxmltools, and by CatBoost's own exporter.

All take one input ``X`` [rows, features] of FP32. Trees compare FP32 numbers, so rows are rounded before anybody is
asked. A classifier has the outputs ``label`` and ``probabilities``, a regressor ``variable``.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bot.training.converters.converted import Converted, NotConverted, class_of
from bot.training.converters.graph import IR_VERSION, renamed, with_shapes_as_they_are, without_zipmap
from bot.training.converters.rows import INPUT, Rows

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, Any]


def convert_xgboost(model: Any, inputs: Any) -> Converted:
    """Convert a ``Booster``, or an estimator of XGBoost."""
    import xgboost
    from onnxmltools.convert import convert_xgboost as exported

    nameless = copy.deepcopy(model)  # the converter knows columns by the names f0, f1, … only
    if isinstance(nameless, xgboost.XGBRanker):
        nameless = nameless.get_booster()  # the converter does not know the class, and its trees are a regressor's
    booster = nameless if isinstance(nameless, xgboost.Booster) else nameless.get_booster()
    learner = json.loads(booster.save_config())["learner"]
    _check_trees(model, learner)
    if learner["objective"]["name"].startswith("rank:"):
        booster.set_param({"objective": "reg:squarederror"})  # else the converter writes a classifier; both add trees
    booster.feature_names = booster.feature_types = None

    def predicted(rows: Array) -> ArrayLike:
        said: ArrayLike = booster.predict(xgboost.DMatrix(rows))
        return said

    ask = _asking_a_booster(predicted) if booster is nameless else _asking(nameless)
    return _converted(model, inputs, lambda types: exported(nameless, initial_types=types, target_opset=_ML), ask)


def convert_lightgbm(model: Any, inputs: Any) -> Converted:
    """Convert a ``Booster``, or an estimator of LightGBM."""
    import lightgbm
    from onnxmltools.convert import convert_lightgbm as exported

    is_booster = isinstance(model, lightgbm.Booster)
    check_labels(model, "b")
    ask = _asking_a_booster(model.predict) if is_booster else _asking(model)
    return _converted(
        model, inputs, lambda types: exported(model, initial_types=types, target_opset=_ML, zipmap=False), ask
    )


def convert_catboost(model: Any, inputs: Any) -> Converted:
    """Convert an estimator of CatBoost that has no columns of categories or text, which its exporter cannot take."""

    def exported(_: object) -> onnx.ModelProto:
        return renamed(catboost_graph(model), {"features": INPUT, "predictions": "variable"})

    return _converted(model, inputs, exported, _asking(model))


def check_labels(model: Any, kinds: str) -> None:
    """Raise NotConverted where the labels of a classifier have one of NumPy's ``kinds``, which its exporter lacks."""
    datatype = getattr(getattr(model, "classes_", None), "dtype", None)
    if datatype is not None and datatype.kind in kinds:
        raise NotConverted(
            f"{class_of(model)} has labels of {datatype}, which its exporter does not write",
            key="model",
            next_step="Train it with whole numbers or text as labels: fit(rows, labels.astype(int)).",
        )


def _check_trees(model: Any, learner: Mapping[str, Any]) -> None:
    """Raise NotConverted for what the converter of XGBoost takes for trees that predict one number, and are not."""
    kind, numbers = learner["gradient_booster"]["name"], int(learner["learner_model_param"].get("num_target", "1"))
    if kind != "gbtree":
        raise NotConverted(
            f"{class_of(model)} has the booster {kind}, and the converter knows gbtree only",
            key="model",
            next_step="Train it with booster='gbtree'.",
        )
    if numbers > 1:
        raise NotConverted(
            f"{class_of(model)} predicts {numbers} numbers, and the converter knows trees of one",
            key="model",
            next_step="Train a model for each number, or put it into scikit-learn's MultiOutputRegressor.",
        )


_OF_SEVERAL = (
    *("MultiRMSE", "MultiRMSEWithMissingValues", "RMSEWithUncertainty", "MultiQuantile"),
    *("MultiLogloss", "MultiCrossEntropy"),
)
"""The losses of CatBoost with which a model answers several numbers, or labels, for a row."""


def catboost_graph(model: Any) -> onnx.ModelProto:
    """Return what CatBoost's own exporter makes of it: from ``features`` to ``label`` or ``predictions``."""
    from catboost.utils import convert_to_onnx_object

    check_labels(model, "bf")
    loss = str(model.get_all_params().get("loss_function", ""))
    if loss.partition(":")[0] in _OF_SEVERAL:
        raise NotConverted(
            f"{class_of(model)} was trained with {loss} and answers several numbers; CatBoost's exporter writes one",
            key="model",
            next_step="Train a model for each number.",
        )
    graph: onnx.ModelProto = convert_to_onnx_object(model)
    graph.ir_version = IR_VERSION  # the exporter writes that of 2018, of graphs without opsets
    return graph


_ML = 15
"""The newest opset of which onnxmltools knows that its graphs are right."""

Ask = Callable[["Array"], Mapping[str, "ArrayLike"]]


def _converted(model: Any, inputs: Any, export: Callable[[Any], onnx.ModelProto], ask: Ask) -> Converted:
    import numpy as np
    from onnxmltools.convert.common.data_types import FloatTensorType

    given = Rows.of(inputs).one_array()
    rows = given.astype(np.float32)
    graph = without_zipmap(export([(INPUT, FloatTensorType([None, rows.shape[1]]))]))
    graph.graph.name = class_of(model)  # a random one otherwise, and with it another digest each time
    graph = with_shapes_as_they_are(graph, {INPUT: rows})
    outputs = {output.name for output in graph.graph.output}

    def asked() -> Mapping[str, ArrayLike]:
        return {name: answer for name, answer in ask(rows).items() if name in outputs}

    return Converted(graph, {INPUT: given}, {INPUT: rows}, asked)


def _asking(estimator: Any) -> Ask:
    """Ask an estimator as scikit-learn's are asked."""

    def ask(rows: Array) -> Mapping[str, ArrayLike]:
        with warnings.catch_warnings():
            # It was fitted to a DataFrame, and is asked an array: what is served has no names of columns.
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            said = estimator.predict(rows)
            if not hasattr(estimator, "predict_proba"):
                return {"variable": said}
            return {"label": said.reshape(len(rows), -1)[:, 0], "probabilities": estimator.predict_proba(rows)}

    return ask


def _asking_a_booster(predict: Callable[[Array], ArrayLike]) -> Ask:
    """Ask a booster, which answers with a number or with each class's probability."""
    import numpy as np

    def ask(rows: Array) -> Mapping[str, ArrayLike]:
        said = np.asarray(predict(rows))
        if said.ndim == 2:
            return {"label": said.argmax(axis=1), "probabilities": said}
        of_two = np.stack([1 - said, said], axis=1)
        return {"variable": said, "label": (said > 0.5).astype(np.int64), "probabilities": of_two}

    return ask
