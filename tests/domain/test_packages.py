"""Packages: what a list of files may name, and the digest that names exactly these bytes."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.package import MLFLOW_FILES, Package, PackageFile, check_path, digest_of


def file(path: str, content: bytes = b"x") -> PackageFile:
    return PackageFile(path, len(content), hashlib.sha256(content).hexdigest())


NEEDED = (file("config.pbtxt", b"backend"), file("smoke.json", b"{}"), file("model.onnx", b"onnx"))


def hostile_paths() -> list[str]:
    """Return 1,000 and more paths that leave the package, or mean something else than they seem to."""
    bad = [
        *("", ".", "..", "/", "//", "/etc/passwd", "..\\x", "C:\\x", "C:x", "\\\\host\\share", "a\\b", "nul:"),
        *(
            ".git/config",
            ".hidden",
            "a/.b",
            "a/..",
            "a/../b",
            "a/./b",
            "./a",
            "a//b",
            "a/",
            "/a",
            "../a",
            "a/../../b",
        ),
        *(
            "a\nb",
            "a\rb",
            "a\tb",
            "a\x00b",
            "a\x1b[31m",
            "\u202ea",
            "ä",
            "a\u2215b",
            "a／b",
            "．．/a",
            "a\u200b",
            "\ud800",
        ),
        *("a?", "a*", "a|b", "a<b", "a>b", 'a"b', "a:b", "file:///a", "x" * 201, "a/" * 150 + "b"),
        *("package.json", "package.json/x", "MLmodel", "MLmodel/x", *MLFLOW_FILES),
    ]
    chance = random.Random(7)  # noqa: S311
    parts = ["a", "b.onnx", "data", "model.onnx", "1"]
    spoil = ["..", ".", "", ".git", "a\\b", "a:b", "\x00", "ü", "a\nb", "*", " \u2028", "....", "..\\..", "<", "\x7f"]
    while len(bad) < 1500:
        path = [chance.choice(parts) for _ in range(chance.randint(0, 5))]
        path.insert(chance.randint(0, len(path)), chance.choice(spoil))
        bad.append("/".join(path))
    return bad


def test_more_than_a_thousand_hostile_paths_are_refused() -> None:
    paths = hostile_paths()
    assert len(paths) >= 1000
    for path in paths:
        with pytest.raises(ValueError, match=r"not a valid path in a package|name that a package may not use"):
            check_path(path)
        with pytest.raises(ValueError, match=r"package"):
            Package.of([*NEEDED, PackageFile(path, 1, "0" * 64)])
        document = {"format": 1, "digest": "", "files": [{"path": path, "size": 1, "sha256": "0" * 64}]}
        with pytest.raises(ValueError, match=r"package"):
            Package.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "path",
    ["model.onnx", "a/b/c", "model.onnx.data", "weights-1_2.bin", "a b", "-rf", "a..b", "x" * 200, "a/package.json"],
)
def test_ordinary_paths_are_taken(path: str) -> None:
    assert check_path(path) == path
    assert path in [f.path for f in Package.of([*NEEDED, file(path)] if path != "model.onnx" else NEEDED).files]


paths = st.from_regex(r"[a-z0-9_][a-z0-9_.]{0,8}(/[a-z0-9_][a-z0-9_.]{0,8}){0,2}", fullmatch=True)
contents = st.dictionaries(paths, st.binary(max_size=20), max_size=6)


def package(files: dict[str, bytes]) -> Package | None:
    try:
        return Package.of([*NEEDED, *(file(path, content) for path, content in files.items())])
    except ValueError:
        return None


@settings(max_examples=150)
@given(contents, st.randoms(use_true_random=False))
def test_the_digest_is_of_paths_and_bytes_and_nothing_else(files: dict[str, bytes], chance: Any) -> None:
    if (one := package(files)) is None:
        return
    shuffled = list(one.files)
    chance.shuffle(shuffled)
    assert Package.of(shuffled) == one
    assert Package.from_json(one.to_json()) == one
    lines = "".join(f"{f.sha256}  {f.size}  {f.path}\n" for f in sorted(one.files, key=lambda f: f.path))
    assert one.digest == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


@settings(max_examples=150)
@given(contents, contents)
def test_other_files_have_another_digest(files: dict[str, bytes], others: dict[str, bytes]) -> None:
    one, other = package(files), package(others)
    if one and other:
        assert (one.digest == other.digest) == (files == others)


def test_adding_removing_flipping_renaming_changes_the_digest() -> None:
    original = digest_of(NEEDED)
    for changed in (
        [*NEEDED, file("more")],
        NEEDED[:2],
        [*NEEDED[:2], file("model.onnx", b"onnY")],
        [*NEEDED[:2], file("model2.onnx", b"onnx")],
        [*NEEDED[:2], PackageFile("model.onnx", 5, NEEDED[2].sha256)],
    ):
        assert digest_of(changed) != original


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([*NEEDED, NEEDED[2]], "listed twice: model.onnx"),
        ([*NEEDED, file("model.onnx", b"other")], "listed twice: model.onnx"),
        ([*NEEDED, file("model.onnx/part")], "both a file and a folder: model.onnx"),
        ([*NEEDED, file("config.pbtxt/part")], "both a file and a folder: config.pbtxt"),
        ([file(f"f{n}") for n in range(10_001)], "10001 files, more than 10000"),
    ],
)
def test_lists_that_no_folder_can_hold(files: list[PackageFile], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Package.of(files)


def document(**changes: Any) -> str:
    return json.dumps(json.loads(Package.of(NEEDED).to_json()) | changes)


FIRST = {"path": "config.pbtxt", "size": 7, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "not a package.json of format 1"),
        ("null", "not a package.json of format 1"),
        (document(format=2), "not a package.json of format 1"),
        (document(format="1"), "not a package.json of format 1"),
        (document(more=1), "unknown keys: 'more'"),
        (document(**{"\x1b[31m": 1}), r"unknown keys: '\\x1b\[31m'"),
        (document(files=[]), "lists no files"),
        (document(files={}), "lists no files"),
        (document(files=None), "lists no files"),
        (document(files=["model.onnx"]), "other keys than path, size and sha256"),
        (document(files=[FIRST | {"mode": 0o777}]), "other keys than path, size and sha256"),
        (document(files=[FIRST | {"size": -1}]), "bad path or size"),
        (document(files=[FIRST | {"size": True}]), "bad path or size"),
        (document(files=[FIRST | {"size": 1.0}]), "bad path or size"),
        (document(files=[FIRST | {"path": 1}]), "bad path or size"),
        (document(files=[FIRST | {"sha256": "0" * 63}]), "bad sha256"),
        (document(files=[FIRST | {"sha256": "A" * 64}]), "bad sha256"),
        (document(files=[FIRST | {"sha256": None}]), "bad sha256"),
        (document(digest="sha256:" + "0" * 64), "says digest 'sha256:0000"),
        (document(digest=None), "says digest None"),
        (Package.of(NEEDED[1:]).to_json(), "does not list config.pbtxt"),
        (Package.of([NEEDED[0], NEEDED[2]]).to_json(), "does not list smoke.json"),
        (
            '{"format": 1, "digest": "", "files": [{"path": "a", "size": ' + "9" * 5000 + ', "sha256": "0"}]}',
            "not JSON",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_list_that_is_wrong_says_why(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Package.from_json(text)


def test_what_goes_where() -> None:
    whole = Package.of([*NEEDED, file("data/a.bin", b"abc")])
    assert [f.path for f in whole.version_files] == ["data/a.bin", "model.onnx"]
    assert whole.size == sum(f.size for f in whole.files)
    assert whole.file("data/a.bin") == file("data/a.bin", b"abc")
    assert whole.file("nothing") is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.sampled_from(["format", "digest", "files"]), json_values)
def test_any_json_in_any_place_is_a_value_error_at_most(key: str, value: Any) -> None:
    for text in (document(**{key: value}), document(files=[FIRST | {"path": value}]), document(files=[value])):
        try:
            Package.from_json(text)
        except ValueError:
            continue
        assert json.loads(text) == json.loads(document())
