"""The GitHub adapter, against the sandbox's forge, and against a stand-in for what a forge does not do on request."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from bot.errors import Rejected, Unavailable
from bot.sandbox.forge.store import Protection
from bot.settings import GitHub
from bot.systems.github import GitHubRepository
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server
from tests.stand_ins.server import Seen, StandIn, answer
from tests.systems.conftest import Clock

TOKEN = "ghp_canary4711"


def opened(server_url: str, token: str, *, api: str = "/api/v3", request_seconds: float = 10) -> GitHubRepository:
    settings = GitHub(
        repository=REPOSITORY, server_url=server_url, api_url=f"{server_url}{api}", token_env="BOT_GITHUB_TOKEN"
    )
    return GitHubRepository(settings, token=token, request_seconds=request_seconds)


@pytest.fixture(scope="module")
def github(forge: Server) -> GitHubRepository:
    return opened(forge.url, "bot-token")


@pytest.fixture
def broken(stand_in: StandIn) -> GitHubRepository:
    """GitHub as the stand-in plays it."""
    return opened(stand_in.url, TOKEN, api="", request_seconds=2)


def test_who_am_i(forge: Server, person: Clone, github: GitHubRepository) -> None:
    assert github.login() == "promobot[bot]"


def test_open_find_update(person: Clone, github: GitHubRepository) -> None:
    head = person.branch("open/one", {"one.txt": "1\n"})

    made = github.open_pull_request(branch="open/one", title="Title 🚀", body="First\n\nline")

    assert (made.title, made.body, made.state, made.merged) == ("Title 🚀", "First\n\nline", "open", False)
    assert (made.branch, made.head, made.author) == ("open/one", head, "promobot[bot]")
    assert made.url.endswith(f"/{REPOSITORY}/pull/{made.number}")
    assert github.pull_request(made.number) == made
    assert github.open_pull_requests(prefix="open/") == [made]
    assert github.open_pull_requests(prefix="other/") == []

    updated = github.update_pull_request(made.number, title="Other", body="")
    assert (updated.number, updated.title, updated.body) == (made.number, "Other", "")
    assert github.pull_request(made.number) == updated


def test_all_pages_of_open_pull_requests_are_read(
    forge: Server, person: Clone, github: GitHubRepository, stand_in: StandIn
) -> None:
    person.branch("pages", {"pages.txt": "1\n"})
    number = github.open_pull_request(branch="pages", title="Pages", body="").number
    with forge.api() as api:
        listed = api.get(f"/pulls/{number}").json()

    def behave(seen: Seen) -> bytes:
        asked = re.search(r"[?&]page=(\d+)", seen.path)
        page = int(asked[1]) if asked else 1
        pulls = [{**listed, "number": 1000 * page + index} for index in range(100)]
        following = f'<{stand_in.url}/repos/{REPOSITORY}/pulls?state=open&page={page + 1}>; rel="next"'
        return answer(200, pulls, headers={"Link": following} if page < 3 else {})

    stand_in.behaviour = behave
    found = opened(stand_in.url, TOKEN, api="").open_pull_requests(prefix="pages")
    assert [pull.number for pull in found] == [1000 * page + index for page in (1, 2, 3) for index in range(100)]


def test_a_second_pull_request_from_a_branch_is_rejected_in_githubs_words(
    person: Clone, github: GitHubRepository
) -> None:
    person.branch("twice", {"twice.txt": "1\n"})
    github.open_pull_request(branch="twice", title="First", body="")
    with pytest.raises(Rejected, match=r"HTTP 422 .*A pull request already exists"):
        github.open_pull_request(branch="twice", title="Second", body="")


def test_a_merge_takes_exactly_the_head_that_was_looked_at(person: Clone, github: GitHubRepository) -> None:
    seen = person.branch("merge", {"merge.txt": "1\n"})
    number = github.open_pull_request(branch="merge", title="Merge me", body="").number
    person.git("checkout", "--quiet", "merge")
    pushed_later = person.commit("One more", {"merge.txt": "2\n"})
    person.git("push", "--quiet", "origin", "merge")
    person.git("checkout", "--quiet", "main")

    with pytest.raises(Rejected, match="HTTP 409 Head branch was modified") as failure:
        github.merge(number, head=seen, title="Merge me")
    assert (failure.value.state, "look at the new commit" in failure.value.next_step) == ("Nothing was merged.", True)
    assert not github.pull_request(number).merged

    commit = github.merge(number, head=pushed_later, title=f"Merged (#{number})")
    merged = github.pull_request(number)
    assert (merged.merged, merged.state, merged.head) == (True, "closed", pushed_later)
    person.git("pull", "--quiet", "origin", "main")
    assert person.git("log", "-1", "--format=%H %s") == f"{commit} Merged (#{number})"
    assert number not in [pull.number for pull in github.open_pull_requests(prefix="")]

    with pytest.raises(Rejected, match="HTTP 405"):
        github.merge(number, head=pushed_later, title="Again")


def test_a_merge_obeys_the_rules_of_the_branch(forge: Server, person: Clone, github: GitHubRepository) -> None:
    head = person.branch("rules", {"rules.txt": "1\n"})
    number = github.open_pull_request(branch="rules", title="Rules", body="").number
    forge.forge.store.put(Protection(branch="main", checks=("Verdict",)))
    try:
        with pytest.raises(Rejected, match='HTTP 405 Required status check "Verdict" is expected') as failure:
            github.merge(number, head=head, title="Merge me")
        assert "what its rules still want" in failure.value.next_step
        assert not github.pull_request(number).merged
    finally:
        forge.forge.store.drop_protection("main")


def test_the_one_comment_is_updated_and_others_are_left_alone(
    forge: Server, person: Clone, github: GitHubRepository
) -> None:
    person.branch("comments", {"comments.txt": "1\n"})
    number = github.open_pull_request(branch="comments", title="Comments", body="").number
    said = github.comment(number, "plain")
    for index in range(101):  # so that ours lies on the second page
        forge.forge.add_comment(number, body=f"chat {index} <!-- marker -->", by=forge.forge.people.named("alex"))

    first = github.put_comment(number, "<!-- marker -->\nred", marker="<!-- marker -->")
    second = github.put_comment(number, "<!-- marker -->\ngreen", marker="<!-- marker -->")
    third = github.put_comment(number, "<!-- marker -->\ngreen", marker="<!-- marker -->")
    other = github.put_comment(number, "<!-- other -->", marker="<!-- other -->")

    bodies = [comment.body for comment in forge.forge.store.comments(number)]
    assert first == second == third and len({said, first, other}) == 3
    assert first.startswith(f"{forge.page}/pull/{number}#")
    assert bodies[0] == "plain" and bodies[102:] == ["<!-- marker -->\ngreen", "<!-- other -->"]
    assert all(body.startswith("chat") for body in bodies[1:102])


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_wrong_token_and_one_that_may_only_read(forge: Server, person: Clone) -> None:
    with pytest.raises(Rejected, match="HTTP 401 Bad credentials") as failure:
        opened(forge.url, TOKEN).login()
    assert "BOT_GITHUB_TOKEN is not valid" in failure.value.next_step
    assert TOKEN not in repr(failure.value) + repr(failure.value.__cause__) + failure.value.next_step

    person.branch("reader", {"reader.txt": "1\n"})
    with pytest.raises(Rejected, match="HTTP 403 Resource not accessible") as failure:
        opened(forge.url, "reader-token").open_pull_request(branch="reader", title="T", body="")
    assert "may not do this" in failure.value.next_step and "promobot doctor" in failure.value.next_step


def test_actions_that_may_not_open_pull_requests_are_told_where_to_switch_it_on(
    stand_in: StandIn, broken: GitHubRepository
) -> None:
    said = "GitHub Actions is not permitted to create or approve pull requests."
    stand_in.answers(403, {"message": said}, headers={"Content-Type": "application/json"})
    with pytest.raises(Rejected, match=said) as refused:
        broken.open_pull_request(branch="promobot/dev/churn", title="T", body="")
    assert "Settings → Actions → General" in refused.value.next_step and "GitHub App" in refused.value.next_step


def test_what_is_not_there(forge: Server, github: GitHubRepository) -> None:
    with pytest.raises(Rejected, match="read pull request #4711: HTTP 404 Not Found") as failure:
        github.pull_request(4711)
    assert "github.repository" in failure.value.next_step


def test_a_server_that_is_down_is_unavailable(closed_port: int) -> None:
    with pytest.raises(Unavailable, match="ask who I am"):
        opened(f"http://127.0.0.1:{closed_port}", TOKEN).login()


def test_a_server_that_hangs_is_unavailable_in_time(stand_in: StandIn, broken: GitHubRepository) -> None:
    with pytest.raises(Unavailable) as failure:
        broken.login()
    assert not stand_in.outwaited, "it gave up first"
    assert TOKEN not in str(failure.value)


@pytest.mark.parametrize("status", [500, 503])
def test_a_fault_is_tried_again_and_then_unavailable(
    stand_in: StandIn, broken: GitHubRepository, status: int
) -> None:
    stand_in.answers(status, b"<html>Unicorn!</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(Unavailable, match=f"HTTP {status}") as failure:
        broken.login()
    assert len(stand_in.seen) == 3
    assert failure.value.retry_after_seconds is None


def test_a_fault_that_passes_is_not_seen(stand_in: StandIn, broken: GitHubRepository) -> None:
    faults = iter([answer(502), answer(503)])
    stand_in.behaviour = lambda _: next(faults, answer(200, {"data": {"viewer": {"login": "promobot[bot]"}}}))
    assert broken.login() == "promobot[bot]"


@pytest.mark.parametrize("status", [403, 429, 503])
def test_who_asks_us_to_wait_gets_no_second_question_before(
    stand_in: StandIn, broken: GitHubRepository, status: int, clock: Clock
) -> None:
    message = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
    stand_in.answers(status, message, headers={"Retry-After": "3600"})
    with pytest.raises(Unavailable, match="secondary rate limit") as failure:
        broken.login()
    assert clock.pauses == [] and len(stand_in.seen) == 1, "it is for the caller to wait so long, or not to"
    assert failure.value.retry_after_seconds == 3600


def test_the_primary_rate_limit_is_unavailable_at_once(
    stand_in: StandIn, broken: GitHubRepository, clock: Clock
) -> None:
    message = {"message": "API rate limit exceeded for user ID 1."}
    stand_in.answers(403, message, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000000000"})
    with pytest.raises(Unavailable, match="API rate limit exceeded") as failure:
        broken.login()
    assert clock.pauses == [] and len(stand_in.seen) == 1
    assert failure.value.retry_after_seconds is not None and failure.value.retry_after_seconds > 1e9


def test_a_write_whose_answer_was_lost_is_not_made_twice(stand_in: StandIn, broken: GitHubRepository) -> None:
    def behave(seen: Seen) -> bytes:
        return (
            answer(200, {"number": 1, "url": f"{stand_in.url}/repos/{REPOSITORY}/issues/1"})
            if (seen.method == "GET")
            else answer(502)
        )

    stand_in.behaviour = behave
    with pytest.raises(Unavailable):
        broken.comment(1, "once")
    assert [seen.method for seen in stand_in.seen].count("POST") == 1


def test_a_pull_request_of_a_fork_is_not_ours_whatever_its_branch_is_called(
    forge: Server, person: Clone, github: GitHubRepository, stand_in: StandIn
) -> None:
    person.branch("promobot/dev/churn", {"fork.txt": "1\n"})
    github.open_pull_request(branch="promobot/dev/churn", title="Ours", body="")
    with forge.api("alex") as api:
        listed: list[dict[str, Any]] = [
            pull for pull in api.get("/pulls").json() if pull["head"]["ref"] == "promobot/dev/churn"
        ]
    ours = listed[0]
    theirs = {
        **ours,
        "number": 4711,
        "head": {**ours["head"], "repo": {**ours["head"]["repo"], "full_name": "mallory/models", "fork": True}},
    }
    of_a_deleted_fork = {**ours, "number": 4712, "head": {**ours["head"], "repo": None}}
    stand_in.answers(200, [theirs, of_a_deleted_fork, ours])

    found = opened(stand_in.url, TOKEN, api="").open_pull_requests(prefix="promobot/dev/churn")

    assert [pull.number for pull in found] == [ours["number"]]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_token_follows_no_redirect_to_another_host(
    broken: GitHubRepository, stand_in: StandIn, status: int
) -> None:
    with StandIn() as other:
        other.answers(200, {})
        # The same machine by another name is another host.
        stand_in.answers(status, headers={"Location": f"http://localhost:{other.port}/repos/acme/models/pulls/1"})
        with pytest.raises(Rejected) if status == 301 else contextlib.suppress(Exception):
            broken.pull_request(1)
        assert stand_in.seen and other.seen == []
