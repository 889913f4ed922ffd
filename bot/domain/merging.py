"""How a pull request is merged: what the settings want, what the repository allows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

Method = Literal["squash", "merge", "rebase"]
METHODS: tuple[Method, ...] = get_args(Method)
"""In the order in which they are taken where the settings name none."""


def method(wanted: Method | None, *, allowed: Collection[str]) -> Method | None:
    """Return the way to merge: the one that is wanted, else the first that is allowed; None where it may not be."""
    if wanted is not None:
        return wanted if wanted in allowed else None
    return next((one for one in METHODS if one in allowed), None)


def step(status: int, said: str) -> str:
    """Return what to do about GitHub's refusal to merge, by its status and its words."""
    words = said.lower()
    if "head branch was modified" in words:
        return "It moved on after it was looked at: look at the new commit, and merge that."
    if "out of date" in words:
        return "Press *Update branch* on the pull request, wait for its checks, and merge the new commit."
    if "draft" in words:
        return "Press *Ready for review* on the pull request, then merge it."
    if "not allowed on this repository" in words:
        return "Set github.merge_method to a way that the repository allows, or leave it out."
    if (status == 405 and "not mergeable" in words) or "conflict" in words:
        return "It is closed, or conflicts with its base: propose the version again, which makes its branch anew."
    return "See on the pull request what its rules still want."
