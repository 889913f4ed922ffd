"""All that must be loaded for some routes: what they name, and what that asks, parts first."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from bot.domain.asked import asked_by, in_use
from bot.domain.retention import Pair
from bot.domain.routes import Route, RouteTable, Target
from tests.domain.test_bundles import bundle, entry, record

FRAUD, OLD = (
    Target("fraud.aaaaaaaa", 7, entry("fraud", 7).digest),
    Target("tokenizer", 3, entry("tokenizer", 3).digest),
)
NEW = Target("tokenizer.bbbbbbbb", 4, entry("tokenizer", 4).digest)
RANKER = Target("ranker", 1, entry("ranker", 1).digest)
TABLE = RouteTable("dev", 2, {"tokenizer": Route(NEW), "ranker": Route(RANKER), "fraud": Route(FRAUD)})
ASKS: Mapping[Pair, AbstractSet[Pair]] = {("fraud.aaaaaaaa", 7): {("tokenizer", 3), ("ranker", 1)}}
RECORDS = [
    record(model, bundle(3, 1, 7), 1, name=FRAUD.triton_model if model == "fraud" else model)
    for model in ("tokenizer", "ranker", "fraud")
]


def asks(pair: Pair) -> AbstractSet[Pair]:
    return ASKS.get(pair, frozenset())


def test_what_is_asked_and_not_routed_is_in_use_with_its_digest_and_its_own_place() -> None:
    needed = in_use(TABLE, RECORDS, asks)
    assert [{what.target for what in wave} for wave in needed.waves] == [{OLD, NEW, RANKER}, {FRAUD}]
    (asked,) = needed.only_asked
    assert (asked.target, asked.slot.model, asked.asked_by) == (OLD, "tokenizer", "fraud.aaaaaaaa 7")
    assert asked.target.digest == entry("tokenizer", 3).digest


def test_what_asks_is_compared_with_the_parts_of_its_own_release() -> None:
    """Else a part that went on alone makes it look as if somebody wrote into its configuration."""
    (fraud,) = [what for what in in_use(TABLE, RECORDS, asks).everything if what.target == FRAUD]
    assert fraud.parts["tokenizer"] == OLD
    (alone,) = [what for what in in_use(TABLE, [], asks).everything if what.target == FRAUD]
    assert alone.parts["tokenizer"] == NEW, "without records, what is in service in its lane"


def test_what_asks_something_damaged_is_found_through_what_it_asks() -> None:
    chain = {("c", 1): {("b", 1)}, ("b", 1): {("a", 1)}}
    routes = {name: Route(Target(name, 1, entry("fraud", 1).digest)) for name in "abc"}
    needed = in_use(RouteTable("dev", 1, routes), [], lambda pair: chain.get(pair, frozenset()))
    a, b, c = (routes[name].live for name in "abc")
    assert [[what.target for what in wave] for wave in needed.waves] == [[a], [b], [c]]
    assert a is not None and needed.asking([a]) == {b, c}
    assert c is not None and needed.asking([c]) == frozenset()
    assert [[what.target for what in wave] for wave in needed.in_order([c, a])] == [[a], [c]]


def test_a_circle_that_somebody_wrote_ends() -> None:
    circle = {("a", 1): {("b", 1)}, ("b", 1): {("a", 1)}}
    assert asked_by([("a", 1)], lambda pair: circle[pair]) == {("a", 1), ("b", 1)}
    routes = {"a": Route(Target("a", 1, entry("fraud", 1).digest))}
    needed = in_use(RouteTable("dev", 1, routes), [], lambda pair: circle[pair])
    assert {what.target.triton_model for what in needed.everything} == {"a", "b"}


def test_a_name_that_the_bot_never_gives_is_somebody_elses() -> None:
    strange = {("fraud.aaaaaaaa", 7): frozenset({("../other", 1)})}
    needed = in_use(TABLE, [], lambda pair: strange.get(pair, frozenset()))
    assert needed.only_asked == []
