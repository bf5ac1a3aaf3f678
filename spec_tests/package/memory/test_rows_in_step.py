"""Rows that enter a call at one place of a chunk are laid as a plain view: each sees what it would see alone."""

from dataclasses import replace
from typing import Final

import pytest
import torch

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import memory_recurrent
from atlas_ref.memory.rules import Gates
from atlas_ref.memory.state import fresh_memory_state
from spec_tests.package.memory.miras_axes import USUAL
from spec_tests.package.memory.miras_calls import BATCH, FEATURES, VALUES, Form, draw, leaves_of, rule_of

WINDOW: Final = 4
RULE: Final = rule_of(replace(USUAL, chunk=3, window=WINDOW))


def reads(form: Form, position: int, garbage: float, time: int = 5) -> torch.Tensor:
    """Return the reads of a call `position` tokens after the start, with `garbage` in slots that hold none of them."""
    inputs, initial = draw(replace(USUAL, window=WINDOW), time=time)
    leaves = leaves_of(inputs, initial)
    matrices = (leaves["initial.0"],)
    state = fresh_memory_state(matrices, BATCH, WINDOW, FEATURES, VALUES)
    unreached = torch.arange(WINDOW - 1, 0, -1).view(-1, 1, 1) > position
    state = replace(
        state,
        window_keys=torch.where(unreached, garbage, 0.5).expand_as(state.window_keys),
        window_values=torch.where(unreached, garbage, 0.25).expand_as(state.window_values),
        position=torch.full((BATCH,), position),
    )
    retention, momentum = leaves["log_retention"].exp().squeeze(-1), leaves["log_momentum"].exp()
    gates = Gates(retention, momentum, leaves["step_size"], leaves["window_weights"], leaves["threshold"])
    return form(RULE, leaves["keys"], leaves["values"], leaves["queries"], gates, matrices, state, None).reads


@pytest.mark.parametrize("position", [1, 2, 3])
def test_rows_in_step_see_no_slot_that_their_document_does_not_reach(position: int) -> None:
    """Kills: the sight of the first segment taken from its second token, or from the segment after it."""
    wanted = reads(memory_recurrent, position, 0.0)
    for garbage in (0.0, torch.inf, torch.nan):
        found = reads(memory_chunked, position, garbage)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
