"""What a person does on the page, in headless Chromium, with a real slack_bolt app behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, DESKTOP, PHONE, Browser
from tests.sandbox.slack.conftest import CHANNEL, Served, Slack
from tests.sandbox.slack.test_people import BUTTONS, MODAL

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here (Debian: chromium)")
CONFIRM = {
    "title": {"type": "plain_text", "text": "Merge #2?"},
    "text": {"type": "mrkdwn", "text": "This deploys it."},
    "confirm": {"type": "plain_text", "text": "Merge"},
    "deny": {"type": "plain_text", "text": "Not yet"},
}


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "browser", size=request.param) as running:
        yield running
        assert running.errors == []


def test_a_command_a_modal_and_a_button(slack: Slack, served: Served, browser: Browser) -> None:
    pressed: list[str] = []
    model = f"churn-{browser.size[0]}"

    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any], client: Any) -> None:
        ack()
        client.views_open(trigger_id=command["trigger_id"], view=MODAL)

    @served.app.view("promote")
    def submitted(ack: Any, view: dict[str, Any], client: Any, body: dict[str, Any]) -> None:
        values = view["state"]["values"]
        name, environment = values["model"]["name"]["value"], values["environment"]["chosen"]["selected_option"]
        if name == "chrn":
            return ack(response_action="errors", errors={"model": "No model is called chrn."})
        ack()
        button = {**BUTTONS[0]["elements"][0], "confirm": CONFIRM}
        text = f"{body['user']['name']} wants {name} in {environment['value']}"
        section = {"type": "section", "text": {"type": "mrkdwn", "text": f"*{text}*"}}
        blocks = [section, {**BUTTONS[0], "elements": [button]}]
        return client.chat_postMessage(channel=CHANNEL, text=text, blocks=blocks)

    @served.app.action("approve")
    def approve(ack: Any, body: dict[str, Any], respond: Any, client: Any) -> None:
        ack()
        pressed.append(body["user"]["id"])
        client.chat_postMessage(channel=CHANNEL, text="merged", thread_ts=body["message"]["ts"])
        respond(text=f"{model} merged for <@{body['user']['id']}>", replace_original=True)

    browser.open(f"{slack.url}/?as=sam", ready="#composer")
    browser.types("#composer input", "/pro")
    assert "MODEL VERSION ENV" in browser.sees(".suggestions", "/promote")
    browser.click(".suggestions button")
    browser.presses_enter()

    browser.types(".veil [data-block=model]", "chrn")
    browser.chooses(".veil select", "prod")
    browser.click(".veil footer .primary")
    browser.sees(".veil .error", "No model is called chrn.")
    assert browser.run("document.querySelector('.veil select').value") == "prod", "what was filled in is kept"
    browser.run("document.querySelector('.veil [data-block=model]').value = ''")
    browser.types(".veil [data-block=model]", model)
    browser.click(".veil footer .primary")
    browser.gone(".veil")

    browser.sees("#messages strong", f"sam wants {model} in prod")
    browser.open(f"{slack.url}/?as=alex", ready="#composer")
    browser.click("#messages .button", "Approve")
    browser.click(".confirm .button", "Not yet")
    browser.gone(".confirm")
    assert pressed == []
    browser.click("#messages .button", "Approve")
    browser.click(".confirm .button", "Merge")
    assert "(edited)" in browser.sees("#messages article", f"{model} merged for @alex")
    assert pressed == ["U0ALEX"]
    browser.click("#messages article:nth-last-of-type(1) .replies", "1 reply")
    browser.sees("#thread article", f"{model} merged")


@pytest.mark.slow
def test_the_page_is_no_wider_than_the_screen_and_fresh(slack: Slack, served: Served, browser: Browser) -> None:
    browser.open(f"{slack.url}/?as=kim", ready="#composer")
    cells = [{"type": "raw_text", "text": f"column {n}"} for n in range(20)]
    blocks = [{"type": "table", "rows": [cells, cells]}]
    slack.client.chat_postMessage(channel=CHANNEL, text="wide", blocks=blocks)
    browser.sees("#messages th", "column 0")
    slack.client.chat_postMessage(channel=CHANNEL, text="x" * 3000)
    browser.sees("#messages .text", "xxxxxxxxxx")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    slack.types("alex", "hello Kim")
    browser.sees("#messages article", "hello Kim")


@pytest.mark.slow
def test_no_label_of_a_chart_is_cut_or_lies_on_another(slack: Slack, served: Served, browser: Browser) -> None:
    browser.open(f"{slack.url}/?as=kim", ready="#composer")
    names = ["accuracy", "balanced_accuracy", "roc_auc", "log_loss", "f1", "average_precision"]
    points = [{"label": name, "value": -0.000_912_3} for name in names]
    drawn = {"type": "bar", "series": [{"name": "proposed", "data": points}], "axis_config": {"categories": names}}
    chart = {"type": "data_visualization", "title": "churn 2", "chart": drawn}
    slack.client.chat_postMessage(channel=CHANNEL, text="chart", blocks=[chart])
    browser.sees("#messages .chart", "average_precision")
    boxes = browser.run(
        "[...[...document.querySelectorAll('.chart')].at(-1).querySelectorAll('.plot span')].map(one => {"
        "const text = document.createRange(); text.selectNodeContents(one); const at = text.getBoundingClientRect();"
        "const around = one.closest('.plot').getBoundingClientRect();"
        "return [at.left, at.top, at.right, at.bottom, around.left, around.top, around.right, around.bottom] })"
    )
    assert len(boxes) == 3 + len(names)
    for number, (left, top, right, bottom, *around) in enumerate(boxes):
        assert left >= around[0] and top >= around[1] and right <= around[2] and bottom <= around[3], boxes[number]
        for other in boxes[number + 1 :]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart, (boxes[number], other)


@pytest.mark.slow
def test_what_goes_wrong_is_said(slack: Slack, served: Served, browser: Browser) -> None:
    browser.open(f"{slack.url}/?as=kim", ready="#composer")
    browser.types("#composer input", "/promote churn")  # nobody handles it: Bolt answers 404
    browser.presses_enter()
    browser.sees(".ephemeral", "/promote failed with the error “http_client_error”")
