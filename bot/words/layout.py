"""The files of a new repository of promotions."""

from __future__ import annotations

ENVIRONMENTS = ("dev", "prod")

_CHECKS = """\
name: checks

# The bot's own workflow runs, at a commit that only a reviewed change of this file moves. The pull request is data:
# nothing of its head is checked out or executed.
on:
  pull_request_target: # zizmor: ignore[dangerous-triggers] nothing of the head is checked out or executed
    types: [opened, synchronize, reopened]
    branches: [main]
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
      runner: promobot-checks # has the staging Triton and the records, nothing that serves
      promobot-repository: PROMOBOT
      promobot-ref: REF
"""

_DEPLOY = """\
name: deploy

on:
  push:
    branches: [main]
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
      runner: promobot-deploy
      environments: '["dev", "prod"]'
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
        options: [dev, prod]
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
      runner: promobot-deploy
      verb: ${{ inputs.verb }}
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
      runner: promobot-deploy
      promobot-repository: PROMOBOT
      promobot-ref: REF
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
mlflow:
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
gates: # a model without a gate is refused
  churn:
    on_miss: stop # or: shadow
    metrics:
      accuracy: {minimum: 0.9, max_regression: 0.01}
"""

_CODEOWNERS = """\
# Everything has an owner: code of this repository runs near the share, and settings decide what production serves.
# The last line that matches a path counts. A line without an owner is a file that any reviewer may approve: the bot
# proposes versions there, and the checks judge them. Take the line away, and versions for dev need an owner, too.
*                      OWNERS
/promotions/dev.yaml
"""

_README = """\
# Promotions

`promotions/<env>.yaml` says which version of which model each environment serves. Merging a change deploys it.

1. Edit `manifests/environments/*.yaml`: addresses, paths, gates. `promobot validate` names mistakes.
2. Make the GitHub Environments `dev`, `prod`, `dev-operations` and `prod-operations`, with the secrets there.
3. Make two sets of runners: `promobot-checks`, which reach nothing that serves, and `promobot-deploy`.
4. Protect `main`: a review, code owners, and the check **Promobot / Verdict**.
5. `promobot doctor --init`, once, where the share and the record store are mounted: it marks them as new.
6. `promobot propose churn 1 --env dev` opens the first pull request.

The bot is PROMOBOT at REF; its `docs/github.md` says the rest.
"""


def files(*, repository: str, promobot: str, ref: str, owners: str) -> dict[str, str]:
    """Return the text of every file by its path."""
    texts = {
        ".github/CODEOWNERS": _CODEOWNERS,
        ".github/workflows/checks.yml": _CHECKS,
        ".github/workflows/deploy.yml": _DEPLOY,
        ".github/workflows/dispatch.yml": _DISPATCH,
        ".github/workflows/drift.yml": _DRIFT,
        "README.md": _README,
    }
    for name in ENVIRONMENTS:
        promoted = (
            "promotes_from: dev # `promobot promote` carries what is verified there\n" if name == "prod" else ""
        )
        texts[f"manifests/environments/{name}.yaml"] = (_MANIFEST + promoted).replace("ENVIRONMENT", name)
        texts[f"promotions/{name}.yaml"] = _PROMOTIONS.replace("ENVIRONMENT", name)
    words = {"REPOSITORY": repository, "PROMOBOT": promobot, "OWNERS": owners}
    for word, value in words.items():
        texts = {
            path: text.replace(f"{word}_", "\0").replace(word, value).replace("\0", f"{word}_")
            for path, text in texts.items()
        }
    return {path: text.replace("@REF", f"@{ref}").replace(" REF", f" {ref}") for path, text in texts.items()}
