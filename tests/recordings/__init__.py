"""Tests of `bot.recordings`."""
