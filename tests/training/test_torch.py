"""Modules of PyTorch become packages. PyTorch is large: docs/contributing/testing.md has how to run these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bot.errors import InvalidInput
from bot.training import build_package, to_onnx
from tests.models.modules import MODULES, ROWS, TOKENS, perceptron, tagger
from tests.training.graphs import see_that_it_answers

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", MODULES)
def test_a_module_becomes_a_package(name: str, tmp_path: Path) -> None:
    given = MODULES[name]()
    module = given.model.train()
    given.write(tmp_path)
    assert module.training, "it is left as it was"
    see_that_it_answers(tmp_path)


def test_tokens_may_be_of_any_length() -> None:
    session = onnxruntime.InferenceSession(to_onnx(tagger(), TOKENS).SerializeToString())
    longer = {"input_ids": np.ones((2, 19), dtype=np.int64), "attention_mask": np.ones((2, 19), dtype=np.int64)}
    assert session.run(["logits"], longer)[0].shape == (2, 3)


def test_the_same_module_is_the_same_graph() -> None:
    one, two = (to_onnx(tagger(), TOKENS).SerializeToString() for _ in range(2))
    assert one == two
    assert str(Path(__file__).parent).encode() not in one


def test_a_tensor_that_a_training_follows_is_taken(tmp_path: Path) -> None:
    import torch

    build_package(perceptron(), tmp_path, inputs=torch.tensor(ROWS, requires_grad=True))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"words": TOKENS["input_ids"]}, "inputs: forward of Tagger has no parameter words"),
        ({"input_ids": [[1, 2], [3]]}, "inputs: input_ids: has rows of different lengths"),
        ({"input_ids": TOKENS["input_ids"]}, "Tagger cannot be converted to ONNX: "),
    ],
)
def test_what_a_module_cannot_take_is_said(inputs: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        build_package(tagger(), tmp_path, inputs=inputs)
    assert says in str(refused.value)
