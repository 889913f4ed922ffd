"""Converts what training frameworks make to ONNX, and asks the framework for the answers.

    sklearn.py    estimators and pipelines of scikit-learn, those of XGBoost and LightGBM inside
    torch.py      modules of PyTorch
    keras.py      models of Keras on TensorFlow
    boosting.py   the boosters and estimators of XGBoost, LightGBM and CatBoost, given directly
    graph.py      changes that a converted graph needs before it can be served

The converters are third-party libraries. Whatever they raise becomes InvalidInput with the model's class, the reason
and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot import extras
from bot.errors import InvalidInput
from bot.training.converters.converted import Converted, NotAnswered, NotConverted, class_of, first_words

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_HELP = (
    "Give a model of scikit-learn, XGBoost, LightGBM, CatBoost, PyTorch or Keras, or export it to ONNX and give the "
    "path of that; docs/how-to/training.md has how."
)


def convert(model: object, inputs: Any) -> Converted:
    """Convert a fitted model. ``inputs`` are sample rows, which give names, widths and datatypes of its inputs.

    Raises NotConverted where nothing here converts such a model, or the converter fails.
    """
    model = _inside(model)
    family = _family_of(model)
    if family is None:
        raise NotConverted(f"nothing here converts a {class_of(model)} to ONNX", key="model", next_step=_HELP)
    extra = "torch" if family == "torch" else "models"
    with extras.needed(extra, by=f"a model of {family}"), _in_our_words(model, _HELP_OF.get(family, _HELP)):
        converted = _converter_of(family)(model, inputs)

    def ask() -> Mapping[str, ArrayLike]:
        try:
            return converted.ask()
        except Exception as error:  # estimators raise whatever comes at rows that they cannot take
            raise NotAnswered(
                f"{class_of(model)} does not answer these rows: {first_words(error)}",
                key="inputs",
                next_step="Give rows as its training had them.",
            ) from error

    return replace(converted, ask=ask)


_HELP_OF = {
    "sklearn": "docs/how-to/frameworks/scikit-learn.md has what to do about a step without a converter; or export "
    "the model to ONNX, and give the path of that.",
    "torch": "docs/how-to/frameworks/pytorch.md has how to export it yourself; give the path of the file then.",
}
_HELP_OF_CODE = (
    "Python code has no graph to convert. Log it to MLflow and adopt the version: `promobot adopt MODEL VERSION "
    "--python-environment FILE`, or package_from_mlflow; docs/how-to/frameworks/pyfunc.md has how."
)
_FAMILIES = ("xgboost", "lightgbm", "catboost", "torch", "keras", "sklearn")


def _inside(model: object) -> Any:
    """Return the framework's own model out of a pyfunc of MLflow; anything else as it is.

    Raises NotConverted where there is only Python code in it.
    """
    if type(model).__module__.partition(".")[0] != "mlflow" or not hasattr(model, "get_raw_model"):
        return model
    try:
        return model.get_raw_model()
    except NotImplementedError as error:  # as MLflow says of a class or function of somebody's own
        said = f"the {class_of(model)} holds no model of a framework"
        raise NotConverted(said, key="model", next_step=_HELP_OF_CODE) from error


def _family_of(model: object) -> str | None:
    """Return the package of the framework; where a class derives from several, that of the most derived one."""
    for base in type(model).__mro__:
        if (package := base.__module__.partition(".")[0]) in _FAMILIES:
            return package
    return None


def _converter_of(family: str) -> Callable[[Any, Any], Converted]:
    from bot.training.converters import boosting, keras, sklearn, torch

    return {
        "xgboost": boosting.convert_xgboost,
        "lightgbm": boosting.convert_lightgbm,
        "catboost": boosting.convert_catboost,
        "torch": torch.convert,
        "keras": keras.convert,
        "sklearn": sklearn.convert,
    }[family]


@contextmanager
def _in_our_words(model: object, step: str) -> Iterator[None]:
    try:
        yield
    except (InvalidInput, ModuleNotFoundError):
        raise
    except Exception as error:  # converters raise whatever comes: AttributeError, NameError, RuntimeError, their own
        raise NotConverted(
            f"{class_of(model)} cannot be converted to ONNX: {_why(error)}", key="model", next_step=step
        ) from error


def _why(error: Exception) -> str:
    """Return what a converter says; of a class that it does not know, that and no more."""
    known = re.match(r"Unable to find a (?:shape calculator|converter) for type '<class '([^']+)'>'", str(error))
    return f"there is no converter for {known[1].rpartition('.')[2]}" if known else first_words(error)
