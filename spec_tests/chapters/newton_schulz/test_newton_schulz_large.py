"""docs/spec/newton_schulz.md on matrices beyond every block, tile and warp: both sides above 128."""

import pytest

from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.contract.driver import precisions, run
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import normal
from spec_tests.oracle.sums import ANY_ORDER
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

NS = Op.NEWTON_SCHULZ


@pytest.mark.spec("NS-1", "NS-2")
def test_a_matrix_with_both_sides_above_128_is_that_of_the_iteration(port: Port) -> None:
    for rows, columns in ((130, 140), (133, 129)):
        inputs = representable(NS, {"matrix": normal(rows, 1, rows, columns)})
        expected = iteration(inputs["matrix"][0], "cubic", 3, sums=ANY_ORDER)[None]
        for numerics in precisions(port):
            with where_declared():
                result = run(port, NS, numerics, inputs, coefficients="cubic", steps=3)
                result.assert_close("orthogonal", expected, factor=4.0)
