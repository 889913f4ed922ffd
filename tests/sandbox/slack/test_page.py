"""What a person sees of the workspace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.markup import mrkdwn
from bot.sandbox.slack.page import View, render
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import Channel, Workspace

RELEASES = Channel("C0RELEASES", "ml-releases")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*churn* _7_ ~6~", "<strong>churn</strong> <em>7</em> <del>6</del>"),
        ("`a*b*c` 2*3*4", "<code>a*b*c</code> 2*3*4"),
        ("```x < y```", "<pre>x &lt; y</pre>"),
        (
            "<https://x.example/1|#1> &amp; more",
            '<a href="https://x.example/1" target="_blank" rel="noopener">#1</a> &amp; more',
        ),
        ("<javascript:alert(1)|click>", '<span class="mention">click</span>'),
        (
            "<@U0SAM> asks <!subteam^S0MLTEAM>",
            '<span class="mention">@sam</span> asks <span class="mention">@ml-team</span>',
        ),
        (
            "so:\n&gt; it *fell*\n&gt; over\nyes",
            "so:<br><blockquote>it <strong>fell</strong><br>over</blockquote>yes",
        ),
        ("one\ntwo :rocket: :nope:", "one<br>two 🚀 :nope:"),
        ('<img src=x onerror="x">', '<span class="mention">img src=x onerror=&#34;x&#34;</span>'),
        ("snake_case_name", "snake_case_name"),
    ],
)
def test_markup(text: str, shown: str) -> None:
    assert mrkdwn(text) == shown


def test_blocks_and_threads(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, channels=(RELEASES,), clock=lambda: 1_700_000_000.0)
    parent = workspace.post(
        RELEASES,
        user=workspace.bot,
        text="for notifications only",
        blocks=(
            {"type": "header", "text": {"type": "plain_text", "text": "churn 7 :rocket: <b>"}},
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Accuracy*\n0.947"}]},
            {"type": "divider"},
            {
                "type": "actions",
                "elements": [
                    {
                        "type": "button",
                        "style": "danger",
                        "text": {"type": "plain_text", "text": "Roll back"},
                        "action_id": "r",
                    }
                ],
            },
            {"type": "context", "elements": [{"type": "mrkdwn", "text": "by `alex`"}]},
        ),
    )
    workspace.post(RELEASES, user=workspace.user("U0ALEX"), text="thanks!", thread_ts=parent.ts)

    slack = Slack(workspace, Installation.of_token("xoxb-test"), url="http://slack.example")
    page = render(slack, View(workspace.user("U0ALEX")))

    assert '<div class="header" role="heading" aria-level="3">churn 7 🚀 &lt;b&gt;</div>' in page
    assert "<strong>Accuracy</strong><br>0.947" in page
    assert re.search(
        '<button [^>]*data-act="press" [^>]*data-action="r" class="button danger"[^>]*>Roll back</button>', page
    )
    assert "by <code>alex</code>" in page
    assert "1 reply" in page and "thanks!" not in page
    assert "thanks!" in render(slack, View(workspace.user("U0ALEX"), thread=parent.ts))
    assert "for notifications only" not in page


def test_timestamps_rise_while_the_clock_stands_still(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, channels=(RELEASES,), clock=lambda: 1_700_000_000.5)
    posted = [workspace.post(RELEASES, user=workspace.bot, text=str(n)).ts for n in range(3)]
    assert posted == ["1700000000.500000", "1700000000.500001", "1700000000.500002"]
    assert [m.text for m in Workspace(tmp_path, channels=(RELEASES,)).messages(RELEASES)] == ["0", "1", "2"]


def test_what_only_one_person_sees_and_their_modal(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, channels=(RELEASES,))
    slack = Slack(workspace, Installation.of_token("xoxb-test"), url="http://slack.example")
    alex, sam = workspace.user("U0ALEX"), workspace.user("U0SAM")
    workspace.whisper(RELEASES, to=alex, of=workspace.bot, text="<script>alert(1)</script> for you")
    element = {"type": "plain_text_input", "action_id": "a", "initial_value": '"><script>alert(2)</script>'}
    label = {"type": "plain_text", "text": "<i>Model</i>"}
    inputs = [{"type": "input", "block_id": "m", "label": label, "element": element}]
    title = {"type": "plain_text", "text": "<b>Promote</b>"}
    slack.modals.open(alex.id, {"type": "modal", "title": title, "submit": title, "blocks": inputs})

    seen = render(slack, View(alex))
    assert "for you" in seen and "Only visible to you" in seen and "&lt;i&gt;Model" in seen
    assert seen.count("<script") == 1, "only the page's own"
    assert "<b>" not in seen and "<i>" not in seen
    other = render(slack, View(sam))
    assert "for you" not in other and "Model" not in other


def chart(*series: tuple[str, tuple[float, ...]]) -> dict[str, Any]:
    names = ["auc <", "loss"]
    listed = [
        {"name": name, "data": [{"label": a, "value": b} for a, b in zip(names, values, strict=True)]}
        for name, values in series
    ]
    shown = {"type": "bar", "series": listed, "axis_config": {"categories": names}}
    return {"type": "data_visualization", "title": "churn 2", "chart": shown}


def test_every_kind_of_block_is_drawn(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, channels=(RELEASES,))
    slack = Slack(workspace, Installation.of_token("xoxb-test"), url="http://slack.example")
    cell = {"type": "raw_text", "text": "0.97"}
    chosen = {"text": {"type": "plain_text", "text": "prod"}, "value": "prod"}
    menu = {"type": "static_select", "action_id": "env", "options": [chosen], "initial_option": chosen}
    blocks = (
        {
            "type": "table",
            "column_settings": [{"align": "right", "is_wrapped": True}],
            "rows": [[{"type": "raw_text", "text": "auc"}], [cell]],
        },
        {"type": "actions", "elements": [menu]},
        {"type": "header"} | {"text": {"type": "plain_text", "text": "end"}},
        chart(("proposed", (0.9, -0.45)), ("in service", (0.6, 0.0))),
        chart(("proposed", (0.9, 0.1))) | {"title": "shares", "chart": {"type": "line"}},
    )
    workspace.post(RELEASES, user=workspace.bot, text="x", blocks=blocks)
    seen = render(slack, View(workspace.user("U0ALEX")))
    assert '<th class="right wrapped">auc</th>' in seen and '<td class="right wrapped">0.97</td>' in seen
    assert '<option value="prod">prod</option>' in seen and 'data-act="choose"' in seen
    heights = re.findall(r'<rect class="bar[01]" x="[^"]+" y="([^"]+)%" width="[^"]+" height="([^"]+)%">', seen)
    assert len(heights) == 4 and "<title>auc &lt;, proposed: 0.9</title>" in seen
    below, above = float(heights[2][1]), float(heights[0][1])
    assert above == pytest.approx(2 * below, abs=0.2), "bars are as long as what they stand for"
    assert float(heights[0][0]) + above == pytest.approx(float(heights[2][0]), abs=0.2), "and begin at zero"
    assert "📊 shares" in seen
