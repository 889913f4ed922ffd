"""Which MLflow the bot does not work with."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bot.domain.mlflow_address import why_unsupported
from bot.settings import MLflow

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/churn"


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("databricks", "Databricks"),
        ("databricks://profile", "Databricks"),
        ("databricks-uc", "Databricks"),
        ("databricks-uc://profile:scope", "Databricks"),
        ("uc:https://uc.example", "Databricks"),
        ("https://dbc-1a2b.cloud.databricks.com", "Databricks"),
        ("https://adb-123.4.azuredatabricks.net/", "Databricks"),
        ("HTTPS://X.GCP.Databricks.com:443/ml", "Databricks"),
        (ARN, "SageMaker"),
        (ARN.replace("aws", "aws-cn"), "SageMaker"),
        ("https://t-abc123.eu-west-1.experiments.sagemaker.aws", "SageMaker"),
    ],
)
def test_it_is_named_with_the_reason(uri: str, named: str) -> None:
    assert named in why_unsupported(uri)
    for key in ("uri", "artifacts"):
        with pytest.raises(ValidationError, match=named):
            MLflow.model_validate({"uri": "http://mlflow.mlops.svc:5000", key: uri})


@pytest.mark.parametrize(
    "uri",
    [
        "http://mlflow.mlops.svc:5000",
        "https://databricks.acme.example/mlflow",
        "https://mlflow.example/cloud.databricks.com",
        "https://sagemaker.aws.acme.example",
    ],
)
def test_any_other_address_is_taken(uri: str) -> None:
    assert why_unsupported(uri) == ""
    assert MLflow(uri=uri).uri == uri


def test_a_password_in_such_an_address_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        MLflow(uri="https://token:hunter22@adb-1.2.azuredatabricks.net")
    assert "hunter22" not in str(refused.value.errors(include_input=False))
