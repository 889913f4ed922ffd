"""Hostile files of desired state: refused with file, line and key, never another exception, never a wrong meaning."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain import desired, yamltext
from bot.domain.desired import SECTIONS, Desired
from bot.errors import InvalidInput
from tests.domain.entries import entry

FILE = "promotions/dev.yaml"
ONE = entry(1)
FLOW = f"{{version: 1, digest: {ONE.digest}, run: run1}}"
BLOCK = f"    version: 1\n    digest: {ONE.digest}\n    run: run1\n"
GOOD = f"environment: dev\nmodels:\n  churn: {FLOW}\nshadow: {{}}\n"


def refused(text: str, **more: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        desired.parse(text, file=FILE, **more)
    assert error.value.file == FILE
    assert str(error.value).startswith(FILE)
    assert error.value.state == "Nothing was changed."
    return error.value


def models(lines: str) -> str:
    return f"environment: dev\nmodels:\n{lines}"


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        # the document
        ("", 1, "", "not a mapping"),
        ("# only a comment\n", 1, "", "not a mapping"),
        ("- a\n- b\n", 1, "", "not a mapping"),
        ("just text\n", 1, "", "not a mapping"),
        ("models: {}\n", 1, "environment", "is missing"),
        ("environment: dev\n---\nenvironment: dev\n", 2, "", "second document"),
        ("environment: dev\n...\n---\nmodels: {}\n", 3, "", "second document"),
        ("environment: dev\nmodels: {}\nmodels: {}\n", 3, "models", "stands twice, first in line 2"),
        ("environment: dev\nmodles: {}\n", 2, "modles", "unknown key"),
        ("environment: dev\nmodels:\n\tchurn: {}\n", 3, "models", "not YAML: a tab; indent with spaces"),
        ("environment: dev\nmodels: {\n", 2, "models", "not YAML: a value is missing, or a bracket is not closed"),
        ("environment: 'dev\n", 1, "environment", "not YAML: a quotation mark is not closed"),
        ("environment: Prod\n", 1, "environment", "not a valid environment name"),
        ("environment: ../x\n", 1, "environment", "not a valid environment name"),
        ("environment: 7\n", 1, "environment", "it needs a text, not 7"),
        ("environment: true\n", 1, "environment", "it needs a text, not true"),
        ("environment:\n", 1, "environment", "it needs a text, not nothing"),
        ("environment: dev\nmodels: []\n", 2, "models", "it needs keys of its own"),
        ("environment: dev\nmodels: 0\n", 2, "models", "it needs keys of its own"),
        ("environment: dev\nmodels: ''\n", 2, "models", "it needs keys of its own"),
        # entries
        (models("  churn:\n"), 3, "models.churn", "it needs keys of its own"),
        (models("  churn: 7\n"), 3, "models.churn", "it needs keys of its own"),
        (models("  churn: {}\n"), None, "", "3 mistakes"),
        (models(f"  churn: {FLOW}\n  churn: {FLOW}\n"), 4, "churn", "stands twice, first in line 3"),
        (models("  churn:\n    version: 1\n    version: 2\n"), 5, "version", "stands twice, first in line 4"),
        (models(f"  churn: {{version: 1, digest: {ONE.digest}}}\n"), 3, "models.churn.run", "is missing"),
        (models(f"  churn:\n{BLOCK}    alias: x\n"), 7, "models.churn.alias", "unknown key"),
        (models(f"  churn:\n{BLOCK}    reason: x\n"), 7, "models.churn.reason", "only a shadow"),
        (
            f"environment: dev\nshadow:\n  churn:\n{BLOCK}    reason: {'x' * 501}\n",
            *(7, "shadow.churn.reason", "at most 500"),
        ),
        # tricks
        (f"environment: dev\nmodels: &a\n  churn: {FLOW}\nshadow: *a\n", 2, "", "anchors and aliases"),
        ("environment: dev\nmodels: *a\n", 2, "", "anchors and aliases"),
        (f"environment: dev\nmodels:\n  <<: {FLOW}\n", 3, "models.<<", "not a valid model name"),
        ("environment: !!python/object:os.system dev\n", 1, "", "tags are not allowed"),
        ("environment: !!str dev\n", 1, "", "tags are not allowed"),
        ("environment: !<tag:%0A::error::x> dev\n", 1, "", r"tags are not allowed: 'tag:\n::error::x'"),
        ("environment: dev\nmodels: !!set {churn}\n", 2, "", "tags are not allowed"),
        ("? [a]\n: b\n", 1, "", "a key must be plain text"),
        ("? {a: b}\n: c\n", 1, "", "a key must be plain text"),
        (models(f"  123: {FLOW}\n"), 3, "", "the key 123 is not text; quote it"),
        (models(f"  1.5: {FLOW}\n"), 3, "", "the key 1.5 is not text"),
        (models(f"  true: {FLOW}\n"), 3, "", "the key true is not text"),
        (models(f"  null: {FLOW}\n"), 3, "", "the key nothing is not text"),
        (models(f"  ~: {FLOW}\n"), 3, "", "the key nothing is not text"),
        ("a: " * 20, 1, "a", "not YAML: a second “: ” in one line"),
        ("[" * 100_000, 1, "", "nested deeper than 12 levels"),
        ("environment: dev\nmodels: " + "{a: " * 50, 2, "", "nested deeper"),
        ("environment: dev\nmodels:\n" + "".join(" " * n + "a:\n" for n in range(1, 40)), None, "", "nested deeper"),
        # characters
        ("\ufeffenvironment: dev\n", 1, "", "a byte order mark"),
        ("environment: dev\nmodels: {}\ufeff\n", 2, "", "a byte order mark"),
        ("environment: dev\n# \x00\n", 2, "", "U+0000"),
        ("environment: dev\n# \x1b[31m\n", 2, "", "U+001B"),
        ("environment: dev\n# \u2028models: {}\n", 2, "", "line break"),
        ("environment: dev\n# \x85models: {}\n", 2, "", "line break"),
        ("environment: dev\rmodels: {}\n", 1, "", "line break"),
        ("environment: \ud800\n", 1, "", "U+D800"),
        ('environment: "\\ud800"\n', 1, "environment", "not YAML: a backslash"),
        ('environment: "\\Uffffffff"\n', 1, "environment", "not YAML: a backslash"),
        ('environment: dev\nmodels: {"x\\n::add-mask::y": 1}\n', None, "", r"models.x\n::add-mask::y"),
        # size
        ("environment: dev\n" + "#" * 5 * 2**20, None, "", "longer than"),
        ("environment: dev\nmodels: {? " + "a" * 3_000_000 + " : 1}\n", None, "", "mistakes"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_refused_with_file_line_and_key(text: str, line: int | None, key: str, says: str) -> None:
    error = refused(text)
    if line is not None:
        assert (error.line, error.key) == (line, key)
    assert says in str(error)
    assert len(str(error)) < 2000
    assert all(c.isprintable() or c == "\n" for c in str(error))


@pytest.mark.parametrize(
    "version",
    [
        *(
            "0",
            "-1",
            "1.0",
            "1e3",
            "'1'",
            "true",
            "null",
            "",
            "010",
            "0x10",
            "1_000",
            "1:30",
            "2147483648",
            "[1]",
            "{}",
        ),
        *(
            "99999999999999999999999999",
            "-0",
            "+",
            ".inf",
            ".nan",
            "1e999",
            "yes",
            "latest",
            "2026-01-01",
            "9" * 5000,
        ),
    ],
)
def test_a_version_is_a_whole_number_in_decimal(version: str) -> None:
    error = refused(models(f"  churn:\n    version: {version}\n    digest: {ONE.digest}\n    run: run1\n"))
    assert (error.line, error.key) == (4, "models.churn.version")


@pytest.mark.parametrize(
    "digest",
    [
        *("", "sha256:", "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256:" + "A" * 64, "md5:" + "a" * 64),
        *("a" * 64, "sha256:" + "g" * 64, "' sha256:" + "a" * 64 + "'", '"sha256:' + "a" * 64 + '\\n"', "1"),
        *("sha256: " + "a" * 64, '"sha256:' + "\\u0660" * 64 + '"'),
    ],
)
def test_a_digest_is_64_hexadecimal_digits(digest: str) -> None:
    text = models(f"  churn:\n    version: 1\n    digest: {digest}\n    run: run1\n")
    with pytest.raises(InvalidInput) as error:
        desired.parse(text, file=FILE)
    assert error.value.line == 5


@pytest.mark.parametrize(
    "run", ["", "''", "-x", "a b", "a/b", "../x", "a" * 65, "ä", "12", "true", "null", "[]", '"a\\n"']
)
def test_a_run_is_a_plain_id(run: str) -> None:
    error = refused(models(f"  churn:\n    version: 1\n    digest: {ONE.digest}\n    run: {run}\n"))
    assert (error.line, error.key) == (6, "models.churn.run")


HOSTILE_NAMES = [
    *(
        "../x",
        "..",
        ".",
        ".git",
        "x/../../y",
        "/etc/passwd",
        "x/y",
        "x\\y",
        "C:",
        "~",
        "~root",
        "$HOME",
        "`id`",
        "$(id)",
    ),
    *("-rf", "--help", "_x", "x.y", "x y", " x", "x ", "X", "Churn", "churn-shadow", "-shadow", "x-shadow", "x" * 64),
    *(
        "",
        "ä",
        "ｃhurn",
        "сhurn",
        "x\u200b",
        "x\u202e",
        "x\n",
        "x\ny",
        "x\x00",
        "x\r",
        "\u0661",
        "😀",
        "con:",
        "x*",
        "x?",
    ),
    *("@everyone", "<script>", "x|y", "x;y", "x&y", "x'y", 'x"y', "%2e%2e", "x%00", "1\u0664", "churn.check-1-ready"),
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("section", SECTIONS)
def test_hostile_model_names(section: str, name: str) -> None:
    quoted = '"' + "".join(f"\\U{ord(c):08x}" for c in name) + '"'
    error = refused(f"environment: dev\n{section}:\n  {quoted}: {FLOW}\n")
    assert error.line == 3
    assert error.key.startswith(f"{section}.")
    assert "model name" in error.problem or "-shadow" in error.problem


@pytest.mark.parametrize(
    "name", ["on", "no", "yes", "off", "y", "n", "010", "0o10", "1_000", "2026-01-01", "nan", "inf"]
)
def test_words_that_other_readers_take_for_something_else_are_names_here(name: str) -> None:
    assert list(desired.parse(models(f"  {name}: {FLOW}\n"), file=FILE).models) == [name]


def test_the_file_must_be_that_of_its_environment() -> None:
    error = refused("# of prod\nenvironment: dev\n", environment="prod")
    assert (error.line, error.key) == (2, "environment")
    assert "says 'dev', but the file is that of 'prod'" in str(error)


def test_all_mistakes_are_named_at_once_but_not_without_end() -> None:
    error = refused(models(f"  a: {{version: 0, digest: x, run: '-'}}\n  B: {FLOW}\n") + "extra: 1\n")
    for part in (
        "5 mistakes",
        ":3: models.a.version: ",
        ":3: models.a.digest",
        ":3: models.a.run",
        ":4: models.B",
        ":5: extra",
    ):
        assert part in str(error)
    error = refused(models("".join(f"  m{n}: {{}}\n" for n in range(500))))
    assert str(error).count("\n") == 21
    assert str(error).endswith("and 1480 more")


def test_a_big_file_is_read_quickly_and_a_bigger_one_refused_at_once() -> None:
    text = models("".join(f"  m{n}: {FLOW}\n" for n in range(5000)))
    assert len(desired.parse(text, file=FILE).models) == 5000
    for hostile in (
        "x: [" * 10**6,
        "{" * 4 * 10**6,
        "? " * 10**6,
        "a: |\n" + " x\n" * 10**6,
        "'" + "\n" * 4 * 10**6,
        "!" * 10**6,
    ):
        refused(hostile)  # a reader whose work grows with the square of this would not come back


def test_both_readers_of_pyyaml_refuse_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml is an optional part of PyYAML."""
    monkeypatch.delattr(yaml, "CSafeLoader")
    for text in (
        'a: "\\Uffffffff"\n',
        'a: "\\ud800"\n',
        "a: [",
        "a: *b\n",
        "a: !!str b\n",
        "a: 1\na: 2\n",
        "a: \x00\n",
    ):
        with pytest.raises(InvalidInput):
            yamltext.read(text, file=FILE)
    assert desired.parse(GOOD, file=FILE).models == {"churn": ONE}


# --- fuzz --------------------------------------------------------------------------------------------------------

SEEDS = (
    GOOD,
    "# What dev serves\nenvironment: dev\nmodels:\n  churn:\n    version: 7   # good\n"
    f"    digest: {entry(7).digest}\n    run: '77'\n\nshadow:\n  fraud:\n    version: 8\n"
    f'    digest: {entry(8).digest}\n    run: r8\n    reason: "accuracy < 0.9"\n',
    f"{{environment: dev, models: {{a: {FLOW}, b: {FLOW}}}, shadow: {{a: {FLOW}}}}}\n",
    GOOD.replace("\n", "\r\n"),
)
PIECES = (
    *(
        "\n",
        "\r",
        "\r\n",
        " ",
        "  ",
        "\t",
        ":",
        ": ",
        "?",
        "- ",
        "#",
        " #",
        ",",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "\\",
        "|",
        ">",
    ),
    *(
        "&a",
        "*a",
        "<<: ",
        "!",
        "!!str ",
        "!!int ",
        "!!python/name:os.system ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "%TAG ! x\n",
    ),
    *(
        "true",
        "null",
        "~",
        "on",
        "010",
        "0x1",
        "1e3",
        "1e999",
        ".nan",
        "1.0",
        "-1",
        "2147483648",
        "9" * 30,
        "2026-01-01",
    ),
    *(
        "models",
        "shadow",
        "environment",
        "version",
        "digest",
        "run",
        "reason",
        "churn",
        "../x",
        "x-shadow",
        "dev",
        "prod",
    ),
    *(
        "\x00",
        "\x1b",
        "\x85",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\u202e",
        "ä",
        "😀",
        "\\u0000",
        "\\Uffffffff",
        "\\ud800",
        "\\x",
    ),
    *(ONE.digest, FLOW, "  a: " + FLOW + "\n", "{}", "[]", "''"),
)


def mutated(text: str, chance: random.Random) -> str:
    """Return the text with one to six pieces inserted, deleted, doubled, moved or replaced."""
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 1, 1, 2, 5, 20, 80)))
        match chance.randint(0, 4):
            case 0:
                text = text[:start] + chance.choice(PIECES) + text[start:]
            case 1:
                text = text[:start] + text[end:]
            case 2:
                text = text[:end] + text[start:]
            case 3:
                to = chance.randint(0, len(text))
                text = text[:to] + text[start:end] + text[to:]
            case _:
                text = text[:start] + chance.choice(PIECES) + text[end:]
    return text


def check(text: str) -> bool:
    """Read ``text``; True if it was accepted, which must then mean what an independent reader says it means."""
    try:
        accepted = desired.parse(text, file=FILE)
    except InvalidInput as error:
        assert error.file == FILE
        assert error.line is None or 1 <= error.line <= text.count("\n") + 1
        return False
    try:
        assert accepted == independently(text)
    except yaml.scanner.ScannerError:
        assert "\t" in text  # between tokens, where YAML allows it and PyYAML's own scanner does not
    rewritten = f"environment: {accepted.environment}\nmodels: {{}}\n\nshadow: {{}}\n"
    for section in SECTIONS:
        for model, of_model in accepted.section(section).items():
            rewritten = desired.with_entry(rewritten, file=FILE, section=section, model=model, entry=of_model)
    assert desired.parse(rewritten, file=FILE) == accepted
    for section in SECTIONS:
        for model in accepted.section(section):
            try:
                edited = desired.with_entry(text, file=FILE, section=section, model=model, entry=entry(5))
            except InvalidInput as error:
                assert "cannot be edited safely" in str(error)
            else:
                assert desired.parse(edited, file=FILE).section(section)[model] == entry(5)
    return True


def independently(text: str) -> Desired:
    """Read with PyYAML alone, pure Python, every scalar as text; assert everything that a file may not have."""
    for token in yaml.scan(text, Loader=yaml.BaseLoader):
        assert not isinstance(token, yaml.AnchorToken | yaml.AliasToken)
        assert not isinstance(token, yaml.TagToken) or token.value == (None, "!")
    (root,) = yaml.compose_all(text, Loader=yaml.BaseLoader)
    top = _mapping(root)
    assert set(top) <= {"environment", "models", "shadow"}
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", top["environment"].value)
    found: dict[str, Any] = {"environment": top["environment"].value}
    for section in SECTIONS:
        node = top.get(section)
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "~", "null") and not node.style):
            continue
        found[section] = {}
        for model, value in _mapping(node).items():
            assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", model)
            assert not model.endswith("-shadow")
            fields = {key: child.value for key, child in _mapping(value).items()}
            assert re.fullmatch(r"\+?[1-9][0-9]{0,9}", fields["version"])
            assert _mapping(value)["version"].style is None
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", fields["digest"])
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fields["run"])
            assert section == "shadow" or not fields.get("reason")
            found[section][model] = fields | {"version": int(fields["version"])}
    return Desired(**found)


def _mapping(node: Any) -> dict[str, Any]:
    assert isinstance(node, yaml.MappingNode)
    keys = [key.value for key, _ in node.value]
    assert len(keys) == len(set(keys))
    return {key.value: value for key, value in node.value}


@settings(max_examples=300)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_mutated_files_are_refused_in_words_or_mean_what_they_say(text: str, seed: int) -> None:
    check(mutated(text, random.Random(seed)))  # noqa: S311


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_mutated_files() -> None:
    accepted = 0
    for seed in range(100_000):
        text = mutated(SEEDS[seed % len(SEEDS)], random.Random(seed))  # noqa: S311
        try:
            accepted += check(text)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {text!r}") from error
    assert 3_000 < accepted < 50_000  # neither a fuzz that breaks everything nor one that breaks nothing


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_any_text_at_all(text: str) -> None:
    check(text)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_that_are_utf8(data: bytes) -> None:
    check(data.decode(errors="ignore"))
