"""What the forge reads out of a workflow file."""

from __future__ import annotations

import pytest

from bot.errors import InvalidInput
from bot.sandbox.actions.workflows import (
    Concurrency,
    fill_in,
    parse_workflow,
    uses_in,
    with_called,
)


def test_names_and_steps_as_people_see_them() -> None:
    workflow = parse_workflow(
        ".github/workflows/a.yml",
        """
name: Checks
on: {pull_request_target: {types: [opened], branches: main}, workflow_dispatch: }
jobs:
  one:
    name: READY
    steps: [{uses: actions/checkout@v4}, {id: x, name: Say, run: echo}, {run: "\\n  echo first\\n  echo second"}]
  two:
    needs: one
    strategy: {matrix: {model: [a, b], fast: [true]}}
    steps: []
  three:
    needs: [one]
    name: Smoke ${{ needs.one.outputs.x }}
    steps: []
  computed:
    strategy: {matrix: "${{ fromJSON(needs.one.outputs.x) }}"}
    steps: []
""",
    )
    assert [(job.key, job.name, job.status) for job in workflow.jobs] == [
        ("one", "READY", "queued"),
        ("three", "Smoke ${{ needs.one.outputs.x }}", "waiting"),
    ], "act names the jobs of a matrix"
    assert [(step.key, step.name) for step in workflow.jobs[0].steps[1:-1]] == [
        ("0", "Run actions/checkout@v4"),
        ("x", "Say"),
        ("2", "Run echo first"),
    ]
    assert [(event, trigger.types, trigger.branches) for event, trigger in workflow.triggers.items()] == [
        ("pull_request_target", ("opened",), ("main",)),
        ("workflow_dispatch", (), ()),
    ]


@pytest.mark.parametrize("text", ["a: [", "[]", "jobs: {}", "on: push", "on: push\njobs: []"])
def test_what_is_no_workflow_is_said(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"a\.yml"):
        parse_workflow("a.yml", text)


def test_expressions_that_are_plain_paths_are_filled_in() -> None:
    contexts = {"inputs": {"model": "churn", "dry_run": False}}
    text = "Roll back ${{ inputs.model }} ${{inputs.dry_run}} ${{ github.actor }} ${{ inputs.a || 'b' }}"
    assert fill_in(text, contexts) == "Roll back churn false ${{ github.actor }} ${{ inputs.a || 'b' }}"


def test_every_action_from_elsewhere_is_found() -> None:
    text = """
    - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
    - {uses: "some/where/deep@v1", with: {}}
    - uses: ./.github/actions/x
    - uses: docker://alpine:3
    """
    assert uses_in(text) == {"actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "some/where/deep@v1"}


def test_a_concurrency_group_may_name_the_first_of_several_that_is_there() -> None:
    workflow = parse_workflow(
        "a.yml",
        "on: push\njobs: {}\nconcurrency:\n  group: checks-${{ github.event.pull_request.number || github.ref }}\n"
        "  cancel-in-progress: true\n",
    )
    [group] = workflow.concurrency
    assert group.cancel_in_progress
    pull = {"event": {"pull_request": {"number": 7}}, "ref": "refs/heads/main"}
    assert fill_in(group.group, {"github": pull}) == "checks-7"
    assert fill_in(group.group, {"github": {"event": {}, "ref": "refs/heads/x"}}) == "checks-refs/heads/x"
    assert parse_workflow("a.yml", "on: push\njobs: {}\nconcurrency: one").concurrency == (Concurrency(group="one"),)
    assert parse_workflow("a.yml", "on: push\njobs: {}").concurrency == ()


def test_a_workflow_has_the_groups_of_its_jobs_and_the_jobs_and_groups_of_what_it_calls() -> None:
    called = parse_workflow(
        "b.yml",
        "on: workflow_call\nname: B\njobs:\n  one: {name: One, steps: []}\n"
        '  two: {name: Two, timeout-minutes: 5, environment: "${{ inputs.where }}-${{ matrix.x }}", steps: [],'
        ' concurrency: {group: "deploy-${{ matrix.x }}", cancel-in-progress: false}}\n',
    )
    caller = parse_workflow(
        "a.yml",
        "on: push\nconcurrency: outer\njobs:\n  call: {name: Called, uses: a/b/.github/workflows/b.yml@main,"
        ' with: {where: "${{ inputs.here }}"}}\n',
    )
    [call] = caller.calls
    assert (call.name, call.uses) == ("Called", "a/b/.github/workflows/b.yml@main")
    whole = with_called(caller, [(call, called)])
    assert [job.name for job in whole.jobs] == ["Called / One", "Called / Two"]
    environment = fill_in(whole.environments["two"], {"inputs": {"here": "dev"}, "matrix": {"x": 1}})
    assert (environment, whole.timeouts) == ("dev-1", {"two": 5.0})
    assert [group.group for group in whole.concurrency] == ["outer", "deploy-${{ matrix.x }}"]
