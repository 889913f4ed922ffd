"""Bundles in unusual places: in the shadow lane, damaged on the share, and taken apart in the settings.

Users ask all the while, and each answer is compared with the bytes of the version that gave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from bot.domain.routes import Target
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scene import BUNDLE, Ended, Scene
from tests.reliability.told import Row, as_told, told_meanwhile

DRIFT, RECONCILE = ("drift", "--env", "dev"), ("reconcile", "--env", "dev")
GATES = {model: {"metrics": {"accuracy": {"minimum": 0.5}}} for model in BUNDLE}


def run(matrix: Matrix) -> Iterator[Point]:
    """Try each row once."""
    yield from as_told(matrix, ROWS, sampled=SAMPLED)


# --- what happens -------------------------------------------------------------------------------------------------


def _shadow(scene: Scene) -> Iterator[str]:
    """It receives copies as a whole, is replaced as a whole, and leaves as a whole."""
    yield from _served(scene, 1, 1, 1)
    scene.merge_bundle(2, 1, 2, section="shadow")
    yield from _ended(scene.deploy(), 0)
    yield from _users_get(scene, tokens=1, ranks=1, fraud=1)
    yield from _shadows(scene, tokens=2, ranks=1, fraud=2)
    yield from _ended(scene.run(*DRIFT), 0)

    scene.tell("restart_triton", number=2)
    yield from _ended(scene.deploy(), 0)
    yield from _shadows(scene, tokens=2, ranks=1, fraud=2)
    yield from _damaged(scene, _of(scene, "tokens", shadow=True))
    yield from _ended(scene.run(*RECONCILE), 0)
    yield from _shadows(scene, tokens=2, ranks=1, fraud=2)
    yield from _ended(scene.run(*DRIFT), 0)

    scene.merge_bundle(1, 1, 1, section="shadow")
    yield from _ended(scene.deploy(), 0)
    yield from _shadows(scene, tokens=1, ranks=1, fraud=1)
    scene.merge_bundle(section="shadow")
    yield from _ended(scene.deploy(), 0)
    yield from _shadows(scene)
    yield from _users_get(scene, tokens=1, ranks=1, fraud=1)


def _part_is_damaged(scene: Scene) -> Iterator[str]:
    """All of it is published again, and asks the part under its new name."""
    yield from _served(scene, 1, 1, 1)
    was = {model: _of(scene, model) for model in BUNDLE}
    yield from _damaged(scene, was["tokens"])
    yield from _says(scene.run(*DRIFT), 1, "tokens 1 is routed, but weights/part.data has other bytes")
    yield from _ended(scene.run(*RECONCILE), 0)
    yield from _users_get(scene, tokens=1, ranks=1, fraud=1)
    for model, same in (("tokens", False), ("ranks", True), ("fraud", False)):
        if (_of(scene, model) == was[model]) != same:
            yield f"{model} was {was[model]} and is {_of(scene, model)}"
    yield from _ended(scene.run(*DRIFT), 0)
    yield from _of_one_run(scene, "succeeded")


def _part_is_damaged_and_a_triton_lost_it(scene: Scene) -> Iterator[str]:
    """A deployment that has to load it finds it without a deep look, and loads nothing that asks it."""
    yield from _served(scene, 1, 1, 1)
    yield from _damaged(scene, _of(scene, "tokens"))
    scene.tell("restart_triton", number=2)
    yield from _ended(scene.deploy(), 0)
    yield from _users_get(scene, tokens=1, ranks=1, fraud=1)
    yield from _ended(scene.run(*DRIFT), 0)


def _last_part_is_damaged(scene: Scene) -> Iterator[str]:
    """It goes on asking the parts that are whole."""
    yield from _served(scene, 1, 1, 3)
    was = _of(scene, "tokens")
    yield from _damaged(scene, _of(scene, "fraud"), "model.py")
    yield from _ended(scene.run(*RECONCILE), 0)
    yield from _users_get(scene, tokens=1, ranks=1, fraud=3)
    if _of(scene, "tokens") != was:
        yield f"tokens was whole at {was}, and is {_of(scene, 'tokens')} now"


def _taken_apart(scene: Scene, *, last: int) -> Iterator[str]:
    """Every Triton has, and gets back, the part that no route names and what is in service asks."""
    yield from _served(scene, 1, 1, last)
    asked = _of(scene, "tokens")
    _take_apart(scene)
    scene.merge("tokens", None)
    yield from _ended(scene.deploy(), 0)
    yield from _users_get(scene, ranks=1, fraud=last)
    yield from _ended(scene.run(*DRIFT), 0)

    scene.tell("restart_triton", number=2)
    yield from _says(scene.run(*DRIFT), 1, f"tokens 1 is asked by fraud {last} but not READY on Triton triton-2")
    yield from _says(scene.deploy(), 0, "loaded tokens 1 on triton-2 again")
    yield from _everywhere(scene, {asked})
    yield from _users_get(scene, ranks=1, fraud=last)
    yield from _ended(scene.run(*DRIFT), 0)


def _taken_apart_and_damaged(scene: Scene) -> Iterator[str]:
    """The part is named with what to do; neither it nor what asks it is loaded, and nothing goes beside it."""
    yield from _served(scene, 1, 1, 3)
    asked = _of(scene, "tokens")
    _take_apart(scene)
    yield from _damaged(scene, asked)
    scene.merge("tokens", 2)
    yield from _ended(scene.deploy(), 0)
    if _of(scene, "tokens").triton_model == asked.triton_model:
        yield f"tokens 2 was published beside the damaged {asked}, which its load reads again"
    yield from _users_get(scene, tokens=2, ranks=1, fraud=3)
    yield from _says(scene.run(*DRIFT), 1, "tokens 1 is asked by fraud 3, but weights/part.data has other bytes")
    told = "propose a new version of fraud with its parts as a bundle"
    yield from _says(scene.run(*RECONCILE), 1, told)

    scene.tell("restart_triton", number=2)
    yield from _says(scene.deploy(), 1, told)
    have = scene.look().ready[1]
    if wrong := {name for name, _ in have} & {asked.triton_model, _of(scene, "fraud").triton_model}:
        yield f"triton-2 has loaded {wrong}"
    yield from _users_get(scene, everywhere=False, tokens=2, ranks=1, fraud=3)


def _asker_is_damaged_after_it_was_taken_apart(scene: Scene) -> Iterator[str]:
    """It is published again by itself, and goes on asking what it asked."""
    yield from _served(scene, 1, 1, 3)
    asked = _of(scene, "tokens")
    _take_apart(scene)
    scene.merge("tokens", 2)
    yield from _ended(scene.deploy(), 0)
    yield from _damaged(scene, _of(scene, "fraud"), "model.py")
    yield from _ended(scene.run(*RECONCILE), 0)
    yield from _everywhere(scene, {asked})
    yield from _users_get(scene, tokens=2, ranks=1, fraud=3)
    yield from _ended(scene.run(*DRIFT), 0)


# --- what people do, and what is seen -----------------------------------------------------------------------------


def _served(scene: Scene, *numbers: int) -> Iterator[str]:
    scene.merge_bundle(*numbers)
    yield from _ended(scene.deploy(), 0)
    scene.tell("ask_for", models=BUNDLE)


def _of(scene: Scene, model: str, *, shadow: bool = False) -> Target:
    route = scene.routes().route(model)
    found = route.shadow if shadow else route.live
    assert found is not None, f"{model} is not routed"
    return found


def _damaged(scene: Scene, target: Target, file: str = "weights/part.data") -> Iterator[str]:
    path = scene.repository / target.triton_model / str(target.version) / file
    if not path.is_file():
        yield f"{path} is not there"
    path.write_bytes(b"damaged")


def _take_apart(scene: Scene) -> None:
    """Drop the bundle from the settings; each of its parts has a gate from then on."""
    gates = yaml.safe_load(scene.settings_file.read_text())["gates"]
    scene.change_settings(bundles={}, gates={**gates, **GATES})


def _ended(ended: Ended, code: int) -> Iterator[str]:
    if ended.code != code:
        yield f"it ended with {ended.code} instead of {code}: {ended.said}"


def _says(ended: Ended, code: int, text: str) -> Iterator[str]:
    yield from _ended(ended, code)
    if text not in ended.said:
        yield f"it does not say {text!r}: {ended.said}"


def _users_get(scene: Scene, *, everywhere: bool = True, **versions: int) -> Iterator[str]:
    """Look whether users get whole answers of these versions only, and whether every Triton has them."""
    yield from told_meanwhile(scene)
    look = scene.look()
    for answer in sorted(look.answers, key=str):
        wanted = versions.get(answer.model)
        if (answer.status, answer.version, answer.whole) != ((200, wanted, True) if wanted else (404, None, True)):
            yield f"a user was told {answer}"
    table = scene.routes()
    live = {model: route.live.version for model, route in table.models.items() if route.live}
    if live != versions:
        yield f"live is {live} instead of {versions}"
    if everywhere:
        yield from _everywhere(scene, {route.live for route in table.models.values() if route.live})


def _shadows(scene: Scene, **versions: int) -> Iterator[str]:
    found = {model: route.shadow for model, route in scene.routes().models.items() if route.shadow}
    if {model: target.version for model, target in found.items()} != versions:
        yield f"shadows are {found} instead of {versions}"
    yield from _everywhere(scene, set(found.values()))
    for n, table in enumerate(scene.look().tables, 1):
        if {model: route.shadow for model, route in table.models.items() if route.shadow} != found:
            yield f"gateway {n} has other shadows: {table}"


def _everywhere(scene: Scene, targets: set[Target]) -> Iterator[str]:
    for n, ready in enumerate(scene.look().ready, 1):
        for target in targets:
            model = target.triton_model.partition(".")[0].removesuffix("-shadow")
            wanted = scene.version(model, target.version).adds
            if (said := ready.get((target.triton_model, target.version))) != wanted:
                yield f"Triton {n} answers {said} as {target} instead of {wanted}"


def _of_one_run(scene: Scene, outcome: str) -> Iterator[str]:
    """Look whether the newest records tell of all parts, of one bundle, with one message."""
    records = scene.deployments()[-len(BUNDLE) :]
    told: Mapping[str, str] = {record.model: record.outcome for record in records}
    if told != dict.fromkeys(BUNDLE, outcome):
        yield f"the newest records tell {told}"
    if len({record.bundle and record.bundle.digest for record in records}) != 1:
        yield "the newest records are of several bundles"
    if len(keys := [key for key, _ in scene.look().messages]) != len(set(keys)):
        yield f"people were told twice: {keys}"


ROWS = (
    Row("a bundle in the shadow lane", _shadow),
    Row("a damaged part of a bundle", _part_is_damaged),
    Row("a damaged part that a Triton lost", _part_is_damaged_and_a_triton_lost_it),
    Row("a damaged last part of a bundle", _last_part_is_damaged),
    Row("taken apart, an ensemble", lambda scene: _taken_apart(scene, last=1)),
    Row("taken apart, a Python model", lambda scene: _taken_apart(scene, last=3)),
    Row("taken apart, and a part is damaged", _taken_apart_and_damaged),
    Row("taken apart, and what asks is damaged", _asker_is_damaged_after_it_was_taken_apart),
)
SAMPLED = ("a damaged part that a Triton lost",)
PART = Part("bundles", "bundles in the shadow lane, damaged, and taken apart in the settings", run)
