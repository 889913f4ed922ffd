"""Models of Keras become packages. TensorFlow is large: docs/contributing/testing.md has how to run these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.training import build_package
from tests.training.graphs import see_that_it_answers

pytestmark = pytest.mark.long

_CHANCE = np.random.default_rng(3)
ROWS = _CHANCE.normal(size=(4, 5))
IMAGES = _CHANCE.normal(size=(3, 8, 8, 3)).astype(np.float32)


def _dense() -> Any:
    import keras

    return keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )


def _images() -> Any:
    import keras

    return keras.Sequential(
        [keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    )


def _two_inputs() -> Any:
    import keras

    age, words = keras.layers.Input((1,), name="age"), keras.layers.Input((4,), name="words", dtype="int64")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(9, 3)(words))
    both = keras.layers.Concatenate()([age, embedded])
    heads = {"score": keras.layers.Dense(1)(both), "kind": keras.layers.Dense(3, activation="softmax")(both)}
    return keras.Model({"age": age, "words": words}, heads)


MODELS = {
    "dense": (_dense, ROWS),
    "images": (_images, IMAGES),
    "two inputs, two heads": (_two_inputs, {"age": ROWS[:, :1], "words": _CHANCE.integers(0, 9, (4, 4))}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_becomes_a_package(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    make, rows = MODELS[name]
    build_package(make(), tmp_path, inputs=rows)
    see_that_it_answers(tmp_path)
