"""A real Airflow beside the session's sandbox, with the variables that manifests/airflow ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.sandbox import airflow, s3, seed
from bot.sandbox.airflow import MANIFESTS, Airflow, variables_for
from bot.sandbox.platform import Sandbox
from bot.sandbox.s3 import ObjectStorage


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
    variables = variables_for(sandbox.endpoints, store, root=root)
    directory = tmp_path_factory.mktemp("airflow")
    with airflow.running(directory, dags=MANIFESTS / "dags", variables=variables) as started:
        yield started
