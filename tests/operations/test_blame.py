"""One model's fault is its own: of many in a run the one that fails goes back, and a wrong blame is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from tests.benchmarks.company import Company
from tests.operations.test_many import deploy, live, promobot
from tests.operations.world import World

LIFT = ("quarantine", "lift", "--env", "dev", "--reason", "it was the proxy")


@contextmanager
def company_of(home: Path, models: int) -> Iterator[Company]:
    """Have version 1 of every model merged, and none in service."""
    with Company(home, models) as company:
        company.merge(company.register(1))
        company.start()
        yield company


def quarantined(company: Company) -> list[str]:
    return sorted(
        event.model for event in Ledger(RecordStore(company.home / "records"), "dev").quarantined().values()
    )


def reverts(company: Company) -> list[str]:
    return sorted(pull["title"] for pull in company.pulls())


def expect_only_this_one_back(company: Company, bad: str) -> None:
    said = deploy(company)
    assert said.code == 1, said
    assert live(company) == {name: 1 for name in company.names if name != bad}
    outcomes = {record["model"]: record["outcome"] for record in said.document["records"]}
    assert outcomes == {name: "put back" if name == bad else "succeeded" for name in company.names}
    problem = next(record["problem"] for record in said.document["records"] if record["model"] == bad)
    assert f"could not ask {bad}" in problem and not any(name in problem for name in company.names if name != bad)
    assert quarantined(company) == [bad]
    assert reverts(company) == [f"Revert {bad} 1 in dev: back to nothing"]
    assert sum("↩️" in text for text, _ in company.told()) == 1
    others = len(company.names) - 1
    assert sum("goes back; the other" in line and f"the other {others} stay" in line for line in said.lines) == 1


def test_of_three_models_the_one_that_a_gateway_refuses_goes_back_and_one_command_takes_the_blame_back(
    tmp_path: Path,
) -> None:
    with company_of(tmp_path, 3) as company:
        bad = company.names[1]
        company.refuse_over_http(bad)
        expect_only_this_one_back(company, bad)
        assert any(f"--deployment dev-00000001-{bad} " in blocks for _, blocks in company.told())

        done = promobot(company, *LIFT, "--run", "dev-00000001")
        assert done.code == 0
        assert [event["model"] for event in done.document["undone"]["lifted"]] == [bad]
        assert len(done.document["undone"]["closed"]) == 1
        assert quarantined(company) == [] and reverts(company) == []
        again = promobot(company, *LIFT, "--deployment", f"dev-00000001-{bad}")
        assert again.code == 0 and again.document["undone"]["lifted"] == again.document["undone"]["closed"] == []

        company.refuse_over_http()
        assert deploy(company).code == 0
        assert live(company) == dict.fromkeys(company.names, 1)


@pytest.mark.slow
def test_of_fifteen_models_the_one_that_a_gateway_refuses_goes_back_alone(tmp_path: Path) -> None:
    with company_of(tmp_path, 15) as company:
        company.refuse_over_http(company.names[6])
        expect_only_this_one_back(company, company.names[6])


@pytest.mark.slow
def test_what_fails_for_all_is_nobodys_fault_and_the_next_run_brings_them(tmp_path: Path) -> None:
    with company_of(tmp_path, 3) as company:
        company.refuse_over_http(*company.names)
        said = deploy(company)
        assert said.code == 1 and live(company) == {}
        assert {record["outcome"] for record in said.document["records"]} == {"put back"}
        assert quarantined(company) == [] and len(reverts(company)) == 3

        company.refuse_over_http()
        assert deploy(company).code == 0
        assert live(company) == dict.fromkeys(company.names, 1) and reverts(company) == []


@pytest.mark.extended
def test_a_revert_that_somebody_changed_stays_open_and_an_unknown_run_is_refused(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "unscaled"))
    assert world.deploy().code == 1
    (revert,) = world.reverts(model)
    world.git("fetch", "--quiet", "origin", revert["head"]["ref"])
    world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    world.git("commit", "--quiet", "--allow-empty", "--message", "wait")
    world.git("push", "--quiet", "origin", f"HEAD:refs/heads/{revert['head']['ref']}")

    run = world.records(model)[-1].id.removesuffix(f"-{model}")
    done = world.words(*LIFT, "--run", run)
    assert done.code == 1 and world.quarantined(model) == []
    assert f"{model} 2 is out of quarantine in dev" in done.out
    assert f"problem: {revert['html_url']} was changed by somebody since the bot opened it It stays open." in done.out
    assert [pull["number"] for pull in world.reverts(model)] == [revert["number"]]

    refused = world.words(*LIFT, "--run", "dev-00009999")
    assert refused.code == 1
    assert refused.err.startswith("promobot: there is no deployment and no run dev-00009999 in dev\n")
