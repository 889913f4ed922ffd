"""``promobot propose``: what a pull request says, what happens when it is run again, and what is never proposed."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import yaml

from bot.render.markdown import escape
from tests.operations.world import Registered, World, config_of, rows_of


def test_the_first_version_is_proposed_with_everything_a_reviewer_needs(world: World) -> None:
    model = world.model()
    first = world.register(model)
    said = world.words("propose", model, first.version, "--env", "dev")
    assert said.code == 0
    (pull,) = world.open_pulls()
    assert said.out == f"{model} 1 is proposed to dev: {pull['html_url']}\n"
    assert said.err == f"waiting for {model} 1 to be READY\n"

    assert pull["title"] == f"Promote {model} to 1 in dev"
    assert (pull["head"]["ref"], pull["base"]["ref"]) == (f"promobot/dev/{model}", "main")
    body = pull["body"]
    assert body.startswith(f"✅ **{model} 1 passes the gate of dev; nothing is in service yet.**\n\nNext: ")
    identity = {row[0]: row[1] for row in rows_of(body, "Identity: version, digest")}
    assert identity["version"] == f"[1]({world.endpoints.mlflow}/#/models/{model}/versions/1)"
    assert identity["digest"] == f"`{first.digest.removeprefix('sha256:')[:12]}`"
    assert identity["MLflow run"] == f"`{first.run}`"
    assert identity["code"] == "`c0ffee000000`"
    assert "Takes and gives `(X: FP32[-1, 30]) → (label: INT64[-1, 1], probabilities: FP32[-1, 2])`" in body
    assert config_of(first).strip() in body
    assert f"promobot retire {model} --env dev --reason '…'\n" in body, "nothing is in service to go back to"
    assert "1 Triton, 2 gateways of dev" in body
    origins = body[body.index("Where each number comes from") : body.index("Files of the package")]
    assert rf"| `accuracy` | given at the registration of {escape(model)} " in origins
    files = body[body.index("Files of the package") :]
    assert all(f"| `{name}` |" in files for name in ("config.pbtxt", "model.onnx", "smoke.json"))
    assert "| parameter `recipe` | `first` |" in body

    changed = world.api("GET", f"/pulls/{pull['number']}/files")
    assert [file["filename"] for file in changed] == ["promotions/dev.yaml"]
    world.git("fetch", "--quiet", "origin", pull["head"]["ref"])
    text = world.git("show", "FETCH_HEAD:promotions/dev.yaml")
    assert text.startswith("# What dev serves."), "comments stay"
    entry = yaml.safe_load(text)["models"][model]
    assert entry == {"version": 1, "digest": first.digest, "run": first.run}


@pytest.mark.slow
def test_a_successor_is_shown_against_the_version_in_service_worst_metric_first(world: World) -> None:
    model = world.model()
    old = world.served(world.register(model, accuracy=0.95, roc_auc=0.96, log_loss=0.2))
    new = world.register(model, "better", max_batch_size=32, accuracy=0.945, roc_auc=0.99, log_loss=0.1)
    body = world.proposed(new)["body"]

    assert body.startswith(f"✅ **{model} 2 passes the gate of dev; against version 1 in service: ")
    head, *rows = rows_of(body, "### Gate")
    assert head == ["", "metric", "proposed", "in service", "change", "rule"]
    assert [(row[1], row[2], row[3], row[4]) for row in rows] == [
        ("`accuracy`", "0.945", "0.95", "-0.005"),
        ("`roc_auc`", "0.99", "0.96", "+0.03"),
        ("`log_loss`", "0.1", "0.2", "-0.1"),
    ], "the smallest distance to a bound first"
    assert "The signature is the same." in body
    assert "-max_batch_size: 64\n+max_batch_size: 32" in body
    assert f"To go back to version 1 ({old.digest.removeprefix('sha256:')[:12]})" in body
    identity = {row[0]: row[2] for row in rows_of(body, "Identity: version, digest")}
    assert (identity["version"], identity["MLflow run"]) == ("1", f"`{old.run}`")


@pytest.mark.slow
def test_running_it_twice_changes_nothing(world: World) -> None:
    model = world.model()
    world.register(model)
    pull = world.pull(world.promobot("propose", model, 1, "--env", "dev").document["pull_request"])
    again = world.promobot("propose", model, 1, "--env", "dev")
    assert (again.code, again.document["action"]) == (0, "unchanged")
    assert [pull["number"] for pull in world.open_pulls()] == [again.document["pull_request"]]
    assert world.pull(pull["number"])["head"]["sha"] == pull["head"]["sha"], "a new commit would run the checks again"
    assert world.comments(pull["number"]) == []
    said = world.words("propose", model, 1, "--env", "dev")
    assert said.out == (
        f"{model} 1 is proposed to dev already; nothing was changed: {pull['html_url']}\n"
        "→ The checks judge by the gates and settings of main. If these changed since, run them again: “Re-run all "
        "jobs” under Checks of the pull request.\n"
    )


@pytest.mark.slow
def test_a_newer_version_updates_the_one_pull_request_and_an_older_one_is_stopped(world: World) -> None:
    model = world.model()
    first, second = world.register(model), world.register(model, "better")
    pull = world.proposed(first)
    said = world.words("propose", model, second.version, "--env", "dev")
    assert (said.code, said.out) == (0, f"#{pull['number']} now proposes {model} 2 to dev: {pull['html_url']}\n")
    (updated,) = world.open_pulls()
    assert (updated["number"], updated["title"]) == (pull["number"], f"Promote {model} to 2 in dev")
    assert updated["head"]["sha"] != pull["head"]["sha"]
    assert second.digest.removeprefix("sha256:")[:12] in updated["body"]
    (comment,) = world.comments(pull["number"])
    name = model.replace("-", r"\-")
    assert comment == (f"🔁 This pull request proposed version 1; it now proposes **Promote {name} to 2 in dev**.")

    said = world.words("propose", model, first.version, "--env", "dev")
    assert said.code == 1
    assert said.out == (
        f"{model} 1 is not proposed to dev because #{pull['number']} already proposes version 2, which is newer.\n"
    )
    assert world.pull(pull["number"])["head"]["sha"] == updated["head"]["sha"]
    assert len(world.comments(pull["number"])) == 1


def test_what_main_says_already_is_not_proposed(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.desire(model, first.entry)
    said = world.words("propose", model, 1, "--env", "dev")
    assert (said.code, said.out) == (0, f"{model} 1 is what main says for dev already; nothing to propose.\n")
    assert world.open_pulls() == []


def test_a_miss_becomes_a_shadow_where_the_gate_says_so(world: World) -> None:
    model = world.model(on_miss="shadow")
    weak = world.register(model, accuracy=0.5, log_loss=0.9)
    said = world.promobot("propose", model, weak.version, "--env", "dev")
    assert (said.code, said.document["action"], said.document["section"]) == (0, "opened", "shadow")
    assert said.document["reason"] == "log_loss 0.9 > 0.4; accuracy 0.5 < 0.9", "worst first"
    pull = world.pull(said.document["pull_request"])
    assert pull["title"] == f"Shadow {model} 1 in dev"
    assert pull["body"].startswith(f"👥 **{model} 1 misses the gate of dev (")
    assert "it would receive copies of requests and answer nobody" in pull["body"]
    assert [row[0] for row in rows_of(pull["body"], "### Gate")][1:] == ["❌", "❌", "✅"]
    world.git("fetch", "--quiet", "origin", pull["head"]["ref"])
    proposed = yaml.safe_load(world.git("show", "FETCH_HEAD:promotions/dev.yaml"))
    assert proposed["models"] == {}
    assert proposed["shadow"][model] == {
        "version": 1,
        "digest": weak.digest,
        "run": weak.run,
        "reason": "log_loss 0.9 > 0.4; accuracy 0.5 < 0.9",
    }


def test_a_person_may_have_what_passes_listen_first(world: World) -> None:
    model = world.model()
    good = world.register(model)
    said = world.promobot("propose", model, 1, "--env", "dev", "--as", "shadow", "--share", "0.1")
    assert (said.code, said.document["action"], said.document["section"]) == (0, "opened", "shadow")
    pull = world.pull(said.document["pull_request"])
    assert pull["title"] == f"Shadow {model} 1 in dev"
    assert pull["body"].startswith(
        f"👥 **{model} 1 passes the gate of dev, and is to listen first: it would receive copies of 10 % of the "
        "requests and answer nobody.**"
    )
    world.git("fetch", "--quiet", "origin", pull["head"]["ref"])
    proposed = yaml.safe_load(world.git("show", "FETCH_HEAD:promotions/dev.yaml"))
    assert proposed["shadow"][model] == {"version": 1, "digest": good.digest, "run": good.run, "share": 0.1}
    assert model not in (proposed["models"] or {})
    assert world.check(pull["number"], "ready")[0].code == 0
    world.merge(pull["number"])
    again = world.words("propose", model, 1, "--env", "dev", "--as", "shadow")
    assert again.out == f"{model} 1 is what main says for dev's shadow path already; nothing to propose.\n"
    more = world.promobot("propose", model, 1, "--env", "dev", "--as", "shadow", "--share", "0.5")
    assert more.document["action"] == "opened", "another share is another wish"


def test_what_answers_does_not_listen_too_and_what_the_gate_stops_does_not_listen(world: World) -> None:
    model = world.model(on_miss="stop")
    world.served(world.register(model))
    said = world.words("propose", model, 1, "--env", "dev", "--as", "shadow")
    assert (said.code, "because it answers in dev already" in said.out) == (1, True)
    weak = world.register(model, "better", accuracy=0.5)
    said = world.words("propose", model, weak.version, "--env", "dev", "--as", "shadow")
    assert (said.code, "because accuracy 0.5 < 0.9" in said.out) == (1, True)
    assert world.open_pulls() == []


@pytest.mark.slow
def test_a_shadow_never_takes_over_the_pull_request_of_what_passes_but_the_other_way_round(world: World) -> None:
    model = world.model(on_miss="shadow")
    good = world.register(model)
    weak = world.register(model, "better", accuracy=0.5)
    pull = world.proposed(good)
    said = world.words("propose", model, weak.version, "--env", "dev")
    assert (said.code, said.out) == (
        1,
        f"{model} 2 is not proposed to dev because it misses the gate (accuracy 0.5 < 0.9), and #{pull['number']} "
        f"proposes version 1, which passes: a shadow waits until #{pull['number']} is merged or closed; propose it "
        "again then.\n",
    )
    assert world.pull(pull["number"])["head"]["sha"] == pull["head"]["sha"]
    world.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
    shadow = world.proposed(weak)
    assert shadow["title"] == f"Shadow {model} 2 in dev"
    taken_over = world.proposed(good)
    assert (taken_over["number"], taken_over["title"]) == (shadow["number"], f"Promote {model} to 1 in dev")
    assert "This pull request proposed shadow version 2; it now proposes" in world.comments(shadow["number"])[0]


def test_a_miss_stops_where_the_gate_says_so(world: World) -> None:
    model = world.model(on_miss="stop")
    world.register(model, accuracy=0.5)
    said = world.words("propose", model, 1, "--env", "dev")
    assert (said.code, said.out) == (1, f"{model} 1 is not proposed to dev because accuracy 0.5 < 0.9.\n")
    assert world.open_pulls() == []


@pytest.mark.slow
def test_a_regression_against_the_version_in_service_is_a_miss(world: World) -> None:
    model = world.model(on_miss="stop")
    world.served(world.register(model, accuracy=0.98))
    world.register(model, "better", accuracy=0.96)
    said = world.words("propose", model, 2, "--env", "dev")
    assert said.code == 1
    assert "because accuracy 0.02 worse than in service (0.98)." in said.out


def test_a_digest_in_quarantine_is_not_proposed(world: World) -> None:
    model = world.model()
    first = world.register(model)
    world.ledger().put_in_quarantine(first.release(), reason="it answered nonsense", by="alex")
    said = world.words("propose", model, 1, "--env", "dev")
    assert said.code == 1
    assert said.out == (
        f"{model} 1 is not proposed to dev because its digest is in quarantine in dev: it answered nonsense; "
        f"`promobot quarantine lift {first.digest[7:19]} --env dev --reason '…'` allows it again.\n"
    )
    assert world.open_pulls() == []
    assert world.promobot("propose", model, 1, "--env", "prod").code == 0, "what failed in dev failed in dev"


def _without_a_package(registered: Registered) -> None:
    (registered.artifacts / "package.json").unlink()


def _with_a_file_more(registered: Registered) -> None:
    (registered.artifacts / "notes.txt").write_text("added later")


def _with_a_file_less(registered: Registered) -> None:
    (registered.artifacts / "model.onnx").unlink()


def _with_a_list_that_was_edited(registered: Registered) -> None:
    package = registered.artifacts / "package.json"
    package.write_text(package.read_text().replace('"size": ', '"size": 1', 1))


def _with_nothing_left(registered: Registered) -> None:
    shutil.rmtree(registered.artifacts)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (_without_a_package, "package.json"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (_with_a_file_more, "not listed: notes.txt"),
                (_with_a_file_less, "missing: model.onnx"),
                (_with_a_list_that_was_edited, "but its list of files is"),
                (_with_nothing_left, "package.json"),
            )
        ),
    ],
)
def test_a_package_that_is_not_whole_is_not_proposed(world: World, spoil: object, what: str) -> None:
    model = world.model()
    assert callable(spoil)
    spoil(world.register(model))
    said = world.words("propose", model, 1, "--env", "dev")
    assert (said.code, said.out) == (1, "")
    assert said.err.splitlines()[1].startswith("promobot: MLflow")
    assert what in said.err and f"{model} 1" in said.err
    assert "Register the" in said.err, "says what to do"
    assert world.open_pulls() == []


def test_a_model_without_a_gate_is_refused(world: World) -> None:
    said = world.words("propose", "unheard-of", 1, "--env", "dev")
    assert (said.code, said.out) == (1, "")
    first, state, step = said.err.splitlines()
    assert (first, state) == (
        "promobot: manifests/environments/dev.yaml has no gate for unheard-of",
        "  Nothing was changed.",
    )
    assert step.startswith("  → Gates are for ")
    assert step.endswith(
        "For a new model add gates.unheard-of there, a pattern, or gates.default for all models, in a pull request "
        "of its own, and merge that first."
    )


def test_main_judges_as_its_checks_will_and_not_the_checkout(world: World) -> None:
    strict, lax, only_there = world.model(on_miss="stop"), world.model(on_miss="stop"), world.model()
    for model in (strict, lax, only_there):
        world.register(model, accuracy=0.92)
    world.configure("dev", gates={strict: {"metrics": {"accuracy": {"minimum": 0.95}}}})
    head = world.publish_settings()
    world.configure("dev", gates={strict: {"metrics": {"accuracy": {"minimum": 0.5}}}})
    world.configure("dev", gates={lax: {"metrics": {"accuracy": {"minimum": 0.99}}}})
    world.drop_gate("dev", only_there)

    said = world.words("propose", strict, 1, "--env", "dev")
    assert said.code == 1 and said.out == (
        f"{strict} 1 is not proposed to dev because accuracy 0.92 < 0.95.\n"
        f"The gates in manifests/environments/dev.yaml on main at {head[:12]} decided.\n"
    )
    assert said.err == (
        f"waiting for {strict} 1 to be READY\n"
        f"the rules in manifests/environments/dev.yaml of main at {head[:12]} count; this checkout has others\n"
    )
    for model in (lax, only_there):
        document = world.promobot("propose", model, 1, "--env", "dev").document
        assert (document["action"], document["judged_by"]) == ("opened", head)
    said = world.words("propose", lax, 1, "--env", "dev").out
    assert f"on main at {head[:12]}" not in said, "nothing was decided"
    two = world.words("propose", f"{strict}:1", f"{only_there}:1", "--env", "dev")
    assert f"The gates in manifests/environments/dev.yaml on main at {head[:12]} decided." in two.out
    together = world.promobot("propose", f"{strict}:1", "no-such:1", "--env", "dev").document
    assert together["judged_by"] == head and [one["kind"] for one in together["left_out"]] == ["gate", "no gate"]


@pytest.mark.slow
def test_a_mistake_or_another_name_on_main_is_said_before_its_checks_say_it(world: World) -> None:
    model = world.model()
    world.register(model)
    path = world.root / "manifests/environments/dev.yaml"
    right = path.read_text()
    path.write_text(f"{right}mlflow_names: {{{model}: Another}}\n")
    world.publish_settings()
    path.write_text(right)
    said = world.words("propose", model, 1, "--env", "dev")
    assert said.code == 1 and f"{model} is 'Another' in MLflow by manifests/environments/dev.yaml of main" in said.err
    path.write_text(f"{right}freeze: Christmas\n")
    head = world.publish_settings()
    path.write_text(right)
    said = world.words("propose", model, 1, "--env", "dev")
    assert said.code == 1 and "manifests/environments/dev.yaml:" in said.err and "freeze: unknown key" in said.err
    assert f"So it stands on main at {head[:12]}, whose checks judge by it." in said.err
    assert world.open_pulls() == []


def test_a_version_that_is_not_in_mlflow_is_said_as_such(world: World) -> None:
    model = world.model()
    said = world.words("propose", model, 7, "--env", "dev")
    assert said.code == 1
    assert f"promobot: MLflow ({world.endpoints.mlflow}): no version of {model} is registered" in said.err


def test_a_pending_version_is_waited_for_until_the_deadline(world: World) -> None:
    model = world.model()
    world.set_status(world.register(model), "PENDING_REGISTRATION")
    world.configure("dev", deadlines={"ready_seconds": 0.5})
    said = world.words("propose", model, 1, "--env", "dev")
    assert said.code == 1
    assert f"promobot: {model} 1 is still PENDING_REGISTRATION after 0.5 s\n  Nothing was proposed." in said.err
    assert "Run the same command again" in said.err
    assert world.open_pulls() == []


def test_a_failed_registration_ends_the_wait_at_once(world: World) -> None:
    model = world.model()
    world.set_status(world.register(model), "FAILED_REGISTRATION", "the upload broke off")
    world.configure("dev", deadlines={"ready_seconds": 600})
    said = world.words("propose", model, 1, "--env", "dev")
    assert said.code == 1
    assert f"promobot: the registration of {model} 1 failed: the upload broke off" in said.err
    assert "Register the model again" in said.err


def test_a_training_job_proposes_with_the_same_verb(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.training import propose

    model = world.model()
    world.register(model)
    for name, value in world.endpoints.variables().items():
        monkeypatch.setenv(name, value)
    proposed = propose(model=model, version=1, environment="dev", root=world.root)
    assert (proposed.action, proposed.url) == ("opened", world.open_pulls()[0]["html_url"])


@pytest.mark.extended
def test_neighbouring_models_merge_in_either_order(world: World) -> None:
    names = sorted(world.model() for _ in range(3))
    for name in names:
        world.desire(name, world.register(name).entry)
    pulls = [world.proposed(world.register(name, "better")) for name in names]
    for pull in (pulls[1], pulls[0], pulls[2]):
        world.merge(pull["number"])
    served = yaml.safe_load(world.promotions())["models"]
    assert {name: entry["version"] for name, entry in served.items()} == dict.fromkeys(names, 2)


@pytest.mark.extended
def test_a_proposal_that_conflicts_is_put_on_top_of_main_by_proposing_again(world: World) -> None:
    one, other = world.model(), world.model()
    pulls = [world.proposed(world.register(name)) for name in (one, other)]
    world.merge(pulls[0]["number"])
    assert world.pull(pulls[1]["number"])["mergeable"] is False, "both were the first entry of an empty file"
    said = world.promobot("propose", other, 1, "--env", "dev")
    assert (said.code, said.document["action"]) == (0, "updated")
    assert said.document["pull_request"] == pulls[1]["number"]
    assert world.comments(pulls[1]["number"]) == [], "it proposes what it proposed"
    world.merge(pulls[1]["number"])
    assert set(yaml.safe_load(world.promotions())["models"]) == {one, other}


@pytest.mark.slow
def test_a_proposal_that_was_closed_is_opened_anew(world: World) -> None:
    model = world.model()
    pull = world.proposed(world.register(model))
    world.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
    said = world.promobot("propose", model, 1, "--env", "dev")
    assert (said.code, said.document["action"]) == (0, "opened")
    assert said.document["pull_request"] > pull["number"]


@pytest.mark.slow
def test_a_model_with_any_name_in_mlflow_goes_all_the_way_under_the_name_it_is_served(world: World) -> None:
    """From the registry to the gateway, and back: by the gate of a pattern, with metrics as people name them."""
    model = world.model()
    for environment in world.endpoints.triton:
        world.drop_gate(environment, model)
        metrics = {name: {"minimum": 0.5} for name in ("val/accuracy", "AUC-ROC", "training_accuracy_score")}
        rules = {f"{model[:-1]}*": {"metrics": {**metrics, "f1 score": {"minimum": 0.5, "max_regression": 0.1}}}}
        world.configure(environment, mlflow_names={model: f"prod.fraud.{model} 모델"}, gates=rules)
    measured = {"val/accuracy": 0.9, "f1 score": 0.8, "AUC-ROC": 0.97, "training_accuracy_score": 0.99}
    first = world.register(f"prod.fraud.{model} 모델", **measured)
    first = replace(first, model=model)
    pull = world.proposed(first)
    _, *rows = rows_of(pull["body"], "### Gate")
    assert {row[1] for row in rows} == {f"`{name}`" for name in measured}
    assert all(said.code == 0 for said in world.check(pull["number"]))
    world.merge(pull["number"])
    assert world.deploy().code == 0
    assert world.ask(model).version == first.version
    assert world.alias(f"prod.fraud.{model} 모델", "dev") == first.version
    status = world.promobot("status", "--env", "dev").document
    assert model in str(status)

    wrong = world.promobot("propose", model, 7, "--env", "dev")
    assert f"there is no version 7 of {model} (prod.fraud.{model} 모델 in MLflow)" in wrong.document["error"]
    refused = world.words("propose", f"prod.fraud.{model}", 1, "--env", "dev")
    assert refused.code == 2 and "mlflow_names" in refused.err
