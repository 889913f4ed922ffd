"""What a package's graph answers to the package's own golden cases, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from bot.domain.smoke import SmokeCases


def see_that_it_answers(package: Path) -> None:
    """Raise AssertionError where the graph answers otherwise than the framework did."""
    cases = SmokeCases.from_json(package.joinpath("smoke.json").read_bytes()).cases
    session = onnxruntime.InferenceSession(package / "model.onnx")
    for case in cases:
        feed = {
            one.name: np.array(one.data, dtype=np.float32 if one.datatype == "FP32" else np.int64).reshape(one.shape)
            for one in case.inputs
        }
        answers = session.run([output.name for output in case.outputs], feed)
        for answer, output in zip(answers, case.outputs, strict=True):
            np.testing.assert_allclose(answer.ravel(), output.data, rtol=1e-4, atol=1e-5)
