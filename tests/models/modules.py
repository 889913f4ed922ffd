"""Modules of PyTorch and models of transformers, with random weights: no library here downloads any.

PyTorch is large, so nothing is imported before a model is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.models.given import Given

_CHANCE = np.random.default_rng(3)
ROWS = _CHANCE.normal(size=(4, 5)).astype(np.float32)
IMAGES = _CHANCE.normal(size=(3, 3, 8, 8)).astype(np.float32)
TOKENS = {"input_ids": _CHANCE.integers(0, 50, (4, 7)), "attention_mask": np.ones((4, 7), dtype=np.int64)}


def perceptron() -> Any:
    """Return a small one with dropout, from five numbers to two probabilities."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 2), torch.nn.Softmax(-1)
    )


def images() -> Any:
    """Return a convolution over images of three channels."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def tagger() -> Any:
    """Return a model of tokens that answers a dictionary."""
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


def bert(kind: str = "BertForSequenceClassification") -> Any:
    """Return a small BERT of transformers with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    size = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(**size, intermediate_size=32, max_position_embeddings=64, num_labels=3)
    return getattr(transformers, kind)(config)


MODULES: dict[str, Callable[[], Given]] = {
    "perceptron": lambda: Given(perceptron(), ROWS),
    "images": lambda: Given(images(), IMAGES),
    "tokens": lambda: Given(tagger(), TOKENS),
}
TRANSFORMERS: dict[str, Callable[[], Given]] = {
    "BERT, a class for a text": lambda: Given(bert(), TOKENS),
    "BERT, a class for each token": lambda: Given(bert("BertForTokenClassification"), TOKENS),
}
