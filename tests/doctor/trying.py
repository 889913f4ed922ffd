"""Tries one row: the doctor first, then the first deployment."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tests.doctor.rows import NOTHING, Row
from tests.operations.world import World


@dataclass(frozen=True)
class Tried:
    """What was said, and whether anything in service changed before the doctor's warning was repeated."""

    doctor: dict[str, str]
    verdict: str
    deployment: str
    code: int
    problems: tuple[str, ...]


def tried(row: Row, world: World) -> Tried:
    """Make the world as the row says, ask the doctor, deploy, and put the world back.

    Something was deployed before in any case: a gateway that never had routes says other words of them.
    """
    world.drop_gate("dev", "churn")
    if not world.routes()["generation"]:
        world.served(world.register(world.model()))
    model = world.model()
    world.merged(world.register(model))
    world.settle()  # a Triton that is started in another mode loads again what is on its way out
    with ExitStack() as stack:
        env = dict(row.arrange(world, stack) or {})
        said = world.promobot("doctor", "--env", "dev", env=env)
        found = {
            line["system"]: line["seen"]
            for line in said.document["environments"][0]["systems"]
            if line["works"] is False
        }
        verdict = world.words("doctor", "--env", "dev", env=env).out.splitlines()[0]
        done = world.bot("deploy", "--env", "dev", json_too=False, env=env)
    deployment = first_line(done.out + done.err)
    problems = []
    if row.doctor not in found.get(row.system, ""):
        problems.append(f"the doctor does not name it on the line {row.system}: {found}")
    if not verdict.startswith("✗ dev: fix this before you deploy: ") or row.system not in verdict:
        problems.append(f"the first line does not name it: {verdict}")
    if row.deployment == NOTHING:
        if done.code:
            problems.append(f"the deployment fails: {done}")
    elif row.deployment not in deployment or not done.code:
        problems.append(f"the deployment says something else ({done.code}): {done.out}{done.err}")
    return Tried(found, verdict, deployment, done.code, tuple(problems))


def first_line(said: str) -> str:
    """Return the first line that says what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for beginning in ("what happened: ", "problem: ", "held: ", "promobot: "):
        for line in lines:
            if line.startswith(beginning):
                return line.removeprefix(beginning)
    return lines[0] if lines else ""
