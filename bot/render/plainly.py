"""A cause as people read it in a chat: without the addresses and the JSON that its record keeps."""

from __future__ import annotations

import json
import re

_ADDRESS = re.compile(r"\s*\((?:https?|s3)://[^\s()]+\)|\s+(?:on|at)\s+https?://[^\s/:;,()]+(?::\d+)?(?=[:;,\s]|$)")
"""That of a server; one with a path is a page to look at, and stays."""
_SAYING = ("error", "message", "detail")


def plainly(text: str) -> str:
    """Return the cause without the addresses of servers; of a JSON object only what it says under a name for that."""
    return _without_objects(_ADDRESS.sub("", text))


def _without_objects(text: str) -> str:
    parts, begin = [], 0
    decoder = json.JSONDecoder()
    while (start := text.find("{", begin)) >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except ValueError:
            parts.append(text[begin : start + 1])
            begin = start + 1
            continue
        said = next((found[name] for name in _SAYING if isinstance(found.get(name), str)), "…")
        parts += [text[begin:start], plainly(said)]  # a gateway quotes the Triton that it asked
        begin = end
    return "".join([*parts, text[begin:]])
