"""What adapters of packages in torch share: tensors in, tensors out, in the precision of the profile."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import torch
from torch import Tensor

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation
from spec_tests.port import (
    GRADIENTS,
    PROFILES,
    SPEC_VERSION,
    Array,
    Declaration,
    Feature,
    Numerics,
    Op,
    Scalar,
    UnsupportedError,
    round_to_bf16,
)

Config = Mapping[str, Any]
Tensors = dict[str, Tensor]
Function = Callable[[Config, Tensors], Tensors]

SINGLE: Final = (Numerics.F32, Numerics.BF16_IO)
"""The profiles of code that turns whatever it gets into float32."""


class TorchPort:
    """A package behind the port contract: `functions` answer, all else is what they have.

    `gradients`: what is declared can be differentiated by autograd, through the package's own code.
    """

    distribution = ""
    numerics: tuple[Numerics, ...] = PROFILES
    gradients = False
    matmul_precision = "full"
    only: Mapping[str, frozenset[str]] = {}
    longest: Mapping[str, int] = {}
    without: frozenset[str] = frozenset()

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return what the package has."""
        raise NotImplementedError

    def declare(self) -> Declaration:
        """Declare what the package has code for."""
        return Declaration(
            name=self.distribution,
            version=version(self.distribution),
            language="python (torch)",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS} if self.gradients else ()),
            numerics=self.numerics,
            matmul_precision=self.matmul_precision,
            only=self.only,
            longest=self.longest,
            without=self.without,
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
        """Answer one operation, and with cotangents among the inputs its derivatives; there are no taps."""
        del taps
        prefix = "cotangent."
        asked = {name.removeprefix(prefix): torch.tensor(x) for name, x in inputs.items() if name.startswith(prefix)}
        if op not in self.functions or (asked and not self.gradients):
            raise UnsupportedError(f"{self.distribution} has no {op} here", capability=op)
        row = OPERATIONS[Op(op)]
        torch.manual_seed(0)  # Constructors draw weights, which the adapter then replaces.
        tensors = {name: torch.tensor(value) for name, value in inputs.items() if not name.startswith(prefix)}
        function = partial(self.functions[row.op], config)
        found = with_gradients(row, function, tensors, asked) if asked else function(tensors)
        outputs = {name: value.detach().numpy() for name, value in found.items()}
        rounded = numerics is Numerics.BF16_IO
        return {
            name: round_to_bf16(value) if rounded and _is_activation(row, name) else value
            for name, value in outputs.items()
        }


def _is_activation(row: Operation, name: str) -> bool:
    return row.role(name.removeprefix("grad.")) == "activation"


def with_gradients(
    row: Operation, function: Callable[[Tensors], Tensors], inputs: Tensors, cotangents: Tensors
) -> Tensors:
    """Return what a function of tensors gives, and as `grad.NAME` the derivatives by every input that is no index."""
    leaves = {tensor.name: inputs[tensor.name].requires_grad_() for tensor in row.inputs if tensor.role != "index"}
    outputs = function(inputs)
    loss = torch.stack([(outputs[name] * cotangent).sum() for name, cotangent in cotangents.items()]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return outputs | {f"grad.{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}


def values(**names: str) -> dict[str, frozenset[str]]:
    """Return the `only` of a declaration from words separated by blanks."""
    return {name: frozenset(words.split()) for name, words in names.items()}


MEMORY: Final = values(architecture="matrix", chunk="1", step_scale="literal")
"""What the plainest memory has: one matrix, gradients taken at the memory before, no window."""
NO_RANGE: Final = frozenset({Feature.RANGE})
