"""What adapters of packages in torch share: tensors in, tensors out, in the precision of the profile."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

import torch
from torch import Tensor

from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import (
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
    """A package behind the port contract: `functions` answer, all else is what they have."""

    distribution = ""
    numerics: tuple[Numerics, ...] = PROFILES
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
            capabilities=frozenset(),
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
        """Answer one operation; the package shows no intermediate values."""
        del taps
        if op not in self.functions or any(name.startswith("cotangent.") for name in inputs):
            raise UnsupportedError(f"{self.distribution} has no {op} here", capability=op)
        torch.manual_seed(0)  # Constructors draw weights, which the adapter then replaces.
        row = OPERATIONS[Op(op)]
        found = self.functions[row.op](config, {name: torch.tensor(value) for name, value in inputs.items()})
        outputs = {name: value.detach().numpy() for name, value in found.items()}
        rounded = numerics is Numerics.BF16_IO
        return {
            name: round_to_bf16(value) if rounded and row.role(name) == "activation" else value
            for name, value in outputs.items()
        }


def values(**names: str) -> dict[str, frozenset[str]]:
    """Return the `only` of a declaration from words separated by blanks."""
    return {name: frozenset(words.split()) for name, words in names.items()}


MEMORY: Final = values(architecture="matrix", chunk="1", step_scale="literal")
"""What the plainest memory has: one matrix, gradients taken at the memory before, no window."""
NO_RANGE: Final = frozenset({Feature.RANGE})
