"""The forge of the sandbox's own tests."""

from tests.sandbox.forge.conftest import clone, first_commit, server

__all__ = ["clone", "first_commit", "server"]
