"""The flavors in which MLflow keeps models: how each is loaded, and what is missing where there is no converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.errors import InvalidInput

FLAVORS = ("onnx", "sklearn", "xgboost", "lightgbm", "catboost", "transformers", "pytorch", "tensorflow", "keras")
"""Those that become a package, the one that needs no converter first. A model may have several."""
PYFUNC = "python_function"
"""The flavor of Python code. Triton's Python backend serves it, in an environment that has what it needs."""

_INSTALL = {
    "pytorch": "pip install 'promobot[torch]' torch",
    "transformers": "pip install 'promobot[torch]' torch transformers",
    "tensorflow": "pip install 'promobot[models]' tensorflow tf2onnx",
    "keras": "pip install 'promobot[models]' tensorflow keras tf2onnx",
}
_EXPORT = "build_package('model.onnx', directory, inputs=rows, answers=model.predict(rows))"
_LINES = {
    "spark": "from onnxmltools import convert_sparkml; onnx.save(convert_sparkml(model, 'model', inputs, "
    "spark_session=spark), 'model.onnx'); " + _EXPORT,
    "h2o": "model.download_mojo('model.zip'), and onnxmltools.convert_h2o('model.zip'); " + _EXPORT,
    "paddle": "paddle.onnx.export(model, 'model', input_spec=[…]); " + _EXPORT,
    "statsmodels": "a fitted linear model is a product of its parameters: write it as a torch.nn.Module or an "
    "estimator of scikit-learn with these coefficients, and give that to build_package",
}
_PYTHON = (
    "Pack an environment that has MLflow and what the model needs, with the Python of your Triton, and adopt it with "
    "that: conda create --name pyfunc python=3.11 pip; conda run --name pyfunc pip install -r requirements.txt; "
    "conda-pack --name pyfunc --output environment.tar.gz; promobot adopt {version} --python-environment "
    "environment.tar.gz. If Triton's own Python has all of it: --python-environment triton. A model inside that has "
    "a flavor of its own needs none of this, logged by itself: docs/how-to/frameworks/pyfunc.md."
)


def install(flavor: str) -> str:
    """Return the command that installs what loads and converts a flavor; empty where only its requirements say."""
    return _INSTALL.get(flavor, "")


def load(flavor: str, directory: Path) -> Any:
    """Return the model as its framework has it; of transformers its parts by name. Raise what the library raises."""
    import mlflow

    if flavor == PYFUNC:
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(directory), suppress_warnings=True)
    module = getattr(mlflow, flavor)
    match flavor:
        case "transformers":
            return module.load_model(str(directory), return_type="components")
        case "pytorch":
            return module.load_model(str(directory), map_location="cpu")
        case _:
            return module.load_model(str(directory))


def module_and_tokens(parts: Mapping[str, Any], rows: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the PyTorch module of a pipeline of transformers, and the tokens of these texts by input name.

    The tokenizer stays with the client: what is served takes tokens. Rows that are tokens already stay as they are.
    """
    model, tokenizer = parts["model"], parts.get("tokenizer")
    if isinstance(rows, Mapping) and "input_ids" in rows:
        return model, rows
    texts = _texts(rows)
    if tokenizer is None or not texts:
        raise InvalidInput(
            "are neither texts nor tokens by name",
            key="inputs",
            next_step="Give what the tokenizer or processor returns, as arrays by the names of the model's inputs.",
        )
    return model, dict(tokenizer(texts, padding=True, return_tensors="np"))


def what_a_pyfunc_needs(uri: str) -> tuple[str, str]:
    """Return what a version is that has the flavor of Python code alone, and the lines that add what it lacks."""
    version = uri.removeprefix("models:/").replace("/", " ")
    said = "Python code, which Triton's Python backend runs, and no environment of Python is given for it"
    return said, _PYTHON.format(version=version)


def what_is_missing(flavors: Sequence[str]) -> tuple[str, str]:
    """Return what a model of these flavors is, and the lines that add what it lacks; nothing here converts it."""
    others = [flavor for flavor in flavors if flavor != PYFUNC]
    lines = next((_LINES[flavor] for flavor in others if flavor in _LINES), "")
    lines = lines or f"with what its framework has for that, and {_EXPORT}"
    step = f"Export it to ONNX in its training job: {lines}."
    if PYFUNC in flavors:
        step += " Or serve it as Python code: --python-environment, as docs/how-to/frameworks/pyfunc.md has it."
    return f"{' and '.join(others)}, which nothing here converts", step


def _texts(rows: Any) -> list[str]:
    if hasattr(rows, "iloc"):
        rows = rows.iloc[:, 0] if rows.ndim == 2 else rows
    values = [rows] if isinstance(rows, str) else list(rows)
    return values if all(isinstance(value, str) for value in values) else []
