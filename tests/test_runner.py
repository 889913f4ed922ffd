"""Who runs a command, and where: by injected variables."""

from __future__ import annotations

import os
import socket

from bot.operations.deployer import deployer
from bot.runner import Runner, runner_of

ACTIONS = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/promotions", "GITHUB_RUN_ID": "7"}
RUN = "https://github.com/acme/promotions/actions/runs/7"


def test_a_job_of_github_actions_is_named_by_who_started_it_and_its_address() -> None:
    runner = runner_of({**ACTIONS, "GITHUB_ACTOR": "alex", "USER": "runner"})
    assert runner == Runner("alex", RUN, "runner")
    assert deployer(runner) == f"alex, {RUN}"


def test_a_machine_is_named_by_its_user_and_its_process() -> None:
    at = f"on {socket.gethostname()}, process {os.getpid()}"
    assert deployer(runner_of({"USER": "alex"})) == f"alex {at}"
    assert deployer(runner_of({"GITHUB_ACTOR": "alex"})) == f"user {os.getuid()} {at}"


def test_without_all_that_it_is_made_of_there_is_no_address() -> None:
    for missing in ACTIONS:
        assert runner_of({name: value for name, value in ACTIONS.items() if name != missing}).address == ""
