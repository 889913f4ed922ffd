"""Git over HTTP, as people use it."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server, clone_of


def test_what_one_person_pushes_another_clones(server: Server, clone: Clone, tmp_path: Path) -> None:
    commit = clone.commit("Second", {"a.txt": "hello\n"})
    clone.git("push", "origin", "main")

    other = clone_of(server, tmp_path / "other", person="reader")

    assert other.git("rev-parse", "HEAD") == commit
    assert (other.folder / "a.txt").read_text() == "hello\n"


def test_a_commit_is_fetched_by_its_sha_also_when_no_branch_has_it(
    server: Server, clone: Clone, tmp_path: Path
) -> None:
    lost = clone.branch("feature", {"a.txt": "1\n"})
    clone.git("push", "origin", "--delete", "feature")

    other = clone_of(server, tmp_path / "other")
    other.git("fetch", "--depth", "1", "origin", lost)

    assert other.git("rev-parse", "FETCH_HEAD") == lost


def test_force_with_lease_replaces_a_branch_only_if_nobody_else_pushed(
    server: Server, clone: Clone, tmp_path: Path
) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    other = clone_of(server, tmp_path / "other")
    other.git("checkout", "--quiet", "feature")
    theirs = other.commit("Theirs", {"b.txt": "1\n"})
    other.git("push", "origin", "feature")

    clone.git("checkout", "--quiet", "feature")
    clone.git("commit", "--quiet", "--amend", "--message", "Mine")
    assert "stale info" in clone.git("push", "--force-with-lease", "origin", "feature", ok=False)
    clone.git("push", f"--force-with-lease=feature:{theirs}", "origin", "feature")


def test_main_is_neither_rewritten_nor_deleted(clone: Clone) -> None:
    clone.commit("Second", {"a.txt": "1\n"})
    clone.git("push", "origin", "main")
    clone.git("commit", "--quiet", "--amend", "--message", "Rewritten")

    assert "GH006: Protected branch update failed" in clone.git("push", "--force", "origin", "main", ok=False)
    assert "GH006: Protected branch update failed" in clone.git("push", "origin", "--delete", "main", ok=False)


def test_refs_of_pull_requests_are_readable_and_not_writable(server: Server, clone: Clone) -> None:
    head = clone.branch("feature", {"a.txt": "1\n"})
    server.as_pygithub().get_repo(REPOSITORY).create_pull(base="main", head="feature", title="A", body="")

    clone.git("fetch", "origin", "refs/pull/1/head")
    assert clone.git("rev-parse", "FETCH_HEAD") == head
    assert "hidden ref" in clone.git("push", "origin", "main:refs/pull/1/head", ok=False)


def test_who_has_no_token_gets_401_and_who_may_only_read_cannot_push(
    server: Server, clone: Clone, tmp_path: Path
) -> None:
    answer = httpx.get(f"{server.page}.git/info/refs?service=git-upload-pack")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="GitHub"')

    reader = clone_of(server, tmp_path / "reader", person="reader")
    reader.commit("Not allowed", {"a.txt": "1\n"})
    assert "403" in reader.git("push", "origin", "main", ok=False)
    assert "not found" in clone.git("ls-remote", server.clone_url().replace("models", "others"), ok=False)


def test_a_client_that_stops_in_the_middle_of_a_push_keeps_no_git_waiting(server: Server, clone: Clone) -> None:
    address = urlsplit(server.clone_url())
    basic = base64.b64encode(f"{address.username}:{address.password}".encode()).decode()
    head = (
        f"POST {address.path}/git-receive-pack HTTP/1.1\r\nHost: forge\r\nAuthorization: Basic {basic}\r\n"
        "Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as line:
        line.sendall(head.encode() + b"0000")
        clone.commit("Another", {"a.txt": "1\n"})
        clone.git("push", "origin", "main")
        assert _backends() == []
    assert httpx.get(server.page).status_code == 200


def _backends() -> list[str]:
    """The processes of this one that answer a request for Git."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) and b"http-backend" in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def test_a_large_file_goes_through(server: Server, clone: Clone, tmp_path: Path) -> None:
    # Git sends packs above 1 MB in chunks, without a Content-Length.
    noise = "".join(f"{number * 7919 % 1000003:x}{number * 104729 % 999983:x}\n" for number in range(400_000))
    clone.commit("Large", {"large.txt": noise})
    clone.git("push", "origin", "main")

    assert (clone_of(server, tmp_path / "other").folder / "large.txt").read_text() == noise
