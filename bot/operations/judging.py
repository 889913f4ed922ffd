"""The rules by which a proposal is judged: those that main has, because its checks read them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot import environment_files
from bot.domain.desired import Desired
from bot.errors import InvalidInput, Refused
from bot.operations import Say
from bot.operations.proposing import read_desired
from bot.platform import Platform
from bot.settings import Environment, path_of

RULES = ("gates", "bundles", "packages")


@dataclass(frozen=True)
class Judge:
    """What main says, as far as a proposal is judged by it.

    ``settings`` are those of the checkout with the rules of main: gates, bundles, and what a package may contain.
    ``judged_by`` is main's commit; empty where main has no settings for the environment, and the checkout's count.
    """

    desired: Desired
    settings: Environment
    judged_by: str
    names: Mapping[str, str]
    """The names of models in MLflow, by those under which they are served, as main has them."""

    def see_that_it_is_the_same(self, model: str) -> None:
        """Raise Refused where a name stands for another registered model on main: its checks would look at that."""
        here, there = (names.get(model, model) for names in (self.settings.mlflow_names, self.names))
        if here != there:
            file = path_of(self.settings.environment)
            raise Refused(
                f"{model} is {there!r} in MLflow by {file} of main at {self.judged_by[:12]}, and {here!r} by that of "
                "this checkout",
                state="Nothing was proposed.",
                next_step="Bring the checkout to main, then run the same command again.",
            )


def judge_on_main(platform: Platform, *, say: Say) -> Judge:
    """Read main as it is now; say so where it has other rules than the checkout.

    Raises InvalidInput where main's file has a mistake: its checks could not judge, either.
    """
    repository, name, own = platform.repository(), platform.environment, platform.settings
    head = repository.head()
    wanted, path = read_desired(repository, name, head), path_of(name)
    text = repository.read(head, path)
    if text is None:
        return Judge(wanted, own, "", own.mlflow_names)
    try:
        there = environment_files.parse(text, file=path, environment=name)
    except InvalidInput as error:
        raise InvalidInput(
            error.problem,
            file=error.file,
            line=error.line,
            key=error.key,
            next_step=f"So it stands on main at {head[:12]}, whose checks judge by it. Correct it there first.",
        ) from error
    rules = {part: getattr(there, part) for part in RULES}
    if any(getattr(own, part) != rule for part, rule in rules.items()):
        say(f"the rules in {path} of main at {head[:12]} count; this checkout has others")
        own = own.with_rules(rules)
    return Judge(wanted, own, head, there.mlflow_names)
