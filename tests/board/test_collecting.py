"""What the board knows, and what it knows no more, when parts of the platform are away."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.board import views
from bot.board.collecting import OfEnvironment, Rhythm
from bot.board.snapshot import Snapshot
from bot.board.views import Row
from bot.domain.desired import Change
from bot.domain.origin import Origin
from bot.domain.policy import Decided
from bot.domain.release import Release
from bot.operations.opened import Opened
from bot.records.ledger import OriginNote
from tests.board.place import QUICK, Place, entry, place, record
from tests.stand_ins.merged import commit


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path, churn=7) as made:
        made.ledger.add_deployment(record(1, "churn", 6, 7))
        yield made


@pytest.fixture
def reader(here: Place) -> Iterator[OfEnvironment]:
    made = here.reader()
    made.look()
    yield made
    made.stop()


def row_of(found: Snapshot) -> Row:
    (row,) = views.rows_of(found)
    return row


def later(reader: OfEnvironment) -> Snapshot:
    """Return what is known after another look at everything."""
    reader.look()
    return reader.snapshot()


def test_an_environment_that_is_well(reader: OfEnvironment) -> None:
    found = reader.snapshot()
    assert {name: part.why for name, part in found.parts.items() if part.why} == {}
    row = row_of(found)
    assert (row.users.text, row.users.tone, row.live.text, row.desired.text) == ("OK", "ok", "7", "7")
    assert (row.tone, row.next_command, row.hold, row.underway) == ("ok", "", None, None)
    assert [(dot.name, dot.state) for dot in row.dots] == [
        *(("triton-1", "ok"), ("triton-2", "ok")),
        *(("gateway-1", "ok"), ("gateway-2", "ok")),
    ]
    assert row.last is not None and (row.last.text, row.last.tone) == ("7 succeeded", "ok")
    page = views.board_page([found], {"dev": (row,)}, views.Filter())
    assert (page.tone, page.said) == ("ok", "Users are OK, and everything is as main says.")


def test_it_needs_no_secret_to_read(here: Place) -> None:
    for triton in here.tritons:
        triton.key = "the-control-key"
    controlled = [
        {"name": f"triton-{n}", "grpc": f"127.0.0.1:{one.port}", "control_key_env": "PROMOBOT_TRITON_KEY"}
        for n, one in enumerate(here.tritons, 1)
    ]
    here.configure(tritons=controlled, reload_token_env="PROMOBOT_RELOAD_TOKEN")
    reader = here.reader({})
    found = later(reader)
    reader.stop()
    row = row_of(found)
    assert (row.users.text, row.users.tone, row.live.text) == ("OK", "ok", "7")
    assert "GITHUB_TOKEN is not set" in found.part("main").why
    assert (row.desired.text, row.desired.tone) == ("unknown", "unknown")
    assert {"index", "statistics"} == set(here.tritons[0].asked)


def test_a_triton_that_is_down_is_down_at_the_next_look(here: Place, reader: OfEnvironment) -> None:
    here.tritons[0].stop()
    row = row_of(later(reader))
    assert (row.users.text, row.users.tone) == ("degraded", "warn")
    assert [dot.state for dot in row.dots] == ["down", "ok", "ok", "ok"]
    assert "does not answer since" in row.dots[0].said
    here.tritons[1].stop()
    row = row_of(later(reader))
    assert (row.users.text, row.users.tone, row.tone) == ("DOWN", "bad", "bad")
    for triton in here.tritons:
        triton.start()
    _until(lambda: row_of(later(reader)).users.text == "OK")


def test_gateways_that_do_not_answer(here: Place, reader: OfEnvironment) -> None:
    here.gateways[0].breaks()
    assert row_of(later(reader)).users.text == "degraded"
    here.gateways[1].breaks()
    row = row_of(later(reader))
    assert (row.users.text, [dot.state for dot in row.dots[2:]]) == ("DOWN", ["down", "down"])


def test_without_the_share_the_gateways_say_what_users_get(here: Place, reader: OfEnvironment) -> None:
    here.share_at.rename(here.share_at.with_name("gone"))
    found = later(reader)
    assert found.routes_by == "gateways" and "share" in found.part("share").why
    row = row_of(found)
    assert (row.users.text, row.users.tone, row.live.text) == ("OK", "ok", "7")
    assert "as the gateways say" in row.live.detail
    view = views.environment_view(found, (row,), views.Filter())
    assert view.tone == "unknown" and any(
        source.name == "share" and source.tone == "unknown" for source in view.sources
    )

    here.gateways[0].breaks()
    here.gateways[1].breaks()
    row = row_of(later(reader))
    assert (row.live.text, row.live.tone) == ("7", "unknown"), "nobody says it any more"
    assert row.live.unknown.startswith("unknown since ")


def test_a_board_that_starts_without_the_share(here: Place) -> None:
    here.share_at.rename(here.share_at.with_name("gone"))
    reader = here.reader()
    row = row_of(later(reader))
    reader.stop()
    assert (row.users.text, row.live.text) == ("OK", "7")


def test_without_the_records_what_they_told_is_unknown(here: Place, reader: OfEnvironment) -> None:
    shutil.rmtree(here.records_at)
    row = row_of(later(reader))
    assert (row.users.text, row.users.tone, row.live.text) == ("OK", "ok", "7")
    assert row.last is not None and (row.last.text, row.last.tone) == ("7 succeeded", "unknown")
    assert row.last.unknown.startswith("unknown since ")
    assert (row.tone, row.in_trouble) == ("plain", False), "it is not green, and its users are well"


def test_without_git_what_main_asks_for_is_unknown(here: Place, reader: OfEnvironment) -> None:
    here.bare.rename(here.bare.with_name("gone.git"))
    row = row_of(later(reader))
    assert (row.users.tone, row.live.text) == ("ok", "7")
    assert (row.desired.text, row.desired.tone) == ("7", "unknown")
    assert row.desired.unknown.startswith("unknown since ")
    assert (row.tone, row.in_trouble) == ("plain", False), "it is not green, and its users are well"


def test_what_main_asks_for_and_no_deployment_makes_is_held(here: Place, reader: OfEnvironment) -> None:
    here.merge({"churn": 8})
    row = row_of(later(reader))
    assert (row.live.text, row.desired.text, row.desired.tone) == ("7", "8", "warn")
    assert row.hold is not None and row.hold.text == "8 is held" and "there is no evidence" in row.hold.detail
    assert "promobot recheck churn --env dev" in row.next_command
    here.merge({"churn": 7})
    assert row_of(later(reader)).hold is None


def test_main_moves_without_this_environments_file(here: Place, reader: OfEnvironment) -> None:
    before = reader.main.known.value
    commit(here.bare, "promotions/prod.yaml", "environment: prod\n")
    after = later(reader)
    assert before is not None and after.status is not None and after.status.commit != before.commit
    assert row_of(after).desired.text == "7"
    here.merge({"churn": 8})
    assert row_of(later(reader)).desired.text == "8"


def test_a_hold_that_is_not_known_any_more_is_shown_as_unknown(here: Place, reader: OfEnvironment) -> None:
    here.merge({"churn": 8})
    reader.look()
    shutil.rmtree(here.records_at)
    row = row_of(later(reader))
    assert row.hold is not None and (row.hold.text, row.hold.tone) == ("8 is held", "unknown")


def test_a_deployment_under_way_and_the_one_that_failed(here: Place, reader: OfEnvironment) -> None:
    here.ledger.add_deployment(record(2, "churn", 7, 8, outcome="put back", problem="gateway-2 refused"))
    row = row_of(later(reader))
    assert row.last is not None and (row.last.text, row.last.tone) == ("8 put back", "bad")
    assert row.last.detail.endswith(": gateway-2 refused"), "with its cause"
    assert (row.users.text, row.tone) == ("OK", "ok"), "it is past: main asks for what is live"


def test_what_is_in_quarantine(here: Place, reader: OfEnvironment) -> None:
    made = record(2, "churn", 7, 8)
    assert made.after is not None and isinstance(made.release, Release)
    here.ledger.put_in_quarantine(made.release, reason="it fails", by="alex")
    page = views.model_page(later(reader), {"dev": ()}, "churn")
    assert page is not None and [entry.detail for entry in page.quarantine] == ["it fails (by alex)"]


def test_a_release_leads_to_its_people_and_its_numbers(here: Place, reader: OfEnvironment) -> None:
    made = record(2, "churn", 7, 8)
    back = record(3, "churn", 8, 7).model_copy(update={"way_back": True})
    here.ledger.add_deployment(made)
    late = later(reader)
    merged = made.started_at - timedelta(minutes=1)
    origin = Origin(
        registered_at=made.finished_at - timedelta(hours=3),
        pull_request=12,
        opened_at=merged - timedelta(minutes=40),
        proposed_by="anna",
        approved_by="sam",
        approved_at=merged - timedelta(minutes=10),
        merged_at=merged,
    )
    here.ledger.note_origin(OriginNote(deployment=made.id, at=made.finished_at, origin=origin))
    asked = Origin(proposed_by="kim", asked_at=back.started_at)
    here.ledger.add_deployment(back.model_copy(update={"origin": asked}))
    page = views.model_page(late, {"dev": ()}, "churn")
    assert page is not None and [one.text for one in page.timeline[0].ways if one.text.startswith("#")] == []
    page = views.model_page(later(reader), {"dev": ()}, "churn")
    assert page is not None
    went_back, released, _ = page.timeline
    links = {one.text: one for one in released.ways}
    pull = links["#12"]
    assert pull.href.endswith("/acme/models/pull/12")
    assert pull.detail.startswith("proposed by anna 20") and "approved by sam" in pull.detail
    assert links["waited 30 min for review"].href == pull.href
    assert links["3.0 h from its registration to all users"].href.endswith("/models/churn/versions/8")
    (failed,) = [
        one for text, one in links.items() if text.startswith(f"rolled back by {back.id}; users had it for ")
    ]
    assert failed.href == f"/dev/records/deployments/dev/{back.id}.json"
    assert "asked for at once by kim" in [one.text for one in went_back.ways]


def test_the_traffic_of_the_last_minute(here: Place, reader: OfEnvironment) -> None:
    for gateway in here.gateways:
        gateway.counted = {"churn": (1000, 0)}
    row = row_of(later(reader))
    assert row.traffic.text == "2,000 requests" and "p95 " in row.traffic.detail
    for gateway in here.gateways:
        gateway.counted = {"churn": (1100, 50)}
    row = row_of(later(reader))
    assert row.traffic.text.endswith("/s") and row.traffic.tone == "warn"
    assert "50 % failed" in row.traffic.detail
    here.gateways[0].breaks()
    assert "without gateway-1" in row_of(later(reader)).traffic.detail


def test_who_hangs_hides_nobody_else(here: Place) -> None:
    reader = here.reader(rhythm=QUICK)
    reader.start()
    try:
        _until(lambda: all(reader.freshness()) and len(reader.snapshot().servers) == 4)
        here.tritons[0].hanging.set()
        here.gateways[0].hangs()
        hung = {"triton-1", "gateway-1"}
        _until(lambda: {one.name for one in reader.snapshot().servers if one.state != "ok"} == hung)
        row = row_of(reader.snapshot())
        assert row.users.tone in ("warn", "unknown"), "nobody knows whether all of them answer"
        assert {dot.name for dot in row.dots if dot.state == "ok"} == {"triton-2", "gateway-2"}
        assert row.desired.tone == "ok" and row.last is not None and row.last.tone == "ok"
    finally:
        reader.stop()


def test_users_are_not_well_while_nobody_knows_of_a_server(here: Place) -> None:
    quick = Rhythm(*(0.0,) * 12)
    reader = here.reader(rhythm=quick)
    reader.look()
    _until(lambda: {one.state for one in reader.snapshot().servers} == {"unknown"})
    row = row_of(reader.snapshot())
    reader.stop()
    assert (row.users.text, row.users.tone) == ("OK", "unknown"), "nobody said since that they are not"
    assert row.users.unknown.startswith("unknown since ")
    assert {dot.state for dot in row.dots} == {"unknown"}
    assert row.tone == "unknown"


def test_open_pull_requests_stand_beside_their_model(here: Place, reader: OfEnvironment) -> None:
    number = here.propose("churn", 8, "Promote churn to 8 in dev")
    (link,) = row_of(later(reader)).proposals
    assert (link.text, link.href) == (
        f"#{number} Promote churn to 8 in dev",
        f"{here.forge_url}/acme/models/pull/{number}",
    )
    assert row_of(later(reader)).proposals == (link,), "also where GitHub says that nothing changed"


def test_that_nothing_new_goes_out_is_said_and_a_page_changes_when_a_window_opens(here: Place) -> None:
    now = datetime.now(UTC)
    start, end = (at.isoformat() for at in (now - timedelta(hours=1), now + timedelta(hours=1)))
    here.configure(freezes=[{"start": start, "end": end, "reason": "the audit"}])
    reader = here.reader()
    found = later(reader)
    view = views.environment_view(found, views.rows_of(found), views.Filter())
    reader.stop()
    assert "nothing new goes out until" in view.closed and "the audit" in view.closed
    assert view.closed == reader.closed() and view.tone == "ok", "somebody wants it so"
    here.configure()
    assert here.reader().closed() == ""


def test_what_a_policy_decides_of_a_pull_request_stands_beside_it(here: Place, reader: OfEnvironment) -> None:
    found = reader.snapshot()
    assert found.seen is not None and found.status is not None
    change = Change("dev", "models", "churn", entry(7), entry(8))
    said = "merges by itself when checks pass: 5 clean releases"
    decided = Decided("churn", "merge", "due", said, pull_request=12)
    seen = replace(found.seen, opened=(Opened(change, 12, "Promote churn to 8 in dev", is_revert=False),))
    row = row_of(replace(found, seen=seen, status=replace(found.status, policies=(decided,))))
    (link,) = row.proposals
    assert (link.text, link.detail) == ("#12 Promote churn to 8 in dev", said)
    assert link.href == f"{here.forge_url}/acme/models/pull/12"


def test_how_often_it_reads_depends_on_nobody_who_looks(here: Place, reader: OfEnvironment) -> None:
    before = [len(triton.asked) for triton in here.tritons], [len(one.server.seen) for one in here.gateways]
    for _ in range(50):
        views.board_page([reader.snapshot()], {"dev": views.rows_of(reader.snapshot())}, views.Filter())
    after = [len(triton.asked) for triton in here.tritons], [len(one.server.seen) for one in here.gateways]
    assert before == after == ([1, 1], [1, 1]), "one request of each server in one look"


def _until(holds: object, *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
