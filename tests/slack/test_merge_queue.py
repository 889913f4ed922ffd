"""What the button Merge says where the repository has a merge queue."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot.operations.merge import Merged, merge
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from bot.slack import blocks, doing


@pytest.mark.parametrize(
    ("commit", "said", "told"), [("1" * 40, "You merged", "merged #7"), (None, "into the merge queue", "put #7")]
)
def test_merge_says_whether_it_merged_or_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, commit: str | None, said: str, told: str
) -> None:
    store = RecordStore(tmp_path)
    store.begin()
    head = "a" * 40
    pull = SimpleNamespace(number=7, url="https://github.example/7", title="T", head=head, state="open", merged=False)
    asked_for: list[dict[str, Any]] = []
    kept: list[Any] = []

    def merges(number: int, **more: Any) -> str | None:
        asked_for.append({"number": number, **more})
        if commit:
            pull.state, pull.merged = "closed", True
        return commit

    github = SimpleNamespace(pull_request=lambda _: pull, merge=merges)
    platform = SimpleNamespace(ledger=Ledger(store, "dev"), github=github)
    monkeypatch.setattr(doing, "is_green_at", lambda *_: True)
    service: Any = SimpleNamespace(
        _platform=lambda _: platform,
        _see_what_it_changes=lambda *_: [],
        _others_proposal=lambda *_: (platform, pull),
        _tell_all=lambda *given: kept.append(given),
    )
    asked: Any = SimpleNamespace(id="1", user="U0SAM", user_name="sam", name=blocks.MERGE)

    for _ in range(2):  # the second time it is done already, and says the same
        answer = doing._Work._merge(service, asked, doing._Shown("dev", 7, head, "churn", "2"))
        assert said in answer.text and told in kept.pop()[3]
    assert asked_for == [{"number": 7, "head": head, "title": "T (#7)"}]

    pull.state, pull.merged = "closed", True
    answer = doing._Work._merge(service, asked, doing._Shown("dev", 7, head, "churn", "2"))
    assert said in answer.text and "merged #7" in kept.pop()[3]
    asked.id = "2"
    with pytest.raises(doing._No, match="merged"):
        doing._Work._merge(service, asked, doing._Shown("dev", 7, head, "churn", "2"))


def test_what_is_merged_is_not_merged_again() -> None:
    pull = SimpleNamespace(url="https://github.example/7", title="T", merged=True)
    platform: Any = SimpleNamespace(github=SimpleNamespace(pull_request=lambda _: pull))
    assert merge(platform, number=7, head="a" * 40) == Merged(7, pull.url)
