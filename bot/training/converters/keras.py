"""Models of Keras on TensorFlow, by tf2onnx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bot.training.converters.converted import Converted, NotConverted, UnfitRows, class_of
from bot.training.converters.graph import OPSETS, renamed
from bot.training.converters.rows import INPUT

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def convert(model: Any, inputs: Any) -> Converted:
    """Convert a model, as it answers outside its training.

    ``inputs`` are arrays [rows, …] by the names of the model's inputs, or one array, which is the input ``X``. The
    outputs have the names that the model gives them in a dictionary; else ``output``, or ``output_0``, …
    """
    try:
        import tensorflow as tf
        import tf2onnx
    except ModuleNotFoundError as error:
        raise NotConverted(
            f"a model of Keras needs {error.name}, which is not installed here",
            key="model",
            next_step="pip install tensorflow tf2onnx",
        ) from error
    given = _by_name(model, inputs)
    types = {spec.name: spec.dtype for spec in model.inputs}
    of_one = next(iter(types.values()))
    rows = {name: array.astype(types.get(name, of_one)) for name, array in given.items()}
    specs = [tf.TensorSpec((None, *array.shape[1:]), array.dtype, name=name) for name, array in rows.items()]

    def ask(*tensors: Any) -> Any:
        named = dict(zip(rows, tensors, strict=True))
        return model(named if isinstance(inputs, Mapping) and set(inputs) != {INPUT} else tensors[0], training=False)

    answers = _named(ask(*rows.values()))
    function = tf.function(lambda *tensors: list(_named(ask(*tensors)).values()), input_signature=specs)
    graph, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSETS[""])
    graph.graph.name = class_of(model)
    outputs = [output.name for output in graph.graph.output]
    graph = renamed(graph, dict(zip(outputs, answers, strict=True)))
    return Converted(graph, given, rows, lambda: {name: value.numpy() for name, value in answers.items()})


def _by_name(model: Any, inputs: Any) -> dict[str, Array]:
    import numpy as np

    named = dict(inputs) if isinstance(inputs, Mapping) else {INPUT: inputs}
    known = {spec.name for spec in model.inputs}
    if len(model.inputs) > 1 and set(named) != known:
        raise UnfitRows(f"have other names than the model's inputs: {', '.join(sorted(known))}", key="inputs")
    return {name: np.asarray(values) for name, values in named.items()}


def _named(said: Any) -> dict[str, Any]:
    if isinstance(said, Mapping):
        return dict(sorted(said.items()))
    if isinstance(said, list | tuple):
        return {f"output_{index}": value for index, value in enumerate(said)}
    return {"output": said}
