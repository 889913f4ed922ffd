"""Rows of evaluation sets for tests: of every datatype, and small ones of a usual kind."""

from __future__ import annotations

from typing import Any

import numpy as np

REGIONS = ("asia", "europe", "américa")


def churn(rows: int, *, seed: int = 0) -> dict[str, Any]:
    """Return rows of a usual kind: a matrix of numbers, classes, a slice, customers."""
    random = np.random.default_rng(seed)
    return {
        "inputs": {"X": random.normal(size=(rows, 4)).astype(np.float32)},
        "labels": random.integers(0, 2, rows),
        "slices": {"region": np.array(REGIONS)[random.integers(0, 3, rows)]},
        "groups": random.integers(0, 1 + rows // 3, rows),
    }


def every_datatype(rows: int) -> dict[str, Any]:
    """Return an input of each datatype, of one and of several values a row."""
    numbers = np.arange(rows * 6).reshape(rows, 2, 3)
    inputs: dict[str, Any] = {"BOOL": numbers % 2 == 0}
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        inputs[name] = (numbers % 100).astype(name)
    for name in ("float16", "float32", "float64"):
        inputs[name] = (numbers / 8).astype(name)
    inputs["float32"][0, 0, 0] = np.nan
    inputs["texts"] = np.array([[f"é{n}", ""] for n in range(rows)], dtype=object)
    inputs["bytes"] = np.array([b"\x00\xff" + bytes([n % 256]) for n in range(rows)], dtype=object)
    inputs["one"] = np.arange(rows, dtype=np.float32)
    return {"inputs": inputs}
