"""The settings of an environment, as values: where its systems are and what holds there.

Nothing here reads a file or a variable: :mod:`bot.environment_files` reads ``manifests/environments/<env>.yaml``.
Secrets are never in the file: a key that ends with ``_env`` names the environment variable that holds one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from bot.concurrency import FILES, MODELS, RECORDS, SERVERS
from bot.domain.bundle import bundle_of, is_not_given, needs_no_gate
from bot.domain.gate import ASKS_NOTHING, Gate, ShadowRule
from bot.domain.gates import is_pattern, key_for, models_in, rules_for
from bot.domain.in_words import A_TIME
from bot.domain.merging import Method
from bot.domain.mlflow_address import why_unsupported
from bot.domain.names import DEFAULT_GATE, RUN_ID, Digest, EnvironmentName, GateName, ModelName, RegisteredName
from bot.domain.nearest import did_you_mean
from bot.domain.path import Rule
from bot.domain.routes import WHOLE
from bot.domain.windows import PATTERN as WINDOW
from bot.domain.windows import Closed, Window, closed
from bot.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENTS = "manifests/environments"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _absolute(path: str) -> str:
    if not _ABSOLUTE_PATH.fullmatch(path) or not path.isprintable():
        raise ValueError(f"{path!r:.80} is not an absolute path")
    return path


def _no_bucket(path: object) -> object:
    if isinstance(path, str) and path.startswith("s3:"):
        raise ValueError("a bucket is written as a mapping: records: {s3: {bucket: mlops}}")
    return path


def _http(url: str) -> str:
    if not _URL.fullmatch(url):
        problem = "does not begin with http:// or https:// and a host"
        if "@" in url:
            problem = "holds a user or a password; secrets belong into environment variables"
        raise ValueError(f"{'the address' if '@' in url else repr(url)[:80]} {problem}")
    return url.rstrip("/")


def _of_mlflow(url: str) -> str:
    if why := why_unsupported(url):
        raise ValueError(f"this MLflow is not supported: {why}")
    return _http(url)


def _moment(text: object) -> object:
    # Pydantic would take a number for seconds since 1970.
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError(f"it needs {A_TIME}, not {text!r:.60}") from error


def _window(text: str) -> str:
    Window.parse(text)
    return text


def _several(parts: list[str]) -> list[str]:
    if len(parts) < 2:
        raise ValueError("a bundle has two parts at least; the last one is what users ask")
    _unique(parts, "parts")
    return parts


def _in_one_bundle_each(bundles: dict[str, list[str]]) -> dict[str, list[str]]:
    owners: dict[str, str] = {}
    for name, parts in bundles.items():
        for model in parts:
            if model in owners:
                raise ValueError(
                    f"{model} is a part of {owners[model]} and of {name}; a model is a part of one bundle, so that "
                    "each changes alone. Register it under a second name for the other"
                )
            owners[model] = name
    return bundles


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _unique(names: list[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two {what} are named {', '.join(twice)}")


_ABSOLUTE_PATH = re.compile(r"/(?!(?:[^\n]*/)?\.\.(?:/|$))[^\n]*")
_URL = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#@]*)?")

AbsolutePath = Annotated[
    str, AfterValidator(_absolute), WithJsonSchema({"type": "string", "pattern": f"^{_ABSOLUTE_PATH.pattern}$"})
]
Url = Annotated[
    str, AfterValidator(_http), WithJsonSchema({"type": "string", "pattern": f"^{_URL.pattern}$", "format": "uri"})
]
MLflowUrl = Annotated[
    str,
    AfterValidator(_of_mlflow),
    WithJsonSchema({"type": "string", "pattern": f"^{_URL.pattern}$", "format": "uri"}),
]
Parts = Annotated[list[ModelName], AfterValidator(_several)]
BundleParts = Annotated[dict[ModelName, Parts], AfterValidator(_in_one_bundle_each)]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
WindowText = Annotated[str, AfterValidator(_window), WithJsonSchema({"type": "string", "pattern": f"^{WINDOW}$"})]
Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
BucketFolder = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*$", max_length=200)
]
EnvironmentVariable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class GitHubApp(_Part):
    """The GitHub App as which the bot works: what it opens and merges starts workflows."""

    id: int = Field(gt=0, description="the App's number, from its own page")
    installation: int | None = Field(
        default=None, gt=0, description="number of its installation; without it, the one of the repository"
    )
    private_key_env: EnvironmentVariable = Field(
        default="PROMOBOT_APP_KEY", description="variable that holds the App's private key, as PEM"
    )


class GitHub(_Part):
    """The repository that holds desired state."""

    repository: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*$", description="owner/name"
    )
    base: str = Field(
        default="main",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$",
        description="the branch whose head is desired state",
    )
    server_url: Url = Field(default="https://github.com", description="where Git and the web pages are")
    api_url: Url = Field(default="https://api.github.com", description="where the REST API is")
    token_env: EnvironmentVariable = Field(default="GITHUB_TOKEN", description="variable that holds the token")
    merge_method: Method | None = Field(
        default=None, description="how Slack's Merge merges; default: the first that the repository allows"
    )
    sign_commits: bool | None = Field(
        default=None,
        description="commit through GitHub's API, which signs; default: where a ruleset asks for signed commits",
    )
    app: GitHubApp | None = Field(
        default=None, description="the bot's GitHub App; the token is used only where the App's key is not set"
    )

    @property
    def clone_url(self) -> str:
        """Git's address of the repository."""
        return f"{self.server_url}/{self.repository}.git"


class S3(_Part):
    """How to reach an object store that speaks S3.

    Credentials are in variables that are named here, or else those of the platform, as every AWS SDK finds them.
    """

    region: str = Field(default="ap-northeast-2", pattern=r"^[a-z0-9-]+$", description="where the bucket is")
    endpoint: Url | None = Field(default=None, description="of a store that is not AWS's own")
    addressing_style: Literal["path", "virtual"] | None = Field(
        default=None,
        description="where a bucket is named: in the path of an address or in its host; default: in the path where "
        "there is an endpoint, and as AWS does it where there is none",
    )
    access_key_id_env: EnvironmentVariable | None = Field(
        default=None, description="variable that holds the access key's id; default: the platform's own identity"
    )
    secret_access_key_env: EnvironmentVariable | None = Field(
        default=None, description="variable that holds the secret access key"
    )
    session_token_env: EnvironmentVariable | None = Field(
        default=None, description="variable that holds the session token, where the key is a temporary one"
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.access_key_id_env is None) != (self.secret_access_key_env is None):
            raise ValueError("access_key_id_env and secret_access_key_env belong together")
        if self.session_token_env and not self.access_key_id_env:
            raise ValueError("session_token_env needs access_key_id_env and secret_access_key_env")
        return self


class ObjectLock(_Part):
    """The store itself protects records from deletion and overwriting; the bucket must allow object lock."""

    mode: Literal["governance", "compliance"] = Field(
        default="governance", description="governance: who has a special right may delete; compliance: nobody"
    )
    days: int = Field(gt=0, le=36500, description="from the writing of each record on")


class Bucket(S3):
    """A bucket for records."""

    bucket: BucketName = Field(description="its name")
    prefix: BucketFolder | None = Field(
        default=None, description="folder in the bucket; default: <environment>/promobot"
    )
    object_lock: ObjectLock | None = Field(default=None, description="lock each record; default: no lock")


class MLflow(_Part):
    """The model registry."""

    uri: MLflowUrl = Field(description="MLflow tracking and registry server")
    artifacts: MLflowUrl | None = Field(
        default=None,
        description="another server of the same MLflow that hands on artifacts; it is sent the same credentials",
    )
    token_env: EnvironmentVariable | None = Field(
        default=None, description="variable that holds a bearer token, where the server wants one"
    )
    username_env: EnvironmentVariable | None = Field(
        default=None, description="variable that holds the user's name, where the server wants a password"
    )
    password_env: EnvironmentVariable | None = Field(
        default=None, description="variable that holds the password, where the server wants one"
    )
    s3: S3 | None = Field(
        default=None,
        description="how the bot reaches the bucket of artifacts that do not go through the server (s3://…); "
        "default: as every AWS SDK finds out",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("username_env and password_env belong together")
        if self.token_env and self.username_env:
            raise ValueError("token_env and username_env are two ways to say who asks: name one")
        return self


class Triton(_Part):
    """One Triton inference server. It is controlled over gRPC only: a load over HTTP stalls inference."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$", description="as people call it")
    grpc: str = Field(pattern=r"^[^\s/]+:[0-9]+$", description="host:port of its gRPC endpoint")
    http: str | None = Field(
        default=None,
        pattern=r"^[^\s/]+:[0-9]+$",
        description="host:port of its HTTP endpoint: golden requests then go there too, as gateways send them",
    )
    metrics: str | None = Field(
        default=None,
        pattern=r"^[^\s/]+:[0-9]+$",
        description="host:port of its metrics (--metrics-port): they say how much memory is used, and whether a "
        "version has room",
    )
    control_key_env: EnvironmentVariable | None = Field(
        default=None,
        description="variable that holds the value of promobot-control, which --grpc-restricted-protocol asks for",
    )
    grpc_tls: bool = Field(default=False, description="its gRPC endpoint speaks TLS (--grpc-use-ssl)")
    grpc_tls_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        description="name in its certificate, where that is not the host of grpc",
    )
    grpc_client_certificate: AbsolutePath | None = Field(
        default=None,
        description="file with the bot's own certificate and its key as PEM (--grpc-use-ssl-mutual)",
    )

    @model_validator(mode="after")
    def _behind_tls(self) -> Self:
        needs = [name for name in ("grpc_tls_name", "grpc_client_certificate") if getattr(self, name) is not None]
        if needs and not self.grpc_tls:
            raise ValueError(f"{needs[0]} needs grpc_tls: true")
        return self

    @property
    def host(self) -> str:
        """The endpoint's host, without the brackets of an IPv6 address."""
        return self.grpc.rpartition(":")[0].strip("[]")

    def at(self, address: str) -> Self:
        """Return the one server of these that has this address."""
        there = {
            wire: f"{_in_url(address)}:{named.rpartition(':')[2]}"
            for wire, named in (("grpc", self.grpc), ("http", self.http), ("metrics", self.metrics))
            if named is not None
        }
        # The certificate is for the name that all of them share, not for each address.
        tls = {"grpc_tls_name": self.grpc_tls_name or self.host} if self.grpc_tls else {}
        return self.model_copy(update={"name": f"{self.name}-{address}", "every_address": False, **there, **tls})


class Tritons(Triton):
    """One Triton, or every Triton behind the name of a headless service."""

    every_address: bool = Field(
        default=False, description="host is a headless service: every address that DNS gives is a Triton of its own"
    )


class GatewayEndpoint(_Part):
    """One FastAPI gateway."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$", description="as people call it")
    url: Url = Field(description="where the bot and users reach it")
    every_address: bool = Field(
        default=False, description="host is a headless service: every address that DNS gives is a gateway of its own"
    )

    @property
    def host(self) -> str:
        """The address's host, without the brackets of an IPv6 address."""
        return urlsplit(self.url).hostname or ""

    def at(self, address: str) -> Self:
        """Return the one gateway of these that has this address; it is asked by the name of all of them."""
        parts = urlsplit(self.url)
        where = _in_url(address) + (f":{parts.port}" if parts.port else "")
        url = urlunsplit(parts._replace(netloc=where))
        return self.model_copy(update={"name": f"{self.name}-{address}", "url": url, "every_address": False})


class Share(_Part):
    """Where models lie on the shared volume. Both must be on one file system: publishing renames."""

    model_repository: AbsolutePath = Field(description="Triton's --model-repository; nothing else lies in it")
    state: AbsolutePath = Field(description="staging, routes, lock and packages; beside the repository")

    @model_validator(mode="after")
    def _apart(self) -> Share:
        repository, state = PurePosixPath(self.model_repository), PurePosixPath(self.state)
        if repository == state or repository in state.parents or state in repository.parents:
            raise ValueError("model_repository and state must not lie within each other: Triton lists what it finds")
        return self


class S3Records(_Part):
    """Records in a bucket."""

    s3: Bucket = Field(description="the bucket")


def _kind_of_records(records: object) -> str:
    return "[s3]" if isinstance(records, dict | S3Records) else "[directory]"


Records = Annotated[
    Annotated[AbsolutePath, BeforeValidator(_no_bucket), Tag("[directory]")] | Annotated[S3Records, Tag("[s3]")],
    Discriminator(_kind_of_records),
]


class Staging(_Part):
    """The Triton on which pull requests are checked."""

    triton: Triton = Field(description="where proposed versions are loaded, beside nothing that serves")
    share: Share = Field(description="where its models lie")


SlackWho = Annotated[str, Field(pattern=r"^[UWS][A-Z0-9]{2,}$")]
"""Somebody's id, or that of a user group."""


class SlackRoles(_Part):
    """Who may do what from Slack, by id of a user (U…, W…) or of a user group (S…). Nobody else may do anything."""

    read: list[Annotated[str, Field(pattern=r"^(?:[UWS][A-Z0-9]{2,}|everyone)$")]] = Field(
        default_factory=list, description="see what is served; `everyone` is anyone who can type the command"
    )
    propose: list[SlackWho] = Field(default_factory=list, description="/promote: open a pull request")
    approve: list[SlackWho] = Field(
        default_factory=list, description="approve and merge pull requests that others asked for"
    )
    roll_back: list[SlackWho] = Field(
        default_factory=list, description="/rollback: open the revert, and put the runtime back at once"
    )

    def __bool__(self) -> bool:
        """Whether anybody may do anything."""
        return bool(self.read or self.propose or self.approve or self.roll_back)


class Slack(_Part):
    """Where releases are announced, and who may steer them from there."""

    channel: str = Field(pattern=r"^[CG][A-Z0-9]{2,}$", description="channel id, as in C0123ABCD")
    token_env: EnvironmentVariable = Field(default="SLACK_BOT_TOKEN", description="variable that holds the bot token")
    api_url: Url = Field(default="https://slack.com/api", description="Slack's Web API")
    signing_secret_env: EnvironmentVariable = Field(
        default="SLACK_SIGNING_SECRET", description="variable that holds the signing secret; for HTTP mode"
    )
    app_token_env: EnvironmentVariable = Field(
        default="SLACK_APP_TOKEN", description="variable that holds the app-level token; for Socket Mode"
    )
    may: SlackRoles = Field(default=SlackRoles(), description="who may do what from Slack; default: nobody anything")
    github_logins: dict[Annotated[str, Field(pattern=r"^[UW][A-Z0-9]{2,}$")], str] = Field(
        default_factory=dict,
        description="GitHub login of a Slack user, so that nobody approves their own proposal; without one they "
        "approve and merge nothing from Slack",
    )


class PackageRules(_Part):
    """Rules for packages. A Python backend or a shared library is code, so both settings list what is allowed."""

    backends: list[str] = Field(default=["onnxruntime"], min_length=1, description="allowed backends")
    file_types: list[str] = Field(
        default=[".onnx", ".data", ".txt", ".json"], min_length=1, description="allowed endings of a version's files"
    )
    max_bytes: int = Field(default=16 * 2**30, gt=0, description="largest package")
    python_environments: dict[str, Sha256] = Field(
        default={},
        description="archives that a Python model may bring as its environment: a name for people, and the sha256",
    )
    pyfuncs: list[ModelName] = Field(
        default=[],
        exclude_if=is_not_given,
        description="models that may be a pyfunc of MLflow, which is pickled code that Triton runs",
    )


def _of_a_run(source: str) -> str:
    if not _RUN_ARTIFACTS.fullmatch(source):
        raise ValueError(f"{source!r:.80} is not runs:/<run>/<path>; a bucket is written as s3: {{bucket: …}}")
    return source


def _only(keys: tuple[str, ...], kind: str, *, without: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON Schema of a document that gives these keys a value, and others none."""
    given = {key: {"type": kind} for key in keys}
    return {"required": list(keys), "properties": {**given, **{key: {"type": "null"} for key in without}}}


_RUN_ARTIFACTS = re.compile(rf"runs:/{RUN_ID.pattern}(?:/(?!\.{{1,2}}(?:/|$))[^/\x00-\x1f\x7f]+)+")

RunArtifacts = Annotated[
    str,
    AfterValidator(_of_a_run),
    WithJsonSchema({"type": "string", "pattern": f"^{_RUN_ARTIFACTS.pattern}$"}),
]


class EvaluationBucket(S3):
    """A folder of a bucket that holds an evaluation set."""

    bucket: BucketName = Field(description="its name")
    prefix: BucketFolder = Field(description="folder in the bucket, in which evaluation.json lies")


class Costs(_Part):
    """What decisions cost, in a unit of your own."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                _only(("per_unit",), "number", without=("false_positive", "false_negative")),
                _only(("false_positive", "false_negative"), "number", without=("per_unit",)),
            ]
        },
    )

    false_positive: float | None = Field(
        default=None, ge=0, description="a row of class 0 that is decided for class 1"
    )
    false_negative: float | None = Field(
        default=None, ge=0, description="a row of class 1 that is decided for class 0"
    )
    per_unit: float | None = Field(default=None, gt=0, description="of a number: each unit by which it is wrong")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.false_positive is None) != (self.false_negative is None):
            raise ValueError("false_positive and false_negative belong together")
        if (self.per_unit is None) == (self.false_positive is None):
            raise ValueError("needs false_positive and false_negative, or per_unit for a model that gives numbers")
        return self


class EvaluationRules(_Part):
    """The rows on which the bot measures both versions itself, and how."""

    model_config = ConfigDict(
        serialize_by_alias=True,
        json_schema_extra={
            "anyOf": [_only(("from",), "string", without=("s3",)), _only(("s3",), "object", without=("from",))]
        },
    )

    digest: Digest = Field(description="of the evaluation set; a change of it is reviewed like any other")
    source: RunArtifacts | None = Field(
        default=None, alias="from", description="where MLflow keeps the set: runs:/<run>/<path>"
    )
    s3: EvaluationBucket | None = Field(default=None, description="the bucket that keeps the set")
    output: str | None = Field(
        default=None, min_length=1, description="the output to measure; default: the one that fits the labels"
    )
    metrics: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="by the gate's name of a metric, what to compute; default: what the name itself says",
    )
    tolerance: float = Field(
        default=0.01, ge=0, description="how far a number that training logged may be from the measured one"
    )
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="from this probability on, one number decides for class 1"
    )
    show_inputs: bool = Field(
        default=False,
        description="show the inputs of decisions that change, in comments and in evidence",
    )
    costs: Costs | None = Field(default=None, description="what wrong decisions cost")
    batch_rows: int = Field(default=1024, ge=1, le=1_000_000, description="rows in one request, at most")
    answers: AbsolutePath | None = Field(
        default=None,
        description="folder with the answers of all parts, as `promobot evaluate` keeps them, below the digest of "
        "each proposed version; default: the check asks all rows itself",
    )

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.source is None) == (self.s3 is None):
            raise ValueError("needs from: runs:/<run>/<path>, or s3: {bucket: …, prefix: …}, one of the two")
        return self

    @property
    def rules(self) -> dict[str, object]:
        """What decides the findings of a measurement, besides the gate."""
        # A result that shows inputs is not carried to where they are not shown.
        shown = {"show_inputs": True} if self.show_inputs else {}
        return {"digest": self.digest, "measured_by": self.measured_by, "tolerance": self.tolerance, **shown}

    @property
    def measured_by(self) -> str:
        """The fingerprint of what decides the numbers besides the rows: numbers of another one do not compare."""
        how = [self.output, sorted(self.metrics.items()), self.threshold]
        return hashlib.sha256(json.dumps(how).encode()).hexdigest()[:16]


class RecordingsBucket(S3):
    """A folder of a bucket in which gateways record requests."""

    bucket: BucketName = Field(description="its name")
    prefix: BucketFolder = Field(description="folder in the bucket, the one that gateways have in --record-to")


class Recordings(_Part):
    """Where gateways record live requests, and how many of the newest the check Behaviour asks both versions."""

    directory: AbsolutePath | None = Field(default=None, description="the folder that gateways record to")
    s3: RecordingsBucket | None = Field(default=None, description="the bucket that gateways record to")
    replay: dict[GateName, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        min_length=1, description="requests to ask, by model, by pattern or by default, as in gates"
    )

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        if (self.directory is None) == (self.s3 is None):
            raise ValueError("needs directory: /…, or s3: {bucket: …, prefix: …}, one of the two")
        return self


def _rising(steps: list[int]) -> list[int]:
    if steps[-1] != WHOLE or any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise ValueError("the steps rise, and the last is 100, as in [1, 10, 50, 100]")
    return steps


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r:.80} is not the name of a header in lower case, as in x-user-id")
    return name


_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

Steps = Annotated[
    list[Annotated[int, Field(ge=1, le=WHOLE)]], Field(min_length=1, max_length=20), AfterValidator(_rising)
]
Header = Annotated[
    str, AfterValidator(_header), WithJsonSchema({"type": "string", "pattern": f"^{_HEADER.pattern}$"})
]


class Bake(_Part):
    """Rules for the real traffic of a new version: the time to watch after each step, and what is a breach."""

    minutes: float = Field(default=30, gt=0, le=60 * 24 * 30, description="to watch after each step, at least")
    min_requests: int = Field(
        default=200, ge=1, description="requests that the new version must have answered before it is judged"
    )
    max_error_rate: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="share of its requests that may fail; above it, and above the old version's share, is a breach",
    )
    max_p95_worse: float = Field(
        default=0.5, ge=0, description="by how much its p95 may be above the old version's, as a share of that"
    )
    max_flips: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of its decisions that may be others than those of the version before, to the same "
        "requests; default: nothing is compared",
    )
    moved_by: float | None = Field(
        default=None,
        gt=0,
        description="with max_flips: a number that moves further is another decision, too; default: none is",
    )
    on_breach: Literal["put back", "tell"] = Field(
        default="put back", description="what `promobot watch` does about a breach: put back at once, or only tell"
    )


class RolloutRules(_Part):
    """How a change of a model reaches all users."""

    steps: Steps = Field(
        default=[WHOLE], description="percent of requests that the new version answers, step by step; ends with 100"
    )
    key: Header | None = Field(
        default=None,
        description="header whose value decides which version answers, so that a user stays with one; default: the "
        "id of the request (x-request-id)",
    )
    bake: Bake | None = Field(
        default=None,
        description="what `promobot watch` looks at after each step; default: the defaults of `bake` where there are "
        "several steps, else nothing",
    )
    replace: Literal["beside", "in place", "in place with an outage"] = Field(
        default="beside",
        description="how a Triton gets it: beside the one in service, or in its place, one Triton after another, "
        "where there is no room for both; with an outage also on the only Triton",
    )

    @model_validator(mode="after")
    def _not_beside_each_other(self) -> Self:
        if self.replace != "beside" and self.steps != [WHOLE]:
            raise ValueError("steps need both versions on every Triton, and replace: in place never has both")
        if self.replace != "beside" and self.bake is not None and self.bake.max_flips is not None:
            raise ValueError("max_flips needs both versions on every Triton, and replace: in place never has both")
        return self

    @property
    def watched(self) -> Bake | None:
        """Rules of the bake of each step; None where nothing is watched."""
        return self.bake or (Bake() if len(self.steps) > 1 else None)


ALL_AT_ONCE = RolloutRules()


class Freeze(_Part):
    """A time in which nothing new goes out; the way back stays open."""

    start: Moment = Field(description="from, with time zone")
    end: Moment = Field(description="until, with time zone")
    reason: str = Field(min_length=1, description="why; those who are held by it read this")

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("start and end need a time zone, as in 2026-12-24T00:00:00+01:00")
        if self.end <= self.start:
            raise ValueError("ends before it starts")
        return self


def _span(text: str) -> str:
    if not _SPAN.fullmatch(text):
        raise ValueError(f"{text!r:.60} is not a time, as in 30m, 24h or 7d")
    return text


_SPAN = re.compile(r"[1-9][0-9]{0,3}[mhd]")
Span = Annotated[str, AfterValidator(_span), WithJsonSchema({"type": "string", "pattern": f"^{_SPAN.pattern}$"})]
_UNITS: Mapping[str, str] = {"m": "minutes", "h": "hours", "d": "days"}


class PromotesFrom(_Part):
    """`promobot watch` proposes here, by itself, what another environment serves and has verified."""

    environment: EnvironmentName = Field(description="the environment whose verified digests are carried here")
    after: Span | None = Field(
        default=None, description="how long it has to be verified there first, as in 30m, 24h or 7d; default: at once"
    )
    when: Literal["verified", "baked"] = Field(
        default="verified", description="whether its bake there has to be over, too"
    )

    @property
    def rule(self) -> Rule:
        """The same, as what decides needs it."""
        span = timedelta(**{_UNITS[self.after[-1]]: int(self.after[:-1])}) if self.after else timedelta(0)
        return Rule(self.environment, span, self.when)


def _kind_of_source(source: object) -> str:
    return "[rule]" if isinstance(source, dict | PromotesFrom) else "[name]"


Source = Annotated[
    Annotated[EnvironmentName, Tag("[name]")] | Annotated[PromotesFrom, Tag("[rule]")],
    Discriminator(_kind_of_source),
]


class Merge(_Part):
    """When a pull request of the bot merges by itself. GitHub's branch rules decide last, whatever stands here."""

    when: Literal["checks pass"] = Field(
        description="`checks pass`: `promobot watch` has GitHub merge it once the checks of its newest commit passed"
    )
    after_clean: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="releases of the model in a row that went well here, before it merges by itself; one that "
        "failed, was put back or rolled back begins the count anew. Default: every model may",
    )


class Keep(_Part):
    """Earlier versions that are kept for a rollback."""

    versions: int = Field(
        default=3,
        ge=1,
        description="verified versions on the share, for each model and section, the one in service among them",
    )
    warm: int = Field(
        default=1, ge=0, description="versions before the one in service that stay loaded, for an instant way back"
    )


class Deadlines(_Part):
    """Longest waits of the bot, in seconds."""

    ready_seconds: float = Field(default=120, gt=0, description="for MLflow to say READY")
    load_seconds: float = Field(default=120, gt=0, description="for one Triton to load one wave of models")
    request_seconds: float = Field(default=10, gt=0, description="for one request to any system")
    download_seconds: float = Field(
        default=60, gt=0, description="for MLflow to continue a download that stands still"
    )
    turn_seconds: float = Field(
        default=60, gt=0, description="for a deployment that runs already, before this one takes its turn"
    )
    reload_seconds: float = Field(default=30, gt=0, description="for one gateway to serve a new generation")


class Concurrency(_Part):
    """Limits of what the bot does at the same time."""

    models: int = Field(
        default=MODELS, ge=1, description="models that are published, loaded, asked or recorded at the same time"
    )
    servers: int = Field(default=SERVERS, ge=1, description="Tritons, or gateways, that are asked at the same time")
    files: int = Field(
        default=FILES, ge=1, description="files of one package that are copied or hashed at the same time"
    )
    records: int = Field(default=RECORDS, ge=1, description="records of a bucket that are read at the same time")


_READ_WITH = {"mlflow": ("mlflow_names",)}
"""Parts that nobody can use where another has a mistake: without its names MLflow would be asked for other models."""


class Environment(_Part):
    """``manifests/environments/<env>.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="manifests/environments/<env>.yaml")

    environment: EnvironmentName = Field(description="name; the file's own name")
    github: GitHub = Field(description="the repository that holds desired state")
    mlflow: MLflow = Field(description="the model registry")
    staging: Staging = Field(description="the Triton on which pull requests are checked")
    share: Share = Field(description="where this environment's models lie")
    tritons: list[Tritons] = Field(min_length=1, description="every Triton that serves this environment")
    gateways: list[GatewayEndpoint] = Field(min_length=1, description="every gateway in front of them")
    reload_token_env: EnvironmentVariable = Field(
        default="PROMOBOT_RELOAD_TOKEN", description="variable that holds the gateways' reload token"
    )
    records: Records = Field(
        description="evidence and deployment records, append-only: a directory, or a bucket under the key s3"
    )
    slack: Slack = Field(description="where releases are announced")
    evaluation: dict[GateName, EvaluationRules] = Field(
        default_factory=dict,
        description="by model, by pattern or by default, as in gates: the rows on which a pull request's check "
        "Behaviour measures the proposed version and the one in service",
    )
    gates: dict[GateName, Gate] = Field(
        min_length=1,
        description="rules by model, by a pattern such as fraud-*, or for all others by default; a model's own name "
        "comes before a pattern, the longer pattern before the shorter; a model that none fits is refused",
    )
    rollout: dict[GateName, RolloutRules] = Field(
        default_factory=dict,
        description="by model, by pattern or by default, as in gates: how a change reaches all users, and what is "
        "looked at then; of a bundle the part that users ask counts. Default: all users at once",
    )
    recordings: Recordings | None = Field(
        default=None, description="live requests that gateways recorded; default: nothing is replayed"
    )
    mlflow_names: dict[ModelName, RegisteredName] = Field(
        default_factory=dict,
        description="name of the registered model in MLflow, by the name under which it is served; default: the same",
    )
    bundles: BundleParts = Field(
        default_factory=dict,
        description="models that go into service together, by the name of their bundle, in order of dependence; "
        "users ask the last one",
    )
    packages: PackageRules = Field(default=PackageRules(), description="what a package may contain")
    promotes_from: Source | None = Field(
        default=None,
        description="the environment whose verified digests `promobot promote` carries here; as a mapping, "
        "`promobot watch` proposes them by itself",
    )
    merge: Merge | None = Field(
        default=None, description="which pull requests of the bot merge by themselves; default: none does"
    )
    windows: list[WindowText] = Field(
        default_factory=list,
        description="recurring times in which alone new things go out, as in `Mon-Thu 10:00-16:00 Asia/Seoul`; "
        "default: always. A freeze wins over them, and the way back is always open",
    )
    freezes: list[Freeze] = Field(default_factory=list, description="times in which nothing new goes out")
    rehearse: bool = Field(
        default=False,
        description="whether `promobot rehearse` may go back and forth here, to prove that the way back works",
    )
    keep: Keep = Field(default=Keep(), description="how much of what was in service is kept for the way back")
    deadlines: Deadlines = Field(default=Deadlines(), description="how long the bot waits")
    concurrency: Concurrency = Field(default=Concurrency(), description="how much the bot does at the same time")
    _checkout: Path | None = PrivateAttr(default=None)
    _mistakes: tuple[InvalidInput, ...] = PrivateAttr(default=())
    _unusable: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def mistakes(self) -> tuple[InvalidInput, ...]:
        """The mistakes in parts that the way back does not need; empty where all was read strictly."""
        return self._mistakes

    def read_from(
        self, checkout: Path, *, mistakes: Iterable[InvalidInput] = (), unusable: Iterable[str] = ()
    ) -> Environment:
        """Return the same settings as those of a checkout, where these parts of the file could not be used."""
        settings = self.model_copy()
        settings._checkout, settings._mistakes, settings._unusable = checkout, tuple(mistakes), frozenset(unusable)
        return settings

    def with_rules(self, rules: Mapping[str, object]) -> Environment:
        """Return the same settings, from the same checkout, with these parts as main has them."""
        return self.model_copy(update=dict(rules))

    def can_use(self, part: str) -> bool:
        """Say whether this part is as the file says it."""
        return part not in self._unusable

    def see_that_it_can_be_used(self, part: str) -> None:
        """Raise InvalidInput where the file has a mistake in this part, so that its values are not the file's."""
        if not self.can_use(part):
            parts = (part, *_READ_WITH.get(part, ()))
            raise next(mistake for mistake in self._mistakes if mistake.key.split(".")[0] in parts)

    @field_validator("gates")
    @classmethod
    def _measured_where_it_must_be(cls, gates: dict[str, Gate], info: ValidationInfo) -> dict[str, Gate]:
        """See that each gate that only measured numbers can answer has an evaluation set for its models."""
        sets: dict[str, EvaluationRules] | None = info.data.get("evaluation")
        lacking: list[Any] = []
        if sets is None:
            return gates  # its own mistake is named already
        for key, gate in gates.items():
            is_measured = key in sets or (DEFAULT_GATE in sets if is_pattern(key) else key_for(key, sets))
            if (asks := gate.needs_evaluation) and not is_measured:
                said = ValueError(f"it needs an evaluation set: add evaluation.{key}, or leave this out")
                where = (key, *asks.split("."))
                if asks.startswith("metrics."):
                    where = (key, "metrics", asks.removeprefix("metrics.").rpartition(".")[0], "confidence")
                lacking.append({"type": "value_error", "loc": where, "input": None, "ctx": {"error": said}})
        if lacking:
            raise ValidationError.from_exception_data("gates", lacking)
        return gates

    @field_validator("mlflow_names")
    @classmethod
    def _one_name_each(cls, names: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        served = {**{model: model for model in models_in(info.data.get("gates", ())) if model not in names}, **names}
        for model, registered in names.items():
            other = next((one for one, its in served.items() if its == registered and one != model), None)
            if other is not None:
                raise ValueError(f"{model} and {other} are both {registered!r:.80} in MLflow; one of them is enough")
        return names

    @model_validator(mode="after")
    def _told_apart(self) -> Environment:
        _unique([triton.name for triton in self.tritons], "Tritons")
        _unique([gateway.name for gateway in self.gateways], "gateways")
        if self.source == self.environment:
            raise ValueError("promotes_from names the environment itself")
        return self

    @model_validator(mode="after")
    def _measures_what_gates_judge(self) -> Environment:
        """See that each name under ``evaluation.<model>.metrics`` is one that a gate judges."""
        judged = sorted({name for gate in self.gates.values() for name in gate.metrics})
        slips: list[Any] = [
            {
                "type": "value_error",
                "loc": ("evaluation", key, "metrics", name),
                "input": None,
                "ctx": {"error": ValueError(f"no gate judges it. {did_you_mean(name, judged)}".rstrip())},
            }
            for key, rules in self.evaluation.items()
            for name in rules.metrics
            if name not in judged
        ]
        if slips:
            raise ValidationError.from_exception_data("evaluation", slips)
        return self

    @property
    def source(self) -> str | None:
        """The environment whose verified digests come here; None where nothing does."""
        of = self.promotes_from
        return of.environment if isinstance(of, PromotesFrom) else of

    @property
    def path(self) -> Rule | None:
        """How they come by themselves; None where only people bring them."""
        return self.promotes_from.rule if isinstance(self.promotes_from, PromotesFrom) else None

    @property
    def open_in(self) -> tuple[Window, ...]:
        """The windows; empty where new things may always go out."""
        return tuple(map(Window.parse, self.windows))

    def closed(self, now: datetime) -> Closed | None:
        """Return why nothing new may go out now; None where it may."""
        return closed(self.open_in, self.freezes, now)

    @property
    def checkout(self) -> Path | None:
        """The folder from which these were read; None where they were read from a text."""
        return self._checkout

    @property
    def records_bucket(self) -> Bucket | None:
        """The bucket of the records with its prefix, or None where they lie in a directory."""
        if isinstance(self.records, str):
            return None
        bucket = self.records.s3
        return bucket.model_copy(update={"prefix": bucket.prefix or f"{self.environment}/promobot"})

    @property
    def named_models(self) -> frozenset[str]:
        """The models that this file names: by a gate of their own, or with their name in MLflow."""
        return models_in(self.gates) | self.mlflow_names.keys()

    @property
    def takes_unnamed(self) -> bool:
        """Whether a model may have a gate that the file does not name: by a pattern, or by default."""
        return len(models_in(self.gates)) < len(self.gates)

    def has_gate(self, model: str) -> bool:
        """Whether there are rules for this model."""
        return self._rules(model) is not None

    def parts_with(self, model: str) -> tuple[str, ...]:
        """Return the models that go into service and back with ``model``: its bundle's parts, or itself alone."""
        return tuple(self.bundles.get(bundle_of(model, self.bundles), (model,)))

    def parts_before(self, model: str) -> tuple[str, ...]:
        """Return the parts that come before ``model`` in its bundle, which it may ask."""
        parts = list(self.bundles.get(bundle_of(model, self.bundles), ()))
        return tuple(parts[: parts.index(model)]) if parts else ()

    def _rules(self, model: str) -> Gate | None:
        if needs_no_gate(model, self.bundles):
            # A gate for all others speaks of models that users ask, and a part of a bundle may have no metric at all.
            return self.gates.get(model, ASKS_NOTHING)
        return rules_for(model, self.gates)

    def shadow_rule(self, model: str) -> ShadowRule | None:
        """Return what a shadow of ``model`` must show before the bot proposes that it answers; None without."""
        gate = self._rules(model)
        return None if gate is None else gate.shadow

    def evaluation_of(self, model: str) -> EvaluationRules | None:
        """Return how ``model`` is measured before it is merged; None where the file does not ask for that."""
        if needs_no_gate(model, self.bundles):
            return self.evaluation.get(model)
        return rules_for(model, self.evaluation)

    def rollout_of(self, model: str) -> RolloutRules:
        """Return how a change of ``model`` reaches all users; of a part of a bundle, that of the part users ask."""
        return self.rollout_rules(model) or ALL_AT_ONCE

    def rollout_rules(self, model: str) -> RolloutRules | None:
        """Return the same; None where the file says nothing of it."""
        return rules_for(self.parts_with(model)[-1], self.rollout)

    def replaces_in_place(self, model: str) -> bool:
        """Whether a Triton gives up the version of ``model`` in service before it loads the next.

        A part of a bundle is not: it would take what asks it out of service with it.
        """
        return not bundle_of(model, self.bundles) and self.rollout_of(model).replace != "beside"

    def replays(self, model: str) -> int:
        """Return how many recorded requests of ``model`` are asked again before it is merged; 0 where none are."""
        if self.recordings is None:
            return 0
        if needs_no_gate(model, self.bundles):
            return self.recordings.replay.get(model, 0)
        return rules_for(model, self.recordings.replay) or 0

    def has_behaviour(self, model: str) -> bool:
        """Whether the check Behaviour asks something of ``model``: rows of a set, or recorded requests."""
        return self.evaluation_of(model) is not None or self.replays(model) > 0

    def gate(self, model: str) -> Gate:
        """Return the gate of ``model``; raise Refused where the file has none."""
        served_as = self.serving_name(model)
        if model not in self.mlflow_names and served_as != model:
            raise Refused(
                f"{model} is a name in MLflow: {ENVIRONMENTS}/{self.environment}.yaml serves it as {served_as}",
                state="Nothing was changed.",
                next_step=f"Say {served_as}.",
            )
        gate = self._rules(model)
        if gate is None:
            known = ", ".join(sorted(self.gates)) or "no model"
            raise Refused(
                f"{ENVIRONMENTS}/{self.environment}.yaml has no gate for {model}",
                state="Nothing was changed.",
                next_step=f"{did_you_mean(model, self.named_models)}Gates are for {known}. "
                f"For a new model add gates.{model} there, a pattern, or gates.default for all models, in a pull "
                "request of its own, and merge that first.",
            )
        return gate

    def serving_name(self, registered: str) -> str:
        """Return the name under which a registered model is served: by default its own, which need not be valid."""
        return next((model for model, name in self.mlflow_names.items() if name == registered), registered)


def path_of(environment: str) -> str:
    """Return the path of the environment's settings in the repository."""
    return f"{ENVIRONMENTS}/{environment}.yaml"


def secret_variables(settings: Environment) -> set[str]:
    """Return the variables that the environment's settings name for secrets."""
    found: set[str] = set()
    parts: list[object] = [settings]
    while parts:
        part = parts.pop()
        if isinstance(part, BaseModel):
            for name, value in part:
                if name.endswith("_env") and name != "username_env" and isinstance(value, str):
                    found.add(value)
                parts.append(value)
        elif isinstance(part, list | tuple):
            parts += part
        elif isinstance(part, dict):
            parts += part.values()
    return found
