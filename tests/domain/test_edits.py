"""Editing desired state: the entry changes, nothing else does, whatever the file looks like."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain import desired
from bot.domain.desired import SECTIONS, Desired, Entry, Section
from bot.errors import InvalidInput
from tests.domain.entries import HOSTILE_TEXT, NAMES, Written, entries, entry, files

FILE = "promotions/dev.yaml"


def edit(text: str, section: Section, model: str, wanted: Entry | None) -> str:
    return desired.with_entry(text, file=FILE, section=section, model=model, entry=wanted)


def own_lines(text: str, section: Section, model: str) -> list[str]:
    """The lines from an entry's key to its last value; read by PyYAML alone, not by the code under test."""
    root = yaml.compose(text)
    for key, holder in root.value:
        if key.value == section and isinstance(holder, yaml.MappingNode):
            for name, value in holder.value:
                if name.value == model:
                    last = value
                    while isinstance(last, yaml.MappingNode) and last.value and not last.flow_style:
                        last = last.value[-1][1]
                    return text.splitlines()[name.start_mark.line : last.end_mark.line + 1]
    return []


def without(lines: list[str], own: list[str]) -> list[str]:
    """The lines less a run of lines that stands in them."""
    for start in range(len(lines) - len(own) + 1):
        if own and lines[start : start + len(own)] == own:
            return lines[:start] + lines[start + len(own) :]
    return lines


Case = tuple[Written, Section, str, Entry | None]


@st.composite
def edits(draw: st.DrawFn) -> Case:
    written = draw(files())
    section: Section = draw(st.sampled_from(SECTIONS))
    there = list(written.desired.section(section))
    model = draw(st.sampled_from(there if there and draw(st.booleans()) else NAMES))
    return written, section, model, draw(st.none() | entries(section))


@settings(max_examples=150)
@given(edits())
def test_an_edit_reads_back_as_wanted_and_leaves_all_other_lines(case: Case) -> None:
    check_edit(case)


@pytest.mark.long
@settings(max_examples=10_000)
@given(edits())
def test_ten_thousand_edits(case: Case) -> None:
    check_edit(case)


def check_edit(case: Case) -> None:
    written, section, model, wanted = case
    before = written.text
    assert desired.parse(before, file=FILE) == written.desired
    in_one_line = bool(re.search(rf"^{section}: \{{.*digest", before, re.MULTILINE))

    after = edit(before, section, model, wanted)

    expected = {name: e for name, e in written.desired.section(section).items() if name != model}
    if wanted is not None:
        expected[model] = wanted
    assert desired.parse(after, file=FILE) == written.desired.model_copy(update={section: expected})
    if in_one_line:
        return  # the section is one line, so that line is what changes
    own_before = own_lines(before, section, model)
    others_before = without(before.splitlines(), own_before)
    others_after = without(after.splitlines(), own_lines(after, section, model))
    if (comment := [x for x in own_before if f"# about reason of {model}" in x]) and comment[0] in others_after:
        others_after = without(others_after, comment)  # a comment about the last key stays when the key goes
    # What an entry brings besides its own lines: the blank line behind it, and its section's key.
    key_lines = re.compile(rf"{section}:.*")
    assert [x for x in others_after if x.strip() and not key_lines.fullmatch(x)] == [
        x for x in others_before if x.strip() and not key_lines.fullmatch(x)
    ]
    assert -1 <= len(others_after) - len(others_before) <= 2
    if "\r\n" in before:
        assert "\n" not in after.replace("\r\n", "")


@settings(max_examples=50)
@given(files(), st.data())
def test_the_same_edit_twice_changes_nothing_more(written: Written, data: st.DataObject) -> None:
    section: Section = data.draw(st.sampled_from(SECTIONS))
    model, wanted = data.draw(st.sampled_from(NAMES)), data.draw(st.none() | entries(section))
    once = edit(written.text, section, model, wanted)
    assert edit(once, section, model, wanted) == once


@settings(max_examples=50)
@given(files(), st.data())
def test_an_update_and_its_revert_give_the_same_words(written: Written, data: st.DataObject) -> None:
    # A reason may be quoted in other ways that mean the same, and a share comes back below its comment.
    entries = [(s, model, e) for s in SECTIONS for model, e in written.desired.section(s).items()]
    there = [(s, model) for s, model, e in entries if not e.reason and e.share is None]
    if not there:
        return
    section, model = data.draw(st.sampled_from(there))
    old = written.desired.section(section)[model]
    new = entry(data.draw(st.integers(1, 2**31 - 1)))
    back = edit(edit(written.text, section, model, new), section, model, old)
    assert desired.parse(back, file=FILE) == written.desired
    # The run id's quotes may go, comments and everything else may not.
    assert back.replace('"', "").split() == written.text.replace('"', "").split()


def test_adding_and_removing_again_and_again_does_not_make_the_file_grow() -> None:
    text = "environment: dev\nmodels: {}\n\nshadow: {}\n"
    sizes = []
    for round_ in range(1, 12):
        for model in ("churn", "fraud", "abc"):
            text = edit(text, "models", model, entry(round_))
        for model in ("abc", "churn", "fraud"):
            text = edit(text, "models", model, None)
        sizes.append(text.count("\n"))
    assert sizes[-1] == sizes[2], sizes


def test_the_file_reads_like_the_documented_one() -> None:
    text = "# What dev serves.\nenvironment: dev\nmodels: {}\n\nshadow: {}\n"
    text = edit(text, "models", "churn", entry(7))
    text = edit(text, "models", "fraud", entry(2))
    text = edit(text, "shadow", "churn", entry(8, reason="accuracy 0.871 < 0.900"))
    zeros = "0" * 63
    assert text == (
        "# What dev serves.\nenvironment: dev\nmodels:\n"
        f"  churn:\n    version: 7\n    digest: sha256:{zeros}7\n    run: run7\n\n"
        f"  fraud:\n    version: 2\n    digest: sha256:{zeros}2\n    run: run2\n\n"
        f"shadow:\n  churn:\n    version: 8\n    digest: sha256:{zeros}8\n    run: run8\n"
        '    reason: "accuracy 0.871 < 0.900"\n\n'
    )


def test_an_update_changes_three_lines_only() -> None:
    text = (
        "environment: dev  # not prod\n\nmodels:\n  # the important one\n  churn:   # owned by alex\n"
        f"    run: 'run7'   # nightly\n    version: 7 # good\n    digest: {entry(7).digest}\n    # the end\n"
        f"  fraud: {{version: 2, digest: {entry(2).digest}, run: run2}}  # flow\n"
    )
    after = edit(text, "models", "churn", entry(9))
    assert after == text.replace("'run7'", "run9").replace(": 7 #", ": 9 #").replace(entry(7).digest, entry(9).digest)
    after = edit(text, "models", "fraud", entry(3))
    assert after == text.replace("version: 2", "version: 3").replace("run2", "run3").replace(
        entry(2).digest, entry(3).digest
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
@pytest.mark.parametrize("written", ["models: {}", "models:", "models: null", "models: ~", "models: {} # none", None])
def test_the_first_entry_of_a_section(written: str | None, ending: str) -> None:
    newline = ending or "\n"
    text = "environment: dev" + (newline + written if written else "") + ending
    after = edit(text, "models", "churn", entry(1))
    assert desired.parse(after, file=FILE).models == {"churn": entry(1)}
    assert after.splitlines()[0] == "environment: dev"
    if written == "models: {} # none":
        assert "models: # none" in after


@pytest.mark.parametrize("reason", HOSTILE_TEXT)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_hostile_reason_is_text_of_one_line(reason: str, newline: str) -> None:
    text = newline.join(
        ["environment: dev", "models:", f"  a: {{version: 1, digest: {entry(1).digest}, run: r}}", ""]
    )
    after = edit(text, "shadow", "churn", entry(8, reason=reason))
    assert desired.parse(after, file=FILE).shadow == {"churn": entry(8, reason=reason)}
    assert yaml.safe_load(after)["shadow"]["churn"]["reason"] == reason
    assert sum("reason:" in line for line in after.splitlines()) == 1
    assert after.isprintable() or {c for c in after if not c.isprintable()} <= {"\n", "\r"}
    again = edit(after, "shadow", "churn", entry(9, reason="other"))
    assert edit(again, "shadow", "churn", entry(8, reason=reason)) == after
    gone = edit(after, "shadow", "churn", entry(8))
    assert desired.parse(gone, file=FILE).shadow == {"churn": entry(8)}


@pytest.mark.parametrize(
    "run",
    [
        *("1", "0", "010", "1e5", "12e3", "1234567890123456789012", "0x1f", "0b1", "1_000", "0_1", "0o17"),
        *("true", "True", "null", "Null", "no", "No", "on", "ON", "yes", "off", "2026-01-01", "nan", "inf", "e1"),
    ],
)
def test_run_ids_that_look_like_something_else_stay_text_for_every_reader(run: str) -> None:
    after = edit("environment: dev\n", "models", "churn", entry(1, run=run))
    assert desired.parse(after, file=FILE).models["churn"].run == run
    assert yaml.safe_load(after)["models"]["churn"]["run"] == run  # YAML 1.1, where `on` is true


@pytest.mark.parametrize("model", ["on", "no", "010", "123", "2026-01-01", "1e5", "0x1f", "null", "true"])
def test_model_names_that_look_like_something_else_stay_text_for_every_reader(model: str) -> None:
    after = edit("environment: dev\nmodels: {}\n", "models", model, entry(1))
    assert list(desired.parse(after, file=FILE).models) == [model]
    assert list(yaml.safe_load(after)["models"]) == [model]
    assert edit(after, "models", model, None).startswith("environment: dev\nmodels:\n")


def test_a_block_scalar_is_replaced_whole() -> None:
    text = (
        f"environment: dev\nshadow:\n  churn:\n    reason: |\n      two\n      lines\n    run: >-\n      run7\n"
        f"    version: 7\n    digest: {entry(7).digest}\n"
    )
    after = edit(text, "shadow", "churn", entry(8, reason="other"))
    assert desired.parse(after, file=FILE).shadow == {"churn": entry(8, reason="other")}
    assert edit(text, "shadow", "churn", entry(8)).count("reason") == 0


FLOW = "{version: 1, digest: " + entry(1).digest + ", run: run1}"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (f"{{environment: dev, models: {{a: {FLOW}, b: {FLOW}}}}}\n", "a"),
        (f"{{environment: dev, models: {{a: {FLOW}, b: {FLOW}}}}}\n", "b"),
        (f"environment: dev\nmodels: {{a: {FLOW}}}\n", "a"),
        (f"environment: dev\nmodels: {{\n  a: {FLOW},\n  b: {FLOW},\n}}\n", "b"),
        (f"environment: dev\nmodels:\n  ? a\n  : {FLOW}\n  b: {FLOW}\n", "a"),
    ],
)
def test_flow_style_can_be_edited_too(text: str, model: str) -> None:
    assert model not in desired.parse(edit(text, "models", model, None), file=FILE).models
    assert desired.parse(edit(text, "models", model, entry(5)), file=FILE).models[model] == entry(5)


@pytest.mark.parametrize(
    ("text", "section", "model", "wanted"),
    [
        # A neighbour's comment would go.
        (f"environment: dev\nmodels: {{\n  a: {FLOW}, # of a\n  b: {FLOW}\n}}\n", "models", "b", None),
        # There is no place for a section behind a mapping in one line, nor behind the end of the document.
        ("{environment: dev}\n", "models", "a", entry(1)),
        ("environment: dev\n...\n", "shadow", "a", entry(1)),
        (f"environment: dev\nmodels:\n  ? a\n  : {FLOW}\n", "models", "b", entry(1)),
    ],
)
def test_what_cannot_be_edited_safely_is_refused_in_words(
    text: str, section: Section, model: str, wanted: Entry | None
) -> None:
    try:
        after = edit(text, section, model, wanted)
    except InvalidInput as refused:
        assert refused.file == FILE
        assert refused.key == f"{section}.{model}"
        assert refused.line
        assert "cannot be edited safely" in str(refused)
        assert "block style" in refused.next_step
    else:  # an edit that is right is as good
        assert desired.parse(after, file=FILE).section(section).get(model) == wanted


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [("environment: dev\nmodels:\n  a: 1\n", 3, "models.a"), ("environment: dev\nmodles: {}\n", 2, "modles")],
)
def test_a_file_that_is_wrong_is_not_edited(text: str, line: int, key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        edit(text, "models", "churn", entry(1))
    assert (refused.value.file, refused.value.line, refused.value.key) == (FILE, line, key)


def test_changes_are_found_by_section_and_name() -> None:
    before = Desired(environment="dev", models={"a": entry(1), "b": entry(1)}, shadow={"a": entry(3)})
    after = Desired(environment="dev", models={"a": entry(2), "b": entry(1)}, shadow={"c": entry(4)})
    assert [(c.section, c.model, c.before, c.after) for c in desired.changes(before, after)] == [
        ("models", "a", entry(1), entry(2)),
        ("shadow", "a", entry(3), None),
        ("shadow", "c", None, entry(4)),
    ]


def test_a_shadow_may_get_copies_of_a_share() -> None:
    text = edit("environment: dev\n", "shadow", "churn", entry(8, share=0.1))
    assert "    share: 0.1\n" in text
    assert desired.parse(text, file=FILE).shadow == {"churn": entry(8, share=0.1)}
    more = edit(text, "shadow", "churn", entry(8, share=0.25))
    assert (more.count("share"), "share: 0.25" in more) == (1, True)
    assert "share" not in edit(more, "shadow", "churn", entry(9))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("models:\n  churn: {{{}, share: 0.5}}\n", "only a shadow has one"),
        ("shadow:\n  churn: {{{}, share: 0}}\n", "share"),
        ("shadow:\n  churn: {{{}, share: 1.5}}\n", "share"),
        ("shadow:\n  churn: {{{}, share: some}}\n", "share"),
    ],
)
def test_a_share_that_cannot_be_is_refused(line: str, said: str) -> None:
    one = entry(8)
    given_entry = f"version: 8, digest: '{one.digest}', run: {one.run}"
    with pytest.raises(InvalidInput, match=said):
        desired.parse("environment: dev\n" + line.format(given_entry), file=FILE)
