"""``promobot status``, ``drift``, ``history`` and ``doctor``: what is seen, and what to type about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.domain.routes import RouteTable
from tests.operations.world import Said, World
from tests.stores import begin_share


def _difference(world: World, kind: str, *, until: str = "") -> dict[str, str]:
    """Return the one difference of this kind; drift must be red for it, and status only tell.

    Two looks say the same, but for what comes after ``until``: in whose words a library puts it.
    """
    found = world.promobot("status", "--env", "dev")
    assert found.code == 0
    assert world.promobot("drift", "--env", "dev").code == 1
    (difference,) = [d for d in found.document["environments"][0]["differences"] if d["kind"] == kind]
    said = world.words("status", "--env", "dev").out
    what = difference["what"]
    same = re.escape(what) if not until else re.escape(what[: what.index(until) + len(until)]) + r"[^\n]*"
    assert re.search(rf"^  ✗ {same}\n    → {re.escape(difference['next_step'])}$", said, re.MULTILINE)
    return dict(difference)


def test_an_environment_that_is_as_main_says(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.served(world.register(model, "better"), section="shadow")
    said = world.words("status", "--env", "dev")
    users, head, columns, _, live, shadow, *_, last = said.out.splitlines()
    generation = world.routes()["generation"]
    assert users == f"dev: OK. {model} 1 answers.", "a shadow answers nobody"
    assert head == f"main is at {world.git('rev-parse', 'HEAD')[:12]}, routes at generation {generation}"
    assert columns.split() == ["model", "desired", "live", "triton-dev-1", "gateway-dev-1", "gateway-dev-2", "open"]
    assert live.split() == ["✓", model, "1", "1", "READY", "1", "1"]
    assert shadow.split() == ["✓", model, "(shadow)", "2", "2", "READY", "2", "2"]
    assert last == "Everything is as main says."
    assert world.words("drift").code == 0


def test_the_first_line_says_that_nobody_answers(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.configure("dev", deadlines={"request_seconds": 1})
    world.kill("triton-dev-1")
    first, *rest = world.words("status", "--env", "dev").out.splitlines()
    assert first == f"dev: {model} is DOWN: 1 of 1 Triton silent (triton-dev-1). 1 thing to put right."
    (row,) = [line for line in rest if model in line and "silent" in line][:1]
    assert row.split()[:2] == ["✗", model], "no ✓ beside a model that nobody answers for"


_CLOCK = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d UTC"


def test_a_gateway_that_was_asked_knows_since_when_nobody_answers(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.configure("dev", deadlines={"request_seconds": 3})
    world.kill("triton-dev-1")
    assert httpx.get(f"{world.endpoints.gateway['dev'][0].url}/v2/health/ready", trust_env=False).status_code == 503
    first = world.words("status", "--env", "dev").out.splitlines()[0]
    down = rf"dev: {model} is DOWN: 1 of 1 Triton silent since {_CLOCK} \(triton-dev-1\)\. 1 thing to put right\."
    assert re.fullmatch(down, first)


def test_what_a_look_notes_the_next_one_tells(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.configure("dev", deadlines={"request_seconds": 1})
    world.kill("gateway-dev-2")
    note = world.endpoints.state("dev") / "silent.json"
    assert world.promobot("drift", "--env", "dev").code == 1
    assert not note.exists(), "whoever only looks writes nothing"
    degraded = f"dev: {model} is degraded: 1 of 2 gateways silent{{}} (gateway-dev-2). 1 thing to put right."
    assert world.words("status", "--env", "dev").out.splitlines()[0] == degraded.format("")
    assert world.promobot("drift", "--note", "--env", "dev").code == 1
    (one,) = json.loads(note.read_text())["silent"].items()
    assert one[0] == "gateway-dev-2"
    said = world.words("status", "--env", "dev").out.splitlines()[0]
    assert re.fullmatch(re.escape(degraded).replace("\\{\\}", f" since {_CLOCK}"), said)
    (found,) = world.promobot("status", "--env", "dev").document["environments"]
    assert datetime.fromisoformat(found["silent"]["gateway-dev-2"]) == datetime.fromisoformat(one[1]["since"])

    world.restart("gateway-dev-2")
    assert world.deploy().code == 0
    assert json.loads(note.read_text())["silent"] == {}, "who answers a deployment is silent no more"
    note.write_text("{")
    said = world.words("status", "--env", "dev").out
    assert "not known: since when a server is silent: silent.json on the share is not readable: " in said


def test_a_journal_that_cannot_be_read_is_not_taken_for_none(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    folder = world.endpoints.state("dev") / "journal"
    garbled = folder / f"{max(int(path.stem) for path in folder.iterdir()) + 1:08d}.json"
    garbled.write_text("{")
    try:
        said = world.words("status", "--env", "dev").out
    finally:
        garbled.unlink()
    assert said.startswith("dev: OK. ") and "the journal is not readable: " in said
    assert "move the latest file in journal/ away" in said and "Everything is as main says." not in said


def test_an_empty_environment_is_said_as_such(world: World) -> None:
    said = world.words("status", "--env", "prod")
    assert said.code == 0
    assert said.out.startswith("prod: no model is in service.\n")
    assert "No model is desired, none is served." in said.out and "Everything is as main says." in said.out


@pytest.mark.extended
def test_open_proposals_are_shown_with_their_model(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    number = world.proposed(world.register(model, "better"))["number"]
    said = world.words("status", "--env", "dev")
    assert f"#{number} Promote {model} to 2 in dev" in said.out


@pytest.mark.extended
def test_a_shadows_proposal_is_shown_on_its_own_row_only(world: World) -> None:
    model = world.model(on_miss="shadow")
    world.served(world.register(model))
    world.served(world.register(model, "better"), section="shadow")
    number = world.proposed(world.register(model, "best", accuracy=0.1))["number"]
    rows = {
        (row["model"], row["section"]): row["pending"]
        for row in world.promobot("status", "--env", "dev").document["environments"][0]["models"]
    }
    assert rows[model, "models"] == []
    (pending,) = rows[model, "shadow"]
    assert pending.startswith(f"#{number} ")


@pytest.mark.slow
def test_what_is_merged_and_not_deployed(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    assert _difference(world, "desired") == {
        "kind": "desired",
        "what": f"{model} 1 → 2 in dev is desired, 1 is live",
        "next_step": "promobot deploy --env dev",
    }


@pytest.mark.extended
def test_what_is_merged_and_in_quarantine(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    second = world.register(model, "better")
    world.ledger().put_in_quarantine(second.release(), reason="nonsense", by="alex")
    world.merged(second)
    found = _difference(world, "quarantine")
    assert found["what"].startswith(f"{model} 1 → 2 in dev is held since ")
    assert ", version 1 is live: its digest is in quarantine here since " in found["what"]
    assert found["what"].endswith(": nonsense")
    assert found["next_step"] == f"merge the revert of {model}, or: promobot rollback {model} --env dev"
    assert f"in quarantine: {model} 2 ({second.digest[7:19]}): nonsense" in world.words("status", "--env", "dev").out


@pytest.mark.slow
def test_what_deploy_refuses_status_calls_held_with_the_same_reason(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.desire(model, world.register(model, "better").entry)
    found = _difference(world, "held")
    held = world.words("deploy", "--env", "dev")
    assert held.code == 1
    (line,) = [line for line in held.out.splitlines() if line.startswith("held: ")]
    why, step = found["what"].partition(": ")[2], found["next_step"]
    assert line == f"held: {model} 1 → 2 in dev, version 1 goes on answering: {why}; {step}"
    assert found["what"].startswith(f"{model} 1 → 2 in dev is held, version 1 is live: ")
    assert not step.startswith("promobot deploy"), "what deploy refuses is not advised"
    first, told, what_to_do, *_ = world.words("history", model, "--env", "dev").out.splitlines()
    assert f"{model} 1 is served in dev" in first
    assert (told, what_to_do) == (f"✋ {found['what']}", f"    → {step}"), (
        "it has no record, and is told all the same"
    )


@pytest.mark.slow
def test_history_says_since_when_as_status_does(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merge(world.proposed(world.register(model, "better"))["number"])
    freeze = {"start": "2001-01-01T00:00:00Z", "end": "2101-01-01T00:00:00Z", "reason": "year end"}
    world.configure("dev", freezes=[freeze])
    found = _difference(world, "held")
    assert found["what"].startswith(f"{model} 1 → 2 in dev is held since 20") and "since 2001" not in found["what"]
    assert f"✋ {found['what']}\n" in world.words("history", model, "--env", "dev").out, "not since the freeze began"


@pytest.mark.extended
def test_a_triton_that_lost_its_models(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.kill("triton-dev-1")
    world.restart("triton-dev-1")
    assert _difference(world, "triton") == {
        "kind": "triton",
        "what": f"{model} 1 is routed but not READY on Triton triton-dev-1",
        "next_step": "promobot deploy --env dev",
    }
    assert " absent " in world.words("status", "--env", "dev").out


@pytest.mark.slow
@pytest.mark.parametrize("part", ["triton-dev-1", "gateway-dev-2"])
def test_who_is_silent_is_named(world: World, part: str) -> None:
    model = world.model()
    world.served(world.register(model))
    world.configure("dev", deadlines={"request_seconds": 1})
    world.kill(part)
    found = _difference(world, "silent", until=" does not answer: ")
    assert f"{part} (" in found["what"]
    assert found["next_step"] == "promobot doctor --env dev"
    assert " silent" in world.words("status", "--env", "dev").out


@pytest.mark.slow
def test_a_gateway_with_other_routes(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    file = world.endpoints.state("dev") / "routes.json"
    world.follow_only_when_told()
    table = RouteTable.from_json(file.read_text())
    file.write_text(table.following(table.models).to_json())
    found = world.promobot("status", "--env", "dev").document["environments"][0]["differences"]
    assert [difference["what"] for difference in found] == [
        f"gateway {name} serves generation {table.generation}, not {table.generation + 1}"
        for name in ("gateway-dev-1", "gateway-dev-2")
    ]
    done = world.words("deploy", "--env", "dev")
    assert done.code == 0 and f"reloaded gateway gateway-dev-1 to generation {table.generation + 1}" in done.out
    assert world.promobot("drift").code == 0


@pytest.mark.slow
def test_a_message_that_waits(world: World) -> None:
    model = world.model()
    world.merged(world.register(model))
    world.slack_fails("chat.postMessage")
    assert world.deploy().code == 4
    found = _difference(world, "slack")
    assert found["what"] == f"the message of {world.outbox()[0]} is in the outbox"


@pytest.mark.slow
def test_an_alias_that_was_moved_by_hand_is_drift_and_no_more(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.register(model, "better")
    world.move_alias(model, "dev", 2)
    assert world.words("status", "--env", "dev").out.endswith("Everything is as main says.\n"), "status does not ask"
    said = world.words("drift", "--env", "dev")
    assert said.code == 1
    assert f"  ✗ MLflow's alias {model}@dev is 2, desired is 1\n    → promobot reconcile --env dev\n" in said.out
    assert world.version(model) == 1


@pytest.mark.extended
def test_status_without_github_says_what_is_not_known(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.configure("dev", github={"api_url": "http://127.0.0.1:9/api/v3"})
    said = world.words("status", "--env", "dev")
    assert said.code == 0
    assert "not known: GitHub (promobot/models): could not list open pull requests" in said.out


# --- history ------------------------------------------------------------------------------------------------------


def test_history_tells_deployments_newest_first(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "unscaled"))
    world.deploy()
    said = world.words("history", model, "--env", "dev")
    assert said.code == 0
    first, held, _, head, _, newest, oldest, _, cause, which = said.out.splitlines()
    assert held.startswith(f"✋ {model} 1 → 2 in dev is held since "), "main still asks for it"
    assert first.endswith(
        f" UTC: ❌ {model} 1 → 2 in dev failed before the switch: nothing that users see has changed."
    )
    assert head.split()[:2] == ["when", "(UTC)"]
    assert newest.split() == ["❌", *newest.split()[1:4], model, "1", "→", "2", "failed"]
    assert oldest.split()[-5:] == [model, "–", "→", "1", "succeeded"]
    record = world.promobot("history", model, "--env", "dev", "--limit", 1).document["records"][0]
    assert record["outcome"] == "failed"
    assert cause == f"  {record['id']}: {record['problem']}" and "instead of" in cause, "whole"
    assert which == f"All of one: promobot history show {record['id']} --env dev"
    whole = world.words("history", "show", record["id"], "--env", "dev").out
    assert whole.startswith(
        f"❌ {model} 1 → 2 in dev failed before the switch: nothing that users see has changed.\n"
    )
    assert record["problem"] in whole and all(step["what"] in whole for step in record["steps"])
    missing = world.words("history", "show", f"{record['id']}x", "--env", "dev")
    assert missing.code == 1 and f"Did you mean {record['id']}?" in missing.err
    said = world.words("history", f"{model}x", "--env", "dev")
    assert said.out.startswith(f"Nothing of {model}x was deployed to dev. Did you mean {model}? There are: ")


@pytest.mark.extended
def test_history_knows_what_was_in_service_at_a_time(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    world.served(world.register(model, "better"))
    before, after = world.records(model)
    between = before.finished_at + (after.finished_at - before.finished_at) / 2
    said = world.words("history", "--env", "dev", "--at", between.isoformat())
    assert said.out.startswith(f"In service in dev at {between.isoformat()} (since {before.id}):\n")
    row = next(line for line in said.out.splitlines() if line.startswith(f"{model} "))
    assert row.split() == [model, "1", first.digest[7:19], first.run]
    now = world.promobot("history", "--env", "dev", "--at", datetime.now(UTC).isoformat())
    assert now.document["in_service"]["models"][model]["version"] == 2
    long_ago = world.words("history", "--env", "dev", "--at", "2001-01-01")
    assert long_ago.out == "In service in dev at 2001-01-01T00:00:00+00:00 (nothing had been deployed):\nnothing\n"


# --- doctor -------------------------------------------------------------------------------------------------------


def _ill(world: World, **env: str) -> dict[str, str]:
    """Return what the doctor finds ill, by system."""
    said = world.promobot("doctor", "--env", "dev", env=env)
    systems = said.document["environments"][0]["systems"]
    found = {s["system"]: s["seen"] for s in systems if s["works"] is False}
    assert said.code == (1 if found else 0)
    text = world.words("doctor", "--env", "dev", env=env).out
    assert all(f"✗  {system}" in text for system in found)
    assert text.startswith("✗ dev: fix this before you deploy: " + ", ".join(found) if found else ("✓", "–"))
    return found


def test_the_doctor_finds_everything_well(world: World) -> None:
    model = world.model()
    world.drop_gate("dev", "churn")  # nobody has registered one here
    world.served(world.register(model))
    said = world.words("doctor", "--env", "dev")
    assert (said.code, said.out.count("✗")) == (0, 0)
    assert said.out.splitlines()[0] == "✓ dev: all 11 systems take what a deployment does"
    lines = {line[3:25].strip(): line[25:] for line in said.out.splitlines()[3:]}
    assert set(lines) == {
        *("Git", "GitHub", "MLflow", "Slack", "records", "staging share", "staging Triton", "share"),
        *("Triton triton-dev-1", "gateway gateway-dev-1", "gateway gateway-dev-2"),
    }
    assert ", 1 model desired; takes a push" in lines["Git"] and "promobot/models" in lines["GitHub"]
    assert lines["MLflow"].strip() == f"reads {model} 1 (4 files), may set its aliases"
    assert "loads on command, 1 model versions READY" in lines["Triton triton-dev-1"]
    mount = subprocess.run(["stat", "-c", "%m", world.root], capture_output=True, text=True, check=True).stdout
    assert lines["share"].endswith(f" at {mount.strip()}") and "GiB free" in lines["staging share"]
    left = [path for root in (world.endpoints.share, world.endpoints.records) for path in root.rglob("*doctor*")]
    assert not left and world.alias(model, "promobot-doctor") is None and world.version(model) == 1


@pytest.mark.parametrize(
    ("variable", "systems"),
    [
        pytest.param("GITHUB_TOKEN", {"Git", "GitHub"}, marks=pytest.mark.slow),
        pytest.param("SLACK_BOT_TOKEN", {"Slack"}, marks=pytest.mark.slow),
        ("PROMOBOT_RELOAD_TOKEN", {"gateway gateway-dev-1", "gateway gateway-dev-2"}),
    ],
)
def test_the_doctor_names_whose_credentials_are_wrong(world: World, variable: str, systems: set[str]) -> None:
    found = _ill(world, **{variable: "wrong-token-wrong-token"})
    assert set(found) == systems
    assert "wrong-token" not in json.dumps(found)


@pytest.mark.slow
def test_the_doctor_names_a_secret_that_is_not_set(world: World) -> None:
    found = _ill(world, SLACK_BOT_TOKEN="")
    assert found == {"Slack": "the environment variable SLACK_BOT_TOKEN is not set; it holds Slack's bot token"}


@pytest.mark.slow
def test_the_doctor_names_a_control_key_that_is_not_set(world: World) -> None:
    triton = {"name": "triton-dev-1", "grpc": world.endpoints.triton["dev"][0].grpc}
    world.configure("dev", tritons=[{**triton, "control_key_env": "A_CONTROL_KEY"}])
    why = "the environment variable A_CONTROL_KEY is not set; it holds the control key of Triton triton-dev-1"
    assert _ill(world) == {"Triton triton-dev-1": why}
    assert _ill(world, A_CONTROL_KEY="a-key-that-nobody-asks-for") == {}


@pytest.mark.slow
def test_the_doctor_names_a_triton_that_reads_another_repository(world: World, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
    os.utime(tmp_path / "elsewhere/old", (0, 0))
    share = {"model_repository": str(tmp_path / "elsewhere"), "state": str(tmp_path / "state")}
    begin_share(tmp_path / "elsewhere", tmp_path / "state")
    world.configure("dev", share=share)
    found = _ill(world)
    gateways = {"gateway gateway-dev-1", "gateway gateway-dev-2"}
    assert set(found) == {"Triton triton-dev-1", *gateways}
    assert all("does not read the routes in" in found[name] for name in gateways)
    assert found["Triton triton-dev-1"].endswith("than that of dev: it does not know old")


def test_the_doctor_looks_at_everything_where_a_name_has_no_address(world: World) -> None:
    triton = {"name": "triton", "grpc": "triton.nowhere.invalid:8001", "every_address": True}
    world.configure("dev", tritons=[triton])
    found = _ill(world, PROMOBOT_RELOAD_TOKEN="")
    assert set(found) == {"Triton triton", "gateway gateway-dev-1", "gateway gateway-dev-2"}
    assert "could not find its addresses" in found["Triton triton"]


def test_the_doctor_names_who_is_down(world: World) -> None:
    world.configure("dev", deadlines={"request_seconds": 1})
    for part in ("triton-dev-1", "gateway-dev-1", "slack", "triton-staging"):
        world.kill(part)
    found = _ill(world)
    assert set(found) == {"Triton triton-dev-1", "gateway gateway-dev-1", "Slack", "staging Triton"}


def test_the_doctor_names_a_share_that_cannot_be_written(world: World) -> None:
    world.configure("dev", share={"state": "/proc/promobot/dev"})
    found = _ill(world)
    assert set(found) == {"share"} and "/proc" in found["share"]


@pytest.fixture
def unmounted(world: World) -> Iterator[Callable[[Path], Path]]:
    """Take a folder away and leave what an unmounted file system leaves; it is back when the test is over."""
    taken: list[tuple[Path, Path]] = []

    def unmount(folder: Path) -> Path:
        away = folder.with_name(f"{folder.name}-away")
        folder.rename(away)
        folder.mkdir()
        taken.append((folder, away))
        return away

    yield unmount
    for folder, away in taken:
        assert list(folder.iterdir()) == [], "nothing was written to the local disk"
        folder.rmdir()
        away.rename(folder)


def _rows(said: Said) -> dict[str, dict[str, Any]]:
    """Return what the doctor says, by system."""
    return {row["system"]: row for row in said.document["environments"][0]["systems"]}


@pytest.mark.parametrize(
    "what",
    ["records", pytest.param("state", marks=pytest.mark.slow), pytest.param("models", marks=pytest.mark.slow)],
)
def test_what_is_not_mounted_is_unavailable_and_never_empty(
    world: World, unmounted: Callable[[Path], Path], what: str
) -> None:
    if world.endpoints.s3 is not None:
        pytest.skip("records are in a bucket")
    model = world.model()
    world.served(world.register(model))
    newer = world.register(model, "better")
    world.ledger().put_in_quarantine(newer.release(), reason="bad", by="sam")
    folders = {
        "records": world.endpoints.records,
        "state": world.endpoints.state("dev"),
        "models": world.endpoints.model_repository("dev"),
    }
    unmounted(folders[what])
    verbs: list[tuple[str | int, ...]] = [("deploy",)]
    if what == "records":
        verbs += [("quarantine", "list"), ("propose", model, newer.version), ("history",)]
        verbs += [("recheck", model), ("rollback", model, "--now"), ("retire", model, "--reason", "x")]
    else:
        verbs += [("status",), ("drift",), ("reconcile",), ("cleanup",)]
    for verb, *more in verbs:
        said = world.words(verb, *more, "--env", "dev")
        assert said.code == 1, (verb, said)
        assert "not mounted, or was never used" in said.out + said.err, (verb, said)
    if what == "records":
        # How users are is known without records; that all is well is not.
        said = world.words("status", "--env", "dev")
        assert said.code == 0 and "OK. " in said.out.splitlines()[0], said
        assert "what is in quarantine is not known: " in said.out and "not mounted, or was never used" in said.out
        assert "Everything is as main says." not in said.out and "promobot deploy" not in said.out
    rows = _rows(world.promobot("doctor", "--env", "dev"))
    row = rows["records" if what == "records" else "share"]
    assert not row["works"] and "promobot doctor --init" in row["next_step"]
    assert world.version(model) == 1 and not world.open_pulls("promobot")


def test_a_new_store_begins_by_an_explicit_act(world: World, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    share = {"model_repository": str(stores / "models"), "state": str(stores / "state")}
    world.configure("dev", records=str(stores / "records"), share=share)
    rows = _rows(world.promobot("doctor", "--env", "dev"))
    assert not rows["records"]["works"] and not rows["share"]["works"]
    assert not stores.exists(), "the doctor makes nothing by itself"
    rows = _rows(world.promobot("doctor", "--env", "dev", "--init"))
    assert rows["records"]["seen"] == "0 deployment records; existing ones cannot be overwritten"
    assert rows["share"]["works"] and rows["share"]["seen"].startswith("writable, ")
    assert world.words("quarantine", "list", "--env", "dev").code == 0


@pytest.mark.slow
def test_a_wrong_model_gets_the_nearest_one_of_every_verb(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    wrong = f"{model}x"
    for typed in (
        ["rollback", wrong, "--env", "dev"],
        ["retire", wrong, "--env", "dev", "--reason", "nobody asks"],
        ["recheck", wrong, "--env", "dev"],
        ["promote", wrong, "--to", "prod"],
        ["evidence", "show", wrong, "1", "--env", "dev"],
    ):
        said = world.words(*typed)
        assert said.code == 1 and f"Did you mean {model}? " in said.err, typed
