"""The result of each converter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import InvalidInput
from bot.redaction import excerpt

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Converted:
    """A model as ONNX.

    ``given`` are the caller's rows by input name. ``inputs`` are the same as the graph takes them: numbers that the
    graph's datatype cannot hold are rounded. ``ask`` returns the framework's own answers to ``inputs``, by output
    name; an output that the framework has no answer for is left out.
    """

    model: onnx.ModelProto
    given: Mapping[str, np.ndarray[Any, Any]]
    inputs: Mapping[str, np.ndarray[Any, Any]]
    ask: Callable[[], Mapping[str, ArrayLike]]


class NotConverted(InvalidInput):
    """No converter makes ONNX of the model; the message has its class and the reason."""


class UnfitRows(InvalidInput):
    """The sample rows are not such as the model takes, or no rows at all; the message has which, and why."""


class NotAnswered(InvalidInput):
    """The framework does not answer the sample rows; the message has the model's class and the reason."""


def class_of(model: object) -> str:
    """Return the name of a model's class, as people know it."""
    return type(model).__name__


def first_words(error: Exception) -> str:
    """Return what a library says of its error, in one line that is not too long."""
    return excerpt(" ".join(str(error).split()), 300) or type(error).__name__
