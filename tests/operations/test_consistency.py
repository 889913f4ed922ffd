"""Mistakes between files of settings and desired state, without a platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot import settings
from bot.domain import desired
from bot.operations.consistency import Files, mistakes_in

PROJECT = Path(__file__).resolve().parents[2]
DEV, PROD = ((PROJECT / settings.path_of(name)).read_text() for name in ("dev", "prod"))
ENTRY = f"    version: 1\n    digest: sha256:{'0' * 64}\n    run: abc\n"
NOTHING = {name: f"environment: {name}\nmodels: {{}}\n" for name in ("dev", "prod")}
STAGING = "/mnt/nfs_share/mlops/staging/promobot"


def mistakes(*, dev: str = DEV, prod: str = PROD, promotions: dict[str, str] | None = None) -> list[str]:
    files = Files({"dev": dev, "prod": prod}, {**NOTHING, **(promotions or {})})
    return [str(mistake) for mistake in mistakes_in(files)]


def test_the_committed_files_are_right() -> None:
    assert mistakes(promotions={n: (PROJECT / desired.path_of(n)).read_text() for n in ("dev", "prod")}) == []


@pytest.mark.parametrize("section", ["models", "shadow"])
def test_a_model_without_a_gate_is_a_mistake_on_either_path(section: str) -> None:
    text = f"environment: dev\n{section}:\n  churn:\n{ENTRY}  fraud:\n{ENTRY}"
    assert mistakes(promotions={"dev": text}) == [
        f"promotions/dev.yaml:7: {section}.fraud: manifests/environments/dev.yaml has no gate for it"
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("promotes_from: dev", "promotes_from: qa", "promotes_from: there is no environment qa; there are dev, prod"),
        (
            "promotes_from: dev",
            "promotes_from: {environment: dev, when: baked}",
            "promotes_from.when: manifests/environments/dev.yaml bakes nothing, so nothing would ever be carried on",
        ),
        ("acme/models", "acme/others", "github.repository: is not acme/models, which dev names"),
        ("triton.ml-prod.svc:8001", "triton-0.triton.ml-dev.svc:8001", "tritons.0: the Triton at triton-0.triton."),
        (
            "http://gateway.ml-prod.svc",
            "http://gateway-1.gateway.ml-dev.svc",
            "gateways.0: the gateway at http://gate",
        ),
        (
            "model-repo/prod",
            "model-repo/dev",
            "share.model_repository: /mnt/nfs_share/mlops/triton/model-repo/dev and",
        ),
        ("promobot/prod", "promobot/dev", "share.state: /mnt/nfs_share/mlops/triton/promobot/dev and"),
        (
            "promobot/prod",
            "model-repo/dev/state",
            "share.state: /mnt/nfs_share/mlops/triton/model-repo/dev/state and",
        ),
        (
            "triton/promobot/prod",
            "staging/promobot",
            f"share.state: {STAGING} and {STAGING} (staging.share.state of dev)",
        ),
        (
            "staging/promobot",
            "triton/model-repo/dev/x",
            "staging.share.state: /mnt/nfs_share/mlops/triton/model-repo/dev/x",
        ),
        ("triton-staging.mlops.svc", "triton.ml-prod.svc", "staging.triton.grpc: serves prod; proposals are checked"),
    ],
)
def test_what_two_environments_must_not_share_is_a_mistake_of_the_second(old: str, new: str, says: str) -> None:
    assert PROD.count(old) >= 1
    found = mistakes(prod=PROD.replace(old, new, 1))
    assert [mistake for mistake in found if says in mistake], found
    assert all(mistake.startswith("manifests/environments/prod.yaml:") for mistake in found)


def test_staging_records_and_the_channel_may_be_shared() -> None:
    for shared in (STAGING, "triton-staging.mlops.svc:8001", "/mnt/nfs_share/mlops/promobot-records", "C0MLRELEASES"):
        assert shared in DEV and shared in PROD
    assert mistakes() == []


def test_a_file_with_a_mistake_of_its_own_is_named_once_and_not_judged_beside_others() -> None:
    text = f"environment: prod\nmodels:\n  fraud:\n{ENTRY}"
    (only,) = mistakes(prod=PROD.replace("on_miss: stop", "on_miss: reject"), promotions={"prod": text})
    assert only.startswith("manifests/environments/prod.yaml:44: gates.churn.on_miss: it must be 'shadow' or ")


def test_a_name_stands_for_one_registered_model_on_the_way_to_production() -> None:
    names = "mlflow_names: {{churn: {}}}\n"
    assert mistakes(dev=DEV + names.format("Churn"), prod=PROD + names.format("Churn")) == []
    (only,) = mistakes(dev=DEV + names.format("Churn"), prod=PROD + names.format("churn-prod"))
    line = PROD.count("\n") + 1
    assert only.startswith(f"manifests/environments/prod.yaml:{line}: mlflow_names.churn: churn is 'churn-prod' in")
    (missing,) = mistakes(dev=DEV + names.format("Churn"))
    assert "churn is 'churn' in MLflow here and 'Churn' in dev" in missing


@pytest.mark.parametrize("key", ["default", '"fra*"'])
def test_a_gate_by_default_or_by_pattern_is_a_gate(key: str) -> None:
    more = f"  {key}:\n    metrics:\n      auc: {{minimum: 0.5}}\n"
    assert DEV.rstrip().endswith("lower_is_better: true}")
    text = f"environment: dev\nmodels:\n  fraud:\n{ENTRY}"
    assert mistakes(dev=DEV.rstrip() + "\n" + more, promotions={"dev": text}) == []


BUNDLES = "bundles:\n  fraud: [tokenizer, ranker, churn]\n"


def test_a_bundle_with_an_entry_of_some_parts_only_is_a_mistake() -> None:
    text = f"environment: dev\nmodels:\n  churn:\n{ENTRY}  rankre:\n{ENTRY}  tokenizer:\n{ENTRY}"
    found = mistakes(dev=DEV + BUNDLES, promotions={"dev": text})
    assert [
        mistake
        for mistake in found
        if "the bundle fraud of manifests/environments/dev.yaml also needs ranker" in mistake
    ]
    assert all(mistake.startswith("promotions/dev.yaml:") for mistake in found)
    whole = text.replace("rankre", "ranker")
    assert mistakes(dev=DEV + BUNDLES, promotions={"dev": whole}) == [], "only the last part needs a gate"


def test_the_last_part_of_a_bundle_needs_a_gate() -> None:
    (only,) = mistakes(dev=DEV + BUNDLES.replace("churn]", "chrun]"))
    assert only.startswith("manifests/environments/dev.yaml:")
    assert "bundles.fraud: there is no gate for chrun, the last part, which users ask" in only


def test_a_rollout_of_a_model_without_a_gate_is_a_mistake() -> None:
    text = DEV.replace("gates:\n", "rollout: {chrun: {steps: [10, 100]}, default: {steps: [50, 100]}}\ngates:\n", 1)
    (only,) = mistakes(dev=text)
    assert "rollout.chrun: there is no gate for this model, so it is never rolled out" in only


def test_the_rollout_of_a_part_that_users_do_not_ask_is_a_mistake() -> None:
    rollouts = "rollout: {ranker: {steps: [10, 100]}, churn: {steps: [50, 100]}}\n"
    text = DEV.replace("gates:\n", f"{BUNDLES}{rollouts}gates:\n  ranker: {{metrics: {{a: {{minimum: 0}}}}}}\n", 1)
    (only,) = mistakes(dev=text)
    assert "rollout.ranker: it is a part of a bundle that goes to its users as churn, which they ask" in only
