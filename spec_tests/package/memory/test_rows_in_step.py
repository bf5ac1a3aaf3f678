"""Rows that enter a call at one place of a chunk are laid as a plain view: each sees what it would see alone."""

from dataclasses import replace
from typing import Final

import pytest
import torch
from torch import Tensor

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import MemoryState, fresh_memory_state
from spec_tests.package.memory.miras_axes import USUAL
from spec_tests.package.memory.miras_calls import BATCH, FEATURES, VALUES, Form, draw, leaves_of, rule_of

WINDOW: Final = 4
RULE: Final = rule_of(replace(USUAL, chunk=3, window=WINDOW))


def called(form: Form, rule: MemoryRule, leaves: dict[str, Tensor], part: slice, state: MemoryState) -> MemoryOutput:
    """Return what the tokens `part` of a call give that `state` lies before."""
    own = {name: x[:, part] for name, x in leaves.items() if not name.startswith("initial")}
    retention, momentum = own["log_retention"].exp().squeeze(-1), own["log_momentum"].exp()
    gates = Gates(retention, momentum, own["step_size"], own["window_weights"], own["threshold"])
    return form(rule, own["keys"], own["values"], own["queries"], gates, (leaves["initial.0"],), state, None)


def reads(form: Form, position: int, garbage: float, time: int = 5) -> Tensor:
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
    return called(form, RULE, leaves, slice(None), state).reads


@pytest.mark.parametrize("position", [1, 2, 3])
def test_rows_in_step_see_no_slot_that_their_document_does_not_reach(position: int) -> None:
    """Kills: the sight of the first segment taken from its second token, or from the segment after it."""
    wanted = reads(memory_recurrent, position, 0.0)
    for garbage in (0.0, torch.inf, torch.nan):
        found = reads(memory_chunked, position, garbage)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_rows_in_step_are_written_under_newton_schulz_by_the_tokens_that_write() -> None:
    """Kills: empty slots in front of the first segment that are taken for tokens which write, in the place of those
    that do."""
    options = replace(USUAL, rule="atlas", chunk=6, window=WINDOW, every=3)
    rule, (inputs, initial) = rule_of(options), draw(options, time=12)
    leaves = leaves_of(inputs, initial)
    start = fresh_memory_state((leaves["initial.0"],), BATCH, WINDOW, FEATURES, VALUES, rule.update_every)
    wanted = called(memory_recurrent, rule, leaves, slice(0, 12), start)
    # The second call begins at the fifth token of a chunk.
    first = called(memory_chunked, rule, leaves, slice(0, 4), start)
    second = called(memory_chunked, rule, leaves, slice(4, 12), first.state)
    found = (torch.cat([first.reads, second.reads], 1), second.state.weights[0])
    torch.testing.assert_close(found, (wanted.reads, wanted.state.weights[0]), rtol=1e-10, atol=1e-10)
