"""What a run says of its kernels is what its memories are run by."""

from typing import Any

import pytest
import torch

from atlas_ref.config import load_config
from atlas_ref.memory.kernels import choice
from atlas_ref.models.atlas import AtlasModel

SMALL = ["model.d_model=16", "model.n_layers=1", "model.n_heads=4", "model.feed_forward='none'", "model.kernels='cpu'"]
SIZES = ["model.memory.key_dim=4", "model.memory.value_dim=4", "model.memory.chunk=8"]
NOT_KNOWN = "cpu in front of the memory, which they do not know: it runs by the reference"
HIERARCHY = ["model.memory.kind='hierarchical'", "model.memory.hierarchy.local_chunks=[4]"]
RIDGE = [
    *("model.memory.algorithm='ridge'", "model.memory.rule='delta'", "model.memory.chunk=1"),
    "model.memory.step_scale='literal'",
]
BORDER = [*HIERARCHY, "model.memory.hierarchy.local_shards=[8]", "model.memory.hierarchy.border='m3'"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([], "cpu"),
        (["model.memory.architecture='mlp'"], "cpu"),
        (["model.memory.architecture='mlp'", "model.memory.read='anchor'"], NOT_KNOWN),
        (["model.memory.bias.kind='huber_norm'"], NOT_KNOWN),
        (RIDGE, NOT_KNOWN),
        (["model.memory.shards.length=8"], NOT_KNOWN),
        (["model.disable_memory=true"], NOT_KNOWN),
        (BORDER, "cpu of 1 of 2 memories, the others by the reference"),
    ],
)
def test_kernels_are_named_for_the_memories_that_are_given_to_them(
    fields: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: kernels that are named by the choice alone; a border of shards, a bias or the ablation passed over."""
    given: set[tuple[int, bool]] = set()

    def spied(kernels: choice.Kernels, rule: Any, *asked: Any) -> None:
        given.add((rule.chunk, choice.kernel_run(kernels, rule, *asked) is not None))

    monkeypatch.setattr("atlas_ref.memory.kernels.choice.library", object)
    monkeypatch.setattr("atlas_ref.blocks.memory_branch.kernel_front", lambda *_: None)
    monkeypatch.setattr("atlas_ref.memory.chunked.kernel_run", spied)
    model = AtlasModel(load_config("tiny", [*SMALL, *SIZES, *fields]).model, seed=0)
    model(torch.zeros(1, 12, dtype=torch.long), model.initial_state(1), None)
    by_kernels, memories = sum(known for _, known in given), len(given)
    assert model.runs_by(torch.device("cpu")) == f", kernels: {told}"
    assert (by_kernels > 0, by_kernels == memories) == ("front" not in told, told == "cpu" or memories == 0)
