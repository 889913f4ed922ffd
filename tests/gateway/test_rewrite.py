"""The public name in answers of a Triton that knows the model by another."""

from __future__ import annotations

import pytest

from bot.gateway.connection import Reply
from bot.gateway.rewrite import with_public_name

OLD, NEW = "churn.1a2b3c4d", "churn"


def rewritten(body: bytes, *headers: tuple[bytes, bytes], key: str = "model_name") -> Reply:
    return with_public_name(Reply(200, headers, body), key=key, triton_model=OLD, model=NEW)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model_name":"churn.1a2b3c4d","x":0.10}', b'{"model_name":"churn","x":0.10}'),
        (b'{ "model_name" : "churn.1a2b3c4d" }', b'{ "model_name" : "churn" }'),
        (b'{"model_name":"churn_1a2b3c4d"}', b'{"model_name":"churn_1a2b3c4d"}'),
        (b'{"model_name":"churn.1a2b3c4d2"}', b'{"model_name":"churn.1a2b3c4d2"}'),
        (
            rb'{"id":"\"model_name\":\"churn.1a2b3c4d\"","model_name":"churn.1a2b3c4d"}',
            rb'{"id":"\"model_name\":\"churn.1a2b3c4d\"","model_name":"churn"}',
        ),
        (b'{"a":1}', b'{"a":1}'),
        (b"", b""),
    ],
)
def test_only_the_name_changes(body: bytes, expected: bytes) -> None:
    assert rewritten(body) == Reply(200, [], expected)


def test_the_tensors_of_a_binary_answer_stay_and_the_length_follows() -> None:
    head, tensors = b'{"model_name":"churn.1a2b3c4d"}', b'"model_name":"churn.1a2b3c4d"\x00\xff'
    reply = rewritten(
        head + tensors, (b"inference-header-content-length", b"%d" % len(head)), (b"content-type", b"x")
    )
    expected = b'{"model_name":"churn"}'
    assert reply.body == expected + tensors
    assert reply.headers == [
        (b"inference-header-content-length", b"%d" % len(expected)),
        (b"content-type", b"x"),
    ]


def test_other_answers_have_another_key() -> None:
    assert rewritten(b'{"name":"churn.1a2b3c4d","inputs":[]}', key="name").body == b'{"name":"churn","inputs":[]}'
