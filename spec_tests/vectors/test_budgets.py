"""What a budget is measured by: the arithmetic of an array, not the profile that its neighbours travel in."""

import pytest

from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.port import PROFILES, Numerics
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.compare import schema_of
from spec_tests.vectors.margin import MARGIN, units

BOTH = [case for case in load_cases() if {Numerics.F32, Numerics.BF16_IO} <= set(case.numerics)]


@pytest.mark.parametrize("case", BOTH, ids=lambda case: case.id)
def test_state_of_float32_has_in_bf16_io_no_less_than_its_budget_in_f32(case: Case) -> None:
    narrow, wide = case.budgets[Numerics.BF16_IO], case.budgets[Numerics.F32]
    for name in narrow:
        if schema_of(case.op, name).role == "state":
            assert (narrow[name] >= wide[name]).all(), f"{name}: {narrow[name]} in bf16_io, {wide[name]} in f32"


INSIDE = [(case, numerics) for case in load_cases() for numerics in case.numerics if numerics not in PROFILES]


@pytest.mark.parametrize(("case", "numerics"), INSIDE, ids=lambda value: getattr(value, "id", str(value)))
def test_a_budget_of_few_digits_still_tells_a_seeded_fault(case: Case, numerics: Numerics) -> None:
    faults = [fault for fault in CATALOGUE if fault.id in case.kills]
    found = (units(fault, case.question, case.expected, case.budgets, numerics) for fault in faults)
    assert any(size >= MARGIN for size in found)
