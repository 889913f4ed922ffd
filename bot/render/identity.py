"""Lines about the bot's identity on GitHub."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

_UNSEEN = "GitHub does not show what it may do: try it"
_STARTS_NOTHING = (
    "GitHub starts no workflows for what it does, so pull requests that it opens have no checks: "
    "give the bot a GitHub App (github.app in the environment file)"
)


def access(login: str, kind: str, repository: str, permissions: Mapping[str, str] | None) -> str:
    """Who the bot is, with what, and what it may do there as far as that can be seen."""
    may = ", ".join(f"{name}: {level}" for name, level in sorted(permissions.items())) if permissions else _UNSEEN
    more = f"; {_STARTS_NOTHING}" if kind == "workflow token" else ""
    return f"{login} ({kind}) on {repository}; {may}{more}"


def lacks(login: str, kind: str, repository: str, missing: Sequence[str]) -> str:
    """The bot may do less than it needs."""
    return f"{login} ({kind}) lacks {', '.join(missing)} on {repository}"


def lacks_step(kind: str) -> str:
    """Where the permissions are given."""
    if kind == "GitHub App":
        return "Add them in the App's settings, and accept them where it is installed."
    return "Make a token that has them, for an account that may write to the repository."


def merges(way: str | None, *, queue: bool) -> str:
    """How Slack's Merge merges."""
    return "Slack's Merge joins the merge queue" if queue else f"Slack's Merge merges by {way}"


def requires(types: Collection[str]) -> str:
    """Say what the base's rulesets require of a pull request; empty without one. Classic protection cannot be seen.

    ``types`` are the rules' types.
    """
    if "workflows" in types:
        return "; a ruleset requires workflows by their file"
    if "required_status_checks" in types:
        return "; a ruleset requires checks by their name, which a workflow on a branch can imitate (docs/github.md)"
    return ""


def merges_otherwise(wanted: str | None, base: str, allowed: Sequence[str]) -> str:
    """The settings want a way of merging that the branch does not allow."""
    return f"github.merge_method is {wanted}, and {base} allows {', '.join(allowed) or 'nothing'}"


def merges_otherwise_step() -> str:
    """What to do about it."""
    return "Set github.merge_method to a way that is allowed, or leave it out."


def branch_refuses(branch: str, why: Sequence[str]) -> str:
    """A ruleset refuses what the bot will push."""
    return f"rules refuse pushes of the bot to {branch}: {'; '.join(why)}"


def branch_refuses_step() -> str:
    """What to do about it."""
    return (
        "Exclude `promobot*/**` from that ruleset, or put the bot on its bypass list. For signed commits set "
        "`github.sign_commits: true`, or leave it out."
    )


SIGNED = "; GitHub makes and signs the bot's commits"


def rebase_is_not_signed(base: str) -> str:
    """Merging by rebase makes commits that GitHub does not sign."""
    return f"{base} takes signed commits only, and GitHub cannot sign what it merges by rebase"


def no_checks(number: int) -> str:
    """A pull request for which GitHub starts nothing."""
    return (
        f"#{number} was opened with a workflow's own GITHUB_TOKEN, for which GitHub starts no workflows: its checks "
        "do not run. Close and reopen it by hand and they will; for good, give the bot a GitHub App (github.app in "
        "the environment file)."
    )
