"""What a training job calls: an Airflow task, a notebook, a step of a pipeline.

    package = build_package(pipeline, directory, inputs=X, answers={"label": …, "probabilities": …})
    registration = register(directory, model="churn", metrics={"accuracy": 0.97}, key=run_id)
    propose(model="churn", version=registration.version, environment="dev")

Importing this costs little: MLflow, ONNX and scikit-learn are imported by the call that needs them.
"""

from bot.training.package import build_package, to_onnx
from bot.training.proposal import propose
from bot.training.registration import Registration, end_run, register, start_run

__all__ = ["Registration", "build_package", "end_run", "propose", "register", "start_run", "to_onnx"]
