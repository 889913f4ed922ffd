"""No token is ever seen: not on a terminal, in a log, on a pull request, in Slack, or in what is written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.world import Said, World

ENDS = ("GITHUB_TOKEN", "SLACK_BOT_TOKEN", "PROMOBOT_RELOAD_TOKEN")


@pytest.mark.slow
def test_a_whole_cycle_shows_no_token(world: World, tmp_path: Path) -> None:
    model = world.model()
    summary = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    said: list[Said] = []

    def run(*arguments: str | int, **env: str) -> Said:
        said.append(world.words(*arguments, env={**summary, **env}))
        said.append(world.promobot(*arguments, env={**summary, **env}))
        return said[-1]

    world.served(world.register(model))
    second = world.register(model, "better")
    number = run("propose", model, second.version, "--env", "dev").document["pull_request"]
    said += world.check(number, env=summary)
    world.merge(number)
    world.slack_fails("chat.postMessage", times=1)
    run("deploy", "--env", "dev")
    for verb in ("status", "drift", "doctor"):
        run(verb, "--env", "dev")
    run("history", "--env", "dev")
    run("rollback", model, "--env", "dev", "--now", "--reason", "users complain")
    # Every refusal, too: errors are what quotes requests.
    wrong = {name: f"wrong-{name.lower()}-0123456789" for name in ENDS}
    for name, token in wrong.items():
        run("doctor", "--env", "dev", **{name: token})
        run("deploy", "--env", "dev", **{name: token})
    world.kill("forge")
    run("propose", model, 1, "--env", "dev")
    run("deploy", "--env", "dev")
    world.restart("forge")

    tokens = {*world.endpoints.variables().values(), *wrong.values(), *world.endpoints.secrets.people.values()}
    tokens = {token for token in tokens if any(mark in token for mark in ("sandbox-", "xoxb-", "wrong-"))}
    assert len(tokens) == 8
    texts = {f"run {index}": f"{one.out}\n{one.err}" for index, one in enumerate(said)}
    texts |= dict(_written(world, model)) | {"summary": Path(summary["GITHUB_STEP_SUMMARY"]).read_text()}
    assert len(texts) > 40
    # Markdown's escapes must not hide one from this test.
    seen = {where for where, text in texts.items() for token in tokens if token in text.replace("\\", "")}
    assert seen == set()


def _written(world: World, model: str) -> Iterator[tuple[str, str]]:
    """Yield everything that the bot left where people or other systems read, with where it is."""
    for pull in world.api("GET", "/pulls?state=all&per_page=100"):
        if model in pull["head"]["ref"]:
            yield f"#{pull['number']}", f"{pull['title']}\n{pull['body']}"
            yield from ((f"comments of #{pull['number']}", body) for body in world.comments(pull["number"]))
    yield "Slack", str(world.slack(model))
    yield "log of Git", world.git("log", "--all", "--format=%an %ae %B")
    yield "desired state", world.promotions()
    home = world.endpoints.directory
    for folder in (world.endpoints.records, world.endpoints.share, home / "logs"):
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path.relative_to(home)), path.read_bytes().decode(errors="replace")
