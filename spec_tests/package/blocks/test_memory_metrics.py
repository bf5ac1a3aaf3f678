"""What the memory reports of itself, `memory/omega_loss` and the others, against the loop and numpy.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas_ref.blocks import fast_memory, memory_layer
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState
from atlas_ref.watching.monitor import log_entries, measure_layers
from spec_tests.package.micro.models import TIME, VARIANTS, call, carried_state, make_model, make_tokens

Array = NDArray[np.float64]
ROWS = 3


def resets() -> Tensor:
    """Row 0 goes on with its document, row 1 begins one in the middle and again near the end, row 2 at once."""
    reset = torch.zeros(ROWS, TIME, dtype=torch.bool)
    reset[1, 9] = reset[1, 18] = reset[2, 0] = True
    return reset


@contextmanager
def recorded_calls() -> Iterator[list[tuple[tuple[Any, ...], Shards | None]]]:
    """Collect what every layer gives to its memory, and its shards."""
    calls: list[tuple[tuple[Any, ...], Shards | None]] = []

    def record(*given: Any, **named: Any) -> MemoryOutput:
        calls.append((given, named["shards"]))
        return memory_chunked(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_memory, "memory_chunked", record)
        yield calls


def predicted(rule: MemoryRule, weights: tuple[Array, ...], x: Array) -> Array:
    """Return M(x) = W x, or I x + W1 gelu(W2 x), of one row and head."""
    if rule.architecture == "matrix":
        return np.asarray(weights[0] @ x)
    outer, inner = weights
    hidden = np.array([z * 0.5 * (1.0 + math.erf(z / math.sqrt(2.0))) for z in inner @ x])
    residual = np.zeros(len(outer))
    residual[: min(len(outer), len(x))] = x[: len(outer)]
    return np.asarray(residual + outer @ hidden)


def omega_losses(
    shards: Shards | None,
    rule: MemoryRule,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    gates: Gates,
    initial: tuple[Tensor, ...],
    state: MemoryState,
    reset: Tensor,
) -> Array:
    """Return what every row, token and head writes of Omega losses: the recurrence, token by token, gives the anchors,
    numpy the rest. A token that writes for the tokens since the last write takes all their losses at its own anchor.
    """
    batch, time, heads = keys.shape[:3]
    losses = np.zeros((batch, time, heads))
    past_keys, past_values = torch.cat([state.window_keys, keys], 1), torch.cat([state.window_values, values], 1)
    past, width = state.window_keys.shape[1], gates.window.shape[-1]
    # What waits was scaled when its token came.
    scale = 2.0 * rule.loss_scale / (width if rule.step_scale == "mass" else 1)
    waiting = [rows / scale for rows in state.waiting]
    for t in range(time):
        now = slice(t, t + 1)
        given = (keys[:, now], values[:, now], queries[:, now], Gates(*(gate[:, now] for gate in gates[:4])))
        state = memory_recurrent(rule, *given, initial, state, reset[:, now], shards=shards).state
        for b, h in np.ndindex(batch, heads):
            position = int(state.position[b]) - 1
            if (position + 1) % rule.update_every:
                continue
            anchor = tuple(matrix[b, h].numpy() for matrix in state.anchor)
            for lag in range(rule.update_every):
                here = position - lag
                oldest = min(here if rule.boundary == "carry" else here % rule.chunk, width - 1)
                row = gates.window[b, t - lag, h] if t >= lag else waiting[0][b, t - lag, h]
                for age in range(oldest + 1):
                    key, value = (x[b, past + t - lag - age, h].numpy() for x in (past_keys, past_values))
                    error = predicted(rule, anchor, key) - value
                    losses[b, t, h] += rule.loss_scale * float(row[age]) * float(error @ error)
    return losses


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "hierarchy" not in name])
def test_the_omega_loss_is_that_of_the_windows_at_the_anchors_of_the_writes(variant: str) -> None:
    """Kills: errors divided by the curvature; gamma / c of `mass`; the loss scale; ages in the wrong order; the window
    of another document; the mean over slots instead of tokens; the loss of the other layer; losses that wait counted
    before they are written, or not at all.
    """
    model = make_model(variant)
    state = carried_state(model, ROWS)
    with recorded_calls() as calls, torch.no_grad():
        tables = measure_layers(call(model, make_tokens(ROWS, 5), state, resets()), model.config)
        # Persistent tokens are a document of one row before the others; a block of segments calls for each of them.
        losses = [omega_losses(shards, *given[:8]) for given, shards in calls if len(given[1]) == ROWS]
    pieces = len(losses) // len(tables)
    layers = [losses[first : first + pieces] for first in range(0, len(losses), pieces)]
    expected = [np.concatenate(layer, axis=1).mean() for layer in layers]

    assert [table["omega_loss"] for table in tables] == pytest.approx(expected, rel=1e-9)
    assert abs(expected[0] - expected[1]) > 1e-3 * expected[0] > 0


def test_the_omega_loss_has_no_graph_and_leaves_the_gradient_as_it_was() -> None:
    """Kills: a loss that holds the graph of the whole call; telemetry that takes part in learning."""
    for variant in ("omega", "atlas tnt truncate"):
        model = make_model(variant)
        output = call(model, make_tokens(ROWS, 5), carried_state(model, ROWS))
        for table in output.telemetry:
            assert not any(value.requires_grad for value in table if isinstance(value, Tensor))


def test_the_update_of_a_row_that_crossed_into_a_shard_is_the_change_since_then() -> None:
    """Kills: a memory that restarted compared with that of the last shard."""
    model = make_model("omega tnt every 3 in shards")
    length, time = model.config.memory.shards.length, 11
    before = carried_state(model, ROWS)
    with torch.no_grad():
        output = call(model, make_tokens(ROWS, 5, time), before)
    for layer, table in enumerate(measure_layers(output, model.config)):
        state = output.state.layers[layer].memory.memory
        assert (state.position > length).all()
        assert ((state.position - 1) % length + 1 < time).all()
        module = [memory for memory in model.modules() if isinstance(memory, memory_layer.MemoryLayer)][layer]
        change = state.weights[0].numpy() - module.initial[0].detach().numpy()
        assert table["update_magnitude"] == pytest.approx(np.sqrt((change**2).sum((-2, -1)).mean()), rel=1e-9)


@pytest.mark.parametrize("variant", ["omega", "omega literal mlp pre", "atlas tnt truncate"])
def test_the_update_is_the_change_since_the_start_of_the_call_or_of_the_document(variant: str) -> None:
    """Kills: a row that was reset compared with the memory of its last document; the mean of norms instead of the root
    of the mean square; one matrix of the two; a sum over heads; before and M_0 swapped.
    """
    model = make_model(variant)
    before = carried_state(model, ROWS)
    initial = [
        [matrix.detach().numpy() for matrix in memory.initial]
        for memory in model.modules()
        if isinstance(memory, memory_layer.MemoryLayer)
    ]
    with torch.no_grad():
        output = call(model, make_tokens(ROWS, 5), before, resets())
    tables = measure_layers(output, model.config)

    for layer, table in enumerate(tables):
        first, last = (state.layers[layer].memory.memory for state in (before, output.state))
        squares = np.zeros((ROWS, model.config.n_heads))
        for m0, m, after in zip(initial[layer], first.weights, last.weights, strict=True):
            start = np.stack([m[0].numpy(), m0, m0])
            squares += ((after.numpy() - start) ** 2).sum((-2, -1))
        assert table["update_magnitude"] == pytest.approx(np.sqrt(squares.mean()), rel=1e-9)
        assert np.ptp(squares) > 1e-3 * squares.mean()


def test_the_norms_are_roots_of_mean_squares_over_rows_and_heads() -> None:
    """Kills: weights for momentum; the norm of all rows together; a mean over the elements."""
    for variant in ("omega", "omega literal mlp pre"):
        model = make_model(variant)
        with torch.no_grad():
            output = call(model, make_tokens(ROWS, 5), carried_state(model, ROWS))
        for state, table in zip(output.state.layers, measure_layers(output, model.config), strict=True):
            memory = state.memory.memory
            for name, matrices in (("memory_norm", memory.weights), ("momentum_norm", memory.momentum)):
                squares = np.sum([(matrix.numpy() ** 2).sum((-2, -1)) for matrix in matrices], axis=0)
                assert squares.shape == (ROWS, 2)
                assert table[name] == pytest.approx(np.sqrt(squares.mean()), rel=1e-9)


def test_a_memory_that_is_not_written_reports_no_loss_and_no_update() -> None:
    """Kills: zeros that look like a memory that has learnt everything."""
    model = make_model("omega", "model.disable_memory=true")
    with torch.no_grad():
        output = call(model, make_tokens(ROWS, 5), model.initial_state(ROWS))
    for table in measure_layers(output, model.config):
        assert not {"omega_loss", "update_magnitude"} & set(table)
        assert "memory_norm" in table


def test_over_all_layers_stands_the_mean_or_the_extreme_of_an_extreme() -> None:
    """Kills: a mean of least values; the first layer for all; the best layer for the worst; a key without its layer;
    a layer without the metric counted as zero; NaN lost in a comparison.
    """
    layers = [
        {"omega_loss": 1.0, "gate_min": 0.3, "gate_max": 0.5, "newton_schulz_error": 0.25, "state_finite": 1.0},
        {"omega_loss": 4.0, "gate_min": 0.1, "gate_max": 0.9, "newton_schulz_error": 0.75, "state_finite": 0.0},
        {"omega_loss": 7.0, "gate_min": 0.2, "gate_max": math.nan, "state_finite": 1.0},
    ]
    entries = log_entries(layers)
    each = {f"memory/layer_{n}/{name}": value for n, table in enumerate(layers) for name, value in table.items()}
    assert math.isnan(entries.pop("memory/gate_max"))
    assert math.isnan(each.pop("memory/layer_2/gate_max"))
    assert math.isnan(entries.pop("memory/layer_2/gate_max"))
    assert entries == each | {
        "memory/omega_loss": 4.0,
        "memory/gate_min": 0.1,
        "memory/newton_schulz_error": 0.75,
        "memory/state_finite": 0.0,
    }
