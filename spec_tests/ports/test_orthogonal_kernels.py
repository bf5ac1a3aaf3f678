"""Newton-Schulz in Triton's kernels: half precision, blocks of features, and shards, against the loop in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.state import MemoryState
from spec_tests.chapters.memory_chunked.grid import call, cotangents, gradients
from spec_tests.chapters.memory_step.calls import worst
from spec_tests.contract.driver import run_with_gradients
from spec_tests.package.memory import ttl_loop
from spec_tests.port import Numerics, Op
from spec_tests.ports.reference import ReferencePort
from spec_tests.ports.test_kernels_port import PLAIN, ROUNDING, kernels


def test_newton_schulz_in_half_precision_errs_as_its_ten_bits_do_and_features_may_come_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kills: what is divided to fit and not multiplied back; a sum over one block of features; a tail left out."""
    for size in ("FEATURE_BLOCK", "FEATURES_AT_ONCE"):
        monkeypatch.setattr(f"atlas_ref.memory.kernels.orthogonal_given.{size}", 16)
    monkeypatch.setattr("atlas_ref.memory.kernels.run.KEPT", 0)
    torch.set_float32_matmul_precision("high")
    try:
        literal = {"rule": "atlas_appendix", "basis": "kronecker", "step_scale": "literal", "time": 2, "chunk": 2}
        config, inputs = call({**PLAIN, **literal}, seed=2)
        inputs = {name: value if name == "initial" else value[:1] for name, value in inputs.items()}
        # Twelve features of zero more, and gradients of any size.
        wide = {"keys", "queries", "window_keys"}
        inputs = {
            name: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(12, 0)]) if name in wide else x for name, x in inputs.items()
        }
        features = inputs["keys"].shape[-1] - 12
        for name in ("initial", "weights", "momentum", "anchor"):
            matrix = inputs[name].reshape(*inputs[name].shape[:-1], -1, features)
            inputs[name] = np.pad(matrix, [(0, 0)] * (matrix.ndim - 1) + [(12, 0)]).reshape(
                *inputs[name].shape[:-1], -1
            )
        asked = {name: 1e6 * x for name, x in cotangents(inputs, seed=0).items()}
        found = run_with_gradients(kernels.TritonKernels(), Op.MEMORY_CHUNKED, Numerics.F32, inputs, asked, **config)
        wanted = run_with_gradients(ReferencePort(), Op.MEMORY_SCAN, Numerics.F64, inputs, asked, **config)
        assert 1e-5 < worst(found.outputs, gradients(wanted)) < 5e-3
        # Two roundings; 1.3e-3 where starts and cotangents of the iterations are rounded beside what is multiplied.
        assert worst(found.outputs, {"grad.momentum_decay": wanted["grad.momentum_decay"]}) < 2.0**-10
    finally:
        torch.set_float32_matmul_precision("highest")


def by_kernels(*given: Any, **options: Any) -> MemoryOutput:
    """Return what `memory_chunked` does, where the kernels run, and back."""

    def at(device: torch.device | str, x: Any) -> Any:
        if isinstance(x, MemoryState):
            return x.map(lambda y: y.to(device))
        return tree_map_only(Tensor, lambda y: y.to(device), x)

    named = {name: at(kernels.DEVICE, x) for name, x in options.items()}
    found = memory_chunked(*(at(kernels.DEVICE, x) for x in given), **named, kernels="triton")
    return MemoryOutput(*(at("cpu", x) for x in found))


def test_a_shard_begins_with_what_it_inherits_under_newton_schulz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a border that the kernels run over; a share of the momentum that is not that of the row's crossing."""
    schedule = ttl_loop.Schedule(shard=2 * ttl_loop.CHUNK, warmup=1)
    config, inputs, waiting = ttl_loop.scheduled_case("atlas", "matrix", schedule, time=4, step_scale="mass")
    inputs["position"], inputs["reset"] = np.array([6, 6, 6]), 0 * inputs["reset"]
    inputs = {name: x if name == "initial" else x[:1] for name, x in inputs.items()}
    waiting = waiting[:1]
    single = {name: x.astype(np.float32) if x.dtype == np.float64 else x for name, x in inputs.items()}
    wanted = ttl_loop.make_call(config, inputs, waiting, schedule)
    exact = ttl_loop.gradients(wanted, reads := ttl_loop.outcome(wanted, chunked=False), seed=0)
    monkeypatch.setattr(ttl_loop, "memory_chunked", by_kernels)
    asked = ttl_loop.make_call(config, single, waiting, schedule)
    slopes = ttl_loop.gradients(asked, found := ttl_loop.outcome(asked, chunked=True), seed=0)
    for one, other in ((found, reads), (slopes, exact)):
        assert ttl_loop.worst_error(one, other)[0] < ROUNDING
