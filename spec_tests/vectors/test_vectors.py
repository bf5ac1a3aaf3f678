"""The stored cases, each put to the port in each of its precisions (spec_tests/vectors)."""

from collections.abc import Callable

import pytest

from spec_tests.port import Numerics, Port
from spec_tests.vectors.case import Case, absent, load_cases
from spec_tests.vectors.judge import check

CASES = [
    pytest.param(
        case,
        numerics,
        id=f"{case.id}-{numerics}",
        marks=pytest.mark.case(case.id, case.level, case.op, numerics, case.requirements),
    )
    for case in load_cases()
    for numerics in case.numerics
]


@pytest.mark.parametrize(("case", "numerics"), CASES)
def test_the_answer_is_within_the_budgets_of_the_case(
    port: Port, case: Case, numerics: Numerics, record_property: Callable[[str, object], None]
) -> None:
    reason = absent(port.declare(), case, numerics)
    if reason is not None:
        pytest.skip(reason)
    for tap in check(port, case, numerics):
        record_property("untapped", tap)
