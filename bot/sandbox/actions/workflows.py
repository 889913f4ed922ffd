"""A workflow file as the forge needs it: what starts it, and which jobs and steps people will see.

act runs the steps; this module reads names and triggers, so that a run shows its jobs as *queued* before act has
started. The jobs of a matrix are named by act alone, when they begin.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bot.errors import InvalidInput
from bot.sandbox.actions.records import Job, with_ends

# --- what people see of a run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A job that is another workflow."""

    name: str
    inputs: Mapping[str, str]
    """The inputs that it passes, still as expressions."""
    uses: str
    """``./.github/workflows/x.yml`` or ``owner/name/.github/workflows/x.yml@ref``."""


# --- the file, as it is written -------------------------------------------------------------------------------------


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _listed(value: object) -> object:
    return () if value is None else value if isinstance(value, (list, tuple)) else (value,)


def _events(value: object) -> object:
    """Return the value of ``on:`` by event; a file names one event, several, or each with its filters."""
    if not isinstance(value, dict):
        names: Any = _listed(value)
        return {name: {} for name in names}
    schedule = {"crons": [entry.get("cron") for entry in value.get("schedule") or ()]}
    return {event: schedule if event == "schedule" else body or {} for event, body in value.items()}


Text = Annotated[str, BeforeValidator(_as_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Named = Annotated[Text, BeforeValidator(lambda value: value.get("name") if isinstance(value, dict) else value)]


class Part(BaseModel):
    """A part of a workflow file; act reads the keys that no model names."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, alias_generator=lambda name: name.replace("_", "-")
    )


class DispatchInput(Part):
    required: bool = False
    default: Text | None = None
    type: str = "string"
    options: Texts = ()


class Trigger(Part):
    """One event under ``on:``, with GitHub's filters; an empty filter lets everything through."""

    types: Texts = ()
    branches: Texts = ()
    branches_ignore: Texts = ()
    tags: Texts = ()
    tags_ignore: Texts = ()
    paths: Texts = ()
    paths_ignore: Texts = ()
    crons: Texts = ()
    inputs: Annotated[
        dict[str, Annotated[DispatchInput, BeforeValidator(lambda value: value or {})]],
        BeforeValidator(lambda value: value or {}),
    ] = {}


class Concurrency(Part):
    """Of runs with the same group one runs and one waits."""

    group: Text
    """May hold expressions."""
    cancel_in_progress: Annotated[bool, BeforeValidator(lambda value: value is True)] = False


Group = Annotated[
    Concurrency | None,
    BeforeValidator(lambda value: value if isinstance(value, dict) or not value else {"group": value}),
]


class StepBody(Part):
    id: Text = ""
    name: Text = ""
    uses: Text = ""
    run: Text = ""

    @property
    def label(self) -> str:
        first_line = next((line.strip() for line in self.run.splitlines() if line.strip()), "")
        return self.name or f"Run {self.uses or first_line}"


class JobBody(Part):
    name: Text = ""
    uses: Text = ""
    given: dict[str, Text] = Field({}, alias="with")
    needs: Texts = ()
    environment: Named = ""
    """The GitHub Environment; may hold expressions."""
    timeout_minutes: float | str | None = None
    concurrency: Group = None
    strategy: dict[str, Any] = {}
    steps: Annotated[tuple[StepBody, ...], BeforeValidator(lambda value: value or ())] | None = None

    def queued(self, key: str) -> Iterator[Job]:
        """Yield the job as people see it before act has started; none with a matrix, whose jobs act names later."""
        if self.steps is None or "matrix" in self.strategy:
            return
        steps = with_ends(*((step.id or str(index), step.label) for index, step in enumerate(self.steps)))
        status = "waiting" if self.needs else "queued"
        yield Job(key=key, name=self.name or key, needs=self.needs, status=status, steps=steps)


class File(Part):
    name: Text = ""
    run_name: Text = ""
    on: Annotated[dict[str, Trigger], BeforeValidator(_events)]
    jobs: dict[str, JobBody]
    concurrency: Group = None


# --- a workflow, with those that it calls ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Workflow:
    path: str
    name: str
    run_name: str
    triggers: Mapping[str, Trigger]
    """By the event."""
    jobs: tuple[Job, ...]
    """As they look before act has started; ids come with the run."""
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


def parse_workflow(path: str, text: str) -> Workflow:
    """Read a workflow file. Raises `InvalidInput` if it does not have a workflow's shape; act judges the rest."""
    try:
        content = yaml.safe_load(text)
        if isinstance(content, dict) and True in content:  # as YAML 1.1 reads the bare word `on`
            content["on"] = content.pop(True)
        file = File.model_validate(content)
    except yaml.YAMLError as error:
        raise InvalidInput(str(error), file=path) from error
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise InvalidInput(f"{where}: {wrong['msg']}" if where else "a workflow is a mapping", file=path) from error
    jobs = file.jobs
    return Workflow(
        path=path,
        name=file.name or path,
        run_name=file.run_name,
        triggers=file.on,
        jobs=tuple(queued for key, job in jobs.items() for queued in job.queued(key)),
        concurrency=tuple(filter(None, (file.concurrency, *(job.concurrency for job in jobs.values())))),
        calls=tuple(
            Call(name=job.name or key, uses=job.uses, inputs=job.given) for key, job in jobs.items() if job.uses
        ),
        environments={key: job.environment for key, job in jobs.items() if job.environment},
        timeouts={key: job.timeout_minutes for key, job in jobs.items() if isinstance(job.timeout_minutes, float)},
    )


def with_called(caller: Workflow, called: Iterable[tuple[Call, Workflow]]) -> Workflow:
    """The workflow with the jobs and groups of those that it calls, as a run of it shows them."""
    pairs = list(called)
    jobs = [
        job.model_copy(update={"name": f"{call.name} / {job.name}"})
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
