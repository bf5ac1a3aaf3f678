"""What is known about each layer of an ATLAS model after a call: its telemetry, and what follows from it or the state.

gate_variance      of the gate that acts; absent in a block without
memory_share       mean weight of the memory in the join, before the floor: the raw gate of `source`, of `convex_memory`
                   and of the block LMM, 1 - it of `convex`; absent in other joins and where nothing is written
state_finite       1, or 0 when any number of the layer's state is NaN or infinite
newton_schulz_error   distance of the written momentum from orthogonality, where the rule orthogonalises

Of a hierarchy each memory has fields of its own: `memory_norm.global`, `memory_norm.local_1` and so on.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.blocks.block import BlockState
from atlas_ref.blocks.fast_memory import memory_rule
from atlas_ref.blocks.telemetry import LayerTelemetry
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.largest import largest_entries
from atlas_ref.memory.hierarchical import HierarchicalState
from atlas_ref.memory.rules import MemoryRule, update
from atlas_ref.models.atlas import ModelOutput
from atlas_ref.models.family import Measurements, Sheet


def measure_layers(output: ModelOutput, config: ModelConfig) -> tuple[Measurements, ...]:
    """Return the table of every layer of one call (module docstring)."""
    return read(gather(output, config), config)


def gather(output: ModelOutput, config: ModelConfig) -> Sheet:
    """Return what is measured of every layer, on the device."""
    rule = memory_rule(config.memory)
    layers = output.state.layers
    found = [
        _fields(telemetry) | {"state_finite": finite} | _orthogonality(state, rule)
        for telemetry, state, finite in zip(output.telemetry, layers, _finite(layers), strict=True)
    ]
    values = torch.stack([value for table in found for value in table.values()]).double()
    return Sheet(tuple(tuple(table) for table in found), values)


def read(sheet: Sheet, config: ModelConfig) -> tuple[Measurements, ...]:
    """Return the tables of a sheet, in one transfer from the device, and what follows from them."""
    values = iter(sheet.values.tolist())
    tables = [{name: next(values) for name in names} for names in sheet.names]
    return tuple(table | _gate_values(table, config) for table in tables)


def _fields(telemetry: LayerTelemetry) -> dict[str, Tensor]:
    """Return what telemetry has found, by name, and then what it has of each memory of a hierarchy."""
    fields = {name: value for name, value in telemetry._asdict().items() if isinstance(value, Tensor)}
    for number, memory in enumerate(telemetry.memories):
        label = f"local_{number}" if number else "global"
        fields |= {f"{name}.{label}": value for name, value in memory._asdict().items() if value is not None}
    return fields


@torch.no_grad()
def orthogonality_error(matrices: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch"]:
    """Return ||X X^T - I||_F / sqrt(m) of each matrix, with m = min(rows, columns) and tall matrices transposed.

    0 for an orthogonal matrix, 1 for zero, and |s^2 - 1| when all singular values are s. In float32 or wider.
    """
    wide = matrices.to(torch.promote_types(matrices.dtype, torch.float32))
    x = wide.mT if wide.shape[-2] > wide.shape[-1] else wide
    size = x.shape[-2]
    excess = x @ x.mT - torch.eye(size, dtype=x.dtype, device=x.device)
    error: Tensor = torch.linalg.matrix_norm(excess) / size**0.5
    return error


@torch.no_grad()
def _finite(layers: Sequence[BlockState]) -> list[Tensor]:
    """Return whether the state of each layer after the call is finite, from one look at all of them."""
    floats = [[x for x in state.to_tensors().values() if x.is_floating_point()] for state in layers]
    # As numbers: with marks among them what is measured is put together one by one.
    found = largest_entries([x for of_one in floats for x in of_one]).isfinite().float()
    return [of_one.amin() for of_one in torch.split(found, [len(of_one) for of_one in floats])]


@torch.no_grad()
def _orthogonality(state: BlockState, rule: MemoryRule) -> dict[str, Tensor]:
    """Return how orthogonal the next write to the state after the call would be, where it is orthogonalised."""
    found = {}
    if rule.orthogonalised:
        # The last momentum only: one iteration a row and head, where the call itself made one for every token.
        memory = state.memory.memory
        memories = memory.memories if isinstance(memory, HierarchicalState) else (memory,)
        written = [update(rule, momentum) for of_one in memories for momentum in of_one.momentum]
        found["newton_schulz_error"] = torch.stack([orthogonality_error(x).amax() for x in written]).amax()
    return found


def _gate_values(table: Measurements, config: ModelConfig) -> Measurements:
    """Return the variance of the gate that acts, and the share of the memory before the floor."""
    if "gate_std" not in table:
        return {}
    found = {"gate_variance": table["gate_std"] ** 2}
    kind = "source" if config.block == "lmm" else config.gate.kind
    if kind in ("source", "convex", "convex_memory") and not config.disable_memory:
        mean = table["raw_gate_mean"]
        found["memory_share"] = 1.0 - mean if kind == "convex" else mean
    return found
