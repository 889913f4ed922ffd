"""The verbs that people and workflows ask for, one file each; the parts that several verbs share lie beside them."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Where a verb tells what it is doing, a line at a time."""
