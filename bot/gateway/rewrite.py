"""The model's public name in answers of a Triton that knows it by another (``churn.1a2b3c4d`` for ``churn``).

Only the bytes of the name are exchanged: parsing and writing JSON anew would round the numbers of the answer.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

from bot.gateway.connection import BrokenOff, Reply

HEADER_LENGTH = b"inference-header-content-length"


def with_public_name(reply: Reply, *, key: str, triton_model: str, model: str) -> Reply:
    """Return ``reply`` with ``model`` as the value of ``key`` where Triton says ``triton_model``.

    ``key`` is ``model_name`` in answers to infer and ``name`` elsewhere. Of a binary answer only the JSON before the
    tensors is touched, and its length is corrected. A compressed answer must not come here.
    Raise BrokenOff where the answer says a length that its body does not have.
    """
    said = next((value for name, value in reply.headers if name == HEADER_LENGTH), b"%d" % len(reply.body))
    if not said.isdigit() or (length := int(said)) > len(reply.body):
        raise BrokenOff(f"the answer of {triton_model} says {HEADER_LENGTH.decode()}: {said!r:.40}")
    text = _pattern(key, triton_model).sub(
        lambda match: match[1] + json.dumps(model).encode(), reply.body[:length], count=1
    )
    headers = [(name, b"%d" % len(text) if name == HEADER_LENGTH else value) for name, value in reply.headers]
    return Reply(reply.status, headers, text + reply.body[length:])


@lru_cache(maxsize=1024)
def _pattern(key: str, triton_model: str) -> re.Pattern[bytes]:
    # The first match is the answer's own: Triton writes the name before outputs and parameters, and inside a string
    # (a request's id) the quotes would be escaped.
    return re.compile(b'("%b"\\s*:\\s*)%b' % (key.encode(), re.escape(json.dumps(triton_model).encode())))
