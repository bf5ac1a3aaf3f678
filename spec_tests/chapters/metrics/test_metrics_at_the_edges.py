"""The fit of a circle to what is none."""

import numpy as np
import pytest

from spec_tests.chapters.metrics.oracle import circle
from spec_tests.chapters.metrics.test_metrics import FIT, PRIME, shuffles
from spec_tests.contract.driver import precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Port
from spec_tests.tally import where_declared


@pytest.mark.spec("GROK-4")
def test_points_that_are_no_circle_at_all_fit_by_zero(port: Port) -> None:
    rng = generator(12)
    embedding = 0.1 * rng.standard_normal((PRIME, 4))
    # All but four at one place: distances vary by more than their mean.
    embedding[:4] += np.array([[9.0, 0, 0, 0], [-9.0, 0, 0, 0], [0, 7.0, 0, 0], [0, -7.0, 0, 0]])
    for numerics in precisions(port):
        with where_declared():
            result = run(port, FIT, numerics, {"embedding": embedding, "permutations": shuffles(2, PRIME, 13)})
            fit, order, _ = circle(result.inputs["embedding"], shuffles(2, PRIME, 13))
            assert fit == 0.0, "the case has a fit"
            result.assert_close("order", order, factor=10.0)
            assert float(result["fit"]) == 0.0, f"a fit of {float(result['fit'])}"
