"""The recurrent form with every axis of MIRAS equals a loop in the other convention, gradients included."""

import pytest

from atlas_ref.memory.recurrent import memory_recurrent
from spec_tests.package.memory.miras_axes import AXES
from spec_tests.package.memory.miras_calls import assert_equal, errors
from spec_tests.package.memory.miras_loop import Options


@pytest.mark.parametrize("options", AXES.values(), ids=AXES)
def test_the_recurrence_equals_the_loop_in_every_output_and_gradient(options: Options) -> None:
    """Kills: a gradient with respect to A instead of W; psi of another bias; a decay of the wrong axis; an error at the
    wrong memory; a read past the link; a reset to link(A_0); a threshold of the pair instead of the writing token.
    """
    assert_equal(errors(memory_recurrent, options, (3,)))
