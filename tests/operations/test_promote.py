"""``promobot promote``: the digest that one environment has verified is carried to the next."""

from __future__ import annotations

import pytest
import yaml

from tests.operations.world import World


def test_the_same_digest_goes_from_dev_to_prod(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    served = world.served(world.register(model, "better"))
    said = world.words("promote", model, "--to", "prod")
    assert said.code == 0
    (pull,) = world.open_pulls(f"promobot/prod/{model}")
    assert said.out == f"{model} 2 is proposed to prod: {pull['html_url']}\n"
    passes = "passes the gate of prod, with the digest that is verified in dev; nothing is in service yet.**"
    assert pull["body"].startswith(f"✅ **{model} 2 {passes}")
    assert [run.code for run in world.check(pull["number"])] == [0, 0, 0, 0]
    world.merge(pull["number"])
    assert yaml.safe_load(world.promotions("prod"))["models"][model]["digest"] == served.digest
    done = world.words("deploy", "--env", "prod")
    assert (done.code, done.out.splitlines()[0]) == (0, f"{model} 2 is served in prod.")
    assert world.version(model, "prod") == 2
    assert world.ask(model, "prod") == world.ask(model, "dev")
    (record,) = world.records(model, "prod")
    assert record.after == served.entry
    assert (world.alias(model, "prod"), world.alias(model, "dev")) == (2, 2)


@pytest.mark.slow
def test_only_from_where_the_environment_file_says(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    said = world.words("promote", model, "--from", "prod", "--to", "dev")
    assert said.code == 1
    assert said.err == (
        "promobot: dev takes models from no environment, not from prod\n"
        "  Nothing was proposed.\n"
        "  → promotes_from in manifests/environments/dev.yaml decides.\n"
    )
    said = world.words("promote", model, "--from", "prod", "--to", "prod")
    assert "promobot: prod takes models from dev, not from prod\n" in said.err
    said = world.words("promote", model, "--to", "dev")
    assert said.code == 1 and "manifests/environments/dev.yaml has no promotes_from" in said.err
    assert f"→ Nothing is promoted to dev. A registered version goes there by `promobot propose {model} " in said.err
    assert world.open_pulls() == []


def test_what_is_not_verified_there_is_refused(world: World) -> None:
    model = world.model()
    world.merged(world.register(model))
    said = world.words("promote", model, "--to", "prod")
    assert said.code == 1
    assert said.err == (
        f"promobot: dev has no verified version of {model} in service\n"
        "  Nothing was proposed.\n"
        "  → `promobot status --env dev` shows what it serves.\n"
    )


@pytest.mark.slow
def test_another_version_than_the_one_meant_is_refused(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.register(model, "better")
    said = world.words("promote", model, "--to", "prod", "--version", 2)
    assert said.code == 1
    assert f"promobot: dev serves version 1 of {model}, not 2\n" in said.err
    assert "→ Leave the version out to promote 1." in said.err


@pytest.mark.slow
def test_artifacts_that_changed_since_are_refused(world: World) -> None:
    model = world.model()
    served = world.served(world.register(model))
    smoke = served.artifacts / "smoke.json"
    smoke.write_text(smoke.read_text().replace('"relative": 0.0001', '"relative": 1000.0'))
    changed = served.relist()
    said = world.words("promote", model, "--to", "prod")
    assert said.code == 1
    assert f"{model} 1 is {changed.digest} now, but {served.digest} is verified in dev" in said.err
    assert "The artifacts changed after they were deployed" in said.err
    assert world.open_pulls() == []


@pytest.mark.slow
def test_a_miss_of_the_next_gate_stops_it_even_where_shadows_are_allowed(world: World) -> None:
    model = world.model(on_miss="shadow")
    world.served(world.register(model, accuracy=0.91))
    world.configure("prod", gates={model: {"on_miss": "shadow", "metrics": {"accuracy": {"minimum": 0.95}}}})
    said = world.words("promote", model, "--to", "prod")
    assert (said.code, said.out) == (1, f"{model} 1 is not proposed to prod because accuracy 0.91 < 0.95.\n")
    assert world.open_pulls() == []
