"""The kernels of this repository behind the port contract: the fast form of the memory, judged like any other.

    atlas conform --port spec_tests.ports.kernels:TritonPort --level L3 --numerics f32

On a GPU they are compiled; elsewhere Triton interprets them, which takes a hundred times as long and computes the same.
What the kernels do not know (`atlas_ref.memory.kernels.choice`) is unsupported here: the reference does not answer in
their stead.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels.choice import supports
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import MemoryRule
from spec_tests.port import GRADIENTS, Declaration, Numerics, Op, UnsupportedError
from spec_tests.ports.reference import ReferencePort
from spec_tests.ports.reference.memory import memory
from spec_tests.ports.reference.tensors import Config, Function, Tensors

DEVICE: Final = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    # Read where a kernel is declared, and none is before the first question.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def by_kernels(rule: MemoryRule, keys: Tensor, values: Tensor, *given: Any) -> MemoryOutput:
    """Return what `memory_chunked` does, by kernels or not at all; a call of one token has a form of its own."""
    state = given[3]
    slots = min(rule.chunk, keys.shape[1]) + state.window_keys.shape[1]
    if keys.shape[1] > 1 and not supports(rule, keys, values, slots):
        raise UnsupportedError("the kernels have no form of this memory", capability="kernels")
    return memory_chunked(rule, keys, values, *given, kernels="triton")


def _on_device(config: Config, inputs: Tensors) -> Tensors:
    """Answer on the device of the kernels."""
    found = memory(by_kernels, config, {name: x.to(DEVICE) for name, x in inputs.items()})
    return {name: x.cpu() for name, x in found.items()}


class TritonPort(ReferencePort):
    """The kernels in Triton, in single precision."""

    functions: Mapping[Op, Function] = dict.fromkeys((Op.MEMORY_CHUNKED, Op.MEMORY_GRAD), _on_device)
    taps: Mapping[Op, Function] = {}

    def declare(self) -> Declaration:
        """Declare the parallel form of a matrix memory, with its gradients."""
        return replace(
            super().declare(),
            name="atlas_ref kernels (triton)",
            language="python (triton)",
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS}),
            numerics=(Numerics.F32, Numerics.BF16_IO),
            only={"architecture": frozenset({"matrix"})},
        )
