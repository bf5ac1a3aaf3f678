"""What a budget is measured by: the arithmetic of an array, not the profile that its neighbours travel in."""

import pytest

from spec_tests.port import Numerics
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.compare import schema_of

BOTH = [case for case in load_cases() if {Numerics.F32, Numerics.BF16_IO} <= set(case.numerics)]


@pytest.mark.parametrize("case", BOTH, ids=lambda case: case.id)
def test_state_of_float32_has_in_bf16_io_no_less_than_its_budget_in_f32(case: Case) -> None:
    narrow, wide = case.budgets[Numerics.BF16_IO], case.budgets[Numerics.F32]
    for name in narrow:
        if schema_of(case.op, name).role == "state":
            assert (narrow[name] >= wide[name]).all(), f"{name}: {narrow[name]} in bf16_io, {wide[name]} in f32"
