"""The delta rule solved a schedule of tokens at a time equals the loop, whatever the schedule."""

import pytest

from atlas_ref.memory.chunked import memory_chunked
from spec_tests.package.memory.miras_axes import RETAINED
from spec_tests.package.memory.miras_calls import assert_equal, errors
from spec_tests.sampling import crossed


@pytest.mark.parametrize(("name", "schedule"), crossed(RETAINED, (3, 1, 32)))
def test_a_schedule_is_no_part_of_the_meaning(name: str, schedule: int) -> None:
    """Kills: decays up to t where they end at t-1; a diagonal in the system; a step without its divisor; the momentum
    of another token; a document that begins inside a segment and sees the one before.
    """
    assert_equal(errors(memory_chunked, RETAINED[name], (4, 7), (6,), time=11, schedule=schedule))
