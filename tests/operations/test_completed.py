"""Configurations that leave something to Triton: what the check Triton compares, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from bot.domain.signature import Signature, TensorSpec
from bot.operations.checking import _agreement

SERVED = Signature((TensorSpec("X", "FP32", (-1, 2)),), (TensorSpec("Y", "BF16", (-1, 1)),))
IN_MLFLOW = Signature((TensorSpec("X", "FP32", (-1, 2)),), (TensorSpec("Y", "FP32", (-1,)),))
WHOLE = (
    'backend: "python" max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: [2] } '
    'output { name: "Y" data_type: TYPE_BF16 dims: [1] }'
)


@dataclass
class Given:
    """A package, the Triton that serves it and the MLflow that has it, as far as the comparison asks them."""

    config: str
    completed: str = WHOLE

    def read(self, _: str) -> bytes:
        return self.config.encode()

    def configuration(self, *_: object) -> str:
        return self.completed

    def signature(self, *asked: Any) -> Signature:
        return SERVED if len(asked) == 2 else IN_MLFLOW


def found(given: Any) -> dict[str, tuple[bool, str]]:
    class Version:
        version = 1

    findings = _agreement(given, Version(), given, given, "m")  # type: ignore[arg-type]
    return {finding.what: (finding.passed, finding.detail) for finding in findings}


@pytest.mark.parametrize(
    ("config", "passed", "says"),
    [
        (WHOLE, True, "(X: FP32[-1, 2]) → (Y: BF16[-1, 1])"),
        ('backend: "python"', True, "completed by Triton: (X: FP32[-1, 2]) → (Y: BF16[-1, 1])"),
        (WHOLE.partition("output")[0], True, "completed by Triton: "),
        (WHOLE.replace("dims: [2]", "dims: [3]"), False, "input X: X: FP32[-1, 3] against X: FP32[-1, 2]"),
        (
            'backend: "python" output { name: "Z" data_type: TYPE_FP32 dims: [1] }',
            False,
            "output Z: Z: FP32[1] against none",
        ),
    ],
    ids=["whole", "nothing", "inputs only", "another width", "another output"],
)
def test_what_is_declared_must_agree_and_the_rest_is_shown(config: str, passed: bool, says: str) -> None:
    seen = found(Given(config))
    assert (seen["configuration agrees"][0], says in seen["configuration agrees"][1]) == (passed, True)
    assert seen["signature agrees"][0], "MLflow has no BF16"
    assert "one answer" not in seen


def test_a_model_that_turns_out_to_be_decoupled_is_refused_with_the_reason() -> None:
    seen = found(Given('backend: "python"', f"{WHOLE} model_transaction_policy {{ decoupled: true }}"))
    passed, said = seen["one answer"]
    assert not passed
    assert said.startswith("completed by Triton: a decoupled model gives any number of answers to one request")
