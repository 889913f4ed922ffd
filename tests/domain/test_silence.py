"""Since when a server is silent: what was seen counts, and nothing is invented in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.silence import GAP, GATEWAY_GAP_SECONDS, Silences, Tries, TritonsOfGateway, all_silent_since

AT = datetime(2026, 11, 30, 3, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_who_does_not_answer_look_after_look_is_silent_since_the_first() -> None:
    looks = Silences().after(["t1"], at=AT).after(["t1", "g1"], at=AT + GAP).after(["g1", "t1"], at=AT + 2 * GAP)
    assert looks.since(AT + 3 * GAP) == {"t1": AT, "g1": AT + GAP}


def test_who_answered_in_between_is_silent_anew() -> None:
    looks = Silences().after(["t1"], at=AT).after([], at=AT + MINUTE).after(["t1"], at=AT + 2 * MINUTE)
    assert looks.since(AT + 2 * MINUTE) == {"t1": AT + 2 * MINUTE}


def test_looks_too_far_apart_prove_nothing_in_between() -> None:
    late = AT + GAP + MINUTE
    looks = Silences().after(["t1"], at=AT)
    assert looks.since(AT + GAP) == {"t1": AT} and looks.since(late) == {}
    assert looks.after(["t1"], at=late).since(late) == {"t1": late}


def test_a_clock_that_goes_back_proves_nothing() -> None:
    assert Silences().after(["t1"], at=AT).since(AT - MINUTE) == {}


def test_what_is_noted_is_read_again() -> None:
    looks = Silences().after(["t1"], at=AT)
    assert Silences.model_validate_json(looks.model_dump_json()) == looks


def said(known: int, silent: int, since: int | None = None, answered: int | None = None) -> TritonsOfGateway:
    times = [None if minutes is None else AT + minutes * MINUTE for minutes in (since, answered)]
    return TritonsOfGateway(known, silent, *times)


@pytest.mark.parametrize(
    ("gateways", "since"),
    [
        ([], None),
        ([said(2, 2, 0)], 0),
        ([said(2, 1, 0)], None),  # another one answers it
        ([said(3, 3, 0)], None),  # it knows others than those who do not answer us
        ([said(2, 0)], None),  # nobody asked it
        ([said(2, 2, 4), said(2, 2, 1), said(2, 0)], 1),
        ([said(2, 2, 0, -3)], 0),
        ([said(2, 2, 0), said(2, 2, 5, 3)], 5),  # another one had an answer in between
        ([said(2, 2, 0), said(2, 0, None, 3)], None),
    ],
)
def test_a_gateway_knows_since_when_no_triton_answers(gateways: list[TritonsOfGateway], since: int | None) -> None:
    assert all_silent_since(gateways, tritons=2) == (None if since is None else AT + since * MINUTE)


def test_what_a_gateway_says_is_read_as_it_was_meant() -> None:
    for one in (said(2, 2, 0, -3), said(2, 0)):
        assert TritonsOfGateway.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "document",
    [
        None,  # an older gateway
        {"known": 2, "lacking": 0},
        {"known": "2", "silent": 2, "since": None, "answered": None},
        {"known": 2, "silent": 2, "since": "last night", "answered": None},
        {"known": 2, "silent": 2, "since": "2026-11-30T03:02:00", "answered": None},
    ],
)
def test_what_is_said_otherwise_is_not_known(document: object) -> None:
    assert TritonsOfGateway.from_json(document) is None


def test_tries_that_fail_one_after_the_other_are_one_silence() -> None:
    tries = Tries()
    assert tries.silent_since(0) is None
    tries.failed(10)
    tries.failed(20)
    assert tries.silent_since(25) == 10
    tries.answered = 30
    assert tries.silent_since(30) is None
    tries.failed(40)
    assert tries.silent_since(40) == 40


def test_a_server_that_nobody_tried_for_long_may_have_answered_meanwhile() -> None:
    tries = Tries()
    tries.failed(0)
    later = GATEWAY_GAP_SECONDS + 1
    assert tries.silent_since(GATEWAY_GAP_SECONDS) == 0 and tries.silent_since(later) is None
    tries.failed(later)
    assert tries.silent_since(later) == later
