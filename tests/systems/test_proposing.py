"""The one pull request for a model and an environment, with real Git and the forge's API."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot import environment_files
from bot.domain.desired import Entry
from bot.domain.proposal import Edit
from bot.domain.scope import proposal_branch
from bot.errors import InvalidInput, Refused, Rejected, Unavailable
from bot.operations.proposing import AUTHOR, EMAIL, Asking, Draft, Proposed, open_proposal, put_proposal, read_desired
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger, Proposer
from bot.sandbox.forge.git import Identity
from bot.settings import Environment, GitHub
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository, PullRequest
from tests.domain.entries import entry
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server

ROOT = Path(__file__).parents[2]
BOT = Identity(AUTHOR, EMAIL)


class Bot:
    """What proposes for one environment, as the verbs do: each time with a fresh look at the server."""

    def __init__(self, server: Server, environment: str, records: Path) -> None:
        self.server, self.environment, self.records = server, environment, records
        self.said: list[str] = []
        self.file, self.branch = f"promotions/{environment}.yaml", self.branch_of("churn")
        # Where the forge is, and nothing else of the file, matters here.
        shipped = environment_files.load(ROOT, "dev")
        github = GitHub(repository=REPOSITORY, server_url=server.url, api_url=f"{server.url}/api/v3")
        self.settings: Environment = shipped.model_copy(update={"github": github, "environment": environment})
        self.github = self.with_github(GitHubRepository)

    def branch_of(self, model: str) -> str:
        return proposal_branch(self.environment, model)

    def text_of(self, **versions: int) -> str:
        entries = {model: entry(version) for model, version in versions.items()}
        return f"environment: {self.environment}\nmodels:\n" + "".join(
            f"  {model}:\n    version: {e.version}\n    digest: {e.digest}\n    run: {e.run}\n"
            for model, e in entries.items()
        )

    def open_pulls(self) -> list[tuple[str, str]]:
        """The branch and the title of each open pull request for this environment."""
        pulls = [pull for pull in self.server.forge.store.pulls() if pull.state == "open"]
        return sorted((pull.head, pull.title) for pull in pulls if f"/{self.environment}/" in pull.head)

    def said_on(self, branch: str) -> str:
        return self.server.forge.git.file(branch, self.file).decode()

    def with_github(self, kind: type[GitHubRepository]) -> GitHubRepository:
        return kind(self.settings.github, token="bot-token", request_seconds=10)

    def propose(
        self,
        version: int,
        *,
        model: str = "churn",
        repository: type[Repository] = Repository,
        github: GitHubRepository | None = None,
        **words: Any,
    ) -> Proposed | None:
        draft = Draft(
            edits=[Edit("models", model, entry(version))],
            branch=self.branch_of(model),
            **{"title": f"{model} {version}", "body": f"Serve {version}.", **words},
        )
        with repository(self.settings.github.clone_url, token="bot-token") as opened:
            return put_proposal(opened, github or self.github, self.ledger, draft, say=self.said.append)

    @property
    def ledger(self) -> Ledger:
        return Ledger(RecordStore(self.records), self.environment)

    def proposed(self, version: int, **more: Any) -> tuple[str, PullRequest]:
        made = self.propose(version, **more)
        assert made is not None
        return made.action, made.pull_request


_numbers = itertools.count(1)


@pytest.fixture
def bot(forge: Server, person: Clone, tmp_path: Path) -> Bot:
    RecordStore(tmp_path / "records").begin()
    made = Bot(forge, f"env-{next(_numbers)}", tmp_path / "records")
    push(person, "A new environment", {made.file: f"environment: {made.environment}\n"})
    return made


def push(person: Clone, message: str, files: dict[str, str]) -> None:
    """Let somebody change files on main."""
    person.git("checkout", "--quiet", "main")
    person.git("pull", "--quiet", "origin", "main")
    person.commit(message, files)
    person.git("push", "--quiet", "origin", "main")


def served(bot: Bot) -> dict[str, Entry]:
    with Repository(bot.settings.github.clone_url, token="bot-token") as repository:
        return read_desired(repository, bot.environment, repository.head()).models


def is_one_clean_commit_on_main(forge: Server, number: int) -> bool:
    pull = forge.forge.pull(number)
    commits = forge.forge.pull_commits(pull)
    on_main = commits[0].parents == (forge.forge.git.branch("main"),)
    return len(commits) == 1 and on_main and bool(forge.forge.is_mergeable(pull))


def merge(forge: Server, number: int) -> None:
    by = forge.forge.people.named("alex")
    forge.forge.merge_pull(number, method="squash", sha=None, title=None, message=None, by=by)


def test_opened_then_unchanged_then_updated(forge: Server, bot: Bot) -> None:
    action, first = bot.proposed(7)
    assert (action, first.branch, first.title, first.body) == ("opened", bot.branch, "churn 7", "Serve 7.")
    assert is_one_clean_commit_on_main(forge, first.number)
    assert f"version: 7\n    digest: {entry(7).digest}" in bot.said_on(bot.branch)

    action, same = bot.proposed(7)
    assert (action, same) == ("unchanged", first), "a push would only start the checks again"

    action, newer = bot.proposed(8)
    assert (action, newer.number, newer.title, newer.body) == ("updated", first.number, "churn 8", "Serve 8.")
    assert forge.forge.pull(first.number).head_sha not in ("", first.head)
    assert "version: 8" in bot.said_on(bot.branch) and "version: 7" not in bot.said_on(bot.branch)
    assert is_one_clean_commit_on_main(forge, first.number)
    assert bot.open_pulls() == [(bot.branch, "churn 8")]


@pytest.mark.slow
def test_other_words_for_the_same_edit_are_no_new_commit(bot: Bot) -> None:
    _, first = bot.proposed(7)
    action, second = bot.proposed(7, body="Serve 7, please.")
    assert (action, second.head, second.body) == ("updated", first.head, "Serve 7, please.")


def test_what_main_says_already_is_not_proposed(forge: Server, bot: Bot) -> None:
    _, first = bot.proposed(7)
    merge(forge, first.number)
    assert bot.propose(7) is None
    assert bot.open_pulls() == []


@pytest.mark.slow
def test_main_moves_in_another_file(forge: Server, bot: Bot, person: Clone) -> None:
    _, first = bot.proposed(7)
    push(person, "Other", {"README.md": "hello\n"})
    assert bot.proposed(7) == ("unchanged", first)


@pytest.mark.slow
def test_the_first_two_models_of_an_environment(forge: Server, bot: Bot) -> None:
    """Both edit the line ``models: {}``, so the second conflicts as soon as the first is merged."""
    _, churn = bot.proposed(7)
    _, fraud = bot.proposed(3, model="fraud")
    assert bot.open_pulls() == [(bot.branch, "churn 7"), (bot.branch_of("fraud"), "fraud 3")]
    merge(forge, fraud.number)

    action, again = bot.proposed(7)

    assert (action, again.number) == ("updated", churn.number)
    assert is_one_clean_commit_on_main(forge, churn.number)
    assert "fraud" in bot.said_on(bot.branch)
    merge(forge, churn.number)
    assert served(bot) == {"churn": entry(7), "fraud": entry(3)}


@pytest.mark.slow
def test_a_neighbour_is_merged(forge: Server, bot: Bot, person: Clone) -> None:
    push(person, "Both are served", {bot.file: bot.text_of(churn=1, fraud=2)})
    pulls = {model: bot.proposed(10, model=model)[1].number for model in ("churn", "fraud")}
    merge(forge, pulls["fraud"])
    assert forge.forge.is_mergeable(forge.forge.pull(pulls["churn"])), "neighbours merge in either order"

    assert bot.proposed(10)[0] == "updated"

    assert is_one_clean_commit_on_main(forge, pulls["churn"])
    merge(forge, pulls["churn"])
    assert served(bot) == dict.fromkeys(("churn", "fraud"), entry(10))


@pytest.mark.slow
def test_main_comes_to_conflict_with_the_proposal(forge: Server, bot: Bot, person: Clone) -> None:
    _, first = bot.proposed(8)
    push(person, "By hand", {bot.file: bot.text_of(churn=1, fraud=1)})
    assert not forge.forge.is_mergeable(forge.forge.pull(first.number))

    action, again = bot.proposed(8)

    assert (action, again.number) == ("updated", first.number)
    assert is_one_clean_commit_on_main(forge, first.number)


def push_to_branch(person: Clone, bot: Bot, files: Mapping[str, str], *, message: str = "Theirs") -> str:
    """Let somebody add a commit to the bot's branch; return its id."""
    person.git("fetch", "--quiet", "origin", bot.branch)
    person.git("checkout", "--quiet", "-B", "theirs", "FETCH_HEAD")
    commit = person.commit(message, dict(files))
    person.git("push", "--quiet", "origin", f"HEAD:refs/heads/{bot.branch}")
    return commit


def test_a_persons_commit_on_our_branch_is_not_replaced_in_silence(forge: Server, bot: Bot, person: Clone) -> None:
    _, first = bot.proposed(7)
    theirs = push_to_branch(person, bot, {"pyproject.toml": "[project]\n"}, message="Just\x1b[2J this")
    for version in (7, 8):
        with pytest.raises(Refused) as refused:
            bot.propose(version)
        assert str(refused.value).startswith(f"{bot.branch} has a commit that is a person's: {theirs[:12]} by Alex <")
        assert "Just\ufffd[2J this" in str(refused.value)
        assert f"git push origin FETCH_HEAD:refs/heads/kept/{bot.branch}`" in refused.value.next_step
    assert forge.forge.pull(first.number).head_sha == theirs, "it is still there"

    action, again = bot.proposed(8, asking=Asking(replace=True))

    assert (action, again.number) == ("updated", first.number)
    assert is_one_clean_commit_on_main(forge, first.number)
    assert [file.path for file in forge.forge.pull_files(forge.forge.pull(first.number))] == [bot.file]
    (comment,) = forge.forge.store.comments(first.number)
    assert "These commits are no longer on it:" in comment.body and theirs[:12] in comment.body


@pytest.mark.slow
def test_a_commit_that_calls_itself_the_bots_is_known_by_what_it_says(
    forge: Server, bot: Bot, person: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot.proposed(7)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", AUTHOR)
        monkeypatch.setenv(f"GIT_{role}_EMAIL", EMAIL)
    person.git("config", "user.name", AUTHOR)
    person.git("config", "user.email", EMAIL)
    forged = push_to_branch(person, bot, {"pyproject.toml": "[project]\n"})
    with pytest.raises(Refused, match=forged[:12]):
        bot.propose(7)


@pytest.mark.slow
def test_main_merged_into_our_branch_is_nothing_that_could_be_lost(forge: Server, bot: Bot, person: Clone) -> None:
    _, first = bot.proposed(7)
    push(person, "Other", {"README.md": "hello again\n"})
    person.git("fetch", "--quiet", "origin", bot.branch)
    person.git("checkout", "--quiet", "-B", "updated", "FETCH_HEAD")
    person.git("merge", "--quiet", "--no-edit", "main")
    person.git("push", "--quiet", "origin", f"HEAD:refs/heads/{bot.branch}")
    action, again = bot.proposed(8)
    assert (action, again.number) == ("updated", first.number)
    assert is_one_clean_commit_on_main(forge, first.number)


@pytest.mark.slow
def test_a_persons_commit_on_a_branch_without_a_pull_request_is_not_replaced_either(
    forge: Server, bot: Bot, person: Clone
) -> None:
    _, first = bot.proposed(7)
    by = forge.forge.people.named("alex")
    forge.forge.edit_pull(first.number, title=None, body=None, state="closed", by=by)
    theirs = push_to_branch(person, bot, {"notes.md": "mine\n"})
    with pytest.raises(Refused, match=theirs[:12]):
        bot.propose(7)


@pytest.mark.slow
def test_who_asked_is_written_for_what_was_proposed(bot: Bot) -> None:
    bot.proposed(7, asking=Asking(Proposer(slack="U0ALEX")))
    bot.proposed(7, asking=Asking(Proposer(github="sam")))
    bot.proposed(7, asking=Asking(Proposer(github="sam")))
    asked = {p for prefix in bot.records.glob("proposals/*/*") for p in bot.ledger.proposers(prefix.name)}
    assert asked == {Proposer(slack="U0ALEX"), Proposer(github="sam")}
    assert bot.ledger.proposers("0" * 32) == []
    assert bot.said == []


def test_where_who_asked_cannot_be_written_it_is_proposed_all_the_same_and_said(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("full", system="record store")

    monkeypatch.setattr(Ledger, "add_proposer", full)
    assert bot.proposed(7)[0] == "opened"
    assert bot.said == [
        "who asked for this is not recorded (record store: full); approve it on GitHub, or propose it again"
    ]


@pytest.mark.slow
def test_a_stale_branch_of_a_closed_pull_request_is_used_again(forge: Server, bot: Bot) -> None:
    _, first = bot.proposed(7)
    by = forge.forge.people.named("alex")
    forge.forge.edit_pull(first.number, title=None, body=None, state="closed", by=by)

    action, second = bot.proposed(7)

    assert action == "opened" and second.number != first.number
    assert is_one_clean_commit_on_main(forge, second.number)
    assert bot.open_pulls() == [(bot.branch, "churn 7")]


def test_an_environment_without_a_file_is_a_mistake_and_not_an_empty_one(
    forge: Server, person: Clone, tmp_path: Path
) -> None:
    bot = Bot(forge, f"env-{next(_numbers)}", tmp_path / "records")
    with pytest.raises(InvalidInput, match=f"{bot.file}: is missing at "):
        bot.propose(7)
    assert bot.open_pulls() == []


@pytest.mark.slow
def test_an_environment_that_serves_nothing_keeps_its_lines(bot: Bot, forge: Server, person: Clone) -> None:
    _, pull = bot.proposed(7)
    assert bot.said_on(bot.branch).startswith(f"environment: {bot.environment}\nmodels:\n  churn:\n")

    text = f"# Ours.\nenvironment: {bot.environment}\nmodels: {{}}  # nothing yet\nshadow: {{}}\n"
    push(person, "Nothing is served yet", {bot.file: text})
    assert not forge.forge.is_mergeable(forge.forge.pull(pull.number))
    assert bot.proposed(7)[0] == "updated"
    assert is_one_clean_commit_on_main(forge, pull.number)
    assert bot.said_on(bot.branch).startswith(f"# Ours.\nenvironment: {bot.environment}\nmodels:  # nothing yet\n")


@pytest.mark.slow
def test_the_entry_is_taken_out_and_another_put_in_at_once(forge: Server, bot: Bot) -> None:
    _, first = bot.proposed(7)
    merge(forge, first.number)
    with Repository(bot.settings.github.clone_url, token="bot-token") as repository:
        shadow = entry(8).model_copy(update={"reason": "accuracy 0.871 < 0.900"})
        edits = [Edit("models", "churn", None, "it listens first"), Edit("shadow", "churn", shadow)]
        draft = Draft(edits=edits, branch=bot.branch, title="Swap", body="Both.")
        made = put_proposal(repository, bot.github, bot.ledger, draft, say=bot.said.append)
        assert made is not None and made.action == "opened"
        desired = read_desired(repository, bot.environment, repository.fetch(f"refs/heads/{bot.branch}"))
    assert (desired.models, desired.shadow) == ({}, {"churn": shadow})


@pytest.mark.slow
def test_who_was_slower_looks_again_and_wins_by_the_second_push(forge: Server, bot: Bot) -> None:
    class Slow(Repository):
        """Somebody else proposes 8 between our look and our push, the first time."""

        faster: PullRequest | None = None

        def commit(self, parent: str, files: Mapping[str, str], *, message: str, author: str, email: str) -> str:
            if Slow.faster is None:
                Slow.faster = bot.proposed(8)[1]
            return super().commit(parent, files, message=message, author=author, email=email)

    action, pull = bot.proposed(7, repository=Slow)

    assert Slow.faster is not None
    assert (action, pull.number) == ("updated", Slow.faster.number)
    assert bot.open_pulls() == [(bot.branch, "churn 7")]
    assert "version: 7" in bot.said_on(bot.branch)
    assert is_one_clean_commit_on_main(forge, pull.number)


@pytest.mark.slow
def test_who_is_always_slower_gives_up_and_says_so(forge: Server, bot: Bot) -> None:
    class AlwaysSlower(Repository):
        """Somebody else pushes between each of our looks and pushes."""

        times = 0

        def commit(self, parent: str, files: Mapping[str, str], *, message: str, author: str, email: str) -> str:
            AlwaysSlower.times += 1
            git, said = forge.forge.git, str(AlwaysSlower.times)
            theirs = git.commit_tree("main^{tree}", parents=["main"], message=said, author=BOT, committer=BOT)
            git.set_ref(f"refs/heads/{bot.branch}", theirs)
            return super().commit(parent, files, message=message, author=author, email=email)

    with pytest.raises(Unavailable, match=rf"{bot.branch} moved \d times") as failure:
        bot.propose(7, repository=AlwaysSlower)
    assert "run the command again" in failure.value.next_step
    assert 1 < AlwaysSlower.times < 10
    assert bot.open_pulls() == []


@pytest.mark.slow
def test_somebody_opens_it_between_our_look_and_our_request(forge: Server, bot: Bot) -> None:
    class Slow(GitHubRepository):
        """Somebody else pushes 8 and opens the pull request after our push and before our request."""

        faster: PullRequest | None = None

        def open_pull_request(self, *, branch: str, title: str, body: str) -> PullRequest:
            if Slow.faster is None:
                Slow.faster = bot.proposed(8)[1]
            return super().open_pull_request(branch=branch, title=title, body=body)

    action, pull = bot.proposed(7, github=bot.with_github(Slow))

    assert Slow.faster is not None
    assert (action, pull.number) == ("updated", Slow.faster.number)
    assert bot.open_pulls() == [(bot.branch, "churn 7")]
    assert "version: 7" in bot.said_on(bot.branch), "what the title says is what the branch does"


def test_what_github_will_not_open_is_its_own_answer(forge: Server, bot: Bot) -> None:
    with pytest.raises(Rejected, match="HTTP 422"):
        bot.propose(7, title=" ")
    assert bot.open_pulls() == []


@pytest.mark.slow
def test_many_that_propose_at_once_leave_one_whole_proposal(forge: Server, bot: Bot) -> None:
    ready = threading.Barrier(3)
    ended: list[str] = []

    def propose(version: int) -> None:
        ready.wait(20)
        try:
            ended.append(Bot(forge, bot.environment, bot.records).proposed(version)[0])
        except Unavailable:  # it was slower five times
            ended.append("gave up")

    threads = [threading.Thread(target=propose, args=(version,)) for version in (11, 12, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert len(ended) == 3 and set(ended) <= {"opened", "updated", "gave up"} and "opened" in ended
    assert [branch for branch, _ in bot.open_pulls()] == [bot.branch]
    number = next(pull.number for pull in forge.forge.store.pulls() if pull.head == bot.branch)
    assert is_one_clean_commit_on_main(forge, number)


@pytest.mark.slow
def test_a_pull_request_from_a_longer_name_is_another(forge: Server, bot: Bot) -> None:
    _, longer = bot.proposed(1, model="churn-2")
    assert open_proposal(bot.github, bot.branch) is None
    action, ours = bot.proposed(7)
    assert action == "opened" and ours.number != longer.number
