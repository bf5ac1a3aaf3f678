"""The delta rule solved a schedule of tokens at a time equals the loop, whatever the schedule."""

import pytest

from atlas_ref.memory.chunked import memory_chunked
from spec_tests.package.memory.miras_axes import RETAINED
from spec_tests.package.memory.miras_calls import assert_equal, errors
from spec_tests.package.memory.miras_loop import Options


@pytest.mark.parametrize("schedule", [1, 3, 32])
@pytest.mark.parametrize("options", RETAINED.values(), ids=RETAINED)
def test_a_schedule_is_no_part_of_the_meaning(options: Options, schedule: int) -> None:
    """Kills: decays up to t where they end at t-1; a diagonal in the system; a step without its divisor; the momentum
    of another token; a document that begins inside a segment and sees the one before.
    """
    assert_equal(errors(memory_chunked, options, (4, 7), (6,), time=11, schedule=schedule))
