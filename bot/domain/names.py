"""Names and numbers that cross borders, each checked once.

Triton parses version directories with ``stoll`` and lists dot-directories as models, object stores and file
systems give ``/`` and ``..`` meanings of their own: so a name is narrow, and everything else is refused.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
ENVIRONMENT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
GATE_PATTERN = re.compile(r"(?=[^*]*\*)(?=.*[a-z0-9_-])[a-z0-9*][a-z0-9_*-]{0,62}")
DEFAULT_GATE = "default"
REGISTERED_NAME = re.compile(r"(?! )(?!\.{1,2}$)[^/:\x00-\x1f\x7f-\x9f\u2028\u2029]{1,256}(?<! )")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
FINDINGS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
CASE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_VERSION = 2**31 - 1

SHADOW_SUFFIX = "-shadow"
"""``churn-shadow`` is where shadows of ``churn`` are published, so no model of a person ends like this."""


def environment_of(deployment: str) -> str:
    """Return the environment of a deployment: ``dev`` of ``dev-00000012-churn``; empty where it is no such id."""
    found = re.match(rf"({ENVIRONMENT_NAME.pattern})-[0-9]{{8,}}(?:-|$)", deployment)
    return found[1] if found else ""


def check_model_name(name: str) -> str:
    """Return ``name`` if it may name a model; raise ValueError with the rule otherwise."""
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r:.80} is not a valid model name: a-z, 0-9, _ and -, at most 63, not beginning with _ or -"
        )
    if name.endswith(SHADOW_SUFFIX):
        raise ValueError(f"{name!r:.80} ends with {SHADOW_SUFFIX!r}, which is kept for the shadow path")
    return name


def check_gate_name(name: str) -> str:
    """Return ``name`` if it may be a key of ``gates``: a model, a pattern such as ``fraud-*``, or ``default``."""
    if "*" in name and not GATE_PATTERN.fullmatch(name):
        raise ValueError(
            f"{name!r:.80} is not a valid pattern of model names: a-z, 0-9, _, - and *, at most 63; `default` is the "
            "gate of every model that no other fits"
        )
    return name if "*" in name else check_model_name(name)


def check_registered_name(name: str) -> str:
    """Return ``name`` if MLflow may give it to a registered model; raise ValueError with the rule otherwise."""
    if not REGISTERED_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r:.80} is not a name that MLflow gives a registered model: at most 256 characters, none of them "
            "/, : or a control character, and no space at either end"
        )
    return name


def check_findings_name(name: str) -> str:
    """Return ``name`` if it may name what another tool found; raise ValueError with the rule otherwise."""
    if not FINDINGS_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r:.80} is not a valid name of findings: a-z, 0-9, _ and -, at most 63, not beginning with _ or -"
        )
    return name


def check_environment_name(name: str) -> str:
    """Return ``name`` if it may name an environment; raise ValueError with the rule otherwise."""
    if not ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r:.80} is not a valid environment name: a-z, 0-9 and -, at most 31, not beginning with -"
        )
    return name


def check_digest(digest: str) -> str:
    """Return ``digest`` if it reads ``sha256:`` and 64 hexadecimal digits; raise ValueError otherwise."""
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r:.80} is not a valid digest: 'sha256:' and 64 of 0-9a-f")
    return digest


def check_run_id(run: str) -> str:
    """Return ``run`` if it may be an MLflow run id; raise ValueError otherwise."""
    if not RUN_ID.fullmatch(run):
        raise ValueError(f"{run!r:.80} is no MLflow run id: letters, digits, _ and -, at most 64")
    return run


def check_request_id(request: str) -> str:
    """Return ``request`` if it may be the id of a request; raise ValueError otherwise."""
    if not REQUEST_ID.fullmatch(request):
        raise ValueError(f"{request!r:.80} is not a valid request id: letters, digits, ., _ and -, at most 100")
    return request


def check_record_key(key: str) -> str:
    """Return ``key`` if it may name a record: a relative path, no part empty or hidden; else raise ValueError."""
    if not key.isprintable() or any(not part or part.startswith(".") for part in key.split("/")):
        raise ValueError(f"{key!r} is not a valid key")
    return key


def short(digest: str) -> str:
    """Return the digest as people see it: the first 12 hexadecimal digits."""
    return digest.removeprefix("sha256:")[:12]


def _in_schema(pattern: str) -> WithJsonSchema:
    # Pydantic's own patterns know no look-ahead, so the check is code and the schema says the same as a pattern.
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


ModelName = Annotated[
    str, AfterValidator(check_model_name), _in_schema(f"(?!.*{SHADOW_SUFFIX}$){MODEL_NAME.pattern}")
]
GateName = Annotated[
    str,
    AfterValidator(check_gate_name),
    _in_schema(f"(?:{GATE_PATTERN.pattern}|(?!.*{SHADOW_SUFFIX}$){MODEL_NAME.pattern})"),
]
RegisteredName = Annotated[
    str,
    AfterValidator(check_registered_name),
    _in_schema(REGISTERED_NAME.pattern),
]
FindingsName = Annotated[str, AfterValidator(check_findings_name), _in_schema(FINDINGS_NAME.pattern)]
EnvironmentName = Annotated[str, AfterValidator(check_environment_name), _in_schema(ENVIRONMENT_NAME.pattern)]
Digest = Annotated[str, AfterValidator(check_digest), _in_schema(DIGEST.pattern)]
RunId = Annotated[str, AfterValidator(check_run_id), _in_schema(RUN_ID.pattern)]
Version = Annotated[int, Field(strict=True, ge=1, le=MAX_VERSION)]
