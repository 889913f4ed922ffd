"""Write what another tool found of a registered version, where a gate of the bot can demand it."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import ValidationError

from bot.domain.findings_of_others import FindingsOfOthers, path_of
from bot.domain.in_words import of_pydantic
from bot.domain.package import DIGEST_TAG
from bot.errors import InvalidInput, Refused
from bot.training.registration import check_mlflow, mlflow_errors


def log_findings(
    name: str,
    *,
    model: str,
    version: int,
    passed: bool,
    summary: str,
    by: str,
    details_url: str | None = None,
    at: datetime | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Write ``promobot.checks/<name>.json`` into the MLflow run of ``version`` of ``model``.

    The document is bound to the digest of the version's package, so it counts for these bytes only. ``passed`` is
    the tool's verdict, and ``summary`` says in a sentence what it found, at most 500 characters. ``by`` names the
    tool and its version, or the job. ``details_url`` leads to the whole report. ``at`` is when the tool looked, with
    time zone (default: now). A later call with the same ``name`` replaces the document. ``tracking_uri`` is as for
    ``register``.

    A gate demands it with ``findings: {<name>: {max_age_hours: 24}}``. Raises InvalidInput for a value that the
    document cannot hold, Refused for a version without a package or a run, and Unavailable or Rejected if MLflow
    fails.
    """
    check_mlflow(tracking_uri)
    from mlflow import MlflowClient

    with mlflow_errors():
        client = MlflowClient(tracking_uri=tracking_uri)
        registered = client.get_model_version(model, str(version))
        digest, run = registered.tags.get(DIGEST_TAG, ""), registered.run_id or ""
    if not digest or not run:
        lacks = f"no tag {DIGEST_TAG}" if not digest else "no run"
        raise Refused(
            f"{model} {version} has {lacks} in MLflow",
            state="Nothing was written.",
            next_step="Register it with bot.training.register, or make a package of it: `promobot adopt`.",
        )
    try:
        document = FindingsOfOthers(
            format=1,
            name=name,
            digest=digest,
            passed=passed,
            summary=summary,
            details_url=details_url,
            at=datetime.now(UTC) if at is None else at,
            by=by,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(of_pydantic(first), key=".".join(map(str, first["loc"]))) from error
    text = document.model_dump_json(indent=1, exclude_none=True) + "\n"
    with mlflow_errors():
        client.log_text(run, text, path_of(document.name))
