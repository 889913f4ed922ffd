"""``promobot deploy``: the world becomes what main says, proven; or nothing changed; or it is put back."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from tritonclient.grpc import service_pb2

from bot.domain import desired
from bot.domain.evidence import Answer
from bot.domain.record import CRITERIA, served_after
from bot.domain.routes import RouteTable
from bot.systems.gateway import GatewayControl
from tests.operations.world import Registered, World, wait_until
from tests.stand_ins import triton as stand_in
from tests.stand_ins.between import between
from tests.stand_ins.links import Fault, HttpLink

GATEWAYS = ("gateway-dev-1", "gateway-dev-2")


def _corrupt(registered: Registered) -> Registered:
    """Have a version that was green, and does not load where it is deployed."""
    (registered.artifacts / "model.onnx").write_bytes(stand_in.model_file(registered.model.encode()))
    return registered.relist()


def _otherwise(answers: list[Answer]) -> list[Answer]:
    """Return what a staging Triton would have said that answered something else to the first request."""
    first, *others = answers
    outputs = [
        replace(tensor, data=tuple(value - 0.25 for value in tensor.data)) if tensor.datatype == "FP32" else tensor
        for tensor in first.outputs
    ]
    return [Answer(case=first.case, outputs=tuple(outputs)), *others]


def test_the_first_version_is_published_loaded_proven_routed_and_told(world: World) -> None:
    model = world.model()
    first = world.register(model)
    generation = world.routes()["generation"]
    world.merged(first)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0
    assert said.out.splitlines()[0] == f"{model} 1 is served in dev."
    table = said.out.splitlines()[1:]
    assert all(name in table[0] for name in ("registered in MLflow", "READY", "Triton loaded", "FastAPI reloaded"))
    assert table[2].split() == [f"{world.records(model)[0].id}", "–", "→", "1", "succeeded", *["✓"] * 6]
    assert said.err.splitlines() == [
        f"{model} 1 in dev: publishing to the model repository",
        f"{model} 1: loading on triton-dev-1",
        f"dev: switching the routes to generation {generation + 1}",
    ]

    assert world.version(model) == 1
    assert world.ask(model).model == model
    assert world.loaded() == [f"{model} 1"]
    folder = world.endpoints.model_repository("dev") / model / "1"
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    assert world.alias(model, "dev") == 1

    (record,) = world.records(model)
    assert (record.outcome, record.before, record.after) == ("succeeded", None, first.entry)
    assert [criterion.name for criterion in record.criteria] == list(CRITERIA)
    assert all(criterion.holds and criterion.proof for criterion in record.criteria)
    assert record.commit == world.git("rev-parse", "HEAD")
    assert record.serving == first.entry
    assert [step.what for step in record.steps] == [
        "publish",
        "load",
        "golden requests",
        f"switch to generation {generation + 1}",
    ]
    proofs = {criterion.name: criterion.proof for criterion in record.criteria}
    assert proofs["smoke_passed"] == (
        "9 of 9 golden requests answered as in training and on staging in #1, on triton-dev-1, "
        "before the switch and after it"
    )
    (message,) = world.slack(model)
    assert message["text"] == f"✅ {model} 1 is served in dev."
    assert message["metadata"]["event_payload"]["key"] == f"{record.id}/succeeded"


def test_where_nothing_differs_nothing_is_done_and_it_says_so(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    generation = world.routes()["generation"]
    said = world.words("deploy", "--env", "dev")
    commit = world.git("rev-parse", "HEAD")
    assert (said.code, said.out) == (0, f"dev is as main says ({commit[:12]}): nothing to do.\n")
    assert world.routes()["generation"] == generation
    assert len(world.records(model)) == 1 and len(world.slack(model)) == 1


def test_a_successor_goes_in_beside_the_old_one_which_stays_warm(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    before = world.ask(model)
    world.served(world.register(model, "better"))
    after = world.ask(model)
    assert (before.version, after.version) == (1, 2)
    assert before.probabilities != after.probabilities
    assert world.loaded() == [f"{model} 1", f"{model} 2"]
    assert world.alias(model, "dev") == 2


@pytest.mark.slow
def test_a_successor_with_another_configuration_is_served_under_a_name_of_its_own(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.served(world.register(model, "better", max_batch_size=32))
    target = world.routes()["models"][model]["live"]
    assert target["triton_model"].startswith(f"{model}.") and target["version"] == 2
    assert sorted(world.loaded()) == sorted([f"{model} 1", f"{target['triton_model']} 2"]), "the old one stays warm"
    answer = world.ask(model)
    assert (answer.model, answer.version) == (model, 2), "what users see of it is the model's own name"
    back = world.promobot("rollback", model, "--env", "dev", "--now")
    assert back.code == 0
    assert (world.ask(model).model, world.ask(model).version) == (model, 1)


def _with_labels(registered: Registered, labels: str) -> Registered:
    (registered.artifacts / "labels.txt").write_text(labels)
    config = registered.artifacts / "config.pbtxt"
    text = config.read_text()
    assert text.count('name: "probabilities",') == 1
    config.write_text(text.replace('name: "probabilities",', 'name: "probabilities", label_filename: "labels.txt",'))
    return registered.relist()


@pytest.mark.extended
def test_versions_with_labels_pass_the_checks_and_each_answers_with_its_own(world: World) -> None:
    model = world.model()
    for number, labels in enumerate(("benign\nmalignant\n", "harmless\nharmful\n"), start=1):
        registered = _with_labels(world.register(model, ("first", "better")[number - 1]), labels)
        if number == 1:
            said = world.check(world.proposed(registered)["number"])
            assert [one.code for one in said] == [0, 0, 0, 0], said
        world.served(registered)
        target = world.routes()["models"][model]["live"]
        folder = world.endpoints.model_repository("dev") / target["triton_model"]
        assert f'label_filename: "{number}/labels.txt"' in (folder / "config.pbtxt").read_text()
        assert (folder / f"{number}/labels.txt").read_text() == labels
        assert world.version(model) == number
        assert world.words("drift", "--env", "dev").code == 0
    assert target["triton_model"] != model, "the path to its labels is a configuration of its own"
    assert world.promobot("rollback", model, "--env", "dev", "--now").code == 0
    assert world.version(model) == 1


@pytest.mark.slow
def test_a_library_is_not_published_whatever_the_evidence_says(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    (registered.artifacts / "payload.data").write_bytes(b"\x7fELF" + bytes(100))
    world.merged(registered.relist())
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert "payload.data is an ELF library or program, whatever it is called" in said.out + said.err
    assert not [path for path in world.published() if path.startswith(model)]


def test_a_shadow_receives_copies_and_the_live_answer_stays(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    weak = world.register(model, "better")
    world.merged(weak, section="shadow")
    said = world.words("deploy", "--env", "dev")
    assert said.out.splitlines()[0] == f"{model} 2 is on the shadow path in dev."
    route = world.routes()["models"][model]
    assert (route["live"]["version"], route["shadow"]["version"]) == (1, 2)
    assert route["shadow"]["triton_model"] == f"{model}-shadow"
    assert world.version(model) == 1
    assert world.alias(model, "dev-shadow") == 2 and world.alias(model, "dev") == 1


def test_green_as_a_shadow_is_not_green_for_answering(world: World) -> None:
    model = world.model()
    weak = world.register(model)
    world.evidence(weak, section="shadow")
    world.desire(model, weak.entry)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert f"held: {model} 1 in dev, nothing answers: there is no evidence that" in said.out
    assert world.version(model) is None


@pytest.mark.slow
def test_only_a_model_that_the_file_retires_leaves_service(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.desire(model, None)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1 and "✓" not in said.out
    assert said.out.splitlines()[0].startswith(
        f"held: {model} out of dev, version 1 goes on answering: "
        "its entry is gone from promotions/dev.yaml, and nothing there says that it is to "
        f"leave service; put the entry back, or: `promobot retire {model} --env dev"
    )
    assert world.version(model) == 1 and len(world.records(model)) == 1
    (shown,) = world.promobot("status", "--env", "dev").document["environments"][0]["differences"]
    assert shown["kind"] == "retired" and f"promobot retire {model} --env dev" in shown["next_step"]

    opened = world.promobot("retire", model, "--env", "dev", "--reason", "nobody asks for it").document
    assert (opened["action"], opened["serving"]["version"]) == ("opened", 1)
    number = opened["pull_request"]
    assert world.words("retire", model, "--env", "dev", "--reason", " ").code == 1
    world.check(number, "ready")
    stops = world.sticky(number).replace("\\", "")
    assert f"⚠️ **Merging stops {model} in dev.** Version 1 answers now since " in stops
    assert "One Triton behind gateway gateway-dev-1 counted " in stops and "the last was at 20" in stops
    assert f"promobot rollback {model} --env dev" in stops
    world.merge(number)
    said = world.words("deploy", "--env", "dev")
    assert (said.code, said.out.splitlines()[0]) == (
        0,
        f"{model} out of dev: it is out of service (nobody asks for it).",
    )
    assert said.out.splitlines()[3].count("✓") == 2, "what was not looked at has no mark"
    assert world.version(model) is None
    assert world.alias(model, "dev") is None
    record = world.records(model)[-1]
    assert (record.outcome, record.after, record.reason) == ("succeeded", None, "nobody asks for it")
    assert record.serving is None
    assert world.deploy().document["records"] == []


@pytest.mark.extended
def test_a_retired_model_comes_back_at_once_and_the_mark_does_not_take_it_out_again(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.retire(model)
    assert world.deploy().code == 0 and world.version(model) is None
    said = world.promobot("rollback", model, "--env", "dev", "--now", "--reason", "somebody does")
    assert said.code == 0 and world.version(model) == 1
    held = world.words("deploy", "--env", "dev")
    assert held.code == 1 and "took it out of service for this reason already" in held.out
    assert world.version(model) == 1
    world.merge(said.document["pull_request"])
    main = desired.parse(world.promotions(), file="promotions/dev.yaml")
    assert main.retired == {} and main.models[model].version == 1
    assert world.deploy().code == 0 and world.version(model) == 1


# --- held ---------------------------------------------------------------------------------------------------------


def test_what_nobody_checked_is_held(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.desire(model, first.entry)
    said = world.words("deploy", "--env", "dev")
    short = first.digest.removeprefix("sha256:")[:12]
    assert said.code == 1
    assert said.out == (
        f"held: {model} 1 in dev, nothing answers: "
        f"there is no evidence that {short} was checked for this environment; "
        f"`promobot recheck {model} --env dev` checks what main says, then deploy again\n"
    )
    assert world.version(model) is None and world.records(model) == [] and world.slack(model) == []
    assert world.quarantined(model) == []
    assert world.reverts(model) == [], "what is only not allowed yet is not taken back"


@pytest.mark.slow
def test_evidence_that_expired_or_is_red_holds(world: World) -> None:
    model, other = world.model(), world.model()
    late, red = world.register(model), world.register(other)
    world.evidence(late, expires=datetime(2026, 1, 2, tzinfo=UTC))
    world.desire(model, late.entry)
    number = world.propose_by_hand(world.edited(other, red.entry))
    world.check(number, "ready")
    world.merge(number)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert (
        f"held: {model} 1 in dev, nothing answers: its checks in #1 expired on 2026-01-02; `promobot recheck {model} "
    ) in said.out
    assert f"held: {other} 1 in dev, nothing answers: its checks in #{number} did not pass" in said.out


@pytest.mark.slow
def test_a_freeze_holds_what_is_new_and_lets_the_way_back_pass(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.served(world.register(model, "better"))
    world.merged(world.register(model, "best"))
    now = datetime.now(UTC)
    end = (now + timedelta(days=1)).replace(microsecond=0)
    freeze = {"start": (now - timedelta(days=1)).isoformat(), "end": end.isoformat(), "reason": "Black Friday"}
    world.configure("dev", freezes=[freeze])
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert said.out == (
        f"held: {model} 2 → 3 in dev, version 2 goes on answering: "
        f"nothing new goes out until {end:%Y-%m-%d %H:%M} UTC (Black Friday); "
        "the way back stays open; wait for its end: `promobot watch` deploys it; without it, "
        "promobot deploy --env dev\n"
    )
    assert world.version(model) == second.version
    assert world.reverts(model) == [], "it goes out when the freeze is over"
    world.desire(model, first.entry)
    assert world.deploy().code == 0
    assert world.version(model) == 1
    world.configure("dev", freezes=[])


# --- repairs ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_triton_that_restarted_empty_is_loaded_again(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.kill("triton-dev-1")
    world.restart("triton-dev-1")
    assert world.loaded() == []
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0
    first, repaired = said.out.splitlines()
    assert first.startswith("dev is as main says again (")
    assert repaired == f"repaired: loaded {model} 1 on triton-dev-1 again, which did not have it"
    assert world.loaded() == [f"{model} 1"] and world.version(model) == 1
    assert len(world.records(model)) == 1


@pytest.mark.extended
def test_a_triton_that_restarted_empty_after_a_deployment_was_cut_off_is_loaded_again(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    with mock.patch.object(GatewayControl, "reload", side_effect=KeyboardInterrupt):
        assert world.words("deploy", "--env", "dev").code == 130, "between its routes and the reload"
    world.kill("triton-dev-1")
    world.restart("triton-dev-1")
    said = world.words("deploy", "--env", "dev")
    assert f"repaired: loaded {model} 1 on triton-dev-1 again" in said.out
    assert (said.code, world.version(model)) == (0, 2)
    assert world.deploy().code == 0


@pytest.mark.slow
def test_a_gateway_that_restarted_serves_from_routes_json(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.restart("gateway-dev-1")
    assert world.version(model) == 1
    assert "nothing to do" in world.words("deploy", "--env", "dev").out


@pytest.mark.extended
def test_what_was_damaged_on_the_share_is_not_loaded_again(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    onnx = world.endpoints.model_repository("dev") / model / "1" / "model.onnx"
    onnx.chmod(0o644)
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
    world.kill("triton-dev-1")
    world.restart("triton-dev-1")
    (first.artifacts / "model.onnx").rename(first.artifacts / "elsewhere")
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert f"{model} 1 again in dev failed before the switch: nothing that users see has changed." in said.out
    assert world.records(model)[-1].reason == "model.onnx has other bytes"
    assert world.loaded() == [], "nobody is answered from bytes that no evidence covers"
    (first.artifacts / "elsewhere").rename(first.artifacts / "model.onnx")
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0 and f"{model} 1 was published again in dev: model.onnx has other bytes." in said.out
    assert world.version(model) == 1


@pytest.mark.extended
def test_a_triton_that_answers_otherwise_after_a_restart_is_not_repaired(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    world.evidence(first, answers=_otherwise(world.answers(first)))
    world.kill("triton-dev-1")
    world.restart("triton-dev-1")
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert f"problem: Triton triton-dev-1: {model} 1 was loaded again and unloaded" in said.out
    assert ", which staging answered in #1" in said.out
    assert "repaired" not in said.out and world.loaded() == []


# --- Slack --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after",
    [pytest.param(False, id="refused"), pytest.param(True, id="posted, and the answer lost", marks=pytest.mark.slow)],
)
def test_slack_alone_failing_is_unconfirmed_and_told_exactly_once_later(world: World, after: bool) -> None:
    model = world.model()
    world.merged(world.register(model))
    world.slack_fails("chat.postMessage", times=1 if after else 1000, after=after)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 4
    lines = said.out.splitlines()
    assert lines[0] == f"{model} 1 is served in dev; everything holds but Slack; the message is in the outbox."
    assert lines[-1] == "1 message waits in the outbox for Slack; the next deploy delivers what waits."
    assert world.version(model) == 1, "nothing is rolled back for that"
    (record,) = world.records(model)
    assert record.outcome == "unconfirmed" and record.verified
    assert [criterion.name for criterion in record.criteria if not criterion.holds] == ["slack_delivered"]
    assert world.outbox() == [record.id]

    again = world.deploy()
    if not after:
        assert (again.code, world.outbox()) == (4, [record.id]), "Slack is still down"
        assert world.slack(model) == []
        world.slack_works()
        again = world.deploy()
    assert (again.code, world.outbox()) == (0, [])
    assert [message["text"] for message in world.slack(model)] == [f"✅ {model} 1 is served in dev."]
    history = world.words("history", model, "--env", "dev")
    assert "succeeded" in history.out and "unconfirmed" not in history.out
    assert world.deploy().code == 0 and len(world.slack(model)) == 1


# --- failures before the switch -----------------------------------------------------------------------------------


def _expect_no_half_state(world: World, model: str, *, version: int, generation: int) -> None:
    assert world.version(model) == version
    assert world.routes()["generation"] == generation
    assert world.loaded() == [f"{model} {version}"]
    assert world.alias(model, "dev") == version
    state = world.endpoints.state("dev")
    assert list((state / "staging").iterdir()) == [] and list((state / "trash").iterdir()) == []


@pytest.mark.parametrize(
    "cause",
    [
        "wrong answer",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("does not load", "artifacts changed")),
    ],
)
def test_a_version_that_fails_before_the_switch_is_never_seen(world: World, cause: str) -> None:
    model = world.model()
    world.served(world.register(model))
    generation = world.routes()["generation"]
    if cause == "wrong answer":
        second = world.register(model, "unscaled")
        said_of_it = "instead of"
    elif cause == "does not load":
        second = _corrupt(world.register(model, "better"))
        said_of_it = "model.onnx cannot be opened"
    else:
        second = world.register(model, "better")
        onnx = second.artifacts / "model.onnx"
        onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
        said_of_it = "model.onnx is not what the package says"
    world.merged(second)

    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[0] == f"{model} 1 → 2 in dev failed before the switch: nothing that users see has changed."
    assert any(line.startswith("  what happened: ") and said_of_it in line for line in said.out.splitlines())
    assert said_of_it not in said.err, "told once"
    _expect_no_half_state(world, model, version=1, generation=generation)
    record = world.records(model)[-1]
    assert record.outcome == "failed" and said_of_it in record.problem
    assert record.serving and record.serving.version == 1
    (_, message) = world.slack(model)
    assert message["text"] == f"❌ {lines[0]}"
    lost = cause in ("other bytes there", "artifacts changed")
    assert world.quarantined(model) == ([] if lost else [2]), "for bytes that somebody damaged no digest is to blame"
    (revert,) = world.reverts(model)
    assert ("itself is not in quarantine: its bytes no longer exist" in revert["body"]) is lost
    assert ("promobot quarantine lift" in revert["body"]) is not lost
    assert said_of_it in str(message["blocks"]) and f"version 1 ({record.before.digest[7:19]})" in str(
        message["blocks"]
    )


@pytest.mark.extended
def test_a_number_that_other_bytes_hold_is_published_under_the_next_name(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    squatter = world.endpoints.model_repository("dev") / model / "2"
    squatter.mkdir()
    squatter.joinpath("model.onnx").write_bytes(b"somebody else's")
    world.served(world.register(model, "better"))
    target = world.routes()["models"][model]["live"]
    assert target["triton_model"].startswith(f"{model}.") and world.version(model) == 2
    assert sorted(world.loaded()) == sorted([f"{model} 1", f"{target['triton_model']} 2"])


@pytest.mark.slow
def test_a_triton_that_is_down_fails_the_deployment_and_blames_no_version(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    world.configure("dev", deadlines={"load_seconds": 2, "request_seconds": 2})
    generation = world.routes()["generation"]
    world.kill("triton-dev-1")
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert "problem: Triton triton-dev-1 (" in said.out
    assert world.routes()["generation"] == generation
    assert world.quarantined(model) == [] and world.reverts(model) == []
    world.restart("triton-dev-1")
    assert world.deploy().code == 0
    assert world.version(model) == 2, "the next run converges"


def test_a_version_that_answers_wrong_is_quarantined_and_its_revert_opened_once(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    wrong = world.register(model, "unscaled")
    world.merged(wrong)
    assert world.deploy().code == 1
    assert world.quarantined(model) == [2]
    (revert,) = world.reverts(model)
    assert revert["title"] == f"Revert {model} 2 in dev: back to 1"
    assert revert["user"]["login"] == "promobot[bot]"
    assert "Opened by the bot" in revert["body"] and " instead of " in revert["body"]

    again = world.words("deploy", "--env", "dev")
    assert again.code == 1
    assert (
        f"held: {model} 1 → 2 in dev, version 1 goes on answering: its digest is in quarantine here since "
    ) in again.out
    assert len(world.slack(model)) == 2 and len(world.records(model)) == 2
    assert [pull["number"] for pull in world.reverts(model)] == [revert["number"]]
    assert world.pull(revert["number"])["head"]["sha"] == revert["head"]["sha"]

    world.merge(revert["number"])
    assert first.digest in world.promotions()
    done = world.words("deploy", "--env", "dev")
    assert (done.code, "nothing to do" in done.out) == (0, True)


@pytest.mark.extended
def test_a_version_that_answers_otherwise_than_the_reviewer_saw_never_goes_on(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    second = world.register(model, "better")
    world.evidence(second, answers=_otherwise(world.answers(second)))
    world.desire(model, second.entry)
    generation = world.routes()["generation"]
    assert world.deploy().code == 1
    _expect_no_half_state(world, model, version=1, generation=generation)
    record = world.records(model)[-1]
    assert record.outcome == "failed"
    assert record.problem.startswith("Triton triton-dev-1: case row-0: probabilities[0]: ")
    assert "which staging answered in #1" in record.problem
    assert world.quarantined(model) == [2]


@pytest.mark.slow
def test_evidence_with_answers_to_other_requests_proves_nothing(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.evidence(first, answers=world.answers(first)[1:])
    world.desire(model, first.entry)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert f"the evidence in #1 has answers to other requests than the smoke cases of {model} 1 in dev" in said.out
    assert world.version(model) is None and world.quarantined(model) == []


@pytest.mark.extended
def test_bytes_that_come_back_are_deployed_and_those_that_do_not_are_reverted(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.register(model, "better")
    onnx = second.artifacts / "model.onnx"
    good = onnx.read_bytes()
    world.merged(second)
    onnx.write_bytes(good[:-1] + b"\0")
    said = world.words("deploy", "--env", "dev")
    (revert,) = world.reverts(model)
    assert said.code == 1 and f"what to do: merge {revert['html_url']}" in said.out
    assert revert["body"].count("users get what they got before, and what was merged cannot be deployed") == 1
    assert world.deploy().code == 1 and len(world.reverts(model)) == 1, "asked for again, found again"
    onnx.write_bytes(good)
    assert world.deploy().code == 0 and world.version(model) == 2
    world.desire(model, first.entry)
    assert world.deploy().code == 0

    third = world.register(model, "best")
    world.merged(third)
    (third.artifacts / "smoke.json").write_text("{}")
    other = third.relist()
    said = world.words("deploy", "--env", "dev")
    assert f"{model} 3 is {other.digest} now, but {third.digest} was merged" in said.out
    assert world.quarantined(model) == [2], "only what was rolled back"
    world.merge(world.reverts(model)[-1]["number"])
    assert world.deploy().code == 0 and world.version(model) == 1


@pytest.mark.slow
def test_a_load_that_triton_says_it_did_and_did_not_is_none(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    world.merged(registered)
    triton = next(one for name, one in world.endpoints.tritons if name == "dev")
    with between(
        triton.grpc, {"RepositoryModelLoad": lambda *_: service_pb2.RepositoryModelLoadResponse()}
    ) as address:
        world.configure("dev", tritons=[{"name": "far", "grpc": address}], deadlines={"load_seconds": 1})
        said = world.words("deploy", "--env", "dev")
    assert said.code == 1 and f"Triton far: {model} 1 is ABSENT after the load" in said.out
    assert model not in world.routes()["models"]


@pytest.mark.slow
def test_of_two_versions_the_one_that_fails_holds_up_nothing(world: World) -> None:
    good, bad = world.model(), world.model()
    world.served(world.register(bad))
    world.merged(world.register(good))
    world.merged(_corrupt(world.register(bad, "better")))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert f"{good} 1 is served in dev." in said.out
    assert f"{bad} 1 → 2 in dev failed before the switch" in said.out
    assert (world.version(good), world.version(bad)) == (1, 1)
    assert (world.quarantined(good), world.quarantined(bad)) == ([], [2])


@pytest.mark.slow
def test_the_records_of_one_run_together_tell_of_all_that_is_in_service(world: World) -> None:
    models = [world.model(), world.model()]
    registered = {model: world.register(model) for model in models}
    for model in models:
        world.merged(registered[model])
    assert world.deploy().code == 0
    served = served_after("dev", world.ledger("dev").deployments()).models
    assert {m: served.get(m) for m in models} == {m: registered[m].entry for m in models}


@pytest.mark.extended
def test_a_held_version_and_a_held_shadow_of_one_model_have_a_way_back_each(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    second, third = world.register(model, "better"), world.register(model, "best")
    for held in (second, third):
        world.ledger().put_in_quarantine(held.release(), reason="it lied", by="a test")
    world.merged(second)
    world.merged(third, section="shadow")
    for _ in range(2):  # again, for the second run must not put one's edit in the other's place
        assert world.deploy().code == 1
        reverts = {pull["head"]["ref"].rpartition("/")[2]: pull["title"] for pull in world.reverts(model)}
        assert set(reverts) == {model, f"{model}-shadow"}
    assert reverts[model] == f"Revert {model} 2 in dev: back to 1"
    for pull in world.reverts(model):
        world.merge(pull["number"])
    assert world.deploy().code == 0


# --- failures after the switch ------------------------------------------------------------------------------------


def asks_another_triton(world: World) -> tuple[str, str]:
    """Return arguments that have a gateway ask a Triton, too, of which the bot knows nothing, and which has nothing.

    What was in service goes on being answered by the first. The gateway takes no new version, and nobody can see that
    before the switch.
    """
    return "--triton", world.endpoints.triton_staging.http


def test_a_gateway_that_refuses_the_reload_has_everything_put_back_and_no_digest_is_blamed(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.register(model, "better")
    world.merged(second)
    world.restart(GATEWAYS[1], *asks_another_triton(world))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[0] == f"{model} 1 → 2 in dev failed after the switch and was put back: version 1 answers."
    assert f"gateway {GATEWAYS[1]}" in said.out and f"{model} version 2 (for {model}) is not ready on" in said.out
    assert world.version(model) == 1
    assert world.loaded() == [f"{model} 1"]
    assert world.alias(model, "dev") == 1
    assert world.quarantined(model) == []
    record = world.records(model)[-1]
    assert record.outcome == "put back" and record.serving == first.entry
    (revert,) = world.reverts(model)
    assert revert["title"] == f"Revert {model} 2 in dev: back to 1"
    (_, message) = world.slack(model)
    assert message["text"] == f"↩️ {lines[0]}"
    assert revert["html_url"] in str(message["blocks"])

    assert (
        f"{model} in dev is at version 1 (`{first.digest[7:19]}`), which was verified here; main asks for version 2."
        in (revert["body"].replace("\\", ""))
    )
    assert [checked.code for checked in world.check(revert["number"], "ready")] == [0, 1], "two checks are missing"
    assert f"### {model} 1 in dev, which answers already" in world.sticky(revert["number"]).replace("\\", "")
    assert f"{model} 2" not in world.sticky(revert["number"]), "nothing is compared with what was put back"
    third = world.register(model, "best")
    proposed = world.promobot("propose", model, third.version, "--env", "dev").document
    body = world.pull(proposed["pull_request"])["body"].replace("\\", "")
    assert "against version 1 in service" in body and "Main asks for version 2, which is not in service" in body

    world.restart(GATEWAYS[1])
    done = world.words("deploy", "--env", "dev")
    assert done.code == 0 and f"closed the revert {revert['html_url']}" in done.err
    assert world.version(model) == 2 and world.reverts(model) == []
    assert world.comments(revert["number"])[-1].endswith("it is in service now, so nothing goes back.")
    assert world.words("status", "--env", "dev").out.endswith("Everything is as main says.\n")


@pytest.mark.extended
def test_nothing_new_goes_out_past_a_gateway_that_does_not_take_the_routes_in_force(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.served(world.register(model, "better"))
    world.restart(GATEWAYS[1], *asks_another_triton(world), PROMOBOT_FOLLOW_SECONDS="0")
    world.configure("dev", deadlines={"request_seconds": 2, "reload_seconds": 3})
    (process,) = [one for one in world.sandbox.processes.recorded() if one.part.name == GATEWAYS[1]]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        back = world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers")
        assert back.code == 1 and world.records(model)[-1].outcome == "incomplete"
    finally:
        os.kill(process.pid, signal.SIGCONT)
    world.merged(world.register(model, "best"))
    generation = world.routes()["generation"]
    for _ in range(2):
        said = world.words("deploy", "--env", "dev")
        assert said.code == 1
        assert f"{GATEWAYS[1]} does not take the routes in force, so nothing new goes out: " in said.out
        assert world.routes()["generation"] == generation, "users are not switched over and back by every run"
    assert world.records(model)[-1].outcome == "failed" and world.quarantined(model) == [2]

    world.restart(GATEWAYS[1])
    assert world.deploy().code == 0 and world.version(model) == 3


@pytest.mark.slow
def test_a_reload_token_that_a_gateway_does_not_take_is_found_before_anything_is_changed(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    second = world.served(world.register(model, "better"))
    world.merged(world.register(model, "best"))
    world.restart(GATEWAYS[1], PROMOBOT_RELOAD_TOKEN="rotated-elsewhere")
    generation = world.routes()["generation"]
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert f"{GATEWAYS[1]} cannot be switched, so nothing new goes out: could not" in said.out
    assert "HTTP 401" in said.out
    assert world.routes()["generation"] == generation and f"{model} 3" not in world.loaded()
    record = world.records(model)[-1]
    assert record.outcome == "failed" and record.serving == second.entry
    assert world.quarantined(model) == [] and world.reverts(model) == []

    # Users do not wait for it: the gateway follows the routes, and nobody says that it was switched.
    back = world.words("rollback", model, "--env", "dev", "--to", 1, "--now", "--reason", "wrong answers")
    assert back.code == 1 and f"{GATEWAYS[1]} cannot be told to switch, or cannot prove it" in back.err
    assert world.records(model)[-1].outcome == "incomplete"
    wait_until(lambda: world.routes(gateway=1)["generation"] == world.routes()["generation"])
    assert world.version(model) == 1 and 3 in world.quarantined(model)

    world.restart(GATEWAYS[1], PROMOBOT_RELOAD_TOKEN=world.endpoints.secrets.reload)
    (revert,) = world.reverts(model)
    world.merge(revert["number"])
    assert world.deploy().code == 0 and world.version(model) == 1


@pytest.mark.extended
def test_a_triton_that_loses_the_version_right_after_the_switch_has_it_put_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    generation = world.routes()["generation"]
    reload = GatewayControl.reload

    def reload_and_lose(gateway: GatewayControl, to: int, *, timeout_seconds: float) -> RouteTable:
        table = reload(gateway, to, timeout_seconds=timeout_seconds)
        if to == generation + 1 and gateway.name == GATEWAYS[1]:
            wait_until(lambda: world.routes()["generation"] == to)
            world.unload(model)
        return table

    monkeypatch.setattr(GatewayControl, "reload", reload_and_lose)
    assert world.deploy().code == 1
    record = world.records(model)[-1]
    assert record.outcome == "put back"
    assert f"{model} 2 was READY before the switch and is " in record.problem
    held = {criterion.name: criterion.holds for criterion in record.criteria}
    assert list(held) == list(CRITERIA)
    assert not held["smoke_passed"] and not held["fastapi_reloaded"]
    assert world.version(model) == 1 and world.loaded() == [f"{model} 1"]


@pytest.mark.slow
def test_a_first_version_that_is_put_back_leaves_nothing_in_service(world: World) -> None:
    model = world.model()
    world.merged(world.register(model))
    world.restart(GATEWAYS[0], *asks_another_triton(world))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert said.out.splitlines()[0] == f"{model} 1 in dev failed after the switch and was put back: nothing answers."
    assert world.version(model) is None and world.loaded() == []
    (revert,) = world.reverts(model)
    assert revert["title"] == f"Revert {model} 1 in dev: back to nothing"
    world.restart(GATEWAYS[0])
    world.merge(revert["number"])
    main = desired.parse(world.promotions(), file="promotions/dev.yaml")
    assert model not in main.models
    assert "nothing was before it" in main.retired[model].reason
    assert world.deploy().code == 0
    assert world.version(model) is None


@pytest.mark.slow
def test_nothing_new_goes_out_past_a_gateway_that_is_down_but_the_way_back_does(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.served(world.register(model, "better"))
    world.merged(world.register(model, "best"))
    world.configure("dev", deadlines={"reload_seconds": 1, "request_seconds": 2})
    world.kill(GATEWAYS[1])
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert f"{model} 2 → 3 in dev failed before the switch: nothing that users see has changed." in said.out
    assert f"what happened: gateway {GATEWAYS[1]} (" in said.out and "does not answer: could not read" in said.out
    assert world.ask(model).version == second.version
    assert world.quarantined(model) == [], "no version is to blame for that"

    world.desire(model, first.entry)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    back = f"{model} is back at version 1 in dev (from 2) wherever gateways answer; deploy again when all do."
    assert said.out.startswith(back)
    assert world.ask(model).version == first.version
    world.restart(GATEWAYS[1])
    assert world.version(model) == first.version, "it starts from routes.json"
    assert world.deploy().code == 0


@pytest.mark.slow
def test_a_broken_file_on_main_changes_nothing(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    text = world.promotions()
    world.commit({"promotions/dev.yaml": text.replace("version: 1", "version: one")})
    said = world.words("deploy", "--env", "dev")
    assert (said.code, said.out) == (1, "")
    assert f"promobot: promotions/dev.yaml:5: models.{model}.version: " in said.err
    assert "Nothing was changed." in said.err
    assert world.version(model) == 1


def test_without_the_reload_token_nothing_is_begun(world: World) -> None:
    model = world.model()
    world.merged(world.register(model))
    said = world.words("deploy", "--env", "dev", env={"PROMOBOT_RELOAD_TOKEN": ""})
    assert said.code == 1
    assert said.err.startswith(
        "promobot: the environment variable PROMOBOT_RELOAD_TOKEN is not set; it holds the gateways' reload token\n"
    )
    assert f"{model}/1" not in world.published()


@pytest.mark.slow
def test_a_gateway_that_switched_and_is_out_of_reach_then_goes_on_answering(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    near, far = world.endpoints.gateway["dev"]
    with HttpLink(far.url) as link:
        world.configure(
            "dev",
            gateways=[{"name": near.name, "url": near.url}, {"name": far.name, "url": link.url}],
            deadlines={"reload_seconds": 2, "request_seconds": 2},
        )
        # Each question has a connection of its own. What is asked before the switch, and the reload, take seven.
        link.fails(Fault("refused", first=8))
        said = world.words("deploy", "--env", "dev")
        assert said.code == 1
        assert f"gateway {far.name} is not known to be back" in world.records(model)[-1].problem
        assert f"{model} 2 stays loaded: a gateway may still route to it" in said.err
        # It cannot be told, and follows the routes by itself.
        wait_until(lambda: [world.ask(model, gateway=each).version for each in (0, 1)] == [1, 1])
        assert world.quarantined(model) == [], "a lost connection says nothing about the bytes"
        link.works()
        assert world.deploy().code == 0, "Git still asks for it"
        assert [world.ask(model, gateway=each).version for each in (0, 1)] == [2, 2]
