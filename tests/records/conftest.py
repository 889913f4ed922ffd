"""A disk that a test of the records fills."""

from __future__ import annotations

from tests.disks import small_disk

__all__ = ["small_disk"]
