"""The kernels of this repository behind the port contract: the fast forms of the memory, judged like any other.

    atlas conform --port spec_tests.ports.kernels:TritonPort --level L3            TritonOrthogonalPort: Newton-Schulz
                                                                               TritonMlpPort: two layers
                                                                               TritonAttentionPort: attention
    atlas conform --port spec_tests.ports.kernels:CpuPort --level L3               CpuMlpPort: two layers

On a GPU Triton compiles its kernels; elsewhere it interprets them, which takes a hundred times as long and computes the
same. Those for a CPU the port compiles itself, apart from those
that `atlas kernels build` compiled.
What the kernels do not know (`atlas_ref.memory.kernels.known`) is unsupported here: the reference does not answer in
their stead.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from atlas_ref.blocks.kernels.attended import Past, Shape
from atlas_ref.functional.window import latest
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels import cpu_library
from atlas_ref.memory.kernels.known import supports, supports_mlp, supports_on_cpu
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import MemoryRule
from atlas_ref.places import user_cache
from spec_tests.port import GRADIENTS, Array, Declaration, Numerics, Op, Scalar, UnsupportedError
from spec_tests.ports.reference import ReferencePort
from spec_tests.ports.reference.memory import STATE, memory
from spec_tests.ports.reference.tensors import Config, Function, Tensors

LINEAR: Final = frozenset({"titans", "omega", "delta"})
ORTHOGONALISED: Final = frozenset({"atlas", "atlas_appendix"})
DEVICE: Final = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    # Read where a kernel is declared, and none is before the first question.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def by_kernels(rule: MemoryRule, keys: Tensor, values: Tensor, *given: Any) -> MemoryOutput:
    """Return what `memory_chunked` does, by kernels or not at all; a call of one token has a form of its own."""
    width, past = min(rule.chunk, keys.shape[1]), given[3].window_keys.shape[1]
    known = any(knows(rule, keys, values, width + past) for knows in (supports, supports_mlp))
    if keys.shape[1] > 1 and not known:
        raise UnsupportedError("the kernels have no form of this memory", capability="kernels")
    return memory_chunked(rule, keys, values, *given, kernels="triton")


def by_cpu_kernels(path: Path, rule: MemoryRule, keys: Tensor, values: Tensor, *given: Any) -> MemoryOutput:
    """Return what `memory_chunked` does, by the kernels for a CPU at `path` or not at all."""
    if keys.shape[1] and not supports_on_cpu(rule, keys, values):
        raise UnsupportedError("the kernels have no form of this memory", capability="kernels")
    with cpu_library.using(path):
        return memory_chunked(rule, keys, values, *given, kernels="cpu")


def _attention(config: Config, given: Tensors) -> Tensors:
    """Return attention over a window by kernels, of queries and keys that are turned by no angle."""
    from atlas_ref.blocks.kernels.attention import attention

    x = {name: value.to(DEVICE) for name, value in given.items()}
    queries, cache, dtype = x["queries"], Past(x["cache_keys"], x["cache_values"]), given["queries"].dtype
    batch, time, heads, dim = queries.shape
    if time == 0:
        return {name: given[name] for name in ("cache_keys", "cache_values")} | {"output": given["values"]}
    if dim % 2:
        # A component more of zeros changes no product, and the scale of the products is taken back.
        wide = {name: pad(given[name], (0, 1)) for name in given if name != "position"}
        wide["queries"] = wide["queries"].float() * ((dim + 1) / dim) ** 0.5
        found = _attention(config, {**given, **wide})
        found = {name: value[..., :dim] for name, value in found.items()}
        return {**found, "output": found["output"].to(dtype)}
    asked = torch.stack([queries, x["keys"], x["values"]], 2).float()
    fixed = torch.stack([torch.zeros_like(x["persistent_keys"]), x["persistent_keys"], x["persistent_values"]], 1)
    none = torch.zeros(batch, time, 1, dim // 2, device=DEVICE)
    shape = Shape(heads, dim, config["window"])
    output, keys = attention(asked.flatten(2), fixed.flatten(1), cache, x["position"], (none + 1, none), shape, None)
    after = {"cache_keys": latest(cache.keys, keys), "cache_values": latest(cache.values, asked[:, :, 2])}
    return {name: value.cpu() for name, value in {**after, "output": output.to(dtype)}.items()}


def _on_device(config: Config, inputs: Tensors) -> Tensors:
    """Answer on the device of the kernels."""
    found = memory(by_kernels, config, {name: x.to(DEVICE) for name, x in inputs.items()})
    return {name: x.cpu() for name, x in found.items()}


class _Interpreted(ReferencePort):
    """Kernels that Triton may interpret, with numpy, which warns of infinities in places that no result has."""

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run without such warnings."""
        with np.errstate(all="ignore"):
            return super().run(op, config, inputs, numerics=numerics, taps=taps)


class TritonKernels(_Interpreted):
    """All kernels in Triton, in single precision; what they do not know is unsupported."""

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


class TritonAttentionPort(_Interpreted):
    """The kernels of attention over a window; an odd width is given a component of zeros."""

    functions: Mapping[Op, Function] = {Op.SLIDING_WINDOW_ATTENTION: _attention}
    taps: Mapping[Op, Function] = {}

    def declare(self) -> Declaration:
        """Declare attention with its gradients."""
        return replace(
            super().declare(),
            name="atlas_ref kernels (triton, attention)",
            language="python (triton)",
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS}),
            numerics=(Numerics.F32, Numerics.BF16_IO),
        )


class TritonPort(TritonKernels):
    """The kernels of a linear memory, which know all of it that is declared."""

    def declare(self) -> Declaration:
        """Declare the parallel form of a matrix that is written as it is."""
        return replace(super().declare(), only={"architecture": frozenset({"matrix"}), "rule": LINEAR})


def _widened(config: Config, inputs: Tensors) -> Tensors:
    """Answer on the device of the kernels, with as many features as values at least.

    Features of zeros are columns of zeros in M, S and every gradient, and NS([S, 0]) = [NS(S), 0].
    """
    features, values = inputs["keys"].shape[-1], inputs["values"].shape[-1]
    more = values - features
    if more <= 0:
        return _on_device(config, inputs)

    def wide(packed: Tensor) -> Tensor:
        return pad(torch.unflatten(packed, -1, (values, features)), (0, more)).flatten(-2)

    matrices = {name: wide(inputs[name]) for name in ("initial", "weights", "momentum", "anchor")}
    vectors = {name: pad(inputs[name], (0, more)) for name in ("keys", "queries", "window_keys")}
    found = _on_device(config, inputs | matrices | vectors)
    narrow = {
        name: torch.unflatten(found[name], -1, (values, values))[..., :features].flatten(-2) for name in STATE[:3]
    }
    return found | narrow | {"window_keys": found["window_keys"][..., :features]}


class TritonOrthogonalPort(TritonKernels):
    """The kernels under Newton-Schulz, which know no more values than features: zeros are given for what is missing."""

    functions: Mapping[Op, Function] = dict.fromkeys((Op.MEMORY_CHUNKED, Op.MEMORY_GRAD), _widened)

    def declare(self) -> Declaration:
        """Declare the parallel form of a matrix that is written orthogonalised."""
        only = {"architecture": frozenset({"matrix"}), "rule": ORTHOGONALISED}
        name = "atlas_ref kernels (triton, newton-schulz)"
        return replace(super().declare(), name=name, only=only)


class TritonMlpPort(TritonKernels):
    """The kernels of the memory of two layers, which is not read at its anchor."""

    def declare(self) -> Declaration:
        """Declare the parallel form of this memory, with its gradients."""
        only = {"architecture": frozenset({"mlp"}), "rule": LINEAR}
        return replace(super().declare(), name="atlas_ref kernels (triton, mlp)", only=only)


def build_for_cpu() -> Path:
    """Return the kernels for a CPU, apart from those that the user built, of which nothing here may depend."""
    return cpu_library.build(user_cache() / "ports")


class CpuPort(ReferencePort):
    """The matrix memory on a CPU, in single and double precision; UserError where nothing can be compiled."""

    taps: Mapping[Op, Function] = {}

    def __init__(self) -> None:
        super().__init__()
        answer = partial(memory, partial(by_cpu_kernels, build_for_cpu()))
        self.functions: Mapping[Op, Function] = dict.fromkeys((Op.MEMORY_CHUNKED, Op.MEMORY_GRAD), answer)

    def declare(self) -> Declaration:
        """Declare the parallel form of a matrix memory, with its gradients."""
        return replace(
            super().declare(),
            name="atlas_ref kernels (cpu)",
            language="c++",
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS}),
            numerics=(Numerics.F64, Numerics.F32, Numerics.BF16_IO),
            only={"architecture": frozenset({"matrix"})},
        )


class CpuMlpPort(CpuPort):
    """The memory of two layers on a CPU, which has no Newton-Schulz."""

    def declare(self) -> Declaration:
        """Declare the parallel form of this memory, with its gradients."""
        only = {"architecture": frozenset({"mlp"}), "rule": LINEAR}
        return replace(super().declare(), name="atlas_ref kernels (cpu, mlp)", only=only)
