"""The acts that ``promobot demo --all`` tells after the others: what happens after the switch."""

from __future__ import annotations

from bot.sandbox import bake_act, canary_act, shadow_act
from bot.sandbox.story import Titled

MORE: tuple[Titled, ...] = (canary_act.ACT, bake_act.ACT, shadow_act.ACT)
