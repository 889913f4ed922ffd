"""What people, and whoever may open a pull request, can write: it never becomes code, and never another option."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import cli
from bot.domain.names import check_environment_name, check_model_name

PROJECT = Path(__file__).resolve().parents[2]

SHAPES = (
    "$({})", "`{}`", ";{};", "|{}", "&&{}", "\n{}\n", "'; {} #", '"; {} #', "${{IFS}}$({})", "$'\\x24({})'", "{}&",
    "a\"$({})\"b", "<({})", "{{{{ {} }}}}", "${{{{ github.token }}}}{}", "$(({}))", "*;{}", "~;{}", "!{}", "\r{}",
    "--reason=x\n{}", "%0A{}", "::set-output name=x::$({})", "]];{};[[", "}};{};{{", ")\n{}\n(", "esac;{};case x in",
    "EOF\n{}\nEOF", "\\`{}\\`", "${{x:-$({})}}", "@(`{}`)", "\u202e$({})", "$[`{}`]", "<!--{}-->", "x{}'\"`$(){{}}[]",
)  # fmt: skip
OPTIONS = (
    "--root=/", "--json", "-h", "--help", "--", "--now", "--env=prod", "--to=1", "--by=root", "--reason",
    "--request=x", "--version=1", "--from=dev", "", " ", "../../etc/passwd", "/etc", "0", "-1", "9" * 39,
    "１", "1e9", "null", "NaN",
)  # fmt: skip


def hostile(canary: Path) -> list[str]:
    """Five hundred and more texts that would create the canary, or turn what is asked into something else."""
    commands = [f"touch {canary}", f"touch${{IFS}}{canary}", f"touch\t{canary}", f">{canary}", f": > {canary}"]
    texts = [shape.format(command) for shape, command in itertools.product(SHAPES, commands)]
    texts += [f"churn{text}" for text in texts] + [f"promobot/dev/{text}" for text in texts[: len(SHAPES)]]
    return [*texts, *OPTIONS, *(f"{option}{text}" for option, text in zip(itertools.cycle(OPTIONS), texts[:100]))]


def scripts(workflow: str) -> list[tuple[str, dict[str, str]]]:
    """Every ``run:`` of a workflow with the environment variables that its step, its job or the workflow sets."""
    content: dict[str, Any] = yaml.safe_load((PROJECT / f".github/workflows/{workflow}.yml").read_text())
    return [
        (step["run"], {**content.get("env", {}), **job.get("env", {}), **step.get("env", {})})
        for job in content["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]


class Runner:
    """Runs a step's script as a runner does, with a ``python`` that only writes down what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked = folder / "asked"
        python = folder / "bin/python"
        python.parent.mkdir()
        python.write_text('#!/bin/bash\nprintf "%s\\0" "$@" > "$ASKED"\n')
        python.chmod(0o755)

    def run(self, script: str, environment: dict[str, str]) -> list[str] | None:
        """Return the arguments that the bot got, or None where the script did not get so far."""
        self._asked.unlink(missing_ok=True)
        variables = {"PATH": f"{self._folder}/bin:{os.environ['PATH']}", "ASKED": str(self._asked), **environment}
        subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self._folder,
            env=variables,
            capture_output=True,
            check=False,
        )
        if not self._asked.exists():
            return None
        asked = self._asked.read_bytes().decode()
        assert asked.startswith("-m\0bot\0")
        return asked.split("\0")[2:-1]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # a thousand times how promobot is used


def understood(arguments: list[str]) -> dict[str, Any] | None:
    """What the bot makes of its arguments; None where it refuses them as a mistake of usage."""
    try:
        parsed = cli.parse(arguments)
        return {"root": parsed.context.root_typed, "json": parsed.context.json, **vars(parsed.arguments)}
    except SystemExit as ended:
        assert ended.code == 2, "it must not take them for a call for help"
        return None


@pytest.mark.slow
def test_500_hostile_inputs_are_values_or_refused(runner: Runner, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    texts = hostile(canary)
    assert len(texts) >= 500
    ((script, variables),) = scripts("dispatch")
    usual = dict.fromkeys(variables, "x") | {
        "MODEL": "churn",
        "VERSION": "7",
        "ENVIRONMENT": "dev",
        "NOW": "false",
    }
    decide = random.Random(500)  # noqa: S311 - the same choice each time
    reached = 0
    for number, text in enumerate(texts):
        verb = ("propose", "promote", "recheck", "rollback")[number % 4]
        name = decide.choice(
            ["MODEL", "VERSION", "ENVIRONMENT", "REASON", "NOW", "VERB", *(n for n in variables if n == "REQUEST")]
        )
        arguments = runner.run(script, {**usual, "VERB": verb, name: text})
        assert not canary.exists(), f"{name} {text!r} was executed"
        if arguments is None:
            assert name == "VERB"
            continue
        got = understood(arguments)
        if got is None:
            continue
        reached += 1
        assert (arguments[0], got["root"], got["json"]) == (verb, "..", False), f"{name} {text!r} is an option"
        models = [*got["versions"]] if verb == "propose" else [got["model"]]
        assert [check_model_name(model) for model in models] == ["churn" if name != "MODEL" else text]
        assert not got.get("all_ready") and not got.get("dry_run"), f"{name} {text!r} is an option"
        assert got["env"] == (text if name == "ENVIRONMENT" else "dev")
        if verb == "rollback":
            assert got["reason"] == (text if name == "REASON" else "x")
            assert got["now"] is (name == "NOW" and text == "true")
    assert reached > 100, "some are only odd reasons, and environments that no file describes"
    for text in texts:
        with contextlib.suppress(ValueError):
            assert re.fullmatch(r"[a-z0-9-]+", check_environment_name(text)), "it becomes part of a path"


def test_500_hostile_pull_requests_are_never_code(runner: Runner, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    # Two scripts take nothing from outside: one turns forks away, one looks for evaluation sets.
    steps = [(script, variables) for script, variables in scripts("checks") if "python" in script]
    assert len(steps) == 6
    assert len(scripts("checks")) == 8
    for number, text in enumerate(hostile(canary)):
        script, variables = steps[number % len(steps)]
        # Neither title nor branch is among them; should one become so some day, it is no code either.
        assert not {"TITLE", "BRANCH", "HEAD_REF"} & variables.keys()
        arguments = runner.run(script, dict.fromkeys(variables, text))
        assert not canary.exists(), f"{text!r} was executed"
        assert arguments is not None
        assert understood(arguments) is None, f"{text!r} is no number, no commit, no list of jobs"


def test_a_script_that_takes_a_value_into_its_text_is_seen(runner: Runner, tmp_path: Path) -> None:
    """What the two tests above would say, were an expression in a script."""
    canary = tmp_path / "canary"
    title = f"$(touch {canary})"
    runner.run('python -m bot check ready --head "${{ title }}"'.replace("${{ title }}", title), {})
    assert canary.exists()


def test_no_expression_names_what_a_stranger_writes() -> None:
    for path in (PROJECT / ".github").rglob("*.yml"):
        for expression in re.findall(r"\$\{\{(.*?)\}\}", path.read_text()):
            assert not re.search(
                r"\.(title|body|label|message|email|page_name|login|head_ref)\b|head\.ref\b", expression
            )
    assert json.dumps(scripts("deploy"))
