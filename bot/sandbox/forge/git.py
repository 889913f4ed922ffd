"""A bare Git repository, and the questions that a forge asks it. Every answer is Git's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ZERO = "0" * 40
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

# One record of `git log -z`: the fields are separated by NUL too, so a message can hold anything but NUL.
_FIELDS = ("%H", "%T", "%P", "%an", "%ae", "%aI", "%cn", "%ce", "%cI", "%B")


_SETTLED = ("cat-file", "diff", "log", "ls-tree", "merge-base", "merge-tree")
"""What these say of objects that are named by their hash stays true."""
_HASH = re.compile(r"[0-9a-f]{40}(?:(?:\.\.|\.\.\.)[0-9a-f]{40}|\^\{tree\}|:.+)?", re.DOTALL)
_BARE = Path(__file__).with_name("bare")
"""Configuration and hooks of a repository of the forge."""
_REMEMBERED = 2000
_REMEMBERED_BYTES = 2**16


class GitFailed(Exception):
    """Git said no; ``stderr`` is what it said."""

    def __init__(self, arguments: Sequence[str], returncode: int, stderr: str) -> None:
        super().__init__(f"git {' '.join(arguments)}: exit {returncode}: {stderr.strip()}")
        self.returncode, self.stderr = returncode, stderr


class RefMoved(Exception):
    """A compare-and-swap of a reference lost: somebody else moved it first."""


def git_environment() -> dict[str, str]:
    """The environment for git: ours, without its own settings and those of the person who started us."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return kept | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Identity:
    name: str
    email: str


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Identity
    authored_at: datetime
    committer: Identity
    committed_at: datetime
    message: str

    @property
    def title(self) -> str:
        return self.message.split("\n", 1)[0]


@dataclass(frozen=True)
class Ref:
    name: str
    """The full name: ``refs/heads/main``."""
    sha: str
    kind: str
    """The kind of its target: ``commit`` or ``tag``."""


@dataclass(frozen=True)
class FileChange:
    """One file of a diff. ``status`` is GitHub's word: added, removed, modified, renamed, copied, changed."""

    path: str
    previous_path: str
    status: str
    additions: int
    deletions: int
    blob: str
    patch: str
    """The hunks only; empty for binary files and pure renames."""


@dataclass(frozen=True)
class TreeEntry:
    path: str
    kind: str
    sha: str
    size: int


class Git:
    """Runs git in one bare repository. Reads are safe from any thread; writes are compare-and-swap."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[str, ...], tuple[int, bytes]] = {}

    def settled(self, command: str, *arguments: str, ok: tuple[int, ...] = (0,)) -> tuple[int, bytes]:
        """Like `bytes_of`, asked once where every object is named by its hash: a process costs more than an answer.

        A page of pull requests asks the same dozen of questions of each of them again and again.
        """
        revisions = arguments[: arguments.index("--")] if "--" in arguments else arguments
        named = [one for one in revisions if not one.startswith("-") and one != "blob"]
        if command not in _SETTLED or not named or not all(_HASH.fullmatch(one) for one in named):
            return self.bytes_of(command, *arguments, ok=ok)
        key = (command, *arguments)
        if (known := self._known.get(key)) is None:
            known = self.bytes_of(command, *arguments, ok=ok)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            if known[0] in (0, 1) and len(known[1]) <= _REMEMBERED_BYTES:  # 128: an object that may still come
                self._known[key] = known
        return known

    def bytes_of(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: tuple[int, ...] = (0,),
    ) -> tuple[int, bytes]:
        """Exit code and stdout of one git command. Raises `GitFailed` for an exit code outside ``ok``."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=git_environment() | {"GIT_DIR": str(self.folder)} | dict(env or {}),
            check=False,
        )
        if done.returncode not in ok:
            raise GitFailed(arguments, done.returncode, done.stderr.decode(errors="replace"))
        return done.returncode, done.stdout

    def text_of(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
        return self.bytes_of(*arguments, ok=ok)[1].decode(errors="replace").strip()

    # References and commits

    def resolve(self, name: str) -> str | None:
        """The commit that a branch, tag, full reference or (short) SHA names; None when there is none."""
        if not name or name.startswith("-"):
            return None
        if sha := self._loose(f"refs/heads/{name}"):
            return sha
        if (
            re.fullmatch(r"[0-9a-f]{40}", name)
            and self.settled("cat-file", "-t", name, ok=(0, 128))[1] == b"commit\n"
        ):
            return name
        for candidate in (f"refs/heads/{name}", name):
            if sha := self.text_of("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}", ok=(0, 1, 128)):
                return sha
        return None

    def exists(self, sha: str) -> bool:
        return (
            bool(re.fullmatch(r"[0-9a-f]{40}", sha)) and not self.bytes_of("cat-file", "-e", sha, ok=(0, 1, 128))[0]
        )

    def ref(self, name: str) -> str | None:
        """The target of a full reference name, or None."""
        if not name.startswith("refs/"):
            return None
        return self._loose(name) or self.text_of("rev-parse", "--verify", "--quiet", name, ok=(0, 1, 128)) or None

    def _loose(self, name: str) -> str | None:
        """The hash in a reference's own file, as Git replaces it whole; None where Git must be asked.

        A reference is looked up more often than all else together, and a process for it takes ten milliseconds.
        """
        if ".." in name or not re.fullmatch(r"refs/heads/[\w./-]+", name):
            return None
        try:
            said = (self.folder / name).read_text()
        except (OSError, UnicodeDecodeError):
            return None
        return said.strip() if re.fullmatch(r"[0-9a-f]{40}\n", said) else None

    def branch(self, name: str) -> str | None:
        return self.ref(f"refs/heads/{name}")

    def refs(self, *prefixes: str) -> list[Ref]:
        lines = self.text_of(
            "for-each-ref", "--format=%(refname)%00%(objectname)%00%(objecttype)", *prefixes
        ).splitlines()
        return [Ref(*line.split("\0")) for line in lines]

    def update_ref(self, name: str, *, new: str, old: str | None) -> None:
        """Move a reference from ``old`` (None: it must not exist yet) to ``new``. Raises `RefMoved`."""
        try:
            self.bytes_of("update-ref", name, new, old or ZERO)
        except GitFailed as failure:
            raise RefMoved(str(failure)) from failure

    def delete_ref(self, name: str, *, old: str) -> None:
        try:
            self.bytes_of("update-ref", "-d", name, old)
        except GitFailed as failure:
            raise RefMoved(str(failure)) from failure

    def set_ref(self, name: str, sha: str) -> None:
        """Set a reference that only the forge writes (``refs/pull/…``)."""
        self.bytes_of("update-ref", name, sha)

    def is_valid_ref(self, name: str) -> bool:
        return not self.bytes_of("check-ref-format", name, ok=(0, 1))[0]

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return not self.settled("merge-base", "--is-ancestor", ancestor, descendant, ok=(0, 1))[0]

    def merge_base(self, one: str, other: str) -> str | None:
        return self.settled("merge-base", one, other, ok=(0, 1))[1].decode().strip() or None

    def commit(self, sha: str) -> Commit:
        return self.commits(sha, limit=1)[0]

    def commits(self, *revisions: str, limit: int | None = None, path: str = "") -> list[Commit]:
        """The commits of ``git log`` for these revisions (``a..b``, a SHA), newest first."""
        arguments = [
            "-z",
            f"--format={'%x00'.join(_FIELDS)}",
            *([f"-{limit}"] if limit else []),
            *revisions,
            "--",
        ]
        fields = self.settled("log", *arguments, *([path] if path else []))[1].decode(errors="replace").split("\0")
        size = len(_FIELDS)
        records = [fields[at : at + size] for at in range(0, len(fields) - size + 1, size)]
        return [
            Commit(
                sha=record[0],
                tree=record[1],
                parents=tuple(record[2].split()),
                author=Identity(record[3], record[4]),
                authored_at=datetime.fromisoformat(record[5]),
                committer=Identity(record[6], record[7]),
                committed_at=datetime.fromisoformat(record[8]),
                message=record[9].rstrip("\n"),
            )
            for record in records
        ]

    # Trees and files

    def entries(self, commit: str, path: str = "", *, recursive: bool = False) -> list[TreeEntry]:
        """The entry at ``path`` if it is a file, what is in it if it is a folder, nothing if it is not there."""
        flags = ["-l", "-z", *(["-r"] if recursive else [])]
        listed = self.settled("ls-tree", *flags, commit, "--", *([path] if path else []))[1].decode(errors="replace")
        entries = [_tree_entry(line) for line in listed.split("\0") if line]
        if path and not recursive and [entry.kind for entry in entries] == ["tree"]:
            return self.entries(commit, f"{path}/")
        return entries

    def file(self, commit: str, path: str) -> bytes:
        return self.settled("cat-file", "blob", f"{commit}:{path}")[1]

    def diff(self, base: str, head: str) -> list[FileChange]:
        """The files that differ between two commits (or trees), with their patches; renames are found."""
        flags = ("-M", "--no-color", "--no-ext-diff", base, head, "--")
        raw = self.settled("diff", "--raw", "--numstat", "--abbrev=40", "-z", *flags)[1].decode(errors="replace")
        patches = self.settled("diff", "-p", *flags)[1].decode(errors="replace")
        return _file_changes(raw, patches)

    def changed_paths(self, base: str, head: str) -> tuple[str, ...]:
        listed = self.settled("diff", "--name-only", "--no-renames", "-z", base, head, "--")[1]
        return tuple(path for path in listed.decode(errors="replace").split("\0") if path)

    # New commits

    def merge_trees(self, ours: str, theirs: str) -> str | None:
        """The tree of a clean three-way merge of two commits, or None when they conflict."""
        code, stdout = self.settled("merge-tree", "--write-tree", "--no-messages", ours, theirs, ok=(0, 1))
        return stdout.decode().split("\n", 1)[0] if code == 0 else None

    def tree_with(self, commit: str, files: Mapping[str, bytes | None]) -> str:
        """The tree of a commit with these files written, or deleted (None). Raises `GitFailed` for a bad path."""
        with tempfile.TemporaryDirectory() as folder:
            env = {"GIT_INDEX_FILE": f"{folder}/index"}
            self.bytes_of("read-tree", commit, env=env)
            lines = []
            for path, content in files.items():
                if content is None:
                    lines.append(f"0 {ZERO}\t{path}\0")
                    continue
                blob = self.bytes_of("hash-object", "-w", "--stdin", stdin=content)[1].decode().strip()
                lines.append(f"100644 {blob}\t{path}\0")
            self.bytes_of("update-index", "-z", "--index-info", stdin="".join(lines).encode(), env=env)
            return self.bytes_of("write-tree", env=env)[1].decode().strip()

    def commit_tree(
        self,
        tree: str,
        *,
        parents: Sequence[str],
        message: str,
        author: Identity,
        committer: Identity,
        authored_at: str = "",
    ) -> str:
        env = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_COMMITTER_NAME": committer.name,
            "GIT_COMMITTER_EMAIL": committer.email,
        }
        if authored_at:
            env["GIT_AUTHOR_DATE"] = authored_at
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return (
            self.bytes_of("commit-tree", tree, *flags, "-F", "-", stdin=message.encode(), env=env)[1].decode().strip()
        )

    def pick(self, commit: Commit, *, onto: str, committer: Identity) -> str | None:
        """The same change as ``commit``, on top of ``onto``; None when it conflicts."""
        parent = commit.parents[0]
        # merge-tree finds the merge base itself, so give it a commit with onto's tree whose parent is the
        # picked commit's parent: their merge base is then exactly that parent, as a cherry-pick wants it.
        stand_in = self.commit_tree(
            f"{onto}^{{tree}}", parents=[parent], message="pick", author=committer, committer=committer
        )
        tree = self.merge_trees(stand_in, commit.sha)
        if tree is None:
            return None
        return self.commit_tree(
            tree,
            parents=[onto],
            message=commit.message,
            author=commit.author,
            committer=committer,
            authored_at=commit.authored_at.isoformat(),
        )


def _tree_entry(line: str) -> TreeEntry:
    meta, path = line.split("\t", 1)
    _mode, kind, sha, size = meta.split()
    return TreeEntry(path=path, kind=kind, sha=sha, size=0 if size == "-" else int(size))


_STATUS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}


def _file_changes(raw: str, patches: str) -> list[FileChange]:
    """Put together ``git diff --raw --numstat -z`` (all raw records, then all counts) and the patch text."""
    tokens = iter(raw.split("\0"))
    heads: list[tuple[str, str, str, str]] = []
    counts: list[tuple[int, int]] = []
    for token in tokens:
        if token.startswith(":"):
            _old_mode, _new_mode, old_blob, new_blob, status = token[1:].split(" ")
            previous = next(tokens) if status[0] in "RC" else ""
            blob = new_blob if status[0] != "D" else old_blob
            heads.append((_STATUS.get(status[0], "modified"), previous, next(tokens), blob))
        elif token:
            added, deleted, path = token.split("\t")
            if not path:  # a rename: the two paths follow as records of their own
                next(tokens), next(tokens)
            counts.append((int(added) if added != "-" else 0, int(deleted) if deleted != "-" else 0))
    texts = re.split(r"^(?=diff --git )", patches, flags=re.MULTILINE)[1:]
    return [
        FileChange(
            path=path,
            previous_path=previous,
            status=status,
            additions=added,
            deletions=deleted,
            blob=blob,
            patch=text[text.index("\n@@") + 1 :].rstrip("\n") if "\n@@" in text else "",
        )
        for (status, previous, path, blob), (added, deleted), text in zip(heads, counts, texts, strict=True)
    ]


def open_repository(folder: Path) -> Git:
    """The bare repository at ``folder``, made with default branch main if it is not there yet."""
    if not (folder / "HEAD").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder)]
        subprocess.run(command, check=True, env=git_environment())
    (folder / "hooks").mkdir(exist_ok=True)
    for name in ("config", "hooks/update", "hooks/post-receive"):
        shutil.copyfile(_BARE / name, folder / name)
        (folder / name).chmod(0o755)
    return Git(folder)
