"""Newton-Schulz as the kernels of the orthogonalised memory do it, on its own.

    atlas conform --port spec_tests.ports.kernel_iteration:TritonIterationPort --level L0 --numerics f32,tf32

Under the rule `atlas_appendix` a token that writes nothing (eta = 0), forgets everything (alpha = 0) and keeps its
momentum (theta = 1) leaves M = NS(S). So the matrix is handed over as S of a call of two such tokens, and M is the
answer; the kernels know no more rows than columns, so a taller matrix is handed over as its transpose.
In `tf32` products are what `torch.set_float32_matmul_precision("high")` makes of them, half precision included.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from atlas_ref.memory.kernels.known import MOST_VALUES
from spec_tests.port import GRADIENTS, Array, Declaration, Numerics, Op, Scalar
from spec_tests.ports.kernels import DEVICE, TritonKernels, by_kernels
from spec_tests.ports.reference.memory import memory
from spec_tests.ports.reference.tensors import Config, Function, Tensors

TOKENS = 2
"""A call of one token has a form of its own, with no kernel of the iteration."""


def newton_schulz(config: Config, x: Tensors) -> Tensors:
    """Return M of a memory whose momentum is the matrix (module docstring)."""
    matrix = x["matrix"]
    batch, rows, columns = matrix.shape
    if not matrix.numel():
        return {"orthogonal": matrix}
    if rows > columns:
        tall = newton_schulz(config, {"matrix": matrix.mT})
        return {"orthogonal": tall["orthogonal"].mT}
    packed = matrix.reshape(batch, 1, rows * columns)
    gates = {"retention": 0.0, "momentum_decay": 1.0, "step_size": 0.0}
    given = {
        **{name: matrix.new_full((batch, TOKENS, 1), value) for name, value in gates.items()},
        **{name: matrix.new_zeros(batch, TOKENS, 1, columns) for name in ("keys", "queries")},
        "values": matrix.new_zeros(batch, TOKENS, 1, rows),
        "window_weights": matrix.new_ones(batch, TOKENS, 1, 1),
        "reset": torch.zeros(batch, TOKENS, dtype=torch.long),
        "initial": packed.detach()[0] * 0.0,
        "weights": packed.detach() * 0.0,
        "momentum": packed,
        "anchor": packed.detach() * 0.0,
        "window_keys": matrix.new_zeros(batch, 0, 1, columns),
        "window_values": matrix.new_zeros(batch, 0, 1, rows),
        # Not the first token of a document, which would begin without momentum.
        "position": torch.full((batch,), TOKENS),
    }
    rule = {"rule": "atlas_appendix", "architecture": "matrix", "chunk": TOKENS, "boundary": "carry", "read": "post"}
    numbers = {"loss_scale": 0.5, "step_scale": "literal", "momentum_max": 0.5}
    iteration = {"coefficients": config["coefficients"], "newton_schulz_steps": config["steps"]}
    found = memory(by_kernels, rule | numbers | iteration, {name: y.to(DEVICE) for name, y in given.items()})
    return {"orthogonal": found["weights"].reshape(batch, rows, columns).to(matrix.device)}


class TritonIterationPort(TritonKernels):
    """The iteration by kernels: three products of tf32 for one of float32, or as the hardware multiplies."""

    functions: Mapping[Op, Function] = {Op.NEWTON_SCHULZ: newton_schulz}

    def declare(self) -> Declaration:
        """Declare the iteration, with its gradients."""
        return replace(
            super().declare(),
            name="atlas_ref kernels (triton, iteration)",
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS}),
            numerics=(Numerics.F32, Numerics.TF32),
            matmul_precision="tf32",
            only={"start": frozenset({"add"}), "coefficients": frozenset({"quintic", "cubic", "polar_express"})},
            longest={"rows": MOST_VALUES, "columns": MOST_VALUES},
        )

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run the iteration in the precision of products that the profile names."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if numerics is Numerics.TF32 else "highest")
        try:
            return super().run(op, config, inputs, numerics=numerics, taps=taps)
        finally:
            torch.set_float32_matmul_precision(before)
