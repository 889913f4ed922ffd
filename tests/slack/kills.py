"""The Slack process dies at any moment of a command: ``python -m tests.slack.kills``.

A command, or a button, lies in the inbox, acknowledged. ``promobot slack --once`` takes it up and is killed: at its
k-th request to GitHub, Git, Slack, MLflow, Triton or a gateway, before it is handled or before it is answered; or at
its k-th change of a file of the inbox. Then another one takes over, and what must hold is looked at: one pull
request, one message of it, one merge; whoever asked is told once, or, where the kill came in the middle of telling
them of something that all can see, at most once; and nothing is left in the inbox.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from bot.domain.promotion import Part, Promotion
from bot.domain.release import Slot
from bot.domain.scope import many_branch
from bot.slack import blocks
from bot.slack.inbox import Asked, Inbox, id_of
from tests.reliability.scene import Kill, Scene, calls
from tests.reliability.servers import CHANNEL, ENVIRONMENT

USER, OTHER = "U0ALEX", "U0SAM"
SEVERAL = ("wine", "iris")
ONCE = ("slack", "--once")
FILE_CALLS = ("link", "unlink", "fsync", "mkdir")


@dataclass(frozen=True)
class Case:
    """Something that is asked for, and what must have come of it."""

    name: str
    asked: Callable[[Scene], Asked]
    holds: Callable[[Scene], list[str]]
    prepare: Callable[[Scene], None] = lambda _: None


def inbox(scene: Scene) -> Inbox:
    return Inbox(scene.records / "slack", below=scene.records)


def command(name: str, text: str) -> Callable[[Scene], Asked]:
    def asked(_: Scene) -> Asked:
        return Asked(
            id=id_of("command", f"1.{name}.{text}", None),
            kind="command",
            name=name,
            text=text,
            user=USER,
            user_name="alex",
            channel=CHANNEL,
            at=datetime.now(UTC),
        )

    return asked


def _pulls(scene: Scene) -> list[dict[str, Any]]:
    document = json.loads((scene.live / "forge/forge.json").read_text())
    found: list[dict[str, Any]] = document["pulls"]
    return found if isinstance(found, list) else list(found.values())  # type: ignore[unreachable]


def _messages(scene: Scene) -> list[dict[str, Any]]:
    document = json.loads((scene.live / "slack/messages.json").read_text())
    found: list[dict[str, Any]] = document["messages"].get(CHANNEL, [])
    return found


def _facts(message: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = (message.get("metadata") or {}).get("event_payload", {})
    return found


def one_pull_request(branch: str) -> Callable[[Scene], list[str]]:
    def holds(scene: Scene) -> list[str]:
        ours = [pull for pull in _pulls(scene) if pull["head"] == branch]
        wrong = [] if len(ours) == 1 else [f"{len(ours)} pull requests from {branch}"]
        roots = [message for message in _messages(scene) if _facts(message).get("number")]
        if len(roots) != len(_pulls(scene)):
            wrong.append(f"{len(roots)} messages for {len(_pulls(scene))} pull requests")
        if any(_facts(message).get("linked") != "yes" for message in roots):
            wrong.append("a pull request does not lead to its message")
        keys = [_facts(message)["key"] for message in _messages(scene) if "key" in _facts(message)]
        wrong += [f"said twice: {key}" for key in set(keys) if keys.count(key) > 1]
        return wrong

    return holds


def one_merge(scene: Scene) -> list[str]:
    (pull,) = _pulls(scene)
    merges = int(scene._git("rev-list", "--count", "main").decode())
    wrong = [] if pull["state"] != "open" else ["not merged"]
    if merges != _commits[id(scene)] + 1:
        wrong.append(f"{merges - _commits[id(scene)]} commits on main")
    said = [message for message in _messages(scene) if "merged #" in message["text"]]
    if len(said) != 1:
        wrong.append(f"{len(said)} times said that it was merged")
    return wrong


_commits: dict[int, int] = {}


def _open_revert(scene: Scene) -> None:
    ended = scene.run("rollback", "churn", "--env", ENVIRONMENT)
    assert ended.code == 0, ended.said
    _make_green(scene, "churn")


def _open_several(scene: Scene) -> None:
    ended = scene.run("propose", *(f"{model}:1" for model in SEVERAL), "--env", ENVIRONMENT)
    assert ended.code == 0, ended.said
    _make_green(scene, *SEVERAL)


def _make_green(scene: Scene, *models: str) -> None:
    """Write evidence for the head of the one pull request, which asks for version 1 of each."""
    head = _head(scene)
    for model in models:
        entry = scene.version(model, 1).entry
        scene._evidence(model, entry, "models")
        newest = scene.ledger.evidence(entry.in_slot(Slot.of("dev", model, "models")))
        assert newest is not None
        scene.ledger.add_evidence(newest.model_copy(update={"head": head, "at": datetime.now(UTC)}))
    _commits[id(scene)] = int(scene._git("rev-list", "--count", "main").decode())


def _head(scene: Scene) -> str:
    (pull,) = _pulls(scene)
    return scene._git("rev-parse", f"refs/heads/{pull['head']}").decode().strip()


def press_merge(scene: Scene) -> Asked:
    (pull,) = _pulls(scene)
    digest = scene.version("churn", 1).entry.digest
    shown = Promotion(ENVIRONMENT, pull["number"], "", _head(scene), "models", "churn", 2, 1, digest, True)
    return Asked(
        id=id_of("button", "1.merge", None),
        kind="button",
        name=blocks.MERGE,
        text=blocks.value_of(shown),
        user=OTHER,
        user_name="sam",
        channel=CHANNEL,
        at=datetime.now(UTC),
    )


def press_merge_of_several(scene: Scene) -> Asked:
    (pull,) = _pulls(scene)
    parts = tuple(Part("models", model, None, 1, scene.version(model, 1).entry.digest) for model in SEVERAL)
    shown = Promotion(
        ENVIRONMENT, pull["number"], "", _head(scene), "models", "", None, None, "", way_back=False, parts=parts
    )
    return press_merge(scene).model_copy(update={"text": blocks.value_of(shown)})


CASES = (
    Case("/rollback", command("rollback", "churn dev"), one_pull_request("promobot-revert/dev/churn")),
    Case("/rollback now", command("rollback", "churn dev now"), one_pull_request("promobot-revert/dev/churn")),
    Case("/promote", command("promote", "churn 4 dev"), one_pull_request("promobot/dev/churn")),
    Case("/promote several", command("promote", "wine:1 iris:1 dev"), one_pull_request(many_branch("dev", SEVERAL))),
    Case("Merge", press_merge, one_merge, _open_revert),
    Case("Merge several", press_merge_of_several, one_merge, _open_several),
)


def begin(scene: Scene) -> None:
    """Two versions were deployed; people may do everything; the gate lets a model without metrics listen."""
    path = scene.root / f"manifests/environments/{ENVIRONMENT}.yaml"
    document = yaml.safe_load(path.read_text())
    may = {role: [USER, OTHER] for role in ("propose", "approve", "roll_back")}
    document["slack"]["may"] = may
    document["slack"]["github_logins"] = {USER: "user", OTHER: "other"}
    document["gates"]["churn"]["on_miss"] = "shadow"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    for number in (1, 2):
        scene.merge("churn", number)
        ended = scene.deploy()
        assert ended.code == 0, ended.said
    scene.save("two")


def start(scene: Scene, case: Case) -> str:
    """Put everything back, and what is asked for into the inbox; return its id."""
    scene.restore(f"slack {case.name}")
    (entry,) = inbox(scene).pending()
    return entry


def prepare(scene: Scene, case: Case) -> None:
    scene.restore("two")
    case.prepare(scene)
    assert inbox(scene).put(case.asked(scene))
    scene.save(f"slack {case.name}")


def points(scene: Scene, case: Case) -> Iterator[Kill]:
    """Yield every point at which a run can be killed, as an unharmed run shows them."""
    start(scene, case)
    log = scene.home / "calls"
    ended = scene.run(*ONCE, log=log)
    assert ended.code == 0, ended.said
    assert check(scene, case, killed=False) == [], ended.said
    for number in range(1, len(scene.look(ask=False).requests) + 1):
        yield Kill(request=number)
        yield Kill(request=number, after=True)
    for call in calls(log):
        if call.name in FILE_CALLS and call.is_on(scene.records / "slack"):
            yield Kill(inject=f"{call.name} at {call.number}")


def check(scene: Scene, case: Case, *, killed: bool) -> list[str]:
    """Return what does not hold."""
    wrong = case.holds(scene)
    if left := inbox(scene).pending():
        wrong.append(f"left in the inbox: {left}")
    whispers = scene.look(ask=False).whispers
    if len(whispers) > 1 or (not whispers and not killed):
        wrong.append(f"told {len(whispers)} times: {whispers}")
    return wrong


def attempt(scene: Scene, case: Case, kill: Kill) -> tuple[bool, list[str]]:
    """Kill one run, have others go on; return whether it was killed, and what does not hold."""
    start(scene, case)
    ended = scene.run(*ONCE, kill=kill)
    said = [ended.said]
    for _ in range(3):
        said.append(scene.run(*ONCE).said)
        if not inbox(scene).pending():
            break
    scene.run(*ONCE)  # whoever begins anew comes to the same
    wrong = check(scene, case, killed=ended.killed)
    return ended.killed, [f"{one}\n" + "\n".join(said) for one in wrong]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.slack.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=0, metavar="N", help="of each, at most N (default: all)")
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES], help="again for more")
    options = parser.parse_args(arguments)
    failed = tried = 0
    with Scene() as scene:
        begin(scene)
        for case in CASES:
            if options.only and case.name not in options.only:
                continue
            prepare(scene, case)
            listed = list(points(scene, case))
            if options.points and len(listed) > options.points:
                listed = listed[:: -(-len(listed) // options.points)]
            deaths = 0
            for kill in listed:
                try:
                    killed, wrong = attempt(scene, case, kill)
                except RuntimeError as error:
                    killed, wrong = True, [str(error)]
                tried, deaths = tried + 1, deaths + killed
                if wrong:
                    failed += 1
                    print(f"{case.name}, killed at {kill}:", *wrong, sep="\n  ", flush=True)
            print(f"{case.name}: {len(listed)} points, {deaths} killed", flush=True)
    print(f"{tried - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
