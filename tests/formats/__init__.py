"""Documents of every earlier format, as the code of their time wrote them, and that today's code still takes them.

``kept/<kind>/<fingerprint>.<name>.json`` are the documents, ``kept/index.json`` says since which commit each format
was written. ``samples`` makes documents with whatever code is imported, so it also runs with that of an old commit.

    python -m tests.formats keep       keep documents of the format that the code has now, where it is a new one
    python -m tests.formats history    the same with the code of each earlier commit that touched a format
"""
