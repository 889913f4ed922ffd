"""Which requests a canary answers: a hash of a key, so gateways agree without talking, and a user keeps a version.

Each key has a point from 0 to 9,999 under a salt. A canary of 10 % answers the points below 1,000, so what it answers
at 10 % it answers at 25 %, too: no key moves back while a rollout grows. Another release has another salt, so the
first users of one release are not the first of the next.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.domain.routes import Canary

POINTS = 10_000
"""Number of points among which keys lie. The hash has 64 bits, so no point is favoured by more than 1 in 10^15."""
_OF_A_PERCENT = POINTS // 100


def point(salt: str, key: bytes) -> int:
    """Return the point of a key, from 0 to 9,999: the same in every process and on every machine."""
    salted = _salted(salt).copy()
    salted.update(key)
    return int.from_bytes(salted.digest(), "big") % POINTS


@lru_cache(maxsize=1024)
def _salted(salt: str) -> blake2b:
    """Return the hash of what comes before each key: a gateway asks for every request."""
    return blake2b(b"%b\0" % salt.encode(), digest_size=8)


def is_canary(canary: Canary, key: bytes) -> bool:
    """Say whether the canary answers the request with this key."""
    return point(canary.salt, key) < canary.percent * _OF_A_PERCENT
