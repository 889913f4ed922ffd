"""The functions that a training job calls: an Airflow task, a notebook, a step of a pipeline.

    package = build_package(pipeline, directory, inputs=X, answers={"label": …, "probabilities": …})
    registration = register(directory, model="churn", metrics={"accuracy": 0.97}, key=run_id)
    propose(model="churn", version=registration.version, environment="dev")

Importing this costs little: MLflow, ONNX and scikit-learn are imported by the call that needs them, and so are the
types that ``propose`` returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.domain.package import Package, PackageFile
from bot.domain.smoke import Tolerance
from bot.training.adoption import Adoption, NotAdopted, adopt, adopt_all, package_from_mlflow
from bot.training.evaluation import WrittenSet, evaluation_set, log_evaluation_set
from bot.training.others import log_findings
from bot.training.package import build_package, to_onnx
from bot.training.proposal import propose
from bot.training.registration import Registration, end_run, register, start_run

if TYPE_CHECKING:
    from bot.domain.gate import GateResult, GateRow
    from bot.domain.metrics import Origin
    from bot.operations.propose import Proposal

__all__ = [
    "Adoption",
    "GateResult",
    "GateRow",
    "NotAdopted",
    "Origin",
    "Package",
    "PackageFile",
    "Proposal",
    "Registration",
    "Tolerance",
    "WrittenSet",
    "adopt",
    "adopt_all",
    "build_package",
    "end_run",
    "evaluation_set",
    "log_evaluation_set",
    "log_findings",
    "package_from_mlflow",
    "propose",
    "register",
    "start_run",
    "to_onnx",
]


def __getattr__(name: str) -> object:
    if name == "Proposal":
        from bot.operations.propose import Proposal

        return Proposal
    if name in ("GateResult", "GateRow"):
        from bot.domain import gate

        return getattr(gate, name)
    if name == "Origin":
        from bot.domain.metrics import Origin

        return Origin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
