"""What a variable holds: the secret in it, or what is wrong, never shown."""

from __future__ import annotations

import pytest

from bot.domain.secret_text import Kind, cleaned

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIICanary0123456789\nabcdefghijk=\n-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "text",
    [
        "canary-4711",
        "canary-4711\n",
        "  canary-4711\r\n",
        "\tcanary-4711 ",
        "\ufeffcanary-4711\n",
        "canary-4711\u200b",
    ],
)
@pytest.mark.parametrize("kind", ["token", "password", "name"])
def test_white_space_around_a_secret_does_not_count(text: str, kind: Kind) -> None:
    assert cleaned(text, kind) == "canary-4711"


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM.strip(),
        PEM.replace("\n", "\\n"),
        PEM.replace("\n", "\\r\\n"),
        PEM.replace("\n", "\r\n"),
        f"\n  {PEM}\n\n",
        PEM.replace("\n", "\n    "),
        PEM.replace("\n", "\\n", 1),
    ],
)
def test_a_pem_is_understood_however_its_lines_are_written(text: str) -> None:
    assert cleaned(text, "PEM") == PEM


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("", "token", "is not set"),
        (" \n", "token", "nothing but white space"),
        ("'canary-4711'", "token", "quotation marks"),
        ('"canary-4711"', "password", "quotation marks"),
        ("canary\n4711", "token", "line break inside"),
        ("canary\r4711", "password", "line break inside"),
        ("canary\t4711", "token", "cannot be seen"),
        ("canary\x004711", "password", "cannot be seen"),
        ("canary–4711", "token", "not ASCII"),
        ("canary\u00a04711", "token", "cannot be seen"),
        ("canary-4711", "PEM", "does not begin with -----BEGIN"),
        (f'"{PEM}"', "PEM", "quotation marks"),
        (PEM.replace("\n", " "), "PEM", "on one line"),
        (PEM.replace("\n", ""), "PEM", "on one line"),
        (PEM[:60], "PEM", "does not end with -----END RSA PRIVATE KEY-----"),
        (PEM.replace("END RSA", "END EC"), "PEM", "does not end with -----END RSA PRIVATE KEY-----"),
        (PEM.replace("KEY-----\nM", "KEY-----M", 1), "PEM", "has more on it"),
        (PEM.replace("RSA PRIVATE", "PUBLIC"), "PEM", "holds a public key"),
        ("LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpjYW5hcnk=", "PEM", "base64 once more"),
        (PEM.replace("abc", "äbc"), "PEM", "not ASCII"),
    ],
)
def test_what_is_wrong_is_said_and_the_value_is_not(text: str, kind: Kind, says: str) -> None:
    with pytest.raises(ValueError, match=says) as failure:
        cleaned(text, kind)
    assert "anary" not in str(failure.value) and "4711" not in str(failure.value)


@pytest.mark.parametrize("kind", ["password", "name"])
def test_a_password_may_hold_any_letters_and_spaces(kind: Kind) -> None:
    assert cleaned("größer als \\n 4711", kind) == "größer als \\n 4711"
