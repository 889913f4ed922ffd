"""The content of a variable that should hold a secret: the secret itself, or what is wrong with it.

Nothing here ever shows a part of the value.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["token", "password", "name", "PEM"]
"""A token goes into a header as it is. A password is encoded first, so it may hold any letters. A name goes
with a password and is not a secret itself. A PEM has lines."""

_BEGINS = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_PEM_IN_BASE64 = "LS0tLS1CRUdJTi"
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
"""Zero-width characters, which web pages and editors leave around what is copied."""


def cleaned(text: str, kind: Kind = "token") -> str:
    """Return the secret without what is around it; raise ValueError, without the value, for what is wrong with it.

    In a PEM, ``\\n`` written as two characters is a line break.
    """
    value = text.strip().strip(_INVISIBLE).strip()
    if not value:
        raise ValueError("holds nothing but white space" if text else "is not set")
    if value[0] == value[-1] and value[0] in "\"'`" and len(value) > 1:
        raise ValueError("is in quotation marks, which count as part of it")
    return _pem(value) if kind == "PEM" else _one_line(value, kind)


def _one_line(value: str, kind: Kind) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError("has a line break inside")
    if not value.isprintable():
        raise ValueError("holds a character that cannot be seen, such as a tab or a control character")
    if kind == "token" and not value.isascii():
        raise ValueError("holds a character that is not ASCII, as a dash or a space of a text program")
    return value


def _pem(value: str) -> str:
    if value.startswith(_PEM_IN_BASE64):
        raise ValueError("is a PEM that was encoded in base64 once more")
    value = value.replace("\\r", "").replace("\\n", "\n")
    lines = [line.strip() for line in value.splitlines() if line.strip()]
    begins = _BEGINS.match(lines[0])
    if begins is None:
        raise ValueError("is not a PEM: it does not begin with -----BEGIN")
    if len(lines) == 1:
        raise ValueError("is a PEM on one line: its line breaks are gone")
    if begins.end() != len(lines[0]):
        raise ValueError("is not a PEM: the line with -----BEGIN has more on it")
    if lines[-1] != f"-----END {begins[1]}-----":
        raise ValueError(f"is not a whole PEM: it does not end with -----END {begins[1]}-----")
    if "PRIVATE KEY" not in begins[1]:
        raise ValueError(f"holds a {begins[1].lower()}, where a private key is needed")
    if not value.isascii():
        raise ValueError("holds a character that is not ASCII")
    return "\n".join(lines) + "\n"
