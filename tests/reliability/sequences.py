"""What happens in any order: merges, reverts, two deployers, kills, pauses, restarts, rollbacks, faults.

A state machine of hypothesis draws sequences of up to 30 steps over two models. After each step the invariants of any
moment must hold; at the end everything is mended, whoever was paused is woken, and deploy must converge. What
hypothesis finds it makes as short as it can, and prints as a program.

One deployer at a time can be paused: a server of the scene sends it SIGSTOP at its k-th request. Others run
meanwhile, a rollback overtakes it, and what it does when it wakes must change nothing for the worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.reliability import invariants
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import DEPLOY
from tests.reliability.scene import Ended, Kill, Paused, Scene

ROW = "sequences of up to 30 steps"
RUNS, STEPS, SAMPLE_RUNS, SAMPLE_STEPS = 2000, 30, 2, 8
BATCH = 50
GOOD: dict[str, tuple[int, ...]] = {"churn": (1, 2), "wine": (1,)}
ANY: dict[str, tuple[int | None, ...]] = {"churn": (1, 2, 3, 4, None), "wine": (1, None)}
"""Churn 3 answers wrong, churn 4 does not load."""
ENDS = {0, 1, 4}

models = st.sampled_from(sorted(ANY))
requests = st.integers(1, 60)


class Sequence(RuleBasedStateMachine):
    """One sequence, in a scene that is put back at its start."""

    scene: ClassVar[Scene]
    finished: ClassVar[int] = 0
    seen: ClassVar[list[str]] = []
    """What did not hold, as it was seen. Hypothesis tells it itself only where it happens each time."""
    say: ClassVar[Callable[[str], None]]

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[str] = []
        self.merged: dict[str, list[int | None]] = {model: [None] for model in ANY}
        self.paused: Paused | None = None
        self.empty: set[int] = set()
        """Tritons that restarted since a deployment said that all is well."""

    @initialize()
    def begin(self) -> None:
        self.scene.restore("empty", models=tuple(ANY))

    # --- people --------------------------------------------------------------------------------------------------

    @rule(model=models, data=st.data())
    def merge(self, model: str, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([one for one in ANY[model] if one != self.merged[model][-1]]))
        self.happened.append(f"merge {model} {number}")
        self.scene.merge(model, number)
        self.merged[model].append(number)

    @rule(number=st.sampled_from([2, None]))
    def merge_shadow(self, number: int | None) -> None:
        there = self.scene.desired.shadow.get("churn")
        if (there.version if there else None) != number:
            self.happened.append(f"merge shadow churn {number}")
            self.scene.merge("churn", number, section="shadow")

    @precondition(lambda self: any(len(history) > 1 for history in self.merged.values()))
    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from([name for name, history in self.merged.items() if len(history) > 1]))
        self.merged[model].append(self.merged[model][-2])
        self.happened.append(f"revert {model} to {self.merged[model][-1]}")
        self.scene.merge(model, self.merged[model][-1], evidence=False)

    @rule(model=models)
    def roll_back(self, model: str) -> None:
        ended = self.scene.run("rollback", model, "--env", "dev", "--now", "--reason", "it is worse")
        self.happened.append(f"rollback {model}: {ended.code}")
        self._tried(ended)

    @rule()
    def lift(self) -> None:
        for event in self.scene.ledger.quarantined().values():
            lifted = ("quarantine", "lift", event.digest, "--env", "dev", "--reason", "once more")
            self.happened.append(f"lift {event.model} {event.version}")
            self._tried(self.scene.run(*lifted))

    # --- deployers -----------------------------------------------------------------------------------------------

    @rule()
    def deploy(self) -> None:
        ended = self.scene.deploy()
        self.happened.append(f"deploy: {ended.code}")
        self._ended(ended)

    @rule(request=requests, after=st.booleans())
    def deploy_and_die(self, request: int, after: bool) -> None:
        ended = self.scene.deploy(kill=Kill(request=request, after=after))
        self.happened.append(f"deploy, killed at {request} {after}: {ended.code}")
        if not ended.killed:
            self._ended(ended)

    @rule(request=requests, after=st.booleans())
    def deploy_and_pause(self, request: int, after: bool) -> None:
        if self.paused is not None:  # no precondition: whether one is paused depends on the order of its requests
            return
        stopped = self.scene.paused(*DEPLOY, stop=Kill(request=request, after=after))
        self.happened.append(f"deploy, paused at {request} {after}: {isinstance(stopped, Paused)}")
        if isinstance(stopped, Paused):
            self.paused = stopped
        else:
            self._ended(stopped)

    @rule()
    def wake(self) -> None:
        if self.paused is not None:
            paused, self.paused = self.paused, None
            ended = paused.wake()
            self.happened.append(f"wake: {ended.code}")
            self._tried(ended)  # that all is well says nothing of a Triton that restarted while it stood still

    # --- faults --------------------------------------------------------------------------------------------------

    @rule(number=st.integers(1, 2))
    def restart_triton(self, number: int) -> None:
        if self.empty <= {number}:  # while one of the two has what it had, nobody may notice
            self.empty.add(number)
            self.happened.append(f"restart Triton {number}")
            self.scene.tell("restart_triton", number=number)

    @rule()
    def restart_gateways(self) -> None:
        self.happened.append("restart gateways")
        self.scene.tell("restart_gateways")

    @rule(works=st.booleans())
    def slack(self, works: bool) -> None:
        self.happened.append(f"Slack works: {works}")
        self.scene.tell("slack_works" if works else "slack_fails")

    @rule(refuses=st.booleans())
    def gateway(self, refuses: bool) -> None:
        self.happened.append(f"gateway 2 refuses churn 2: {refuses}")
        if refuses:
            self.scene.tell("refuse_reload", gateway=2, model="churn", version=2)
        else:
            self.scene.tell("accept_reload", gateway=2)

    # --- what must hold ------------------------------------------------------------------------------------------

    def _tried(self, ended: Ended) -> None:
        self._expect([] if ended.code in ENDS else [f"ended with {ended.code}: {ended.said}"])

    def _ended(self, ended: Ended) -> None:
        self._tried(ended)
        if ended.code == 0:
            self.empty.clear()

    def _expect(self, problems: list[str]) -> None:
        if problems:
            told = "\n".join([*problems, "after:", *self.happened])
            if not self.seen:
                type(self).say(f"  this did not hold; it is now made shorter, for some minutes:\n{told}")
            self.seen.append(told)
            raise AssertionError(told)

    def _allowed(self) -> invariants.Allowed:
        return {
            model: frozenset({None, *(number for number in GOOD[model] if number in self.merged[model])})
            for model in ANY
        }

    @invariant()
    def at_any_moment(self) -> None:
        look = self.scene.look(quiet=self.paused is None)
        if problems := invariants.always(self.scene, look, self._allowed()):
            there = [f"Triton {n} has {sorted(ready)}" for n, ready in enumerate(look.ready, 1)]
            there += [f"gateway {n} has {table.to_json()}" for n, table in enumerate(look.tables, 1)]
            self._expect([*problems, *there])

    def teardown(self) -> None:
        if self.paused is not None:
            self.wake()
        self.scene.tell("slack_works")
        self.scene.tell("accept_reload", gateway=2)
        problems = invariants.converges(self.scene, self._allowed())
        self._expect(problems)
        type(self).finished += 1


def run(matrix: Matrix) -> Iterator[Point]:
    """Yield a point for each sequence; the one that fails is yielded with the program that shows it.

    They are drawn in batches, each from a seed of its own, so that what fails in one can be drawn again without the
    others, and keeps none of them from being tried.
    """
    Sequence.scene, Sequence.say = matrix.scene(), matrix.say
    Sequence.scene.seed = 0
    runs, steps = (SAMPLE_RUNS, SAMPLE_STEPS) if matrix.sample else (matrix.points or RUNS, STEPS)
    for number, first in enumerate(range(0, runs, BATCH), 1):
        if first < matrix.skip:  # whole batches: each keeps its seed
            continue
        yield from _batch(number, min(BATCH, runs - first), steps)


def _batch(number: int, runs: int, steps: int) -> Iterator[Point]:
    chosen = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    Sequence.finished = 0
    Sequence.seen.clear()
    try:
        run_state_machine_as_test(seed(number)(Sequence), settings=chosen)
    except (AssertionError, RuntimeError, ExceptionGroup) as error:
        yield Point(ROW, f"the shortest that fails, seed {number}", list(_told(error)))
    except Flaky as error:  # it fails at times: what was seen first says more than that
        yield Point(ROW, f"fails at times, seed {number}", [*Sequence.seen[:1], *_told(error)])
    for run_ in range(Sequence.finished):
        yield Point(ROW, f"run {run_ + 1} of seed {number}")


def _told(error: BaseException) -> Iterator[str]:
    """Yield what each error in it says, and the program that hypothesis notes for it."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _told(inner)
    else:
        yield str(error) or repr(error)
    yield from getattr(error, "__notes__", ())


PART = Part("sequences", "merges, reverts, two deployers, kills, pauses, restarts and faults, in any order", run)
