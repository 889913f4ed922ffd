"""Policies on the real parts: what merges by itself, what does not, and what is taken back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from bot.domain import desired
from bot.operations import policies as module
from bot.sandbox.forge.api.apps import AUTO_MERGE, NO_AUTO_MERGE
from bot.sandbox.platform import BOT, OWNER
from bot.systems.github import GitHubRepository
from tests.operations.world import HTTP, PROMOTIONS, Registered, World
from tests.stand_ins.recording import Link

NOTHING = {"required_pull_request_reviews": None, "restrictions": None, "enforce_admins": False}


@pytest.fixture(autouse=True)
def forge(world: World) -> Iterator[None]:
    """The forge as an organisation has it that lets policies merge: Verdict is required, auto-merge allowed."""
    allow(world, auto_merge=True)
    protect(world, "Verdict")
    yield
    world.api("DELETE", "/branches/main/protection")
    allow(world, auto_merge=False)


def allow(world: World, *, auto_merge: bool) -> None:
    world.api("PATCH", "", {"allow_auto_merge": auto_merge})


def protect(world: World, *checks: str, **more: Any) -> None:
    required = {"strict": False, "contexts": list(checks)} if checks else None
    world.api("PUT", "/branches/main/protection", {**NOTHING, "required_status_checks": required, **more})


def as_person(world: World, method: str, path: str, body: Any, *, login: str = BOT) -> Any:
    answer = HTTP.request(
        method,
        f"{world.endpoints.forge}{path}",
        json=body,
        headers={"Authorization": f"Bearer {world.endpoints.secrets.people[login]}"},
    )
    assert answer.is_success, answer.text
    return answer.json()


def report(world: World, head: str, *, name: str = "Verdict", conclusion: str = "success") -> None:
    """Report a check of a commit, as the workflow's job does."""
    where = f"/api/v3/repos/{world.endpoints.repository}/check-runs"
    as_person(world, "POST", where, {"name": name, "head_sha": head, "conclusion": conclusion})


def auto_merge(world: World, query: str, pull: dict[str, Any], *, login: str = OWNER) -> None:
    """Switch it on or off as a person does on GitHub's page."""
    wanted = {"pullRequestId": pull["node_id"], **({"mergeMethod": "SQUASH"} if query == AUTO_MERGE else {})}
    said = as_person(world, "POST", "/api/graphql", {"query": query, "variables": {"input": wanted}}, login=login)
    assert "errors" not in said, said


def rule(world: World, after_clean: int | None = None, **more: Any) -> None:
    """Let pull requests merge by themselves in dev."""
    count = {} if after_clean is None else {"after_clean": after_clean}
    world.configure("dev", merge={"when": "checks pass", **count}, **more)


def proposed(world: World, registered: Registered) -> dict[str, Any]:
    """Have the bot propose a version; return the pull request."""
    said = world.bot("propose", registered.model, registered.version, "--env", "dev")
    assert said.code == 0, said
    return world.pull(said.document["pull_request"])


def checked(world: World, registered: Registered, pull: dict[str, Any]) -> None:
    """Leave the evidence that green checks of the newest commit leave."""
    world.evidence(registered)
    newest = next(world.ledger().evidence_of(registered.release().slot, registered.digest))
    about = {"head": world.pull(pull["number"])["head"]["sha"], "pull_request": pull["number"]}
    world.ledger().add_evidence(newest.model_copy(update={**about, "at": newest.at + timedelta(seconds=1)}))


def ready(world: World, model: str, recipe: str = "better", note: str = "") -> tuple[Registered, dict[str, Any]]:
    """Register and propose a version, with green checks."""
    registered = world.register(model, recipe, note=note)
    pull = proposed(world, registered)
    checked(world, registered, pull)
    return registered, pull


def look(world: World, number: int, **options: Any) -> dict[str, Any]:
    """Look once; return what was decided about a pull request."""
    said = world.bot("watch", "--env", "dev", "--once", **options)
    found = [one for one in said.document["policies"] if one["pull_request"] == number]
    assert len(found) == 1, said
    return {**found[0], "code": said.code}


def said_in(world: World, number: int) -> str:
    """Return the one comment of the policy."""
    (body,) = [body for body in world.comments(number) if "promobot:policy" in body]
    return body


def by_policy(world: World, number: int) -> list[str]:
    return [note.what for note in world.ledger().policy_notes(number)]


def test_what_its_checks_passed_merges_by_itself_and_goes_into_service(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    rule(world)
    second = world.register(model, "better")
    pull = proposed(world, second)
    number = pull["number"]

    world.evidence(second)  # of another commit, as of a proposal before
    early = look(world, number)
    assert (early["state"], early["code"]) == ("held", 0)
    assert early["said"] == "does not merge by itself: its checks are not all there yet"
    assert world.pull(number)["auto_merge"] is None, "nothing is on that could merge what nobody checked"

    checked(world, second, pull)
    due = look(world, number)
    assert (due["state"], due["model"]) == ("due", model)
    assert due["said"] == "merges by itself as soon as GitHub's rules allow it (its checks passed)"
    on = world.pull(number)
    assert on["auto_merge"]["enabled_by"]["login"] == BOT and not on["merged"]
    assert "🤖 **This merges by itself** as soon as the rules of `main` allow it: its checks passed." in (
        said_in(world, number)
    )
    again = look(world, number)
    assert again["state"] == "due" and by_policy(world, number) == ["asking", "on"]

    report(world, pull["head"]["sha"])
    merged = world.pull(number)
    assert merged["merged"] and merged["merged_by"]["login"] == BOT
    assert world.deploy().code == 0 and world.version(model) == 2
    (record,) = world.ledger().with_origins(world.records(model)[-1:])
    origin = record.origin
    assert origin is not None and (origin.pull_request, origin.merged_by, origin.by_policy) == (number, BOT, True)


def test_where_githubs_rules_are_met_already_it_is_merged_at_the_commit_that_was_looked_at(world: World) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    report(world, pull["head"]["sha"])
    done = look(world, pull["number"])
    assert (done["state"], done["said"]) == ("done", "was merged by policy (its checks passed)")
    assert world.pull(pull["number"])["merged"]
    assert by_policy(world, pull["number"]) == ["asking", "merged"]
    assert "its checks passed" in said_in(world, pull["number"])


def test_a_model_merges_by_itself_after_clean_releases_until_one_is_rolled_back(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    rule(world, 2)
    _, pull = ready(world, model)
    few = look(world, pull["number"])
    assert (few["state"], few["said"]) == ("held", f"does not merge by itself: 1 of 2 clean releases of {model}")
    assert "✋ **This does not merge by itself**: 1 of 2 clean releases of" in said_in(world, pull["number"])

    report(world, pull["head"]["sha"])
    world.merge(pull["number"])
    assert world.deploy().code == 0
    _, third = ready(world, model, "best")
    due = look(world, third["number"])
    assert due["state"] == "due" and f"2 clean releases of {model}" in due["said"]

    assert world.bot("rollback", model, "--env", "dev", "--now", "--reason", "too slow").code == 0
    back = world.records(model)[-1]
    off = look(world, third["number"])
    assert off["state"] == "held" and f"taken back at {back.id}: rolled back (too slow)" in off["said"]
    assert world.pull(third["number"])["auto_merge"] is None
    said = said_in(world, third["number"])
    assert "✋ **This no longer merges by itself**: taken back at dev" in said
    assert "rolled back \\(too slow\\); 0 of 2 clean releases of" in said, said
    assert "nothing that a person proposed was verified since" in said
    report(world, third["head"]["sha"])
    assert not world.pull(third["number"])["merged"]


@pytest.mark.slow
def test_the_revert_of_what_was_put_back_merges_by_itself_also_in_a_freeze(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    second = world.served(world.register(model, "better"))
    now = datetime.now(UTC)
    freeze = {"start": now - timedelta(hours=1), "end": now + timedelta(hours=1), "reason": "holidays"}
    times = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in freeze.items()}
    rule(world, 9, freezes=[times])
    _, other = ready(world, model, "best")
    shut = look(world, other["number"])
    assert shut["state"] == "held" and "(holidays)" in shut["said"] and shut["until"] is None, shut

    assert world.bot("rollback", model, "--env", "dev", "--now", "--reason", "wrong").code == 0
    (revert,) = world.reverts(model)
    first = world.records(model)[-1].after
    assert first is not None and second.version == 2
    checked(world, Registered(model, first.version, first.run, first.digest, second.artifacts), revert)
    due = look(world, revert["number"])
    assert (due["state"], due["until"]) == ("due", None)
    assert "users have it already, and main follows" in said_in(world, revert["number"])
    report(world, revert["head"]["sha"])
    assert world.pull(revert["number"])["merged"]
    assert world.deploy().code == 0 and world.version(model) == 1


def push(world: World, pull: dict[str, Any], files: dict[str, str], *, who: str, email: str) -> str:
    """Push a commit to the branch of a pull request, under any name."""
    world.git("fetch", "--quiet", "origin", pull["head"]["ref"])
    world.git("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    for path, text in files.items():
        (world.clone / path).parent.mkdir(parents=True, exist_ok=True)
        (world.clone / path).write_text(text)
    world.git("add", "--all")
    identity = ["-c", f"user.name={who}", "-c", f"user.email={email}"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--message", "More"], cwd=world.clone, check=True)
    world.git("push", "--quiet", "origin", f"HEAD:refs/heads/{pull['head']['ref']}")
    return world.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("a person's commit", marks=pytest.mark.slow),
        pytest.param("another file", marks=pytest.mark.slow),
        "a forged name",
    ],
)
def test_what_somebody_pushed_to_the_branch_is_not_merged_and_what_was_on_is_taken_back(
    world: World, kind: str
) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    assert look(world, pull["number"])["state"] == "due"
    evil = world.register(model, "better")
    path = PROMOTIONS.format("dev")
    world.git("fetch", "--quiet", "origin", pull["head"]["ref"])
    text = world.git("show", f"FETCH_HEAD:{path}") + "\n"
    edited = desired.with_entry(text, file=path, section="models", model=model, entry=evil.entry)
    bots = {"who": "promobot", "email": "promobot@users.noreply.github.com"}
    match kind:
        case "a person's commit":
            push(world, pull, {path: edited}, who="Eve", email="eve@example.com")
            why = "a commit on its branch is not the bot's"
        case "another file":
            push(world, pull, {"bot/cli.py": "evil\n"}, **bots)
            why = "it changes more than its entry: bot/cli.py"
        case _:
            push(world, pull, {path: edited}, **bots)
            why = "no record says that the bot was asked for exactly this"
    checked(world, evil, pull)  # its checks pass: it is a version that answers well
    found = look(world, pull["number"])
    assert found["state"] == "held" and why in found["said"], found
    there = world.pull(pull["number"])
    assert there["auto_merge"] is None
    report(world, there["head"]["sha"])
    assert look(world, pull["number"])["state"] == "held"
    assert not world.pull(pull["number"])["merged"]


@pytest.mark.slow
def test_what_somebody_else_opened_is_not_merged(world: World) -> None:
    model = world.model()
    rule(world)
    registered = world.register(model)
    pull = world.proposed(registered)
    checked(world, registered, pull)
    report(world, pull["head"]["sha"])
    found = look(world, pull["number"])
    assert (found["state"], found["said"]) == ("held", "does not merge by itself: somebody else opened it")
    assert not world.pull(pull["number"])["merged"]


@pytest.mark.slow
def test_what_a_person_switches_off_stays_off_and_what_a_person_switches_on_stays_on(world: World) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    assert look(world, pull["number"])["state"] == "due"
    auto_merge(world, NO_AUTO_MERGE, pull)
    for _ in range(2):
        off = look(world, pull["number"])
        assert (off["state"], off["said"]) == ("held", "does not merge by itself: somebody switched auto-merge off")
    assert world.pull(pull["number"])["auto_merge"] is None

    rule(world, 9)
    auto_merge(world, AUTO_MERGE, pull)
    held = look(world, pull["number"])
    assert held["state"] == "held" and "0 of 9 clean releases" in held["said"]
    assert world.pull(pull["number"])["auto_merge"]["enabled_by"]["login"] == OWNER


@pytest.mark.slow
def test_without_a_rule_nobody_asks_github_but_to_take_back_what_is_on(world: World) -> None:
    model = world.model()
    _, pull = ready(world, model, "first")
    with Link(world.endpoints.forge) as link:
        world.configure("dev", github={"api_url": f"{link.url}/api/v3"})
        with mock.patch.object(module, "ASK_EVERY", timedelta(0)):
            said = world.bot("watch", "--env", "dev", "--once")
        known = world.ledger().pull_requests_of_policies()
        assert (said.code, said.document["policies"]) == (0, [])
        assert known or not link.recorder.exchanges, "where no policy ever asked for anything"
        world.configure("dev", github={"api_url": f"{world.endpoints.forge}/api/v3"})
    rule(world)
    assert look(world, pull["number"])["state"] == "due"
    world.configure("dev", merge=None)
    off = look(world, pull["number"])
    assert off["said"] == "no longer merges by itself: the settings let nothing merge by itself"
    assert world.pull(pull["number"])["auto_merge"] is None


@pytest.mark.slow
def test_main_says_what_merges_by_itself_and_not_the_checkout(world: World) -> None:
    model = world.model()
    _, pull = ready(world, model, "first")
    world.publish_settings()
    rule(world)
    said = world.bot("watch", "--env", "dev", "--once")
    assert (said.code, said.document["policies"]) == (0, []), "main lets nothing merge by itself"
    rule(world, 9)
    world.publish_settings()
    world.configure("dev", merge={"after_clean": None})
    held = look(world, pull["number"])
    assert held["said"] == f"does not merge by itself: 0 of 9 clean releases of {model}"
    assert world.pull(pull["number"])["auto_merge"] is None


@pytest.mark.slow
def test_where_no_rule_of_the_branch_would_decide_nothing_merges(world: World) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    report(world, pull["head"]["sha"])
    for checks in ((), ("lint",)):
        protect(world, *checks)
        found = look(world, pull["number"])
        assert "the branch's rules do not require the check Verdict" in found["said"], found
        assert not world.pull(pull["number"])["merged"]


@pytest.mark.slow
def test_a_check_that_is_not_required_and_red_keeps_it_from_being_merged_now(world: World) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    report(world, pull["head"]["sha"])
    report(world, pull["head"]["sha"], name="lint", conclusion="failure")
    for _ in range(2):
        found = look(world, pull["number"])
        assert found["state"] == "due" and "a check that the branch does not require is red" in found["said"]
    assert not world.pull(pull["number"])["merged"]
    assert by_policy(world, pull["number"]) == ["asking"], "noted once"
    report(world, pull["head"]["sha"], name="lint")
    assert look(world, pull["number"])["state"] == "done"


@pytest.mark.slow
def test_a_required_review_is_waited_for(world: World) -> None:
    model = world.model()
    rule(world)
    protect(world, "Verdict", required_pull_request_reviews={"required_approving_review_count": 1})
    _, pull = ready(world, model, "first")
    report(world, pull["head"]["sha"])
    assert look(world, pull["number"])["state"] == "due"
    assert f"🤖 #{pull['number']} {model}: merges by itself" in world.words("status", "--env", "dev").out
    assert not world.pull(pull["number"])["merged"]
    world.api("POST", f"/pulls/{pull['number']}/reviews", {"event": "APPROVE"})
    assert world.pull(pull["number"])["merged"]


@pytest.mark.slow
def test_what_a_deployment_would_hold_by_now_is_not_merged(world: World) -> None:
    model = world.model(metrics={"accuracy": {"minimum": 0.5, "max_regression": 0.01}})
    world.served(world.register(model, accuracy=0.95))
    rule(world)
    registered = world.register(model, "better", accuracy=0.95)
    pull = proposed(world, registered)
    checked(world, registered, pull)
    # Meanwhile another version is in service, and this one would be too much worse.
    world.served(world.register(model, "best", accuracy=0.999))
    found = look(world, pull["number"])
    assert found["state"] == "held", found
    assert f"a deployment would hold it: {model}: " in found["said"], found
    assert not world.pull(pull["number"])["auto_merge"]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.slow
@pytest.mark.parametrize("after", ["note_policy", "put_comment", "merge_when_allowed"])
@pytest.mark.parametrize("met", [False, True])
def test_killed_anywhere_and_run_again_it_goes_on(world: World, after: str, met: bool) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    if met:
        report(world, pull["head"]["sha"])
    of = module.PolicyNote if after == "note_policy" else GitHubRepository
    name = "model_validate" if after == "note_policy" else after
    real = getattr(of, name)

    def killed(*given: Any, **named: Any) -> Any:
        real(*given, **named)
        raise Killed

    with mock.patch.object(of, name, killed), pytest.raises(Killed):
        look(world, pull["number"])
    if after == "merge_when_allowed" and met:
        assert world.pull(pull["number"])["merged"]
        return
    found = look(world, pull["number"])
    assert found["state"] == ("done" if met else "due"), found
    report(world, pull["head"]["sha"])
    assert world.pull(pull["number"])["merged"]
    assert by_policy(world, pull["number"])[-1] == ("merged" if met else "on")


@pytest.mark.slow
def test_of_two_that_look_at_the_same_time_each_step_is_done_once(world: World) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    report(world, pull["head"]["sha"])
    real = GitHubRepository.merge_when_allowed
    others: list[dict[str, Any]] = []

    def after_the_other(self: GitHubRepository, number: int, **named: Any) -> Any:
        if not others:
            others.append({})
            others[0] = look(world, number)
        return real(self, number, **named)

    with mock.patch.object(GitHubRepository, "merge_when_allowed", after_the_other):
        found = look(world, pull["number"])
    assert (others[0]["state"], found["state"]) == ("done", "done")
    assert len([body for body in world.comments(pull["number"]) if "promobot:policy" in body]) == 1


@pytest.mark.slow
def test_while_github_is_away_all_waits_and_says_so(world: World) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    away = {"api_url": "http://127.0.0.1:9/api/v3"}
    world.configure("dev", github=away)
    said = world.bot("watch", "--env", "dev", "--once")
    (found,) = said.document["policies"]
    assert (said.code, found["state"], found["model"]) == (1, "waits", "dev")
    assert found["said"].startswith("what may merge by itself is not known now: GitHub (promobot/models): could not")
    world.configure("dev", github={"api_url": f"{world.endpoints.forge}/api/v3"})
    assert look(world, pull["number"])["state"] == "due"


@pytest.mark.slow
def test_a_deployment_that_ends_meanwhile_has_it_decided_anew(world: World) -> None:
    model = world.model()
    rule(world)
    _, pull = ready(world, model, "first")
    report(world, pull["head"]["sha"])
    with mock.patch("bot.records.ledger.Ledger.newest_deployment", lambda _: "dev-99999999-other"):
        found = look(world, pull["number"])
    assert (found["state"], found["said"]) == ("held", "is decided anew: a deployment ended just now")
    assert not world.pull(pull["number"])["merged"]
