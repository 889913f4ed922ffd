"""The indexed Job that asks a large evaluation set in parts: valid, hardened, and what the command understands."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from bot import cli
from bot.commands.evaluate import Arguments
from bot.operations.evaluating import Loaded
from tests.kubernetes import rules
from tests.kubernetes.cluster import MANIFESTS, Cluster, Object, kustomized, objects

RULES = (rules.schema, rules.unique, rules.restricted, rules.hardened)


def made() -> list[Object]:
    return list(yaml.safe_load_all(kustomized(MANIFESTS / "evaluation")))


def with_pods(everything: list[Object]) -> Cluster:
    """Return a cluster in which the Job's pod of part 3 is a pod, as the rules look at pods."""
    found = copy.deepcopy(everything)
    (job,) = (each for each in found if each["kind"] == "Job")
    template = job["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "evaluation-3", "namespace": "mlops", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }
    return Cluster([*found, pod])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_holds(rule: rules.Rule) -> None:
    assert list(rule(with_pods(made()))) == []


BROKEN: list[tuple[rules.Rule, Callable[[Any], object]]] = [
    (rules.schema, lambda job: job["spec"].update(completionsMode="Indexed")),
    (rules.restricted, lambda job: job["spec"]["template"]["spec"]["securityContext"].update(runAsUser=0)),
    (rules.hardened, lambda job: job["spec"]["template"]["spec"]["containers"][0].update(image="promobot:latest")),
    (rules.hardened, lambda job: job["spec"]["template"]["spec"].update(automountServiceAccountToken=True)),
]


@pytest.mark.parametrize(("rule", "spoil"), BROKEN)
def test_what_is_wrong_is_found(rule: rules.Rule, spoil: Callable[[Any], object]) -> None:
    everything = made()
    spoil(next(each for each in everything if each["kind"] == "Job"))
    assert list(rule(with_pods(everything)))


def words(cluster: Cluster) -> list[str]:
    """Return the arguments of the pod of part 3."""
    pods = cluster.pod("mlops/evaluation-3")
    given = {**cluster.variables(pods, pods.main), "JOB_COMPLETION_INDEX": "3"}
    return [re.sub(r"\$\(([A-Z_]+)\)", lambda found: given[found[1]], word) for word in pods.main["args"]]


def test_the_command_understands_what_a_pod_types() -> None:
    cluster = with_pods(made())
    arguments = cli.parse(words(cluster)).arguments
    (job,) = cluster.of("Job")
    assert isinstance(arguments, Arguments)
    assert (arguments.part, arguments.of) == (3, job["spec"]["completions"])
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["parallelism"] < arguments.of
    assert Loaded(**arguments.proposed).grpc == "triton-staging:8001"


def test_whatever_it_names_is_there() -> None:
    cluster, around = with_pods(made()), Cluster(objects())
    pods = cluster.pod("mlops/evaluation-3")
    assert cluster.get("ServiceAccount", pods.spec["serviceAccountName"], "mlops")
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pods.spec["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claims == ["evaluation-answers"] and cluster.get("PersistentVolumeClaim", claims[0], "mlops")
    mounted = {mount["name"] for each in pods.containers for mount in each["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pods.spec["volumes"]}
    for container in pods.containers:
        known = {*cluster.variables(pods, container), "JOB_COMPLETION_INDEX"}
        assert {each["name"] for each in container["env"]} <= known
    assert around.get("Service", "triton-staging", "mlops"), "what versions.env names"
    assert not cluster.on_the_share(pods, pods.main)


def test_it_reaches_what_the_checks_reach() -> None:
    pods = with_pods(made()).pod("mlops/evaluation-3")
    wanted = {"app.kubernetes.io/part-of": "promobot", "promobot/role": "checks"}
    assert wanted.items() <= pods.labels.items()
    policies = [each["spec"]["podSelector"] for each in Cluster(objects()).of("NetworkPolicy")]
    for key, value in wanted.items():
        assert {"matchLabels": {key: value}} in policies
