"""What a push says that a rule of GitHub's refuses: the rule's own words, from their beginning, and what to do."""

from __future__ import annotations

import pytest

from bot.errors import Rejected
from bot.systems.git import Repository
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server

UNSIGNED = """error: GH013: Repository rule violations found for refs/heads/promobot/dev/churn.
Review all repository rules at https://github.example/acme/models/rules?ref=refs%2Fheads%2Fpromobot%2Fdev%2Fchurn

- Commits must have verified signatures.
  Found 1 violation:

  0123456789012345678901234567890123456789

  See https://docs.github.example/authentication/managing-commit-signature-verification for how commits are signed,
  and https://docs.github.example/repositories/configuring-branches-and-merges-in-your-repository for the rulesets.
"""


@pytest.mark.parametrize(
    ("said", "begins", "leads_to"),
    [
        (
            UNSIGNED,
            "GH013: Repository rule violations found for refs/heads/promobot/dev/churn.",
            "github.sign_commits: true",
        ),
        pytest.param(
            "error: GH013: Repository rule violations found\n- Branch name must match",
            "GH013: Repository",
            "exclude",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "error: GH006: Protected branch update failed for refs/heads/x.",
            "GH006: Protected",
            "let it cover main",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_rules_own_words_are_kept_from_their_beginning(
    server: Server, clone: Clone, said: str, begins: str, leads_to: str
) -> None:
    hook = server.forge.git.folder / "hooks" / "update"
    hook.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    with Repository(f"{server.url}/{REPOSITORY}.git", token="bot-token") as repository:
        commit = repository.commit(repository.head(), {"a": "1"}, message="T\n", author="a", email="a@b.example")
        with pytest.raises(Rejected) as failure:
            repository.push(commit, "promobot/dev/churn", expected=None)
    assert f"could not push promobot/dev/churn: error: {begins}" in str(failure.value)
    assert "verified signatures" in str(failure.value) or said is not UNSIGNED
    assert leads_to in failure.value.next_step
