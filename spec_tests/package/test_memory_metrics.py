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

from atlas_ref.blocks import memory_layer
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import MemoryState
from atlas_ref.training.monitor import log_entries, measure_layers
from spec_tests.package.models import TIME, VARIANTS, call, carried_state, make_model, make_tokens

Array = NDArray[np.float64]
ROWS = 3


def resets() -> Tensor:
    """Row 0 goes on with its document, row 1 begins one in the middle and again near the end, row 2 at once."""
    reset = torch.zeros(ROWS, TIME, dtype=torch.bool)
    reset[1, 9] = reset[1, 18] = reset[2, 0] = True
    return reset


@contextmanager
def recorded_calls() -> Iterator[list[tuple[Any, ...]]]:
    """Collect what every layer gives to its memory."""
    calls: list[tuple[Any, ...]] = []

    def record(*given: Any, **named: Any) -> MemoryOutput:
        calls.append(given)
        return memory_chunked(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_layer, "memory_chunked", record)
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
    rule: MemoryRule,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    gates: Gates,
    initial: tuple[Tensor, ...],
    state: MemoryState,
    reset: Tensor,
) -> Array:
    """Return L_t of every row, token and head: the recurrence, token by token, gives the anchors; numpy the rest."""
    batch, time, heads = keys.shape[:3]
    losses = np.zeros((batch, time, heads))
    past_keys, past_values = torch.cat([state.window_keys, keys], 1), torch.cat([state.window_values, values], 1)
    past = state.window_keys.shape[1]
    for t in range(time):
        now = slice(t, t + 1)
        given = (keys[:, now], values[:, now], queries[:, now], Gates(*(gate[:, now] for gate in gates)))
        state = memory_recurrent(rule, *given, initial, state, reset[:, now]).state
        for b, h in np.ndindex(batch, heads):
            position = int(state.position[b]) - 1
            oldest = position if rule.boundary == "carry" else position % rule.chunk
            anchor = tuple(matrix[b, h].numpy() for matrix in state.anchor)
            for age in range(min(past, oldest) + 1):
                key, value = (x[b, past + t - age, h].numpy() for x in (past_keys, past_values))
                error = predicted(rule, anchor, key) - value
                losses[b, t, h] += rule.loss_scale * float(gates.window[b, t, h, age]) * float(error @ error)
    return losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_omega_loss_is_that_of_the_windows_at_the_anchors_of_the_writes(variant: str) -> None:
    """Kills: errors divided by the curvature; gamma / c of `mass`; the loss scale; ages in the wrong order; the window
    of another document; the mean over slots instead of tokens; the loss of the other layer.
    """
    model = make_model(variant)
    state = carried_state(model, ROWS)
    with recorded_calls() as calls, torch.no_grad():
        tables = measure_layers(call(model, make_tokens(ROWS, 5), state, resets()), model.config)
        expected = [omega_losses(*given[:8]).mean() for given in calls]

    assert [table["omega_loss"] for table in tables] == pytest.approx(expected, rel=1e-9)
    assert abs(expected[0] - expected[1]) > 1e-3 * expected[0] > 0


def test_the_omega_loss_has_no_graph_and_leaves_the_gradient_as_it_was() -> None:
    """Kills: a loss that holds the graph of the whole call; telemetry that takes part in learning."""
    for variant in ("omega", "atlas tnt truncate"):
        model = make_model(variant)
        output = call(model, make_tokens(ROWS, 5), carried_state(model, ROWS))
        for table in output.telemetry:
            assert not any(value.requires_grad for value in table if value is not None)


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
