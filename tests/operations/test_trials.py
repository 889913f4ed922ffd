"""Trials of systems: they run at the same time, and nothing makes one miss its deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bot.errors import Rejected
from bot.operations.trials import Examined, NotTried, Trial, try_all
from tests.stand_ins.server import StandIn


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What hangs waits for this, which is set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def hangs(released: threading.Event) -> str:
    released.wait()
    return "released"


def rejected() -> str:
    raise Rejected("says no", system="A", next_step="Ask B.")


def test_what_was_seen_what_fails_and_what_could_not_be_tried() -> None:
    trials = [
        Trial("well", lambda: "answers"),
        Trial("ill", rejected),
        Trial("half", lambda: NotTried("answers", "Give it a scope.")),
    ]
    assert try_all(trials) == [
        [Examined("well", True, "answers")],
        [Examined("ill", False, "A: says no", "Ask B.")],
        [Examined("half", None, "answers", "Give it a scope.")],
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Is it up? `promobot doctor`.", "Is it up?"),
        ("Set A; `promobot doctor` tells what works.", "Set A."),
        ("`promobot doctor` tries the credentials.", "Are the credentials right?"),
        ("Is any pod ready? `promobot doctor` asks again.", "Is any pod ready?"),
        ("Mount it. `promobot doctor --init` marks a store.", "Mount it. `promobot doctor --init` marks a store."),
        ("", ""),
    ],
)
def test_the_doctor_sends_nobody_to_the_doctor(said: str, shown: str) -> None:
    def fails() -> str:
        raise Rejected("down", system="A", next_step=said)

    assert try_all([Trial("A", fails)]) == [[Examined("A", False, "A: down", shown)]]


def test_all_run_at_the_same_time() -> None:
    everybody = threading.Barrier(20)  # who comes alone waits for ever
    trials = [Trial(str(number), lambda: str(everybody.wait(timeout=60) >= 0)) for number in range(20)]
    assert try_all(trials, seconds=60) == [[Examined(str(number), True, "True")] for number in range(20)]


def test_one_that_hangs_is_named_and_the_others_are_told(released: threading.Event) -> None:
    trials = [Trial("stuck", lambda: hangs(released)), Trial("well", lambda: "answers")]
    (stuck,), (well,) = try_all(trials, seconds=0.3)
    assert (stuck.system, stuck.works) == ("stuck", False)
    assert stuck.seen == "it does not answer: the trial did not end within 0.3 s" and stuck.next_step
    assert well == Examined("well", True, "answers")


def test_what_an_entry_stands_for_has_no_more_time_than_the_others(released: threading.Event) -> None:
    replicas = [Trial("replica-1", lambda: "answers"), Trial("replica-2", lambda: hangs(released))]
    (lines,) = try_all([Trial("several", lambda: replicas)], seconds=0.3)
    assert [(line.system, line.works) for line in lines] == [("replica-1", True), ("replica-2", False)]


def test_an_entry_that_stands_for_nobody_has_no_line() -> None:
    assert try_all([Trial("several", list)]) == [[]]


def test_a_bug_is_no_finding() -> None:
    def broken() -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        try_all([Trial("A", broken)])


def test_no_time_is_left_where_the_clock_jumped(released: threading.Event) -> None:
    """A laptop that slept, or a machine that stood still, is past the deadline at once."""
    times = iter([0.0, 1e9, 1e9, 1e9])
    ((stuck,),) = try_all([Trial("stuck", lambda: hangs(released))], seconds=10, clock=lambda: next(times))
    assert stuck.works is False


SILENT = """
import sys
from bot import cli
from bot.operations import trials
import bot.operations.doctor
trials.DEADLINE_SECONDS, trials.REQUEST_SECONDS, bot.operations.doctor.GIT_SECONDS = 2.0, 3600.0, 2.5
sys.exit(cli.main(["doctor", "--json", "--root", sys.argv[1]]))
"""
"""The command, with requests that are waited for an hour, and trials that are not."""


def test_where_everything_hangs_every_system_has_its_line_and_the_command_ends(tmp_path: Path) -> None:
    for folder in ("models", "state"):
        (tmp_path / folder).mkdir()
    with StandIn() as silent:  # takes every connection, and never answers
        address, url = silent.url.removeprefix("http://"), silent.url
        environment = {
            "environment": "dev",
            "github": {"repository": "acme/models", "server_url": url, "api_url": f"{url}/api/v3"},
            "mlflow": {"uri": url},
            "staging": {
                "triton": {"name": "staging", "grpc": address},
                "share": {"model_repository": f"{tmp_path}/staging", "state": f"{tmp_path}/staging-state"},
            },
            "share": {"model_repository": f"{tmp_path}/models", "state": f"{tmp_path}/state"},
            "tritons": [{"name": "triton-0", "grpc": address, "http": address}],
            "gateways": [{"name": "gateway-0", "url": url}],
            "records": {"s3": {"bucket": "mlops", "endpoint": url, "region": "us-east-1"}},
            "slack": {"channel": "C0123ABCD", "api_url": f"{url}/api"},
            "gates": {"churn": {"metrics": {"accuracy": {"minimum": 0.9}}}},
            "deadlines": {"request_seconds": 3600},
        }
        manifests = tmp_path / "checkout/manifests/environments"
        manifests.mkdir(parents=True)
        (manifests / "dev.yaml").write_text(yaml.safe_dump(environment))
        secrets = dict.fromkeys(("GITHUB_TOKEN", "SLACK_BOT_TOKEN", "PROMOBOT_RELOAD_TOKEN"), "a-secret-of-this-test")
        keys = {"AWS_ACCESS_KEY_ID": "a-key-of-this-test", "AWS_SECRET_ACCESS_KEY": "a-secret-key-of-this-test"}
        done = subprocess.run(
            [sys.executable, "-c", SILENT, str(tmp_path / "checkout")],
            env={**os.environ, **secrets, **keys, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    (found,) = json.loads(done.stdout)["environments"]
    lines = {line["system"]: line for line in found["systems"]}
    hanging = {
        "Git",
        "GitHub",
        "MLflow",
        "Slack",
        "records",
        "staging Triton",
        "Triton triton-0",
        "gateway gateway-0",
    }
    assert lines.keys() == hanging | {"share", "staging share"}
    assert {name for name, line in lines.items() if "the trial did not end within 2 s" in line["seen"]} >= hanging
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("promobot-")], "nothing is left"
