"""The Git adapter, against the forge's real smart HTTP and against plain bare repositories."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.bare import module_of
from bot.errors import InvalidInput, OutsideError, Rejected, Unavailable
from bot.systems import git as git_module
from bot.systems.git import BranchMoved, Repository
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server, clone_of
from tests.stand_ins.server import Seen, StandIn, answer

AUTHOR = {"author": "promobot", "email": "promobot@example.com"}
FILE = "promotions/dev.yaml"


@pytest.fixture
def repository(forge: Server, person: Clone) -> Iterator[Repository]:
    with Repository(f"{forge.page}.git", token="bot-token") as opened:
        yield opened


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[tuple[Repository, Clone]]:
    """A plain bare repository with ten commits, and a clone of it."""
    folder = tmp_path / "bare.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", folder], check=True)
    subprocess.run(["git", "clone", "--quiet", folder, tmp_path / "bare-clone"], check=True, capture_output=True)
    clone = Clone(tmp_path / "bare-clone")
    clone.git("checkout", "--quiet", "-B", "main")
    for number in range(10):
        clone.commit(f"Commit {number}", {"a.txt": f"{number}\n"})
    clone.git("push", "--quiet", "origin", "main")
    with Repository(folder.as_uri(), token="none") as opened:
        yield opened, clone


def test_head_and_read(repository: Repository, person: Clone) -> None:
    commit = repository.head()

    assert commit == person.git("rev-parse", "HEAD")
    assert repository.read(commit, FILE) == "environment: dev\nmodels: {}\n"
    assert repository.read(commit, "promotions/prod.yaml") is None
    with pytest.raises(InvalidInput, match=r"^promotions: is a folder, not a file"):
        repository.read(commit, "promotions")
    assert repository.names(commit, "promotions") == ["dev.yaml"]
    assert repository.names(commit, "nowhere") == []


@pytest.mark.parametrize("text", ["", "\n", "a", "a\n\n\n", "\r\n a: 1\r\n", "  grün 🚀 \n", "--- \x00 \t"])
def test_read_gives_back_what_commit_was_given(repository: Repository, text: str) -> None:
    commit = repository.commit(repository.head(), {FILE: text}, message="-m is no option here\n", **AUTHOR)
    assert repository.read(commit, FILE) == text


def test_a_git_that_was_killed_leaves_no_lock_for_the_next_command(repository: Repository) -> None:
    head = repository.head()
    lock = Path(repository._folder.name, "shallow.lock")
    lock.touch()
    with pytest.raises(Rejected, match="lock"):
        repository.head()
    with pytest.raises(Unavailable, match="SIGKILL"), repository._errors("fetch main"):
        raise git_module.GitCommandError("fetch", -signal.SIGKILL)
    assert not lock.exists()
    assert repository.head() == head


def test_read_follows_no_link_and_refuses_what_is_no_text(repository: Repository, person: Clone) -> None:
    (person.folder / "link.yaml").symlink_to(FILE)
    (person.folder / "folder").symlink_to("promotions")
    (person.folder / "binary.yaml").write_bytes(b"\xff\xfe")
    commit = person.commit("Links", {})
    person.git("push", "--quiet", "origin", "main")

    assert repository.head() == commit
    with pytest.raises(InvalidInput, match=r"^link\.yaml: is a symbolic link, not a file"):
        repository.read(commit, "link.yaml")
    assert repository.read(commit, "folder/dev.yaml") is None
    with pytest.raises(InvalidInput, match=r"^binary\.yaml: is not UTF-8 at .*: byte 0 belongs to no character"):
        repository.read(commit, "binary.yaml")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    repository: Repository, person: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "MAX_BYTES", 10)
    commit = person.commit("Large", {"exact.yaml": "0123456789", "large.yaml": "0123456789a"})
    person.git("push", "--quiet", "origin", "main")
    assert repository.head() == commit
    assert repository.read(commit, "exact.yaml") == "0123456789"
    with pytest.raises(InvalidInput, match=r"^large\.yaml: has 11 bytes at .*; the limit is 10$"):
        repository.read(commit, "large.yaml")


def test_a_commit_changes_its_files_and_nothing_else(repository: Repository, person: Clone) -> None:
    person.commit("More", {"more.txt": "a\n", "b/c.txt": "c\n"})
    person.git("push", "--quiet", "origin", "main")
    head = repository.head()

    commit = repository.commit(head, {FILE: "new\n", "b/new.txt": "n\n"}, message="Promote", **AUTHOR)
    repository.push(commit, "promobot/dev/churn", expected=None)

    assert repository.branch("promobot/dev/churn") == commit
    assert repository.changed_paths(head, commit) == ["b/new.txt", FILE]
    person.git("fetch", "--quiet", "origin", "promobot/dev/churn")
    shown = person.git("show", "--no-patch", "--format=%P|%an|%ae|%cn|%ce|%B", commit)
    assert shown == f"{head}|promobot|promobot@example.com|promobot|promobot@example.com|Promote"
    assert person.git("show", f"{commit}:more.txt") == "a"


def test_a_branch_that_is_not_there_is_none_and_one_of_a_longer_name_is_another(
    repository: Repository, person: Clone
) -> None:
    for name in ("promobot/dev/risk-2", "other/promobot/dev/risk", "other/refs/heads/promobot/dev/risk"):
        person.branch(name, {"a.txt": f"{name}\n"})
    assert repository.branch("promobot/dev/risk") is None


@pytest.mark.slow
def test_a_push_needs_the_branch_to_be_where_it_was_looked_at(repository: Repository, person: Clone) -> None:
    head = repository.head()
    mine = repository.commit(head, {FILE: "mine\n"}, message="Mine", **AUTHOR)
    theirs = person.branch("moving", {FILE: "theirs\n"})

    with pytest.raises(BranchMoved):
        repository.push(mine, "moving", expected=None)
    with pytest.raises(BranchMoved):
        repository.push(mine, "moving", expected=head)
    assert repository.branch("moving") == theirs
    repository.push(mine, "moving", expected=theirs)
    assert repository.branch("moving") == mine

    person.git("push", "--quiet", "origin", "--delete", "moving")
    with pytest.raises(BranchMoved):
        repository.push(mine, "moving", expected=mine)


@pytest.mark.slow
def test_of_many_that_push_at_once_one_wins_and_the_others_are_told(forge: Server, person: Clone) -> None:
    told: list[str] = []
    ready = threading.Barrier(4)

    def push(number: int) -> None:
        with Repository(f"{forge.page}.git", token="bot-token") as repository:
            commit = repository.commit(repository.head(), {FILE: f"{number}\n"}, message=f"{number}", **AUTHOR)
            ready.wait(20)
            try:
                repository.push(commit, "race", expected=None)
                told.append(commit)
            except BranchMoved:
                told.append("moved")

    threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(told)[1:] == ["moved"] * 3
    assert forge.forge.git.branch("race") == sorted(told)[0]


def test_a_push_that_a_rule_forbids_is_rejected_and_has_not_moved(repository: Repository, person: Clone) -> None:
    first = repository.head()
    person.commit("Second", {"second.txt": "1\n"})
    person.git("push", "--quiet", "origin", "main")
    rewritten = repository.commit(first, {FILE: "rewritten\n"}, message="Rewritten", **AUTHOR)

    with pytest.raises(Rejected, match="Cannot force-push to this protected branch"):
        repository.push(rewritten, "main", expected=repository.head())


def test_parents_and_where_two_parted_are_found_after_shallow_fetches(bare: tuple[Repository, Clone]) -> None:
    repository, clone = bare
    fork = clone.git("rev-parse", "HEAD~4")
    clone.git("checkout", "--quiet", "-b", "side", fork)
    side = [clone.commit(f"Side {number}", {"b.txt": f"{number}\n"}) for number in range(3)]
    clone.git("push", "--quiet", "origin", "side")
    head = clone.git("rev-parse", "main")

    assert repository.head() == head
    assert repository.fetch(side[-1]) == side[-1]
    assert repository.parent(side[-1]) == side[-2]
    assert repository.merge_base(head, side[-1]) == fork
    assert repository.merge_base(side[-1], head) == fork
    assert repository.read(fork, "a.txt") == "5\n"
    assert repository.changed_paths(head, side[-1]) == ["a.txt", "b.txt"]


def test_a_first_commit_has_no_parent(bare: tuple[Repository, Clone]) -> None:
    repository, clone = bare
    first = clone.git("rev-list", "--max-parents=0", "HEAD")
    with pytest.raises(Rejected, match="fetch the parent"):
        repository.parent(first)


def test_changed_paths_name_removed_renamed_and_strange_files(bare: tuple[Repository, Clone]) -> None:
    repository, clone = bare
    before = clone.commit("Before", {"old.txt": "x\n" * 50, "gone.txt": "1\n"})
    clone.git("mv", "old.txt", "new.txt")
    clone.git("rm", "--quiet", "gone.txt")
    after = clone.commit("After", {"with space\nand line.txt": "1\n", "grün.txt": "1\n"})
    clone.git("push", "--quiet", "origin", "main")
    repository.fetch(before)
    repository.fetch(after)

    expected = ["gone.txt", "grün.txt", "new.txt", "old.txt", "with space\nand line.txt"]
    assert sorted(repository.changed_paths(before, after)) == expected


def test_variables_of_a_surrounding_git_command_lead_nowhere_else(
    forge: Server, person: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who runs promobot in a hook has these set; they point into that person's own work tree.
    before = person.git("status", "--porcelain=v2", "--branch")
    index = person.folder / ".git" / "index"
    kept = index.read_bytes()
    monkeypatch.setenv("GIT_DIR", str(person.folder / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(person.folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(index))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "elsewhere"))

    with Repository(f"{forge.page}.git", token="bot-token") as repository:
        commit = repository.commit(repository.head(), {FILE: "new\n"}, message="New", **AUTHOR)
        repository.push(commit, "from-a-hook", expected=None)
        assert repository.read(commit, FILE) == "new\n"

    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    assert not (tmp_path / "elsewhere").exists()
    assert index.read_bytes() == kept
    assert person.git("status", "--porcelain=v2", "--branch") == before


# --- what goes wrong ----------------------------------------------------------------------------------------------


def assert_says_no_token(error: OutsideError, token: str) -> None:
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    shown: BaseException | None = error
    while shown is not None:
        for secret in (token, basic):
            assert secret not in str(shown) and secret not in repr(shown)
        shown = shown.__cause__
    assert token not in error.next_step + error.state


def test_a_wrong_token_is_rejected_with_a_next_step_and_shown_nowhere(forge: Server, person: Clone) -> None:
    with Repository(f"{forge.page}.git", token="canary-4711") as repository:
        for ask in (repository.head, lambda: repository.branch("main")):
            with pytest.raises(Rejected) as failure:
                ask()
            assert "promobot doctor" in failure.value.next_step
            assert forge.url in str(failure.value)
            assert_says_no_token(failure.value, "canary-4711")


def test_a_token_that_may_not_push_is_rejected(forge: Server, person: Clone) -> None:
    with Repository(f"{forge.page}.git", token="reader-token") as repository:
        commit = repository.commit(repository.head(), {FILE: "new\n"}, message="New", **AUTHOR)
        with pytest.raises(Rejected, match="403") as failure:
            repository.push(commit, "b", expected=None)
        assert_says_no_token(failure.value, "reader-token")


def test_a_repository_and_a_commit_that_are_not_there_are_rejected(forge: Server, repository: Repository) -> None:
    with pytest.raises(Rejected, match=r"fetch 1{40}"):
        repository.fetch("1" * 40)
    with (
        Repository(f"{forge.url}/acme/other.git", token="bot-token") as other,
        pytest.raises(Rejected, match="not found"),
    ):
        other.head()


def test_a_server_that_is_down_is_unavailable(closed_port: int) -> None:
    with (
        Repository(f"http://127.0.0.1:{closed_port}/{REPOSITORY}.git", token="canary-4711") as repository,
        pytest.raises(Unavailable, match=str(closed_port)) as failure,
    ):
        repository.head()
    assert_says_no_token(failure.value, "canary-4711")


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_fails_is_unavailable(stand_in: StandIn, status: int) -> None:
    stand_in.answers(status)
    with Repository(f"{stand_in.url}/{REPOSITORY}.git", token="t") as repository:
        with pytest.raises(Unavailable):
            repository.head()
        with pytest.raises(Unavailable):
            repository.branch("main")


def test_a_line_that_breaks_is_unavailable(stand_in: StandIn) -> None:
    with Repository(f"{stand_in.url}/{REPOSITORY}.git", token="t") as repository:
        stand_in.behaviour = lambda _: b""
        with pytest.raises(Unavailable):
            repository.head()
        kind = {"Content-Type": "application/x-git-upload-pack-advertisement"}
        stand_in.answers(200, b"001e# service=git-upload-pack\n0000", headers=kind, length=4000)
        with pytest.raises(Unavailable):
            repository.head()


def test_a_push_forbidden_only_when_it_is_sent_is_rejected(stand_in: StandIn, repository: Repository) -> None:
    commit = repository.commit(repository.head(), {FILE: "new\n"}, message="New", **AUTHOR)
    kind = {"Content-Type": "application/x-git-receive-pack-advertisement"}
    line = f"{'0' * 40} capabilities^{{}}\0report-status delete-refs ofs-delta\n"
    refs = f"001f# service=git-receive-pack\n0000{len(line) + 4:04x}{line}0000".encode()
    stand_in.behaviour = lambda seen: answer(200, refs, headers=kind) if seen.method == "GET" else answer(403)
    repository.url = f"{stand_in.url}/{REPOSITORY}.git"

    with pytest.raises(Rejected, match="403"):
        repository.push(commit, "b", expected=None)


def test_a_server_that_hangs_is_unavailable_in_time(stand_in: StandIn) -> None:
    with (
        Repository(f"{stand_in.url}/{REPOSITORY}.git", token="t", stall_seconds=1) as repository,
        pytest.raises(Unavailable),
    ):
        repository.head()
    assert not stand_in.outwaited


def test_the_token_is_on_no_command_line_and_in_no_file(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    token = "canary-4711"
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    found: list[str] = []
    command_lines: list[str] = []

    def look(seen: object) -> bytes:
        # Git waits for this answer, so everything that it started still runs.
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command_lines.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # it has just ended
                continue
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        found.extend(str(path) for path in files if any(s.encode() in path.read_bytes() for s in (token, basic)))
        return answer(503)

    stand_in.behaviour = look
    with Repository(f"{stand_in.url}/{REPOSITORY}.git", token=token) as repository, pytest.raises(Unavailable):
        repository.head()

    assert stand_in.seen[0].headers["authorization"] == f"Basic {basic}"
    ours = [line for line in command_lines if stand_in.url in line]
    assert any("fetch" in line for line in ours)
    assert not [line for line in command_lines if token in line or basic in line]
    assert found == []
    assert not list(tmp_path.glob("promobot-git-*"))


@pytest.mark.slow
def test_a_clone_of_what_was_pushed_is_whole(forge: Server, repository: Repository, tmp_path: Path) -> None:
    """A commit made in a shallow repository reaches the server with all that it needs."""
    commit = repository.commit(repository.head(), {FILE: "new\n"}, message="New", **AUTHOR)
    repository.push(commit, "whole", expected=None)
    other = clone_of(forge, tmp_path / "other")
    other.git("checkout", "--quiet", "whole")
    assert other.git("rev-parse", "HEAD") == commit
    assert "missing" not in other.git("fsck", "--full")


def test_a_connection_that_nobody_takes_ends_in_time() -> None:
    """As behind a firewall that drops everything: Git itself would wait for two minutes."""
    with contextlib.ExitStack() as opened:
        full = opened.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # who comes after those that wait already gets no answer at all
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/{REPOSITORY}.git"
        with (
            Repository(url, token="t", stall_seconds=0.5) as repository,
            pytest.raises(Unavailable, match=r"could not fetch refs/heads/main: it did not answer in 3 s"),
        ):
            repository.head()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_token_follows_no_redirect(stand_in: StandIn, status: int) -> None:
    with StandIn() as other:
        other.answers(404)
        stand_in.answers(status, headers={"Location": f"{other.url}/elsewhere.git/info/refs?service=git-upload-pack"})
        with (
            Repository(f"{stand_in.url}/{REPOSITORY}.git", token="canary-4711") as repository,
            pytest.raises(Rejected, match=str(status)) as failure,
        ):
            repository.head()
        assert "another address" in failure.value.next_step
        assert other.seen == [] and len(stand_in.seen) == 1


def test_git_gets_none_of_our_secrets(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git starts programs of its own, which hand on what they were given."""
    for name in ("SLACK_BOT_TOKEN", "PROMOBOT_APP_KEY", "AN_UNKNOWN_VARIABLE", "GITHUB_TOKEN", "GIT_DIR"):
        monkeypatch.setenv(name, "canary-of-another")
    seen: list[bytes] = []

    def look(_: Seen) -> bytes:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if stand_in.url.encode() in (process / "cmdline").read_bytes():
                    seen.append((process / "environ").read_bytes())
            except OSError:  # it has just ended
                continue
        return answer(404)

    stand_in.behaviour = look
    with Repository(f"{stand_in.url}/{REPOSITORY}.git", token="t") as repository, pytest.raises(Rejected):
        repository.head()
    assert len(seen) >= 2, "git and git-remote-http"
    assert all(b"PATH=" in environment for environment in seen)
    assert not [environment for environment in seen if b"canary-of-another" in environment]
    assert os.environ["GIT_DIR"] == "canary-of-another", "what others of this process read stays"


def git_that(folder: Path, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a Git first on the path that does this when it is to fetch, and is the real one otherwise."""
    real, bin_ = shutil.which("git"), folder / "bin"
    bin_.mkdir()
    bin_.joinpath("git").write_text(f'#!/bin/sh\n[ "$1" != fetch ] || {{ {does}; }}\nexec {real} "$@"\n')
    bin_.joinpath("git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")


def test_a_git_that_the_deadline_killed_did_not_answer_also_where_nobody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load GitPython sees the end of the process before it hears from its own watchdog, and knows no reason."""
    git_that(tmp_path, "exec sleep 60", monkeypatch)

    def kill_and_say_nothing(pid: int) -> bool:
        os.kill(pid, signal.SIGKILL)
        return False

    monkeypatch.setattr(module_of("git", "cmd"), "_kill_process", kill_and_say_nothing)
    with (
        Repository("http://127.0.0.1:9/o/r.git", token="t", stall_seconds=0.05) as repository,
        pytest.raises(Unavailable, match=r"could not fetch refs/heads/main: it did not answer in 0\.3 s"),
    ):
        repository.head()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "fatal: unable to access 'http://127.0.0.1:9/o/r.git/': "
            "Failed to connect to 127.0.0.1 port 9 after 0 ms: Couldn't connect to server",
            "no connection to 127.0.0.1:9",
        ),
        (
            "fatal: unable to access 'http://127.0.0.1:9/o/r.git/': Could not resolve host: git.example",
            "no address is known for the host git.example",
        ),
        (
            "fatal: unable to access 'http://127.0.0.1:9/o/r.git/': The requested URL returned error: 503",
            "The requested URL returned error: 503",
        ),
        ("fatal: the remote end hung up unexpectedly", "fatal: the remote end hung up unexpectedly"),
    ],
)
def test_what_git_says_of_a_server_that_is_away_is_told_without_its_address(
    said: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_that(tmp_path, f'echo "{said}" >&2; exit 128', monkeypatch)
    with (
        Repository("http://127.0.0.1:9/o/r.git", token="t") as repository,
        pytest.raises(Unavailable) as failure,
    ):
        repository.head()
    assert str(failure.value) == f"Git (http://127.0.0.1:9/o/r.git): could not fetch refs/heads/main: {told}"


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_a_git_that_a_signal_ended_was_refused_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_that(tmp_path, f"echo HTTP returned error: 403 >&2; kill -{name} $$", monkeypatch)
    with (
        Repository("http://127.0.0.1:9/o/r.git", token="t") as repository,
        pytest.raises(Unavailable, match=f"could not fetch refs/heads/main: Git was ended by SIG{name}"),
    ):
        repository.head()


def test_a_helper_of_git_that_a_signal_ended_was_refused_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_that(tmp_path, "echo error: git-remote-http died of signal 9 >&2; exit 128", monkeypatch)
    with (
        Repository("http://127.0.0.1:9/o/r.git", token="t") as repository,
        pytest.raises(Unavailable, match="git-remote-http died of signal 9"),
    ):
        repository.head()
