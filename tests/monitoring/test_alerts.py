"""The alert rules: each fires when it must, alone, and not when all is well. promtool evaluates them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.prometheus import ALERTS, needs_prometheus, promtool

OF_CHURN = 'namespace="ml-prod",instance="gw-0",model="churn",version="8"'
OF_GATEWAY = 'namespace="ml-prod",instance="gw-0"'
REQUESTS = f'promobot_gateway_requests_total{{{OF_CHURN},lane="live",code="200"}}'
FAILED = f'promobot_gateway_failed_requests_total{{{OF_CHURN},lane="live"}}'


def times(slow: int) -> dict[str, str]:
    """A hundred requests a minute, ``slow`` of which take more than 1 s."""
    bucket = "promobot_gateway_request_duration_seconds_bucket"
    count = f"promobot_gateway_request_duration_seconds_count{{{OF_CHURN}}}"
    return {
        f'{bucket}{{{OF_CHURN},le="1.0"}}': f"0+{100 - slow}x60",
        f'{bucket}{{{OF_CHURN},le="2.5"}}': "0+100x60",
        f'{bucket}{{{OF_CHURN},le="+Inf"}}': "0+100x60",
        count: "0+100x60",
    }


def tritons(known: int, silent: int) -> dict[str, str]:
    name = f"promobot_gateway_tritons{{{OF_GATEWAY},state="
    return {f'{name}"known"}}': f"{known}x90", f'{name}"silent"}}': f"{silent}x90"}


def copies(failed: int) -> dict[str, str]:
    name = f"promobot_gateway_shadow_requests_total{{{OF_CHURN},result="
    return {
        f'{name}"answered"}}': f"0+{100 - failed}x60",
        f'{name}"failed"}}': f"0+{failed}x60",
        f'{name}"dropped"}}': "0+900x60",
    }


@dataclass(frozen=True)
class Case:
    """Series by name, a sample a minute, for which the alert fires; and some for which all is well."""

    alert: str
    fires: dict[str, str]
    well: dict[str, str]
    labels: str
    minutes: int = 40


CASES = [
    Case(
        "PromobotVersionFails",
        {REQUESTS: "0+100x60", FAILED: "0+10x60"},
        {REQUESTS: "0+100x60", FAILED: "0+4x60"},
        'severity="critical",namespace="ml-prod",model="churn",version="8"',
    ),
    Case(
        "PromobotVersionIsSlow",
        times(slow=6),
        times(slow=4),
        'severity="warning",namespace="ml-prod",model="churn",version="8"',
    ),
    Case(
        "PromobotGatewayRefuses",
        {f'promobot_gateway_refusals_total{{{OF_GATEWAY},code="503"}}': "0+1x60"},
        {f'promobot_gateway_refusals_total{{{OF_GATEWAY},code="404"}}': "0+9x60"},
        'severity="warning",namespace="ml-prod"',
    ),
    Case(
        "PromobotGatewayServesNothing",
        {f"promobot_gateway_serving{{{OF_GATEWAY}}}": "0x60"},
        {f"promobot_gateway_serving{{{OF_GATEWAY}}}": "1x60"},
        f'severity="critical",{OF_GATEWAY}',
    ),
    Case(
        "PromobotGatewaysDisagree",
        {
            f"promobot_gateway_generation{{{OF_GATEWAY}}}": "7x60",
            'promobot_gateway_generation{namespace="ml-prod",instance="gw-1"}': "6x60",
        },
        {
            f"promobot_gateway_generation{{{OF_GATEWAY}}}": "7x60",
            'promobot_gateway_generation{namespace="ml-dev",instance="gw-1"}': "6x60",
        },
        'severity="warning",namespace="ml-prod"',
    ),
    Case(
        "PromobotGatewayWorkerSilent",
        {f"promobot_gateway_silent_workers{{{OF_GATEWAY}}}": "1x60"},
        {f"promobot_gateway_silent_workers{{{OF_GATEWAY}}}": "0x60"},
        f'severity="warning",{OF_GATEWAY}',
    ),
    Case(
        "PromobotGatewayDoesNotDrain",
        {f"promobot_gateway_draining_requests{{{OF_GATEWAY}}}": "2x60"},
        {f"promobot_gateway_draining_requests{{{OF_GATEWAY}}}": "2x9 0x50"},
        f'severity="warning",{OF_GATEWAY}',
    ),
    Case(
        "PromobotReloadRefused",
        {f'promobot_gateway_reloads_total{{{OF_GATEWAY},result="refused"}}': "0x35 1x30"},
        {f'promobot_gateway_reloads_total{{{OF_GATEWAY},result="taken"}}': "0x35 1x30"},
        f'severity="warning",{OF_GATEWAY},result="refused"',
    ),
    Case("PromobotTritonSilent", tritons(2, 1), tritons(2, 0), f'severity="warning",{OF_GATEWAY},state="silent"'),
    Case(
        "PromobotShadowFails",
        copies(failed=10),
        copies(failed=4),
        'severity="info",namespace="ml-prod",model="churn",version="8"',
    ),
    Case(
        "PromobotRecordingFails",
        {f'promobot_gateway_recorded_requests_total{{{OF_GATEWAY},result="failed"}}': "0+1x60"},
        {f'promobot_gateway_recorded_requests_total{{{OF_GATEWAY},result="written"}}': "0+1x60"},
        f'severity="info",{OF_GATEWAY}',
    ),
    Case(
        "PromobotDeploymentFailed",
        {'promobot_deployments_total{environment="prod",outcome="put back"}': "3x35 4x30"},
        {'promobot_deployments_total{environment="prod",outcome="succeeded"}': "3x35 4x30"},
        'severity="warning",environment="prod",outcome="put back"',
    ),
    Case(
        "PromobotRolloutStands",
        {
            'promobot_rollout_percent{environment="prod",model="churn",instance="a"}': "10x230",
            'promobot_rollout_percent{environment="prod",model="churn",instance="b"}': "10x230",
            'promobot_rollout_percent{environment="prod",model="fraud",instance="a"}': "10x100 50x130",
            'promobot_rollout_percent{environment="prod",model="iris",instance="a"}': "_x100 10x130",
            # One that was put back, and another that began at the same step.
            'promobot_rollout_percent{environment="prod",model="wine",instance="a"}': "10x100 _x40 10x90",
        },
        {'promobot_rollout_percent{environment="prod",model="churn",instance="a"}': "1x100 10x100 50x60"},
        'severity="warning",environment="prod",model="churn"',
        minutes=220,
    ),
    Case(
        "PromobotNobodyLooks",
        {
            'promobot_look_timestamp_seconds{service="slack",environment="prod",instance="a"}': "0+60x60",
            'promobot_look_timestamp_seconds{service="watch",environment="prod",instance="b"}': "1000x60",
        },
        {
            'promobot_look_timestamp_seconds{service="slack",environment="prod",instance="a"}': "0+60x60",
            'promobot_look_timestamp_seconds{service="watch",environment="prod",instance="b"}': "600x60",
            'promobot_look_timestamp_seconds{service="watch",environment="prod",instance="c"}': "0+60x60",
        },
        'severity="warning",environment="prod",service="watch"',
    ),
    Case(
        "PromobotSlackWaits",
        {'promobot_outbox_messages{environment="prod"}': "1x60"},
        {'promobot_outbox_messages{environment="prod"}': "1x20 0x40"},
        'severity="warning",environment="prod"',
    ),
    Case(
        "PromobotDrifted",
        {'promobot_drift_differences{environment="prod"}': "2x60"},
        {'promobot_drift_differences{environment="prod"}': "0x60"},
        'severity="warning",environment="prod"',
    ),
    Case(
        "PromobotDriftUnknown",
        {'promobot_drift_timestamp_seconds{environment="prod"}': "0x300"},
        {'promobot_drift_timestamp_seconds{environment="prod"}': "0x100 6000x200"},
        'severity="warning",environment="prod"',
        minutes=250,
    ),
    Case(
        "PromobotChangeHeld",
        {'promobot_held_changes{environment="prod"}': "1x90"},
        {'promobot_held_changes{environment="prod"}': "1x45 0x50"},
        'severity="info",environment="prod"',
        minutes=70,
    ),
]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def unit_test(series: dict[str, str], minutes: int, firing: list[str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'ALERTS{alertstate="firing"}',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": f'ALERTS{{alertstate="firing",{one}}}', "value": 1} for one in firing],
            }
        ],
    }


def evaluate(folder: Path, *tests: dict[str, Any]) -> None:
    (folder / "alerts.test.yaml").write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": list(tests)}))
    promtool("test", "rules", folder / "alerts.test.yaml")


@needs_prometheus
def test_promtool_finds_nothing_wrong() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", ALERTS)


@needs_prometheus
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_must_alone_and_not_when_all_is_well(case: Case, tmp_path: Path) -> None:
    firing = [f'alertname="{case.alert}",{case.labels}']
    evaluate(tmp_path, unit_test(case.fires, case.minutes, firing), unit_test(case.well, case.minutes, []))


@needs_prometheus
def test_where_no_triton_answers_that_is_said_beside_how_many(tmp_path: Path) -> None:
    firing = [
        f'alertname="PromobotNoTritonAnswers",severity="critical",{OF_GATEWAY}',
        f'alertname="PromobotTritonSilent",severity="warning",{OF_GATEWAY},state="silent"',
    ]
    evaluate(tmp_path, unit_test(tritons(2, 2), 40, firing), unit_test(tritons(0, 0), 40, []))


@needs_prometheus
def test_little_traffic_rings_nobody(tmp_path: Path) -> None:
    """Of two requests in five minutes one failed."""
    evaluate(tmp_path, unit_test({REQUESTS: "0 0+0x4 1 1x4 2 2x60", FAILED: "0 0x4 1x60"}, 11, []))


def test_every_alert_is_tried_and_says_what_to_do() -> None:
    tried = {case.alert for case in CASES} | {"PromobotNoTritonAnswers"}
    assert {rule["alert"] for rule in rules()} == tried
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert re.search(r"`|log|dashboard", rule["annotations"]["description"]), rule["alert"]


def test_the_page_has_each_alert_with_its_severity() -> None:
    page = (ALERTS.parents[2] / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(Promobot\w+)` \|[^|]*\| (\w+) \|", page, re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in rules()]
