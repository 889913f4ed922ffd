"""What people and workflows ask for, one file per verb; what several verbs share lies beside them."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Where a verb tells what it is doing, a line at a time."""
