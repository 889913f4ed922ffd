"""``promobot retire``: the pull request that takes a model out of service, with the reason in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.domain.desired import Entry
from bot.domain.nearest import did_you_mean
from bot.domain.proposal import Edit
from bot.domain.record import served_after
from bot.domain.scope import retire_branch
from bot.errors import InvalidInput, Refused
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.known import known_models
from bot.operations.proposing import ASKED_BY_NOBODY, Asking, Draft, put_proposal, read_desired
from bot.platform import Platform
from bot.render import proposal as words

LONGEST_REASON = 500


@dataclass(frozen=True)
class Retired:
    """The pull request; ``serving`` is what answers until it is merged and deployed."""

    environment: str
    model: str
    action: Literal["opened", "updated", "unchanged", "already desired"]
    serving: Entry | None
    reason: str
    pull_request: int | None = None
    url: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """0 proposed, or main says so already."""
        return ExitCode.DONE


def retire(
    platform: Platform, *, model: str, reason: str, by: str, say: Say, asking: Asking = ASKED_BY_NOBODY
) -> Retired:
    """Open the pull request that removes the model's entry and marks it as retired. Changes nothing else.

    Of a bundle all parts leave service together: without one of them the others could never be deployed.

    Raises InvalidInput without a reason, Refused where main asks for no version and none is in service.
    """
    reason = " ".join(reason.split())
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidInput(f"say why, in at most {LONGEST_REASON} characters", key="--reason")
    settings, ledger, repository = platform.settings, platform.ledger, platform.repository()
    desired = read_desired(repository, settings.environment, repository.head())
    serving = served_after(settings.environment, ledger.deployments()).models
    served, wanted = serving.get(model), desired.models.get(model)
    if wanted is None and served is None:
        raise Refused(
            f"{model} is not in service in {settings.environment}, and main asks for no version of it",
            state="Nothing was changed.",
            next_step=f"{did_you_mean(model, known_models(settings, desired=desired))}"
            f"`promobot status --env {settings.environment}` shows what is.",
        )
    together = settings.parts_with(model)
    leaving = {model, *(part for part in together if part in desired.models or part in serving)}
    draft = Draft(
        branch=retire_branch(settings.environment, together[-1]),
        # In the order of the differences of two files: checks compare what they make to the byte.
        edits=[Edit("models", part, None, reason) for part in sorted(leaving)],
        title=words.retire_title(model, settings.environment, served or wanted),
        body=words.retire_body(model, settings.environment, served, reason=reason, by=by, parts=sorted(leaving)),
        asking=asking,
    )
    proposed = put_proposal(repository, platform.github, ledger, draft, say=say)
    if proposed is None:
        return Retired(settings.environment, model, "already desired", served, reason)
    pull = proposed.pull_request
    return Retired(settings.environment, model, proposed.action, served, reason, pull.number, pull.url)
