"""The check Behaviour, on the real Triton: both versions are asked the rows of a set that the settings pin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.evaluation import Evaluation
from bot.domain.evidence import CHECKS, Evidence
from bot.domain.recorded import Recorded
from bot.domain.smoke import SmokeCases
from bot.recordings import packed
from bot.recordings.directory import Directory
from bot.sandbox.reference import evaluation_rows
from tests.operations.world import Registered, Said, World, rows_of

EVERY = (*CHECKS, "behaviour")


@pytest.fixture(autouse=True)
def staging_is_left_as_it_was(world: World) -> Iterator[None]:
    """Whatever is measured, nothing of it stays on the staging Triton or in its part of the share."""
    yield
    assert world.loaded("staging") == []
    assert world.published("staging") == []


class Rows:
    """An evaluation set in MLflow."""

    def __init__(self, world: World, folder: Path) -> None:
        self.digest, self.address = evaluation_rows(folder, world.endpoints.mlflow)

    def of(self, model: str, **more: Any) -> dict[str, Any]:
        """Return settings with which a model is measured."""
        return {model: {"digest": self.digest, "from": self.address, **more}}


@pytest.fixture
def rows(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Rows(world, tmp_path / "rows")


SLICES = {"by": ["clinic"], "min_rows": 30, "metrics": {"accuracy": 0.03}, "confidence": 0.9}


def checked(world: World, registered: Registered) -> tuple[int, list[Said], str]:
    """Propose a version and run all its checks; return the number, what they said, and the comment."""
    number = world.proposed(registered)["number"]
    said = world.check(number, *EVERY)
    assert not any(one.code == 3 for one in said), [one for one in said if one.code == 3]
    return number, said, world.sticky(number)


def newest(world: World, model: str) -> Evidence:
    return world.ledger().all_evidence(model)[0]


def newest_result(world: World, number: int) -> Evaluation:
    """Return what the last run of Behaviour on a pull request measured."""
    results = [one for _, one in world.ledger().checks_of(number) if one.check == "behaviour"]
    found = max(results, key=lambda one: one.at).evaluation
    assert found is not None
    return found


def failed(world: World, model: str) -> dict[str, str]:
    (found,) = [one for one in newest(world, model).checks if one.check == "behaviour"]
    return {finding.what: finding.detail for finding in found.findings if not finding.passed}


def test_a_version_that_claims_more_than_it_has_is_caught(world: World, rows: Rows) -> None:
    model = world.model()
    world.served(world.register(model))
    world.configure("dev", evaluation=rows.of(model))
    number, said, comment = checked(world, world.register(model, "boasting"))
    assert [one.code for one in said] == [0, 0, 0, 1, 1], "only Behaviour finds it"
    first = comment.splitlines()[2].replace("\\", "")
    assert first.startswith(
        f"❌ **Do not merge: Behaviour of {model} 2 failed at “claimed accuracy”: training logged 1, "
    )
    assert "more than 3 standard errors and the tolerance of 0.01" in first
    table = {row[1]: row for row in rows_of(comment, "|  | metric | claimed by training")}
    assert table["`accuracy`"][2:5] == ["❌ 1", "0.9006", "0.9181"]
    found = newest(world, model)
    assert not found.passed and found.evaluation_set == rows.digest
    measured = found.evaluation
    assert measured is not None and measured.rows == 171 and measured.champion is not None
    assert measured.champion.version == 1 and measured.decisions is not None and measured.decisions.changed > 0
    assert measured.latency is not None and measured.latency.p50_ratio is not None
    shown = world.words("evidence", "show", model, 2, "--env", "dev")
    assert "claimed 1, measured 0.9006" in shown.out and "171 rows would be decided otherwise" in shown.out
    document = world.bot("evidence", "show", model, 2, "--env", "dev").document
    (check,) = [one for one in document["evidence"][0]["checks"] if one["check"] == "behaviour"]
    assert check["evaluation"]["metrics"][0]["claimed"] == 1
    assert number == found.pull_request


@pytest.mark.slow
def test_a_version_that_is_better_on_average_and_much_worse_in_one_clinic_is_caught(world: World, rows: Rows) -> None:
    model = world.model()
    world.served(world.register(model))
    costs = {"false_positive": 1, "false_negative": 9}
    world.configure("dev", evaluation=rows.of(model, show_inputs=True, costs=costs))
    rule = {"metrics": {"accuracy": {"minimum": 0.9, "max_regression": 0.01}}, "slices": SLICES}
    world.configure("dev", gates={model: rule})
    _, said, comment = checked(world, world.register(model, "one-sided"))
    assert [one.code for one in said] == [0, 0, 0, 1, 1]
    said_of_it = "accuracy 0.9697 in service, 0.7273 proposed: 0.2424 worse on 33 rows, allowed is 0.03"
    assert failed(world, model) == {"slice clinic = harbour": said_of_it}
    plain = comment.replace("\\", "")
    assert "failed at “slice clinic = harbour”: accuracy 0.9697 in service, 0.7273 proposed" in plain.splitlines()[2]
    (accuracy,) = list(rows_of(comment, "|  | metric | claimed by training"))[1:]
    assert accuracy[0] == "✅" and float(accuracy[3]) > float(accuracy[4]), "on average it is better"
    first = list(rows_of(plain, "|  | slice"))[1]
    assert first[:3] == ["❌", "clinic = harbour", "33"]
    assert "rows of the evaluation set would be decided otherwise" in comment and "worth -" in comment
    assert "| row | in service | proposed | label | inputs |" in comment and "X: " in plain


@pytest.mark.slow
def test_a_good_version_passes_and_is_deployed_and_what_it_is_worth_stays_with_it(world: World, rows: Rows) -> None:
    model = world.model(slices=SLICES, latency={"p50_milliseconds": 1000})
    world.configure("dev", evaluation=rows.of(model))
    first = world.register(model)
    number, said, comment = checked(world, first)
    assert [one.code for one in said] == [0] * 5
    assert "nothing is in service to compare with" in comment
    world.merge(number)
    assert world.deploy().code == 0 and world.version(model) == 1
    number, said, comment = checked(world, world.register(model, "better"))
    assert [one.code for one in said] == [0] * 5
    assert [row[:2] for row in rows_of(comment, "### ")][1:] == [
        *(["✅", name] for name in ("READY", "Triton", "Smoke", "Behaviour"))
    ]
    assert "Inputs" not in comment and newest(world, model).evaluation.decisions.worst[0].inputs is None  # type: ignore[union-attr]
    world.merge(number)
    assert world.deploy().code == 0 and world.version(model) == 2
    back = world.bot("rollback", model, "--env", "dev").document["pull_request"]
    said = world.check(back, *EVERY)
    assert [one.code for one in said] == [0] * 5, "what answered here before is not on trial again"
    assert "not measured: these bytes were verified in service by" in world.sticky(back)


def test_answers_that_tasks_of_their_own_got_are_read_in_place_of_asking(
    world: World, rows: Rows, tmp_path: Path
) -> None:
    model = world.model()
    live = world.served(world.register(model))
    world.configure("dev", evaluation=rows.of(model, answers=str(tmp_path / "answers")))
    proposed = world.register(model, "boasting")
    number, said, comment = checked(world, proposed)
    assert said[-2].code == 1 and "has no answers. Ask the parts of the set first." in comment.replace("\\", "")
    # The digests say whose answers these are. Both are asked of the version in service, which shows where from.
    target = world.routes()["models"][model]["live"]
    where = f"{world.endpoints.triton['dev'][0].grpc}/{target['triton_model']}/{target['version']}"
    folder = tmp_path / "answers" / proposed.digest.removeprefix("sha256:")
    versions = ("--proposed", f"{proposed.digest}@{where}", "--in-service", f"{live.digest}@{where}")
    for part in (1, 0):
        done = world.words(
            *("evaluate", model, "--env", "dev", "--part", part, "--of", 2, "--answers", folder), *versions
        )
        assert done.code == 0, done
    world.check(number, "behaviour")
    found = newest_result(world, number)
    assert found.rows == 171 and found.metric("accuracy").difference == 0  # type: ignore[union-attr]
    assert found.decisions is not None and found.decisions.changed == 0


def test_without_an_evaluation_set_nothing_is_measured_and_nothing_is_missing(world: World) -> None:
    model = world.model()
    number = world.proposed(world.register(model))["number"]
    head = world.pull(number)["head"]["sha"]
    said = world.words("check", "behaviour", "--pull-request", number, "--head", head, "--run-id", "1.1")
    assert said.code == 0
    assert [one.code for one in world.check(number)] == [0] * 4
    assert "Behaviour" not in world.sticky(number)
    found = newest(world, model)
    assert found.passed and found.evaluation_set == "" and {one.check for one in found.checks} == set(CHECKS)


def test_a_demanded_measurement_that_did_not_run_is_red(world: World, rows: Rows) -> None:
    model = world.model()
    world.configure("dev", evaluation=rows.of(model))
    number = world.proposed(world.register(model))["number"]
    assert [one.code for one in world.check(number)] == [0, 0, 0, 1]
    assert f"there is no result for the check behaviour of dev/{model}" in world.sticky(number).replace("\\", "")
    assert not newest(world, model).passed


@pytest.mark.slow
@pytest.mark.parametrize("what", ["another digest", "a changed file", "no such run"])
def test_a_set_that_is_not_the_pinned_one_stops(world: World, rows: Rows, what: str) -> None:
    model = world.model()
    wanted = rows.of(model)[model]
    if what == "another digest":
        wanted["digest"] = f"sha256:{'5' * 64}"
    elif what == "no such run":
        wanted["from"] = "runs:/0123456789abcdef0123456789abcdef/evaluation"
    world.configure("dev", evaluation={model: wanted})
    damaged = None
    if what == "a changed file":
        run, _, folder = rows.address.removeprefix("runs:/").partition("/")
        (damaged,) = (world.endpoints.directory / "mlflow/artifacts").glob(f"*/{run}/artifacts/{folder}/*.parquet")
        kept = damaged.read_bytes()
        damaged.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        _, said, _ = checked(world, world.register(model))
        assert [one.code for one in said] == [0, 0, 0, 1, 1]
        assert list(failed(world, model)) == ["evaluation set"]
        assert "could not be had" in failed(world, model)["evaluation set"]
    finally:
        if damaged is not None:
            damaged.write_bytes(kept)


@pytest.mark.slow
def test_what_is_in_service_and_cannot_be_had_is_not_on_trial(world: World, rows: Rows) -> None:
    model = world.model()
    served = world.served(world.register(model))
    shutil.rmtree(served.artifacts)
    world.configure("dev", evaluation=rows.of(model))
    _, said, comment = checked(world, world.register(model, "better"))
    assert said[3].code == 0, said[3]
    assert "⚠️ version 1 in service was not measured: " in comment
    sure = {"accuracy": {"max_regression": 0.5, "confidence": 0.9}}
    world.configure("dev", gates={model: {"metrics": sure}})
    _, said, comment = checked(world, world.register(model, "best"))
    assert said[3].code == 1 and list(failed(world, model)) == ["measured accuracy"], "nobody is sure without it"


@pytest.mark.slow
def test_rows_that_do_not_fit_the_model_are_named(world: World, rows: Rows, tmp_path: Path) -> None:
    import numpy as np

    from bot.training import evaluation_set, log_evaluation_set

    folder = tmp_path / "other"
    other = evaluation_set(folder, inputs={"X": np.zeros((10, 7), np.float32)}, labels=np.arange(10) % 2)
    address = log_evaluation_set(folder, tracking_uri=world.endpoints.mlflow)
    model = world.model()
    world.configure("dev", evaluation={model: {"digest": other.digest, "from": address}})
    _, said, _ = checked(world, world.register(model))
    assert said[3].code == 1
    assert "a row of X is [7] in the set, and the model takes [30]" in failed(world, model)["evaluation set"]


@pytest.mark.slow
def test_another_set_holds_what_was_measured_on_the_one_before_until_it_is_checked_again(
    world: World, rows: Rows, tmp_path: Path
) -> None:
    import numpy as np

    from bot.sandbox.reference import features
    from bot.training import evaluation_set, log_evaluation_set

    model = world.model()
    world.configure("dev", evaluation=rows.of(model))
    number, said, _ = checked(world, world.register(model))
    assert [one.code for one in said] == [0] * 5
    world.merge(number)
    data, folder = features(), tmp_path / "fewer"
    other = evaluation_set(folder, inputs={"X": data.held_out[:90]}, labels=data.held_out_labels[:90])
    address = log_evaluation_set(folder, tracking_uri=world.endpoints.mlflow)
    assert np.isfinite(data.held_out).all()
    world.configure("dev", evaluation={model: {"digest": other.digest, "from": address}})
    held = world.words("deploy", "--env", "dev")
    assert held.code == 1 and world.version(model) is None
    assert "measured it on another evaluation set" in held.out and f"promobot recheck {model} --env dev" in held.out
    assert world.bot("recheck", model, "--env", "dev").code == 0
    assert newest(world, model).evaluation_set == other.digest
    assert world.deploy().code == 0 and world.version(model) == 1


@pytest.mark.slow
def test_deploy_judges_measured_numbers_again_where_another_version_is_in_service_by_now(
    world: World, rows: Rows
) -> None:
    model = world.model()
    world.served(world.register(model))
    world.configure("dev", evaluation=rows.of(model))
    proposed = [world.register(model, recipe) for recipe in ("better", "best")]
    numbers = []
    for one in proposed:
        number = world.proposed_by_hand(one)["number"]
        assert [said.code for said in world.check(number, *EVERY)] == [0] * 5
        numbers.append(number)
    world.merge(numbers[0])
    assert world.deploy().code == 0 and world.version(model) == 2
    world.merge_on_top(numbers[1], model)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0 and world.version(model) == 3, "both were measured on the same rows in the same way"
    assert world.records(model)[-1].steps[0].what.startswith("judged again by today's rules, and passed: ")

    # A gate that wants to be sure cannot be answered by rows that were not paired.
    sure = {"metrics": {"accuracy": {"max_regression": 0.5, "confidence": 0.9}}}
    world.configure("dev", gates={model: sure})
    world.desire(model, proposed[0].entry)
    held = world.words("deploy", "--env", "dev")
    assert held.code == 0 and world.version(model) == 2, "going back to what was verified asks nothing"
    fourth, fifth = world.register(model, "first", note="-again"), world.register(model, "better", note="-again")
    for one in (fourth, fifth):
        number = world.proposed_by_hand(one)["number"]
        assert [said.code for said in world.check(number, *EVERY)] == [0] * 5
        numbers.append(number)
    world.merge(numbers[2])
    assert world.deploy().code == 0 and world.version(model) == 4
    world.merge_on_top(numbers[3], model)
    held = world.words("deploy", "--env", "dev")
    assert held.code == 1 and world.version(model) == 4
    assert f"how sure accuracy is was not measured against version {fourth.version}" in held.out
    assert f"promobot recheck {model} --env dev" in held.out


@pytest.mark.slow
def test_a_pull_request_that_changes_the_set_says_that_numbers_do_not_compare(world: World, rows: Rows) -> None:
    model = world.model()
    world.configure("dev", evaluation=rows.of(model))
    checked(world, world.register(model, "better"))
    path = "manifests/environments/dev.yaml"
    text = (world.root / path).read_text()
    world.commit({path: text})
    number = world.propose_by_hand({path: text.replace(rows.digest, f"sha256:{'5' * 64}")})
    world.check(number, "behaviour")
    plain = world.sticky(number).replace("\\", "")
    assert f"evaluation.{model}.digest" in plain
    assert "numbers from other rows, or computed in another way, do not compare with those of before" in plain
    table = list(rows_of(plain, "| version | evaluation set | metric"))
    assert [f"{model} 1", f"`{rows.digest[7:19]}`", "`accuracy`", "0.9708", "171"] in table


@pytest.mark.slow
def test_sets_are_fetched_once(world: World, rows: Rows, tmp_path: Path) -> None:
    model = world.model()
    world.configure("dev", evaluation=rows.of(model))
    checked(world, world.register(model))
    kept = list((tmp_path / "cache/promobot/evaluation").glob("*/evaluation.json"))
    assert len(kept) == 1 and json.loads(kept[0].read_text())["rows"] == 171


def recorded(world: World, registered: Registered, folder: Path, *, requests: int) -> None:
    """Record the golden requests of a version as a gateway would, one after another."""
    cases = SmokeCases.from_json((registered.artifacts / "smoke.json").read_text()).cases
    at = datetime(2026, 11, 30, 9, tzinfo=UTC)
    lines = [
        Recorded(
            at + timedelta(seconds=number),
            registered.model,
            registered.version,
            registered.digest,
            cases[number % len(cases)].inputs,
        ).to_line()
        for number in range(requests)
    ]
    Directory(folder).add(f"dev/{registered.model}/2026-11-30/000000-g-0.jsonl.gz", packed(lines))


def test_recorded_requests_are_asked_where_there_is_no_evaluation_set(world: World, tmp_path: Path) -> None:
    model = world.model()
    live = world.served(world.register(model))
    folder = tmp_path / "recordings"
    folder.mkdir()
    recorded(world, live, folder, requests=12)
    world.configure("dev", recordings={"directory": str(folder), "replay": {model: 10}})
    number, said, comment = checked(world, world.register(model, "better"))
    assert [one.code for one in said] == [0] * 5, "they stop nothing"
    found = newest_result(world, number)
    assert found.replay is not None and (found.replay.asked, found.replay.requests) == (10, 10)
    assert found.digest == "" and found.metrics == () and found.champion is not None
    plain = comment.replace("\\", "")
    assert "**Recorded requests**, beside version 1 in service, on the same Triton:" in plain
    assert " of 10 real requests would be " in plain and "⚠️ **Not measured" not in plain
    assert "| ✅ | recorded requests | 10 answered by both versions |" in plain
    evidence = newest(world, model)
    assert evidence.passed and evidence.evaluation_set == ""
    shown = world.words("evidence", "show", model, 2, "--env", "dev")
    assert "measured by recorded requests alone; in service: version 1" in shown.out
    world.merge(number)
    assert world.deploy().code == 0 and world.version(model) == 2


@pytest.mark.slow
def test_recorded_requests_alone_need_a_version_that_answers_beside_and_a_result(
    world: World, tmp_path: Path
) -> None:
    model = world.model()
    world.configure("dev", recordings={"directory": str(tmp_path), "replay": {model: 10}})
    first = world.register(model)
    number, said, _ = checked(world, first)
    assert [one.code for one in said] == [0] * 5
    (behaviour,) = [one for one in newest(world, model).checks if one.check == "behaviour"]
    assert behaviour.findings[-1].detail == "no recorded request was asked: nothing is in service to compare with"
    world.merge(number)
    assert world.deploy().code == 0
    number = world.proposed(world.register(model, "better"))["number"]
    assert [one.code for one in world.check(number)] == [0, 0, 0, 1]
    assert f"there is no result for the check behaviour of dev/{model}" in world.sticky(number).replace("\\", "")
    shutil.rmtree(first.artifacts)
    world.check(number, "behaviour")
    assert "⚠️ version 1 in service was not measured: " in world.sticky(number)


def test_a_metric_that_nobody_can_compute_is_said_in_the_first_line(world: World, rows: Rows) -> None:
    model = world.model()
    world.configure("dev", gates={model: {"metrics": {"churned_value": {"minimum": 0.1}}}})
    world.configure("dev", evaluation=rows.of(model))
    _, said, comment = checked(world, world.register(model, churned_value=0.5))
    assert [one.code for one in said] == [0] * 5, "its rule has no confidence, so READY alone judges it"
    first = comment.splitlines()[2]
    assert first.startswith("✅ **Every check passed for ")
    assert f"⚠️ **Not measured for {model} in dev:** `churned_value`: the gate judged only what training logged." in (
        first.replace("\\", "")
    )
    (row,) = list(rows_of(comment, "|  | metric | claimed by training"))[1:]
    assert row[0] == "⚠️" and row[3] == "not measured"
    assert "Say in evaluation.<model>.metrics what computes it, or take it out of the gate" in comment.replace(
        "\\", ""
    )


def test_the_doctor_reads_every_set(world: World, rows: Rows) -> None:
    model = world.model()
    world.configure("dev", evaluation=rows.of(model))

    def line() -> dict[str, Any]:
        document = world.promobot("doctor", "--env", "dev").document
        return next(one for one in document["environments"][0]["systems"] if one["system"] == "evaluation sets")

    assert line()["works"] is True and f"{model} 171 rows" in line()["seen"]
    world.configure("dev", evaluation={model: {"digest": f"sha256:{'5' * 64}", "from": rows.address}})
    wrong = line()
    assert wrong["works"] is False and f"evaluation.{model}: names the set 555555555555, and where" in (wrong["seen"])
    gone = f"runs:/{'0' * 32}/evaluation"
    world.configure("dev", evaluation={model: {"digest": rows.digest, "from": gone}})
    assert line()["works"] is False
