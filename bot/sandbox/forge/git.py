"""A bare Git repository, and the questions that a forge asks it, by libgit2: no process for a question."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

import pygit2
from pygit2.enums import CheckoutStrategy, ConfigLevel, DiffOption, FileMode, SortMode

ZERO = "0" * 40
_BARE = Path(__file__).with_name("bare")
"""Configuration and hooks of a repository of the forge."""
_STATUS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}
_NOT_THERE = (KeyError, ValueError, pygit2.GitError)

for _level in (ConfigLevel.PROGRAMDATA, ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
    pygit2.settings.search_path[_level] = ""  # nothing of the settings of the person who started us


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


class Git:
    """One bare repository. Reads are safe from any thread; writes are compare-and-swap."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _open(self) -> pygit2.Repository:
        """A handle of its own for each question: threads may not share one."""
        return pygit2.Repository(str(self.folder))

    # References and commits

    def resolve(self, name: str) -> str | None:
        """The commit that a branch, tag, full reference or (short) SHA names; None when there is none."""
        repository = self._open()
        for candidate in (f"refs/heads/{name}", name):
            with suppress(*_NOT_THERE):
                return str(repository.revparse_single(candidate).peel(pygit2.Commit).id)
        return None

    def exists(self, sha: str) -> bool:
        with suppress(*_NOT_THERE):
            return pygit2.Oid(hex=sha) in self._open()
        return False

    def ref(self, name: str) -> str | None:
        """The target of a full reference name, or None."""
        with suppress(*_NOT_THERE):
            return str(self._open().references[name].resolve().target)
        return None

    def branch(self, name: str) -> str | None:
        return self.ref(f"refs/heads/{name}")

    def branches(self) -> dict[str, str]:
        """Where each branch is."""
        found = self._open().branches.local
        return {name: str(found[name].target) for name in sorted(found)}

    def update_ref(self, name: str, *, new: str, old: str | None) -> None:
        """Move a reference from ``old`` (None: it must not exist yet) to ``new`` (`ZERO`: gone). Raises RefMoved."""
        try:
            with self._open().transaction() as change:
                change.lock_ref(name)
                if (found := self.ref(name)) != old:
                    raise RefMoved(f"{name} is at {found}, not at {old}")
                if new == ZERO:
                    change.remove(name)
                else:
                    change.set_target(name, new)
        except (ValueError, pygit2.GitError) as failure:
            raise RefMoved(str(failure)) from failure

    def set_ref(self, name: str, sha: str) -> None:
        """Set a reference that only the forge writes (``refs/pull/…``)."""
        self._open().references.create(name, sha, force=True)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return ancestor == descendant or self._open().descendant_of(descendant, ancestor)

    def merge_base(self, one: str, other: str) -> str | None:
        found = self._open().merge_base(one, other)
        return str(found) if found else None

    def commit(self, sha: str) -> Commit:
        return _commit(self._open()[sha].peel(pygit2.Commit))

    def commits(self, tip: str, *, without: Iterable[str] = (), limit: int | None = None) -> list[Commit]:
        """The commits that lead to this one, newest first, but for those that lead to others."""
        walk = self._open().walk(tip, SortMode.TOPOLOGICAL | SortMode.TIME)
        for known in without:
            walk.hide(known)
        return [_commit(found) for found in islice(walk, limit)]

    def signature_of(self, commit: str) -> tuple[bytes, str]:
        """The text of a commit that was signed, and the armored signature; both empty where there is none."""
        armored, payload = self._open()[commit].peel(pygit2.Commit).gpg_signature
        return payload or b"", (armored or b"").decode(errors="replace")

    # Trees and files

    def entries(self, commit: str, path: str = "") -> list[TreeEntry]:
        """The entry at ``path`` if it is a file, what is in it if it is a folder, nothing if it is not there."""
        tree = self._open()[commit].peel(pygit2.Tree)
        if path and path not in tree:
            return []
        found = tree[path] if path else tree
        if not isinstance(found, pygit2.Tree):
            return [TreeEntry(path, found.type_str)]
        return [TreeEntry(f"{path}/{one.name}".lstrip("/"), one.type_str) for one in found]

    def file(self, commit: str, path: str) -> bytes:
        return self._open().revparse_single(f"{commit}:{path}").peel(pygit2.Blob).data

    def files(self, commit: str, folder: str) -> dict[str, bytes]:
        """Every file below a folder, by its path."""
        repository, index = self._open(), pygit2.Index()
        index.read_tree(repository[commit].peel(pygit2.Tree))
        listed = [one for one in index if one.path.startswith(f"{folder}/") and one.mode in _FILES]
        return {one.path: repository[one.id].peel(pygit2.Blob).data for one in listed}

    def check_out(self, commit: str, folder: Path) -> None:
        """Write all files of a commit into a folder, which is made."""
        folder.mkdir(parents=True)
        how = CheckoutStrategy.FORCE | CheckoutStrategy.DONT_UPDATE_INDEX
        repository = self._open()
        repository.checkout_tree(repository[commit], directory=str(folder), strategy=how)  # type: ignore[no-untyped-call]

    def diff(self, base: str | None, head: str) -> list[FileChange]:
        """The files that differ between two commits (None: nothing), with their patches; renames are found."""
        changes = self._changes(base, head)
        changes.find_similar()
        return [_file_change(patch) for patch in changes if patch]

    def changes_of(self, commit: Commit) -> list[FileChange]:
        """Return the changes of a commit, compared with its first parent."""
        return self.diff(commit.parents[0] if commit.parents else None, commit.sha)

    def changed_paths(self, base: str | None, head: str) -> tuple[str, ...]:
        return tuple(delta.new_file.path for delta in self._changes(base, head).deltas)

    def _changes(self, base: str | None, head: str) -> pygit2.Diff:
        repository, flags = self._open(), DiffOption.INDENT_HEURISTIC
        tree = repository[head].peel(pygit2.Tree)
        if base is None:
            return tree.diff_to_tree(flags=flags, swap=True)
        return repository[base].peel(pygit2.Tree).diff_to_tree(tree, flags=flags)

    # New commits

    def merge_trees(self, ours: str, theirs: str) -> str | None:
        """The tree of a clean three-way merge of two commits, or None when they conflict."""
        repository = self._open()
        return _tree_of(repository, repository.merge_commits(ours, theirs))

    def tree_with(self, commit: str | None, files: Mapping[str, bytes | None]) -> str:
        """The tree of a commit (None: of nothing) with these files written, or deleted (None)."""
        repository, index = self._open(), pygit2.Index()
        if commit is not None:
            index.read_tree(repository[commit].peel(pygit2.Tree))
        for path, content in files.items():
            if content is not None:
                index.add(pygit2.IndexEntry(path, repository.create_blob(content), FileMode.BLOB))
            elif path in index:
                index.remove(path)
        return str(index.write_tree(repository))

    def pack(self) -> None:
        """Put all objects into one pack: of one, Git makes what somebody fetches in a fifth of the time."""
        self._open().pack()

    def commit_tree(
        self,
        tree: str,
        *,
        parents: Sequence[str],
        message: str,
        author: Identity,
        committer: Identity,
        authored_at: datetime | None = None,
        sign: Callable[[bytes], str] | None = None,
    ) -> str:
        """Make a commit, with the signature that ``sign`` gives for its text."""
        repository = self._open()
        who = _signature(author, authored_at), _signature(committer)
        root = repository.revparse_single(tree).id
        above: list[str | pygit2.Oid] = [repository.revparse_single(parent).id for parent in parents]
        whole = message.rstrip("\n") + "\n"
        if sign is None:
            return str(repository.create_commit(None, *who, whole, root, above))
        text = str(repository.create_commit_string(*who, whole, root, above))
        return str(repository.create_commit_with_signature(text, sign(text.encode())))

    def pick(self, commit: Commit, *, onto: str, committer: Identity) -> str | None:
        """The same change as ``commit``, on top of ``onto``; None when it conflicts."""
        repository = self._open()
        before, ours, theirs = (repository[one].peel(pygit2.Tree) for one in (commit.parents[0], onto, commit.sha))
        tree = _tree_of(repository, repository.merge_trees(before, ours, theirs))
        if tree is None:
            return None
        return self.commit_tree(
            tree,
            parents=[onto],
            message=commit.message,
            author=commit.author,
            committer=committer,
            authored_at=commit.authored_at,
        )


_FILES = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


def _tree_of(repository: pygit2.Repository, merged: pygit2.Index) -> str | None:
    return None if merged.conflicts else str(merged.write_tree(repository))


def _signature(who: Identity, at: datetime | None = None) -> pygit2.Signature:
    if at is None:
        return pygit2.Signature(who.name, who.email)
    offset = at.utcoffset() or timedelta()
    return pygit2.Signature(who.name, who.email, int(at.timestamp()), offset // timedelta(minutes=1))


def _commit(found: pygit2.Commit) -> Commit:
    def when(who: pygit2.Signature) -> datetime:
        return datetime.fromtimestamp(who.time, timezone(timedelta(minutes=who.offset)))

    return Commit(
        sha=str(found.id),
        tree=str(found.tree_id),
        parents=tuple(map(str, found.parent_ids)),
        author=Identity(found.author.name, found.author.email),
        authored_at=when(found.author),
        committer=Identity(found.committer.name, found.committer.email),
        committed_at=when(found.committer),
        message=found.message.rstrip("\n"),
    )


def _file_change(patch: pygit2.Patch) -> FileChange:
    delta, (_, additions, deletions) = patch.delta, patch.line_stats
    status, text = delta.status_char(), patch.data.decode(errors="replace")
    return FileChange(
        path=delta.new_file.path,
        previous_path=delta.old_file.path if status in "RC" else "",
        status=_STATUS.get(status, "modified"),
        additions=additions,
        deletions=deletions,
        blob=str((delta.old_file if status == "D" else delta.new_file).id),
        patch=text[text.index("\n@@") + 1 :].rstrip("\n") if "\n@@" in text else "",
    )


def open_repository(folder: Path) -> Git:
    """The bare repository at ``folder``, made with default branch main if it is not there yet."""
    if not (folder / "HEAD").exists():
        pygit2.init_repository(str(folder), bare=True, initial_head="main")
    (folder / "hooks").mkdir(exist_ok=True)
    for name in ("config", "hooks/update", "hooks/post-receive"):
        shutil.copyfile(_BARE / name, folder / name)
        (folder / name).chmod(0o755)
    return Git(folder)
