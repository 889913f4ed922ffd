"""GitHub's auto-merge, as the bot asks for it: at one commit, by the branch's rules, and taken back."""

from __future__ import annotations

from typing import Any

import pytest

from bot.errors import Rejected
from bot.sandbox.forge.errors import ApiError
from bot.systems import github as adapter
from bot.systems.github import GitHubRepository
from tests.sandbox.forge.conftest import Clone, Server
from tests.sandbox.forge.test_auto_merge import allow
from tests.sandbox.forge.test_merge_queue import turn_on
from tests.sandbox.forge.test_protection import NOTHING, VERDICT, protect
from tests.systems.test_merging import configured, proposal


def green(server: Server, head: str, name: str = "Verdict", conclusion: str = "success") -> None:
    with server.api("bot") as api:
        check = {"name": name, "head_sha": head, "conclusion": conclusion}
        api.post("/check-runs", json=check).raise_for_status()


@pytest.fixture
def github(server: Server) -> GitHubRepository:
    """The bot, where auto-merge is allowed and Verdict is required."""
    allow(server)
    protect(server, **VERDICT)
    return configured(server)


def test_it_is_switched_on_at_the_commit_and_github_merges_it(
    server: Server, clone: Clone, github: GitHubRepository
) -> None:
    number, head = proposal(github, clone, "a")
    assert github.merge_when_allowed(number, head=head, title="Promote (#1)") == "on"
    assert github.pull_request(number).auto_merge_by == "promobot[bot]"
    [listed] = github.list_open(prefix="a").pulls
    assert (listed.auto_merge_by, listed.is_draft) == ("promobot[bot]", False)
    green(server, head)
    assert github.pull_request(number).merged
    assert server.forge.git.commit(server.forge.git.branch("main") or "").title == "Promote (#1)"


def test_where_nothing_is_left_to_wait_for_it_is_merged_now_but_not_past_a_red_check(
    server: Server, clone: Clone, github: GitHubRepository
) -> None:
    number, head = proposal(github, clone, "a")
    green(server, head)
    green(server, head, "lint", "failure")
    assert github.merge_when_allowed(number, head=head, title="T") == "unstable"
    assert not github.pull_request(number).merged
    green(server, head, "lint")
    assert github.merge_when_allowed(number, head=head, title="T") == "merged"
    assert github.merge_when_allowed(number, head=head, title="T") == "merged", "somebody was faster"


def test_another_commit_than_the_one_that_was_looked_at_is_not_merged(
    server: Server, clone: Clone, github: GitHubRepository
) -> None:
    number, head = proposal(github, clone, "a")
    for _ in ("auto-merge", "a merge"):
        with pytest.raises(Rejected, match="Head branch was modified"):
            github.merge_when_allowed(number, head="0" * 40, title="T")
        green(server, head)
    clone.git("checkout", "--quiet", "a")
    clone.commit("Later", {"later.txt": "1"})
    clone.git("push", "--quiet", "origin", "a")
    with pytest.raises(Rejected, match="Head branch was modified"):
        github.merge_when_allowed(number, head=head, title="T")
    assert not github.pull_request(number).merged


def test_what_the_repository_does_not_allow_is_said_in_githubs_words(server: Server, clone: Clone) -> None:
    protect(server, **VERDICT)
    github = configured(server)
    number, head = proposal(github, clone, "a")
    assert github.allows_auto_merge() is False
    with pytest.raises(Rejected, match="Auto merge is not allowed for this repository"):
        github.merge_when_allowed(number, head=head, title="T")
    allow(server)
    assert github.allows_auto_merge() is True


def test_one_that_is_on_already_stays_so(
    server: Server, clone: Clone, github: GitHubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, head = proposal(github, clone, "a")
    github.merge_when_allowed(number, head=head, title="T")

    def refused(*_: Any, **__: Any) -> int:
        raise ApiError(422, "Pull request Auto merge is already enabled")

    monkeypatch.setattr(server.forge, "set_auto_merge", refused)
    assert github.merge_when_allowed(number, head=head, title="T") == "on"


def test_it_is_switched_off_unless_it_is_merged_already(
    server: Server, clone: Clone, github: GitHubRepository
) -> None:
    number, head = proposal(github, clone, "a")
    github.merge_when_allowed(number, head=head, title="T")
    assert [github.stop_merging(number) for _ in range(2)] == [True, True], "also where it is off"
    green(server, head)
    pull = github.pull_request(number)
    assert (pull.merged, pull.auto_merge_by) == (False, "")
    assert github.merge_when_allowed(number, head=head, title="T") == "merged"
    assert github.stop_merging(number) is False


def test_where_there_is_a_queue_it_joins_that(server: Server, clone: Clone, github: GitHubRepository) -> None:
    number, head = proposal(github, clone, "a")
    green(server, head)
    assert turn_on(server).status_code == 201
    assert github.merge_when_allowed(number, head=head, title="T") == "queued"
    assert [entry.number for entry in server.forge.store.queued()] == [number]


def test_the_required_checks_are_those_of_protection_and_of_rulesets(
    server: Server, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    github = configured(server)
    assert github.required_checks() == frozenset()
    protect(server, **VERDICT)
    assert github.required_checks() == {"Verdict"}
    protect(server, **NOTHING)
    rules = [
        {
            "type": "required_status_checks",
            "parameters": {"required_status_checks": [{"context": "Promobot / Verdict"}]},
        },
        {"type": "deletion"},
    ]
    monkeypatch.setattr(GitHubRepository, "_rules_of", lambda *_: rules)
    assert github.required_checks() == {"Promobot / Verdict"}


def test_a_list_that_did_not_change_is_not_sent_again(server: Server, clone: Clone, github: GitHubRepository) -> None:
    number, _ = proposal(github, clone, "promobot/dev/a")
    proposal(github, clone, "other")
    first = github.list_open(prefix="promobot")
    assert [pull.number for pull in first.pulls] == [number]
    before = len(server.exchanges)
    assert github.list_open(prefix="promobot", known=first) is first
    assert [one.status for one in server.exchanges[before:]] == [304]
    github.close(number)
    assert github.list_open(prefix="promobot", known=first).pulls == ()


def test_of_more_than_a_page_all_are_listed_and_asked_for_anew(
    server: Server, clone: Clone, github: GitHubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_LISTED_AT_ONCE", 2)
    numbers = [proposal(github, clone, f"promobot/dev/{name}")[0] for name in ("a", "b", "c")]
    found = github.list_open(prefix="promobot")
    assert sorted(pull.number for pull in found.pulls) == numbers and found.tag == ""
    assert github.list_open(prefix="promobot", known=found) == found
