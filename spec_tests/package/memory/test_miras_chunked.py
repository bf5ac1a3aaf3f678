"""The parallel form with every axis of MIRAS equals a loop in the other convention, gradients included."""

import pytest

from atlas_ref.memory.chunked import memory_chunked
from spec_tests.package.memory.miras_axes import AXES
from spec_tests.package.memory.miras_calls import assert_equal, errors
from spec_tests.package.memory.miras_loop import Options
from spec_tests.sampling import marks_of

CUT = (
    "huber_norm every 2",
    "mlp_glu",
    "softmax rows, a write in 2",
    "moneta",
    "gated deltanet by mass",
    "implicit columns",
    "proximal titans",
)
"""Axes whose calls are cut in a quick run: each has something that a call of one token does otherwise."""


@pytest.mark.parametrize("options", AXES.values(), ids=AXES)
def test_the_parallel_form_equals_the_loop_in_every_output_and_gradient(options: Options) -> None:
    """Kills: reads of A instead of link(A); an anchor past its link; a decay of the wrong axis; a threshold of the pair
    instead of the writing token; a segment that starts from another's memory.
    """
    assert_equal(errors(memory_chunked, options, (3,)))


@pytest.mark.parametrize("options", [pytest.param(o, id=n, marks=marks_of(n in CUT)) for n, o in AXES.items()])
def test_calls_cut_anywhere_equal_the_loop_of_the_whole(options: Options) -> None:
    """Kills: a state that is not canonical or lost at a border; a call of one token that is written otherwise."""
    assert_equal(errors(memory_chunked, options, (5,), (1, 2, 6), seed=2))
