"""The words that say where the checks of a pull request run again."""

from __future__ import annotations

from bot.render.markdown import code

_JUDGE = "The checks judge by the gates and settings of main. If these changed since, run them again:"


def run_again(logs: str = "") -> str:
    """How the checks of a pull request run again, in its comment; ``logs`` is their last run."""
    run = logs.rpartition("/")[2]
    where = f"of [this run]({logs}), or {code(f'gh run rerun {run}')}" if logs else "under *Checks*"
    return f"{_JUDGE} **Re-run all jobs** {where}."


def run_again_there() -> str:
    """The same for a reader who is elsewhere."""
    return f"{_JUDGE} “Re-run all jobs” under Checks of the pull request."
