"""The list of faults that are put in on purpose: a fault that fits nowhere any more tests nothing."""

import pytest

from tests.faults import MUTANTS, Mutant
from tests.mutants import REPOSITORY


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_each_fault_has_its_one_place(mutant: Mutant) -> None:
    assert (REPOSITORY / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new
