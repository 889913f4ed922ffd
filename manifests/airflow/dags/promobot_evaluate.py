"""Ask two loaded versions a large evaluation set, one mapped task for each part.

An example to copy. Each task runs ``promobot evaluate`` for its part: it fetches the rows of that part, asks both
versions, and keeps the answers in a folder that all workers share. A task that is tried again finds its answers and
asks nothing. How many run at once is ``AT_ONCE``, beside the limits of your pools.

Wanted of the environment, on workers: promobot[evaluation]; PROMOBOT_ROOT, a checkout of the repository of
promotions; PROMOBOT_ANSWERS, a folder that all workers share; and the variables that its
manifests/environments/<env>.yaml names for MLflow or the bucket.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

ROOT = os.environ.get("PROMOBOT_ROOT", "/opt/promotions")
ANSWERS = os.environ.get("PROMOBOT_ANSWERS", "/mnt/evaluation/answers")
AT_ONCE = 4
LOADED = "^sha256:[0-9a-f]{64}@[^\\s/@]+:[0-9]+/[^\\s/]+/[1-9][0-9]*$"


@dag(
    dag_id="promobot_evaluate",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["promobot"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={
        "model": Param("churn", type="string", pattern="^[a-z0-9][a-z0-9_-]{0,62}$", description="registered model"),
        "environment": Param(
            "dev", type="string", pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="whose settings name the set"
        ),
        "parts": Param(16, type="integer", minimum=1, maximum=1000, description="how many tasks share the work"),
        "proposed": Param("", type="string", pattern=LOADED, description="DIGEST@HOST:PORT/MODEL/VERSION"),
        "in_service": Param("", type="string", pattern=LOADED, description="DIGEST@HOST:PORT/MODEL/VERSION"),
    },
    doc_md=__doc__,
)
def promobot_evaluate() -> None:
    """Wire the tasks."""

    @task
    def parts(params: dict[str, Any]) -> list[int]:
        """Return the number of each part."""
        return list(range(params["parts"]))

    @task(max_active_tis_per_dag=AT_ONCE)
    def ask(part: int) -> dict[str, Any]:
        """Ask one part; what the command says goes to the task's log."""
        params = get_current_context()["params"]
        command = [
            *(sys.executable, "-m", "bot", "evaluate", params["model"], "--env", params["environment"]),
            *("--root", ROOT, "--json", "--part", str(part), "--of", str(params["parts"]), "--answers", ANSWERS),
            *("--proposed", params["proposed"], "--in-service", params["in_service"]),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout)
        done.check_returncode()
        answered: dict[str, Any] = json.loads(done.stdout)
        return {name: answered[name] for name in ("part", "rows", "refused", "folder")}

    ask.expand(part=parts())


promobot_evaluate()
