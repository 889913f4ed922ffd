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
    ("event", "trigger", "facts", "started"),
    [
        ("pull_request_target", Trigger(), {"action": "opened"}, True),
        ("pull_request_target", Trigger(), {"action": "synchronize"}, True),
        ("pull_request_target", Trigger(), {"action": "closed"}, False),
        ("pull_request_target", Trigger(types=("closed",)), {"action": "closed"}, True),
        ("pull_request_target", Trigger(branches=("release/*",)), {"action": "opened"}, False),
        ("push", Trigger(branches=("main",)), {}, True),
        ("push", Trigger(branches=("main",)), {"branch": "other"}, False),
        ("push", Trigger(branches_ignore=("main",)), {}, False),
        ("push", Trigger(branches=("main",)), {"branch": "", "tag": "v1"}, False),
        ("push", Trigger(), {"branch": "", "tag": "v1"}, True),
        ("push", Trigger(tags=("v*",)), {}, False),
        ("push", Trigger(paths=("promotions/**",)), {}, True),
        ("push", Trigger(paths=("docs/**",)), {}, False),
        ("push", Trigger(paths=("docs/**",)), {"changed_paths": ()}, False),
        ("push", Trigger(paths_ignore=("promotions/**",)), {}, True),
        ("push", Trigger(paths_ignore=("promotions/**", "README.md")), {}, False),
    ],
)
def test_events(event: str, trigger: Trigger, facts: dict[str, object], started: bool) -> None:
    usual = {"action": "", "branch": "main", "tag": "", "changed_paths": ("promotions/dev.yaml", "README.md")}
    assert is_started(event, trigger, **{**usual, **facts}) is started  # type: ignore[arg-type]
