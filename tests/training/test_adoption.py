"""Versions that MLflow has already, as its own flavors and its autologging leave them, become packages."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from bot.cli import main
from bot.domain.pyfunc import is_pyfunc
from bot.domain.smoke import SmokeCases
from bot.errors import Rejected
from bot.settings import MLflow
from bot.training import adoption, to_onnx
from bot.training.adoption import ADOPTED_TAG, NotAdopted, adopt, package_from_mlflow
from tests.stores import registry_of

NAMES = (f"adopted-{number}" for number in count(1))
_CHANCE = np.random.default_rng(7)
ROWS = _CHANCE.normal(size=(40, 3))
LABELS = (ROWS[:, 0] > 0).astype(int)
NO_GUESS: dict[str, Any] = {"pip_requirements": ["scikit-learn"]}
"""Else MLflow starts a process that loads the model, to see what it imports: most of what logging one takes."""
TABLE = pd.DataFrame({"age": _CHANCE.integers(18, 90, 40), "city": _CHANCE.choice(["Seoul", "Busan"], 40)})


@pytest.fixture
def mlflow(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    yield mlflow
    mlflow.end_run()


@pytest.fixture
def name() -> str:
    """A name that no other test registers anything under."""
    return next(NAMES)


def _by_columns() -> Any:
    columns = ColumnTransformer([("age", StandardScaler(), ["age"]), ("city", OneHotEncoder(), ["city"])])
    return make_pipeline(columns, LogisticRegression()).fit(TABLE, LABELS)


def _code(mlflow: Any, name: str) -> None:
    class Team(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    mlflow.pyfunc.log_model(python_model=Team(), name="model", registered_model_name=name, **NO_GUESS)


def _autologged(mlflow: Any, name: str) -> None:
    mlflow.sklearn.autolog(registered_model_name=name, log_input_examples=True, silent=True)
    try:
        LogisticRegression().fit(pd.DataFrame(ROWS, columns=list("abc")), LABELS)
    finally:
        mlflow.sklearn.autolog(disable=True)


LOGGED: dict[str, Callable[[Any, str], object]] = {
    "as autologging leaves it": _autologged,
    "scikit-learn": lambda mlflow, name: mlflow.sklearn.log_model(
        _by_columns(), name="model", registered_model_name=name, input_example=TABLE[:4], **NO_GUESS
    ),
    "XGBoost": lambda mlflow, name: mlflow.xgboost.log_model(
        xgboost.XGBClassifier(n_estimators=3).fit(ROWS, LABELS),
        name="model",
        registered_model_name=name,
        input_example=ROWS[:4],
        **NO_GUESS,
    ),
    "LightGBM": lambda mlflow, name: mlflow.lightgbm.log_model(
        lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(ROWS, LABELS), 3),
        name="model",
        registered_model_name=name,
        input_example=pd.DataFrame(ROWS[:4], columns=list("abc")),
        **NO_GUESS,
    ),
    "CatBoost": lambda mlflow, name: mlflow.catboost.log_model(
        catboost.CatBoostRegressor(iterations=3, verbose=0, allow_writing_files=False).fit(ROWS, ROWS[:, 0]),
        name="model",
        registered_model_name=name,
        input_example=ROWS[:4],
        **NO_GUESS,
    ),
    "ONNX": lambda mlflow, name: mlflow.onnx.log_model(
        to_onnx(LogisticRegression().fit(ROWS, LABELS), ROWS[:2].astype(np.float32)),
        name="model",
        registered_model_name=name,
        input_example=ROWS[:4].astype(np.float32),
        **NO_GUESS,
    ),
}


SAMPLE = ("scikit-learn", "ONNX")
MARKS = {**dict.fromkeys(LOGGED, pytest.mark.extended), "as autologging leaves it": pytest.mark.slow}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in SAMPLE else MARKS[kind]) for kind in LOGGED])
def test_a_version_is_registered_again_with_a_package(
    kind: str, mlflow: Any, mlflow_uri: str, name: str, tmp_path: Path
) -> None:
    with mlflow.start_run():
        mlflow.log_metric("accuracy", 0.91)
        LOGGED[kind](mlflow, name)
    done = adopt(name, 1)
    assert (done.verdict, done.registered, done.serving_name) == ("adopted", 2, name), done.why
    tags = mlflow.MlflowClient().get_model_version(name, "2").tags
    assert tags[ADOPTED_TAG] == f"models:/{name}/1"

    registry = registry_of(MLflow(uri=mlflow_uri))
    registered = registry.version(name, 2)
    assert registered.metrics.values["accuracy"] == 0.91 and registry.package(registered).digest == done.digest
    assert adopt(name, 1).registered == 2, "a second call finds it"
    assert adopt(name, 2).verdict == "has a package"

    package_from_mlflow(name, 1, tmp_path)
    cases = SmokeCases.from_json(tmp_path.joinpath("smoke.json").read_bytes()).cases
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert {one.name for one in session.get_inputs()} == {one.name for one in cases[0].inputs}
    assert all(case.outputs for case in cases)


def test_what_is_missing_is_said_with_the_lines_that_add_it(mlflow: Any, name: str, tmp_path: Path) -> None:
    with mlflow.start_run():
        model = LogisticRegression().fit(ROWS, LABELS)
        mlflow.sklearn.log_model(model, name="model", registered_model_name=name, **NO_GUESS)
        _code(mlflow, name)
    bare, code = adopt(name, 1, dry_run=True), adopt(name, 2, dry_run=True)
    assert (bare.verdict, code.verdict) == ("needs samples", "needs an environment")
    assert "input_example=" in bare.next_step and "--samples FILE" in bare.next_step
    assert "Python code" in code.why and "docs/how-to/frameworks/pyfunc.md" in code.next_step
    assert f"promobot adopt {name} 2 --python-environment environment.tar.gz" in code.next_step
    with pytest.raises(NotAdopted):
        package_from_mlflow(name, 1, tmp_path / "p")
    assert adopt(name, 1, samples=ROWS[:4], dry_run=True).verdict == "ready"
    assert len(mlflow.MlflowClient().search_model_versions(f"name = '{name}'")) == 2, "nothing was registered"


def test_a_pyfunc_is_adopted_with_its_environment_and_once_more_with_another(
    mlflow: Any, name: str, tmp_path: Path
) -> None:
    with mlflow.start_run():
        _code(mlflow, name)
    archive = tmp_path / "environment.tar.gz"
    archive.write_bytes(b"\x1f\x8b and the rest of an archive")
    rows = pd.DataFrame(["quiet", ""])
    first = adopt(name, 1, samples=rows, python_environment=archive)
    assert (first.verdict, first.registered, first.flavor) == ("adopted", 2, "python_function"), first
    again = adopt(name, 1, samples=rows, python_environment="triton")
    assert (again.verdict, again.registered) == ("adopted", 3)
    assert adopt(name, 1, samples=rows, python_environment=archive).registered == 2
    assert adopt(name, 1, samples=rows, max_smoke_bytes=10, python_environment="triton").verdict == "cannot"

    package = package_from_mlflow(name, 1, tmp_path / "package", samples=rows, python_environment=archive)
    assert is_pyfunc(package) and package.file("environment.tar.gz") is not None
    cases = SmokeCases.from_json((tmp_path / "package/smoke.json").read_bytes()).cases
    assert [case.outputs[0].data for case in cases[:2]] == [("quiet",), ("",)]


def test_a_model_of_any_name_is_adopted_under_it_or_under_another(mlflow: Any, name: str) -> None:
    free = f"Credit Score v2 {name}"
    with mlflow.start_run():
        LOGGED["XGBoost"](mlflow, free)
    assert adopt(free, 1).serving_name == free, "mlflow_names of an environment says how it is served"
    assert adopt(free, 1, serving_name=name).serving_name == name
    assert adopt(free, 1, serving_name="a/b").verdict == "cannot"


def test_a_model_whose_framework_is_not_installed(mlflow: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with mlflow.start_run():
        LOGGED["LightGBM"](mlflow, name)
    monkeypatch.setattr(mlflow.lightgbm, "load_model", _not_installed)
    said = adopt(name, 1, dry_run=True)
    assert said.verdict == "cannot" and said.why.endswith("needs lightgbm, which is not installed here")


def _not_installed(_: str) -> None:
    raise ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm")


def test_the_command_adopts_one_and_proposing_points_to_it(
    mlflow: Any, mlflow_uri: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mlflow.start_run():
        model = LogisticRegression().fit(ROWS, LABELS)
        mlflow.sklearn.log_model(model, name="model", registered_model_name=name, **NO_GUESS)
    registry = registry_of(MLflow(uri=mlflow_uri))
    with pytest.raises(Rejected, match=f"{name} 1 has no package.json") as raised:
        registry.package(registry.version(name, 1))
    assert f"promobot adopt {name} 1" in raised.value.next_step

    np.save(tmp_path / "rows.npy", ROWS[:4])
    assert main(["adopt", name, "1"]) == 1
    assert "needs samples" in capsys.readouterr().out
    rows = ["--samples", str(tmp_path / "rows.npy")]
    assert main(["adopt", name, "1", *rows, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"][0]["registered"] == 2, "MLflow's lines are not in between"
    assert main(["adopt", name, "1", *rows]) == 0
    assert f"promobot propose {name} 2" in capsys.readouterr().out


def test_what_has_a_package_is_not_downloaded_again(mlflow: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with mlflow.start_run():
        LOGGED["XGBoost"](mlflow, name)
    assert adopt(name, 1).registered == 2
    monkeypatch.setattr(adoption, "_models", lambda _: [name])
    monkeypatch.setattr(adoption, "_look", lambda *_: pytest.fail("it is downloaded"))
    assert [(one.version, one.verdict) for one in adoption.adopt_all()] == [(2, "has a package")]


def test_all_models_are_looked_at_in_a_table(
    mlflow: Any, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = adoption._models

    def of_this_test(client: Any) -> Iterator[str]:
        return (one for one in everything(client) if one.startswith(name))

    monkeypatch.setattr(adoption, "_models", of_this_test)  # the server has those of all other tests, too
    with mlflow.start_run():
        LOGGED["XGBoost"](mlflow, name)
        _code(mlflow, f"{name}-code")
        _code(mlflow, f"{name} of Kim's")
    capsys.readouterr()  # MLflow says where its run is to be seen
    assert main(["adopt", "--all", "--dry-run", "--json"]) == 0
    found = {one["model"]: one["verdict"] for one in json.loads(capsys.readouterr().out)["versions"]}
    needs = "needs an environment"
    assert found == {name: "ready", f"{name}-code": needs, f"{name} of Kim's": needs}


def _autologged_without_rows(mlflow: Any, name: str, fit: Callable[[], object], flavor: str = "sklearn") -> None:
    module = getattr(mlflow, flavor)
    module.autolog(registered_model_name=name, silent=True)
    try:
        fit()
    finally:
        module.autolog(disable=True)


def _strict_by_columns() -> Any:
    """Its encoder refuses a city that it does not know."""
    columns = ColumnTransformer([("age", StandardScaler(), ["age"]), ("city", OneHotEncoder(), ["city"])])
    return make_pipeline(columns, LogisticRegression()).fit(TABLE, LABELS)


AUTOLOGGED: dict[str, tuple[Callable[[], object], str]] = {
    "an array": (lambda: LogisticRegression().fit(ROWS, LABELS), "sklearn"),
    "columns of text and numbers": (_strict_by_columns, "sklearn"),
    "XGBoost": (lambda: xgboost.XGBRegressor(n_estimators=3).fit(pd.DataFrame(ROWS), ROWS[:, 0]), "xgboost"),
    "LightGBM": (
        lambda: lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(ROWS, LABELS), 3),
        "lightgbm",
    ),
}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if "text" in kind else pytest.mark.extended) for kind in AUTOLOGGED],
)
def test_what_autologging_keeps_is_enough(kind: str, mlflow: Any, name: str) -> None:
    fit, flavor = AUTOLOGGED[kind]
    _autologged_without_rows(mlflow, name, fit, flavor)
    done = adopt(name, 1)
    assert (done.verdict, done.rows, done.registered) == ("adopted", "made of its signature", 2), done.why


def test_rows_that_are_made_up_and_refused_ask_for_real_ones(mlflow: Any, name: str) -> None:
    words = OrdinalEncoder().fit(TABLE[["city"]])
    with mlflow.start_run():
        signature = mlflow.models.infer_signature(pd.DataFrame({"town": ["Seoul"]}))
        mlflow.sklearn.log_model(words, name="model", registered_model_name=name, signature=signature, **NO_GUESS)
    said = adopt(name, 1, dry_run=True)
    assert said.verdict == "needs samples" and "(the rows were made of its signature)" in said.why, said
    assert said.next_step == "Give real rows with --samples FILE."


def _registered_by_hand(mlflow: Any, name: str, flavors: dict[str, Any], folder: Path) -> None:
    """Register what a job with that framework leaves, as far as it can be told without the framework."""
    described = mlflow.models.Model(flavors={**flavors, "python_function": {"loader_module": "mlflow"}})
    folder.mkdir()
    described.save(str(folder / "MLmodel"))
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "model")
    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)


@pytest.mark.parametrize(
    ("flavor", "missing", "install"),
    [
        ("pytorch", "torch", "pip install 'promobot[torch]' torch"),
        ("transformers", "transformers", "pip install 'promobot[torch]' torch transformers"),
        ("tensorflow", "tensorflow", "pip install 'promobot[models]' tensorflow tf2onnx"),
    ],
)
def test_a_framework_that_is_not_installed_is_named_with_how_to_install_it(
    flavor: str, missing: str, install: str, mlflow: Any, name: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(missing):
        pytest.skip(f"{missing} is installed here")
    _registered_by_hand(mlflow, name, {flavor: {"data": "data"}}, tmp_path / "model")
    said = adopt(name, 1, samples=ROWS[:4], dry_run=True)
    assert said.verdict == "cannot"
    assert said.why == f"models:/{name}/1 needs {missing}, which is not installed here"
    assert said.next_step == install


def test_a_flavor_without_a_converter_gets_the_lines_that_export_it(mlflow: Any, name: str, tmp_path: Path) -> None:
    _registered_by_hand(mlflow, name, {"spark": {"data": "data"}}, tmp_path / "model")
    said = adopt(name, 1, dry_run=True)
    assert said.verdict == "needs a converter" and said.why.endswith("is spark, which nothing here converts")
    assert "convert_sparkml" in said.next_step and "build_package(" in said.next_step


def test_real_rows_count_also_after_rows_that_were_made_up(mlflow: Any, name: str) -> None:
    model, signature = LogisticRegression().fit(ROWS, LABELS), mlflow.models.infer_signature(ROWS)
    with mlflow.start_run():
        mlflow.sklearn.log_model(model, name="model", registered_model_name=name, signature=signature, **NO_GUESS)
    made_up = adopt(name, 1)
    real = adopt(name, 1, samples=ROWS[:4])
    assert (made_up.registered, real.registered) == (2, 3) and made_up.digest != real.digest
    assert adopt(name, 1, samples=ROWS[:4]).registered == 3, "the same rows again"
    assert adopt(name, 1).registered == 3, "and no rows: the newest that was made of it"


def test_a_graph_of_onnx_needs_no_signature(mlflow: Any, name: str) -> None:
    graph = to_onnx(LogisticRegression().fit(ROWS, LABELS), ROWS[:2].astype(np.float32))
    with mlflow.start_run():
        mlflow.onnx.log_model(graph, name="model", registered_model_name=name, **NO_GUESS)
    done = adopt(name, 1, dry_run=True)
    assert (done.verdict, done.rows) == ("ready", "made of its signature"), done.why


def test_a_version_that_does_not_exist_is_answered_with_what_does(mlflow: Any, name: str) -> None:
    with mlflow.start_run():
        LOGGED["ONNX"](mlflow, name)
    said = adopt(name, 7)
    assert said.verdict == "cannot" and said.why == f"MLflow has no version 7 of {name}"
    assert said.next_step == "Its newest version is 1."
    wrong = adopt("no-such-model-anywhere", 1)
    assert wrong.why == "MLflow has no model no-such-model-anywhere" and "adopt --all --dry-run" in wrong.next_step
