"""A private authority, and a certificate of it for this machine. Each takes a second to make, and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.sandbox.tls import HERE, Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Path:
    return authority.issue(*HERE)
