"""The documentation as a site: ``python -m tests.site`` writes the generated reference and builds it.

``mkdocs.yml`` is its configuration, ``hooks`` follows links that leave ``docs/``, and ``reference`` makes pages of
the settings, the commands, their documents, and the records.
"""
