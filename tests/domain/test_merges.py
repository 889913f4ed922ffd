"""Pull requests for neighbouring models merge in either order, as Git merges them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bot.domain import desired
from bot.domain.desired import Desired, Entry, Section
from tests.domain.entries import entry

FILE = "promotions/dev.yaml"
EMPTY = Path(__file__).parents[2].joinpath(FILE).read_text()

Edit = tuple[Section, str, Entry | None]


def edited(text: str, *edits: Edit) -> str:
    for section, model, wanted in edits:
        text = desired.with_entry(text, file=FILE, section=section, model=model, entry=wanted)
    return text


def put(model: str, version: int, section: Section = "models") -> Edit:
    return section, model, entry(version)


def take(model: str, section: Section = "models") -> Edit:
    return section, model, None


BY_THE_BOT = edited(EMPTY, put("b", 1), put("d", 1), put("f", 1), put("d", 2, "shadow"))
"""As the bot writes it, entry by entry."""

BY_HAND = (
    "environment: dev\nmodels:\n"
    + "".join(f"  {m}:\n    version: 1\n    digest: {entry(1).digest}\n    run: run1\n" for m in "bdf")
    + f"shadow:\n  d:\n    version: 2\n    digest: {entry(2).digest}\n    run: run2\n"
)
"""As a person writes it: nothing between the entries."""


class Clone:
    """A clone with main and branches from it, each one commit that writes the file."""

    def __init__(self, folder: Path, *, main: str, **branches: str) -> None:
        self.folder = folder
        self.file = folder / FILE
        self.git("init", "--quiet", "--template=", "--initial-branch=main")
        stream = _commit("main", main) + b"".join(_commit(name, text, "main") for name, text in branches.items())
        self.git("fast-import", "--quiet", stdin=stream)

    def git(self, *arguments: str, stdin: bytes = b"") -> None:
        who = {f"GIT_{role}_{what}": "alex" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=os.environ | who, input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout.decode()}\n{done.stderr.decode()}"

    def merged(self, first: str, second: str) -> str:
        """Merge both into main, one after the other; return the file."""
        self.git("checkout", "--quiet", "--force", "-B", "merged", first)
        self.git("merge", "--quiet", "--no-ff", "--message", second, second)
        return self.file.read_bytes().decode()


def _commit(branch: str, text: str, parent: str = "") -> bytes:
    data = text.encode()
    head = f"commit refs/heads/{branch}\ncommitter alex <alex> 0 +0000\ndata 0\n"
    head += f"from refs/heads/{parent}\n" if parent else ""
    return head.encode() + b"M 644 inline %b\ndata %d\n%b\n" % (FILE.encode(), len(data), data)


def assert_merge_either_way(folder: Path, base: str, one: Edit, other: Edit) -> None:
    clone = Clone(folder, main=base, one=edited(base, one), other=edited(base, other))
    expected = desired.parse(edited(base, one, other), file=FILE)
    assert expected != desired.parse(edited(base, one), file=FILE) != desired.parse(base, file=FILE)
    for order in (("one", "other"), ("other", "one")):
        assert desired.parse(clone.merged(*order), file=FILE) == expected, order


UPDATES = [
    pytest.param(put("b", 2), put("d", 3), id="update both"),
    pytest.param(put("f", 2), put("d", 3, "shadow"), id="update the last model and the first shadow"),
]
ADDITIONS = [
    pytest.param(put("c", 9), put("b", 2), id="add behind what is updated"),
    pytest.param(put("c", 9), put("d", 2), id="add before what is updated"),
    pytest.param(put("a", 9), put("b", 2), id="add the first before what is updated"),
    pytest.param(put("z", 9), put("f", 2), id="add the last behind what is updated"),
    pytest.param(put("a", 9, "shadow"), put("f", 2), id="add a shadow behind the last model, which is updated"),
    pytest.param(put("z", 9, "shadow"), put("d", 3, "shadow"), id="add the last shadow behind what is updated"),
    pytest.param(put("z", 9), put("d", 3, "shadow"), id="add the last model before a shadow that is updated"),
]


@pytest.mark.parametrize(("one", "other"), [*UPDATES, *ADDITIONS])
@pytest.mark.parametrize("base", [BY_THE_BOT, BY_HAND], ids=["written by the bot", "written by hand"])
def test_updates_and_additions(base: str, one: Edit, other: Edit, tmp_path: Path) -> None:
    assert_merge_either_way(tmp_path, base, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(take("d"), put("b", 2), id="remove behind what is updated"),
        pytest.param(take("d"), put("f", 2), id="remove before what is updated"),
        pytest.param(take("f"), put("d", 3, "shadow"), id="remove before a shadow that is updated"),
        pytest.param(take("d"), take("f"), id="remove both"),
        pytest.param(take("d"), put("e", 9), id="add behind what is removed"),
        pytest.param(put("a", 9), put("c", 9), id="add before and behind one"),
        pytest.param(take("d", "shadow"), put("f", 2), id="remove the only shadow behind what is updated"),
    ],
)
def test_removals_and_two_additions_in_what_the_bot_writes(one: Edit, other: Edit, tmp_path: Path) -> None:
    assert_merge_either_way(tmp_path, BY_THE_BOT, one, other)


def test_removals_in_what_the_bot_has_thinned_out_before(tmp_path: Path) -> None:
    base = edited(BY_THE_BOT, put("c", 1), put("e", 1), take("d"), take("c"))
    assert_merge_either_way(tmp_path, base, take("e"), put("b", 5))


def test_the_first_model_and_the_first_shadow(tmp_path: Path) -> None:
    assert_merge_either_way(tmp_path, EMPTY, put("churn", 1), put("fraud", 2, "shadow"))


def test_line_ends_of_windows(tmp_path: Path) -> None:
    base = BY_THE_BOT.replace("\n", "\r\n")
    assert_merge_either_way(tmp_path, base, put("c", 9), put("b", 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(put("b", 2), put("b", 3), id="two updates of one entry"),
        pytest.param(put("c", 9), put("c2", 9), id="two additions in one place"),
        pytest.param(put("c", 9), take("d"), id="an addition right before what is removed"),
    ],
)
def test_two_changes_of_one_place_do_conflict(one: Edit, other: Edit, tmp_path: Path) -> None:
    """Git is asked, and says no where it must; the bot then decides again on what main says by now."""
    with pytest.raises(AssertionError, match="CONFLICT"):
        assert_merge_either_way(tmp_path, BY_THE_BOT, one, other)


def test_both_files_say_the_same() -> None:
    assert desired.parse(BY_HAND, file=FILE) == desired.parse(BY_THE_BOT, file=FILE)
    assert desired.parse(EMPTY, file=FILE) == Desired(environment="dev")
