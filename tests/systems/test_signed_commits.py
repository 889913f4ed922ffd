"""Where rules ask for signed commits, GitHub makes the bot's commits. Real Git, and the forge's GraphQL."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bot.errors import Refused, Rejected
from bot.operations.doctor import refused_pushes
from bot.records.directory import RecordStore
from bot.sandbox.forge import signing
from bot.sandbox.forge.api.apps import COMMIT
from bot.sandbox.forge.git import ZERO, Identity
from bot.systems.github import GitHubRepository, PullRequest
from tests.domain.entries import entry
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server
from tests.systems.test_identity import as_app, install, key_pair
from tests.systems.test_proposing import Bot, push

BOTS, MAIN = "refs/heads/promobot*/**", "refs/heads/main"


@pytest.fixture
def bot(server: Server, clone: Clone, tmp_path: Path) -> Bot:
    RecordStore(tmp_path / "records").begin()
    made = Bot(server, "dev", tmp_path / "records")
    push(clone, "A new environment", {made.file: f"environment: {made.environment}\n"})
    return made


def ask_for_signatures(server: Server, *include: str) -> None:
    wanted = {
        "name": "signed",
        "target": "branch",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": list(include), "exclude": []}},
        "rules": [{"type": "required_signatures"}],
    }
    with server.api("owner") as api:
        api.post("/rulesets", json=wanted).raise_for_status()


def is_verified(server: Server, commit: str) -> bool:
    with server.api() as api:
        found = api.get(f"/commits/{commit}").raise_for_status().json()["commit"]["verification"]
    assert (found["reason"] == "valid") == found["verified"]
    return bool(found["verified"])


def with_setting(bot: Bot, sign: bool | None) -> GitHubRepository:
    github = bot.settings.github.model_copy(update={"sign_commits": sign})
    bot.settings = bot.settings.model_copy(update={"github": github})
    bot.github = bot.with_github(GitHubRepository)
    return bot.github


@pytest.mark.parametrize("include", [BOTS, pytest.param(MAIN, marks=pytest.mark.slow)])
def test_a_rule_has_the_proposal_signed_and_proposed_again(server: Server, bot: Bot, include: str) -> None:
    ask_for_signatures(server, include)
    first = bot.propose(7)
    assert first is not None and first.action == "opened"
    tip = server.forge.git.branch(bot.branch)
    assert tip is not None and is_verified(server, tip)
    made = server.forge.git.commit(tip)
    assert made.parents == (server.forge.git.branch("main"),), "one commit on top of main, as always"
    assert (made.author.name, made.committer.name) == ("promobot[bot]", "GitHub")
    again = bot.propose(8)
    assert again is not None and (again.action, again.pull_request.number) == ("updated", first.pull_request.number)
    assert bot.github.pull_request(first.pull_request.number).state == "open"
    assert entry(8).digest in bot.said_on(bot.branch)
    tip = server.forge.git.branch(bot.branch)
    assert tip is not None and is_verified(server, tip)
    assert [name for name in server.forge.git.branches() if name.startswith("promobot-signing")] == []


@pytest.mark.slow
def test_what_a_person_commits_on_githubs_pages_is_a_persons(server: Server, bot: Bot) -> None:
    with_setting(bot, True)
    bot.propose(7)
    tip, person = server.forge.git.branch(bot.branch), server.forge.people.named("alex")
    assert tip is not None
    text = bot.said_on(bot.branch).replace("version: 7", "version: 6").encode()
    server.forge.commit_on_branch(bot.branch, expected=tip, message="Mine", files={bot.file: text}, by=person)
    with pytest.raises(Refused, match="a commit that is a person's"):
        bot.propose(8)


@pytest.mark.slow
def test_an_apps_commits_carry_its_own_address(server: Server, bot: Bot) -> None:
    private, public = key_pair()
    install(server, public)
    github, login = as_app(server, private), "promoter[bot]"
    assert github.author() == (login, f"{server.forge.people.named(login).id}+{login}@users.noreply.127.0.0.1")
    bot.github = github
    for version in (7, 8):
        bot.propose(version)
        made = server.forge.git.commit(server.forge.git.branch(bot.branch) or "")
        assert (made.author, made.committer) == (Identity(*(github.author() or ())),) * 2
        assert entry(version).digest in bot.said_on(bot.branch), "its own commit is no person's"


@pytest.mark.slow
def test_without_a_rule_git_commits_and_with_the_setting_github_does(server: Server, bot: Bot) -> None:
    bot.propose(7)
    tip = server.forge.git.branch(bot.branch)
    assert tip is not None and not is_verified(server, tip)
    with_setting(bot, True)
    bot.propose(8)
    tip = server.forge.git.branch(bot.branch)
    assert tip is not None and is_verified(server, tip)


def test_who_says_no_is_told_what_the_rule_wants(server: Server, bot: Bot) -> None:
    ask_for_signatures(server, BOTS)
    with_setting(bot, False)
    with pytest.raises(Rejected, match="GH013: Repository rule violations found") as refused:
        bot.propose(7)
    assert "Commits must have verified signatures." in str(refused.value)
    assert "github.sign_commits: true" in refused.value.next_step


@pytest.mark.parametrize("include", [BOTS, MAIN])
def test_the_doctor_says_so_before_the_first_proposal(server: Server, bot: Bot, include: str) -> None:
    ask_for_signatures(server, include)
    rules = bot.github.rules()
    assert refused_pushes(bot.settings, bot.github, of_base=rules.types) is None, "GitHub will make its commits"
    with_setting(bot, False)
    refused = refused_pushes(bot.settings, bot.github, of_base=rules.types)
    if include == MAIN:
        assert refused is None, "the push itself goes; the merge is a matter of how it is merged"
        return
    assert refused is not None
    branch, [why] = refused
    assert branch == "promobot/dev/model" and why.startswith("required_signatures: its commits must be signed")


@pytest.mark.slow
def test_what_a_signed_main_merges(server: Server, bot: Bot) -> None:
    ask_for_signatures(server, MAIN)
    with_setting(bot, False)
    unsigned = bot.propose(7, model="unsigned")
    with_setting(bot, True)
    signed = bot.propose(8)
    assert unsigned is not None and signed is not None
    with server.api("owner") as api:

        def merged(pull: PullRequest, method: str) -> int:
            wanted = {"sha": pull.head, "merge_method": method}
            return api.put(f"/pulls/{pull.number}/merge", json=wanted).status_code

        assert [merged(unsigned.pull_request, method) for method in ("rebase", "merge")] == [405, 405]
        assert merged(bot.github.pull_request(signed.pull_request.number), "merge") == 200
        with_setting(bot, False)
        again = bot.propose(7, model="unsigned")
        assert again is not None and merged(bot.github.pull_request(again.pull_request.number), "squash") == 200
    tip = server.forge.git.branch("main")
    assert tip is not None and is_verified(server, tip)


@pytest.mark.slow
def test_a_branch_that_a_killed_one_left_is_taken_over(server: Server, bot: Bot) -> None:
    ask_for_signatures(server, BOTS)
    main = server.forge.git.branch("main")
    assert main is not None
    server.forge.git.update_ref(f"refs/heads/promobot-signing/{bot.branch}", new=main, old=None)
    bot.propose(7)
    assert [name for name in server.forge.git.branches() if name.startswith("promobot-signing")] == []


@pytest.mark.slow
def test_somebody_else_is_faster(server: Server, bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_for_signatures(server, BOTS)
    real, moved = GitHubRepository.commit_on, []

    def late(self: GitHubRepository, branch: str, **named: Any) -> str | None:
        if not moved:
            moved.append(branch)
            server.forge.git.update_ref(f"refs/heads/{branch}", new=ZERO, old=named["expected"])
            elsewhere = server.forge.git.commit_tree(
                f"{named['expected']}^{{tree}}",
                parents=[named["expected"]],
                message="Another",
                author=server.forge.people.named("alex").identity,
                committer=server.forge.people.named("alex").identity,
            )
            server.forge.git.set_ref(f"refs/heads/{branch}", elsewhere)
            assert real(self, branch, **named) is None
            return None
        return real(self, branch, **named)

    monkeypatch.setattr(GitHubRepository, "commit_on", late)
    proposed = bot.propose(7)
    assert proposed is not None and proposed.action == "opened" and moved


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"expectedHeadOid": "0" * 40}, "STALE_DATA"),
        ({"expectedHeadOid": None}, "was provided invalid value"),
        ({"branch": {"repositoryNameWithOwner": REPOSITORY, "branchName": "nowhere"}}, "NOT_FOUND"),
        ({"fileChanges": {"additions": [{"path": "a", "contents": "no base64"}]}}, "was provided invalid value"),
        ({"fileChanges": {"additions": [{"path": "../a", "contents": ""}]}}, "was provided invalid value"),
        ({"message": {"headline": ""}}, "was provided invalid value"),
    ],
)
def test_the_forge_answers_200_with_an_error(server: Server, change: dict[str, Any], says: str) -> None:
    head = server.forge.git.branch("main")
    wanted = {
        "branch": {"repositoryNameWithOwner": REPOSITORY, "branchName": "topic"},
        "message": {"headline": "T"},
        "fileChanges": {"additions": [{"path": "a", "contents": base64.b64encode(b"1").decode()}]},
        "expectedHeadOid": head,
    }
    with server.api("bot") as api:
        api.post("/git/refs", json={"ref": "refs/heads/topic", "sha": head}).raise_for_status()
        asked = {"query": COMMIT, "variables": {"input": {**wanted, **change}}}
        answer = api.post(f"{server.url}/api/graphql", json=asked)
    assert answer.status_code == 200 and says in answer.text
    assert server.forge.git.branch("topic") == head


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
def test_git_itself_takes_the_forges_signature(server: Server, bot: Bot, tmp_path: Path) -> None:
    with_setting(bot, True)
    bot.propose(7)
    signers = tmp_path / "signers"
    signers.write_text(server.forge.key.allowed_signer)
    options = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={signers}")
    command = ["git", *options, "verify-commit", bot.branch]
    done = subprocess.run(command, cwd=server.forge.git.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and 'Good "git" signature for noreply@github.com' in done.stderr, done.stderr


def test_a_signature_over_another_text_is_none(server: Server) -> None:
    key = server.forge.key
    assert (
        key.made(b"a", key.sign(b"a")) and not key.made(b"b", key.sign(b"a")) and not key.made(b"a", "no signature")
    )


@pytest.mark.parametrize(
    ("pattern", "ref", "holds"),
    [
        ("~ALL", "refs/heads/x", True),
        ("~DEFAULT_BRANCH", MAIN, True),
        ("~DEFAULT_BRANCH", "refs/heads/x", False),
        (BOTS, "refs/heads/promobot-revert/dev/churn", True),
        (BOTS, "refs/heads/promobot/dev/churn", True),
        (BOTS, MAIN, False),
        ("refs/heads/*", "refs/heads/a/b", False),
        ("refs/heads/**/*", "refs/heads/a/b", True),
    ],
)
def test_the_forge_reads_patterns_as_fnmatch_does(pattern: str, ref: str, holds: bool) -> None:
    assert signing.Refs(include=(pattern,)).hold_for(ref) is holds
