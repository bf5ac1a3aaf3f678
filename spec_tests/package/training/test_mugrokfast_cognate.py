"""MuGrokfast on a model of the family `cognate`: what it moves by which part, and which heads it clips."""

from pathlib import Path

import pytest
import torch

from atlas_ref.config import RunConfig
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.models.cognate import CognateModel
from atlas_ref.optim.qk_clip import largest_in_blocks, largest_in_sight
from atlas_ref.training.optimiser import build_optimiser, hidden_matrices
from spec_tests.drawing.inputs import positions
from spec_tests.package.micro.cognate import cognate_config
from spec_tests.package.micro.runs import go_on, metric_lines, saved_bytes, start, stop_before

MUGROKFAST = ("optim.name='mugrokfast'", "optim.average=0.9", "optim.mugrokfast.qk_clip=0.001")


def made(config: RunConfig) -> CognateModel:
    assert isinstance(config.any_model, CognateConfig)
    return CognateModel(config.any_model, 0)


def test_muon_gets_the_hidden_matrices_and_neither_embeddings_nor_gates_nor_the_halting_head() -> None:
    """Kills: a head of one row that is orthogonalised; an embedding by Muon, as the source has it."""
    config = cognate_config()
    model = made(config)
    matrices = {name for name, p in model.named_parameters() if p.ndim == 2}
    rest = {"embedding.weight", "position.weight", "ltm.gate_hidden.weight", "ltm.gate.weight", "halting_head.weight"}
    assert matrices - hidden_matrices(model) == rest


@pytest.mark.parametrize("window", [1, 3, 20])
def test_the_largest_logit_in_blocks_is_that_of_the_loop_over_ages(window: int) -> None:
    """Kills: a key of the block that a query does not see; a block without the cache of the one before."""
    draw = torch.Generator().manual_seed(3)
    queries, keys = torch.randn(2, 3, 13, 2, 4, generator=draw, dtype=torch.float64)
    cache = torch.randn(3, window - 1, 2, 4, generator=draw, dtype=torch.float64)
    places = torch.from_numpy(positions(3, 13, seed=4, reset_rate=0.3))
    found = largest_in_blocks(queries, keys, cache, places)
    expected = largest_in_sight(queries, keys, queries.new_zeros(0, 2, 4), cache, places)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0.0)


def test_heads_of_the_backbone_are_clipped_and_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Kills: heads of another kind of attention that nobody watches; a filter that a checkpoint leaves out."""
    config = cognate_config(*MUGROKFAST)
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(4))
    go_on(config, tmp_path / "parts")
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")
    first, *_, last = metric_lines(tmp_path / "whole")
    assert last["train/loss"] < first["train/loss"]


def test_a_head_above_the_threshold_is_shrunk_to_it() -> None:
    """Kills: a hook on a module that is never called; clipping by what the optimiser sees of other layers."""
    config = cognate_config(*MUGROKFAST)
    model = made(config)
    optimiser = build_optimiser(model, config.optim)
    tokens = torch.randint(257, (2, 16), generator=torch.Generator().manual_seed(1))
    before = [layer.attention.projection.weight.detach().clone() for layer in model._layers()]
    model(tokens, model.initial_state(2), None).logits.sum()
    optimiser.parts["clipped"].step()
    for layer, weight in zip(model._layers(), before, strict=True):
        queries, keys, values = layer.attention.projection.weight.detach().chunk(3)
        assert queries.norm() < 0.9 * weight.chunk(3)[0].norm()
        assert keys.norm() < 0.9 * weight.chunk(3)[1].norm()
        assert torch.equal(values, weight.chunk(3)[2])
