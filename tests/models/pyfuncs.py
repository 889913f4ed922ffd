"""Pyfuncs of MLflow, which Triton's Python backend runs: one for each form in which they take their inputs."""

from __future__ import annotations

import hashlib
import shutil
import site
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bot.domain.smoke import Tolerance
from bot.sandbox import environments
from bot.training.package import DEFAULT_SMOKE_BYTES
from bot.training.pyfunc import Asked, Pyfunc, package_pyfunc

TABLE = pd.DataFrame(
    {
        "amount": np.float32([1, 20, 300, 4.5]),
        "units": np.int64([3, 0, -2, 9]),
        "city": ["Seoul", "서울", "", "Busan"],
        "vip": [True, False, False, True],
    }
)


@cache
def packed_environment() -> Path:
    """Return a packed virtual environment with the libraries of these tests, for the Triton of the sandbox.

    It is small, because it names the folders where these lie: it is an environment on this machine only.
    """
    folder = Path(tempfile.mkdtemp(prefix="promobot-environment-"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    libraries = folder / "lib" / version / "site-packages"
    for made in (folder / "bin", libraries):
        made.mkdir(parents=True)
    activate = 'export PATH="$(dirname "${BASH_SOURCE[0]}"):$PATH"\n'  # by this PATH Python finds what is beside it
    (folder / "bin/activate").write_text(activate)
    (folder / "bin/python3").symlink_to(Path(sys.base_prefix, "bin", version))
    (folder / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\n")
    # Triton's own NumPy comes first: its stub knows no other. Pandas of these tests needs a newer one.
    of_triton = environments.triton(progress=lambda _: None).bin.parent / "lib" / version / "site-packages"
    listed = [str(of_triton), str(_pandas_for_it()), *site.getsitepackages()]
    (libraries / "tests.pth").write_text("\n".join([*listed, ""]))
    archive = folder / "environment.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for path in ("bin", "lib", "pyvenv.cfg"):
            packed.add(folder / path, path)
    return archive


def _pandas_for_it() -> Path:
    """Return a folder with a pandas that runs with Triton's NumPy; it is installed once, and kept in the cache."""
    lock = Path(__file__).with_name("pyfunc.lock")
    sha256 = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    folder = environments.cache_directory() / f"pyfunc-{sha256[:16]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable]
        command = [*uv, "--require-hashes", "--no-deps", "--target", str(made), "--requirement", str(lock)]
        subprocess.run(command, check=True)
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(made)
    return folder


def _priced(mlflow: Any) -> tuple[Any, Any]:
    class Prices(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, model_input: Any) -> Any:
            price = np.where(model_input["vip"], 0.9, 1.0) * model_input["amount"] * model_input["units"]
            return pd.DataFrame({"price": np.float32(price), "city": model_input["city"].str.upper()})

    return Prices(), TABLE


def _with_an_artifact(mlflow: Any) -> tuple[Any, Any]:
    class Weighted(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def load_context(self, context: Any) -> None:
            self.weights = np.loadtxt(context.artifacts["weights"])

        def predict(self, model_input: Any) -> Any:
            return np.float32(model_input @ self.weights)

    return Weighted(), np.float32([[1, 2, 3], [0, -1, 0.5]])


def _by_name(mlflow: Any) -> tuple[Any, Any]:
    class Sums(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, model_input: Any) -> Any:
            total = model_input["left"].sum(axis=(1, 2)) + model_input["right"]
            return {"total": total, "left": model_input["left"] * 2}

    left = np.float64(np.arange(12).reshape(3, 2, 2))
    return Sums(), {"left": left, "right": np.float64([1, 2, 3])}


def _of_texts(mlflow: Any) -> tuple[Any, Any]:
    class Loud(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, model_input: list[str]) -> list[str]:
            return [text.upper() for text in model_input]

    return Loud(), ["quiet", "", "Straße"]


PYFUNCS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "a DataFrame of numbers and text": _priced,
    "an array, with an artifact": _with_an_artifact,
    "arrays by name": _by_name,
    "a list of texts, by type hints": _of_texts,
}


def logged(name: str, folder: Path) -> Any:
    """Write what MLflow keeps of such a model into ``folder``; return rows to ask it."""
    import mlflow.pyfunc

    model, rows = PYFUNCS[name](mlflow)
    more: dict[str, Any] = {}
    if name == "an array, with an artifact":
        weights = folder.with_name("weights.txt")
        weights.write_text("0.5\n-1\n2\n")
        more["artifacts"] = {"weights": str(weights)}
        signed = np.float32([[1, 2, 3]])
        more["signature"] = mlflow.models.infer_signature(signed, np.float32([1]))
    elif name != "a list of texts, by type hints":  # MLflow makes a signature of type hints
        more["signature"] = mlflow.models.infer_signature(rows, model.predict(rows))
    mlflow.pyfunc.save_model(str(folder), python_model=model, pip_requirements=["mlflow"], **more)
    return rows


def write(name: str, directory: Path) -> None:
    """Write the package of such a model."""
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory(prefix="promobot-pyfunc-") as temporary:
        folder = Path(temporary, "model")
        rows = logged(name, folder)
        model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
        asked = Asked(rows, Tolerance(), DEFAULT_SMOKE_BYTES)
        package_pyfunc(Pyfunc(folder, model, packed_environment()), directory, asked)
