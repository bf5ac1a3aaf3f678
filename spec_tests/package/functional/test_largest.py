"""The largest entry of each of many tensors, beside numpy. Every test names the fault that it caught."""

import math

import numpy as np
import torch

from atlas_ref.functional.largest import largest_entries


def test_the_largest_entry_of_each_tensor_is_that_of_numpy() -> None:
    """Kills: the largest without its sign; one number for all; an empty tensor that is an error; NaN that is passed
    over, at either end."""
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) for shape in ((3, 4), (7,), (2, 1, 5))]
    found = largest_entries([*map(torch.from_numpy, arrays), torch.zeros(0, 2), torch.zeros(2)])
    assert found.tolist() == [*(float(np.abs(array).max()) for array in arrays), 0.0, 0.0]
    spoilt = [[math.nan, 1.0], [1.0, math.nan], [-math.inf, 1.0]]
    assert [str(x) for x in largest_entries([torch.tensor(row) for row in spoilt]).tolist()] == ["nan", "nan", "inf"]
    assert largest_entries([]).shape == (0,)
