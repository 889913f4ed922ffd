"""``manifests/original`` has the values of the original description, and changes nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import environment_files
from bot.airflow import logs
from tests.kubernetes.cluster import MANIFESTS, PROJECT, kustomized, objects

ORIGINAL = PROJECT / "manifests" / "original"
PAGE = (PROJECT / "docs/explanation/original-flow.md").read_text()
SERVER, BUCKET, REGION = "192.168.18.141", "mlflow-artifacts-keonho", "ap-northeast-2"
MODELS = "/mnt/nfs_share/mlops/triton/model-repo/dev"
CLUSTERS = {
    "share-nfs": ("mlops", "dev", "airflow"),
    "share-dynamic": ("production/mlops", "production/prod", "production/airflow"),
}


def made(folder: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(kustomized(ORIGINAL / folder)))


def without_the_share(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if not one["kind"].startswith("PersistentVolume")]


@pytest.mark.parametrize(("share", "folder"), [(share, one) for share, all_ in CLUSTERS.items() for one in all_])
def test_only_the_share_is_another_one(share: str, folder: str) -> None:
    (namespace,) = {one["metadata"]["namespace"] for one in made(folder) if one["kind"] == "PersistentVolumeClaim"}
    plain = [*yaml.safe_load_all(kustomized(MANIFESTS / "overlays" / Path(folder).name))]
    assert without_the_share(made(folder)) == without_the_share(plain)
    volumes = [one for one in made(folder) if one["kind"] == "PersistentVolume"]
    (claim,) = (one for one in made(folder) if one["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    if share == "share-nfs":
        (volume,) = volumes
        assert volume["spec"]["nfs"]["server"] == SERVER
        assert MODELS.startswith(volume["spec"]["nfs"]["path"] + "/")
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        return
    (dynamic,) = (
        one
        for one in objects("share-dynamic")
        if one["kind"] == "PersistentVolumeClaim" and one["metadata"]["namespace"] == namespace
    )
    assert volumes == [] and claim == dynamic
    (of,) = made("production/cluster")
    assert (of["kind"], of["parameters"]["server"]) == ("StorageClass", SERVER)
    assert claim["spec"]["storageClassName"] == of["metadata"]["name"]


def test_models_are_where_the_original_has_them() -> None:
    assert str(environment_files.load(PROJECT, "dev").share.model_repository) == MODELS


def test_airflow_logs_where_the_original_says_and_only_looks_at_models() -> None:
    values = yaml.safe_load((ORIGINAL / "airflow-values.yaml").read_text())
    plain = yaml.safe_load((PROJECT / "manifests/airflow/values.yaml").read_text())
    assert values["config"]["logging"] == {
        "base_log_folder": "/opt/airflow/logs",
        "remote_base_log_folder": f"s3://{BUCKET}/dev/airflow-logs",
    }
    assert REGION in json.dumps(plain["env"]) and "emptyDirConfig" in plain["logs"]
    assert values["workers"]["extraVolumes"] == plain["workers"]["extraVolumes"]
    *records, models = values["workers"]["extraVolumeMounts"]
    assert records == plain["workers"]["extraVolumeMounts"], "Helm replaces a list by a list"
    assert models == {"name": "share", "mountPath": "/models", "subPath": "triton/model-repo/dev", "readOnly": True}


def test_the_policy_lets_nobody_take_logs_away_and_airflow_write_them() -> None:
    policy = json.loads((ORIGINAL / "log-bucket-policy.json").read_text())
    assert {one["Effect"] for one in policy["Statement"]} == {"Deny"}
    logs_, bucket = policy["Statement"]
    assert logs_["Resource"] == f"arn:aws:s3:::{BUCKET}/*/airflow-logs/*" and "Condition" not in logs_
    assert {"s3:DeleteObject", "s3:DeleteObjectVersion"} <= set(logs_["Action"])
    assert "s3:PutObject" not in logs_["Action"] and bucket["Resource"] == f"arn:aws:s3:::{BUCKET}"


def test_the_page_has_each_fact_and_each_folder() -> None:
    facts = (
        *(f"s3://{BUCKET}/<env>/airflow-logs", "aws_default", REGION, "/opt/airflow/logs", "emptyDir", SERVER),
        *(MODELS, "/models", "RWX", "/models/<model_version>", "StorageClass", "docs/proof/", "six hold"),
    )
    assert [fact for fact in facts if fact not in PAGE] == []
    folders = {str(file.parent.relative_to(ORIGINAL)) for file in ORIGINAL.rglob("kustomization.yaml")}
    components = {"nfs-server", "production/storage-class"}
    applied = {*re.findall(r"^kubectl apply -k manifests/original/(\S+)$", PAGE, re.MULTILINE)}
    assert applied == {"mlops", "dev", "airflow"}
    assert folders - components - applied == {f"production/{one}" for one in ("cluster", "mlops", "prod", "airflow")}
    assert all(f"production/{one}" in PAGE for one in ("cluster", "mlops", "prod", "airflow"))


def test_the_command_that_locks_is_the_one_that_the_pages_have() -> None:
    for page in (PAGE, (PROJECT / "docs/how-to/airflow.md").read_text()):
        (found,) = set(re.findall(r"--lock (\S+:\d+)", page))
        assert logs.Retention.parse(found) == logs.Retention("governance", 365)
