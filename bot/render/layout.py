"""The files of a new repository of promotions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

ENVIRONMENTS = ("dev", "prod")
RUNNERS = ("promobot-checks", "promobot-deploy")

_CHECKS = """\
name: checks

# The bot's own workflow runs, at a commit that only a reviewed change of this file moves. The pull request is data:
# nothing of its head is checked out or executed.
on:
  pull_request_target: # zizmor: ignore[dangerous-triggers] nothing of the head is checked out or executed
    types: [opened, synchronize, reopened]
    branches: [BASE]
  merge_group:
    types: [checks_requested]

permissions: {}

concurrency:
  group: called-checks-${{ github.event.pull_request.number || github.ref }}
  cancel-in-progress: true

jobs:
  promobot:
    name: Promobot
    permissions:
      contents: read # to check out the base, and read the proposal's promotions/
      pull-requests: write # to write the one comment
    uses: PROMOBOT/.github/workflows/checks.yml@REF
    with:
      runner: CHECKS_RUNNER # has the staging Triton and the records, nothing that serves
      promobot-repository: PROMOBOT
      promobot-ref: REF
"""

_DEPLOY = """\
name: deploy

on:
  push:
    branches: [BASE]
    paths:
      - promotions/**
      - manifests/environments/**

permissions: {}

concurrency:
  group: called-deploy-${{ github.run_id }} # the called jobs have a group for each environment
  cancel-in-progress: false

jobs:
  promobot:
    name: Promobot
    permissions:
      contents: write # the branch of an automatic revert
      pull-requests: write # and its pull request
    uses: PROMOBOT/.github/workflows/deploy.yml@REF
    with:
      runner: DEPLOY_RUNNER
BASE_INPUT      environments: 'AS_JSON'
      promobot-repository: PROMOBOT
      promobot-ref: REF
    secrets:
      PROMOBOT_APP_KEY: ${{ secrets.PROMOBOT_APP_KEY }}
      PROMOBOT_RELOAD_TOKEN: ${{ secrets.PROMOBOT_RELOAD_TOKEN }}
      SLACK_BOT_TOKEN: ${{ secrets.SLACK_BOT_TOKEN }}
"""

_DISPATCH = """\
name: dispatch
run-name: ${{ inputs.verb }} ${{ inputs.model }} in ${{ inputs.environment }}

on:
  workflow_dispatch:
    inputs:
      verb:
        description: What to do
        type: choice
        options: [propose, promote, recheck, reconcile, rollback]
        required: true
      model:
        description: "Registered model (reconcile: leave it empty)"
        type: string
        default: ""
      environment:
        description: Environment to change
        type: choice
        options: LISTED
        required: true
      version:
        description: "Version (propose: required; promote, rollback: optional)"
        type: string
        default: ""
      now:
        description: "rollback: put the runtime back before the merge"
        type: boolean
        default: false
      reason:
        description: "rollback: why"
        type: string
        default: ""
      request:
        description: "Id of this request: asked again with the same one, it is done once (default: the run's)"
        type: string
        default: ""

permissions: {}

concurrency:
  group: called-dispatch-${{ github.run_id }}
  cancel-in-progress: false

jobs:
  promobot:
    name: Promobot
    permissions:
      contents: write # the proposal's branch
      pull-requests: write # the proposal
    uses: PROMOBOT/.github/workflows/dispatch.yml@REF
    with:
      runner: DEPLOY_RUNNER
BASE_INPUT      verb: ${{ inputs.verb }}
      model: ${{ inputs.model }}
      environment: ${{ inputs.environment }}
      version: ${{ inputs.version }}
      now: ${{ inputs.now }}
      reason: ${{ inputs.reason }}
      request: ${{ inputs.request }}
      promobot-repository: PROMOBOT
      promobot-ref: REF
    secrets:
      PROMOBOT_APP_KEY: ${{ secrets.PROMOBOT_APP_KEY }}
      PROMOBOT_RELOAD_TOKEN: ${{ secrets.PROMOBOT_RELOAD_TOKEN }}
      SLACK_BOT_TOKEN: ${{ secrets.SLACK_BOT_TOKEN }}
"""

_DRIFT = """\
name: drift

on:
  schedule:
    - cron: "17 * * * *"
  workflow_dispatch:

permissions: {}

concurrency:
  group: called-drift
  cancel-in-progress: false

jobs:
  promobot:
    name: Promobot
    permissions:
      contents: read # to check out main
      pull-requests: read # to name what is open
    uses: PROMOBOT/.github/workflows/drift.yml@REF
    with:
      runner: DEPLOY_RUNNER
BASE_INPUT      promobot-repository: PROMOBOT
      promobot-ref: REF
"""

_WATCH = """\
name: watch

# Puts back what breaks the rules of its bake (`rollout` in an environment file), and makes the next step. Not needed
# where `promobot watch` runs as a service.
on:
  schedule:
    - cron: "*/5 * * * *"
  workflow_dispatch:

permissions: {}

concurrency:
  group: called-watch
  cancel-in-progress: false

jobs:
  promobot:
    name: Promobot
    permissions:
      contents: write # the branch of a revert
      pull-requests: write # and its pull request
    uses: PROMOBOT/.github/workflows/watch.yml@REF
    with:
      runner: DEPLOY_RUNNER
BASE_INPUT      environments: 'AS_JSON'
      promobot-repository: PROMOBOT
      promobot-ref: REF
    secrets:
      PROMOBOT_APP_KEY: ${{ secrets.PROMOBOT_APP_KEY }}
      PROMOBOT_RELOAD_TOKEN: ${{ secrets.PROMOBOT_RELOAD_TOKEN }}
      SLACK_BOT_TOKEN: ${{ secrets.SLACK_BOT_TOKEN }}
"""

_PROMOTIONS = """\
# What ENVIRONMENT serves. `promobot propose` changes this file by pull request; merging one deploys it.
environment: ENVIRONMENT
models: {}

shadow: {}

# What leaves service, and why: an entry that is only gone takes nothing out. `promobot retire` writes here.
retired: {}
"""

_MANIFEST = """\
# Where ENVIRONMENT's systems are, and what holds there. `promobot doctor --env ENVIRONMENT` tries them.
environment: ENVIRONMENT
github:
  repository: REPOSITORY
GITHUB_BASEmlflow:
  uri: http://mlflow.example:5000
staging: # the Triton on which pull requests are checked; its part of the share is all that checks need of it
  triton: {name: triton-staging, grpc: triton-staging.example:8001, http: triton-staging.example:8000}
  share:
    model_repository: /mnt/nfs_share/mlops/staging/model-repo
    state: /mnt/nfs_share/mlops/staging/promobot
share: # where ENVIRONMENT's models lie; the state is beside the model repository, never in it
  model_repository: /mnt/nfs_share/mlops/triton/model-repo/ENVIRONMENT
  state: /mnt/nfs_share/mlops/triton/promobot/ENVIRONMENT
tritons: # every one is loaded and proven
  - {name: triton-ENVIRONMENT-1, grpc: triton-ENVIRONMENT-1.example:8001, http: triton-ENVIRONMENT-1.example:8000}
gateways: # every one is switched
  - {name: gateway-ENVIRONMENT-1, url: http://gateway-ENVIRONMENT-1.example:8080}
records: /mnt/nfs_share/mlops/promobot-records # keep it in the backup; or a bucket: {s3: {bucket: mlops}}
slack:
  channel: C0000000000 # the channel's id
gates: # a model without a gate is refused; "fraud-*" is a gate for many, default is one for all others
  churn:
    on_miss: stop # or: shadow
    metrics:
      accuracy: {minimum: 0.9, max_regression: 0.01}
"""

_CODEOWNERS = """\
# Everything has an owner: code of this repository runs near the share, and settings decide what production serves.
*                      OWNERS
"""

_NOT_OWNED = """\
# The last line that matches a path counts. A line without an owner is a file that any reviewer may approve: the bot
# proposes versions there, and the checks judge them. Take the line away, and versions for FIRST need an owner, too.
/promotions/FIRST.yaml
"""

_README = """\
# Promotions

`promotions/<env>.yaml` says which version of which model each environment serves. Merging a change deploys it.

1. Edit `manifests/environments/*.yaml`: addresses, paths, gates. `promobot validate` names mistakes.
2. Make the GitHub Environments GITHUB_ENVIRONMENTS, with the secrets there.
3. RUNNERS
4. Protect `BASE`: a review, code owners, and the check **Promobot / Verdict**.
5. `promobot doctor --init`, once, where the share and the record store are mounted: it marks them as new.
6. `promobot propose churn 1 --env FIRST` opens the first pull request.

The bot is PROMOBOT at REF; its `docs/how-to/github.md` says the rest. \
`docs/how-to/cases.md`: answers that every later version must \
give, in `cases/<model>/`. `docs/explanation/behaviour.md`: versions measured on your rows, by `evaluation` in an \
environment file.
"""


_AMBIGUOUS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def files(
    *,
    repository: str,
    promobot: str,
    ref: str,
    owners: str,
    base: str = "main",
    runners: tuple[str, str] = RUNNERS,
    environments: Sequence[str] = ENVIRONMENTS,
) -> dict[str, str]:
    """Return the text of every file by its path.

    ``runners`` are the labels for checks and for everything else. ``environments`` come in the order in which a
    version goes through them: each is promoted from the one before. Of several, the first may be approved by anybody.
    """
    texts = {
        ".github/CODEOWNERS": _CODEOWNERS + (_NOT_OWNED if len(environments) > 1 else ""),
        ".github/workflows/checks.yml": _CHECKS,
        ".github/workflows/deploy.yml": _DEPLOY,
        ".github/workflows/dispatch.yml": _DISPATCH,
        ".github/workflows/drift.yml": _DRIFT,
        ".github/workflows/watch.yml": _WATCH,
        "README.md": _README,
    }
    for before, name in zip(("", *environments), environments, strict=False):
        why = "`promobot promote` carries what is verified there"
        promoted = f"promotes_from: {_scalar(before)} # {why}\n" if before else ""
        here = {"environment: ENVIRONMENT": f"environment: {_scalar(name)}", "ENVIRONMENT": name}
        texts[f"manifests/environments/{name}.yaml"] = _replaced(_MANIFEST + promoted, here)
        texts[f"promotions/{name}.yaml"] = _replaced(_PROMOTIONS, here)
    checks, deploy = runners
    apart = f"Make two sets of runners: `{checks}`, which reach nothing that serves, and `{deploy}`."
    is_main = base == "main"
    words = {
        "GITHUB_ENVIRONMENTS": _listed([f"{name}{more}" for more in ("", "-operations") for name in environments]),
        "GITHUB_BASE": "" if is_main else f"  base: {_scalar(base)} # the branch whose head is desired state\n",
        "BASE_INPUT": "" if is_main else f"      base: {_scalar(base)}\n",
        "`BASE`": f"`{base}`",
        "[BASE]": f"[{_scalar(base)}]",
        "CHECKS_RUNNER": _scalar(checks),
        "DEPLOY_RUNNER": _scalar(deploy),
        "RUNNERS": apart if checks != deploy else f"Make runners with the label `{checks}`; better two sets of them.",
        "LISTED": "[" + ", ".join(map(_scalar, environments)) + "]",
        "AS_JSON": json.dumps(list(environments)),
        "FIRST": environments[0],
        # Names of variables and secrets hold these words, too.
        "PROMOBOT_": "PROMOBOT_",
        "PROMOBOT": promobot,
        "REPOSITORY": repository,
        "OWNERS": owners,
        "@REF": f"@{ref}",
        " REF": f" {ref}",
    }
    return {path: _replaced(text, words) for path, text in texts.items()}


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """Put values in the place of words, all at once: what a value holds is never read as a word."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda found: words[found[0]], text)


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _scalar(text: str) -> str:
    """Return a name as YAML has it: in quotes where YAML would take it for a number, or for yes or no."""
    is_plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text.lower() not in _AMBIGUOUS
    return text if is_plain else json.dumps(text)
