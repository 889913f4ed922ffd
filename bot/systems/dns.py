"""DNS: every address of a headless service. Nothing is cached here: each call asks the system's resolver anew."""

from __future__ import annotations

import ipaddress
import socket

from bot.errors import Unavailable


def addresses(host: str) -> list[str]:
    """Return every address that DNS gives for ``host``, each once, sorted; IPv6 ones without brackets.

    Raises Unavailable where it gives none: no server at all is never taken for all servers agreeing.
    """
    system = f"DNS ({host})"
    step = "Is the service headless, and is any of its pods ready? `promobot doctor` asks again."
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"could not find its addresses: {error}", system=system, next_step=step) from error
    unique = {str(where[0]) for _, _, _, _, where in found}
    if not unique:
        raise Unavailable("it has no address", system=system, next_step=step)
    return sorted(unique, key=_in_order)


def _in_order(address: str) -> tuple[int, int, str]:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.version, int(parsed), address
