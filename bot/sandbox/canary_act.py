"""An optional act: a canary answers a quarter of the users, does well, and becomes the version of all of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx

from bot.sandbox.seed import MODEL
from bot.sandbox.story import NotAsItMust, Story, Titled, expect

KEY = "x-user-id"
STEPS = (25, 100)
USERS = [f"patient-{number}" for number in range(40)]
PAUSE_SECONDS = 0.02
BAKE: Mapping[str, Any] = {"minutes": 0.05, "min_requests": 100, "max_p95_worse": 4.0}
"""Three seconds stand for half an hour; and of a request of a millisecond a busy machine makes a few."""
WATCH_SECONDS = 120.0


def goes_through(story: Story) -> None:
    """Release a version to some users first, by the hash of their names, and to all of them once it has baked."""
    before = story.last_record("dev").serving
    if before is None:
        raise NotAsItMust("nothing is in service in dev")
    rules = {"steps": list(STEPS), "key": KEY, "bake": dict(BAKE)}
    settings = story.propose_settings("Roll churn out in dev step by step", {"rollout": {MODEL: rules}})
    story.see_checks(settings)
    story.forge.merge(settings["number"], head=settings["head"]["sha"])
    story.see(f"#{settings['number']} merged by alex: {STEPS[0]} % of the users first, by {KEY}")
    version = story.train("best")
    pull = story.propose(version, "dev")
    story.see_checks(pull)
    with Users(story) as users:
        story.merge(pull)
        record = story.last_record("dev")
        expect(record.outcome, "rolling out", f"the outcome of {record.id} ({record.problem})")
        some = _see_divided(story, version)
        story.see(f"version {version} answers {len(some)} of {len(USERS)} users, the same on every gateway")
        _watch_until_all_have_it(story, version)
    users.see_nobody_moved_back(str(before.version), str(version))
    story.see_served("dev", version)
    story.see_succeeded("dev")


def _see_divided(story: Story, version: int) -> set[str]:
    """Return the users who get the new version; expect every gateway to agree on them, and on the share."""
    by_gateway = [
        {user for user in USERS if _ask(story, gateway.url, user) == str(version)}
        for gateway in story.endpoints.gateway["dev"]
    ]
    expect(by_gateway, [by_gateway[0]] * len(by_gateway), "who gets the new version, by gateway")
    canary = story.routes("dev")["models"][MODEL]["canary"]
    expect((canary["version"], canary["percent"]), (version, STEPS[0]), "the canary in the routes")
    if not 0 < len(by_gateway[0]) < len(USERS) // 2:
        raise NotAsItMust(f"{len(by_gateway[0])} of {len(USERS)} users get the new version, at {STEPS[0]} %")
    return by_gateway[0]


def _watch_until_all_have_it(story: Story, version: int) -> None:
    """Run ``promobot watch`` again and again, as the service looks, until the last step is made."""
    deadline = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < deadline:
        looked = story.promobot("watch", "--env", "dev", "--once")
        said = [f"{one['state']}: {one['said']}" for one in looked["rollouts"] if one["model"] == MODEL]
        if any(one.startswith("next step") for one in said):
            story.see(f"promobot watch: {said[0]}")
            return
        if any(not one.startswith("bakes") for one in said):
            raise NotAsItMust(f"version {version} does not bake: {said}")
    raise NotAsItMust(f"version {version} was not baked in {WATCH_SECONDS:g} s")


def _ask(story: Story, url: str, user: str, client: httpx.Client | None = None) -> str:
    body = {"inputs": [story.samples[0]]}
    post = client.post if client else httpx.Client(timeout=10, trust_env=False).post
    answer = post(f"{url}/v2/models/{MODEL}/infer", json=body, headers={KEY: user})
    return str(answer.json()["model_version"]) if answer.is_success else f"HTTP {answer.status_code}"


class Users:
    """Users with names, who ask dev's gateways in turn until told to stop."""

    def __init__(self, story: Story) -> None:
        self._story, self._stop = story, threading.Event()
        self._answers: dict[str, list[str]] = {user: [] for user in USERS}
        self._thread = threading.Thread(target=self._ask_in_turn)

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def see_nobody_moved_back(self, before: str, after: str) -> None:
        """Expect no failure, and of each user one change at most, from the old version to the new one."""
        for user, answers in self._answers.items():
            runs = [one for number, one in enumerate(answers) if number == 0 or answers[number - 1] != one]
            if runs not in ([before], [before, after]):
                raise NotAsItMust(f"{user} got {runs}, one after the other")
        total = sum(map(len, self._answers.values()))
        self._story.see(f"{total} requests of {len(USERS)} users: none failed, and nobody went back to {before}")

    def _ask_in_turn(self) -> None:
        gateways = [gateway.url for gateway in self._story.endpoints.gateway["dev"]]
        with httpx.Client(timeout=10, trust_env=False) as client:
            for number in itertools.count():
                if self._stop.wait(PAUSE_SECONDS):
                    return
                # Each user meets every gateway in turn.
                user, url = USERS[number % len(USERS)], gateways[(number + number // len(USERS)) % len(gateways)]
                try:
                    said = _ask(self._story, url, user, client)
                except httpx.HTTPError as error:
                    said = repr(error)
                self._answers[user].append(said)


ACT: Titled = ("version 8 is a canary for a quarter of the users, does well, and reaches all of them", goes_through)
