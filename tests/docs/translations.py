"""``python -m tests.docs.translations``: which sections of a translation are older than their English source.

A translation stands beside its source: ``slack.ko.md`` beside ``slack.md``. Its last lines are a comment with a
line for each section of the source: the beginning of the hash of the text that was translated, and the heading.

- Without an option: print what differs, and exit 1 where a section is stale, or more than the words differs.
- ``--record PAGE``: write down that each section of this translation says what its source says now.
- ``--mark``: put a note into each stale section that sends the reader to the English one. Do that if you changed an
  English page and do not know the language. A marked section is still printed, and fails nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PROJECT = Path(__file__).parents[2]
LANGUAGES = ("ko",)
NAMED = (
    "README.md",
    "docs/index.md",
    "docs/how-to/board.md",
    "docs/how-to/on-call.md",
    "docs/how-to/policies.md",
    "docs/how-to/rollout.md",
    "docs/how-to/slack.md",
    "docs/reference/glossary.md",
    "docs/tutorials/first-release.md",
)
"""The pages that every language has: what people read who decide, review, release or are on call."""

NOTE = "> ⏳ "
_NOTES = {"ko": NOTE + "이 절은 영어 원문보다 오래되었습니다. 원문: [{title}]({source}#{anchor})"}
_RECORD = re.compile(r"\n*<!-- translated from (?P<source>\S+)\n(?P<lines>.*?)-->\n*\Z", re.DOTALL)
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Section:
    """A heading with its text, up to the next heading of any level."""

    heading: str
    text: str

    @property
    def title(self) -> str:
        """The heading without its signs."""
        return self.heading.lstrip("#").strip()

    @property
    def level(self) -> int:
        """How many signs the heading begins with."""
        return len(self.heading) - len(self.heading.lstrip("#"))

    @property
    def anchor(self) -> str:
        """The heading as GitHub names it in addresses."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")

    @property
    def hash(self) -> str:
        """The beginning of the hash of heading and text."""
        return hashlib.sha256(f"{self.heading}\n{self.text.strip()}".encode()).hexdigest()[:12]

    @property
    def marked(self) -> bool:
        """Whether the section says of itself that it is older than its source."""
        return self.text.lstrip("\n").startswith(NOTE)


@dataclass(frozen=True)
class Finding:
    """One place where a translation and its source differ. A ``marked`` one fails nothing."""

    page: str
    section: str
    said: str
    marked: bool = False

    def __str__(self) -> str:
        return f"{self.page}: “{self.section}”: {self.said}"


def sections(text: str) -> list[Section]:
    """Return the sections of a page; what stands before the first heading has none of its own, and must be empty."""
    found = list[Section]()
    heading, lines, fenced = "", list[str](), False
    for line in text.splitlines():
        if re.match(r" *```", line):
            fenced = not fenced
        if not fenced and re.match(r"#{1,6} ", line):
            if heading or "".join(lines).strip():
                found.append(Section(heading, "\n".join(lines)))
            heading, lines = line, []
        else:
            lines.append(line)
    found.append(Section(heading, "\n".join(lines)))
    return found


@dataclass(frozen=True)
class Translation:
    """A page in another language, with the hash and heading of each section of its source when it was translated."""

    page: Path
    source: Path
    language: str
    sections: list[Section]
    recorded: list[tuple[str, str]]

    @classmethod
    def read(cls, page: Path) -> Translation:
        """Read a translation from ``name.<language>.md``."""
        stem, language, _ = page.name.rsplit(".", 2)
        text = page.read_text()
        record = _RECORD.search(text)
        lines = record["lines"].splitlines() if record else []
        recorded = [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]
        body = text[: record.start()] if record else text
        return cls(page, page.with_name(f"{stem}.md"), language, sections(body), recorded)

    def text(self) -> str:
        """Return the page as it is written."""
        body = "\n".join(f"{one.heading}\n{one.text}".strip("\n") + "\n" for one in self.sections)
        lines = "".join(f"{digest} {title}\n" for digest, title in self.recorded)
        return f"{body}\n<!-- translated from {self.source.name}\n{lines}-->\n"


def translations(root: Path = PROJECT) -> list[Path]:
    """Return every page that is a translation."""
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    return sorted(page for page in pages if is_translation(page))


def is_translation(page: Path) -> bool:
    """Tell whether a page is ``name.<language>.md``."""
    return page.name.endswith(tuple(f".{language}.md" for language in LANGUAGES))


def missing(root: Path = PROJECT) -> list[str]:
    """Return the named pages that a language lacks."""
    pages = [root / name for name in NAMED]
    return [
        str(page.with_suffix(f".{language}.md").relative_to(root))
        for page in pages
        for language in LANGUAGES
        if not page.with_suffix(f".{language}.md").is_file()
    ]


def stale(translation: Translation, *, root: Path = PROJECT) -> Iterator[Finding]:
    """Yield each section whose source changed, is new or is gone since it was translated."""
    name = str(translation.page.relative_to(root))
    if not translation.source.is_file():
        yield Finding(name, translation.source.name, "this source does not exist")
        return
    source = sections(translation.source.read_text())
    kept = {title: digest for digest, title in translation.recorded}
    marked = {title: one.marked for (_, title), one in zip(translation.recorded, translation.sections, strict=False)}
    for one in source:
        if one.title not in kept:
            yield Finding(name, one.title, "is new in the source")
        elif kept[one.title] != one.hash:
            yield Finding(name, one.title, "changed in the source since it was translated", marked[one.title])
    for title in kept.keys() - {one.title for one in source}:
        yield Finding(name, title, "is gone from the source")
    if [title for _, title in translation.recorded] != [one.title for one in source] and kept.keys() == {
        one.title for one in source
    }:
        yield Finding(name, translation.source.name, "the source has another order")


def unlike(translation: Translation, *, root: Path = PROJECT) -> Iterator[Finding]:
    """Yield what a translation must have in common with its source, and has not: all but the words."""
    name = str(translation.page.relative_to(root))
    source = sections(translation.source.read_text())
    if [one.level for one in source] != [one.level for one in translation.sections]:
        yield Finding(name, translation.source.name, "the headings are others than the source's")
        return
    for theirs, ours in zip(source, translation.sections, strict=True):
        if ours.marked:
            continue
        if _FENCE.findall(theirs.text) != _FENCE.findall(ours.text):
            yield Finding(name, ours.title, "a code block differs from the source's")
        if _quoted(theirs) != _quoted(ours):
            yield Finding(name, ours.title, "a quoted message differs from the source's")
        if _tables(theirs) != _tables(ours):
            yield Finding(name, ours.title, "a table has other rows or columns than the source's")
        if differing := set(_CODE.findall(_words(theirs))) ^ set(_CODE.findall(_words(ours))):
            yield Finding(name, ours.title, f"code within the text: only one of both has {sorted(differing)}")
        wanted = Counter(_place(translation.source, link) for link in _links(theirs))
        found = Counter(_place(translation.page, link) for link in _links(ours))
        if wanted != found:
            listed = sorted(f"{path}#{anchor}" for path, anchor in (wanted - found) + (found - wanted))
            yield Finding(name, ours.title, f"links: only one of both has {listed}")
        for link in _links(ours):
            target = translation.page.parent / link.partition("#")[0]
            if target.suffix != ".md" or is_translation(target) or target == translation.source:
                continue
            if target.with_suffix(f".{translation.language}.md").is_file():
                yield Finding(name, ours.title, f"{link} leads to an English page that is translated")


def _words(section: Section) -> str:
    return _FENCE.sub("", section.text)


def _quoted(section: Section) -> list[str]:
    lines = [line for line in _words(section).splitlines() if line.startswith(">")]
    return [_LINK.sub("](…)", line) for line in lines]


def _tables(section: Section) -> list[int]:
    """Return how many cells each line of a table has."""
    return [len(re.split(r"(?<!\\)\|", line)) for line in _words(section).splitlines() if line.startswith("|")]


def _links(section: Section) -> list[str]:
    unquoted = "\n".join(line for line in _words(section).splitlines() if not line.startswith(">"))
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", unquoted))


def _place(page: Path, link: str) -> tuple[str, int]:
    """Return the English page that a link means, and the number of the section, which no language changes."""
    if re.match(r"\w+:", link):
        return link, 0
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    number = 0
    if anchor and target.is_file():
        names = [one.anchor for one in sections(_RECORD.sub("", target.read_text()))]
        number = names.index(anchor) + 1 if anchor in names else -1
    for language in LANGUAGES:
        if target.name.endswith(f".{language}.md"):
            target = target.with_name(target.name.removesuffix(f".{language}.md") + ".md")
    return str(target), number


def record(translation: Translation) -> Translation:
    """Return the translation as one of its source as it is now; a section that is marked stays what it was."""
    source = sections(translation.source.read_text())
    kept = {title: digest for digest, title in translation.recorded}
    if len(source) != len(translation.sections):
        raise SystemExit(
            f"{translation.page}: the source has {len(source)} sections, not {len(translation.sections)}"
        )
    recorded = [
        (kept.get(theirs.title, "-") if ours.marked else theirs.hash, theirs.title)
        for theirs, ours in zip(source, translation.sections, strict=True)
    ]
    return replace(translation, recorded=recorded)


def mark(translation: Translation) -> Translation:
    """Return the translation with a note in each stale section; new sections come along, those that are gone go."""
    ours = {
        title: (digest, one) for (digest, title), one in zip(translation.recorded, translation.sections, strict=True)
    }
    written, recorded = list[Section](), list[tuple[str, str]]()
    for theirs in sections(translation.source.read_text()):
        digest, one = ours.get(theirs.title, ("-", Section(theirs.heading, "")))
        if digest != theirs.hash and not one.marked:
            note = _NOTES[translation.language].format(
                title=theirs.title, source=translation.source.name, anchor=theirs.anchor
            )
            one = replace(one, text=f"\n{note}\n\n" + one.text.lstrip("\n"))
        written.append(one)
        recorded.append((digest, theirs.title))
    return replace(translation, sections=written, recorded=recorded)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each place that differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.docs.translations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--record", nargs="+", type=Path, default=(), metavar="PAGE")
    parser.add_argument("--mark", action="store_true")
    options = parser.parse_args(argv)
    for page in options.record:
        page.write_text(record(Translation.read(page.resolve())).text())
    pages = [Translation.read(page) for page in translations()]
    if options.mark:
        for one in pages:
            one.page.write_text(mark(one).text())
        pages = [Translation.read(one.page) for one in pages]
    found = [finding for one in pages for finding in [*stale(one), *(unlike(one) if one.source.is_file() else ())]]
    lacking = missing()
    for finding in found:
        print(f"{finding}{' (marked)' if finding.marked else ''}")
    for name in lacking:
        print(f"{name}: is not translated yet")
    if not found and not lacking:
        print(f"{len(pages)} translations say what their sources say")
    return 1 if lacking or any(not finding.marked for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main())
