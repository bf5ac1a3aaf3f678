"""What is told finite by its sum is; what is not by it is looked at entry by entry, and comes out the same."""

import pytest
import torch

from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.sight import surely_finite

LARGE = 1e38
"""Four times this is no float32, and three times it is one."""


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_nothing_that_holds_a_bad_entry_is_told_finite(bad: float) -> None:
    """Kills: a sum of the first tensor alone; infinities of both signs that cancel."""
    for place in range(3):
        tensors = [torch.ones(2, 3) for _ in range(3)]
        assert surely_finite(*tensors)
        tensors[place][1, 2] = bad
        assert not surely_finite(*tensors)
        tensors[place][0, 0] = -bad
        assert not surely_finite(*tensors)


def test_what_overflows_in_the_sum_alone_is_computed_as_what_does_not() -> None:
    """Kills: an overflow of the sum that is taken for a bad entry."""
    x = torch.full((1, 6, 2), LARGE)
    assert not surely_finite(x)
    position = torch.arange(6).expand(1, 6)
    weight = torch.tensor([[0.0, 0.5], [0.25, 0.0]])
    y, _ = short_convolution(x, weight, torch.zeros(1, 1, 2), position)
    torch.testing.assert_close(y[0, 1:], torch.tensor([[0.5 * LARGE, 0.25 * LARGE]]).expand(5, 2))

    values = torch.full((1, 6, 1, 2), LARGE)
    queries = keys = torch.ones(1, 6, 1, 2)
    none, cache = torch.zeros(0, 1, 2), torch.zeros(1, 2, 1, 2)
    read, *_ = sliding_window_attention(queries, keys, values, none, none, cache, cache, position, 3)
    torch.testing.assert_close(read, values)
