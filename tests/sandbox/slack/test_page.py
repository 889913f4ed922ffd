"""What a person sees of the workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.page import View, mrkdwn, render
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import Channel, Workspace

RELEASES = Channel("C0RELEASES", "ml-releases")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*churn* _7_ ~6~", "<strong>churn</strong> <em>7</em> <del>6</del>"),
        ("`a*b*c` 2*3*4", "<code>a*b*c</code> 2*3*4"),
        ("```x < y```", "<pre>x &lt; y</pre>"),
        ("<https://x.example/1|#1> &amp; more", '<a href="https://x.example/1">#1</a> &amp; more'),
        ("<javascript:alert(1)|click>", "<strong>click</strong>"),
        ("one\ntwo :rocket: :nope:", "one<br>two 🚀 :nope:"),
        ('<img src=x onerror="x">', "<strong>img src=x onerror=&quot;x&quot;</strong>"),
        ("snake_case_name", "snake_case_name"),
    ],
)
def test_markup(text: str, shown: str) -> None:
    assert mrkdwn(text) == shown


def test_blocks_threads_and_reactions(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, channels=(RELEASES,), clock=lambda: 1_700_000_000.0)
    parent = workspace.post(
        RELEASES,
        user=workspace.bot,
        text="for notifications only",
        blocks=(
            {"type": "header", "text": {"type": "plain_text", "text": "churn 7 :rocket: <b>"}},
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Accuracy*\n0.947"}]},
            {"type": "divider"},
            {"type": "image", "image_url": "https://x.example/i.png", "alt_text": "accuracy over time"},
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
    workspace.react(RELEASES, parent, name="tada", user=workspace.bot)

    slack = Slack(workspace, Installation.of_token("xoxb-test"), url="http://slack.example")
    page = render(slack, View(workspace.user("U0ALEX")))

    assert '<div class="header">churn 7 🚀 &lt;b&gt;</div>' in page
    assert "<strong>Accuracy</strong><br>0.947" in page
    assert '<span class="button danger">Roll back</span>' in page
    assert "accuracy over time" in page and "by <code>alex</code>" in page
    assert '<span class="reaction">🎉 1</span>' in page
    assert page.index('class="thread"') < page.index("thanks!")
    assert "for notifications only" not in page
    assert "<img" not in page and "https://x.example" not in page, "nothing is fetched from elsewhere"


def test_timestamps_rise_while_the_clock_stands_still(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, channels=(RELEASES,), clock=lambda: 1_700_000_000.5)
    posted = [workspace.post(RELEASES, user=workspace.bot, text=str(n)).ts for n in range(3)]
    assert posted == ["1700000000.500000", "1700000000.500001", "1700000000.500002"]
    assert [m.text for m in Workspace(tmp_path, channels=(RELEASES,)).messages(RELEASES)] == ["0", "1", "2"]
