"""``promobot retire``: the pull request that takes a model out of service, with the reason in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.domain.desired import Entry
from bot.domain.nearest import did_you_mean
from bot.domain.record import served_after
from bot.domain.scope import retire_branch
from bot.errors import InvalidInput, Refused
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.known import known_models
from bot.operations.proposing import ASKED_BY_NOBODY, Asking, Edit, put_proposal, read_desired
from bot.platform import Platform
from bot.render import identity as identity_words
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

    Raises InvalidInput without a reason, Refused where main asks for no version and none is in service.
    """
    reason = " ".join(reason.split())
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidInput(f"say why, in at most {LONGEST_REASON} characters", key="--reason")
    settings, ledger, repository = platform.settings, platform.ledger, platform.repository()
    desired = read_desired(repository, settings.environment, repository.head())
    served = served_after(settings.environment, ledger.deployments()).models.get(model)
    wanted = desired.models.get(model)
    if wanted is None and served is None:
        raise Refused(
            f"{model} is not in service in {settings.environment}, and main asks for no version of it",
            state="Nothing was changed.",
            next_step=f"{did_you_mean(model, known_models(settings, desired=desired))}"
            f"`promobot status --env {settings.environment}` shows what is.",
        )
    proposed = put_proposal(
        repository,
        platform.github,
        ledger,
        edits=[Edit("models", model, None, reason)],
        branch=retire_branch(settings.environment, model),
        title=words.retire_title(model, settings.environment, served or wanted),
        body=words.retire_body(model, settings.environment, served, reason=reason, by=by),
        say=say,
        asking=asking,
    )
    if proposed is None:
        return Retired(settings.environment, model, "already desired", served, reason)
    if proposed.action == "opened" and proposed.pull_request.has_no_checks:
        say(identity_words.no_checks(proposed.pull_request.number))
    pull = proposed.pull_request
    return Retired(settings.environment, model, proposed.action, served, reason, pull.number, pull.url)
