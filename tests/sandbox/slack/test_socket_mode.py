"""Socket Mode, with slack_bolt's own handler and slack_sdk's own clients on the other side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk.errors import SlackApiError

from tests.sandbox.slack.conftest import APP_TOKEN, CHANNEL, TOKEN, Slack, bolt, until
from tests.sandbox.slack.shapes import check_payload
from tests.sandbox.slack.test_people import MODAL


@pytest.fixture
def installed(slack: Slack) -> Iterator[Slack]:
    slack.install(socket_mode=True)
    yield slack
    httpx.post(f"{slack.url}/socket", json={"disconnect": "drop"}).raise_for_status()
    until(lambda: not connections(slack))


def connections(slack: Slack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{slack.url}/socket").json()["connections"]
    return found


def disconnect(slack: Slack, reason: str, **more: str) -> None:
    httpx.post(f"{slack.url}/socket", json={"disconnect": reason, **more}).raise_for_status()


@pytest.fixture
def handler(installed: Slack) -> Iterator[SocketModeHandler]:
    """A Bolt app in Socket Mode, connected."""
    running = SocketModeHandler(bolt(installed), APP_TOKEN, web_client=installed.client, ping_interval=1)
    running.connect()
    until(lambda: connections(installed))
    yield running
    running.close()


@pytest.mark.slow
def test_a_command_and_its_acknowledgement(installed: Slack, handler: SocketModeHandler) -> None:
    heard: list[dict[str, Any]] = []

    @handler.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any]) -> None:
        heard.append(command)
        ack("on its way")

    assert installed.types("sam", "/promote churn 7 dev")["ok"]
    assert heard[0]["text"] == "churn 7 dev" and heard[0]["user_id"] == "U0SAM"
    assert installed.alone("sam")[-1]["text"] == "on its way"


@pytest.mark.slow
def test_a_modal(installed: Slack, handler: SocketModeHandler) -> None:
    @handler.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any], client: Any) -> None:
        ack()
        client.views_open(trigger_id=command["trigger_id"], view=MODAL)

    @handler.app.view("promote")
    def submitted(ack: Any) -> None:
        ack(response_action="errors", errors={"model": "which one?"})

    installed.types("sam", "/promote")
    until(lambda: installed.sees("sam")["modals"])
    done = installed.does("sam", "submits", values={"model": {"name": "x"}, "environment": {"chosen": "dev"}})
    assert done["errors"] == {"model": "which one?"}
    installed.does("sam", "closes")


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["refresh_requested", "drop"])
def test_the_app_connects_again(installed: Slack, handler: SocketModeHandler, reason: str) -> None:
    @handler.app.command("/promote")
    def promote(ack: Any) -> None:
        ack("still here")

    (before,) = connections(installed)
    disconnect(installed, reason)
    until(lambda: [one for one in connections(installed) if one["name"] != before["name"]])
    assert installed.types("sam", "/promote")["ok"]
    assert installed.alone("sam")[-1]["text"] == "still here"


def test_no_connection(installed: Slack) -> None:
    assert installed.types("sam", "/promote")["error"] == "dispatch_failed"


def test_which_tokens_open_connections(installed: Slack) -> None:
    for token, word in ((TOKEN, "not_allowed_token_type"), ("xapp-other", "invalid_auth")):
        with pytest.raises(SlackApiError) as failure:
            installed.client.apps_connections_open(app_token=token)
        assert failure.value.response["error"] == word
    with pytest.raises(SlackApiError) as failure:
        installed.client_with(APP_TOKEN).chat_postMessage(channel=CHANNEL, text="x")
    assert failure.value.response["error"] == "not_allowed_token_type"


# --- frame by frame ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(slack: Slack) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = slack.client.apps_connections_open(app_token=APP_TOKEN)["url"]
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield socket


async def said(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await socket.receive(timeout=10)).data)
    if "envelope_id" in found:
        check_payload(found["payload"])
    return found


async def types(slack: Slack, text: str = "/promote churn") -> dict[str, Any]:
    return await asyncio.to_thread(slack.types, "sam", text)


def test_hello_envelopes_and_which_connection_gets_them(installed: Slack) -> None:
    async def scene() -> None:
        async with connected(installed) as one, connected(installed) as two:
            hello = await said(one)
            assert hello["type"] == "hello" and hello["connection_info"] == {"app_id": "A0PROMOBOT"}
            assert hello["num_connections"] == 1 and hello["debug_info"]["approximate_connection_time"] == 3600
            assert (await said(two))["num_connections"] == 2
            typing = asyncio.create_task(types(installed))
            waiting = {asyncio.create_task(said(one)), asyncio.create_task(said(two))}
            done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            envelope = done.pop().result()
            assert set(envelope) == {"envelope_id", "type", "payload", "accepts_response_payload"}
            assert envelope["type"] == "slash_commands" and envelope["accepts_response_payload"] is True
            assert envelope["payload"]["command"] == "/promote"
            await one.send_str(json.dumps({"envelope_id": envelope["envelope_id"], "payload": {"text": "yes"}}))
            assert (await typing)["ok"]
            for task in left:
                assert not task.done(), "each envelope goes to one connection"
                task.cancel()

    asyncio.run(scene())
    assert installed.alone("sam")[-1]["text"] == "yes"


def test_what_was_not_acknowledged_before_a_connection_ended_goes_to_another(installed: Slack) -> None:
    async def scene() -> None:
        async with connected(installed) as one:
            await said(one)
            typing = asyncio.create_task(types(installed))
            first = await said(one)
            async with connected(installed) as two:
                await said(two)
                await one.close()
                second = await said(two)
                assert second["payload"] == first["payload"] and second["envelope_id"] != first["envelope_id"]
                await two.send_str(json.dumps({"envelope_id": second["envelope_id"]}))
                assert (await typing)["ok"]

    asyncio.run(scene())


@pytest.mark.slow
def test_no_acknowledgement_within_three_seconds(installed: Slack) -> None:
    async def scene() -> None:
        async with connected(installed) as one:
            await said(one)
            assert (await types(installed))["error"] == "operation_timeout"

    asyncio.run(scene())


def test_a_warned_connection_gets_nothing_more(installed: Slack) -> None:
    async def scene() -> None:
        async with connected(installed) as old, connected(installed) as new:
            await said(old)
            await said(new)
            name = connections(installed)[0]["name"]
            disconnect(installed, "warning", connection=name)
            warning = await said(old)
            assert (warning["type"], warning["reason"]) == ("disconnect", "warning")
            assert warning["debug_info"]["host"] == name
            for _ in range(3):
                typing = asyncio.create_task(types(installed))
                envelope = await said(new)
                await new.send_str(json.dumps({"envelope_id": envelope["envelope_id"]}))
                assert (await typing)["ok"]
            disconnect(installed, "refresh_requested", connection=name)
            assert (await said(old))["reason"] == "refresh_requested"
            assert (await old.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE

    asyncio.run(scene())


def test_addresses_work_once_ten_connections_and_none_when_it_is_off(installed: Slack) -> None:
    async def scene() -> None:
        url = installed.client.apps_connections_open(app_token=APP_TOKEN)["url"]
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(url)]
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(url)
            for _ in range(10):
                url = installed.client.apps_connections_open(app_token=APP_TOKEN)["url"]
                sockets.append(await session.ws_connect(url))
            assert [(await said(socket))["type"] for socket in sockets] == ["hello"] * 10 + ["disconnect"]
            await asyncio.to_thread(installed.install, request_url="http://127.0.0.1:9/slack/events")
            assert (await said(sockets[0]))["reason"] == "link_disabled"
            url = installed.client.apps_connections_open(app_token=APP_TOKEN)["url"]
            assert (await said(await session.ws_connect(url)))["reason"] == "link_disabled"

    asyncio.run(scene())
