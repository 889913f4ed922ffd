"""The list of pins: what the manifests run is what it says, nothing there has a known hole, none grows old unseen."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
import yaml

from tests.kubernetes import pins
from tests.kubernetes.cluster import PROJECT, RUNNERS, runner_values
from tests.kubernetes.test_container import STAGES

PINS = {pin.name: pin for pin in pins.load(pins.FILE.read_text())}
RENOVATE: dict[str, Any] = json.loads((PROJECT / ".github" / "renovate.json").read_text())
OURS = ("promobot", "promobot-gateway")


@dataclass(frozen=True)
class Place:
    """One image or chart as a file of the repository names it."""

    file: str
    image: str


def places() -> list[Place]:
    """Return every place that names something which somebody else makes."""
    images = "manifests/kubernetes/components/images/kustomization.yaml"
    found = [
        Place(images, f"{image['name']}:{image['newTag']}@{image.get('digest')}")
        for image in yaml.safe_load((PROJECT / images).read_text())["images"]
        if image["name"] not in OURS
    ]
    for kind in RUNNERS:
        image = runner_values(kind)["template"]["spec"]["containers"][0]["image"]
        found.append(Place(f"manifests/kubernetes/runner-values-{kind}.yaml", image))
    found += [Place("manifests/container/Containerfile", stage.base) for stage in STAGES.values()]
    page = "docs/how-to/kubernetes.md"
    charts = re.findall(r"oci://(\S+) --version (\S+)", (PROJECT / page).read_text())
    return found + [Place(page, f"{chart}:{version}") for chart, version in charts]


def test_what_runs_is_what_the_list_names_and_the_list_names_nothing_else() -> None:
    found = places()
    assert {place.image for place in found} == {pin.image for pin in PINS.values()}
    assert len(found) == 2 + len(RUNNERS) + len(STAGES) + 2


@pytest.mark.parametrize("name", PINS)
def test_nothing_has_a_known_hole(name: str) -> None:
    assert PINS[name].is_safe, f"{PINS[name].tag}: {PINS[name].why}"


def test_an_older_release_is_told_apart() -> None:
    triton = PINS["nvcr.io/nvidia/tritonserver"]
    assert [replace(triton, tag=tag).is_safe for tag in ("24.10-py3", "25.07-py3", "26.04-py3")] == [
        False,
        False,
        True,
    ]
    sync = PINS["registry.k8s.io/git-sync/git-sync"]
    assert [replace(sync, tag=tag).is_safe for tag in ("v4.4.0", "v4.10.0")] == [False, True]


def test_a_pin_is_in_time_up_to_its_last_day() -> None:
    pin = PINS["ghcr.io/actions/actions-runner"]
    assert pins.past_their_time([pin], pin.due) == []
    (said,) = pins.past_their_time([pin], pin.due + timedelta(days=1))
    assert said.startswith(f"{pin.name} {pin.tag}: 1 day past its {pin.renew_days}; see what is newest")
    (said,) = pins.past_their_time([pin], pin.looked - timedelta(days=1))
    assert "still to come" in said


def test_the_runner_is_looked_at_before_github_refuses_it() -> None:
    assert PINS["ghcr.io/actions/actions-runner"].renew_days <= 30 - 7


def test_the_command_says_when_each_is_due_and_fails_after_that(capsys: pytest.CaptureFixture[str]) -> None:
    first = min(PINS.values(), key=lambda pin: pin.due)
    assert pins.main([str(first.looked)]) == 0
    assert capsys.readouterr().out.startswith(f"{first.due}  {first.name} {first.tag}\n")
    assert pins.main([str(first.due + timedelta(days=1))]) == 1
    assert f"::error file=manifests/pins.toml::{first.name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "docker.io/library/python"', 'name = "ghcr.io/actions/actions-runner"', "is there twice"),
        ("renew_days = 21", "renew = 21", "no such key: renew"),
    ],
)
def test_a_mistake_in_the_list_is_named(old: str, new: str, said: str) -> None:
    text = pins.FILE.read_text()
    assert old in text
    with pytest.raises(ValueError, match=said):
        pins.load(text.replace(old, new))


def test_renovate_finds_every_pin_wherever_it_stands() -> None:
    for place in places():
        assert place.image in _found(place.file), place
    assert _found("manifests/pins.toml") == {pin.image for pin in PINS.values()}


def _found(file: str) -> set[str]:
    """What Renovate's expressions find in a file; theirs are JavaScript's, whose groups Python writes with a P."""
    text, found = (PROJECT / file).read_text(), set()
    for manager in RENOVATE["customManagers"]:
        if not any(re.search(pattern.strip("/"), file) for pattern in manager["managerFilePatterns"]):
            continue
        for expression in manager["matchStrings"]:
            for match in re.finditer(expression.replace("(?<", "(?P<"), text):
                groups = match.groupdict()
                digest = groups.get("currentDigest")
                found.add(f"{groups['depName']}:{groups['currentValue']}" + (f"@{digest}" if digest else ""))
    return found
