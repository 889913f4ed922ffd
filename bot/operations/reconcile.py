"""``promobot reconcile``: put right what drift finds, by deploy's own path and under deploy's own lease."""

from __future__ import annotations

from collections.abc import Sequence

from bot.errors import LeaseLost, PromobotError
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.deploy import Deployed, deploy
from bot.platform import Platform


def reconcile(platforms: Sequence[Platform], *, say: Say) -> list[Deployed]:
    """Converge each environment, after a deep look; one that cannot be looked at does not keep the others from it."""
    return [_reconcile(platform, say) for platform in platforms]


def exit_code(done: Sequence[Deployed]) -> ExitCode:
    """0 as desired everywhere · 1 something failed or is held somewhere · 4 all but Slack."""
    codes = {deployed.exit_code for deployed in done}
    return next((code for code in (ExitCode.FAILED, ExitCode.UNCONFIRMED) if code in codes), ExitCode.DONE)


def _reconcile(platform: Platform, say: Say) -> Deployed:
    try:
        return deploy(platform, say=say, deep=True)
    except (PromobotError, LeaseLost) as error:
        said = " ".join(part for part in (str(error), error.state, error.next_step) if part)
        return Deployed(platform.environment, "", problems=(said,))
