"""Modules of PyTorch become packages. PyTorch is large: docs/testing.md has how to run these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bot.domain.smoke import SmokeCases
from bot.errors import InvalidInput
from bot.training import build_package, to_onnx

pytestmark = pytest.mark.long

_CHANCE = np.random.default_rng(3)
ROWS = _CHANCE.normal(size=(4, 5)).astype(np.float32)
TOKENS = {"input_ids": _CHANCE.integers(0, 50, (4, 7)), "attention_mask": np.ones((4, 7), dtype=np.int64)}


def _perceptron() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 2), torch.nn.Softmax(-1)
    )


def _images() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def _text() -> Any:
    import torch

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.tags = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 3)

        def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            hidden = self.words(input_ids) * attention_mask.unsqueeze(-1)
            return {"logits": self.tags(hidden.mean(1)), "hidden": hidden}

    torch.manual_seed(0)
    return Tagger()


MODULES = {
    "perceptron": (_perceptron, ROWS),
    "images": (_images, _CHANCE.normal(size=(3, 3, 8, 8)).astype(np.float32)),
    "tokens": (_text, TOKENS),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_becomes_a_package(name: str, tmp_path: Path) -> None:
    make, rows = MODULES[name]
    module = make().train()
    build_package(module, tmp_path, inputs=rows)
    assert module.training, "it is left as it was"
    cases = SmokeCases.from_json(tmp_path.joinpath("smoke.json").read_bytes()).cases
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for case in cases:
        feed = {
            one.name: np.array(one.data, dtype=np.float32 if one.datatype == "FP32" else np.int64).reshape(one.shape)
            for one in case.inputs
        }
        answers = session.run([output.name for output in case.outputs], feed)
        for answer, output in zip(answers, case.outputs, strict=True):
            np.testing.assert_allclose(answer.ravel(), output.data, rtol=1e-4, atol=1e-5)


def test_tokens_may_be_of_any_length() -> None:
    session = onnxruntime.InferenceSession(to_onnx(_text(), TOKENS).SerializeToString())
    longer = {"input_ids": np.ones((2, 19), dtype=np.int64), "attention_mask": np.ones((2, 19), dtype=np.int64)}
    assert session.run(["logits"], longer)[0].shape == (2, 3)


def test_the_same_module_is_the_same_graph() -> None:
    one, two = (to_onnx(_text(), TOKENS).SerializeToString() for _ in range(2))
    assert one == two
    assert str(Path(__file__).parent).encode() not in one


def test_a_tensor_that_a_training_follows_is_taken(tmp_path: Path) -> None:
    import torch

    build_package(_perceptron(), tmp_path, inputs=torch.tensor(ROWS, requires_grad=True))


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
        build_package(_text(), tmp_path, inputs=inputs)
    assert says in str(refused.value)
