"""What Promobot's speed is, against what people would use instead, measured in the same run.

    python -m tests.benchmarks                          everything; a table, then `N passed, N failed`
    python -m tests.benchmarks --only publish,gateway   some of it
    python -m tests.benchmarks --json figures.json      every round of it, for a machine
    python -m tests.benchmarks --quick                  small and one round: shows that it runs, measures nothing

A benchmark is a module here with a ``BENCHMARK`` (``measuring.Benchmark``), which yields ``measuring.Figure`` after
``Figure``: our seconds, round by round, and those of a peer or a floor in the same rounds. The figure's value is the
median of the rounds' ratios: a machine that is slow for a minute is slow for both. It stands in
`docs/explanation/performance.md` with its goal. A test of the default run tries each with ``--quick``; no test
looks at a time.
"""
