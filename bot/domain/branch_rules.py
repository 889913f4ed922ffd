"""Which rules of GitHub's rulesets keep the bot from pushing its branches.

https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/available-rules-for-rulesets
names each rule; the REST API gives them by ``type``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

BLOCKING = {
    "creation": "nobody may create it",
    "update": "nobody may push to it",
    "non_fast_forward": "the bot rewrites it, and nobody may force-push to it",
    "pull_request": "it changes by pull requests only",
    "required_status_checks": "a commit needs checks before it may be pushed",
    "required_deployments": "a commit needs deployments before it may be pushed",
    "merge_queue": "it changes by a merge queue only",
}
"""What holds for every push, by the rule's type."""


class Rule(Protocol):
    """A rule that holds for a branch, and that the bot may not bypass."""

    @property
    def type(self) -> str:
        """GitHub's name of the rule."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The rules that are set for it."""


def hindrances(
    rules: Sequence[Rule], *, branch: str, title: str, author: str, committer: str, signed: bool
) -> list[str]:
    """Return why pushes of the bot to ``branch`` will be refused, one sentence for each rule; empty where they go.

    ``author`` and ``committer`` are the addresses in its commits; ``signed`` says whether GitHub makes them.
    """
    found = []
    for rule in rules:
        why = BLOCKING.get(rule.type, "")
        if rule.type == "required_signatures" and not signed:
            why = "its commits must be signed, and github.sign_commits is false"
        pattern = {
            "branch_name_pattern": branch,
            "commit_message_pattern": title,
            "commit_author_email_pattern": author,
            "committer_email_pattern": committer,
        }.get(rule.type)
        if pattern is not None and not _matches(rule.parameters, pattern):
            named, wanted = rule.parameters.get("operator"), rule.parameters.get("pattern")
            negated = "not " if rule.parameters.get("negate") else ""
            why = f"{pattern!r} must {negated}be as {named} {wanted!r} says"
        if why:
            found.append(f"{rule.type}: {why}")
    return found


def _matches(parameters: Mapping[str, Any], text: str) -> bool:
    pattern = str(parameters.get("pattern", ""))
    match parameters.get("operator"):
        case "starts_with":
            found = text.startswith(pattern)
        case "ends_with":
            found = text.endswith(pattern)
        case "contains":
            found = pattern in text
        case "regex":
            try:
                found = re.search(pattern, text) is not None
            except re.error:
                return True  # GitHub's RE2 knows it; whether it matches is not known here
        case _:
            return True
    return found != bool(parameters.get("negate"))
