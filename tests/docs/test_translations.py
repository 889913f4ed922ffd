"""Translations say what their English sources say, and have the same code, messages, tables and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.translations import (
    PROJECT,
    Translation,
    mark,
    missing,
    record,
    stale,
    translations,
    unlike,
)

PAGES = translations()
UNLIKE_THE_GLOSSARY = {
    "쉐도": "섀도",
    "섀도우": "섀도",
    "프로모션": "승격",
    "롤 백": "롤백",
    "공유 저장소": "공유 스토리지",
    "검역": "격리",
    "카나리아": "카나리",
    "디플로이": "배포",
    "게이트웨어": "게이트웨이",
}
"""What these words are called in Korean stands in the glossary; one thing has one name."""


def test_every_named_page_is_there() -> None:
    assert missing() == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_each_section_says_what_its_source_says(page: Path) -> None:
    found = [str(one) for one in stale(Translation.read(page)) if not one.marked]
    assert found == [], "translate it and run --record, or run --mark: python -m tests.docs.translations --help"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_only_the_words_differ(page: Path) -> None:
    assert [str(one) for one in unlike(Translation.read(page))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_one_thing_has_one_name(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    assert {wrong: right for wrong, right in UNLIKE_THE_GLOSSARY.items() if wrong in text} == {}


# --- the check itself ---------------------------------------------------------------------------------------------

ENGLISH = """# Way back

Run `promobot rollback`. See [who](#who-may).

```sh
promobot rollback churn --env dev
```

> ✅ done

## Who may

| role | may |
|---|---|
| [on call](call.md) | go back |
"""
KOREAN = """# 되돌리기

`promobot rollback`을 실행합니다. [권한](#권한)을 참고하십시오.

```sh
promobot rollback churn --env dev
```

> ✅ done

## 권한

| 역할 | 할 수 있는 일 |
|---|---|
| [당직](call.md) | 롤백 |
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "way.md").write_text(ENGLISH)
    (tmp_path / "call.md").write_text("# On call\n")
    page = tmp_path / "way.ko.md"
    page.write_text(KOREAN)
    page.write_text(record(Translation.read(page)).text())
    return page


def findings(page: Path) -> list[tuple[str, str, bool]]:
    read = Translation.read(page)
    found = [*stale(read, root=page.parent), *unlike(read, root=page.parent)]
    return [(one.section, one.said, one.marked) for one in found]


def test_a_translation_that_was_recorded_differs_in_nothing(page: Path) -> None:
    assert findings(page) == []
    assert page.read_text().startswith(KOREAN)
    assert page.read_text() == Translation.read(page).text()


def test_a_translation_without_a_record_is_stale_as_a_whole(page: Path) -> None:
    page.write_text(KOREAN)
    assert [(section, said) for section, said, _ in findings(page)] == [
        ("Way back", "is new in the source"),
        ("Who may", "is new in the source"),
    ]


def test_only_the_section_that_changed_is_named(page: Path) -> None:
    page.with_name("way.md").write_text(ENGLISH.replace("go back", "go back at night"))
    assert findings(page) == [("Who may", "changed in the source since it was translated", False)]


def test_a_marked_section_sends_the_reader_to_the_source_and_fails_nothing(page: Path) -> None:
    page.with_name("way.md").write_text(ENGLISH.replace("| go back |", "| go back |\n| everybody | read |"))
    page.write_text(mark(Translation.read(page)).text())
    assert (
        "## 권한\n\n> ⏳ 이 절은 영어 원문보다 오래되었습니다. 원문: [Who may](way.md#who-may)\n" in page.read_text()
    )
    assert findings(page) == [("Who may", "changed in the source since it was translated", True)]
    again = mark(Translation.read(page)).text()
    assert again == page.read_text()
    page.write_text(record(Translation.read(page)).text())  # a record of a page does not hide what is marked in it
    assert findings(page) == [("Who may", "changed in the source since it was translated", True)]


def test_sections_that_are_new_or_gone_are_named_and_marked(page: Path) -> None:
    first = ENGLISH.split("## Who may")[0]
    page.with_name("way.md").write_text(first + "## When\n\nNow.\n")
    found = {(section, said) for section, said, _ in findings(page)}
    assert {("When", "is new in the source"), ("Who may", "is gone from the source")} <= found
    page.write_text(mark(Translation.read(page)).text())
    assert "## When\n\n> ⏳ " in page.read_text() and "## 권한" not in page.read_text()
    assert ("When", "changed in the source since it was translated", True) in findings(page)


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        ("--env dev\n```", "--env prod\n```", "a code block differs from the source's"),
        ("> ✅ done", "> ✅ 완료", "a quoted message differs from the source's"),
        ("| 롤백 |", "| 롤백 | 더 |", "a table has other rows or columns than the source's"),
        ("`promobot rollback`을", "이것을", "code within the text: only one of both has ['promobot rollback']"),
        ("[당직](call.md)", "당직", "links: only one of both has"),
        ("(#권한)", "(#되돌리기)", "links: only one of both has"),
        ("\n## 권한\n", "\n### 권한\n", "the headings are others than the source's"),
    ],
)
def test_each_difference_besides_the_words_is_named(page: Path, now: str, then: str, said: str) -> None:
    assert now in page.read_text()
    page.write_text(page.read_text().replace(now, then))
    ((_, found, _),) = findings(page)
    assert found.startswith(said)


def test_a_link_leads_to_the_translation_where_there_is_one(page: Path) -> None:
    page.with_name("call.ko.md").write_text("# 당직\n")
    assert findings(page) == [("권한", "call.md leads to an English page that is translated", False)]
    page.write_text(page.read_text().replace("(call.md)", "(call.ko.md)"))
    assert findings(page) == []
