"""What must hold exactly when a sequence is cut: measured in float64, where nothing is left to rounding.

Each function returns the largest difference from what should have come out, as a share of the largest number there,
over logits and the state after the last token. The model is a float64 copy with the weights of the one examined.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.identity import NO_DATA
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model, Output
from atlas_ref.storage.checkpoint import MODEL, OPTIMISER, STATE, open_checkpoint, save_checkpoint
from atlas_ref.storage.switch_state import SwitchState
from preflight.subject import HandOver

Tensors = Mapping[str, Tensor]


class Difference(NamedTuple):
    """The largest relative difference, and the tensor in which it is."""

    size: float
    where: str


def call(model: Model, tokens: Tensor, state: StateTree, reset: Tensor | None = None) -> Output:
    """Run the model without a graph."""
    with torch.no_grad():
        output: Output = model(tokens, state, reset)
    return output


def run_cut(
    model: Model, tokens: Tensor, cuts: Sequence[int], hand_over: HandOver, reset: Tensor | None = None
) -> dict[str, Tensor]:
    """Run the model in one call for each stretch between `cuts`; return all logits and the state after the last."""
    state = model.initial_state(len(tokens))
    logits = []
    for start, stop in pairwise([0, *cuts, tokens.shape[1]]):
        part = slice(start, stop)
        output = call(model, tokens[:, part], state, None if reset is None else reset[:, part])
        logits.append(output.logits)
        state = output.state
        if stop < tokens.shape[1]:
            state = hand_over(state.detach())
    return {"logits": torch.cat(logits, 1), **state.to_tensors()}


def difference(found: Tensors, expected: Tensors) -> Difference:
    """Return the largest |found - expected| / max |expected| of any tensor; NaN counts as infinite."""
    worst = Difference(0.0, "logits")
    for name, right in expected.items():
        if not right.numel():
            continue
        gap = (found[name].double() - right.double()).abs().max().item()
        scale = right.double().abs().max().item()
        size = gap / scale if scale > 0.0 else gap
        worst = max(worst, Difference(math.inf if math.isnan(size) else size, name))
    return worst


def through_checkpoint(config: RunConfig, model: Model, state: StateTree) -> StateTree:
    """Return a state that was saved in a checkpoint and read again."""
    with tempfile.TemporaryDirectory() as folder:
        tensors: dict[str, dict[str, Tensor]] = {MODEL: {}, OPTIMISER: {}, STATE: state.to_tensors()}
        saved = save_checkpoint(Path(folder), 0, config, None, NO_DATA, None, 0, SwitchState(), tensors)
        fresh: StateTree = model.initial_state(state.batch)
        return fresh.from_tensors(open_checkpoint(saved).tensors(STATE))


def rows_alone(model: Model, tokens: Tensor, cuts: Sequence[int], hand_over: HandOver) -> Difference:
    """Compare the rows of a batch with each row in a batch of its own, cut and handed over in the same way."""
    parts = [run_cut(model, row, cuts, hand_over) for row in tokens.unsqueeze(1)]
    expected = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return difference(run_cut(model, tokens, cuts, hand_over), expected)


def reset_of_first_row(model: Model, tokens: Tensor, at: int, cuts: Sequence[int], hand_over: HandOver) -> Difference:
    """Compare a run whose first row begins a document at `at` with a fresh start there; other rows must not notice."""
    reset = torch.zeros_like(tokens, dtype=torch.bool)
    reset[0, at] = True
    found = run_cut(model, tokens, cuts, hand_over, reset)
    expected = run_cut(model, tokens, cuts, hand_over)
    fresh = run_cut(model, tokens[:1, at:], (), hand_over)
    fresh["logits"] = torch.cat([expected["logits"][:1, :at], fresh["logits"]], 1)
    return difference(found, {name: torch.cat([fresh[name], kept[1:]]) for name, kept in expected.items()})


def future_leak(model: Model, tokens: Tensor, others: Tensor, last_kept: Sequence[int]) -> Difference:
    """Return how far logits move when every token after theirs is replaced, at each of the given tokens."""
    logits = call(model, tokens, model.initial_state(len(tokens))).logits
    worst = Difference(0.0, "logits")
    for last in last_kept:
        changed = torch.cat([tokens[:, : last + 1], others[:, last + 1 :]], 1)
        moved = call(model, changed, model.initial_state(len(tokens))).logits[:, : last + 1]
        size = difference({"logits": moved}, {"logits": logits[:, : last + 1]}).size
        worst = max(worst, Difference(size, f"logits of token {last}"))
    return worst
