"""A port: `declare` says what it has, `run` answers one operation on numpy arrays.

atlas port check my_port:MyPort
atlas conform --port my_port:MyPort --level L0
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import PROFILES, SPEC_VERSION, Array, Declaration, Numerics, Op, UnsupportedError, round_to_bf16


def l2_normalize(config: Mapping[str, Any], x: Mapping[str, Array]) -> dict[str, Array]:
    """Return x / sqrt(|x|^2 + eps^2), docs/spec/normalize.md."""
    vectors, eps = x["x"], config["eps"]
    largest = np.maximum(np.abs(vectors).max(-1, keepdims=True, initial=0.0), eps)  # its square may be no number
    vectors, eps = vectors / largest, eps / largest
    return {"y": vectors / np.sqrt((vectors**2).sum(-1, keepdims=True) + eps**2)}


FUNCTIONS = {Op.L2_NORMALIZE: l2_normalize}
"""What the port has. The next operation is a function and a line here; `atlas port table` has its arrays."""


class MyPort:
    """Yours."""

    def declare(self) -> Declaration:
        """Say what is there; what is not is counted as absent and never asked."""
        return Declaration(
            name="my-port",
            version="0.1",
            language="python",
            spec_version=SPEC_VERSION,
            operations=frozenset(FUNCTIONS),
            capabilities=frozenset(),
            numerics=PROFILES,
            matmul_precision="full",
        )

    def run(
        self,
        op: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> dict[str, Array]:
        """Answer in the precision asked for; activations of `bf16_io` are rounded once, on their way out."""
        if op not in FUNCTIONS:
            raise UnsupportedError(f"no operation '{op}'", capability=op)
        outputs = FUNCTIONS[Op(op)](config, inputs)
        for name, value in outputs.items():
            role = OPERATIONS[Op(op)].role(name)
            outputs[name] = np.asarray(value, np.int64 if role == "index" else numerics.dtype)
            if role == "activation" and numerics is Numerics.BF16_IO:
                outputs[name] = round_to_bf16(outputs[name])
        return outputs
