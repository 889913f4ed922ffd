"""Cases that became law, as people see them: in checks, in the pull request that adds one, and in a deployment."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.domain.release import Slot
from tests.operations.world import Registered, World, rows_of


def case_of(registered: Registered, **demands: Any) -> dict[str, Any]:
    """Return a case of the first golden request; by default it must be answered as by this version."""
    golden = json.loads((registered.artifacts / "smoke.json").read_text())["cases"][0]
    tolerance = {"relative": 1e-3, "absolute": 1e-3}
    demands = demands or {"must": golden["outputs"]}
    return {
        "format": 1,
        "why": "INC-1207",
        "by": "anna",
        "inputs": golden["inputs"],
        "tolerance": tolerance,
        **demands,
    }


def forbidden(registered: Registered) -> dict[str, Any]:
    """Return a case that this version does not hold: what it answers is the very answer that it must not give."""
    golden = json.loads((registered.artifacts / "smoke.json").read_text())["cases"][0]
    return case_of(registered, must_not=golden["outputs"])


def write(world: World, model: str, **cases: dict[str, Any]) -> None:
    """Put cases into the checkout, as if they had been merged."""
    for name, document in cases.items():
        path = world.root / "cases" / model / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1))


def test_a_later_version_that_does_not_hold_a_case_is_red_and_one_that_does_is_green(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    better = world.register(model, "better")
    number = world.proposed(better)["number"]
    write(world, model, held=case_of(first, must=[{"name": "label", **_label(first)}]), again=forbidden(better))

    smoke, verdict = world.check(number, "smoke")
    assert (smoke.code, verdict.code) == (1, 1)
    (result,) = smoke.document["results"]
    found = {one["what"]: (one["passed"], one["detail"]) for one in result["findings"]}
    assert found["case held"] == (True, "label 0; INC-1207 (added by anna)")
    passed, said = found["case again"]
    assert not passed and "the very answer that it must not get again; INC-1207 (added by anna)" in said
    assert [(one["case"], bool(one["wrong"])) for one in result["cases"]] == [("again", True), ("held", False)]
    comment = world.sticky(number).replace("\\", "")
    assert "failed at “case again”: label 0, probabilities " in comment.splitlines()[2]
    assert "⚠️ **Cases that are law:** 1 of 2 hold. Not held: `again`." in comment
    assert "**Parity with the training framework:** 9 of 9 smoke cases." in comment
    assert world.loaded("staging") == []

    (world.root / "cases" / model / "again.json").unlink()
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    assert "**Cases that are law:** 1 of 1 hold." in world.sticky(number)


def _label(registered: Registered) -> dict[str, Any]:
    golden = json.loads((registered.artifacts / "smoke.json").read_text())["cases"][0]
    return next({key: tensor[key] for key in ("datatype", "shape", "data")} for tensor in golden["outputs"])


def test_a_pull_request_that_only_adds_a_case_says_whether_what_serves_holds_it(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    path = f"cases/{model}/inc-1207.json"
    number = world.propose_by_hand({path: json.dumps(forbidden(first))})

    smoke, verdict = world.check(number, "smoke")
    assert (smoke.code, verdict.code) == (0, 0), "what serves is not on trial, so the case can be merged"
    (asked,) = smoke.document["cases"]
    assert (asked["environment"], asked["model"], asked["entry"]["version"]) == ("dev", model, 1)
    comment = world.sticky(number).replace("\\", "")
    assert comment.splitlines()[2] == (
        f"⚖️ **After the merge 1 case is law for {model}.** ⚠️ {model} 1 in dev does not hold all of it now, and stays "
        "in service. Next: review what is below."
    )
    demands, found = list(rows_of(comment, "### Cases")), [row for row in comment.splitlines() if "| dev |" in row]
    assert demands[1][0] == f"`{path}`" and demands[1][2] == "INC-1207 (added by anna)"
    assert len(found) == 1 and found[0].startswith(f"| ❌ | dev | {model} 1 | `inc-1207` | label 0, probabilities ")
    assert "changes no model" not in comment and "no check looked at" not in comment
    assert world.loaded("staging") == []

    missing = world.bot(
        "check", "verdict", "--pull-request", world.propose_by_hand({path: json.dumps(case_of(first))})
    )
    assert missing.code == 1 and missing.document["problems"] == [
        f"{model} 1 in dev was not asked the proposed cases"
    ]


def test_a_case_with_a_mistake_is_red_with_file_line_and_key_and_validate_says_the_same(world: World) -> None:
    model = world.model()
    first = world.register(model)
    text = json.dumps({**case_of(first), "whi": "x"}, indent=1)
    line = text[: text.index('"whi"')].count("\n") + 1
    mistakes = {
        f"cases/{model}/a.json": f"cases/{model}/a.json:{line}: whi: unknown key",
        f"cases/{model}/b.yaml": f"cases/{model}/b.yaml: is not read: a case is cases/<model>/<name>.json",
    }
    number = world.propose_by_hand(dict.fromkeys(mistakes, text))
    verdict = world.bot("check", "verdict", "--pull-request", number)
    assert (verdict.code, verdict.document["problems"]) == (1, list(mistakes.values()))
    for path in mistakes:
        (world.root / path).parent.mkdir(parents=True, exist_ok=True)
        (world.root / path).write_text(text)
    said = world.bot("validate")
    assert (said.code, said.document["mistakes"]) == (1, list(mistakes.values()))
    for path in mistakes:
        (world.root / path).unlink()
    write(world, "nobody", a=case_of(first))
    (mistake,) = world.bot("validate").document["mistakes"]
    assert mistake.startswith("cases/nobody/a.json: no environment in manifests/environments has a gate for nobody")


@pytest.mark.slow
def test_a_deployment_is_held_until_a_case_that_came_later_is_asked(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    number = int(world.proposed(world.register(model, "better"))["number"])
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    world.merge(number)
    write(world, model, law=case_of(first, bounds=[{"output": "probabilities", "minimum": 0, "maximum": 1}]))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    (line,) = [line for line in said.out.splitlines() if line.startswith(f"held: {model} ")]
    assert line.endswith(
        f"it was not asked the case law by its checks in #{number}: law is asked of every later version; "
        f"`promobot recheck {model} --env dev` checks what main says, then deploy again"
    )
    assert world.words("recheck", model, "--env", "dev").code == 0
    assert world.deploy().code == 0
    assert world.version(model) == 2

    write(world, model, law=case_of(first, bounds=[{"output": "probabilities", "minimum": 2}]))
    assert world.deploy().code == 0, "what serves is not held for a case that it does not hold"
    evidence = world.ledger().evidence(first.entry.in_slot(Slot.of("dev", model, "models")))
    assert evidence is None or not evidence.cases


@pytest.mark.slow
def test_a_case_that_became_stricter_is_judged_by_the_recorded_answer(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    number = int(world.proposed(world.register(model, "better"))["number"])
    write(world, model, law=case_of(first, bounds=[{"output": "probabilities", "maximum": 1}]))
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    world.merge(number)
    write(world, model, law=case_of(first, bounds=[{"output": "probabilities", "maximum": 0.001}]))
    said = world.words("deploy", "--env", "dev")
    (line,) = [line for line in said.out.splitlines() if line.startswith(f"held: {model} ")]
    assert (
        said.code == 1
        and "its cases or for packages were changed; judged again, it does not pass (case law: " in line
    )
    write(world, model, law=case_of(first, bounds=[{"output": "probabilities", "maximum": 1.5}]))
    assert world.deploy().code == 0
    assert world.version(model) == 2


@pytest.mark.slow
def test_the_way_back_is_open_to_a_version_that_does_not_hold_a_newer_case(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    world.served(world.register(model, "better"))
    write(world, model, law=forbidden(first))
    assert world.promobot("rollback", model, "--env", "dev").code == 0
    (revert,) = world.reverts(model)
    smoke, _ = world.check(revert["number"], "smoke")
    assert smoke.code == 0
    comment = world.sticky(revert["number"]).replace("\\", "")
    assert "Not held: `law`. They stop nothing here; what Smoke found says why." in comment
    assert "this stops nothing, because these bytes were verified in service by dev-" in comment
    world.merge(revert["number"])
    assert world.deploy().code == 0
    assert world.version(model) == 1


@pytest.mark.slow
def test_a_request_that_triton_refuses_is_a_wrong_case_and_the_others_are_asked(world: World) -> None:
    model = world.model()
    first = world.register(model)
    strange = {**case_of(first), "inputs": [{"name": "Y", "datatype": "FP32", "shape": [1], "data": [0]}]}
    write(world, model, a=strange, b=case_of(first))
    smoke, _ = world.check(world.proposed(first)["number"], "smoke")
    assert smoke.code == 1
    found = {one["what"]: one for one in smoke.document["results"][0]["findings"]}
    assert not found["case a"]["passed"] and found["case a"]["detail"].startswith("not answered: Triton ")
    assert found["case b"]["passed"]


@pytest.mark.slow
def test_a_pull_request_cannot_take_away_the_case_that_stops_it(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    better = world.register(model, "better")
    write(world, model, law=forbidden(better))
    path = f"cases/{model}/law.json"
    world.commit({path: json.dumps(forbidden(better))})
    files = world.edited(model, better.entry)
    number = world.propose_by_hand(files, remove=[path])
    smoke, verdict = world.check(number, "smoke")
    assert (smoke.code, verdict.code) == (1, 1)
    comment = world.sticky(number).replace("\\", "")
    assert "failed at “case law”" in comment.splitlines()[2]
    assert f"⚠️ No longer asked: `{path}`." in comment
