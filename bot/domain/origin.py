"""Where a deployment comes from: who registered, proposed, approved and merged what it brought, and when.

GitHub and MLflow know it, and nobody who deploys waits for them. So it is kept beside the record, and may come later.
A rollback that somebody asked for at once has it in its record: nobody else needs to be asked for that.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.bundle import ONLY_WHERE_GIVEN

POLICY = "the policy"
"""Who proposed, or had merged, what no person did."""


class Origin(BaseModel):
    """The way of a release until main asked for it, as far as it is known; null or empty where it is not.

    Without a pull request main was changed by hand, or somebody asked for a rollback at once.
    """

    model_config = ConfigDict(frozen=True, json_schema_extra=ONLY_WHERE_GIVEN)

    registered_at: datetime | None = Field(default=None, description="when MLflow got the version")
    pull_request: int | None = Field(default=None, description="the pull request that made main ask for it")
    url: str = Field(default="", description="address of the pull request")
    opened_at: datetime | None = Field(default=None, description="when the pull request was opened")
    proposed_by: str = Field(
        default="", description="who asked the bot for it; else who opened the pull request, or went back at once"
    )
    approved_at: datetime | None = Field(
        default=None, description="the last approval that stood when the pull request was merged"
    )
    approved_by: str = Field(default="", description="whose approvals stood then")
    merged_at: datetime | None = Field(default=None, description="when the pull request was merged")
    merged_by: str = Field(default="", description="who merged it, as GitHub says")
    by_policy: bool = Field(default=False, description="whether the policy of the environment had it merged")
    asked_at: datetime | None = Field(
        default=None, description="when somebody asked for a rollback at once, without a pull request"
    )
    unknown: str = Field(default="", description="what can no longer be found out, and why")
