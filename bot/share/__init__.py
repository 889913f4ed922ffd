"""The shared volume: Triton's model repository, and beside it what the bot keeps for itself.

    <model_repository>/<model>/config.pbtxt      written beside and renamed
    <model_repository>/<model>/<version>/…       appears by one rename, never changes, is never overwritten
    <state>/packages/<digest>/                   package.json, config.pbtxt, smoke.* of what was published
    <state>/staging/                             what is being copied, and what is left of a large package
    <state>/bytes/<sha256>                       a hint where a large file with these bytes was published
    <state>/routes/<generation>.json             the commit point of a deployment: created once, never replaced
    <state>/routes.json                          the newest of them, for whoever does not know its number
    <state>/journal/<turn>.json                  the deployment under way; whoever finds one finishes it
    <state>/turns/<number>                       who may write: the highest number
    <state>/silent.json                          who did not answer the last look that was noted, and since when
    <state>/outbox/                              messages that Slack has not taken yet
    <state>/checked/<digest>/                    of staging: large packages that checks have at hand, for an hour
    <state>/trash/                               what was removed and is being deleted

Why so: Triton reads version directories with stoll and lists stray directories as models, so nothing unfinished may
lie in its root; a reader on NFS may go on seeing an old directory under a name it looked up before, so names are
fresh; a crash may lose whatever was not synced, so files and folders are synced before the rename that shows them.
"""

from __future__ import annotations

from bot.share.copying import ReadFile, is_large
from bot.share.fence import Fence, nobody_else_writes
from bot.share.lease import Lease
from bot.share.mounts import Mount, mount_of
from bot.share.packages import Described
from bot.share.repository import HeldShare, ModelRepository, StagingRepository
from bot.share.trial import trial_name

__all__ = [
    "Described",
    "Fence",
    "HeldShare",
    "Lease",
    "ModelRepository",
    "Mount",
    "ReadFile",
    "StagingRepository",
    "is_large",
    "mount_of",
    "nobody_else_writes",
    "trial_name",
]
