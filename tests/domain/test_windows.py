"""Windows: what the clock on the wall says, also on the days on which people put it forward or back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.domain.windows import DAYS, Window, closed_since, in_windows, is_open, next_opening, open_since

SEOUL, BERLIN = "Asia/Seoul", "Europe/Berlin"
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Freeze:
    start: datetime
    end: datetime
    reason: str = "year end"


def at(text: str) -> datetime:
    """As in ``2026-12-01 10:00 Asia/Seoul``; UTC without a zone."""
    day, clock, zone = (f"{text} UTC" if text.count(" ") == 1 else text).split(" ")
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        # 2026-12-01 is a Tuesday.
        ("Mon-Thu 10:00-16:00 Asia/Seoul", ["2026-12-01 01:00", "2026-12-01 06:59"], ["2026-12-01 07:00"]),
        ("Mon-Thu 10:00-16:00 Asia/Seoul", ["2026-12-03 01:00"], ["2026-12-04 01:00", "2026-12-01 00:59"]),
        ("Mon–Thu 10:00–16:00 Asia/Seoul", ["2026-12-01 01:00"], ["2026-12-04 01:00"]),
        ("10:00-16:00 UTC", ["2026-12-05 10:00", "2026-12-06 15:59"], ["2026-12-05 09:59", "2026-12-05 16:00"]),
        ("Tue,Thu-Fri 00:00-24:00 UTC", ["2026-12-01 00:00", "2026-12-04 23:59"], ["2026-12-02 00:00"]),
        ("Fri 22:00-02:00 Asia/Seoul", ["2026-12-04 13:00", "2026-12-04 16:59"], ["2026-12-04 12:59"]),
        ("Fri 22:00-02:00 Asia/Seoul", ["2026-12-04 15:30"], ["2026-12-04 17:00", "2026-12-03 16:00"]),
        ("Sun 22:00-02:00 UTC", ["2026-12-06 23:00", "2026-12-07 01:59"], ["2026-12-06 01:00", "2026-12-07 02:00"]),
        ("Sat-Mon 12:00-13:00 UTC", ["2026-12-05 12:00", "2026-12-07 12:00"], ["2026-12-01 12:00"]),
        ("Sat 22:00-00:00 UTC", ["2026-12-05 23:59"], ["2026-12-06 00:00", "2026-12-05 00:00"]),
    ],
)
def test_a_window_is_from_its_beginning_until_before_its_end(
    window: str, inside: list[str], outside: list[str]
) -> None:
    parsed = Window.parse(window)
    assert [one for one in inside if not parsed.contains(at(one))] == []
    assert [one for one in outside if parsed.contains(at(one))] == []


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ("", "'' is not a window, as in Mon-Thu 10:00-16:00 Asia/Seoul"),
        ("Mon-Thu 10:00-16:00", "is not a window, as in"),
        ("mon-thu 10:00-16:00 Asia/Seoul", "is not a window"),
        ("Mon-Thu 10-16 Asia/Seoul", "is not a window"),
        ("Mon-Thu 10:00-25:00 Asia/Seoul", "is not a window"),
        ("Mon-Thu 24:00-10:00 Asia/Seoul", "is not a window"),
        ("Mon-Thu 10:00-16:00  Asia/Seoul", "is not a window"),
        ("Mon-Thu 10:00-16:00 +09:00", "is not a window"),
        ("Mon 10:00-16:00 ../../etc/passwd", "is not a window"),
        ("Mon 10:00-10:00 UTC", "ends when it begins; a whole day is 00:00-24:00"),
        ("Mon 10:00-16:00 Asia/Soul", "'Asia/Soul' is not a time zone, as in Asia/Seoul"),
        ("Mon 10:00-16:00 Asia", "'Asia' is not a time zone"),
        ("Mon 10:00-16:00 KST", "'KST' is not a time zone"),
    ],
)
def test_what_is_not_a_window(window: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Window.parse(window)
    assert says in str(refused.value)


def test_an_hour_that_the_clock_skips_is_in_no_window_and_one_that_it_shows_twice_is_in_it_twice() -> None:
    window = Window.parse(f"Sun 02:15-02:45 {BERLIN}")
    spring = [at("2026-03-29 00:00") + minute * MINUTE for minute in range(180)]
    assert not any(map(window.contains, spring)), "the clock goes from 02:00 to 03:00"
    assert next_opening([window], [], spring[0]) == at("2026-04-05 02:15 Europe/Berlin")
    autumn = [at("2026-10-25 00:00") + minute * MINUTE for minute in range(180)]
    opened = [one for one in autumn if window.contains(one)]
    assert (opened[0], opened[30], len(opened)) == (at("2026-10-25 00:15"), at("2026-10-25 01:15"), 60)


def test_a_window_whose_beginning_the_clock_skips_opens_when_the_clock_is_put_forward() -> None:
    window = Window.parse(f"Sun 02:30-04:00 {BERLIN}")
    assert next_opening([window], [], at("2026-03-28 12:00")) == at("2026-03-29 01:00")
    assert open_since([window], [], at("2026-03-29 01:30")) == at("2026-03-29 01:00")


def test_ten_in_the_morning_is_ten_in_the_morning_in_summer_and_in_winter() -> None:
    window = Window.parse(f"10:00-11:00 {BERLIN}")
    assert next_opening([window], [], at("2026-03-28 12:00")) == at("2026-03-29 08:00")
    assert next_opening([window], [], at("2026-10-24 12:00")) == at("2026-10-25 09:00")


def test_freezes_win_over_windows() -> None:
    windows = [Window.parse("Mon-Thu 10:00-16:00 UTC")]
    freeze = Freeze(at("2026-12-01 11:00"), at("2026-12-02 12:00"))
    assert is_open(windows, [freeze], at("2026-12-01 10:59")) and not is_open(
        windows, [freeze], at("2026-12-01 11:00")
    )
    assert next_opening(windows, [freeze], at("2026-12-01 11:00")) == at("2026-12-02 12:00"), "in a window it ends"
    later = Freeze(freeze.start, at("2026-12-02 17:00"))
    assert next_opening(windows, [later], at("2026-12-01 11:00")) == at("2026-12-03 10:00"), "it ends outside"
    both = [freeze, Freeze(at("2026-12-02 11:00"), at("2026-12-03 11:00"))]
    assert next_opening(windows, both, at("2026-12-01 12:00")) == at("2026-12-03 11:00"), "another one is on then"
    assert open_since(windows, [freeze], at("2026-12-02 13:00")) == at("2026-12-02 12:00")
    assert closed_since(windows, at("2026-12-02 18:00")) == at("2026-12-02 16:00")


def test_without_windows_only_freezes_count() -> None:
    freeze = Freeze(at("2026-12-01 11:00"), at("2026-12-02 12:00"))
    now = at("2026-12-01 10:00")
    assert is_open([], [], now) and next_opening([], [freeze], now) == now
    assert open_since([], [freeze], now) is None and closed_since([], now) is None
    assert open_since([], [freeze], at("2026-12-02 12:00")) == at("2026-12-02 12:00")


def test_a_window_that_the_clock_always_skips_never_opens() -> None:
    # The only hour that is missing in Berlin is that of the last Sunday in March; within two weeks there is none.
    freeze = Freeze(at("2026-12-01 00:00"), datetime(9999, 1, 1, tzinfo=UTC))
    assert next_opening([], [freeze], at("2026-12-01 10:00")) == freeze.end


CLOCKS = st.integers(0, 23 * 60 + 59).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
ZONES = st.sampled_from((SEOUL, BERLIN, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"))


@st.composite
def windows(draw: st.DrawFn) -> str:
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=3))
    start, end = draw(CLOCKS), draw(CLOCKS | st.just("24:00"))
    if start == end:
        end = "24:00"
    return f"{','.join(days)} {start}-{end} {draw(ZONES)}"


def by_hand(text: str, now: datetime) -> bool:
    """Say the same, by text alone."""
    days, hours, zone = text.split(" ")
    start, end = hours.split("-")
    wall = now.astimezone(ZoneInfo(zone))
    today, before = wall.strftime("%a"), DAYS[(wall.weekday() - 1) % 7]
    clock = wall.strftime("%H:%M")
    if start < end:
        return today in days and start <= clock < end
    return (today in days and start <= clock) or (before in days and clock < end)


@given(text=windows(), day=st.integers(0, 400), minute=st.integers(0, 1439))
@example(text=f"Sun 02:30-04:00 {BERLIN}", day=86, minute=0)
@example(text="Sun 01:00-01:45 Australia/Lord_Howe", day=92, minute=0)
def test_it_opens_and_closes_when_the_clock_says_so(text: str, day: int, minute: int) -> None:
    window = Window.parse(text)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=minute)
    assert window.contains(now) == by_hand(text, now)
    opens = next_opening([window], [], now)
    if opens is None:
        pytest.fail("a window of a week opens within two")
    assert by_hand(text, opens) and (opens == now or not by_hand(text, opens - MINUTE))
    between = (opens - now) // MINUTE
    assert not any(by_hand(text, now + step * MINUTE) for step in range(0, between, 7)), "it opened before"
    if opens == now and (since := open_since([window], [], now)) is not None:
        assert by_hand(text, since) and not by_hand(text, since - MINUTE)
        steps = (now - since) // MINUTE
        assert all(by_hand(text, since + step * MINUTE) for step in range(0, steps, 7)), "it closed in between"
    elif opens != now and (closed := closed_since([window], now)) is not None:
        assert not by_hand(text, closed) and by_hand(text, closed - MINUTE)
        assert not any(by_hand(text, closed + step * MINUTE) for step in range(0, (now - closed) // MINUTE, 7))


def test_no_window_holds_nothing() -> None:
    assert in_windows([], at("2026-12-01 10:00"))
