"""``promobot bisect``: which release began to answer a case wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.domain.release import Slot
from bot.settings import Share
from bot.share import StagingRepository
from tests.operations.test_cases import case_of, forbidden, write
from tests.operations.world import BOT, HTTP, Registered, World, wait_until


@pytest.fixture(autouse=True)
def staging_is_left_as_it_was(world: World) -> Iterator[None]:
    yield
    assert world.loaded("staging") == []
    assert world.published("staging") == []
    assert list((world.endpoints.state("staging") / "at-work").glob("*")) == []


def _case(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def _served_by_pull_request(world: World, registered: Registered) -> int:
    number = int(world.proposed(registered)["number"])
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    world.merge(number)
    assert world.deploy().code == 0
    return number


def _answers(document: dict[str, Any]) -> list[tuple[int, str]]:
    return [(release["version"], release["answered"]) for release in document["releases"]]


def test_it_says_which_release_began_who_merged_it_and_what_to_type(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    number = _served_by_pull_request(world, world.register(model, "better"))
    case = _case(tmp_path / "inc-1207.json", case_of(first))

    found = world.bot("bisect", model, "--env", "dev", "--case", str(case))
    assert found.code == 0, found
    document = found.document
    assert _answers(document) == [(1, "holds"), (2, "wrong")]
    assert (document["conclusion"], document["began"]["version"], document["before"]["version"]) == ("began", 2, 1)
    merge = document["merge"]
    assert (merge["number"], merge["by"], merge["problem"]) == (number, "alex", "")
    assert merge["at"] and merge["url"].endswith(f"/pull/{number}")
    assert (document["in_service"], document["rollback_to"], document["is_law"]) == (2, 1, False)

    lines = world.words("bisect", model, "--env", "dev", "--case", str(case)).out.splitlines()
    assert lines[0].startswith(f"❌ {model} 2 (") and "began to answer inc-1207 wrong in dev on " in lines[0]
    assert lines[2].startswith("Version 1 (") and " before it, holds: label 0; probabilities " in lines[2]
    assert lines[3].startswith(f"#{number} brought it, merged by alex on ")
    assumed = "That assumes that answers turned wrong once; `--all` asks every release."
    assert lines[4] == f"2 of 2 releases in dev were asked. {assumed}"
    assert f"Version 2 answers users wrong. To go back: promobot rollback {model} --env dev --to 1" in lines
    assert lines[-1] == f"To have no later version answer so: merge the case as cases/{model}/inc-1207.json"
    assert world.version(model) == 2, "what is served has not changed"

    write(world, model, law=case_of(first))
    law = world.bot("bisect", model, "--env", "dev", "--case", "law", "--all").document
    assert (law["is_law"], law["turns"], law["conclusion"]) == (True, 1, "began")
    typo = world.words("bisect", model, "--env", "dev", "--case", "lwa")
    assert typo.code == 1 and f"'lwa' is neither a file nor a case of {model}" in typo.err and "law" in typo.err


@pytest.mark.slow
def test_what_the_registry_lost_is_skipped_and_said(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    lost = world.served(world.register(model, "best"))
    world.served(world.register(model, "better"))
    shutil.rmtree(lost.artifacts)
    case = _case(tmp_path / "case.json", case_of(first))
    said = world.words("bisect", model, "--env", "dev", "--case", str(case))
    assert said.code == 0, said
    assert f"❌ {model} 3 (" in said.out.splitlines()[0]
    assert "Between them could not be asked: version 2; it may have begun there." in said.out


@pytest.mark.slow
def test_a_case_that_no_release_holds_and_one_that_all_hold(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    never = _case(tmp_path / "never.json", forbidden(first))
    said = world.bot("bisect", model, "--env", "dev", "--case", str(never)).document
    assert (said["conclusion"], said["began"]["version"], said["rollback_to"]) == ("always", 1, None)
    always = _case(tmp_path / "always.json", case_of(first))
    held = world.bot("bisect", model, "--env", "dev", "--case", str(always)).document
    assert (held["conclusion"], held["began"], held["before"]) == ("never", None, None)
    words = world.words("bisect", model, "--env", "dev", "--case", str(always)).out
    assert words.startswith(
        f"✅ {model} holds always in dev: 1 of 1 releases in dev were asked, and no answer is wrong."
    )
    strange = {**case_of(first), "inputs": [{"name": "Y", "datatype": "FP32", "shape": [1], "data": [0]}]}
    asked = world.bot("bisect", model, "--env", "dev", "--case", str(_case(tmp_path / "strange.json", strange)))
    assert (asked.code, asked.document["conclusion"]) == (1, "unknown")
    nobody = world.words("bisect", world.model(), "--env", "dev", "--case", str(always))
    assert nobody.code == 1 and "was ever verified in service in dev" in nobody.err


@pytest.mark.slow
def test_a_version_in_quarantine_is_no_way_back(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    world.served(world.register(model, "better"))
    world.ledger().put_in_quarantine(
        first.entry.in_slot(Slot.of("dev", model, "models")), reason="by hand", by="alex"
    )
    case = _case(tmp_path / "case.json", case_of(first))
    found = world.bot("bisect", model, "--env", "dev", "--case", str(case)).document
    assert (found["before"]["version"], found["rollback_to"]) == (1, None)


def test_what_a_killed_run_left_goes_and_what_a_living_one_has_stays(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    killed, living = f"{model}.bisect-dev-{'0' * 8}-0", f"{model}.bisect-prod-{'1' * 8}-3"
    root = world.endpoints.model_repository("staging")
    for name in (killed, living):
        version = root / name / "1"
        version.mkdir(parents=True)
        shutil.copy(first.artifacts / "model.onnx", version)
        (root / name / "config.pbtxt").write_text((first.artifacts / "config.pbtxt").read_text())
        load = f"{world.endpoints.triton_staging.http}/v2/repository/models/{name}/load"
        HTTP.post(load, json={}).raise_for_status()
    share = StagingRepository(Share(model_repository=str(root), state=str(world.endpoints.state("staging"))))
    case = _case(tmp_path / "case.json", case_of(first))
    with share.at_work.held("1" * 8):
        found = world.words("bisect", model, "--env", "dev", "--case", str(case))
        assert found.code == 0, found
        assert world.loaded("staging") == [f"{living} 1"]
        assert share.at_work.is_held("1" * 8) and not share.at_work.is_held("0" * 8)
    assert f"{killed} goes from staging: the run that loaded it was killed" in found.err
    removed = world.bot("cleanup", "--env", "dev")
    assert removed.code == 0, removed
    assert any(said.startswith(f"{living} from staging: ") for said in removed.document["removed"])


@pytest.mark.slow
def test_a_run_that_is_killed_for_good_leaves_staging_to_the_next_one(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    world.served(world.register(model, "better"))
    case = _case(tmp_path / "case.json", case_of(first))
    root, state = world.endpoints.model_repository("staging"), world.endpoints.state("staging")
    command = [sys.executable, "-m", "bot", "bisect", model, "--env", "dev", "--case", str(case)]
    run = subprocess.Popen(
        [*command, "--root", str(world.root)],
        env={**os.environ, **world.endpoints.variables(login=BOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: list(root.glob(f"{model}.bisect-*")) or run.poll() is not None)
    finally:
        run.kill()
        assert run.wait() == -signal.SIGKILL
    (left,) = root.glob(f"{model}.bisect-dev-*")
    assert list((state / "at-work").glob("*")), "nobody took its mark away, either"
    found = world.words("bisect", model, "--env", "dev", "--case", str(case))
    assert found.code == 0, found
    assert f"{left.name} goes from staging: the run that loaded it was killed" in found.err
    assert f"❌ {model} 2 (" in found.out.splitlines()[0]
