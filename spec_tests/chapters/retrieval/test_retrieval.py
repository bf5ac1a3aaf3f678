"""docs/spec/retrieval.md, against lists of answers."""

import numpy as np
import pytest

from spec_tests.chapters.retrieval.cases import answers
from spec_tests.chapters.retrieval.oracle import answer
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared


@pytest.mark.spec("RETR-1", "RETR-2", "RETR-3")
def test_accuracies_and_gain_are_means_over_answers_with_the_interval_of_rows(port: Port) -> None:
    for numerics in precisions(port):
        for seed, shape in enumerate(((5, 7), (2, 3), (140, 1))):
            with where_declared():
                found = run(port, Op.RETRIEVAL_GAIN, numerics, answers(2540 + seed, *shape))
                for name, wanted in answer(dict(found.inputs)).items():
                    found.assert_close(name, wanted)


@pytest.mark.spec("RETR-3")
def test_rows_of_equal_length_have_the_interval_of_their_means(port: Port) -> None:
    """The textbook: mean +- 1.96 s / sqrt(R) of R numbers."""
    for numerics in precisions(port):
        with where_declared():
            inputs = {**answers(2550, 12, 4), "asked": np.ones((12, 4), dtype=np.int64)}
            found = run(port, Op.RETRIEVAL_GAIN, numerics, inputs)
            means = (inputs["right"] - inputs["without"]).mean(1)
            half = 1.96 * means.std(ddof=1) / np.sqrt(12)
            expected = np.array([means.mean(), means.mean() - half, means.mean() + half])
            assert_close(found["gain"], expected, 1e-5, f"gain in {numerics}")
