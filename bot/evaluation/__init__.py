"""Evaluation sets: rows that both versions answer on staging, and what is measured of their answers.

Nothing here knows a system around the bot: who calls hands in what reads bytes and what asks a Triton. It needs the
extra ``evaluation``, so commands import it where they measure.
"""
