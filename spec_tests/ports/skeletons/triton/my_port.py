"""A port by kernels in Triton: `declare` says what it has, `run` answers one operation on numpy arrays.

atlas port check my_port:MyPort
atlas conform --port my_port:MyPort --level L0

On a GPU Triton compiles the kernels; elsewhere it interprets them, which is slow and shows the same numbers.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import PROFILES, SPEC_VERSION, Array, Declaration, Numerics, Op, UnsupportedError, round_to_bf16

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Read where a kernel is declared.


def _normalize_row(x: tl.tensor, y: tl.tensor, eps: tl.tensor, width: tl.tensor, WIDTH: tl.constexpr) -> None:
    """Write x / sqrt(|x|^2 + eps^2) of the row of this program; `eps` is an address, for a number comes as float32."""
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, WIDTH)
    there = column < width
    values = tl.load(x + row * width + column, mask=there, other=0.0)
    least = tl.load(eps)
    largest = tl.maximum(tl.max(tl.abs(values)), least)  # its square may be no number
    scaled, least = values / largest, least / largest
    length = tl.sqrt(tl.sum(scaled * scaled) + least * least)
    tl.store(y + row * width + column, scaled / length, mask=there)


normalize_row: Any = triton.jit(_normalize_row)


def l2_normalize(config: Mapping[str, Any], x: Mapping[str, Array]) -> dict[str, Array]:
    """Return x / sqrt(|x|^2 + eps^2), docs/spec/normalize.md: a program a row."""
    vectors = torch.tensor(x["x"], device=DEVICE)
    found, width = torch.empty_like(vectors), vectors.shape[-1]
    eps = torch.full((1,), config["eps"], dtype=vectors.dtype, device=DEVICE)
    if vectors.numel():
        rows = vectors.numel() // width
        normalize_row[(rows,)](vectors, found, eps, width, WIDTH=triton.next_power_of_2(width))
    return {"y": found.cpu().numpy()}


FUNCTIONS = {Op.L2_NORMALIZE: l2_normalize}
"""What the port has. The next operation is a function and a line here; `atlas port table` has its arrays."""


class MyPort:
    """Yours."""

    def declare(self) -> Declaration:
        """Say what is there; what is not is counted as absent and never asked."""
        return Declaration(
            name="my-port",
            version="0.1",
            language="python (triton)",
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
