"""What the button Merge says where the repository has a merge queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bot.slack import blocks, doing


@pytest.mark.parametrize(
    ("commit", "said", "told"), [("1" * 40, "You merged", "merged #7"), (None, "into the merge queue", "put #7")]
)
def test_merge_says_whether_it_merged_or_waits(
    monkeypatch: pytest.MonkeyPatch, commit: str | None, said: str, told: str
) -> None:
    head = "a" * 40
    pull = SimpleNamespace(number=7, url="https://github.example/7", title="T", head=head, state="open")
    kept: list[Any] = []
    monkeypatch.setattr(doing.connect, "ledger", lambda _: SimpleNamespace(all_evidence=list))
    monkeypatch.setattr(doing.connect, "github", lambda _: SimpleNamespace(merge=lambda *_, **__: commit))
    monkeypatch.setattr(doing, "is_green_at", lambda *_: True)
    monkeypatch.setattr(doing, "begin", lambda *_: None)
    monkeypatch.setattr(doing, "finish", lambda *given: kept.append(given))
    service: Any = SimpleNamespace(
        _see_what_it_changes=lambda *_: None,
        _others_proposal=lambda *_: (None, pull),
        _tell_all=lambda *given: kept.append(given),
    )
    asked: Any = SimpleNamespace(id="1", user="U0SAM", name=blocks.MERGE)

    answer = doing.Doing._merge(service, asked, doing._Shown("dev", 7, head, "churn", "2"))

    assert said in answer.text and said in kept[0][2] and told in kept[1][3]
