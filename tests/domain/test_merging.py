"""How a pull request is merged, and what a refusal to merge leads to."""

from __future__ import annotations

import pytest

from bot.domain.merging import METHODS, Method, method, step


@pytest.mark.parametrize(
    ("wanted", "allowed", "taken"),
    [
        (None, METHODS, "squash"),
        (None, ("merge", "rebase"), "merge"),
        (None, ("rebase",), "rebase"),
        (None, (), None),
        ("rebase", METHODS, "rebase"),
        ("squash", ("merge", "rebase"), None),
    ],
)
def test_the_method_is_what_is_wanted_else_what_is_allowed(
    wanted: Method | None, allowed: tuple[str, ...], taken: Method | None
) -> None:
    assert method(wanted, allowed=allowed) == taken


@pytest.mark.parametrize(
    ("status", "said", "leads_to"),
    [
        (409, "Head branch was modified. Review and try the merge again.", "look at the new commit"),
        (409, "Head branch is out of date. Review and try the merge again.", "Update branch"),
        (405, "Pull Request is still a draft", "Ready for review"),
        (405, "Squash merges are not allowed on this repository.", "github.merge_method"),
        (405, "Pull Request is not mergeable", "propose the version again"),
        (405, "Merge conflict", "propose the version again"),
        (405, 'Required status check "Verdict" is expected.', "what its rules still want"),
    ],
)
def test_the_advice_leads_somewhere(status: int, said: str, leads_to: str) -> None:
    assert leads_to in step(status, said)
