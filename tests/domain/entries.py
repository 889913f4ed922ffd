"""Entries, records, files of desired state in every style that people write, and hostile text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from bot.domain.desired import Desired, Entry, Section
from bot.domain.record import DeploymentRecord
from bot.domain.release import Lane, Release, Slot

NAMES = ("a", "abc", "b-2", "churn", "fraud", "m_1", "on", "zeta", "010", "2026-01-01")

HOSTILE_TEXT = (
    "plain",
    "a: b",
    "# no comment",
    "accuracy 0.871 < 0.900",
    'it\'s "quoted" \\ and \\n',
    "two\nlines",
    "\r\n",
    "tab\there",
    "{flow: [1, 2]}",
    "*alias &anchor !tag",
    "--- ",
    "...",
    "yes",
    "null",
    "~",
    "1e5",
    " leading and trailing ",
    "\u2028 \x85 \ufeff \u202e \x00 \x1b[31m",
    "😀 ünïcode",
    "%YAML 1.1",
    "? key",
    "- item",
    "| block",
    "@everyone <script>alert(1)</script> [x](javascript:alert(1)) ``` -->",
    "x" * 500,
)
"""Texts that a shadow's reason must carry unchanged."""


def entry(version: int, *, run: str | None = None, reason: str = "", share: float | None = None) -> Entry:
    """Return an entry whose digest and run follow from its version."""
    digest = f"sha256:{version:064x}"
    return Entry(version=version, digest=digest, run=run or f"run{version}", reason=reason, share=share)


def release(version: int, lane: Lane = Lane.LIVE) -> Release:
    """Return the release of churn in dev that the entry of a version names."""
    return entry(version).in_slot(Slot("dev", "churn", lane))


def a_record(after: Entry | None, *, number: int = 1, at: datetime, **more: Any) -> DeploymentRecord:
    """Return the record of a deployment of churn in dev that went well, but for what is given in ``more``."""
    model = more.get("model", "churn")
    plain: dict[str, Any] = {
        "id": f"dev-{number:08d}-{model}",
        "environment": "dev",
        "section": "models",
        "model": model,
        "before": None,
        "after": after,
        "commit": "c" * 40,
        "started_at": at,
        "finished_at": at,
        "outcome": "succeeded",
        "serving": None,
        "criteria": (),
        "steps": (),
    }
    return DeploymentRecord(**{**plain, **more})


run_ids = st.one_of(
    st.sampled_from(["1e5", "123", "0x1f", "true", "null", "no", "on", "1_000", "007", "0", "12e3", "2026-01-01"]),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True),
)
reasons = st.one_of(
    st.sampled_from(HOSTILE_TEXT),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
)


@st.composite
def entries(draw: st.DrawFn, section: Section) -> Entry:
    """Return any entry that may stand in ``section``."""
    reason = draw(reasons) if section == "shadow" and draw(st.booleans()) else ""
    share = draw(st.sampled_from([None, 0.01, 0.1, 0.25, 1.0])) if section == "shadow" else None
    return entry(draw(st.integers(1, 2**31 - 1)), run=draw(run_ids), reason=reason, share=share)


@dataclass(frozen=True)
class Written:
    """A file as a person may have written it, and what it means."""

    text: str
    desired: Desired


@st.composite
def files(draw: st.DrawFn) -> Written:
    """Return a file of desired state: any order, comments anywhere, blank lines, block and flow entries, CRLF."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    parts: list[list[str]] = [["environment: dev" + draw(_trailing)]]
    meaning: dict[str, dict[str, Entry]] = {}
    for section in ("models", "shadow"):
        names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
        of_section = {name: draw(entries(section)) for name in names}  # type: ignore[arg-type]
        if not names and draw(st.booleans()):
            continue
        meaning[section] = of_section
        parts.append(draw(_sections(section, of_section)))
    lines: list[str] = []
    for part in draw(st.permutations(parts)):
        lines += [*draw(_between), *part]
    lines += draw(_between)
    text = newline.join(lines)
    if draw(st.booleans()):
        text += newline
    return Written(
        text, Desired(environment="dev", models=meaning.get("models", {}), shadow=meaning.get("shadow", {}))
    )


_trailing = st.sampled_from(["", "", " # behind, with ünïcode 😀", "   "])
_between = st.lists(st.sampled_from(["", "# between", "# a: {b}", "#"]), max_size=2)


def _quoted(text: str) -> str:
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{escaped}"'


@st.composite
def _sections(draw: st.DrawFn, section: str, of_section: dict[str, Entry]) -> list[str]:
    if not of_section:
        return [section + draw(st.sampled_from([": {}", ":", ": null", ": ~", ":   {}  # none yet", ":  # none"]))]
    if draw(st.integers(0, 9)) == 0:
        inside = ", ".join(f"{_quoted(name)}: {{{_flow(entry)}}}" for name, entry in of_section.items())
        return [f"{section}: {{{inside}}}" + draw(_trailing)]
    indent = draw(st.sampled_from(["  ", "    ", " "]))
    lines = [f"{section}:" + draw(_trailing)]
    for name, entry_ in of_section.items():
        lines += [indent + line if line.startswith("#") else line for line in draw(_between)]
        shown = _quoted(name) if draw(st.booleans()) else name
        if draw(st.integers(0, 3)) == 0:
            lines.append(f"{indent}{shown}: {{{_flow(entry_)}}}" + draw(_trailing))
            continue
        lines.append(f"{indent}{shown}:" + draw(_trailing))
        for key, value in draw(st.permutations(_values(entry_))):
            if draw(st.integers(0, 5)) == 0:
                lines.append(f"{indent * 2}# about {key} of {name}")
            lines.append(f"{indent * 2}{key}: {value}" + draw(_trailing))
    return lines


def _values(entry: Entry) -> list[tuple[str, str]]:
    values = [("version", str(entry.version)), ("digest", entry.digest), ("run", _quoted(entry.run))]
    values += [("reason", _quoted(entry.reason))] if entry.reason else []
    return values + ([("share", f"{entry.share:g}")] if entry.share is not None else [])


def _flow(entry: Entry) -> str:
    return ", ".join(f"{key}: {value}" for key, value in _values(entry))
