"""A warning about pull requests that the bot opens with a workflow's own token."""

from __future__ import annotations


def no_checks(number: int) -> str:
    """A pull request for which GitHub starts nothing."""
    return (
        f"#{number} was opened with a workflow's own GITHUB_TOKEN, for which GitHub starts no workflows: its checks "
        "do not run. Close and reopen it by hand and they will; for good, give the bot a GitHub App (github.app in "
        "the environment file)."
    )
