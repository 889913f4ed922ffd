"""A workflow file as the forge needs it: what starts it, and which jobs and steps people will see.

act runs the steps; this module reads names, triggers and matrices, so that a run shows its jobs as *queued* before
act has started.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from bot.errors import InvalidInput


@dataclass(frozen=True)
class Trigger:
    """One event under ``on:``, with GitHub's filters; an empty filter lets everything through."""

    event: str
    types: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    branches_ignore: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tags_ignore: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    paths_ignore: tuple[str, ...] = ()
    crons: tuple[str, ...] = ()


@dataclass(frozen=True)
class DispatchInput:
    name: str
    required: bool
    default: str | None
    kind: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class StepDefinition:
    key: str
    """As act reports it: the step's ``id``, or its index."""
    label: str
    """As people see it: its ``name``, or "Run …"."""


@dataclass(frozen=True)
class JobDefinition:
    """One job of one matrix combination."""

    key: str
    name: str
    """As people see it; may still hold an expression that only act can evaluate."""
    matrix: str
    """The combination as canonical JSON; ``{}`` without a matrix."""
    needs: tuple[str, ...]
    steps: tuple[StepDefinition, ...]


@dataclass(frozen=True)
class Concurrency:
    """Of runs with the same group one runs and one waits."""

    group: str
    """May hold expressions."""
    cancel_in_progress: bool


@dataclass(frozen=True)
class Call:
    """A job that is another workflow."""

    name: str
    inputs: Mapping[str, str]
    """The inputs that it passes, still as expressions."""
    uses: str
    """``./.github/workflows/x.yml`` or ``owner/name/.github/workflows/x.yml@ref``."""


@dataclass(frozen=True)
class Workflow:
    path: str
    name: str
    run_name: str
    triggers: tuple[Trigger, ...]
    inputs: tuple[DispatchInput, ...]
    jobs: tuple[JobDefinition, ...]
    concurrency: tuple[Concurrency, ...] = ()
    """The workflow's group and those of its jobs."""
    calls: tuple[Call, ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """What act puts before the names of jobs of called workflows, and what GitHub shows there."""
    environments: Mapping[str, str] = field(default_factory=dict)
    """The GitHub Environment of each job that has one, by the job's key; may hold expressions."""
    timeouts: Mapping[str, float] = field(default_factory=dict)
    """Time limits of jobs in minutes, by the job's key; GitHub's own limit counts for the others."""
    only_calls: frozenset[str] = frozenset()
    """What act calls jobs that are other workflows; GitHub shows the others' jobs only."""

    @property
    def in_act(self) -> str:
        """What act calls it."""
        return self.path.rsplit("/", 1)[-1] if self.name == self.path else self.name

    def trigger(self, event: str) -> Trigger | None:
        return next((trigger for trigger in self.triggers if trigger.event == event), None)


def parse_workflow(path: str, text: str) -> Workflow:
    """Read a workflow file. Raises `InvalidInput` if it does not have a workflow's shape; act judges the rest."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(str(error), file=path) from error
    if not isinstance(content, dict):
        raise InvalidInput("a workflow is a mapping", file=path)
    # YAML 1.1 reads the bare word `on` as true.
    started_by = content.get("on", content.get(True))
    jobs = content.get("jobs")
    if started_by is None or not isinstance(jobs, dict):
        raise InvalidInput("a workflow has 'on' and 'jobs'", file=path)
    return Workflow(
        path=path,
        name=str(content.get("name") or path),
        run_name=str(content.get("run-name") or ""),
        triggers=_triggers(started_by),
        inputs=_inputs(started_by),
        jobs=tuple(
            job
            for key, body in jobs.items()
            if isinstance(body, dict) and "steps" in body
            for job in _jobs(str(key), body)
        ),
        concurrency=tuple(
            group
            for one in (content, *jobs.values())
            if isinstance(one, dict) and (group := _concurrency(one.get("concurrency"))) is not None
        ),
        calls=tuple(
            Call(name=str(body.get("name") or key), uses=str(body["uses"]), inputs=_texts(body.get("with")))
            for key, body in jobs.items()
            if isinstance(body, dict) and "uses" in body
        ),
        environments={
            str(key): environment
            for key, body in jobs.items()
            if isinstance(body, dict) and (environment := _environment(body.get("environment")))
        },
        timeouts={
            str(key): float(body["timeout-minutes"])
            for key, body in jobs.items()
            if isinstance(body, dict) and isinstance(body.get("timeout-minutes"), (int, float))
        },
    )


def with_called(caller: Workflow, called: Iterable[tuple[Call, Workflow]]) -> Workflow:
    """The workflow with the jobs and groups of those that it calls, as a run of it shows them."""
    pairs = list(called)
    jobs = [
        dataclasses.replace(job, name=f"{call.name} / {job.name}")
        for call, workflow in pairs
        for job in workflow.jobs
    ]
    groups = [group for _, workflow in pairs for group in workflow.concurrency]
    prefixes = {f"{call.name}/{workflow.in_act}/": f"{call.name} / " for call, workflow in pairs}
    for call, workflow in pairs:
        prefixes |= {theirs: f"{call.name} / {shown}" for theirs, shown in workflow.prefixes.items()}
    environments, timeouts = dict(caller.environments), dict(caller.timeouts)
    for call, workflow in pairs:
        given = {"inputs": call.inputs}
        environments |= {key: fill_in(text, given) for key, text in workflow.environments.items()}
        timeouts |= workflow.timeouts
    only_calls = {
        f"{call.name}/{workflow.in_act}/{inner.name}" for call, workflow in pairs for inner in workflow.calls
    }
    return dataclasses.replace(
        caller,
        jobs=(*caller.jobs, *jobs),
        concurrency=(*caller.concurrency, *groups),
        calls=tuple(call for call, _ in pairs),
        prefixes=prefixes,
        environments=environments,
        timeouts=timeouts,
        only_calls=frozenset({f"{caller.in_act}/{call.name}" for call, _ in pairs} | only_calls),
    )


def canonical(matrix: Mapping[str, object]) -> str:
    """A matrix combination as text that is the same for the same values."""
    return json.dumps(matrix, sort_keys=True, default=str)


_PATH = r"[\w-]+(?:\.[\w-]+)*"
_EXPRESSION = re.compile(rf"\$\{{\{{\s*({_PATH}(?:\s*\|\|\s*{_PATH})*)\s*\}}\}}")


def fill_in(text: str, contexts: Mapping[str, Any]) -> str:
    """Replace ``${{ a.b.c }}`` and ``${{ a.b || c.d }}`` by the first value in ``contexts`` that is not empty.

    Leaves what it does not know, and every other expression.
    """

    def value(match: re.Match[str]) -> str:
        known = [found for path in match[1].split("||") if (found := _at(path.strip(), contexts)) is not _UNKNOWN]
        return _as_text(next((found for found in known if found), known[0])) if known else match[0]

    return _EXPRESSION.sub(value, text)


_UNKNOWN = object()


def _at(path: str, contexts: Mapping[str, Any]) -> Any:
    found: Any = contexts
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _UNKNOWN
        found = found[part]
    return found


def uses_in(text: str) -> set[str]:
    """Every action that a workflow or a composite action names and that does not lie in the repository itself."""
    named = {match[1] for match in re.finditer(r"""\buses["']?\s*:\s*["']?([^\s"'#,}\]]+)""", text)}
    return {action for action in named if not action.startswith(("./", "docker:")) and "@" in action}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _strings(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(_as_text(item) for item in value) if isinstance(value, list) else (_as_text(value),)


def _texts(value: object) -> dict[str, str]:
    return {str(name): _as_text(one) for name, one in value.items()} if isinstance(value, dict) else {}


def _environment(value: object) -> str:
    return _as_text(value.get("name") if isinstance(value, dict) else value)


def _concurrency(value: object) -> Concurrency | None:
    if isinstance(value, dict):
        return Concurrency(_as_text(value.get("group")), value.get("cancel-in-progress") is True)
    return Concurrency(_as_text(value), False) if value else None


def _triggers(started_by: object) -> tuple[Trigger, ...]:
    if not isinstance(started_by, dict):
        return tuple(Trigger(event) for event in _strings(started_by))
    return tuple(
        Trigger(
            event=str(event),
            types=_strings(body.get("types")),
            branches=_strings(body.get("branches")),
            branches_ignore=_strings(body.get("branches-ignore")),
            tags=_strings(body.get("tags")),
            tags_ignore=_strings(body.get("tags-ignore")),
            paths=_strings(body.get("paths")),
            paths_ignore=_strings(body.get("paths-ignore")),
        )
        for event, body in ((event, body if isinstance(body, dict) else {}) for event, body in started_by.items())
        if event != "schedule"
    ) + _schedule(started_by.get("schedule"))


def _schedule(entries: object) -> tuple[Trigger, ...]:
    crons = (
        [str(entry.get("cron")) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )
    return (Trigger("schedule", crons=tuple(crons)),) if crons else ()


def _inputs(started_by: object) -> tuple[DispatchInput, ...]:
    dispatch = started_by.get("workflow_dispatch") if isinstance(started_by, dict) else None
    inputs = dispatch.get("inputs") if isinstance(dispatch, dict) else None
    if not isinstance(inputs, dict):
        return ()
    return tuple(
        DispatchInput(
            name=str(name),
            required=body.get("required") is True,
            default=_as_text(body["default"]) if "default" in body else None,
            kind=str(body.get("type", "string")),
            options=_strings(body.get("options")),
        )
        for name, body in ((name, body if isinstance(body, dict) else {}) for name, body in inputs.items())
    )


def _jobs(key: str, body: dict[str, Any]) -> list[JobDefinition]:
    strategy = body.get("strategy")
    matrix = strategy.get("matrix") if isinstance(strategy, dict) else None
    if isinstance(matrix, str):
        return []  # computed from another job's output: act will tell which jobs there are
    steps = tuple(_step(index, step) for index, step in enumerate(body["steps"] or []))
    needs = _strings(body.get("needs"))
    if not isinstance(matrix, dict):
        name = str(body.get("name") or key)
        return [JobDefinition(key=key, name=name, matrix="{}", needs=needs, steps=steps)]
    return [
        JobDefinition(
            key=key, name=_matrix_name(key, body, values), matrix=canonical(values), needs=needs, steps=steps
        )
        for values in matrix_combinations(matrix)
    ]


def _matrix_name(key: str, body: dict[str, Any], values: dict[str, Any]) -> str:
    name = str(body.get("name") or key)
    if "${{" in name:
        return fill_in(name, {"matrix": values})
    return f"{name} ({', '.join(_as_text(value) for value in values.values())})"


def matrix_combinations(matrix: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination of a ``strategy.matrix``, with ``exclude`` and ``include`` as GitHub documents them."""
    axes = {
        key: values
        for key, values in matrix.items()
        if key not in ("include", "exclude") and isinstance(values, list)
    }
    combinations = (
        [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    )
    for excluded in matrix.get("exclude") or []:
        combinations = [found for found in combinations if not excluded.items() <= found.items()]
    originals = [dict(found) for found in combinations]
    for included in matrix.get("include") or []:
        fitting = [
            found
            for found, original in zip(combinations, originals, strict=False)
            if all(original[key] == value for key, value in included.items() if key in original)
        ]
        for found in fitting:
            found.update(included)
        if not fitting:
            combinations.append(dict(included))
    return combinations


def _step(index: int, body: object) -> StepDefinition:
    step = body if isinstance(body, dict) else {}
    uses = str(step.get("uses") or "")
    first_line = next((line.strip() for line in str(step.get("run") or "").splitlines() if line.strip()), "")
    return StepDefinition(
        key=str(step.get("id") or index),
        label=str(step.get("name") or f"Run {uses or first_line}"),
    )
