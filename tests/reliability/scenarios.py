"""Where the matrix starts from, and what is run there: a simple list, to which anybody adds a line.

A scenario is prepared once, from an empty environment, by running real verbs; then its state is saved. ``allowed``
says, by model, which versions users may be answered with at any time in it; None where it may not be in service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from tests.reliability.invariants import Allowed
from tests.reliability.scene import Call, Ended, Kill, Scene, calls

Act = Callable[[Scene], object]
DEPLOY = ("deploy", "--env", "dev")
ROLLBACK = ("rollback", "churn", "--env", "dev", "--now", "--reason", "it is worse")
REHEARSE = ("rehearse", "churn", "--env", "dev")


def _nothing(_: Scene) -> None:
    return None


@dataclass(frozen=True)
class Scenario:
    """A starting state and the verb that is tried in it."""

    name: str
    prepare: Act
    allowed: Allowed
    verb: tuple[str, ...] = DEPLOY
    faults: Act = _nothing
    """What is broken in the world, from the start to the end."""
    mended: Act = _nothing
    """What is repaired before the recovery."""
    codes: frozenset[int] = field(default=frozenset({0}))
    """How the verb ends where nothing is in its way."""
    seed: int = 0
    """Decides the order of all that is done side by side."""

    def restore(self, scene: Scene) -> None:
        """Put the starting state in place; prepared when it is needed first."""
        scene.seed = self.seed
        if not scene.has(self.name):
            scene.restore("empty", models=tuple(self.allowed))
            self.prepare(scene)
            scene.save(self.name)
        scene.restore(self.name, models=tuple(self.allowed))
        self.faults(scene)


def _versions(**models: tuple[int | None, ...]) -> Mapping[str, frozenset[int | None]]:
    return {model: frozenset(versions) for model, versions in models.items()}


def served(scene: Scene, model: str, number: int) -> None:
    """Merge a version and deploy it."""
    scene.merge(model, number)
    expect(scene.deploy(), 0)


def expect(ended: Ended, *codes: int | None) -> None:
    """Raise RuntimeError where a preparation did not end as it must."""
    if ended.code not in codes:
        raise RuntimeError(f"a preparation ended with {ended.code}: {ended.said}")


def _first(scene: Scene) -> None:
    scene.merge("churn", 1)


def _update(scene: Scene) -> None:
    served(scene, "churn", 1)
    scene.merge("churn", 2)


def _two_models(scene: Scene) -> None:
    _update(scene)
    scene.merge("wine", 1)


def _three_models(scene: Scene) -> None:
    _two_models(scene)
    scene.merge("iris", 1)


def _five_models(scene: Scene) -> None:
    _three_models(scene)
    scene.merge("rose", 1)
    scene.merge("pine", 1)


def _bundle(scene: Scene) -> None:
    scene.merge_bundle(1, 1, 1)
    expect(scene.deploy(), 0)
    scene.merge_bundle(2, 1, 2)


def _two_bundles_served(scene: Scene) -> None:
    _bundle(scene)
    expect(scene.deploy(), 0)


def _refuse_fraud(scene: Scene) -> None:
    scene.tell("refuse_answer", gateway=2, model="fraud")


def _wrong(scene: Scene) -> None:
    served(scene, "churn", 1)
    scene.merge("churn", 3)


def _broken(scene: Scene) -> None:
    served(scene, "churn", 1)
    scene.merge("churn", 4)


def _shadow(scene: Scene) -> None:
    served(scene, "churn", 1)
    scene.merge("churn", 2, section="shadow")


def _removal(scene: Scene) -> None:
    served(scene, "churn", 1)
    scene.merge("churn", None)


def _two_served(scene: Scene) -> None:
    served(scene, "churn", 1)
    served(scene, "churn", 2)


def _outbox(scene: Scene) -> None:
    scene.merge("churn", 1)
    scene.tell("slack_fails")
    expect(scene.deploy(), 4)


def _refuse_two(scene: Scene) -> None:
    scene.tell("refuse_reload", gateway=2, model="churn", version=2)


def _refuse_wine(scene: Scene) -> None:
    scene.tell("refuse_answer", gateway=2, model="wine")


def cut_off(scene: Scene, prepare: Act, *, where: Callable[[Call], bool], faults: Act = _nothing) -> None:
    """Leave a deployment as a kill leaves it: dead at the next mutating call after the one that ``where`` says."""
    prepare(scene)
    scene.save("cut off")
    log = scene.home / "cut-off.log"
    scene.restore("cut off")
    faults(scene)
    scene.deploy(log=log)
    found = [call for call in calls(log) if call.mutates and call.is_on(scene.share, scene.records)]
    at = next(number for number, call in enumerate(found) if where(call))
    following = next(call for call in found[at + 1 :] if call.name not in ("open", "openat"))
    scene.restore("cut off")
    faults(scene)
    expect(scene.deploy(kill=Kill(inject=f"{following.name} at {following.number}")), None)
    scene.forget("cut off")


def cut_off_at(
    call: str, what: str, *, times: int = 1, prepare: Act = _update, faults: Act = _nothing
) -> Callable[[Scene], None]:
    """Return the preparation that leaves a deployment dead after so many calls like this on a name that ends so."""

    def act(scene: Scene) -> None:
        seen = 0

        def where(found: Call) -> bool:
            nonlocal seen
            seen += found.name.startswith(call) and found.arguments.endswith(f'{what}"')
            return seen == times

        cut_off(scene, prepare, where=where, faults=faults)

    return act


def _another_after_the_switch(scene: Scene) -> None:
    cut_off_at("rename", "/routes.json", prepare=_first)(scene)
    scene.tell("restart_gateways")  # from here on they serve what was committed, and nothing has verified
    scene.merge("churn", 4)


def _triton_restarts_after_the_switch(scene: Scene) -> None:
    cut_off_at("rename", "/routes.json")(scene)
    scene.tell("restart_triton", number=2)


CHURN = _versions(churn=(1, 2))
OF_BUNDLE = _versions(tokens=(1, 2), ranks=(1,), fraud=(1, 2))
FIVE = _versions(churn=(1, 2), wine=(None, 1), iris=(None, 1), rose=(None, 1), pine=(None, 1))

SCENARIOS = (
    Scenario("deploy, first", _first, _versions(churn=(None, 1))),
    Scenario("deploy, update", _update, CHURN),
    Scenario("deploy, two models", _two_models, _versions(churn=(1, 2), wine=(None, 1))),
    Scenario("deploy, answers wrong", _wrong, _versions(churn=(1,)), codes=frozenset({1})),
    Scenario("deploy, does not load", _broken, _versions(churn=(1,)), codes=frozenset({1})),
    Scenario("deploy, put back", _update, CHURN, faults=_refuse_two, codes=frozenset({1})),
    Scenario(
        "deploy, one of three put back",
        _three_models,
        _versions(churn=(1, 2), wine=(None, 1), iris=(None, 1)),
        faults=_refuse_wine,
        codes=frozenset({1}),
    ),
    *(Scenario(f"deploy, five at once, seed {seed}", _five_models, FIVE, seed=seed) for seed in (1, 2)),
    Scenario(
        "deploy, one of five put back",
        _five_models,
        FIVE,
        faults=_refuse_wine,
        codes=frozenset({1}),
        seed=3,
    ),
    Scenario("deploy, a bundle of three", _bundle, OF_BUNDLE),
    Scenario(
        "deploy, a bundle of three put back", _bundle, OF_BUNDLE, faults=_refuse_fraud, codes=frozenset({1}), seed=4
    ),
    Scenario(
        "rollback --now, a bundle of three",
        _two_bundles_served,
        OF_BUNDLE,
        verb=("rollback", "tokens", "--env", "dev", "--now", "--reason", "it is worse"),
    ),
    Scenario("deploy, shadow", _shadow, _versions(churn=(1,))),
    Scenario("deploy, removal", _removal, _versions(churn=(None, 1))),
    Scenario(
        "deploy, Slack away",
        _update,
        CHURN,
        faults=partial(Scene.tell, command="slack_fails"),
        mended=partial(Scene.tell, command="slack_works"),
        codes=frozenset({4}),
    ),
    Scenario("deploy, outbox", _outbox, _versions(churn=(1,))),
    Scenario("rollback --now", _two_served, CHURN, verb=ROLLBACK),
    Scenario("rehearse", _two_served, CHURN, verb=REHEARSE),
    Scenario(
        "cleanup",
        cut_off_at("rename", ".closed", prepare=_wrong),
        _versions(churn=(1,)),
        verb=("cleanup", "--env", "dev"),
    ),
    Scenario("recovery, cut off publishing", cut_off_at("rename", "/2"), CHURN),
    Scenario("recovery, cut off at the switch", cut_off_at("rename", "/routes.json"), CHURN),
    Scenario("recovery, cut off, then a Triton restarts", _triton_restarts_after_the_switch, CHURN),
    Scenario(
        "recovery, cut off, then one that fails",
        _another_after_the_switch,
        _versions(churn=(None, 1)),
        codes=frozenset({1}),
    ),
    Scenario(
        "recovery, cut off going back",
        cut_off_at("rename", "/routes.json", times=2, faults=_refuse_two),
        CHURN,
        faults=_refuse_two,
        codes=frozenset({1}),
    ),
)
