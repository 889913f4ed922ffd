"""Train a model, register it, and propose it: features → train → evaluate → register → READY → propose → deployed?

An example to copy. The first three tasks are yours: here a logistic regression on the breast cancer data that
scikit-learn ships. What the tasks hand over lies in one MLflow run, found again by the key of the DAG run; XCom holds
names and numbers. So tasks may run on different workers, and a task that is run again does nothing twice.

Wanted of the environment, on workers and triggerers: promobot[training], scikit-learn, skl2onnx and pandas;
MLFLOW_TRACKING_URI; PROMOBOT_ROOT, a checkout of the repository of promotions; and the variables that its
manifests/environments/<env>.yaml names for tokens.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from bot.airflow import PromobotDeploymentSensor, PromobotReadySensor, as_airflows, handed_over

ROOT = os.environ.get("PROMOBOT_ROOT", "/opt/promotions")
SAMPLES = 8


def the_same() -> str:
    """What is the same training, however often its tasks are tried: this run of this DAG."""
    run = get_current_context()["dag_run"]
    return f"{run.dag_id}/{run.run_id}"


def fetch(run: str, path: str, into: str) -> Path:
    """Download an artifact of a run. MLflow may return without an error and without a file; reading it then fails."""
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(run_id=run, artifact_path=path, dst_path=into))


@dag(
    dag_id="promobot_train",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["promobot"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={
        "model": Param("churn", type="string", pattern="^[a-z0-9][a-z0-9_-]{0,62}$", description="registered model"),
        "environment": Param(
            "dev", type="string", pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="where it is proposed"
        ),
        "inverse_regularisation": Param(
            1.0, type="number", exclusiveMinimum=0, description="scikit-learn's C: smaller trusts the data less"
        ),
        "wait_for_deployment": Param(
            False, type="boolean", description="end as the deployment does, once somebody has merged"
        ),
    },
    doc_md=__doc__,
)
def promobot_train() -> None:
    """Wire the tasks."""

    @task(multiple_outputs=True)
    def prepare_features(params: dict[str, Any]) -> dict[str, str]:
        """Put the measurements into the training's MLflow run, three rows in ten held out."""
        from mlflow import MlflowClient
        from sklearn.datasets import load_breast_cancer
        from sklearn.model_selection import train_test_split

        from bot.training import start_run

        data = load_breast_cancer(as_frame=True)
        # What is served is FP32, so the framework learns and answers with the same values.
        table = data.data.astype("float32").assign(malignant=(data.target == 0).astype("int64"))
        learn, held_out = train_test_split(table, test_size=0.3, random_state=42, stratify=table["malignant"])
        with as_airflows():
            run = start_run(experiment=params["model"], key=the_same())
        with tempfile.TemporaryDirectory() as folder:
            learn.to_parquet(Path(folder, "learn.parquet"))
            held_out.to_parquet(Path(folder, "held_out.parquet"))
            MlflowClient().log_artifacts(run, folder, "features")
        return {"run": run, "features": "features"}

    @task(multiple_outputs=True)
    def train(prepared: dict[str, str], params: dict[str, Any]) -> dict[str, str]:
        """Fit the model and put its package into the run: what Triton serves, and what the framework answers."""
        import pandas as pd
        from mlflow import MlflowClient
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from bot.training import build_package

        with tempfile.TemporaryDirectory() as folder:
            features = fetch(prepared["run"], prepared["features"], folder)
            learn, held_out = (pd.read_parquet(features / f"{part}.parquet") for part in ("learn", "held_out"))
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=params["inverse_regularisation"], max_iter=5000)
            )
            model.fit(learn.drop(columns="malignant").to_numpy(), learn["malignant"].to_numpy())
            rows = held_out.drop(columns="malignant").to_numpy()[:SAMPLES]
            package = build_package(
                model,
                Path(folder, "package"),
                inputs={"X": rows},
                answers={"label": model.predict(rows), "probabilities": model.predict_proba(rows)},
                instances=1,
            )
            # Named for its contents: another try's package is neither overwritten nor mixed in.
            place = f"candidate-{package.digest.removeprefix('sha256:')[:12]}"
            MlflowClient().log_artifacts(prepared["run"], str(Path(folder, "package")), place)
        return {**prepared, "package": place, "digest": package.digest}

    @task
    def evaluate(trained: dict[str, str]) -> dict[str, float]:
        """Measure on the held-out rows what will be served: the exported model, not the framework's."""
        import onnxruntime
        import pandas as pd
        from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

        with tempfile.TemporaryDirectory() as folder:
            held_out = pd.read_parquet(fetch(trained["run"], f"{trained['features']}/held_out.parquet", folder))
            graph = fetch(trained["run"], f"{trained['package']}/model.onnx", folder)
            session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
            rows, truth = held_out.drop(columns="malignant").to_numpy(), held_out["malignant"].to_numpy()
            labels, probabilities = session.run(["label", "probabilities"], {"X": rows})
        return {
            "accuracy": float(accuracy_score(truth, labels)),
            "f1": float(f1_score(truth, labels)),
            "roc_auc": float(roc_auc_score(truth, probabilities[:, 1])),
            "log_loss": float(log_loss(truth, probabilities)),
        }

    @task(multiple_outputs=True)
    def register_version(
        trained: dict[str, str], metrics: dict[str, float], params: dict[str, Any]
    ) -> dict[str, Any]:
        """Register the package as the model's next version; the same package of the same DAG run only once."""
        from bot.training import end_run, register

        with tempfile.TemporaryDirectory() as folder, as_airflows():
            registered = register(
                fetch(trained["run"], trained["package"], folder),
                model=params["model"],
                metrics=metrics,
                params={"inverse_regularisation": params["inverse_regularisation"]},
                run=trained["run"],
                key=f"{the_same()}/{trained['digest']}",
            )
            end_run(trained["run"])
        return {"version": registered.version, "run": registered.run, "digest": registered.digest}

    @task(multiple_outputs=True)
    def propose_version(registered: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        """Open the pull request, or find it open; fail where the gate says stop."""
        from bot.training import propose

        with as_airflows():
            proposal = propose(
                model=params["model"],
                version=registered["version"],
                environment=params["environment"],
                root=Path(ROOT),
            )
        return handed_over(proposal)

    @task.short_circuit
    def is_asked_to_wait(params: dict[str, Any]) -> bool:
        """Whether the DAG shall end as the deployment does."""
        return bool(params["wait_for_deployment"])

    trained = train(prepare_features())
    registered = register_version(trained, evaluate(trained))
    ready = PromobotReadySensor(
        task_id="wait_until_ready",
        model="{{ params.model }}",
        version=registered["version"],
        poke_interval=5,
        timeout=600,
    )
    proposed = propose_version(registered)
    deployed = PromobotDeploymentSensor(
        task_id="wait_for_deployment",
        environment="{{ params.environment }}",
        root=ROOT,
        proposal=proposed,
        poke_interval=10,
        timeout=24 * 3600,
    )
    ready >> proposed >> is_asked_to_wait() >> deployed


promobot_train()
