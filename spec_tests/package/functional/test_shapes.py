"""In a checkout the shapes in signatures are checked wherever the tests of the reference run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from atlas_ref.functional.normalize import l2_normalize


def test_numbers_of_a_type_that_a_signature_does_not_name_are_refused() -> None:
    with pytest.raises(TypeCheckError):
        l2_normalize(torch.zeros(2, 3, dtype=torch.int64), eps=1e-3)
