"""What loads on a Triton, or has a gateway switch, where no run holds a lease."""

from __future__ import annotations

from bot.share import nobody_else_writes
from bot.systems.gateway import Gateway, GatewayControl
from bot.systems.triton.server import TritonControl, TritonServer


def control(server: TritonServer) -> TritonControl:
    """Return what loads and unloads there."""
    return TritonControl(server, nobody_else_writes)


def switching(gateway: Gateway) -> GatewayControl:
    """Return what has it switch."""
    return GatewayControl(gateway, nobody_else_writes)
