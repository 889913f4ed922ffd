"""A package whose model is an MLflow pyfunc: what lies in it, and the one program that such packages have.

    config.pbtxt          backend "python"; own.pyfunc says in which form the model takes its inputs
    model.py              MODEL_PY, the bot's own text
    pyfunc/               the model as MLflow has it: MLmodel, python_model.pkl, artifacts, code …
    environment.tar.gz    the environment of Python in which it runs, where Triton's own lacks something

A pyfunc is pickled code: to load it runs whatever it holds, in the server, beside every other model. An environment
takes it by its name only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from bot.domain.package import Package

PROGRAM = "model.py"
FOLDER = "pyfunc"
ENVIRONMENT_FILE = "environment.tar.gz"
FORM_PARAMETER = "own.pyfunc"
"""The parameter of the configuration that says in which form the model takes its inputs, as JSON."""

ENDINGS = (".py", ".pkl", ".yaml", ".yml", ".txt", ".json", "/MLmodel")
"""The endings of what MLflow writes of every pyfunc. Artifacts of other kinds need the environment's leave."""

MODEL_PY = '''\
"""Serves a pyfunc of MLflow, which lies in pyfunc/. Promobot writes this file, the same into every such package."""

import json
import os
import sys

import numpy as np
import triton_python_backend_utils as triton

sys.dont_write_bytecode = True  # a file beside the model would have Triton load it again
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")


class TritonPythonModel:
    def initialize(self, args):
        import mlflow.pyfunc

        config = json.loads(args["model_config"])
        self.form = json.loads(config["parameters"]["own.pyfunc"]["string_value"])
        self.batched = int(config.get("max_batch_size", 0)) > 0
        self.outputs = config["output"]
        folder = os.path.join(args["model_repository"], args["model_version"], "pyfunc")
        self.model = mlflow.pyfunc.load_model(folder, suppress_warnings=True)

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        try:
            said = self.model.predict(self.given(request))
            tensors = [self.tensor(output, self.said(output, said)) for output in self.outputs]
        except Exception as error:  # whatever the model raises is its answer to this request, and to no other
            return triton.InferenceResponse([], triton.TritonError(f"{type(error).__name__}: {error}"))
        return triton.InferenceResponse(tensors)

    def given(self, request):
        """Return the inputs as the model takes them: a DataFrame, one array, or arrays by name."""
        arrays = {name: self.array(request, name) for name in self.form["inputs"]}
        if self.form["form"] == "arrays":
            return arrays
        if self.form["form"] == "array":
            return next(iter(arrays.values()))
        import pandas as pd

        if self.form["form"] == "table":
            return pd.DataFrame({name: array.reshape(-1) for name, array in arrays.items()})
        return pd.DataFrame(next(iter(arrays.values())))

    def array(self, request, name):
        array = triton.get_input_tensor_by_name(request, name).as_numpy()
        if name in self.form["texts"]:
            array = of_objects([value.decode() for value in array.ravel()], array.shape)
        return array.reshape(-1) if name in self.form["flat"] else array

    def said(self, output, said):
        """Return the part of the answer that is this output."""
        name = output["name"]
        if isinstance(said, dict):
            return said[name]
        if len(self.outputs) == 1:
            return said
        if isinstance(said, (list, tuple)):
            return said[[one["name"] for one in self.outputs].index(name)]
        return said[name]

    def tensor(self, output, said):
        array = np.asarray(said.to_numpy() if hasattr(said, "to_numpy") else said)
        if array.ndim < 1 + self.batched:
            array = array.reshape(-1, 1) if self.batched else array.reshape(1)
        if output["data_type"] == "TYPE_STRING":
            texts = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel()]
            array = of_objects(texts, array.shape)
        else:
            array = np.ascontiguousarray(array, triton.triton_string_to_numpy(output["data_type"]))
        return triton.Tensor(output["name"], array)


def of_objects(values, shape):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)
'''
"""What Triton runs for such a package: it loads the model that lies beside it, and calls its predict."""

PROGRAMS: Collection[str] = frozenset({hashlib.sha256(MODEL_PY.encode()).hexdigest()})
"""The sha256 of that text, and of each that an earlier version of the bot wrote."""


def is_pyfunc(package: Package) -> bool:
    """Whether this is the package of a pyfunc: its program is the bot's own, and a model of MLflow lies beside it."""
    program = package.file(PROGRAM)
    return program is not None and program.sha256 in PROGRAMS and package.file(f"{FOLDER}/MLmodel") is not None


def is_of_pyfunc(path: str) -> bool:
    """Whether every pyfunc may have a file of this path: its program, its environment, and what MLflow writes."""
    if path in (PROGRAM, ENVIRONMENT_FILE):
        return True
    return path.startswith(f"{FOLDER}/") and path.endswith(ENDINGS)
