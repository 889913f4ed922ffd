"""``promobot recheck``: run the checks for what main says already, where there is no pull request to run them on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.domain.bundled import together, with_left
from bot.domain.desired import SECTIONS, Change
from bot.domain.evidence import CheckResult, checks_of
from bot.domain.nearest import did_you_mean, nearest
from bot.domain.record import served_after
from bot.errors import Refused
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.checking import evidence_of, not_passed_together, run_check
from bot.operations.known import known_models
from bot.operations.proposing import read_desired
from bot.platform import Platform


@dataclass(frozen=True)
class Rechecked:
    """The results of checking one model as main describes it."""

    environment: str
    model: str
    commit: str
    results: tuple[CheckResult, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 passed · 1 failed."""
        return ExitCode.DONE if all(result.passed for result in self.results) else ExitCode.FAILED


def recheck(platform: Platform, *, model: str, say: Say) -> Rechecked:
    """Run all checks of what the head of main says of ``model``, on both paths; write new evidence. Deploys nothing.

    Of a part of a bundle, all parts are checked. The gate compares with what the last deployment left in service.
    """
    settings, ledger, repository = platform.settings, platform.ledger, platform.repository()
    commit = repository.head()
    desired = read_desired(repository, settings.environment, commit)
    asked = [(section, desired.section(section)[model]) for section in SECTIONS if model in desired.section(section)]
    if not asked:
        known = known_models(settings, desired=desired)
        command = f"promobot propose {nearest(model, known) or model} VERSION --env {settings.environment}"
        raise Refused(
            f"main asks for no version of {model} in {settings.environment}",
            state="Nothing was checked.",
            next_step=f"{did_you_mean(model, known)}`{command}` opens a pull request.",
        )
    serving = served_after(settings.environment, ledger.deployments())
    results: list[CheckResult] = []
    for section, entry in asked:
        asks = Change(settings.environment, section, model, None, entry)
        whole = together([asks], {settings.environment: desired}, {settings.environment: settings.bundles})
        changes = with_left([replace(c, before=serving.section(section).get(c.model)) for c in whole])
        found: list[CheckResult] = []
        for change, after in [(change, change.after) for change in changes if change.after]:
            for name in checks_of(evaluated=settings.has_behaviour(change.model)):
                say(f"{name}: {change.model} {after.version} for {settings.environment}")
                found.append(run_check(platform, name, change, after, label=f"main-{settings.environment}"))
        beside = not_passed_together(changes, found)
        for change, after in [(change, change.after) for change in changes if change.after]:
            rules = settings.evaluation_of(change.model)
            evidence = evidence_of(
                change,
                after,
                found,
                beside[change],
                pull_request=None,
                base=commit,
                head=commit,
                evaluation_set=rules.digest if rules else "",
            )
            ledger.add_evidence(evidence)
        results += found
    return Rechecked(settings.environment, model, commit, tuple(results))
