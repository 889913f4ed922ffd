"""The MLflow server of a sandbox: SQLite, one process; artifacts in its directory or on object storage.

``python -m bot.sandbox.mlflow`` is ``mlflow server`` without its first half. That command imports MLflow, prepares
the database, and then starts uvicorn in a second process, which imports MLflow again: twice three seconds. Here one
process serves MLflow's Flask application, which answers all that the bot asks. The FastAPI application that MLflow
puts around it for language models is a quarter of what a request costs. What MLflow passes between its two halves are
environment variables whose names are in ``mlflow.server.constants``.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

from bot.exit_codes import ExitCode
from bot.sandbox import environments
from bot.sandbox.processes import HOST, Part
from bot.sandbox.s3 import ObjectStorage

FOLDER = "mlflow"
"""Where artifacts lie in a bucket."""

SETTINGS = {
    # Jobs are for GenAI evaluation: eight more processes, and 2 GB.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def part(
    name: str, *, directory: Path, port: int, storage: ObjectStorage | None = None, direct: bool = False
) -> Part:
    """Return the server that keeps everything in ``directory``, or artifacts in the bucket of ``storage``.

    Clients send and get artifacts through the server, or where ``direct`` from the bucket itself: then they need
    credentials and a way there.
    """
    artifacts: tuple[str, ...] = ()
    if storage is not None:
        artifacts = ("--direct" if direct else "--artifacts", f"s3://{storage.bucket}/{FOLDER}")
    return Part(
        name=name,
        command=(
            *(sys.executable, "-m", "bot.sandbox.mlflow"),
            *("--directory", str(directory), "--port", str(port), *artifacts),
        ),
        port=port,
        # Unlike /health it needs the database.
        ready_path="/api/2.0/mlflow/experiments/get?experiment_id=0",
        variables={**SETTINGS, **environments.bytecode_variables(), **(storage.variables() if storage else {})},
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.mlflow", description="MLflow in one process.")
    parser.add_argument("--directory", type=Path, required=True, help="where the database and the artifacts lie")
    parser.add_argument("--port", type=int, required=True)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--artifacts", metavar="URL", help="where the server keeps artifacts (default: the directory)")
    where.add_argument("--direct", metavar="URL", help="where clients keep artifacts without the server")
    options = parser.parse_args(arguments)
    directory: Path = options.directory.resolve()
    (directory / "artifacts").mkdir(parents=True, exist_ok=True)
    artifacts = options.direct or "mlflow-artifacts:/"
    destination = options.artifacts or str(directory / "artifacts")
    os.environ.update(SETTINGS)

    # Thousands of modules make millions of objects that all stay: looking for garbage among them is half the time.
    gc.disable()
    import uvicorn
    from mlflow.server import constants, handlers

    os.environ.update(
        {
            constants.BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{directory / 'mlflow.db'}",
            constants.ARTIFACT_ROOT_ENV_VAR: artifacts,
            **(
                {}
                if options.direct
                else {
                    constants.ARTIFACTS_DESTINATION_ENV_VAR: destination,
                    constants.SERVE_ARTIFACTS_ENV_VAR: "true",
                }
            ),
        }
    )
    from mlflow.server import app

    handlers.initialize_backend_stores(os.environ[constants.BACKEND_STORE_URI_ENV_VAR])
    gc.freeze()
    gc.enable()
    uvicorn.run(app, interface="wsgi", host=HOST, port=options.port, ws="none", log_level="info")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
