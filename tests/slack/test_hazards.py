"""What may go wrong around the Slack app, and what must hold then."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from bot.sandbox.platform import BOT
from bot.sandbox.processes import Ports
from tests.operations.world import World, wait_until
from tests.slack.people import ALEX, KIM, LOGINS, MAY, SAM, SECRET, Ears, Office, ears


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes every connection and never says anything."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        kept: list[socket.socket] = []
        ended = threading.Event()

        def take() -> None:
            listening.settimeout(0.1)
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    kept.append(listening.accept()[0])

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            ended.set()
            thread.join()
            for connection in kept:
                connection.close()


@pytest.mark.slow
def test_github_hangs_and_slack_is_answered_at_once(office: Office) -> None:
    world = office.world
    model = world.model()
    world.served(world.register(model))
    second = world.register(model, "better")
    with silent_server() as silent:
        # It would hang for as long as a minute; so long does the bot wait here, too.
        github = {"api_url": f"{silent}/api/v3", "server_url": silent}
        world.configure("dev", github=github, deadlines={"request_seconds": 60})
        with ThreadPoolExecutor(20) as pool:
            lines = [f"/promote {model} {second.version} dev", f"/rollback {model} dev", "/promotions dev"] * 6
            sent = list(pool.map(lambda line: office.types(ALEX, line), lines))
        assert [one.status for one in sent] == [200] * 18
        assert [one.told for one in sent] == [[]] * 18, "each was acknowledged while GitHub hung"
    for line, one in zip(lines, sent, strict=True):
        # The line is cut: who asked is told so, and who wanted to look sees what is live.
        told = "desired unknown · live 1" if line.startswith("/promotions") else "❌"
        assert told in one.answer(seconds=120)


def test_twenty_five_copies_over_two_replicas_have_one_effect(office: Office) -> None:
    world = office.world
    model = world.model()
    first = world.register(model)
    sent = office.types(ALEX, f"/promote {model} {first.version} dev")
    with ThreadPoolExecutor(12) as pool:
        copies = list(pool.map(lambda n: office.send(sent.body, sent.path, replica=n % 2), range(24)))
    assert [copy.status for copy in copies] == [200] * 24
    assert "proposes" in sent.answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    office.stands(pull["number"], "its checks run")
    for copy in [office.send(sent.body, sent.path, replica=n) for n in (0, 1)]:
        assert copy.status == 200
    office.comes_to_rest()
    assert len(sent.told) == 1 and len(office.promotions(model)) == 1
    assert len(world.open_pulls(f"promobot/dev/{model}")) == 1
    said = [one["text"] for one in office.channel() if model in one["text"]]
    assert len(said) == 1


@pytest.mark.parametrize(
    "role", ["approve", *(pytest.param(role, marks=pytest.mark.slow) for role in ("propose", "roll_back", "read"))]
)
def test_each_role_may_what_it_says_and_no_more(office: Office, role: str) -> None:
    world = office.world
    model = world.model()
    world.served(world.register(model))
    second = world.register(model, "better")
    world.configure("dev", slack={"may": {role: [KIM]}})
    world.configure("prod", slack={"may": {}})
    # Somebody without Slack proposes, so that there is something to approve.
    number = world.proposed(second)["number"]
    message = office.stands(number, "its checks run")
    value = next(e["value"] for b in message["blocks"] for e in b.get("elements", []) if "value" in e)
    may = {
        "propose": office.types(KIM, f"/promote {model} {second.version} dev"),
        "approve": office.sends_button(KIM, "promobot_approve", value),
        "merge": office.sends_button(KIM, "promobot_merge", value),
        "roll_back": office.types(KIM, f"/rollback {model} dev"),
        "button": office.sends_button(KIM, "promobot_roll_back", value),
        "read": office.types(KIM, f"/promotions dev {model}"),
        "elsewhere": office.types(KIM, f"/promote {model} 1 prod"),
    }
    refused = {
        name for name, sent in may.items() if "⛔ You may not" in sent.answer() or "that you may see" in sent.answer()
    }
    allowed = {
        "propose": {"propose"},
        "approve": {"approve", "merge"},
        "roll_back": {"roll_back", "button"},
        "read": set(),
    }
    assert refused == set(may) - {"read"} - allowed[role]
    # Somebody whom no file names sees nothing at all.
    assert "No environment file allows you anything" in office.types("U0NOBODY", "/promotions").answer()
    assert "No environment file allows you anything" in office.types("U0NOBODY", f"/rollback {model} dev").answer()


@pytest.mark.slow
def test_whoever_proposed_on_github_does_not_approve_in_slack(office: Office) -> None:
    world = office.world
    world.configure("dev", slack={"github_logins": {**LOGINS, ALEX: "Alex"}})
    model = world.model()
    number = world.proposed(world.register(model))["number"]  # as alex, with a token of their own
    message = office.stands(number, "its checks run")
    assert "asked for by you" in office.presses(ALEX, "promobot_approve", message).answer()
    assert "You approved" in office.presses(SAM, "promobot_approve", message).answer()
    reviews = world.api("GET", f"/pulls/{number}/reviews")
    assert [(one["state"], one["user"]["login"], one["commit_id"]) for one in reviews] == [
        ("APPROVED", BOT, world.pull(number)["head"]["sha"])
    ]


@pytest.mark.slow
def test_a_button_is_for_the_commit_that_was_shown(office: Office) -> None:
    world = office.world
    model = world.model()
    first, second = world.register(model), world.register(model, "better")
    number = world.proposed(first)["number"]
    old = office.stands(number, "its checks run")
    assert world.proposed(second)["number"] == number  # takes the pull request over
    world.check(number)
    for action in ("promobot_approve", "promobot_merge"):
        value = next(e["value"] for b in old["blocks"] for e in b.get("elements", []) if "value" in e)
        assert "moved on after you saw it" in office.sends_button(SAM, action, value).answer()
    assert not world.pull(number)["merged"]
    message = office.stands(number, "2 in dev: its checks passed")
    assert "You merged" in office.presses(SAM, "promobot_merge", message).answer()
    forged = json.dumps({"environment": "dev", "number": number, "head": "0" * 40, "model": model, "version": 1})
    assert "moved on after" in office.sends_button(SAM, "promobot_merge", forged).answer()
    for odd in ("", "{}", "[]", "null", '{"environment": 1}', forged.replace("0" * 40, "main"), "x" * 2000):
        assert "no longer know this button" in office.sends_button(SAM, "promobot_merge", odd).answer()


def test_a_pull_request_of_somebody_else_is_none_of_ours(office: Office) -> None:
    world = office.world
    number = world.propose_by_hand({"README.md": "hello\n"})
    head = world.pull(number)["head"]["sha"]
    value = json.dumps({"environment": "dev", "number": number, "head": head, "model": "x", "version": 1})
    for action in ("promobot_approve", "promobot_merge"):
        assert "no longer know this button" in office.sends_button(SAM, action, value).answer()
    assert not world.pull(number)["merged"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        {"method": "chat.postMessage", "status": 503, "times": 1, "after": True},
        *(
            pytest.param(fault, marks=pytest.mark.long)
            for fault in (
                {"method": "chat.postMessage", "status": 500, "times": 2},
                {"method": "chat.postMessage", "status": 429, "times": 3, "retry_after": 1},
                {"method": "conversations.history", "status": 503, "times": 4},
                {"method": "chat.update", "status": 500, "times": 1, "after": True},
            )
        ),
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_slack_fails_and_each_message_is_there_once(office: Office, fault: dict[str, object]) -> None:
    world = office.world
    model = world.model()
    world.slack_fails(str(fault["method"]), **{k: v for k, v in fault.items() if k != "method"})
    sent = office.types(ALEX, f"/promote {model} {world.register(model).version} dev")
    assert "proposes" in sent.answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    for said in world.check(pull["number"]):
        assert said.code == 0
    message = office.stands(pull["number"], "its checks passed")
    # Away again: what is said in the thread is said when it is back, and not twice where only its answer was lost.
    world.slack_fails("chat.postMessage", times=2, status=503, after=True)
    assert "You approved" in office.presses(SAM, "promobot_approve", message).answer()
    wait_until(lambda: office.promotion(pull["number"])["replies"])
    office.comes_to_rest()
    assert len(office.promotions(model)) == 1
    assert len(office.promotion(pull["number"])["replies"]) == 1
    assert len(sent.told) == 1


@contextlib.contextmanager
def process(world: World, state: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run ``promobot slack --http`` until the block ends."""
    with Ports() as ports:
        port = ports.take()
        variables = {**os.environ, **world.endpoints.variables(login=BOT), "SLACK_SIGNING_SECRET": SECRET}
        command = [sys.executable, "-m", "bot", "slack", "--root", str(world.root), "--state", str(state)]
        variables["PROMOBOT_LOG_LEVEL"] = "DEBUG"
        with log.open("ab") as out:
            running = subprocess.Popen([*command, "--http", str(port)], env=variables, stdout=out, stderr=out)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: _is_up(url))
            yield url, running
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(60)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_no_log_shows_a_token(world: World, tmp_path: Path) -> None:
    model = world.model()
    world.configure("dev", slack={"may": MAY})
    log = tmp_path / "log"
    with ears() as listening, process(world, tmp_path / "state", log) as (url, _):
        office = Office(world, listening, url, inbox=tmp_path / "state")
        first = world.register(model)
        sent = [office.types(ALEX, f"/promote {model} {first.version} dev"), office.types(KIM, "/promotions")]
        sent += [office.types(KIM, "/promote zzz <!channel> dev"), office.types(ALEX, f"/promote {model} 99 dev")]
        for one in sent:
            one.answer()
        world.slack_fails(times=6)
        sent.append(office.types(ALEX, f"/rollback {model} dev"))
        httpx.post(f"{url}/slack/events", content=b"x", headers={"X-Slack-Signature": f"v0={SECRET}"})
        world.kill("forge")
        sent.append(office.types(ALEX, f"/promote {model} {first.version} dev"))
        for one in sent:
            one.answer(seconds=90)
        world.restart("forge")
        secrets = {*world.endpoints.secrets.people.values(), world.endpoints.secrets.slack, SECRET}
        secrets |= {world.endpoints.secrets.reload, listening.url}
    text = log.read_text()
    assert len(text) > 1000 and "could not" in text
    assert [secret for secret in secrets if secret in text] == []
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.json"))
    assert [secret for secret in secrets - {listening.url} if secret in kept] == []


@pytest.mark.slow
def test_a_restart_loses_nothing(world: World, tmp_path: Path) -> None:
    """What was acknowledged by a process that was then killed is done by the next."""
    model = world.model()
    world.configure("dev", slack={"may": MAY})
    first = world.register(model)
    with ears() as listening:
        with process(world, tmp_path / "state", tmp_path / "log") as (url, running):
            sent = Office(world, listening, url, inbox=tmp_path / "state").types(
                ALEX, f"/promote {model} {first.version} dev"
            )
            running.kill()
            assert sent.status == 200
            running.wait(10)
        assert _answers(listening) == 0 and world.open_pulls(f"promobot/dev/{model}") == []
        with process(world, tmp_path / "state", tmp_path / "log") as (url, _):
            assert "proposes" in sent.answer()
            office = Office(world, listening, url, inbox=tmp_path / "state")
            (pull,) = world.open_pulls(f"promobot/dev/{model}")
            office.stands(pull["number"], "its checks run")


def _answers(listening: Ears) -> int:
    return sum(map(len, listening.heard.values()))
