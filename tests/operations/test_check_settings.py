"""What the verdict says of a pull request that changes settings: the mistakes, and what merging it would change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bot.domain.evidence import CHECKS
from tests.operations.world import MANIFEST, Said, World, rows_of

DEV, PROD = MANIFEST.format("dev"), MANIFEST.format("prod")
MODEL = "churn"


@pytest.fixture(autouse=True)
def _published(world: World) -> None:
    world.publish_settings()


def on_main(world: World, path: str) -> str:
    world.git("fetch", "--quiet", "origin", "main")
    return world.git("show", f"FETCH_HEAD:{path}") + "\n"


def edited(text: str, **changes: object) -> str:
    document = yaml.safe_load(text)
    for key, value in changes.items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    return yaml.safe_dump(document, sort_keys=False)


def verdict(world: World, number: int) -> tuple[Said, str]:
    needs = json.dumps({name: {"result": "success"} for name in CHECKS})
    said = world.bot("check", "verdict", "--pull-request", number, "--needs", needs)
    return said, world.sticky(number).replace("\\", "")


def test_a_mistake_in_proposed_settings_is_red_with_file_line_and_key(world: World, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    text = edited(on_main(world, DEV), gates={MODEL: {"on_miss": "reject", "metrics": {"accuracy": {"minimum": 0}}}})
    number = world.propose_by_hand({DEV: text, "conftest.py": f"open({str(canary)!r}, 'w')\n"})
    said, comment = verdict(world, number)
    line = text[: text.index("on_miss: reject")].count("\n") + 1
    mistake = f"{DEV}:{line}: gates.{MODEL}.on_miss: it must be 'shadow' or 'stop', not 'reject'"
    assert (said.code, said.document["problems"]) == (1, [mistake])
    assert comment.splitlines()[2] == f"❌ **Do not merge: {mistake}.** Nothing in service has changed."
    assert world.bot("check", "ready", "--pull-request", number).code == 0, "no entry is wrong"
    assert not canary.exists()


def test_what_settings_would_change_is_shown_as_a_table(world: World) -> None:
    text = on_main(world, DEV)
    document = yaml.safe_load(text)
    first = document["tritons"][0]
    servers = [{**first, "grpc": "moved:1"}, {"name": "new", "grpc": "new:1", "control_key_env": "NEW_KEY"}]
    gates = {"fraud": {"metrics": {"auc": {"minimum": 0.7}}}}
    slack = {"may": {"approve": ["U0SAM"]}}
    number = world.propose_by_hand({DEV: edited(text, tritons=servers, gates=gates, slack=slack)})
    said, comment = verdict(world, number)
    assert (said.code, said.document["problems"]) == (0, [])
    assert comment.splitlines()[2].startswith(
        "🔧 **Merging this changes the settings of dev.** It proposes no version."
    )
    rows = {row[0]: row[1:] for row in rows_of(comment, "### Settings of dev")}
    assert rows[f"`tritons[{first['name']}].grpc`"] == [f"`{first['grpc']}`", "`moved:1`"]
    assert rows["`tritons[new]`"][1].startswith("`name: new, grpc: new:1, control_key_env: NEW_KEY")
    assert rows["`gates.fraud`"][0] == "–" and "auc: (minimum: 0.7" in rows["`gates.fraud`"][1]
    assert rows["`slack.may.approve`"][1] == "`U0SAM`"
    assert "⚠️ `tritons`: the bot no longer loads and proves a server that is left out" in comment
    assert "Nothing to check" not in comment
    assert "settings of dev" in world.words("check", "ready", "--pull-request", number).out


@pytest.mark.extended
def test_comments_alone_a_deleted_and_a_new_environment_are_said(world: World) -> None:
    number = world.propose_by_hand({DEV: "# another word\n" + on_main(world, DEV)})
    said, comment = verdict(world, number)
    assert said.code == 0 and "Only comments and layout change; every value stays as it is." in comment

    qa = edited(
        on_main(world, PROD),
        environment="qa",
        share={"model_repository": "/qa/models", "state": "/qa/state"},
        tritons=[{"name": "qa", "grpc": "qa:1"}],
        gateways=[{"name": "qa", "url": "http://qa:1"}],
    )
    new = {MANIFEST.format("qa"): qa, "promotions/qa.yaml": "environment: qa\nmodels: {}\n"}
    number = world.propose_by_hand(new)
    said, comment = verdict(world, number)
    assert (said.code, said.document["problems"]) == (0, [])
    assert "### Settings of qa\n\nThe environment is new." in comment
    entry = world.register(world.model()).entry
    with_a_model = world.edited("unknown", entry, environment="prod")["promotions/prod.yaml"]
    number = world.propose_by_hand({**new, "promotions/qa.yaml": with_a_model.replace("prod", "qa")})
    said, comment = verdict(world, number)
    assert said.code == 1 and "the settings of qa are proposed here, too" in comment

    world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    world.git("rm", "--quiet", PROD)
    world.git("commit", "--quiet", "--message", "Away")
    world.git("push", "--quiet", "origin", "HEAD:refs/heads/no-prod")
    number = world.api("POST", "/pulls", {"base": "main", "head": "no-prod", "title": "No prod"})["number"]
    said, comment = verdict(world, number)
    assert said.code == 1, "its promotions file has no environment any more"
    assert (
        "⚠️ **The environment file is deleted.** The bot no longer deploys, proves or rolls back prod; its" in comment
    )


@pytest.mark.extended
def test_a_gate_that_main_still_needs_is_not_taken_out_and_a_fault_of_main_is_nobody_elses(world: World) -> None:
    text = on_main(world, DEV)
    model = world.model()
    world.commit({DEV: edited(text, gates={model: {"metrics": {"accuracy": {"minimum": 0}}}})})
    world.desire(model, world.register(model).entry)
    number = world.propose_by_hand({DEV: text})
    said, _ = verdict(world, number)
    (problem,) = said.document["problems"]
    assert said.code == 1 and f"models.{model}: {DEV} has no gate for it" in problem
    world.commit({DEV: text})
    number = world.propose_by_hand({DEV: edited(text, keep={"versions": 7})})
    said, comment = verdict(world, number)
    assert (said.code, said.document["problems"]) == (0, []), "main has the mistake already"
    assert ["`keep.versions`", "`3`", "`7`"] in list(rows_of(comment, "### Settings of dev"))


@pytest.mark.extended
def test_a_broken_file_of_the_base_branch_can_be_mended_and_holds_only_its_own_environment(world: World) -> None:
    good = on_main(world, DEV)
    bad = good.replace("gates:", "freeze: Christmas\ngates:", 1)
    world.commit({DEV: bad})
    (world.root / DEV).write_text(bad)
    try:
        number = world.propose_by_hand({DEV: good})
        said, comment = verdict(world, number)
        assert (said.code, said.document["problems"]) == (0, [])
        assert "The file has a mistake before this change, so every value is shown as new." in comment
        for environment, expected in (("dev", 1), ("prod", 0)):
            model = world.model() if environment == "prod" else "anything"
            entry = world.register(model).entry
            number = world.propose_by_hand(world.edited(model, entry, environment=environment))
            ready = world.bot("check", "ready", "--pull-request", number)
            assert ready.code == expected, ready
            if environment == "dev":
                assert f"{DEV}:" in ready.document["error"] and "freeze: unknown key" in ready.document["error"]
    finally:
        world.commit({DEV: good})
