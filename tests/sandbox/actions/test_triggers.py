"""GitHub's filters of events, by the examples of its documentation."""

from __future__ import annotations

import pytest

from bot.sandbox.actions.triggers import is_started, matches
from bot.sandbox.actions.workflows import Trigger


@pytest.mark.parametrize(
    ("pattern", "fitting", "not_fitting"),
    [
        ("main", ["main"], ["main2", "x/main"]),
        ("*", ["main", "releases"], ["all/the/branches"]),
        ("**", ["all/the/branches", "main"], []),
        ("feature/*", ["feature/a"], ["feature/a/b", "feature"]),
        ("**/docs/**", ["docs/hello.md", "dir/docs/my-file.txt"], ["docs.md"]),
        ("promotions/**", ["promotions/dev.yaml", "promotions/a/b"], ["manifests/x", "promotions"]),
        ("*.jsx?", ["page.js", "page.jsx"], ["page.jsxx"]),
        ("v[12].[0-9]+", ["v1.0", "v2.14"], ["v3.0"]),
        ("**.js", ["index.js", "src/js/app.js"], ["index.jsx"]),
    ],
)
def test_patterns(pattern: str, fitting: list[str], not_fitting: list[str]) -> None:
    assert [name for name in fitting if not matches([pattern], name)] == []
    assert [name for name in not_fitting if matches([pattern], name)] == []


def test_a_later_negation_takes_away_and_a_later_pattern_gives_back() -> None:
    patterns = ["sub/**", "!sub/docs/**", "sub/docs/kept.md"]
    assert matches(patterns, "sub/a.py")
    assert not matches(patterns, "sub/docs/a.md")
    assert matches(patterns, "sub/docs/kept.md")


@pytest.mark.parametrize(
    ("trigger", "facts", "started"),
    [
        (Trigger("pull_request_target"), {"action": "opened"}, True),
        (Trigger("pull_request_target"), {"action": "synchronize"}, True),
        (Trigger("pull_request_target"), {"action": "closed"}, False),
        (Trigger("pull_request_target", types=("closed",)), {"action": "closed"}, True),
        (Trigger("pull_request_target", branches=("release/*",)), {"action": "opened"}, False),
        (Trigger("push", branches=("main",)), {}, True),
        (Trigger("push", branches=("main",)), {"branch": "other"}, False),
        (Trigger("push", branches_ignore=("main",)), {}, False),
        (Trigger("push", branches=("main",)), {"branch": "", "tag": "v1"}, False),
        (Trigger("push"), {"branch": "", "tag": "v1"}, True),
        (Trigger("push", tags=("v*",)), {}, False),
        (Trigger("push", paths=("promotions/**",)), {}, True),
        (Trigger("push", paths=("docs/**",)), {}, False),
        (Trigger("push", paths=("docs/**",)), {"changed_paths": ()}, False),
        (Trigger("push", paths_ignore=("promotions/**",)), {}, True),
        (Trigger("push", paths_ignore=("promotions/**", "README.md")), {}, False),
    ],
)
def test_events(trigger: Trigger, facts: dict[str, object], started: bool) -> None:
    usual = {"action": "", "branch": "main", "tag": "", "changed_paths": ("promotions/dev.yaml", "README.md")}
    assert is_started(trigger, **{**usual, **facts}) is started  # type: ignore[arg-type]
