"""Who can write into the record store makes evidence and records; that is not enough to run code in Triton."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.domain.record import CRITERIA, Criterion, DeploymentRecord
from tests.operations.world import Registered, World

BATCH_STRATEGY = 'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "LIBRARY" } }'
RUNTIME = 'runtime: "payload.data"'
REFUSED = "refused; Triton loads the library that it names into the server"


def _hostile(world: World, model: str, library: Path, more: str) -> Registered:
    """Register an honest model, and let somebody who can write to MLflow add a library and this to it."""
    registered = world.register(model)
    if "payload.data" in more:
        shutil.copy(library, registered.artifacts / "payload.data")
    config = registered.artifacts / "config.pbtxt"
    config.write_text(f"{config.read_text()}{more.replace('LIBRARY', str(library))}\n")
    return registered.relist()


def _pretend_it_was_verified(world: World, registered: Registered) -> None:
    now = datetime.now(UTC)
    held = tuple(Criterion(name=name, holds=True, at=now, proof="forged") for name in CRITERIA)
    world.ledger().add_deployment(
        DeploymentRecord(
            id=f"dev-00000000-{registered.model}",
            environment="dev",
            section="models",
            model=registered.model,
            before=None,
            after=registered.entry,
            commit="0" * 40,
            started_at=now,
            finished_at=now,
            outcome="succeeded",
            serving=None,
            criteria=held,
            steps=(),
        )
    )


def _nothing_came_of_it(world: World, registered: Registered, canary: Path) -> None:
    assert not canary.exists(), "Triton loaded the library"
    assert not [path for path in world.published() if path.startswith(registered.model)]
    kept = world.endpoints.state("dev") / "packages" / registered.digest.removeprefix("sha256:")
    assert not kept.exists()
    assert not [name for name in world.loaded() if name.startswith(registered.model)]


def test_forged_evidence_runs_no_code_in_triton(world: World, library: tuple[Path, Path]) -> None:
    """The library lies outside of the package, so only the configuration gives it away."""
    built, canary = library
    model = world.model()
    served = world.served(world.register(model))
    hostile = _hostile(world, model, built, BATCH_STRATEGY)
    world.merged(hostile)  # writes green evidence that no check ever made
    said = world.words("deploy", "--env", "dev")
    assert not canary.exists(), "Triton loaded the library"
    assert said.code == 1
    field = "parameters.TRITON_BATCH_STRATEGY_PATH"
    why = f"package rules: {model} 2 is not allowed in dev: configuration: {field}: {REFUSED}"
    assert why in said.out + said.err
    assert f"{model}/2" not in world.published()
    assert world.version(model) == served.version
    quarantined = world.ledger().quarantined()[hostile.digest]
    assert quarantined.reason == why, "the package is to blame, and is not tried again"
    assert len(world.reverts(model)) == 1


def test_a_forged_record_of_a_verified_deployment_runs_no_code_in_triton(
    world: World, library: tuple[Path, Path]
) -> None:
    """A way back needs no evidence; what the share does not keep of it is judged all the same."""
    built, canary = library
    model = world.model()
    hostile = _hostile(world, model, built, RUNTIME)
    _pretend_it_was_verified(world, hostile)
    world.desire(model, hostile.entry)
    said = world.words("deploy", "--env", "dev")
    _nothing_came_of_it(world, hostile, canary)
    assert said.code == 1
    assert f"{model} 1 is not allowed in dev: configuration: runtime: {REFUSED}" in said.out + said.err


@pytest.mark.extended
def test_what_only_the_bytes_tell_is_refused_with_a_forged_record_too(
    world: World, library: tuple[Path, Path]
) -> None:
    """The first try leaves the list and the configuration on the share, and the second calls that a way back."""
    built, canary = library
    model = world.model()
    registered = world.register(model)
    shutil.copy(built, registered.artifacts / "payload.data")
    hostile = registered.relist()
    world.merged(hostile)
    assert world.deploy().code == 1
    said = "payload.data is an ELF library or program, whatever it is called"
    assert said in world.ledger().quarantined()[hostile.digest].reason
    _pretend_it_was_verified(world, hostile)
    lifted = world.words("quarantine", "lift", hostile.digest, "--env", "dev", "--reason", "an attacker says so")
    assert lifted.code == 0, lifted
    assert world.deploy().code == 1
    assert not canary.exists()
    assert not [path for path in world.published() if path.startswith(model)]


@pytest.mark.slow
def test_neither_rollback_nor_a_deep_repair_brings_code_that_a_forged_record_calls_verified(
    world: World, library: tuple[Path, Path]
) -> None:
    built, canary = library
    model = world.model()
    hostile = _hostile(world, model, built, RUNTIME)
    _pretend_it_was_verified(world, hostile)
    served = world.served(world.register(model, "better"))
    said = world.words("rollback", model, "--env", "dev", "--to", 1, "--now")
    assert said.code == 1
    assert f"{model} 1 is not allowed in dev: configuration: runtime: {REFUSED}" in said.err
    assert "Nothing was changed." in said.err
    assert served.digest not in world.ledger().quarantined(), "users keep what they have"
    deep = world.words("reconcile", "--env", "dev")
    assert deep.code == 1
    assert f"configuration: runtime: {REFUSED}" in deep.out + deep.err
    assert not canary.exists()
    assert f"{model}/1" not in world.published()
    assert world.version(model) == served.version
