"""The smallest whole port: one operation in numpy. A pattern to copy, and what the cost of the protocol is measured on.

atlas port check spec_tests.process.example:ExamplePort
"""

from collections.abc import Mapping

import numpy as np

from spec_tests.port import (
    PROFILES,
    SPEC_VERSION,
    Array,
    Declaration,
    Numerics,
    Op,
    Scalar,
    UnsupportedError,
    round_to_bf16,
)


class ExamplePort:
    """A port of `l2_normalize` alone."""

    def declare(self) -> Declaration:
        """Declare one operation, at every precision, without gradients."""
        return Declaration(
            name="example",
            version="1",
            language="python (numpy)",
            spec_version=SPEC_VERSION,
            operations=frozenset({Op.L2_NORMALIZE}),
            capabilities=frozenset(),
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
        """Divide vectors by their regularised length sqrt(|x|^2 + eps^2) (docs/spec/normalize.md)."""
        del taps  # The operation has no intermediate values.
        if op != Op.L2_NORMALIZE:
            raise UnsupportedError(f"no operation '{op}'", capability=op)
        x, eps = inputs["x"], float(config["eps"])
        largest = np.maximum(np.abs(x).max(-1, keepdims=True, initial=0.0), eps)
        y = x / largest / np.sqrt(((x / largest) ** 2).sum(-1, keepdims=True) + (eps / largest) ** 2)
        return {"y": round_to_bf16(y) if numerics is Numerics.BF16_IO else y.astype(numerics.dtype)}
