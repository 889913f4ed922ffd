"""A real Airflow beside the session's sandbox, with the variables that manifests/airflow ships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bot.sandbox import airflow, s3, seed
from bot.sandbox.airflow import Airflow
from bot.sandbox.platform import BOT, Sandbox
from bot.sandbox.s3 import ObjectStorage

MANIFESTS = Path(__file__).parents[2] / "manifests/airflow"


def shipped_variables() -> dict[str, str]:
    """What airflow.env says."""
    lines = (line for line in (MANIFESTS / "airflow.env").read_text().splitlines() if line and line[0] != "#")
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def variables_of(sandbox: Sandbox, store: ObjectStorage, root: Path) -> Mapping[str, str]:
    """What Airflow gets: the shipped variables as they are, and what they leave to the platform."""
    return {
        **shipped_variables(),
        **sandbox.endpoints.variables(login=BOT),
        **store.variables(),
        "PROMOBOT_ROOT": str(root),
    }


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    with s3.running(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="session")
def root(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout that workers and triggerers have."""
    directory = tmp_path_factory.mktemp("airflow-root") / "promotions"
    seed.clone(sandbox.endpoints, directory)
    return directory


@pytest.fixture(scope="session")
def running(
    sandbox: Sandbox, store: ObjectStorage, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    variables = variables_of(sandbox, store, root)
    directory = tmp_path_factory.mktemp("airflow")
    with airflow.running(directory, dags=MANIFESTS / "dags", variables=variables) as started:
        yield started
