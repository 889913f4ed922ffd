"""What the matrix takes out of the code is there to be taken out; that a test notices is for the long command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_what_is_taken_out_stands_in_the_code_and_its_tests_exist(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.source) == 1
    assert mutation.becomes != mutation.source
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in (ROOT / file).read_text()
