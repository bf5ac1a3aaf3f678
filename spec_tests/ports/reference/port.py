"""The reference as a port: numpy in and out, derivatives by autograd; the functions stand in the files beside this one.

Functions take and return named tensors in the precision of the run.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from atlas_ref import __version__
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation
from spec_tests.port import (
    BLOCK_GRADIENTS,
    GRADIENTS,
    PROFILES,
    SPEC_VERSION,
    Array,
    Declaration,
    Numerics,
    Op,
    Scalar,
    UnsupportedError,
)
from spec_tests.ports.assembled import assembled
from spec_tests.ports.reference.tensors import Function, Tensors


class ReferencePort:
    """`atlas_ref` behind the port contract."""

    functions: Mapping[Op, Function] = assembled(__package__, "FUNCTIONS")
    taps: Mapping[Op, Function] = assembled(__package__, "TAPS")
    """What happens inside, for those who ask: computed beside the operation, never in its stead."""

    def declare(self) -> Declaration:
        """Declare every operation implemented here, at every precision, with gradients."""
        return Declaration(
            name="atlas_ref",
            version=__version__,
            language="python (torch)",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS, BLOCK_GRADIENTS}),
            numerics=PROFILES,
            matmul_precision="full",
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
        """Run one operation; with cotangents among the inputs, return the derivatives too."""
        if op not in self.functions:
            raise UnsupportedError(f"the reference has no operation '{op}'", capability=op)
        row = OPERATIONS[Op(op)]
        function = partial(self.functions[row.op], config)
        tensors = {tensor.name: _tensor(row, tensor.name, inputs[tensor.name], numerics) for tensor in row.inputs}
        cotangents = {
            name.removeprefix("cotangent."): torch.tensor(value)
            for name, value in inputs.items()
            if name.startswith("cotangent.")
        }
        with torch.no_grad():
            traces = self.taps[row.op](config, tensors) if taps and row.op in self.taps else {}
            shown = {name: trace for name, trace in traces.items() if name in taps}
            if not cotangents:
                return _arrays(function(tensors) | shown, numerics)
        return _arrays(_with_gradients(function, tensors, cotangents) | shown, numerics)


def _tensor(row: Operation, name: str, value: Array, numerics: Numerics) -> Tensor:
    tensor = torch.tensor(value)
    return tensor.bfloat16() if numerics is Numerics.BF16_IO and row.role(name) == "activation" else tensor


def _arrays(tensors: Tensors, numerics: Numerics) -> dict[str, Array]:
    """Convert to numpy; bfloat16 has no numpy type and travels as float32."""
    return {
        name: tensor.detach().numpy() if not tensor.is_floating_point() else _floats(tensor, numerics)
        for name, tensor in tensors.items()
    }


def _floats(tensor: Tensor, numerics: Numerics) -> Array:
    array: Array = tensor.detach().to(torch.float64 if numerics is Numerics.F64 else torch.float32).numpy()
    return array


def _with_gradients(function: Callable[[Tensors], Tensors], inputs: Tensors, cotangents: Tensors) -> Tensors:
    leaves = {name: x.requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
    outputs = function(inputs)
    loss = torch.stack([(outputs[name] * cotangent).sum() for name, cotangent in cotangents.items()]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return outputs | {f"grad.{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
