"""Converts what training frameworks make to ONNX, and asks the framework for the answers.

    sklearn.py    estimators and pipelines of scikit-learn, those of XGBoost and LightGBM inside
    torch.py      modules of PyTorch
    boosting.py   the boosters and estimators of XGBoost, LightGBM and CatBoost, given directly
    graph.py      changes that a converted graph needs before it can be served

The converters are third-party libraries. Whatever they raise becomes InvalidInput with the model's class, the reason
and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bot import extras
from bot.errors import InvalidInput
from bot.training.converters.converted import Converted, NotConverted, class_of, first_words

_HELP = (
    "Give a model of scikit-learn, XGBoost, LightGBM, CatBoost or PyTorch, or export it to ONNX and give that; "
    "docs/training.md has how."
)


def convert(model: object, inputs: Any) -> Converted:
    """Convert a fitted model. ``inputs`` are sample rows, which give names, widths and datatypes of its inputs.

    Raises NotConverted where nothing here converts such a model, or the converter fails.
    """
    family = _family_of(model)
    if family is None:
        raise NotConverted(f"nothing here converts a {class_of(model)} to ONNX", key="model", next_step=_HELP)
    with extras.needed("torch" if family == "torch" else "models", by=f"a model of {family}"), _in_our_words(model):
        return _converter_of(family)(model, inputs)


_FAMILIES = ("xgboost", "lightgbm", "catboost", "torch", "sklearn")


def _family_of(model: object) -> str | None:
    """Return the package of the framework; where a class derives from several, that of the most derived one."""
    for base in type(model).__mro__:
        if (package := base.__module__.partition(".")[0]) in _FAMILIES:
            return package
    return None


def _converter_of(family: str) -> Callable[[Any, Any], Converted]:
    from bot.training.converters import boosting, sklearn, torch

    return {
        "xgboost": boosting.convert_xgboost,
        "lightgbm": boosting.convert_lightgbm,
        "catboost": boosting.convert_catboost,
        "torch": torch.convert,
        "sklearn": sklearn.convert,
    }[family]


@contextmanager
def _in_our_words(model: object) -> Iterator[None]:
    try:
        yield
    except (InvalidInput, ModuleNotFoundError):
        raise
    except Exception as error:  # converters raise whatever comes: AttributeError, NameError, RuntimeError, their own
        raise NotConverted(
            f"{class_of(model)} cannot be converted to ONNX: {first_words(error)}", key="model", next_step=_HELP
        ) from error
