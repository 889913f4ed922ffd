"""The pages of a proof. Whatever they say of a run is taken from its :class:`~bot.domain.proof.Proof`."""

from __future__ import annotations

import json

from bot.domain.proof import Case, Proof, Pull, View
from bot.domain.record import DeploymentRecord
from bot.render.deployment import CRITERION_NAMES
from bot.render.markdown import details, fenced, table, tick

WHOLE = 200_000
TITLES = {
    "promotion": "Promoted: a better version goes into service",
    "shadow": "Shadow: a version below the threshold answers nobody",
    "refused": "Refused: a version that answers wrong never leaves staging",
    "put-back": "Put back: a deployment that fails goes back by itself, and Git follows",
    "rolled-back": "Rolled back: a person asks for it in Slack",
    "airflow": "Airflow: a DAG trains, proposes and ends as the deployment",
}


def pages(proof: Proof) -> dict[str, str]:
    """Return the text of each page by the name of its file."""
    return {"README.md": _index(proof), **{f"{case.name}.md": _page(case, proof) for case in proof.cases}}


def written(proof: Proof, folder: str) -> str:
    """Say on a terminal what was proven, and where it can be read."""
    return f"{len(proof.cases)} cases, written to {folder}: {', '.join(case.name for case in proof.cases)}."


def _index(proof: Proof) -> str:
    rows = [
        [
            f"[{TITLES[case.name]}]({case.name}.md)",
            ", ".join(f"#{pull.number}" for pull in case.pulls),
            ", ".join(f"{record.id}: {record.outcome}" for record in case.records) or "no deployment",
            f"{(case.finished_at - case.started_at).total_seconds():.0f} s",
        ]
        for case in proof.cases
    ]
    mounts = [
        [mount.who, f"`{mount.path}`", f"`{mount.source}`", mount.filesystem, f"`{mount.options}`"]
        for mount in proof.mounts
    ]
    return _joined(
        "# Proof",
        f"What one run of the whole story left behind, on {proof.made_at:%Y-%m-%d at %H:%M} UTC: read from the "
        "forge, MLflow, every Triton, every gateway, Slack, the share and the record store while it went on. "
        "Everything on these pages is in [proof.json](proof.json), from which they are made; a test fails when a "
        "format that they show has changed since.",
        fenced(proof.command, "sh"),
        table(["case", "pull requests", "deployments", "time"], rows),
        "## What ran",
        table(
            ["part", "version"],
            [["promobot", f"commit `{proof.commit}`"], *([k, v] for k, v in proof.versions.items())],
        ),
        f"Deployment records and evidence were kept in {proof.records}.",
        "## The share",
        "What `findmnt` says of the model repository, in the mount namespace of the process that writes it and of "
        "each that reads it. Here all of them are on one machine; [on a real NFS](nfs.md) they are on several.",
        table(["who", "path", "source", "file system", "options"], mounts),
        "## More",
        "- [Slack on a phone and on a desk](slack.md), as a browser test sees it.\n"
        "- [The share on a real NFS](nfs.md): what the machines that write and read have mounted, and what they saw.",
    )


def _page(case: Case, proof: Proof) -> str:
    return _joined(
        f"# {TITLES[case.name]}",
        f"Act {case.act} of the story, {case.started_at:%H:%M:%S} to {case.finished_at:%H:%M:%S} UTC, commit "
        f"`{proof.commit}`. [All cases](README.md).",
        *(["What people typed:", fenced("\n".join(case.typed), "sh")] if case.typed else []),
        "Seen, in order:",
        "\n".join(f"- {line}" for line in case.seen),
        *(_criteria(record) for record in case.records),
        "## The digest at each hop",
        table(["where", "digest"], [[hop.where, f"`{hop.digest}`"] for hop in case.hops]),
        "## Before and after",
        _views(case.before, case.after),
        *(_pull(pull) for pull in case.pulls),
        "## Slack",
        *([f"![the thread]({case.picture})"] if case.picture else []),
        *(
            fenced("\n".join([message.text, *(f"    {reply}" for reply in message.replies)]), limit=WHOLE)
            for message in case.messages
        ),
        "## New objects",
        "\n".join(f"- `{key}`" for key in case.objects) or "Nothing.",
        *(
            details(f"the record {record.id}", fenced(record.model_dump_json(indent=1), "json", limit=WHOLE))
            for record in case.records
        ),
    )


def _criteria(record: DeploymentRecord) -> str:
    rows = [
        [f"{tick(one.holds)} {CRITERION_NAMES[one.name]}", f"{one.at:%H:%M:%S.%f}"[:-3], _cell(one.proof)]
        for one in record.criteria
    ]
    said = f"Outcome: **{record.outcome}**." + (f" {_cell(record.problem)}" if record.problem else "")
    return _joined(f"## The six criteria of {record.id}", said, table(["criterion", "seen at", "by"], rows)).rstrip()


def _views(before: View, after: View) -> str:
    tritons = [[name, _lines(before.tritons[name]), _lines(after.tritons[name])] for name in after.tritons]
    routes = [[name, _route(before.routes[name]), _route(after.routes[name])] for name in after.routes]
    head = ["", f"{before.at:%H:%M:%S}", f"{after.at:%H:%M:%S}"]
    return f"{table(head, tritons)}\n\n{table(head, routes)}"


def _lines(index: tuple[str, ...]) -> str:
    return "<br>".join(index) or "nothing loaded"


def _route(document: dict[str, object]) -> str:
    models = document.get("models")
    return f"generation {document.get('generation')}<br>`{json.dumps(models, sort_keys=True)}`"


def _pull(pull: Pull) -> str:
    checks = ", ".join(f"{name}: {conclusion}" for name, conclusion in sorted(pull.checks.items()))
    said = f"By {pull.author}, `{pull.branch}` at `{pull.head[:12]}`; {pull.state}"
    said += f" as `{pull.merged_as[:12]}`." if pull.merged_as else "."
    return _joined(
        f"## Pull request #{pull.number}: {pull.title}",
        f"{said} Checks: {checks or 'none'}.",
        details("as it read", fenced(pull.body, "markdown", limit=WHOLE)),
        *(details(f"comment of {c.author}", fenced(c.body, "markdown", limit=WHOLE)) for c in pull.comments),
    ).rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _joined(*parts: str) -> str:
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
