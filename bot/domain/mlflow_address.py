"""Addresses of MLflow that the bot does not work with, and why."""

from __future__ import annotations

import re

_DATABRICKS = (
    "Databricks keeps the files of a registered version where only its own client reads them, and Unity Catalog has "
    "another API. Give the bot an MLflow server that hands on its artifacts, or keeps them in a bucket"
)
_SAGEMAKER = (
    "a tracking server of SageMaker wants each request signed with AWS credentials (SigV4), which the bot does not "
    "do. Give the bot an MLflow server that takes a token or a password"
)
_UNSUPPORTED = (
    (re.compile(r"(?:databricks|databricks-uc|uc)(?::.*)?", re.IGNORECASE | re.DOTALL), _DATABRICKS),
    (
        re.compile(
            r"https?://[^/]*\.(?:cloud\.databricks\.com|gcp\.databricks\.com|azuredatabricks\.net|databricks\.us)"
            r"\.?(?::\d+)?(?:/.*)?",
            re.IGNORECASE | re.DOTALL,
        ),
        _DATABRICKS,
    ),
    (re.compile(r"arn:aws[a-z-]*:sagemaker:.*", re.IGNORECASE | re.DOTALL), _SAGEMAKER),
    (re.compile(r"https?://[^/]*\.sagemaker\.aws\.?(?::\d+)?(?:/.*)?", re.IGNORECASE | re.DOTALL), _SAGEMAKER),
)


def why_unsupported(uri: str) -> str:
    """Return why the bot does not work with an MLflow at this address; empty where nothing is known against it."""
    return next((why for pattern, why in _UNSUPPORTED if pattern.fullmatch(uri.strip())), "")
