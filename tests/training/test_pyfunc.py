"""A pyfunc becomes a package for Triton's Python backend, as docs/how-to/frameworks/pyfunc.md says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tritonclient.grpc as triton_grpc
import yaml

from bot.cli import main
from bot.domain.pyfunc import MODEL_PY, is_of_pyfunc, is_pyfunc
from bot.domain.smoke import SmokeCases, Tolerance, differences
from bot.errors import InvalidInput
from bot.settings import PackageRules
from bot.systems.triton.config import placed_config
from bot.training.package import read_package
from bot.training.pyfunc import Asked, Pyfunc, package_pyfunc
from tests.docs.test_docs import ROOT, commands, fenced
from tests.models.pyfuncs import PYFUNCS, logged, packed_environment, write
from tests.servers import RunningTriton as Triton
from tests.training.test_serving import VERSION, ask

PAGE = ROOT / "docs/how-to/frameworks/pyfunc.md"


@pytest.fixture
def mlflow(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    yield mlflow
    mlflow.end_run()


@pytest.mark.slow
def test_the_page_of_pyfunc_adopts_one_that_triton_serves(
    triton: Triton, mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = fenced(PAGE, "python")
    exec(compile(code, "pyfunc.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page
    shutil.copy(packed_environment(), "environment.tar.gz")
    (command,) = [line for line in commands(PAGE) if line[0] == "adopt"]
    assert main(command) == 0
    newest = mlflow.MlflowClient().search_model_versions("name = 'prices'")
    assert {one.version for one in newest} == {"1", "2"}

    mlflow.artifacts.download_artifacts("models:/prices/2", dst_path=str(tmp_path / "there"))
    rules = PackageRules(**yaml.safe_load(fenced(PAGE, "yaml")[0])["packages"])
    assert rules.pyfuncs == ["prices"]
    assert differing(triton, tmp_path / "there", "prices") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PYFUNCS)
def test_triton_answers_as_the_pyfunc_itself(triton: Triton, tmp_path: Path, name: str) -> None:
    write(name, tmp_path / "package")
    model = "pyfunc-" + str(list(PYFUNCS).index(name))
    assert differing(triton, tmp_path / "package", model) == []


def differing(triton: Triton, package: Path, model: str) -> list[str]:
    """Publish a package as a deployment does; return what Triton answers otherwise than the pyfunc."""
    folder = triton.repository / model
    (folder / str(VERSION)).mkdir(parents=True)
    (folder / "config.pbtxt").write_text(placed_config((package / "config.pbtxt").read_text(), VERSION))
    listed = json.loads((package / "package.json").read_text())["files"]
    for path in (one["path"] for one in listed if not one["path"].startswith(("smoke", "config"))):
        (folder / str(VERSION) / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(package / path, folder / str(VERSION) / path)
    smoke = SmokeCases.from_json((package / "smoke.json").read_bytes())
    with triton_grpc.InferenceServerClient(triton.grpc) as client:
        client.load_model(model, client_timeout=60)
        try:
            return [
                said for case in smoke.cases for said in differences(case, ask(client, model, case), smoke.tolerance)
            ]
        finally:
            client.unload_model(model)


@pytest.mark.parametrize("name", PYFUNCS)
def test_a_package_has_the_bots_own_program_and_the_model_as_mlflow_has_it(tmp_path: Path, name: str) -> None:
    write(name, tmp_path)
    package = read_package(tmp_path)
    assert is_pyfunc(package) and (tmp_path / "model.py").read_text() == MODEL_PY
    assert all(is_of_pyfunc(file.path) for file in package.version_files)
    smoke = SmokeCases.from_json((tmp_path / "smoke.json").read_bytes())
    assert all(case.outputs for case in smoke.cases)


def of(model: Any, rows: Any, signature: Any, tmp_path: Path) -> None:
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=model, signature=signature, pip_requirements=[])
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"), suppress_warnings=True)
    package_pyfunc(
        Pyfunc(tmp_path / "model", loaded, "triton"), tmp_path / "package", Asked(rows, Tolerance(), 2**20)
    )


def same(model_input: Any) -> Any:
    return model_input


def test_without_a_signature_the_rows_and_the_answers_tell(tmp_path: Path) -> None:
    of(same, np.float32([[1, 2], [3, 4]]), None, tmp_path)
    config = (tmp_path / "package/config.pbtxt").read_text()
    assert 'name: "X", data_type: TYPE_FP32, dims: [ 2 ]' in config
    assert "EXECUTION_ENV_PATH" not in config


def test_what_no_tensor_has_is_refused_with_its_column(tmp_path: Path) -> None:
    from mlflow.models import infer_signature

    rows = pd.DataFrame({"when": pd.to_datetime(["2026-11-30"])})
    with pytest.raises(InvalidInput, match="signature: when: is of the type datetime, which no tensor") as refused:
        of(same, rows, infer_signature(rows), tmp_path)
    assert "infer_signature" in refused.value.next_step


def test_a_pyfunc_that_fails_at_its_rows_is_named_with_what_it_says(tmp_path: Path) -> None:
    def broken(model_input: Any) -> Any:
        raise RuntimeError("no such city")

    from mlflow.models import infer_signature

    rows = pd.DataFrame({"x": [1.0]})
    with pytest.raises(InvalidInput, match="the pyfunc does not answer these rows: no such city"):
        of(broken, rows, infer_signature(rows, rows), tmp_path)


def test_an_environment_that_is_no_archive_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "environment.tar.gz").write_text("conda")
    folder = tmp_path / "model"
    rows = logged("an array, with an artifact", folder)
    for path, said in ((tmp_path / "environment.tar.gz", "not a .tar.gz"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(InvalidInput, match=said):
            package_pyfunc(Pyfunc(folder, None, path), tmp_path / "package", Asked(rows, Tolerance(), 2**20))
