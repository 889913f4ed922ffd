"""Modules of PyTorch, and models of transformers, which are such modules: by PyTorch's own exporter."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bot.training.converters.converted import Converted, NotAnswered, UnfitRows, class_of
from bot.training.converters.graph import OPSETS

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, Any]


def convert(module: Any, inputs: Any) -> Converted:
    """Convert a module, as it answers in evaluation.

    ``inputs`` are arrays [rows, …] by the names of the parameters of ``forward``, or one array for its first. Floats
    become FP32, whole numbers INT64. The first dimension is the batch; of whole numbers, such as tokens, the others
    are of any size, too, and of floats they are fixed. The outputs have the names that the module gives them in a
    dictionary; else they are ``output``, or ``output_0``, ``output_1``, … Of the answers only tensors count.
    """
    import numpy as np

    given = _by_name(module, inputs)
    rows = {name: array.astype(np.float32 if array.dtype.kind == "f" else np.int64) for name, array in given.items()}
    with _evaluating(module):
        answers = _answers(module, rows)
        model = _graph(module, rows, list(answers))
    return Converted(model, given, rows, lambda: answers)


def _by_name(module: Any, inputs: Any) -> dict[str, Array]:
    import numpy as np

    names = list(inspect.signature(module.forward).parameters)
    by_name = dict(inputs) if isinstance(inputs, Mapping) else {names[0]: inputs}
    if unknown := sorted(set(by_name) - set(names)):
        raise UnfitRows(f"forward of {class_of(module)} has no parameter {unknown[0]}", key="inputs")
    found = {}
    for name in (name for name in names if name in by_name):
        try:
            found[name] = np.asarray(_plain(by_name[name]))
        except ValueError as error:
            raise UnfitRows(
                "has rows of different lengths", key=f"inputs: {name}", next_step="Pad them to the same length."
            ) from error
        if found[name].dtype.kind not in "iufb" or found[name].ndim == 0:
            raise UnfitRows("is not an array of numbers", key=f"inputs: {name}")
    return found


def _plain(value: Any) -> Any:
    """Return a tensor as an array, also one that a training still follows."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Switch dropout and the like off, as served; afterwards the module is as it was."""
    import torch

    was_training = module.training
    fixed = _is_exported(module)  # as it answers in evaluation: it knows no other mode
    if not fixed:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if not fixed:
            module.train(was_training)


def _is_exported(module: Any) -> bool:
    """Whether it is what ``torch.export`` makes, in which form MLflow keeps modules: it takes no names."""
    import torch

    return isinstance(module, torch.fx.GraphModule)


def _tensors(rows: Mapping[str, Array]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in rows.items()}


def _answers(module: Any, rows: Mapping[str, Array]) -> dict[str, ArrayLike]:
    import torch

    tensors = _tensors(rows)
    said = module(*tensors.values()) if _is_exported(module) else module(**tensors)
    if isinstance(said, torch.Tensor):
        named = {"output": said}
    elif isinstance(said, Mapping):
        named = dict(said)
    else:
        named = {f"output_{index}": value for index, value in enumerate(said)}
    tensors = {name: value.numpy() for name, value in named.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise NotAnswered(
            f"{class_of(module)} answers no tensors", key="model", next_step="Wrap it in a module that returns some."
        )
    return tensors


def _graph(module: Any, rows: Mapping[str, Array], outputs: list[str]) -> onnx.ModelProto:
    import numpy as np
    import torch

    several = {name: np.concatenate([array, array]) for name, array in rows.items()}  # it takes a 1 for a constant
    any_size = torch.export.Dim.AUTO
    shapes = {
        name: dict.fromkeys(range(array.ndim) if array.dtype.kind == "i" else (0,), any_size)
        for name, array in several.items()
    }
    tensors = _tensors(several)
    by_order = _is_exported(module)
    exported = torch.onnx.export(
        module,
        args=tuple(tensors.values()) if by_order else (),
        kwargs={} if by_order else tensors,
        dynamic_shapes=tuple(shapes.values()) if by_order else shapes,
        input_names=list(rows),
        output_names=outputs,
        opset_version=OPSETS[""],
        dynamo=True,
        verbose=False,
    )
    return _without_places(exported.model_proto)


def _without_places(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph without the paths of source files that the exporter notes: they differ between machines."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for weights in model.graph.initializer:
        del weights.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    return model
