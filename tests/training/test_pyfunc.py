"""A pyfunc of plain Python becomes a package for Triton's Python backend, as docs/frameworks/pyfunc.md says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import yaml

from bot.cli import main
from bot.domain.smoke import SmokeCases, differences
from bot.settings import PackageRules
from bot.training.package import read_package
from tests.docs.test_docs import ROOT, commands, fenced
from tests.servers import RunningTriton as Triton
from tests.training.test_serving import VERSION, ask

PAGE = ROOT / "docs/frameworks/pyfunc.md"


@pytest.mark.slow
def test_the_page_of_pyfunc_makes_a_package_that_triton_serves(
    triton: Triton, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    class Prices(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, model_input: Any) -> Any:
            return model_input * 1.19 + 5

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.chdir(tmp_path)
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            python_model=Prices(), name="model", registered_model_name="prices", pip_requirements=["pandas"]
        )
    code, asking = fenced(PAGE, "python")
    Path("prices/1").mkdir(parents=True)
    Path("prices/1/model.py").write_text(code)
    Path("prices/config.pbtxt").write_text(fenced(PAGE, "text")[0])
    exec(compile(asking, "pyfunc.md", "exec"), {})  # noqa: S102 - our own page
    (command,) = [line for line in commands(PAGE) if line[0] == "package"]
    assert main(command) == 0
    assert len(mlflow.MlflowClient().search_model_versions("name = 'prices'")) == 2

    package = read_package(tmp_path / "package")
    rules = PackageRules(**yaml.safe_load(fenced(PAGE, "yaml")[0])["packages"])
    assert all(file.path.endswith(tuple(rules.file_types)) for file in package.version_files)
    published = triton.repository / "prices"
    published.mkdir()
    shutil.copy("package/config.pbtxt", published)
    published.joinpath(str(VERSION)).mkdir()
    shutil.copy("package/model.py", published / str(VERSION))
    with triton_grpc.InferenceServerClient(triton.grpc) as client:
        client.load_model("prices")
        smoke = SmokeCases.from_json(Path("package/smoke.json").read_bytes())
        assert {case.name for case in smoke.cases} >= {"row-0", "row-2"}
        for case in smoke.cases:
            assert differences(case, ask(client, "prices", case), smoke.tolerance) == []
