"""How the world comes into a situation: what people, runners and servers do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from bot.domain.memory import Memory
from tests.reliability.scene import PROMOTIONS, Kill
from tests.situations.stage import Stage, written
from tests.stand_ins import triton as stand_in
from tests.stand_ins.merged import commit

Act = Callable[[Stage], object]
DEV = ("--env", "dev")


def deployed(*codes: int) -> Act:
    """Have the deployment run that the merge starts."""
    return lambda stage: stage.deploys(*codes)


def after(*acts: Act) -> Act:
    """Have these things happen in turn."""

    def act(stage: Stage) -> None:
        for one in acts:
            one(stage)

    return act


def stopped(*servers: str) -> Act:
    """Have servers end: whoever asks one is refused the connection."""
    return lambda stage: stage.scene.tell("stop", names=servers)


def fault(command: str, **arguments: object) -> Act:
    """Have a server refuse something."""
    return lambda stage: stage.scene.tell(command, **arguments)


def setting(**changes: object) -> Act:
    """Have the checkout's environment file say this."""
    return lambda stage: stage.configure(**changes)


def typed(*words: str, codes: tuple[int, ...] = (0,)) -> Act:
    """Have a person type a command, whose end this is about."""
    return lambda stage: stage.runs(*words, codes=codes)


def back_at_once(*codes: int) -> Act:
    """Have a person put users back at once."""
    reason = ("--reason", "error rate doubled", "--by", "alex")
    return typed("rollback", "churn", *DEV, "--now", *reason, codes=codes or (0,))


def nothing(_: Stage) -> None:
    return None


def checked(version: int, *, codes: tuple[int, ...] = (0,)) -> Act:
    def act(stage: Stage) -> None:
        stage.checks(stage.proposes("churn", version), codes=codes)

    return act


def merged_with(version: int, *, evidence: bool, section: str = "models") -> Act:
    """Have a version proposed and merged, without the checks; ``evidence``: they said yes all the same."""

    def act(stage: Stage) -> None:
        number = stage.proposes("churn", version)
        if evidence:
            stage.scene.passes("churn", version, pull_request=number)
        stage.merges(number)
        stage.follows()

    return act


def merged_red(stage: Stage) -> None:
    number = stage.proposes("churn", 3)
    stage.checks(number, codes=(0, 1))
    stage.merges(number)
    stage.follows()
    stage.deploys(1)


def expired(stage: Stage) -> None:
    number = stage.proposes("churn", 2)
    stage.scene.passes("churn", 2, pull_request=number, at=datetime.now(UTC) - timedelta(days=31))
    stage.merges(number)
    stage.follows()
    stage.deploys(1)


def revoked(stage: Stage) -> None:
    stage.promobot(
        "evidence", "revoke", "churn", "2", *DEV, "--reason", "staging ran another backend", "--by", "alex"
    )
    stage.deploys(1)


def without_room(stage: Stage) -> None:
    """Have Tritons with 1 GiB free, and a version whose checks measured that it takes 2 GiB."""
    scene, gib = stage.scene, 2**30
    grpc, http = scene.ports.grpc, scene.ports.http
    stage.configure(
        tritons=[
            {"name": f"triton-{n}", "grpc": f"{scene.address}:{one}", "metrics": f"{scene.address}:{other}"}
            for n, (one, other) in enumerate(zip(grpc, http, strict=True), 1)
        ]
    )
    scene.tell("memory", used=7 * gib, total=8 * gib)
    number = stage.proposes("churn", 2)
    scene.passes("churn", 2, pull_request=number, memory=Memory(main=2 * gib))
    stage.merges(number)
    stage.follows()
    stage.deploys(1)


def rolled_out(*steps: int, minutes: float = 30) -> Act:
    """Have version 2 go out by these steps, and be watched by rules that 20 requests are enough for."""
    # Times of a stand-in on a busy machine say nothing.
    bake = {"minutes": minutes, "min_requests": 20, "max_p95_worse": 1000}

    def act(stage: Stage) -> None:
        stage.configure(rollout={"churn": {"steps": list(steps), "key": "x-user-id", "bake": bake}})
        stage.scene.tell("ask_as_users", model="churn", times=150, large=0)
        stage.deploys()

    return act


def asked(*, failing: int = 0) -> Act:
    """Have 200 users ask each gateway, so many of them with a number that version 2 cannot take."""

    def act(stage: Stage) -> None:
        if failing:
            stage.scene.tell("fail_from", model="churn", version=2, number=1000.0)
        stage.scene.tell("ask_as_users", model="churn", times=200, large=failing)

    return act


def watched(*codes: int) -> Act:
    """Have ``promobot watch`` look once."""
    return typed("watch", *DEV, "--once", codes=codes or (0,))


def entry_gone(stage: Stage) -> None:
    commit(stage.scene._bare, PROMOTIONS, "environment: dev\nmodels: {}\nshadow: {}\n")
    stage.deploys(1)


def main_broken(stage: Stage) -> None:
    commit(stage.scene._bare, PROMOTIONS, stage.scene.promotions() + "models: {}\n")
    stage.deploys(1)


def settings_unreadable(stage: Stage) -> None:
    stage.settings.write_text(stage.settings.read_text() + "tritons: []\n")
    stage.deploys(1)


def retirement(*, merged: bool) -> Act:
    def act(stage: Stage) -> None:
        reason = ("--reason", "replaced by churn-eu", "--by", "alex")
        stage.runs("retire", "churn", *DEV, *reason)
        (pull,) = stage.api("GET", "/pulls?state=open")
        stage.pull = pull["number"]
        stage.checks(stage.pull)
        if merged:
            stage.merges(stage.pull)
            stage.deploys()

    return act


def revert_merged(stage: Stage) -> None:
    back_at_once()(stage)
    (pull,) = stage.api("GET", "/pulls?state=open")
    stage.checks(pull["number"])
    stage.merges(pull["number"])
    stage.deploys()


def shadowed(stage: Stage) -> None:
    stage.configure(gates={"churn": {"on_miss": "shadow", "metrics": {"accuracy": {"minimum": 0.95}}}})
    stage.merged("churn", 2)
    stage.deploys()


def champion_moved(stage: Stage) -> None:
    """Have version 5 checked against 2, which is rolled back before 5 is merged, while MLflow is down."""
    stage.deploys()
    number = stage.proposes("churn", 5)
    stage.checks(number)
    back_at_once()(stage)
    stage.merges(number)
    stage.follows()
    stage.scene.tell("stop", names=("MLflow",))
    stage.deploys(1)


def several(stage: Stage) -> None:
    for model in ("wine", "iris"):
        stage.merged(model, 1)
    stage.scene.tell("refuse_answer", gateway=2, model="wine")
    stage.deploys(1)


def unmounted(part: str) -> Act:
    """Leave what an unmounted file system leaves: an empty folder."""

    def act(stage: Stage) -> None:
        folder = stage.scene.records if part == "records" else stage.scene.state
        away = folder.with_name(f"{folder.name}-away")
        folder.rename(away)
        folder.mkdir()
        stage.on_leaving(lambda: (folder.rmdir(), away.rename(folder)))

    return act


def other_bytes(stage: Stage) -> None:
    (file,) = (stage.scene.repository / "churn").rglob(stand_in.MODEL_FILE)
    written(file, "somebody else's")


def stranger(stage: Stage) -> None:
    (stage.scene.repository / "experiment").mkdir()


def alias(stage: Stage) -> None:
    url = f"http://{stage.scene.address}:{stage.scene.ports.mlflow}/api/2.0/mlflow/registered-models/alias"
    body = {"name": "churn", "alias": "dev", "version": "2"}
    httpx.post(url, json=body, timeout=30, trust_env=False).raise_for_status()


def killed(at: str) -> Act:
    """Have the runner die when the deployment asks this for the first time."""
    return lambda stage: stage.deploys(None, kill=Kill(named=at))
