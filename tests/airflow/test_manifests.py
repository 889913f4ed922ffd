"""What manifests/airflow says, read without Airflow."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bot import environment_files
from bot.render.layout import files
from bot.sandbox.airflow import MANIFESTS, shipped_variables
from bot.sandbox.environments import AIRFLOW_LOCK
from tests.kubernetes.cluster import Cluster, objects
from tests.kubernetes.test_container import HADOLINT, stages

PROJECT = Path(__file__).parents[2]
DAG = MANIFESTS / "dags/promobot_train.py"
PAGE = (PROJECT / "docs/how-to/airflow.md").read_text()
LOGGING = "AIRFLOW__LOGGING__"


def locked() -> dict[str, str]:
    lines = (line.split(" ")[0] for line in AIRFLOW_LOCK.read_text().splitlines() if line[:1].isalnum())
    return {
        canonicalize_name(name.partition("[")[0]): version for name, _, version in (x.partition("==") for x in lines)
    }


def calls(name: str) -> list[ast.Call]:
    """The calls of a function in the DAG's file, in their order."""
    found = [node for node in ast.walk(ast.parse(DAG.read_text())) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == name]


def keywords(call: ast.Call) -> dict[str, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def test_the_lock_has_all_that_the_bot_and_a_training_job_need() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    versions, extras = locked(), project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["training"]]
    for text in needed:
        requirement = Requirement(text)
        if requirement.name == "promobot":
            needed += [line for extra in requirement.extras for line in extras[extra]]
            continue
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text


def test_the_versions_of_airflow_are_those_of_the_lock() -> None:
    values, version = yaml.safe_load((MANIFESTS / "values.yaml").read_text()), locked()["apache-airflow"]
    assert (values["airflowVersion"], values["defaultAirflowTag"]) == (version, version)
    assert f"apache-airflow=={version}" in PAGE
    assert f"apache-airflow-providers-amazon=={locked()['apache-airflow-providers-amazon']}" in PAGE


def test_the_charts_values_say_the_same_as_the_variables() -> None:
    values, variables = yaml.safe_load((MANIFESTS / "values.yaml").read_text()), shipped_variables()
    logging = {name.removeprefix(LOGGING).lower(): value for name, value in variables.items() if LOGGING in name}
    assert values["config"]["logging"] == logging
    env = {entry["name"]: entry["value"] for entry in values["env"]}
    assert set(env) | {name for name in variables if LOGGING in name} == set(variables)
    assert env["AIRFLOW_CONN_AWS_DEFAULT"] == variables["AIRFLOW_CONN_AWS_DEFAULT"]


def test_logs_go_to_object_storage_and_none_stays() -> None:
    values, variables = yaml.safe_load((MANIFESTS / "values.yaml").read_text()), shipped_variables()
    assert variables[f"{LOGGING}REMOTE_LOGGING"] == variables[f"{LOGGING}DELETE_LOCAL_LOGS"] == "True"
    assert variables[f"{LOGGING}REMOTE_BASE_LOG_FOLDER"].startswith("s3://")
    assert variables[f"{LOGGING}REMOTE_BASE_LOG_FOLDER"].endswith("/dev/airflow-logs")
    assert variables[f"{LOGGING}REMOTE_LOG_CONN_ID"] == "aws_default"
    assert not values["logs"]["persistence"]["enabled"]
    assert not values["triggerer"]["persistence"]["enabled"]


def test_the_connection_has_a_region_and_no_secret() -> None:
    connection: dict[str, Any] = json.loads(shipped_variables()["AIRFLOW_CONN_AWS_DEFAULT"])
    assert connection == {"conn_type": "aws", "extra": {"region_name": "ap-northeast-2"}}


# --- what ties it to the rest ---------------------------------------------------------------------------------------

ENVIRONMENTS = [environment_files.load(PROJECT, name) for name in environment_files.environments(PROJECT)]
VALUES: dict[str, Any] = yaml.safe_load((MANIFESTS / "values.yaml").read_text())


def mounts(who: str) -> dict[str, tuple[str, bool]]:
    """What pods of this kind have of the share: by path, the folder of the share, and whether it is only read."""
    (volume,) = VALUES[who]["extraVolumes"]
    claims = [each for each in objects() if each["kind"] == "PersistentVolumeClaim"]
    assert volume["persistentVolumeClaim"]["claimName"] in {
        claim["metadata"]["name"] for claim in claims if claim["metadata"]["namespace"] == "airflow"
    }
    found = VALUES[who]["extraVolumeMounts"]
    assert {each["name"] for each in found} == {volume["name"]}
    return {each["mountPath"]: (each["subPath"], each.get("readOnly", False)) for each in found}


def test_mlflow_and_the_repository_are_those_of_the_environment_files() -> None:
    (uri,) = {str(each.mlflow.uri) for each in ENVIRONMENTS}
    assert shipped_variables()["MLFLOW_TRACKING_URI"] == uri
    assert {"name": "MLFLOW_TRACKING_URI", "value": uri} in VALUES["env"]
    (repository,) = {each.github.repository for each in ENVIRONMENTS}
    assert VALUES["dags"]["gitSync"]["repo"] == f"https://github.com/{repository}.git"


def test_the_records_of_the_environment_files_are_where_the_pods_have_them() -> None:
    (records,) = {str(each.records) for each in ENVIRONMENTS}
    assert mounts("triggerer") == {records: ("promobot-records", True)}
    assert mounts("workers") == {
        records: ("promobot-records", True),
        f"{records}/proposals": ("promobot-records/proposals", False),
    }
    (share,) = (
        each for each in objects() if each["metadata"]["name"] == "promobot-share-airflow"
    )  # it begins where the environment files do
    assert f"{share['spec']['nfs']['path']}/promobot-records" == records
    assert f"mkdir -p {records}/proposals" in PAGE


def test_whoever_writes_to_the_share_has_the_bots_number() -> None:
    slack = Cluster(objects()).pod("mlops/slack")
    assert VALUES["uid"] == slack.spec["securityContext"]["runAsUser"]


def test_every_token_that_the_environment_files_name_comes_to_the_pods() -> None:
    given = {entry["envName"] for entry in VALUES["secret"]}
    assert {each.github.token_env for each in ENVIRONMENTS} <= given


def test_the_dag_lies_where_the_chart_looks_in_a_repository_that_init_wrote(tmp_path: Path) -> None:
    written = files(repository="acme/models", promobot="acme/promobot", ref="0" * 40, owners="@acme/mlops")
    assert any(path.startswith("manifests/environments/") for path in written)
    (copied,) = re.findall(r"`(mkdir dags && cp \S+ \S+)`", PAGE)
    *_, source, target = copied.split()
    assert (PROJECT / source) == DAG
    assert target.strip("/") == VALUES["dags"]["gitSync"]["subPath"]
    root = {entry["name"]: entry["value"] for entry in VALUES["env"]}["PROMOBOT_ROOT"]
    assert root == "/opt/airflow/dags/repo", "where the chart checks it out"


def test_the_image_is_built_from_the_lock_on_images_that_are_named_by_digest() -> None:
    text = (MANIFESTS / "Containerfile").read_text()
    built = stages(text)
    assert re.findall(r"^(ARG .*|FROM .*)$", text, re.MULTILINE) == [
        *("ARG PYTHON", "ARG AIRFLOW"),  # no default, which could move
        *("FROM ${PYTHON} AS build", "ARG VERSION=", "FROM ${AIRFLOW} AS airflow"),
    ]
    assert f"--tag {VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']} " in text
    assert f"docker.io/apache/airflow:{VALUES['airflowVersion']}-python3.11" in text
    (source, _), *_ = (text.split() for text in built["airflow"].all("COPY"))
    assert PROJECT / source == AIRFLOW_LOCK
    done = subprocess.run(
        [HADOLINT, "-"],
        input=re.sub(r"^FROM .*( AS \w+)$", r"FROM docker.io/library/python:3.11\1", text, flags=re.MULTILINE),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == ""


# What chart/values.schema.json of apache/airflow says of each value that is set. At its top it takes any other name
# without a word, so a slip of the pen would only be seen in the cluster.
TEXT: dict[str, Any] = {"type": "string"}
FLAG: dict[str, Any] = {"type": "boolean"}
LIST: dict[str, Any] = {"type": "array", "items": {"type": "object"}}


def only(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
    }


CHART = only(
    defaultAirflowRepository=TEXT,
    defaultAirflowTag=TEXT,
    airflowVersion=TEXT,
    executor={
        "type": "string",
        "pattern": "^(([a-zA-Z_][a-zA-Z0-9_]*.)*[A-Z][a-zA-Z0-9]+Executor)"
        "(,(([a-zA-Z_][a-zA-Z0-9_]*.)*[A-Z][a-zA-Z0-9]+Executor))*$",
    },
    config={
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": {"type": ["boolean", "integer", "number", "string"]},
        },
    },
    env={"type": "array", "items": only("name", "value", name=TEXT, value=TEXT)},
    secret={
        "type": "array",
        "items": only("envName", "secretName", envName=TEXT, secretName=TEXT, secretKey=TEXT),
    },
    logs=only(
        persistence=only(enabled=FLAG),
        emptyDirConfig=only(medium=TEXT, sizeLimit={"type": ["string", "number"]}),
    ),
    uid={"type": "integer"},
    gid={"type": "integer"},
    workers=only(extraVolumes=LIST, extraVolumeMounts=LIST),
    triggerer=only(
        enabled=FLAG,
        replicas={"type": "integer"},
        persistence=only(enabled=FLAG),
        extraVolumes=LIST,
        extraVolumeMounts=LIST,
    ),
    dags=only(gitSync=only(enabled=FLAG, repo=TEXT, branch=TEXT, ref=TEXT, subPath=TEXT)),
)


def test_the_values_are_some_that_the_chart_takes() -> None:
    values = yaml.safe_load((MANIFESTS / "values.yaml").read_text())
    Draft202012Validator(CHART).validate(values)
    for wrong in (
        {**values, "executer": "KubernetesExecutor"},
        {**values, "executor": "kubernetes"},
        {**values, "env": [{"name": "X", "value": 1}]},
        {**values, "secret": [{"envName": "X"}]},
        {**values, "logs": {**values["logs"], "persistance": {}}},
        {**values, "triggerer": {"replicas": "2"}},
        {**values, "dags": {"gitSync": {"repository": "x"}}},
    ):
        assert not Draft202012Validator(CHART).is_valid(wrong), wrong


@pytest.mark.parametrize("name", ["model", "environment", "inverse_regularisation", "wait_for_deployment"])
def test_each_parameter_is_typed_and_told_of(name: str) -> None:
    (decorator,) = calls("dag")
    params = keywords(decorator)["params"]
    assert isinstance(params, ast.Dict)
    by_name = {
        key.value: value
        for key, value in zip(params.keys, params.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    assert set(by_name) == {"model", "environment", "inverse_regularisation", "wait_for_deployment"}
    call = by_name[name]
    assert isinstance(call, ast.Call)
    assert {"type", "description"} <= set(keywords(call))
    assert f"`{name}`" in PAGE


def test_the_page_tells_of_every_task() -> None:
    tasks = {
        node.name
        for node in ast.walk(ast.parse(DAG.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(decorator).startswith("task") for decorator in node.decorator_list)
    }
    sensors = {
        ast.literal_eval(keywords(call)["task_id"])
        for sensor in ("PromobotReadySensor", "PromobotDeploymentSensor")
        for call in calls(sensor)
    }
    assert len(tasks) == 6
    assert sensors == {"wait_until_ready", "wait_for_deployment"}
    for name in tasks | sensors:
        assert f"`{name}`" in PAGE, name


def test_reading_the_dag_imports_nothing_slow() -> None:
    """Airflow reads the file again and again; what a task needs, the task imports."""
    top = [node for node in ast.parse(DAG.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    allowed = {"__future__", "os", "tempfile", "datetime", "pathlib", "typing", "airflow.sdk"}
    assert names <= allowed | {"bot.airflow"}
