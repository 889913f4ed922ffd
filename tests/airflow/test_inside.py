"""inside.py, in the environment that has Airflow."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bot.sandbox import environments
from bot.sandbox.processes import inherited_variables
from bot.sandbox.project import CODE


@pytest.mark.long
def test_sensors_and_triggers_in_airflows_own_environment(tmp_path: Path) -> None:
    environment = environments.airflow(progress=print)
    done = subprocess.run(
        [str(environment.bin / "python"), str(Path(__file__).with_name("inside.py"))],
        env={**inherited_variables(), "PYTHONPATH": str(CODE), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all hold\n")
