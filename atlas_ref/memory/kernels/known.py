"""Which memories kernels know, and up to which sizes: `choice` asks before it takes them.

A case that kernels do not know is not given to them. The sides are what a program holds on a chip that is large enough.
"""

from math import log2, prod

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.newton_schulz import step_coefficients
from atlas_ref.memory.kernels.cpu_library import SUFFIXES
from atlas_ref.memory.rules import ArchitectureName, MemoryRule

MOST_VALUES = 64
MOST_SLOTS = 128
"""Sides of what a program holds on the chip."""
MOST_OF_MLP = 64
"""Features and values of the memory of two layers, of which a program holds some ten squares of these sides."""
MOST_ALONE = 1024
"""Features that one program holds of a row of M, where it has no more to hold."""
MOST_FORWARD, LEAST_SLOTS = 160, 16
"""Features and slots that one token under Newton-Schulz has room for in float32, which needs no way back."""
HALF_GROWTH = 2.0**13
"""How much the steps of Newton-Schulz may enlarge a matrix of norm one that is to stay within half precision."""


def most_features(slots: int) -> int:
    """Return the widest features whose keys of a segment fit beside M: fewer where a product of three holds parts too.

    What stands here was compiled and run on a card that is LARGE.
    """
    if slots > 64:
        return 64
    return 128 if torch.get_float32_matmul_precision() == "highest" else 256


def near(a: float) -> float:
    """Return the power of two nearest to a, as its logarithm has it."""
    return 2.0 ** round(log2(a))


def halves(rule: MemoryRule) -> bool:
    """Return whether products under Newton-Schulz are of half precision.

    It has the ten bits of tf32, which is thus asked for; what would not fit is divided before.
    """
    growth = prod(near(a) for a, _, _ in step_coefficients(rule.coefficients, rule.newton_schulz_steps))
    return torch.get_float32_matmul_precision() != "highest" and growth <= HALF_GROWTH


def most_orthogonal(rule: MemoryRule) -> int:
    """Return the widest features under Newton-Schulz: a program holds several matrices of each token that writes."""
    return 256 if halves(rule) else 64


def supports_on_cpu(
    rule: MemoryRule, keys: Float[Tensor, "*tokens features"], values: Float[Tensor, "*tokens values"]
) -> bool:
    """Return whether kernels for a CPU know this memory: a matrix, or two layers, written by descent of `l2`.

    Under Newton-Schulz it is a matrix; two layers are not read at their anchor.
    """
    if keys.dtype != values.dtype or keys.dtype not in SUFFIXES or keys.numel() == 0:
        return False
    if rule.orthogonalised:
        return is_plain(rule, "matrix") and rule.coefficients != "polar_express_paper"
    return is_plain(rule, "matrix") or (is_plain(rule, "mlp") and rule.read != "anchor")


def supports(
    rule: MemoryRule, keys: Float[Tensor, "*tokens features"], values: Float[Tensor, "*tokens values"], slots: int
) -> bool:
    """Return whether kernels know this memory: a matrix written by descent of `l2`, in tiles of the chip.

    `slots` are the tokens of a segment with those of the window before it. A case that kernels do not know is not given
    to them.
    """
    known = {torch.float32} if rule.orthogonalised else {torch.float32, torch.bfloat16}
    if not {keys.dtype, values.dtype} <= known or keys.numel() == 0:
        return False
    return fits(rule, keys.shape[-1], values.shape[-1], slots)


def supports_mlp(
    rule: MemoryRule, keys: Float[Tensor, "*tokens features"], values: Float[Tensor, "*tokens values"], slots: int
) -> bool:
    """Return whether kernels know this memory of two layers: written by descent of `l2`, and not read at its anchor.

    `slots` are as in `supports`.
    """
    if not {keys.dtype, values.dtype} <= {torch.float32, torch.bfloat16} or keys.numel() == 0:
        return False
    if not is_plain(rule, "mlp") or rule.orthogonalised or rule.read == "anchor":
        return False
    return max(keys.shape[-1], values.shape[-1]) <= MOST_OF_MLP and slots <= MOST_SLOTS


def fits(rule: MemoryRule, features: int, width: int, slots: int) -> bool:
    """Return whether kernels know a memory of these sizes (`supports`)."""
    if not is_plain(rule, "matrix") or slots > MOST_SLOTS:
        return False
    if not rule.orthogonalised:
        return features <= most_features(slots) and width <= MOST_VALUES
    return is_square(rule, features, width) and features <= most_orthogonal(rule)


def is_square(rule: MemoryRule, features: int, width: int) -> bool:
    """Return whether the Gram matrix is that of the rows, the smaller side, and the steps are known."""
    return width <= min(features, MOST_VALUES) and rule.coefficients != "polar_express_paper"


def is_plain(rule: MemoryRule, architecture: ArchitectureName) -> bool:
    """Return whether a memory is that of the equations of `rules`, without what other axes change."""
    axes = (rule.architecture, rule.bias.name, rule.link.name, rule.gate_axis, rule.retention, rule.at_retained)
    return axes == (architecture, "l2", "identity", "head", "dual", False)
