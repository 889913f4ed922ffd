"""The reliability matrix: a deployment that survives anything, shown point by point.

    python -m tests.reliability                                  all of it
    python -m tests.reliability --only crash,errors --points 50  some of it, at most 50 points of each row
    python -m tests.reliability --sample                         the short one that the default tests run

It prints a table and ends with ``N passed, N failed``; the exit code is 1 where one failed. What was reached stands
in ``docs/explanation/reliability.md``.

To add a part, put a module beside this one that has a ``PART``; nothing else needs to know of it::

    def run(matrix: Matrix) -> Iterator[Point]:
        scene = matrix.scene()                      # started once, shared by all parts; put back with scene.restore
        for number in matrix.some(range(2000)):     # all, or as many as --points or --sample asks for, evenly spread
            yield Point("sequences", f"seed {number}", violations)   # row, which one, what is wrong ([]: nothing)

    PART = Part("sequences", "what it tries, in a sentence", run)

``matrix.sample`` says that the whole part has a few seconds; ``matrix.everything`` (``--everything``) that pairs and
points which are sampled by default are all wanted. Whoever starts threads or gRPC in this process takes the scene
away from those that come after (a verb is forked from it): do that in a process of its own. ``invariants.py`` has
what must hold whatever happened, ``scenarios.py`` where it starts from.
"""
