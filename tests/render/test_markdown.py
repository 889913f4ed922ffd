"""Foreign text in Markdown stays text."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.render.markdown import code, cut, details, escape, escape_with_code, fenced, fit, table
from tests.render.markdown_reader import HOSTILE, assert_only_our_markup, markup, outside_fences, shown

any_text = st.one_of(
    st.text(max_size=60),
    st.text("`|\\<>![]()*_#@-~$&: \n1.a", max_size=40),
    st.sampled_from([HOSTILE, "```", "````", "\\", "\\\\|", "`", "|", "-->", "1. x", "12. x", "a@b.c"]),
)


@settings(max_examples=300)
@example(HOSTILE)
@given(any_text)
def test_escaped_text_is_one_line_of_text_in_a_table_and_a_list(text: str) -> None:
    escaped = escape(text)
    assert "\n" not in escaped
    assert "code" not in markup(escaped) or "code" in text
    for around in (table(("a", "b"), [(escaped, escaped)]), f"- {escaped}", f"**{escaped}.**", f"x {escaped} y"):
        assert_only_our_markup(around)
    flat = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split())).replace("\u200b", "")
    if len(flat) < 500 and "\u200b" not in text:
        assert shown(escaped) == flat


@settings(max_examples=300)
@example(HOSTILE)
@given(any_text)
def test_code_is_code_in_a_table_and_a_line(text: str) -> None:
    piece = code(text)
    assert piece == "–" or re.fullmatch(r"`[^`\n]+`", piece)
    assert_only_our_markup(table(("a", "b"), [(piece, piece)]))
    assert_only_our_markup(f"x {piece} y")


@settings(max_examples=200)
@example(HOSTILE)
@given(any_text)
def test_nothing_ends_a_fence(text: str) -> None:
    assert outside_fences(f"before\n{fenced(text, 'diff')}\nafter") == "before\nafter"


def test_long_text_is_cut() -> None:
    assert escape("a" * 1000, limit=10) == "a" * 9 + "…"
    assert code("a" * 1000, limit=10) == "`" + "a" * 9 + "…`"
    assert len(fenced("a" * 100_000)) < 10_100
    assert code("") == "–"


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("accuracy 0.871 < 0.900", r"accuracy 0.871 \< 0.900"),
        ("a_b*c", r"a\_b\*c"),
        ("@alex", "@\u200balex"),
        ("#12", "#\u200b12"),
        ("https://x.example", "https:\u200b//x.example"),
        ("two\nlines  here", "two lines here"),
        ("\x1b[31m\u202e", "\ufffd\\[31m\ufffd"),
    ],
)
def test_how_it_looks(text: str, looks: str) -> None:
    assert escape(text) == looks


def test_what_does_not_fit_is_cut_and_short_parts_stay_whole() -> None:
    parts = ["first", "x" * 50, "\n".join(["y" * 9] * 500), "last"]
    assert fit(parts, limit=10_000) == "\n\n".join(parts) + "\n"
    short = fit(parts, limit=400)
    assert len(short) <= 400
    first, second, *lines, note, last = short.strip().split("\n\n")
    assert (first, second, last) == ("first", "x" * 50, "last")
    kept = lines[0].count("y" * 9)
    assert 5 < kept < 30
    assert note == (
        f"<sub>… left out here, for GitHub takes no longer text: {500 - kept:,} lines, "
        f"{10 * (500 - kept) - 1:,} characters.</sub>"
    )
    assert fit(["a", "", "b"]) == "a\n\nb\n"


def test_what_is_cut_is_closed() -> None:
    text = details("Long", "before\n\n" + fenced("\n".join(f"line {n}" for n in range(1000)), "diff"))
    short = cut(text, 400)
    assert len(short) <= 400
    assert short.startswith("<details><summary>Long</summary>\n\nbefore\n\n```diff\nline 0\n")
    assert "\n```\n\n</details>\n\n<sub>… left out here" in short
    assert_only_our_markup(short)
    assert cut("x" * 1000, 10) == ""


@given(st.lists(st.text("ab", max_size=120), max_size=8), st.integers(200, 500))
def test_it_always_fits(parts: list[str], limit: int) -> None:
    assert len(fit(parts, limit=limit)) <= limit


def test_details_are_closed() -> None:
    assert_only_our_markup(details("Files", table(("a",), [(escape(HOSTILE),)])))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`promobot deploy --env dev` tries *again*", "`promobot deploy --env dev` tries \\*again\\*"),
        ("press Revert on #12, or `a` `b`", "press Revert on #\u200b12, or `a` `b`"),
        ("one ` alone", "one \\` alone"),
    ],
)
def test_what_stands_between_backticks_is_code_and_the_rest_is_no_markup(text: str, shown: str) -> None:
    assert escape_with_code(text) == shown


def test_what_is_folded_has_a_title_of_plain_text() -> None:
    title = details("READY of churn-v2 <b>1</b> → 2 for @team & #12, gh-3, see https://x.example", "**found**")
    first, _, body = title.partition("\n\n")
    assert first.replace("\u200b", "") == (
        "<details><summary>READY of churn-v2 &lt;b&gt;1&lt;/b&gt; → 2 for @team &amp; #12, gh-3, see "
        "https://x.example</summary>"
    ), "GitHub reads this line as HTML, so a backslash would be seen"
    assert all(linked not in first for linked in ("@team", "#12", "gh-3", "https://"))
    assert body == "**found**\n\n</details>"
