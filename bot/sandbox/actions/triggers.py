"""Does this event start that workflow? GitHub's filters, which act does not look at."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bot.sandbox.actions.workflows import Trigger

DEFAULT_TYPES = {
    "pull_request": ("opened", "synchronize", "reopened"),
    "pull_request_target": ("opened", "synchronize", "reopened"),
    "merge_group": ("checks_requested",),
}


def is_started(
    event: str, trigger: Trigger, *, action: str, branch: str, tag: str, changed_paths: tuple[str, ...]
) -> bool:
    """Whether an event with these facts passes the trigger's filters.

    ``action`` is the payload's (``opened``), ``branch`` the pushed branch or the pull request's base, ``tag``
    the pushed tag (one of the two is empty), ``changed_paths`` the paths that the change touches.
    """
    types = trigger.types or DEFAULT_TYPES.get(event, ())
    of_branches, of_tags = (trigger.branches, trigger.branches_ignore), (trigger.tags, trigger.tags_ignore)
    if types and action not in types:
        return False
    if branch and not _passes(branch, *of_branches, otherwise=not any(of_tags)):
        return False
    if tag and not _passes(tag, *of_tags, otherwise=not any(of_branches)):
        return False
    if tag or not changed_paths:
        # GitHub does not look at paths for tags; a change of nothing fits no path filter.
        return bool(tag) or not trigger.paths
    return any(_passes(path, trigger.paths, trigger.paths_ignore, otherwise=True) for path in changed_paths)


def _passes(name: str, wanted: tuple[str, ...], ignored: tuple[str, ...], *, otherwise: bool) -> bool:
    if wanted:
        return matches(wanted, name)
    return not matches(ignored, name) if ignored else otherwise


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether the last pattern that fits ``name`` is a positive one (``!`` negates)."""
    result = False
    for pattern in patterns:
        if _regex(pattern.removeprefix("!")).fullmatch(name):
            result = not pattern.startswith("!")
    return result


_TOKEN = re.compile(r"\*\*/|\*\*|\[[^\]]*\]|\\.|.", re.DOTALL)
_MEANS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}


def _regex(pattern: str) -> re.Pattern[str]:
    """GitHub's patterns: ``*`` within a path part, ``**`` across, ``?``, ``+`` and ``[…]`` as in regexes."""
    tokens = _TOKEN.findall(pattern)
    return re.compile(
        "".join(
            _MEANS.get(one) or (one if one.startswith("[") and one != "[" else re.escape(one[-1])) for one in tokens
        )
    )
