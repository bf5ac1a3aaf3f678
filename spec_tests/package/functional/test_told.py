"""What is told of memories and gates: that it learns nothing, and where a tanh is one to the last bit."""

import math

import pytest
import torch

from atlas_ref.functional.telemetry import size_of_matrices, size_of_reads, tanh_statistics


def test_no_gradient_flows_through_what_is_told() -> None:
    """Kills: a size of matrices, of reads or of arguments that keeps the graph of a whole training step."""
    learned = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    told = (size_of_matrices([learned]), size_of_reads(learned[0]), *tanh_statistics(learned))
    assert [value.requires_grad for value in told] == [False] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_argument_whose_tanh_is_one_is_told_as_the_largest_below(dtype: torch.dtype) -> None:
    """Kills: an infinite mean after one saturated gate; a bound that is not the number next to one."""
    # atanh(1 - e) = log((2 - e) / e) / 2 of the distance e from one to the number below it.
    distance = torch.finfo(dtype).eps / 2
    largest = math.log((2.0 - distance) / distance) / 2
    argument, linear, saturated = tanh_statistics(torch.tensor([1.0, -1.0, 0.0, 1.0], dtype=dtype))
    assert argument.item() == pytest.approx(0.75 * largest, rel=1e-6)
    assert (linear.item(), saturated.item()) == (0.25, 0.75)
