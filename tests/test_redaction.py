"""Secrets are blanked by their value, in whatever way they are written."""

from __future__ import annotations

import base64
import html
import json
import logging
from urllib.parse import quote, quote_plus

import pytest

from bot import redaction
from bot.domain import secret_text
from bot.errors import Rejected
from bot.redaction import excerpt, keep, redact, redact_all
from bot.render.markdown import escape

CANARIES = (
    "canary-4711",
    'c@nary "4/7+1=1" & <more> \\ it\'s',
    "canary~~~???>>>~~~!",
    "kanarienvögel-4711-größer",
    "0123456789abcdef" * 4,
)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_kept", set())


def written(value: str) -> dict[str, str]:
    """Return the value as libraries write it."""
    return {
        "as it is": value,
        "percent-encoded": quote(value, safe=""),
        "percent-encoded, a path": quote(value),
        "percent-encoded, small": "".join(
            part.lower() if index % 2 else part for index, part in enumerate(_split_percent(quote(value, safe="")))
        ),
        "percent-encoded twice": quote(quote(value, safe=""), safe=""),
        "a form": quote_plus(value),
        "JSON": json.dumps(value)[1:-1],
        "JSON of UTF-8": json.dumps(value, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(value))[3:-3],
        "JSON with slashes": json.dumps(value)[1:-1].replace("/", "\\/"),
        "Python": repr(value)[1:-1],
        "Python's bytes": repr(value.encode())[2:-1],
        "HTML": html.escape(value),
        "HTML, numbers": html.escape(value).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        "Markdown": escape(value),
    }


def _split_percent(text: str) -> list[str]:
    """Return the text as parts, every second of which is one percent-encoded byte."""
    parts, rest = [], text
    while "%" in rest:
        before, _, rest = rest.partition("%")
        parts += [before, f"%{rest[:2]}"]
        rest = rest[2:]
    return [*parts, rest]


@pytest.mark.parametrize("value", CANARIES)
def test_a_secret_is_blanked_however_it_is_written(value: str) -> None:
    keep(value)
    for how, text in written(value).items():
        assert redact(f"before {text} after {text}.") == "before *** after ***.", how


@pytest.mark.parametrize("value", CANARIES)
@pytest.mark.parametrize("before", ["", "x-access-token:", "u:", "bot:"])
@pytest.mark.parametrize("after", ["", "\n", "@host"])
def test_a_secret_is_blanked_in_base64_also_as_a_part(value: str, before: str, after: str) -> None:
    keep(value)
    content = f"{before}{value}{after}".encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(content).decode()
        assert redact(f"Authorization: Basic {text}, and so on") == "Authorization: Basic ***, and so on"
        assert redact(json.dumps({"header": f"Basic {text.rstrip('=')}"})) == '{"header": "Basic ***"}'
        assert redact(f"?token={quote(text, safe='')}&x") in ("?***&x", "?token=***&x", "?***%3D&x", "?***%3D%3D&x")


def _in_lines(text: str, *, width: int, between: str) -> str:
    return between.join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize("value", CANARIES)
@pytest.mark.parametrize("before", ["", "u:", "bot:"])
def test_a_secret_is_blanked_in_hexadecimal_digits_in_lines_and_where_it_was_encoded_twice(
    value: str, before: str
) -> None:
    keep(value)
    content = f"{before}{value}\n".encode()
    once = base64.b64encode(content)
    written = {
        "digits": content.hex(),
        "large digits": content.hex().upper(),
        **{f"digits between {sign!r}": content.hex(sign) for sign in ":- "},
        "digits of Python": "".join(f"\\x{byte:02x}" for byte in content),
        "digits in lines": _in_lines(content.hex(), width=16, between="\n"),
        **{
            f"in lines of {width} {between!r}": _in_lines(once.decode().rstrip("="), width=width, between=between)
            for width in (16, 64, 76)
            for between in ("\n", "\r\n", "\\n", "\\r\\n", "\\\\n", "\n    ", "\n\n")
        },
        "twice": base64.b64encode(once).decode(),
        "twice, for addresses": base64.urlsafe_b64encode(base64.urlsafe_b64encode(content)).decode(),
        "twice, by a program that breaks lines": base64.encodebytes(base64.encodebytes(content)).decode().rstrip(),
        "three times": base64.b64encode(base64.b64encode(once)).decode(),
        "digits of base64": once.hex(),
        "base64 of digits": base64.b64encode(content.hex().encode()).decode(),
        "a part of what was encoded twice": base64.b64encode(b"Basic " + once + b", and so on").decode(),
    }
    for how, text in written.items():
        said = redact(f"before {text} after").replace("=", "")
        assert said in ("before *** after", "before \\x*** after"), how


def test_words_and_identifiers_are_not_taken_for_encoded_secrets() -> None:
    for value in CANARIES:
        keep(value)
    text = "\n".join(
        ["sha256:" + "0f" * 32, "promobot-revert/dev/churn", "a\nb\nc", "dead beef cafe", "aGVsbG8gd29ybGQsIGhlbGxv"]
    )
    assert redact(text) == text


def test_each_line_of_a_private_key_is_blanked() -> None:
    lines = ["MIICanary0123456789/+abc", "canaryCANARYcanary/+=="]
    pem = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *lines, "-----END RSA PRIVATE KEY-----", ""])
    keep(secret_text.cleaned(pem, "PEM"))
    for text in (
        pem,
        pem.replace("\n", "\\n"),
        json.dumps(pem),
        repr(pem),
        quote(pem),
        pem.replace("\n", " "),
        *lines,
    ):
        assert "anary" not in redact(text) and "***" in redact(text)
    assert redact(base64.b64encode(pem.encode()).decode()) == "***"


@pytest.mark.parametrize("value", ["", "abc", "churn-7", "promobot", "minioadmin", " short "])
def test_an_ordinary_word_is_not_blanked(value: str) -> None:
    keep(value)
    text = f"promobot: abc of churn-7 {value} in minioadmin, short"
    assert redact(text) == text
    assert redaction.is_too_plain(value.strip())


def test_what_libraries_find_by_themselves_is_blanked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-4711")
    monkeypatch.setenv("A_NAME", "ordinary-value")
    assert redact("canary-4711 ordinary-value") == "*** ordinary-value"


@pytest.mark.parametrize(
    "token",
    [
        "ghs_0123456789abcdef",
        "github_pat_0123456789abcdef_x",
        "xoxb-123-456-abc",
        "xapp-1-abc-def",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxMjM0NTYifQ.0123456789abcdef-_0123456789",
    ],
)
def test_tokens_are_known_by_their_look(token: str) -> None:
    assert redact(f"({token})") == "(***)"


def test_what_is_in_lists_and_mappings_is_blanked() -> None:
    keep("canary-4711")
    blocks = [{"text": {"text": "a canary-4711"}, "fields": ("canary-4711", 7, None)}]
    assert redact_all(blocks) == [{"text": {"text": "a ***"}, "fields": ["***", 7, None]}]


def test_logs_and_errors_are_blanked() -> None:
    keep("canary-4711")
    try:
        raise ValueError("canary-4711")
    except ValueError as error:
        record = logging.LogRecord("x", 20, "f", 1, "said %s", ("canary-4711",), (type(error), error, None))
    assert "canary" not in redaction.Formatter("%(message)s").format(record)
    rejected = Rejected("said canary-4711", system="MLflow")
    assert str(rejected) == rejected.message == "MLflow: said ***"
    assert rejected.args == ("MLflow: said ***",)


def test_secrets_beside_and_within_each_other_are_blanked_whole() -> None:
    keep("canary-4711")
    keep("canary-4711-and-more")
    assert redact("canary-4711-and-more canary-4711canary-4711") == "*** ******"


def test_a_text_is_cut_after_it_was_blanked() -> None:
    keep("canary-4711")
    assert excerpt("said canary-4711", 10) == "said ***"
