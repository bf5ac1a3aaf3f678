"""A scan with a checkpoint in it, by the reference."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import torch
from safetensors.torch import load, save
from torch import Tensor

from atlas_ref.memory.recurrent import memory_recurrent
from atlas_ref.memory.state import MemoryState
from spec_tests.port import Op
from spec_tests.ports.reference.memory import TOKENS, memory, pack, unpack
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _checkpoint_round_trip(config: Config, x: Tensors) -> Tensors:
    """Scan, write the state to a safetensors file in memory, read it into a template, scan on."""
    scan, split = partial(memory, memory_recurrent), config["split"]
    rule = {key: value for key, value in config.items() if key != "split"}
    first = scan(rule, x | {name: x[name][:, :split] for name in TOKENS})
    template = _memory_state(config, x)
    saved = save({name: value.contiguous() for name, value in _memory_state(config, x | first).to_tensors().items()})
    restored = template.from_tensors(load(saved))
    rest = x | {name: x[name][:, split:] for name in TOKENS} | _memory_tensors(restored)
    second = scan(rule, rest)
    return second | {"reads": torch.cat([first["reads"], second["reads"]], dim=1)}


def _memory_state(config: Config, x: Tensors) -> MemoryState:
    widths = x["keys"].shape[-1], x["values"].shape[-1]
    weights, momentum, anchor = (
        unpack(config["architecture"], x[name], *widths) for name in ("weights", "momentum", "anchor")
    )
    return MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], x["position"])


def _memory_tensors(state: MemoryState) -> dict[str, Tensor]:
    packed = {name: pack(getattr(state, name)) for name in ("weights", "momentum", "anchor")}
    return packed | {name: getattr(state, name) for name in ("window_keys", "window_values", "position")}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.CHECKPOINT_ROUND_TRIP: _checkpoint_round_trip}
