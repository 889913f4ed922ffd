"""Every operation of a deployment, tried on the share under names that no deployment uses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.errors import Rejected, Unavailable
from bot.share.mounts import mount_of
from bot.share.readers import readers_of
from bot.share.trial import Unfit, forget_abandoned, published, readable, try_models, try_state
from bot.share.volume import STATE_FOLDERS, Part

_MOUNT_STEP = "docs/how-to/nfs.md says how to mount it."
_TRIAL_STEP = "Give the bot's user this right on the share: a deployment does the same."


def forget_trials(root: Path, state: Path) -> int:
    """Remove what killed trials left; return how much it was."""
    return forget_abandoned(root, state, *(state / name for name in STATE_FOLDERS))


class Trials(Part):
    """Tries the share, and leaves nothing there. It takes no lease: a deployment under way is not disturbed."""

    def check(self) -> str:
        """Try what a deployment does there, and remove it again; return what was seen.

        Both folders must be there, in one mount, and take everything from a turn to the removal of a version. Of a
        deployment under way nothing is touched. Raises Unavailable for what fails, Rejected for what does not hold.
        """
        with self._errors("try the share"):
            self._make_folders()
            if self.root.stat().st_dev != self.state.stat().st_dev:
                raise Rejected("model_repository and state are not on one file system", system=self._system)
            table = Path("/proc/self/mountinfo").read_text()
            mount, other = (mount_of(path.resolve(), table) for path in (self.root, self.state))
        if mount.point != other.point:
            raise Rejected(
                f"model_repository ({mount.point}) and state ({other.point}) are two mounts; publishing renames, "
                "and a rename does not cross mounts, even of one file system",
                system=self._system,
                next_step="Mount a folder above both.",
            )
        if wrong := mount.wrong:
            raise Rejected(f"{mount} is mounted with {', '.join(wrong)}", system=self._system, next_step=_MOUNT_STEP)
        with self._trying("try the state"):
            forget_trials(self.root, self.state)
            try_state(self.state)
        with self._trying("try to write to the models that are there"):
            try_models(self.root)
        with self.of_a_model():
            pass
        free = shutil.disk_usage(self.root).free
        with self._errors("see who can read the share"):
            readers = readers_of((self.root, self.state))
        return f"writable, readable for {readers}, {free / 2**30:.1f} GiB free, {mount}"

    @contextmanager
    def of_a_model(self) -> Iterator[str]:
        """Publish a model without a version, and yield its name in Triton's root; remove it afterwards.

        Triton has it in its index as long as it is there, and can never load it.
        """
        with self._errors("try the share"):
            self._make_folders()
        with self._trying("publish a trial, and remove it"), published(self.root, self.state) as name:
            yield name

    @contextmanager
    def of_routes(self) -> Iterator[tuple[str, str]]:
        """Yield name and text of a file that lies where the routes are, as long as it lies there."""
        with self._errors("try the share"):
            self._make_folders()
        with self._trying("write a trial beside the routes, and remove it"), readable(self.state) as both:
            yield both

    @contextmanager
    def _trying(self, doing: str) -> Iterator[None]:
        try:
            with self._errors(doing):
                yield
        except Unfit as error:
            raise Rejected(f"could not {doing}: {error}", system=self._system, next_step=_MOUNT_STEP) from error
        except Unavailable as error:
            error.state, error.next_step = "Nothing of a deployment was touched.", error.next_step or _TRIAL_STEP
            raise
