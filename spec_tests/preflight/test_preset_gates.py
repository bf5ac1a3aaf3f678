"""What a gate can say of a preset before it trains: none is refused by its own gate for what it starts with."""

import pytest
import torch

from atlas_ref.config import load_config, preset_names
from atlas_ref.config.model import ModelConfig
from atlas_ref.models.registry import build_model
from preflight.heard import LEAST_KEPT
from preflight.observe import measured_config, real_batches
from preflight.proof_of_recursion import HEARD, sight_checks
from preflight.result import Verdict
from preflight.span import must_remember
from preflight.subject import HEALTHY, Budget

OUT_OF_SIGHT = {"omega-389m": 2559, "omega-dumas": 1279, "omega-micro": 79, "omega-shakespeare": 1279, "recall": 97}
"""The tokens back to the nearest answer, of the presets whose attention does not reach it."""


def test_what_a_preset_writes_lasts_to_its_answers() -> None:
    """Kills: a length of rows that was doubled and a retention that was not."""
    found, kept = {}, {}
    for name in preset_names():
        config = load_config(name)
        tokens = must_remember(config) if isinstance(config.any_model, ModelConfig) else None
        if tokens is not None:
            found[name], kept[name] = tokens, config.model.memory.gates.retention_init**tokens
    assert found == OUT_OF_SIGHT
    assert min(kept.values()) >= LEAST_KEPT, kept


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", ["relay", "sudoku"])
def test_a_gate_hears_the_rows_of_a_recursive_preset(name: str, rows: int) -> None:
    """Kills: later tokens exchanged for those of another row where they are blanks in all, which is no question; a
    batch of one row, whose tokens are exchanged for its own."""
    budget = Budget(probe_steps=1, batches=1, sequence_length=32, batch_size=rows)
    config = measured_config(load_config(name), 0, budget)
    (batch,) = real_batches(config, 1, torch.device("cpu"))
    heard, *others = sight_checks(build_model(config.any_model, 0).double(), batch, HEALTHY)
    assert heard.statistic > 1e3 * HEARD
    assert {check.verdict for check in (heard, *others)} == {Verdict.PASS}
