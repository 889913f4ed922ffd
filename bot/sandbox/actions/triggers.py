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


def is_started(trigger: Trigger, *, action: str, branch: str, tag: str, changed_paths: tuple[str, ...]) -> bool:
    """Whether an event with these facts passes the trigger's filters.

    ``action`` is the payload's (``opened``), ``branch`` the pushed branch or the pull request's base, ``tag``
    the pushed tag (one of the two is empty), ``changed_paths`` the paths that the change touches.
    """
    types = trigger.types or DEFAULT_TYPES.get(trigger.event, ())
    if types and action not in types:
        return False
    if not _ref_passes(trigger, branch=branch, tag=tag):
        return False
    if tag or not changed_paths:
        # GitHub does not look at paths for tags; a change of nothing fits no path filter.
        return bool(tag) or not trigger.paths
    if trigger.paths:
        return any(matches(trigger.paths, path) for path in changed_paths)
    if trigger.paths_ignore:
        return not all(matches(trigger.paths_ignore, path) for path in changed_paths)
    return True


def _ref_passes(trigger: Trigger, *, branch: str, tag: str) -> bool:
    by_branch = trigger.branches or trigger.branches_ignore
    by_tag = trigger.tags or trigger.tags_ignore
    if branch:
        if trigger.branches:
            return matches(trigger.branches, branch)
        if trigger.branches_ignore:
            return not matches(trigger.branches_ignore, branch)
        return not by_tag
    if tag:
        if trigger.tags:
            return matches(trigger.tags, tag)
        if trigger.tags_ignore:
            return not matches(trigger.tags_ignore, tag)
        return not by_branch
    return True


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether the last pattern that fits ``name`` is a positive one (``!`` negates)."""
    result = False
    for pattern in patterns:
        if pattern.startswith("!"):
            result = result and not _regex(pattern[1:]).fullmatch(name)
        else:
            result = result or bool(_regex(pattern).fullmatch(name))
    return result


def _regex(pattern: str) -> re.Pattern[str]:
    """GitHub's patterns: ``*`` within a path part, ``**`` across, ``?``, ``+`` and ``[…]`` as in regexes."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
            continue
        if pattern.startswith("**", at):
            parts.append(".*")
            at += 2
            continue
        if character == "*":
            parts.append("[^/]*")
        elif character in "?+":
            parts.append(character)
        elif character == "[" and "]" in pattern[at:]:
            end = pattern.index("]", at)
            parts.append(pattern[at : end + 1])
            at = end
        elif character == "\\" and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        else:
            parts.append(re.escape(character))
        at += 1
    return re.compile("".join(parts))
