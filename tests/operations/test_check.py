"""``promobot check``: what the jobs on a pull request find, what people read of it, and how staging is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from bot.domain import desired
from bot.domain.desired import Entry
from bot.domain.evidence import CHECKS
from bot.domain.package import Package, PackageFile
from bot.domain.release import Slot
from bot.sandbox.platform import BOT
from tests.operations.world import World, rows_of, wait_until

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def staging_is_left_as_it_was(world: World) -> Iterator[None]:
    """Whatever a check finds, nothing of it stays on the staging Triton or in its part of the share."""
    yield
    assert world.loaded("staging") == []
    assert world.published("staging") == []
    assert list((world.endpoints.state("staging") / "staging").glob("*")) == []


def _findings(world: World, model: str, check: str) -> dict[str, str]:
    """Return what failed, by what was looked at, in the newest result of a check."""
    files = sorted(
        world.endpoints.records.glob(f"checks/*/pr-*/*/*-{check}.json"), key=lambda file: file.stat().st_mtime
    )
    results = [result for file in files for result in json.loads(file.read_text())["results"]]
    (newest,) = [result for result in results if result["model"] == model][-1:]
    return {finding["what"]: finding["detail"] for finding in newest["findings"] if not finding["passed"]}


def test_a_good_version_passes_all_three_and_one_comment_says_so(world: World, tmp_path: Path) -> None:
    model = world.model()
    world.served(world.register(model))
    new = world.register(model, "better")
    pull = world.proposed(new)
    number, head = pull["number"], pull["head"]["sha"]
    summary = tmp_path / "summary.md"
    where = ("--pull-request", number, "--head", head, "--run-id", "1.1")

    told = {}
    for name in CHECKS:
        summary.write_text("")
        said = world.words("check", name, *where, env={"GITHUB_STEP_SUMMARY": str(summary)})
        assert said.code == 0, said
        assert said.out.splitlines()[0] == f"✓ {name}: {model} 2 for dev"
        assert "✗" not in said.out
        told[name] = summary.read_text()
    assert told["ready"].startswith("## READY: registered, allowed, and every byte as proposed\n")
    assert "every byte" in told["ready"] and "3 files, as listed" in told["ready"]
    assert "configuration agrees" in told["triton"] and "signature agrees" in told["triton"]
    cases = [line for line in told["smoke"].splitlines() if "| case " in line]
    assert len(cases) == 9 and "label 0; probabilities 0." in cases[0].replace("\\", "")
    assert all("as the training framework answered" in line for line in cases)
    assert "all 9 cases, in the binary form that gateways use" in told["smoke"]

    summary.write_text("")
    needs = json.dumps({name: {"result": "success"} for name in CHECKS})
    said = world.words(
        "check", "verdict", *where, "--needs", needs, env={"GITHUB_STEP_SUMMARY": str(summary)}, login=BOT
    )
    assert said.code == 0
    comment = world.sticky(number)
    assert said.out.splitlines()[-1].startswith(f"{pull['html_url']}#issuecomment-")
    assert summary.read_text().strip() == comment.strip()
    escaped = model.replace("-", r"\-")
    first_line = comment.splitlines()[2]
    assert first_line == f"✅ **Every check passed for {escaped} 1 → 2 in dev.** Next: review and merge."
    body = world.pull(number)["body"]
    assert body.startswith(f"{first_line}\n\n[What each check found]({pull['html_url']}#issuecomment-")
    assert "passes the gate" not in body and "### Gate" in body
    assert [row[:2] for row in rows_of(comment, "### ")][1:] == [["✅", "READY"], ["✅", "Triton"], ["✅", "Smoke"]]
    assert "requests on staging" in comment and "| 250 | 50 |" in comment
    assert "**Parity with the training framework:** 9 of 9 smoke cases." in comment
    assert "**Against version 1 in service**, on the same Triton: " in comment and " of 8 decisions flip; " in comment
    assert [row[0] for row in rows_of(comment, "|  | p50 ms")][1:] == ["proposed", "in service"]
    assert f"<sub>Commit `{head[:12]}`." in comment

    evidence = world.ledger().evidence(new.entry.in_slot(Slot.of("dev", model, "models")))
    assert evidence is not None and evidence.passed
    assert (evidence.pull_request, evidence.head, evidence.version) == (number, head, 2)
    assert evidence.base == world.git("rev-parse", "origin/main") or len(evidence.base) == 40
    assert {result.check for result in evidence.checks} == set(CHECKS)
    (smoke,) = [result for result in evidence.checks if result.check == "smoke"]
    assert [answer.case for answer in smoke.answers] == [answer.case for answer in world.answers(new)]
    assert [[t.name for t in answer.outputs] for answer in smoke.answers] == [["label", "probabilities"]] * 9
    behaviour = smoke.behaviour
    assert behaviour is not None and not behaviour.problem
    assert (behaviour.champion.version, behaviour.cases) == (1, 8)
    assert behaviour.moved and behaviour.moved[0].before != behaviour.moved[0].after
    assert behaviour.latency is not None and behaviour.latency.requests == 50
    assert smoke.latency is not None and smoke.latency.requests == 50 and 0 < smoke.latency.p50 <= smoke.latency.p99

    again = world.check(number)
    assert [said.code for said in again] == [0, 0, 0, 0]
    assert world.version(model) == 1, "what is served has not changed"
    assert len(world.comments(number)) == 1, "updated, not repeated"
    world.merge(number)
    assert world.deploy().code == 0
    assert world.version(model) == 2, "this evidence is what deploy asks for"
    red = json.dumps(
        {"ready": {"result": "failure"}, "triton": {"result": "success"}, "smoke": {"result": "success"}}
    )
    assert world.words("check", "verdict", *where, "--needs", red, login=BOT).code == 1
    assert world.pull(number)["body"].startswith("❌ **Do not merge: "), "kept true by each run"


@pytest.mark.extended
def test_a_champion_that_the_registry_lost_is_said_and_no_reason_against_the_new_one(world: World) -> None:
    model = world.model()
    old = world.register(model)
    world.served(old)
    number = world.proposed(world.register(model, "better"))["number"]
    shutil.rmtree(old.artifacts)
    smoke, _ = world.check(number, "smoke")
    assert smoke.code == 0
    comment = world.sticky(number)
    assert "⚠️ **Against version 1 in service**, on the same Triton: not compared." in comment


@pytest.mark.slow
def test_wrong_answers_are_red_in_smoke_alone(world: World) -> None:
    model = world.model()
    registered = world.register(model, "unscaled")
    number = world.proposed(registered)["number"]
    ready, triton, smoke, verdict = world.check(number)
    assert [said.code for said in (ready, triton, smoke, verdict)] == [0, 0, 1, 1]
    wrong = _findings(world, model, "smoke")
    assert "case row-0" in wrong and " instead of " in wrong["case row-0"]
    comment = world.sticky(number)
    assert "❌ **Do not merge: Smoke of " in comment and "Nothing in service has changed." in comment
    assert [row[0] for row in rows_of(comment, "### ")][1:] == ["✅", "✅", "❌"]
    evidence = world.ledger().evidence(registered.entry.in_slot(Slot.of("dev", model, "models")))
    assert evidence is not None and not evidence.passed


def test_a_package_that_brings_code_is_red_and_never_loaded(world: World, tmp_path: Path) -> None:
    model = world.model()
    canary = tmp_path / "canary"
    registered = world.register(model)
    (registered.artifacts / "model.onnx").unlink()
    (registered.artifacts / "model.py").write_text(f"open({str(canary)!r}, 'w')\n")
    config = registered.artifacts / "config.pbtxt"
    config.write_text(config.read_text().replace("onnxruntime", "python"))
    registered = registered.relist()
    refused = world.words("propose", model, 1, "--env", "dev")
    assert refused.code == 1
    assert f"{model} 1 is not allowed in dev: file types: model.py; backend: python; allowed: onnx" in refused.err
    assert world.open_pulls(f"promobot/dev/{model}") == []
    number = world.proposed_by_hand(registered)["number"]
    codes = [said.code for said in world.check(number)]
    assert codes == [1, 1, 1, 1]
    for check in CHECKS:
        wrong = _findings(world, model, check)
        assert wrong["backend"] == "python; allowed: onnxruntime"
        assert wrong["file types"] == "model.py"
    assert not canary.exists()
    log = (world.endpoints.directory / "logs/triton-staging.log").read_text()
    assert f"{model}.check" not in log, "Triton was never asked to load it"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('runtime: "payload.data"', "runtime: refused; Triton loads the library that it names into the server"),
        pytest.param(
            'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "LIBRARY" } }',
            "parameters.TRITON_BATCH_STRATEGY_PATH: refused; Triton loads the library that it names into the server",
            marks=pytest.mark.slow,
        ),
        ("", ""),
    ],
)
def test_a_library_in_a_package_is_never_copied_and_never_loaded(
    world: World, library: tuple[Path, Path], more: str, says: str
) -> None:
    """Each of the three checks refuses it alone, and what only the bytes tell is never renamed in."""
    built, canary = library
    model = world.model()
    registered = world.register(model)
    shutil.copy(built, registered.artifacts / "payload.data")
    config = registered.artifacts / "config.pbtxt"
    config.write_text(f"{config.read_text()}{more.replace('LIBRARY', str(built))}\n")
    number = world.proposed_by_hand(registered.relist())["number"]
    triton = world.endpoints.directory / "logs/triton-staging.log"
    roots = [
        world.endpoints.model_repository("staging"),
        *([world.endpoints.state("staging") / "staging"] * bool(more)),
    ]
    untouched = [root.stat().st_mtime_ns for root in roots if root.is_dir()]
    codes = [said.code for said in world.check(number)]
    assert not canary.exists()
    assert codes == [1, 1, 1, 1]
    library_said = "payload.data is an ELF library or program, whatever it is called"
    if more:
        assert _findings(world, model, "ready") == {"configuration": says, "no code": library_said}
        for check in ("triton", "smoke"):
            assert _findings(world, model, check) == {"configuration": says}
    else:
        assert _findings(world, model, "ready") == {"no code": library_said}
        for check, what in (("triton", "loads"), ("smoke", "answers")):
            assert library_said in _findings(world, model, check)[what]
    assert [root.stat().st_mtime_ns for root in roots if root.is_dir()] == untouched, (
        "nothing was copied or renamed in"
    )
    assert f"{model}.check" not in triton.read_text(), "Triton was never asked to load it"


@pytest.mark.slow
def test_a_model_that_does_not_load_is_red_with_tritons_words(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    graph = onnx.load(registered.artifacts / "model.onnx")
    graph.graph.node[0].op_type = "NobodysOperator"
    onnx.save(graph, registered.artifacts / "model.onnx")
    number = world.proposed(registered.relist())["number"]
    ready, triton, verdict = world.check(number, "ready", "triton")
    assert (ready.code, triton.code, verdict.code) == (0, 1, 1)
    wrong = _findings(world, model, "triton")
    assert "model.onnx cannot be opened" in wrong["loads"]
    assert "model.onnx cannot be opened" in world.sticky(number).replace("\\", "")


@pytest.mark.slow
def test_a_signature_that_mlflow_and_triton_disagree_on_is_red(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    mlmodel = registered.artifacts / "MLmodel"
    mlmodel.write_text(mlmodel.read_text().replace("float32", "float64"))
    number = world.proposed(registered)["number"]
    assert world.check(number, "triton")[0].code == 1
    wrong = _findings(world, model, "triton")
    assert (
        "MLflow and Triton disagree on input X: X: FP64[-1, 30] against X: FP32[-1, 30]" in wrong["signature agrees"]
    )


@pytest.mark.slow
def test_a_model_without_a_signature_is_red(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    mlmodel = registered.artifacts / "MLmodel"
    mlmodel.write_text(mlmodel.read_text().replace("signature:", "was_signature:"))
    number = world.proposed(registered)["number"]
    assert world.check(number, "triton")[0].code == 1
    assert "no signature" in _findings(world, model, "triton")["signature agrees"]


@pytest.mark.slow
def test_a_version_that_is_too_slow_is_red(world: World) -> None:
    model = world.model(latency_budget_milliseconds=0.001)
    number = world.proposed(world.register(model))["number"]
    assert [said.code for said in world.check(number, "smoke")] == [1, 1]
    wrong = _findings(world, model, "smoke")
    assert list(wrong) == ["latency"]
    assert wrong["latency"].startswith("p50 ") and wrong["latency"].endswith("budget for p50: 0.001 ms")


@pytest.mark.slow
def test_bytes_that_changed_after_the_registration_are_red(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    onnx = registered.artifacts / "model.onnx"
    pull = world.proposed(registered)
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
    ready, triton, smoke, _ = world.check(pull["number"])
    assert (ready.code, triton.code, smoke.code) == (1, 1, 1)
    assert _findings(world, model, "ready") == {"every byte": "other bytes than listed: model.onnx"}
    assert "model.onnx is not what the package says" in _findings(world, model, "triton")["loads"]


def test_documents_that_changed_after_ready_are_not_used(world: World) -> None:
    """Triton and Smoke read config.pbtxt and smoke.json again, in jobs of their own, maybe much later."""
    model = world.model()
    registered = world.register(model)
    number = world.proposed(registered)["number"]
    assert world.check(number, "ready")[0].code == 0
    smoke = registered.artifacts / "smoke.json"
    cases = json.loads(smoke.read_text())
    smoke.write_text(json.dumps({**cases, "cases": cases["cases"][:1]}))
    assert world.check(number, "smoke")[0].code == 1
    assert "smoke.json is not what the package says" in _findings(world, model, "smoke")["answers"]
    config = registered.artifacts / "config.pbtxt"
    config.write_text(config.read_text() + "dynamic_batching { }\n")
    assert world.check(number, "triton")[0].code == 1
    assert "config.pbtxt is not what the package says" in _findings(world, model, "triton")["loads"]


@pytest.mark.extended
def test_cases_that_take_any_answer_for_right_are_refused_everywhere(world: World) -> None:
    model = world.model()
    registered = world.register(model, "unscaled")
    smoke = registered.artifacts / "smoke.json"
    smoke.write_text(json.dumps({**json.loads(smoke.read_text()), "tolerance": {"relative": 1e9}}))
    registered = registered.relist()
    said = "smoke.json tolerance.relative is 1e+09, more than 0.1"
    refused = world.words("propose", model, 1, "--env", "dev")
    assert refused.code == 1 and f"{model} 1 is not allowed in dev: smoke cases: {said}" in refused.err
    number = world.proposed_by_hand(registered)["number"]
    assert [one.code for one in world.check(number)] == [1, 1, 1, 1]
    for check in CHECKS:
        assert _findings(world, model, check) == {"smoke cases": said}
    world.merged(registered)
    deployed = world.words("deploy", "--env", "dev")
    assert deployed.code == 1 and f"smoke cases: {said}" in deployed.out + deployed.err


@pytest.mark.slow
def test_a_package_that_is_too_large_is_not_downloaded_and_not_copied(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    listed = json.loads((registered.artifacts / "package.json").read_text())
    (onnx_file,) = (file for file in listed["files"] if file["path"] == "model.onnx")
    onnx_file["size"] = 17 * 2**30
    package = Package.of(PackageFile(**file) for file in listed["files"])
    (registered.artifacts / "package.json").write_text(package.to_json())
    number = world.proposed_by_hand(replace(registered, digest=package.digest))["number"]
    assert [said.code for said in world.check(number)] == [1, 1, 1, 1]
    for check in CHECKS:
        assert _findings(world, model, check) == {"size": f"{package.size} bytes, more than {16 * 2**30}"}


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("version: 1", "vresion: 1", 5, "models.{model}.vresion: unknown key"),
        *(
            pytest.param(*each, marks=pytest.mark.extended)
            for each in (
                ("digest: sha256:", "digest: sha999:", 6, "models.{model}.digest: 'sha999:"),
                ("version: 1", "version: yes", 5, "models.{model}.version: "),
                ("models:", "models: &all", 3, "anchors and aliases are not allowed"),
                ("shadow: {}", "shadow: {}\nmodels: {}", 10, "models: stands twice, first in line 3"),
            )
        ),
    ],
)
def test_a_mistake_in_the_file_is_named_with_file_line_and_key(
    world: World, old: str, new: str, line: int, what: str
) -> None:
    model = world.model()
    (path, text), *_ = world.edited(model, world.register(model).entry).items()
    assert old in text
    number = world.propose_by_hand({path: text.replace(old, new, 1)})
    ready, verdict = world.check(number, "ready", needs="failure")
    said = f"promotions/dev.yaml:{line}: {what.format(model=model)}"
    assert (ready.code, verdict.code) == (1, 1)
    assert said in ready.document["error"]
    assert any(said in problem for problem in verdict.document["problems"])
    comment = world.sticky(number).replace("\\", "")
    assert f"❌ **Do not merge: {said}" in comment, "before the jobs that failed because of it"
    assert comment.count(said) == 1 and "- the job ready ended as “failure”" in comment


@pytest.mark.slow
def test_an_entry_of_other_bytes_than_mlflow_has_is_red(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    entry = Entry(version=1, digest="sha256:" + "0" * 64, run=registered.run)
    number = world.propose_by_hand(world.edited(model, entry))
    assert [said.code for said in world.check(number, "ready", "smoke")] == [1, 1, 1]
    step = f"`promobot propose {model} 1 --env dev` writes the right digest"
    said = {"digest": f"no version in MLflow has this digest; version 1 has {registered.digest}; {step}"}
    assert _findings(world, model, "ready") == said == _findings(world, model, "smoke")


@pytest.mark.slow
def test_what_belongs_to_another_version_is_named_first_in_the_comment(world: World) -> None:
    """The digest, the run and the number of another version: what copying an entry by hand leads to."""
    model = world.model()
    first, second = world.register(model), world.register(model, "better", accuracy=0.5)
    mixed = Entry(version=2, digest=first.digest, run=first.run)
    number = world.propose_by_hand(world.edited(model, mixed))
    assert world.check(number, "ready")[0].code == 1
    step = f"`promobot propose {model} 2 --env dev` writes the right"
    wrong = _findings(world, model, "ready")
    assert wrong["run"] == f"this is the run of version 1; version 2 is of run {second.run}; {step} run"
    assert wrong["digest"] == f"this is the digest of version 1; version 2 has {second.digest}; {step} digest"
    assert "gate" in wrong, "which judges another version than was meant"
    comment = world.sticky(number).replace("\\", "")
    assert f"❌ **Do not merge: READY of {model} 2 failed at “run”: this is the run of version 1; " in comment

    absent = Entry(version=7, digest=first.digest, run=first.run)
    number = world.propose_by_hand(world.edited(model, absent))
    assert [said.code for said in world.check(number, "ready", "triton")] == [1, 1, 1]
    said = f"there is no version 7 of {model}; the digest is that of version 1; "
    for name in ("ready", "triton"):
        assert _findings(world, model, name) == {
            "version": f"{said}`promobot propose {model} 1 --env dev` writes that entry"
        }


@pytest.mark.slow
def test_an_entry_that_claims_another_run_is_red(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    entry = Entry(version=1, digest=registered.digest, run="f" * 32)
    number = world.propose_by_hand(world.edited(model, entry))
    assert world.check(number, "ready")[0].code == 1
    step = f"`promobot propose {model} 1 --env dev` writes the right run"
    said = f"no version in MLflow has this run; version 1 is of run {registered.run}; {step}"
    assert _findings(world, model, "ready") == {"run": said}


@pytest.mark.extended
def test_the_gate_holds_for_what_people_write_by_hand_too(world: World) -> None:
    model = world.model(on_miss="shadow")
    weak = world.register(model, accuracy=0.5)
    number = world.propose_by_hand(world.edited(model, weak.entry))
    assert world.check(number, "ready")[0].code == 1
    assert _findings(world, model, "ready") == {"gate": "accuracy 0.5 < 0.9"}
    as_shadow = world.propose_by_hand(world.edited(model, weak.entry, section="shadow"))
    assert world.check(as_shadow, "ready")[0].code == 0


@pytest.mark.slow
def test_a_model_without_a_gate_is_red_and_the_comment_says_why(world: World) -> None:
    registered = world.register("ungated")
    number = world.propose_by_hand(world.edited("ungated", registered.entry))
    assert [said.code for said in world.check(number, needs="failure")] == [1, 1, 1, 1]
    assert "manifests/environments/dev.yaml has no gate for ungated" in world.sticky(number).replace("\\", "")


def test_a_digest_in_quarantine_is_red(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    world.ledger().put_in_quarantine(registered.release(), reason="nonsense", by="alex")
    number = world.propose_by_hand(world.edited(model, registered.entry))
    assert world.check(number, "ready")[0].code == 1
    assert _findings(world, model, "ready") == {"quarantine": "nonsense"}


@pytest.mark.slow
def test_nothing_to_check_is_said_as_such(world: World, tmp_path: Path) -> None:
    number = world.propose_by_hand({"README.md": "Other words.\n"}, title="Words only")
    summary = tmp_path / "summary.md"
    for name in CHECKS:
        said = world.words("check", name, "--pull-request", number, env={"GITHUB_STEP_SUMMARY": str(summary)})
        assert (said.code, said.out) == (0, "Nothing to check: the pull request proposes no version.\n")
    assert "**Nothing to check:** this pull request changes no model in `promotions/`." in summary.read_text()
    verdict = world.check(number, "ready")[-1]
    assert verdict.code == 0 and verdict.document["results"] == []
    comment = world.sticky(number)
    assert "**Nothing to check:** this pull request changes no model in `promotions/`." in comment
    assert "0 of 0" not in comment and "✅" not in comment


def test_what_would_leave_service_by_mistake_is_red(world: World) -> None:
    model = world.model()
    entry = world.served(world.register(model)).entry
    gone = world.propose_by_hand(world.edited(model, None))
    said = world.check(gone, "ready")
    assert [run.code for run in said] == [0, 1]
    assert [one["stop"]["answers"]["version"] for one in said[-1].document["leaving"]] == [1]
    comment = world.sticky(gone).replace("\\", "")
    assert f"❌ **Do not merge: {model} in dev: its entry is gone from promotions/dev.yaml" in comment
    assert f"⛔ **This would stop {model} in dev.** Version 1 answers now" in comment
    queued = world.words(
        "check", "queued", "--base", world.pull(gone)["base"]["sha"], "--head", world.pull(gone)["head"]["sha"]
    )
    assert queued.code == 1 and "its entry is gone" in queued.out

    path = "promotions/dev.yaml"
    moved = {f"ml/{path}": world.promotions()}
    number = world.propose_by_hand(moved, remove=[path])
    ready, verdict = world.check(number, "ready")
    assert (ready.code, verdict.code) == (1, 1)
    comment = world.sticky(number).replace("\\", "")
    assert f"{path}: would be gone after the merge (it would be ml/{path}, where nobody reads it)" in comment
    assert f"{model} 1" in comment and "Nothing to check" not in comment

    # What was merged all the same stops nothing: main says nothing about dev, so nobody acts.
    world.commit(moved, remove=[path])
    newer = world.register(model, "better")
    verbs = [
        ("deploy",),
        ("status",),
        ("drift",),
        ("recheck", model),
        ("propose", model, newer.version),
        ("retire", model, "--reason", "x"),
        ("rollback", model, "--now"),
        ("reconcile",),
    ]
    for verb, *more in verbs:
        said = world.words(verb, *more, "--env", "dev")
        assert said.code == 1, verb
        assert f"{path}: is missing at " in said.out + said.err, verb
    (git,) = [
        one
        for one in world.promobot("doctor", "--env", "dev").document["environments"][0]["systems"]
        if one["system"] == "Git"
    ]
    assert not git["works"] and "is missing at" in git["seen"] and "environment: dev" in git["next_step"]
    assert world.version(model) == 1 and len(world.records(model)) == 1 and not world.open_pulls("promobot")
    world.commit(
        {path: desired.with_entry("environment: dev\n", file=path, section="models", model=model, entry=entry)},
        remove=[f"ml/{path}"],
    )
    assert world.deploy().code == 0 and world.version(model) == 1


@pytest.mark.slow
def test_an_entry_that_never_went_into_service_may_go(world: World) -> None:
    model = world.model()
    world.desire(model, world.register(model).entry)
    number = world.propose_by_hand(world.edited(model, None))
    said = world.check(number, "ready")
    assert [run.code for run in said] == [0, 0]
    assert f"({model} out of dev). {model} is not in service in dev, so nothing stops." in world.sticky(
        number
    ).replace("\\", "")


def test_a_job_that_did_not_succeed_makes_the_verdict_red(world: World) -> None:
    """Each job once, and each way not to succeed once: the verdict asks of each job only whether it succeeded."""
    number = world.propose_by_hand({"README.md": "A change\n"})
    for job, result in zip(CHECKS, ("skipped", "cancelled", "failure"), strict=True):
        needs = {name: {"result": result if name == job else "success"} for name in CHECKS}
        said = world.bot("check", "verdict", "--pull-request", number, "--needs", json.dumps(needs))
        assert said.code == 1
        assert said.document["problems"] == [f"the job {job} ended as “{result}”"]
        assert f"❌ **Do not merge: the job {job} ended as “{result}”.**" in world.sticky(number)


@pytest.mark.slow
def test_a_merge_group_goes_on_only_where_evidence_covers_all_that_it_would_merge(world: World) -> None:
    model, other = world.model(), world.model()
    checked, unchecked = world.register(model), world.register(other)
    number = world.proposed(checked)["number"]
    assert world.check(number)[-1].code == 0
    base = world.git("rev-parse", "origin/main")
    head = world.commit(world.edited(model, checked.entry), branch="gh-readonly-queue/main/pr-1")
    said = world.words("check", "queued", "--base", base, "--head", head)
    assert (said.code, said.out) == (0, f"✓ the evidence holds for {model} 1 in dev\n")

    head = world.commit(world.edited(other, unchecked.entry), branch="gh-readonly-queue/main/pr-2")
    said = world.bot("check", "queued", "--base", base, "--head", head)
    assert said.code == 1
    assert said.document["problems"] == [
        f"{other} 1 in dev: no checks of this digest are on record; run the checks of its pull request again, "
        "then queue it again"
    ]

    world.bot("evidence", "revoke", model, 1, "--env", "dev", "--reason", "staging was wrong")
    head = world.commit(world.edited(model, checked.entry), branch="gh-readonly-queue/main/pr-3")
    said = world.bot("check", "queued", "--base", base, "--head", head)
    assert said.code == 1
    assert "staging was wrong" in said.document["problems"][0]
    assert world.words("check", "queued", "--head", head).code == 2, "it needs both commits"


@pytest.mark.extended
def test_results_that_are_missing_make_the_verdict_red(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    number = world.proposed(registered)["number"]
    said = world.check(number, "ready")
    assert [run.code for run in said] == [0, 1]
    assert said[-1].document["problems"] == [
        f"there is no result for the check triton of dev/{model}",
        f"there is no result for the check smoke of dev/{model}",
    ]
    evidence = world.ledger().evidence(registered.entry.in_slot(Slot.of("dev", model, "models")))
    assert evidence is not None and not evidence.passed


@pytest.mark.parametrize("needs", ["no JSON", "[]", '{"ready": "success"}'])
def test_a_needs_context_that_is_none_is_a_mistake_of_usage(world: World, needs: str) -> None:
    said = world.words("check", "verdict", "--pull-request", 1, "--needs", needs)
    assert said.code == 2
    assert "--needs" in said.err and "Traceback" not in said.err


@pytest.mark.slow
def test_checks_of_a_commit_that_is_no_longer_the_head_are_refused(world: World) -> None:
    model = world.model()
    first, second = world.register(model), world.register(model, "better")
    pull = world.proposed(first)
    world.proposed(second)
    old, new = pull["head"]["sha"], world.pull(pull["number"])["head"]["sha"]
    for said in world.check(pull["number"], "ready", head=old):
        assert said.code == 1
        assert said.document["error"] == f"#{pull['number']} has moved on from {old[:12]} to {new[:12]}"
    assert not [body for body in world.comments(pull["number"]) if "promobot:checks" in body]
    assert world.ledger().evidence(first.entry.in_slot(Slot.of("dev", model, "models"))) is None


@pytest.mark.extended
def test_a_check_that_was_killed_leaves_nothing_after_its_next_run(world: World) -> None:
    model = world.model()
    number = world.proposed(world.register(model))["number"]
    command = [sys.executable, "-m", "bot", "check", "smoke", "--pull-request", str(number), "--run-id", "killed"]
    check = subprocess.Popen(
        [*command, "--root", str(world.root)],
        cwd=PROJECT,
        env={**os.environ, **world.endpoints.variables(login=BOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: world.published("staging") or check.poll() is not None)
    check.send_signal(signal.SIGKILL)
    check.wait()
    assert f"{model}.check-{number}-smoke/1" in world.published("staging"), "it was killed in the middle"
    assert [said.code for said in world.check(number, "smoke")] == [0, 1]


def test_a_proposal_that_also_edits_the_bot_is_named_and_not_executed(world: World, tmp_path: Path) -> None:
    model = world.model()
    canary = tmp_path / "canary"
    edit = f"open({str(canary)!r}, 'w')\n"
    files = world.edited(model, world.register(model).entry)
    files |= {
        "bot/operations/check.py": edit,
        ".github/workflows/checks.yml": edit,
    }
    number = world.propose_by_hand(files)
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    comment = world.sticky(number)
    first = next(line for line in comment.splitlines() if line.startswith("✅"))
    assert first.endswith("⚠️ It also changes 2 other files, which no check looked at. Next: review and merge.")
    assert (
        "ℹ️ Besides `promotions/` this changes `.github/workflows/checks.yml`, `bot/operations/check.py`: "
        "nothing of it ran in these checks" in comment
    )
    assert not canary.exists()


def test_a_file_of_no_environment_is_red(world: World) -> None:
    number = world.propose_by_hand({"promotions/qa.yaml": "environment: qa\n"})
    ready, verdict = world.check(number, "ready", needs="failure")
    assert (ready.code, verdict.code) == (1, 1)
    assert "promotions/qa.yaml: is not the desired state of an environment" in world.sticky(number).replace("\\", "")


@pytest.mark.extended
def test_staging_that_is_away_is_red_and_says_so(world: World) -> None:
    model = world.model()
    number = world.proposed(world.register(model))["number"]
    world.kill("triton-staging")
    world.configure("dev", deadlines={"request_seconds": 2, "load_seconds": 2})
    said = world.check(number, "triton")
    assert [run.code for run in said] == [1, 1]
    assert "Triton triton-staging" in _findings(world, model, "triton")["loads"]
    world.restart("triton-staging")
    assert world.check(number, "triton")[0].code == 0, "a job that is run again replaces what it found"


def test_a_large_package_is_fetched_once_for_all_three_checks(world: World) -> None:
    model = world.model()
    new = world.register(model, "better", note="n" * 5 * 2**20)
    pull = world.proposed(new)
    where = ("--pull-request", pull["number"], "--head", pull["head"]["sha"], "--run-id", "1.1")
    assert world.words("check", "ready", *where).code == 0
    # What MLflow has from here on is asked by nobody.
    onnx_file = new.artifacts / "model.onnx"
    whole = onnx_file.read_bytes()
    onnx_file.write_bytes(whole[:-1] + b"\0")
    for name in ("triton", "smoke"):
        said = world.words("check", name, *where)
        assert said.code == 0, said

    shutil.rmtree(world.endpoints.state("staging") / "checked")
    where = (*where[:-1], "2.1")
    assert world.words("check", "ready", *where).code == 1
    assert _findings(world, model, "ready")["every byte"] == "other bytes than listed: model.onnx"
    assert world.words("check", "smoke", *where).code == 1
    assert any(
        "model.onnx is not what the package says" in said for said in _findings(world, model, "smoke").values()
    )
