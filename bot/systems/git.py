"""Git: what the repository says at a commit, and one commit on top of it.

Works in a bare repository of its own in a temporary folder, with shallow fetches: never in anybody's work tree.
"""

from __future__ import annotations

import base64
import copy
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bot import bare, trust, web
from bot.errors import InvalidInput, Rejected, Unavailable
from bot.redaction import redact
from bot.retry import retry

if TYPE_CHECKING:
    from git.cmd import Git
    from git.exc import GitCommandError
else:
    # Nothing of GitPython's own model of a repository, which is most of what it imports, and no `git version`.
    Git, GitCommandError = bare.module_of("git", "cmd").Git, bare.module_of("git", "exc").GitCommandError

# Git says "unable to access", "RPC failed" and "hung up" of refusals, too: those are looked for first.
_REFUSED = re.compile(r"returned error: (?:3|4(?!29))\d\d|certificate", re.IGNORECASE)
_REDIRECTED = re.compile(r"returned error: 3\d\d")
_TRY_AGAIN = re.compile(
    r"unable to access|could not resolve|failed to connect|connection (refused|reset|timed out)|timed out"
    r"|early eof|hung up|rpc failed|cannot lock ref|died of signal",
    re.IGNORECASE,
)
_ACCESS = re.compile(r"fatal: unable to access '[^']*': ")
_PLAINLY = (
    (re.compile(r"Failed to connect to (\S+) port (\d+).*", re.IGNORECASE), r"no connection to \1:\2"),
    (re.compile(r"Could not resolve host: (\S+)", re.IGNORECASE), r"no address is known for the host \1"),
)
"""What Git's library says, and how people say it."""
# Not every "[remote rejected]": a rule of the server forbids a push however often it is tried.
_MOVED = re.compile(
    r"stale info|\[rejected\]|non-fast-forward|fetch first"
    r"|cannot lock ref|failed to update ref|reference already exists|incorrect old value",
    re.IGNORECASE,
)
_NEEDED = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|LD_.*|SYSTEMROOT|(?i:(?:https?|all|no)_proxy)"
    "|SSL_CERT_(?:FILE|DIR)|CURL_CA_BUNDLE|GIT_(?:SSL|PROXY|HTTP|TRACE|CURL)_?.*|GIT_EXEC_PATH"
)
"""The variables that Git gets of ours: what it takes to start, to find its way and to know whom to trust."""


MAX_BYTES = 16 * 2**20
"""The largest file that is read: four bytes for each character that a file of YAML may have."""
_KINDS = {"040000": "folder", "120000": "symbolic link", "160000": "submodule"}


@dataclass(frozen=True)
class Commit:
    """A commit as it calls itself: anybody can write any name into one."""

    id: str
    parents: tuple[str, ...]
    author: str
    author_email: str
    committer: str
    committer_email: str
    subject: str
    of_branch: str = ""
    """What its trailer ``Promobot-Branch`` says: commits that GitHub makes for the bot name their branch so."""


BRANCH_TRAILER = "Promobot-Branch"
_BRANCH = f"%(trailers:key={BRANCH_TRAILER},valueonly=true,separator=%x2C)"

_RULES = (
    (
        "verified signatures",
        "The branch asks for signed commits: set `github.sign_commits: true`, so that GitHub makes and signs the "
        "commits of the bot.",
    ),
    ("GH006", "Branch protection covers the bot's own branches: let it cover main, not `promobot*/**`."),
    (
        "GH013",
        "A ruleset covers the bot's own branches: exclude `promobot*/**` from it, or let the bot bypass it there.",
    ),
)
"""What to do about a rule of GitHub's that refuses a push, by the words in which it says so."""


def _heard(stderr: str) -> str:
    """Return what Git said in one line: of the server's lines the beginning, of its own the end.

    A server says first which rule it is, and after that where to read about it. Git says last what came of it.
    """
    lines = [" ".join(line.split()) for line in stderr.splitlines()]
    servers = " ".join(filter(None, (line.removeprefix("remote:").strip() for line in lines if _is_remote(line))))
    own = " ".join(line for line in lines if line and not _is_remote(line))
    return " ".join(filter(None, (servers[:500], own[-400:])))


def _in_words(said: str) -> str:
    """Return what Git said of a server that it could not reach, without the address, which the error has already."""
    said = _ACCESS.sub("", said)
    for pattern, words in _PLAINLY:
        if found := pattern.search(said):
            return found.expand(words)
    return said


def _is_remote(line: str) -> bool:
    return line.startswith("remote:")


class BranchMoved(Exception):
    """The branch is not where it was looked at; read it again and decide again."""


class _Git(Git):
    """Runs Git without our secrets, and without what a hook sets, which leads to the repository of that hook."""

    def execute(self, command: Any, *arguments: Any, **named: Any) -> Any:
        # GitPython hands on the whole environment of this process. Names may stand on a command line; values may not.
        ours = self.environment()
        hidden = sorted(name for name in os.environ if name not in ours and not _NEEDED.fullmatch(name))
        unset = [f"--unset={name}" for name in hidden]
        # Which Git is GitPython's question to the whole package; ours is the one of PATH.
        return super().execute(["env", *unset, "git", *command[1:]], *arguments, **named)


class _Repo:
    """A new bare repository in a folder. GitPython's own class follows the variables of a hook."""

    def __init__(self, folder: str) -> None:
        self.git = _Git(folder)
        self.git.init("--quiet", "--bare", "--initial-branch=main")

    def close(self) -> None:
        """End what was started for it."""
        self.git.clear_cache()


class Repository:
    """The repository that holds desired state, as the server has it."""

    def __init__(
        self,
        url: str,
        *,
        token: str,
        base: str = "main",
        stall_seconds: float = 30,
        limit_seconds: float | None = None,
    ) -> None:
        """Open it; a transfer that stands still for ``stall_seconds`` is given up.

        So is a command after ``limit_seconds``, by default six times as long.

        Git has no deadline of its own for a connection that nobody takes, and the system's is two minutes.
        """
        self.url, self.base, self.retry_seconds = url, base, stall_seconds
        self._limit_seconds = limit_seconds or 6 * stall_seconds
        self._system = f"Git ({url})"
        self._folder = tempfile.TemporaryDirectory(prefix="promobot-git-", ignore_cleanup_errors=True)
        with self._errors("make a repository to work in"):
            self._repo = _Repo(self._folder.name)
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        # By the environment: neither the command line nor a file of configuration ever shows the token.
        self._repo.git.update_environment(
            GIT_TERMINAL_PROMPT="0",
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CONFIG_GLOBAL="/dev/null",
            GIT_CONFIG_COUNT="7",
            GIT_CONFIG_KEY_0="http.extraHeader",
            GIT_CONFIG_VALUE_0=f"Authorization: Basic {basic}",
            GIT_CONFIG_KEY_1="http.lowSpeedLimit",
            GIT_CONFIG_VALUE_1="100",
            GIT_CONFIG_KEY_2="http.lowSpeedTime",
            GIT_CONFIG_VALUE_2=str(max(1, round(stall_seconds))),
            # The header is sent wherever Git goes.
            GIT_CONFIG_KEY_3="http.followRedirects",
            GIT_CONFIG_VALUE_3="false",
            # Git's own rules know other variables than the rest of the bot; empty is none.
            GIT_CONFIG_KEY_4="http.proxy",
            GIT_CONFIG_VALUE_4=web.proxy(url) or "",
            # The folder lives as long as one command: there is nothing to tidy, and looking is one process a fetch.
            GIT_CONFIG_KEY_5="maintenance.auto",
            GIT_CONFIG_VALUE_5="false",
            # A fetch leaves the one pack that came. A file for each object takes twice the processor time.
            GIT_CONFIG_KEY_6="fetch.unpackLimit",
            GIT_CONFIG_VALUE_6="1",
            **self._trusted(url),
        )

    def _trusted(self, url: str) -> dict[str, str]:
        if not url.startswith("https:"):
            return {}
        authorities = Path(self._folder.name, "promobot-authorities.pem")
        with self._errors("make a repository to work in"):
            authorities.write_bytes(trust.bundle())
        return {"GIT_SSL_CAINFO": str(authorities)}

    @property
    def _limit(self) -> dict[str, Any]:
        return {"kill_after_timeout": self._limit_seconds}

    def within(self, limit_seconds: float | None) -> Repository:
        """Return the same repository, whose commands last no longer than this; None is its usual time."""
        if limit_seconds is None:
            return self
        limited = copy.copy(self)
        limited._limit_seconds = limit_seconds
        return limited

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._repo.close()
        self._folder.cleanup()

    @retry
    def fetch(self, reference: str) -> str:
        """Fetch a branch, ref or commit; return its commit id."""
        with self._errors(f"fetch {reference}"):
            self._repo.git.fetch("--quiet", "--depth=1", "--no-tags", self.url, reference, **self._limit)
            return str(self._repo.git.rev_parse("FETCH_HEAD^{commit}"))

    def head(self) -> str:
        """Fetch the base branch; return the commit id of its head."""
        return self.fetch(f"refs/heads/{self.base}")

    @retry
    def branch(self, name: str) -> str | None:
        """Return where a branch is on the server now, or None where it is not."""
        with self._errors(f"look for the branch {name}"):
            listed = str(self._repo.git.ls_remote(self.url, f"refs/heads/{name}", **self._limit))
        # Git matches the end of a name, so branches of longer names may be listed, too.
        found = (line.split("\t") for line in listed.splitlines())
        return next((commit for commit, ref in found if ref == f"refs/heads/{name}"), None)

    @retry
    def parent(self, commit: str) -> str:
        """Fetch and return the first parent of a commit."""
        with self._errors(f"fetch the parent of {commit[:12]}"):
            self._repo.git.fetch("--quiet", "--depth=2", "--no-tags", self.url, commit, **self._limit)
            return str(self._repo.git.rev_parse(f"{commit}^1"))

    @retry
    def merge_base(self, one: str, other: str) -> str:
        """Fetch the history of two commits; return where they parted."""
        with self._errors(f"find where {one[:12]} and {other[:12]} parted"):
            # Without a depth of its own a fetch into a shallow repository keeps it shallow.
            depth = ["--unshallow"] if Path(self._folder.name, "shallow").exists() else []
            # A long history takes its time; that it stands still is noticed all the same.
            self._repo.git.fetch("--quiet", "--no-tags", *depth, self.url, one, other)
            return str(self._repo.git.merge_base(one, other))

    def read(self, commit: str, path: str) -> str | None:
        """Return the text of a file at a fetched commit, or None where there is nothing of that name.

        Raises InvalidInput for a link, a folder, a file above :data:`MAX_BYTES` and text that is not UTF-8: a
        commit of one of these must not be read as an absence.
        """
        with self._errors(f"read {path} at {commit[:12]}"):
            listed = str(self._repo.git.ls_tree("--long", commit, "--", path))
            if not listed:
                return None
            mode, _, _, size = listed.split("\t")[0].split()
            if mode not in ("100644", "100755"):
                raise InvalidInput(f"is a {_KINDS.get(mode, 'link')}, not a file, at {commit[:12]}", file=path)
            if int(size) > MAX_BYTES:
                raise InvalidInput(f"has {size} bytes at {commit[:12]}; the limit is {MAX_BYTES}", file=path)
            blob: bytes = self._repo.git.cat_file(
                "blob", f"{commit}:{path}", stdout_as_string=False, strip_newline_in_stdout=False
            )
        try:
            return blob.decode()
        except UnicodeDecodeError as error:
            said = f"is not UTF-8 at {commit[:12]}: byte {error.start} belongs to no character"
            raise InvalidInput(said, file=path) from error

    def merges(self, base: str, one: str, other: str) -> bool:
        """Say whether Git merges two texts of one file, which parted at ``base``, without a conflict."""
        with self._errors("merge two texts"), tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            paths = [Path(folder, name) for name in ("one", "base", "other")]
            for path, text in zip(paths, (one, base, other), strict=True):
                path.write_bytes(text.encode())
            try:
                self._repo.git.merge_file("--quiet", "--stdout", *map(str, paths))
            except GitCommandError as error:
                # Git ends with the number of conflicts. A larger number is an error of its own.
                if isinstance(error.status, int) and 0 < error.status < 128:
                    return False
                raise
            return True

    def commits(self, before: str, after: str) -> list[Commit]:
        """Return the commits that ``after`` has and ``before`` has not, newest first; both histories are fetched."""
        with self._errors(f"list the commits from {before[:12]} to {after[:12]}"):
            form = "%x00".join(("%H", "%P", "%an", "%ae", "%cn", "%ce", "%s", _BRANCH))
            listed = str(self._repo.git.log("--topo-order", f"--format={form}", f"{before}..{after}"))
        rows = [line.split("\0") for line in listed.split("\n") if line]
        return [Commit(commit, tuple(parents.split()), *rest) for commit, parents, *rest in rows]

    def names(self, commit: str, folder: str) -> list[str]:
        """Return the names of what lies directly in a folder at a fetched commit, sorted."""
        with self._errors(f"list {folder} at {commit[:12]}"):
            listed = str(self._repo.git.ls_tree("-z", "--name-only", commit, "--", f"{folder}/"))
        return sorted(path.removeprefix(f"{folder}/") for path in listed.split("\0") if path)

    def changed_paths(self, before: str, after: str) -> list[str]:
        """Return the paths that differ between two fetched commits."""
        with self._errors(f"compare {before[:12]} with {after[:12]}"):
            listed = str(self._repo.git.diff_tree("-r", "-z", "--name-only", "--no-renames", before, after))
        return [path for path in listed.split("\0") if path]

    def commit(self, parent: str, files: Mapping[str, str], *, message: str, author: str, email: str) -> str:
        """Make a commit on top of ``parent`` with these files' new texts; return its id. Nothing is pushed."""
        index = str(Path(self._folder.name, "promobot-index"))
        identity = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", author), ("EMAIL", email))
        }
        with self._errors("make the commit"), self._repo.git.custom_environment(GIT_INDEX_FILE=index, **identity):
            self._repo.git.read_tree(parent)
            for path, text in files.items():
                staged = Path(self._folder.name, "promobot-blob")
                staged.write_bytes(text.encode())
                blob = str(self._repo.git.hash_object("-w", "--no-filters", str(staged)))
                self._repo.git.update_index("--add", "--cacheinfo", f"100644,{blob},{path}")
            tree = str(self._repo.git.write_tree())
            return str(self._repo.git.commit_tree(tree, "-p", parent, "-m", redact(message)))

    def push(self, commit: str, branch: str, *, expected: str | None) -> None:
        """Set the server's ``branch`` to ``commit`` if it still is at ``expected`` (None: is not there).

        Raises BranchMoved where somebody else was faster.
        """
        lease = f"--force-with-lease=refs/heads/{branch}:{expected or ''}"
        with self._errors(f"push {branch}"):
            self._repo.git.push("--quiet", lease, self.url, f"{commit}:refs/heads/{branch}", **self._limit)

    @retry
    def try_to_push(self, commit: str, branch: str) -> None:
        """See that the server would let us push ``commit`` to a new branch, and change nothing there.

        The server's hooks and rules are not asked: only a real push runs them.
        """
        with self._errors(f"push to {self.base}'s repository (tried with --dry-run)"):
            to = f"{commit}:refs/heads/{branch}"
            self._repo.git.push("--quiet", "--dry-run", self.url, to, **self._limit)

    def delete(self, branch: str, *, expected: str) -> None:
        """Remove the server's ``branch`` if it still is at ``expected``; raises BranchMoved where it is not."""
        lease = f"--force-with-lease=refs/heads/{branch}:{expected}"
        with self._errors(f"push the end of {branch}"):
            self._repo.git.push("--quiet", lease, self.url, f":refs/heads/{branch}", **self._limit)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except GitCommandError as error:
            if isinstance(error.status, int) and error.status < 0:
                # Nobody refused anything: Git did not come to an end by itself, whatever it wrote until then. When it
                # is killed it leaves its locks, which would stop every later command in this folder.
                for lock in Path(self._folder.name).glob("*.lock"):
                    lock.unlink(missing_ok=True)
                raise Unavailable(
                    f"could not {doing}: {self._ended(-error.status, began)}", system=self._system
                ) from error
            said = _heard(redact(str(error.stderr).replace("stderr:", "").strip(" '\n")))
            if doing.startswith("push") and _MOVED.search(said):
                raise BranchMoved(said) from error
            message = f"could not {doing}: {_in_words(said) or error.status}"
            if _TRY_AGAIN.search(said) and not _REFUSED.search(said):
                raise Unavailable(message, system=self._system, next_step=trust.advice(said)) from error
            step = trust.advice(said) or "`promobot doctor` tries the credentials."
            if _REDIRECTED.search(said):
                step = (
                    "The repository has another address now. `promobot doctor` names it under GitHub: "
                    "set github.repository, or github.server_url, to that."
                )
            elif rule := next((advice for words, advice in _RULES if words in said), ""):
                step = rule
            raise Rejected(message, system=self._system, next_step=step) from error

    def _ended(self, number: int, began: float) -> str:
        """Say what ended a Git that a signal ended: our own deadline, or somebody else."""
        if number == signal.SIGKILL and time.monotonic() - began >= self._limit_seconds:
            return f"it did not answer in {self._limit_seconds:g} s"
        names = {known.value: known.name for known in signal.Signals}
        return f"Git was ended by {names.get(number, f'signal {number}')}; a machine without memory left does that"
