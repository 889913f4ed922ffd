"""An optional act: a shadow that decides otherwise earns nothing, and the bot proposes one that decides alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from bot.sandbox.seed import MODEL
from bot.sandbox.story import NotAsItMust, Story, Titled, expect

RULE: Mapping[str, Any] = {"max_flips": 0.05, "max_error_rate": 0.05, "min_copies": 100}
"""A few hundred copies stand for the thousands that a rule would ask for."""
SECONDS = 180.0


def earns_it(story: Story) -> None:
    """Judge the shadow that listens since act 3, have another version listen, and merge what the bot proposes."""
    _merge_what_is_open(story)
    change: dict[str, dict[str, dict[str, Any]]] = {
        "gates": {MODEL: {"shadow": dict(RULE)}},
        "rollout": {MODEL: {"steps": [100]}},
    }
    settings = story.propose_settings("Shadows of churn may earn their promotion in dev", change)
    story.see_checks(settings)
    story.forge.merge(settings["number"], head=settings["head"]["sha"])
    story.see(f"#{settings['number']} merged by alex: at most {RULE['max_flips']:.0%} of the decisions may flip")
    rows = _rows()
    bad = _ask_until_it_is_told(story, rows)
    expect(bad["verdict"]["standing"], "not", f"what version {bad['version']} has earned ({bad['verdict']['why']})")
    story.see(f"version {bad['version']} is not promotable: {bad['verdict']['why']}")
    version = story.train("steady")
    pull = story.propose(version, "dev", "--as", "shadow")
    story.see_checks(pull)
    story.merge(pull)
    good = _ask_until_it_is_told(story, rows)
    said = (good["version"], good["verdict"]["standing"])
    expect(said, (version, "promotable"), f"what has earned it ({good['verdict']['why']})")
    looked = story.promobot("watch", "--env", "dev", "--once")
    (found,) = [one for one in looked["shadows"] if one["model"] == MODEL]
    expect(found["state"], "proposed", f"what watch did ({found['said']})")
    pull = story.forge.pull(found["pull_request"])
    expect("has earned to answer" in pull["body"], True, "what the pull request says of the shadow")
    story.see(f"#{pull['number']} opened by promobot watch: {good['verdict']['why']}")
    story.see_checks(pull)
    story.merge(pull)
    story.see_served("dev", version)
    story.see_succeeded("dev")
    expect(MODEL in story.routes("dev")["shadows"], False, "whether it still listens")


def _merge_what_is_open(story: Story) -> None:
    """Merge the revert that an act before has left: main asks for what is in quarantine until then."""
    for revert in story.forge.pulls("open"):
        if revert["head"]["ref"] == f"promobot-revert/dev/{MODEL}":
            story.see_checks(revert)
            story.merge(revert)


def _rows() -> list[dict[str, Any]]:
    """Return the held-out rows of the reference training, each as the input of a request."""
    from bot.sandbox.reference import features

    return [
        {"name": "X", "datatype": "FP32", "shape": [1, len(row)], "data": [float(value) for value in row]}
        for row in features().held_out
    ]


def _ask_until_it_is_told(story: Story, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Ask dev's gateways as users do, until its standing is certain; return what `promobot shadow` says."""
    deadline = time.monotonic() + SECONDS
    gateways = story.endpoints.gateway["dev"]
    while time.monotonic() < deadline:
        with httpx.Client(timeout=10, trust_env=False) as client:
            for number, row in enumerate(rows):
                url = f"{gateways[number % len(gateways)].url}/v2/models/{MODEL}/infer"
                client.post(url, json={"inputs": [row]}).raise_for_status()
        found = story.promobot("shadow", MODEL, "--env", "dev")
        if found["verdict"]["standing"] != "not yet":
            return found
    raise NotAsItMust(f"after {SECONDS:g} s nobody can tell: {found['verdict']['why']}")


ACT: Titled = (
    "a version listens first, decides as the one in service, and the bot proposes that it answers",
    earns_it,
)
