"""The monitor: every statistic against numpy on what the network really computed, and nothing it could miss.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.blocks import joined
from atlas_ref.functional.mag_gate import Gated, GateKind, mag_gate
from atlas_ref.functional.newton_schulz import newton_schulz
from atlas_ref.models.atlas import AtlasModel, Layer, ModelOutput
from atlas_ref.models.measures import orthogonality_error
from atlas_ref.watching.monitor import log_entries, measure_layers
from spec_tests.package.micro.layers import single
from spec_tests.package.micro.models import call, carried_state, make_model, make_tokens
from spec_tests.package.micro.runs import micro_config

ROWS = 3
TANH = "atlas_appendix frobenius_tanh pre mlp"


def forward(model: AtlasModel, **changes: Tensor) -> ModelOutput:
    """Run the model on random tokens from a carried state."""
    with torch.no_grad():
        return call(model, make_tokens(ROWS, 5), carried_state(model, ROWS), **changes)


@contextmanager
def recorded_gates() -> Iterator[list[Tensor]]:
    """Collect the gate of every layer, before its floor."""
    gates: list[Tensor] = []

    def record(kind: GateKind, attention: Tensor, memory: Tensor, logits: Tensor | None, floor: float) -> Gated:
        gates.append(torch.sigmoid(attention if logits is None else logits).detach())
        return mag_gate(kind, attention, memory, logits, floor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined, "mag_gate", record)
        yield gates


@pytest.mark.parametrize("kind", ["source", "convex"])
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_gate_statistics_are_those_of_the_gates_before_and_behind_the_floor(kind: str, floor: float) -> None:
    """Kills: raw and floored gate swapped; shares counted behind the floor; a deviation over layers instead of gates;
    the share of attention reported for the memory.
    """
    model = make_model("omega", f"model.gate.kind='{kind}'", f"model.gate.floor={floor}", "model.init_std=0.9")
    state = carried_state(model, ROWS)
    with recorded_gates() as gates, torch.no_grad():
        tables = measure_layers(call(model, make_tokens(ROWS, 5), state), model.config)

    assert len(gates) == len(tables) == 2
    for gate, table in zip(gates, tables, strict=True):
        raw = gate.numpy()
        floored = floor + (1 - floor) * raw
        expected = {
            "gate_mean": floored.mean(),
            "gate_std": floored.std(),
            "gate_variance": floored.var(),
            "gate_min": floored.min(),
            "gate_max": floored.max(),
            "raw_gate_mean": raw.mean(),
            "raw_gate_std": raw.std(),
            "raw_gate_min": raw.min(),
            "raw_gate_max": raw.max(),
            "memory_share": raw.mean() if kind == "source" else 1 - raw.mean(),
            "gate_polarised": np.mean((raw < 0.1) | (raw > 0.9)),
            "gate_undecided": np.mean((raw > 0.4) & (raw < 0.6)),
        }
        assert {name: table[name] for name in expected} == pytest.approx(expected, rel=1e-6)
        assert 0.02 < table["gate_polarised"] < 0.9
        assert 0.02 < table["gate_undecided"] < 0.9


@pytest.mark.parametrize("gain", [0.3, 2.0, 40.0])
def test_tanh_statistics_are_those_of_the_arguments_of_every_token(gain: float) -> None:
    """Kills: the last token alone; the projected query before its gain; the value of the tanh for its argument."""
    model = make_model(TANH)
    inputs: list[tuple[Tensor, Tensor, Tensor]] = []
    state = carried_state(model, ROWS)
    for layer in model.layers:
        assert isinstance(layer, Layer)
        memory = single(layer.block.memory)
        memory.log_gain.data.fill_(math.log(gain))
        memory.tanh_gate.register_forward_hook(lambda module, given, result: inputs.append(given))
    with torch.no_grad():
        tables = measure_layers(call(model, make_tokens(ROWS, 5), state), model.config)

    for (projected, norm, log_gain), table in zip(inputs, tables, strict=True):
        aligned = projected.numpy() / (norm.numpy()[..., None] + 1e-7)
        argument = np.abs(np.exp(log_gain.detach().numpy()) * aligned)
        assert argument.shape[1] > 8
        # Beyond 17 the float64 value is one, so that no argument can be told from it.
        assert table["tanh_magnitude"] == pytest.approx(np.minimum(argument, 18.7).mean(), rel=1e-2)
        assert table["tanh_linear"] == pytest.approx(np.mean(argument < 0.5))
        assert table["tanh_saturated"] == pytest.approx(np.mean(argument > 1.5))
    shares = [(table["tanh_linear"], table["tanh_saturated"]) for table in tables]
    assert all((linear > 0.9) == (gain < 1) and (saturated > 0.6) == (gain > 10) for linear, saturated in shares)


def test_orthogonality_error_is_the_distance_of_the_squared_singular_values_from_one() -> None:
    """Kills: the larger Gram matrix, which is never the identity; division by the wrong side; a sum in bfloat16."""
    generator = torch.Generator().manual_seed(2)
    for rows, columns in ((4, 9), (9, 4), (6, 6)):
        x = torch.randn(2, 3, rows, columns, generator=generator, dtype=torch.float64)
        values = np.linalg.svd(x.numpy(), compute_uv=False)
        expected = np.sqrt(((values**2 - 1) ** 2).mean(-1))
        np.testing.assert_allclose(orthogonality_error(x).numpy(), expected, rtol=1e-12)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        assert float(orthogonality_error(u @ v).max()) < 1e-12
        assert set(orthogonality_error(torch.zeros_like(x)).flatten().tolist()) == {1.0}
        assert orthogonality_error(x.bfloat16()).dtype == torch.float32


def test_the_newton_schulz_error_is_that_of_the_worst_matrix_of_its_own_layer() -> None:
    """Kills: a mean over rows and heads, which hides one; the momentum before the iteration; the other layer's."""
    model = make_model("atlas tnt truncate", "model.memory.step_scale='literal'")
    output = forward(model)
    found = [table["newton_schulz_error"] for table in measure_layers(output, model.config)]
    for layer, error in zip(output.state.layers, found, strict=True):
        (momentum,) = layer.memory.memory.momentum
        values = np.linalg.svd(newton_schulz(momentum, 5, "quintic").numpy(), compute_uv=False)
        assert error == pytest.approx(np.sqrt(((values**2 - 1) ** 2).mean(-1)).max(), rel=1e-6)
    assert found[0] != found[1]
    plain = make_model("omega")
    assert "newton_schulz_error" not in measure_layers(forward(plain), plain.config)[0]


def test_a_number_that_is_not_finite_is_found_in_any_tensor_of_a_state_and_in_its_layer_only() -> None:
    """Kills: norms taken for a check of everything; one verdict for all layers."""
    model = make_model(TANH)
    output = forward(model)
    first, second = output.state.layers
    floats = [name for name, tensor in second.to_tensors().items() if tensor.is_floating_point() and tensor.numel()]
    assert len(floats) > 8
    assert [table["state_finite"] for table in measure_layers(output, model.config)] == [1.0, 1.0]
    for name in floats:
        for bad in (math.nan, -math.inf):
            tensors = {key: tensor.clone() for key, tensor in second.to_tensors().items()}
            tensors[name].view(-1)[-1] = bad
            state = replace(output.state, layers=(first, second.from_tensors(tensors)))
            found = measure_layers(output._replace(state=state), model.config)
            assert [table["state_finite"] for table in found] == [1.0, 0.0], name


def test_one_layer_one_row_and_one_token_give_numbers() -> None:
    """Kills: an unbiased deviation, or one over layers, which is NaN for one; a first call without history."""
    for variant in ("omega", TANH, "atlas tnt truncate"):
        model = make_model(variant, "model.n_layers=1")
        with torch.no_grad():
            output = call(model, make_tokens(1, 5, time=1), model.initial_state(1))
        (table,) = measure_layers(output, model.config)
        assert len(table) > 15
        assert all(math.isfinite(value) for value in table.values()), table
        entries = log_entries([table])
        assert entries == {f"memory/{place}{name}": table[name] for place in ("", "layer_0/") for name in table}


def test_reductions_are_in_float32_under_bfloat16() -> None:
    """Kills: a mean accumulated in bfloat16, which stops growing after 256 tokens."""
    config = micro_config("model.memory.qk_projection.kind='frobenius_tanh'", "model.gate.floor=0.2")
    model = AtlasModel(config.model, seed=0)
    tokens = make_tokens(4, 5, time=64)
    with torch.no_grad():
        exact = call(model, tokens, model.initial_state(4))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = call(model, tokens, model.initial_state(4))
    assert output.logits.dtype == torch.bfloat16
    fields = [value for table in output.telemetry for value in table if isinstance(value, Tensor)]
    assert {value.dtype for value in fields} == {torch.float32}
    wide, narrow = (measure_layers(each, config.model) for each in (exact, output))
    for name in ("gate_mean", "gate_std", "memory_norm", "tanh_magnitude", "read_norm"):
        for layer in range(2):
            assert narrow[layer][name] == pytest.approx(wide[layer][name], rel=0.05), name


def test_an_ablated_memory_has_no_share_and_no_tanh_gates_to_watch() -> None:
    """Kills: an ablation that is killed because its gate closes, as it should."""
    model = make_model(TANH, "model.disable_memory=true")
    for table in measure_layers(forward(model), model.config):
        assert not {"memory_share", "tanh_linear", "tanh_saturated"} & set(table)
        assert "gate_mean" in table
