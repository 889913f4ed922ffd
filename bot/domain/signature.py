"""The inputs and outputs of a model, as MLflow, the configuration and Triton each say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, Open Inference Protocol datatype, and shape with -1 for what may vary."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.datatype}[{', '.join(str(n) for n in self.shape)}]"


@dataclass(frozen=True)
class Signature:
    """The tensors in and out."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) → ({', '.join(map(str, self.outputs))})"


@dataclass(frozen=True)
class ModelConfig:
    """What matters of a ``config.pbtxt``. ``fingerprint`` leaves out its name and version policy.

    Triton shares one configuration between all versions under a name, so versions whose fingerprints differ cannot
    stay warm side by side there.
    """

    backend: str
    max_batch_size: int
    signature: Signature
    fingerprint: str
    values: Mapping[str, object]
    """All that it says, as plain values: see :mod:`bot.domain.model_config`."""
    text: str

    @property
    def is_decoupled(self) -> bool:
        """Whether a request may get any number of answers."""
        policy = self.values.get("model_transaction_policy")
        return isinstance(policy, Mapping) and bool(policy.get("decoupled"))


def as_in_mlflow(signature: Signature) -> Signature:
    """Return the signature as MLflow can write it: it names NumPy's types, and NumPy has no BF16."""

    def written(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(replace(spec, datatype="FP32") if spec.datatype == "BF16" else spec for spec in specs)

    return Signature(written(signature.inputs), written(signature.outputs))


def differences(one: Signature, other: Signature, *, one_is: str, other_is: str) -> list[str]:
    """Return one sentence for each tensor that the two disagree on. -1 agrees with any size."""
    return [
        *_differences(one.inputs, other.inputs, f"{one_is} and {other_is} disagree on input"),
        *_differences(one.outputs, other.outputs, f"{one_is} and {other_is} disagree on output"),
    ]


def _differences(one: Sequence[TensorSpec], other: Sequence[TensorSpec], what: str) -> list[str]:
    left, right = {spec.name: spec for spec in one}, {spec.name: spec for spec in other}
    return [
        f"{what} {name}: {left.get(name, 'none')} against {right.get(name, 'none')}"
        for name in sorted({*left, *right})
        if not _agree(left.get(name), right.get(name))
    ]


def _agree(one: TensorSpec | None, other: TensorSpec | None) -> bool:
    if one is None or other is None or one.datatype != other.datatype:
        return False
    left, right = _without_trailing_ones(one.shape), _without_trailing_ones(other.shape)
    return len(left) == len(right) and all(a == b or -1 in (a, b) for a, b in zip(left, right, strict=True))


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    # One value a row is [-1] to a training framework and [-1, 1] to Triton, which cannot say the former of a batch.
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
