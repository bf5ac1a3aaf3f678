"""Persistent tokens that are written before every document, as one of their own."""

import pytest
import torch

from atlas_ref.blocks.mag import MagBlock
from atlas_ref.blocks.mal import MalBlock
from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.errors import UserError
from spec_tests.package.micro.models import call, make_model, make_tokens
from spec_tests.package.micro.runs import micro_config

ON = "model.attention.persistent_in_memory=true"


@pytest.mark.parametrize("variant", ["omega", "mal"])
def test_a_document_starts_from_the_memory_after_the_persistent_tokens(variant: str) -> None:
    """Kills: tokens that are written once and not before every document; a momentum that is handed on; M_0 itself."""
    model, plain = make_model(variant, ON), make_model(variant)
    tokens, reset = make_tokens(2, seed=3), torch.zeros(2, 21, dtype=torch.bool)
    reset[0, 6] = True
    with torch.no_grad():
        for block in plain.modules():
            if isinstance(block, MagBlock | MalBlock):
                assert isinstance(block.memory, MemoryLayer)
                written = block.memory.after(block.attention.persistent)
                for matrix, after in zip(block.memory.initial, written, strict=True):
                    assert (matrix - after).abs().max() > 1e-3
                    matrix.copy_(after)
        found = call(model, tokens, model.initial_state(2), reset).logits
        expected = call(plain, tokens, plain.initial_state(2), reset).logits
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)


def test_what_has_no_persistent_tokens_or_no_one_first_memory_is_refused() -> None:
    """Kills: an option that nothing reads."""
    hierarchy = "model.memory.kind='hierarchical'"
    for change in ("model.block='lmm'", "model.block='mac'", hierarchy):
        with pytest.raises(UserError, match="persistent_in_memory is true; it must be false"):
            micro_config(ON, change, "model.mac.segment=8")
