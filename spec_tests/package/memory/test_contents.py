"""Every memory in a state of any family is changed, and nothing else is."""

import torch

from atlas_ref.memory.contents import zeroed
from atlas_ref.models.atlas import AtlasModel, ModelState
from spec_tests.package.micro.runs import micro_config


def test_a_state_whose_memories_are_zeroed_keeps_its_positions_and_all_that_is_no_memory() -> None:
    """Kills: floats that stay and positions that go; a memory, or what a block holds of it, that is passed over."""
    for block in ("mag", "mac"):
        model = AtlasModel(micro_config(f"model.block='{block}'").model, seed=0)
        tokens = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(1))
        state = model(tokens, model.initial_state(2), None).state
        assert isinstance(state, ModelState)
        before, after = state.to_tensors(), zeroed(state).to_tensors()
        assert before.keys() == after.keys()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert any(name.endswith("weights.0") for name in changed)
        assert {name for name in before if before[name].any() and "convolution" in name}.isdisjoint(changed)
        assert not any(after[name].any() for name in changed)
        assert all(before[name].is_floating_point() for name in changed)
