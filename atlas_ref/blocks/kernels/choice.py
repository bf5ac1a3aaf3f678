"""Which form of what a block does beside its memory runs: the reference, or kernels in Triton (`model.kernels`)."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from atlas_ref.blocks.kernels.attended import Past
from atlas_ref.functional.polynomial import Basis
from atlas_ref.functional.slot_memory import Decide
from atlas_ref.memory.kernels.choice import Kernels, chosen, interprets

Rows = ModuleType
"""`blocks.kernels.rows`."""
Attention = Callable[..., tuple[Tensor, Tensor]]
"""Attention from what is projected, with the arguments of `blocks.kernels.attention.attention`."""
Query = Callable[..., tuple[Tensor, Past]]
"""Attention of a call of one token, with the arguments of `blocks.kernels.one_query.one_query`."""
Token = Callable[..., Any]
"""What a call of one token brings to its memory, with the arguments of `blocks.kernels.token_front.token_front`."""
Features = Callable[..., Tensor]
"""Features of vectors, with the arguments of `blocks.kernels.features.second_degree`."""
MadeGates = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
"""Gates of a memory from what was projected, with the arguments of `blocks.kernels.gate_kernels.gates`."""
MOST_SLOTS = 16384
"""Slots whose places and times a program holds."""
MOST_ENTRIES = 256
"""Entries of a vector that is lifted."""
MOST_COMPONENTS = 4096
"""Components of a token that a program holds."""
WIDEST = {torch.float32: 64, torch.bfloat16: 128, torch.float16: 128}
"""Widest heads whose tiles fit on the chip, by the dtype of queries, keys and values."""
WIDEST_ALONE = 128
"""Widest heads of a call of one token, whose keys no product takes."""


def kernel_attention(kernels: Kernels, projected: Tensor, dim: int) -> Attention | None:
    """Return attention by kernels, None where the reference runs.

    That runs a call of one token, which may have `kernel_query`, heads too wide, and a width that is odd.
    """
    if projected.shape[1] == 1 or projected.numel() == 0 or chosen(kernels, projected.device) != "triton":
        return None
    # The interpreter has no products of bfloat16.
    narrow = interprets() and projected.dtype == torch.bfloat16
    if dim % 2 or dim > WIDEST.get(projected.dtype, 0) or narrow:
        return None
    from atlas_ref.blocks.kernels import attention

    return attention.attention


def kernel_query(kernels: Kernels, projected: Tensor, past: Past, dim: int) -> Query | None:
    """Return attention of a call of one token by a kernel, None where the reference runs: where there are gradients."""
    if chosen(kernels, projected.device) != "triton" or torch.is_grad_enabled() or projected.shape[1] != 1:
        return None
    if {projected.dtype, past.keys.dtype} != {torch.float32} or projected.numel() == 0 or dim > WIDEST_ALONE:
        return None
    from atlas_ref.blocks.kernels import one_query

    return one_query.one_query


def kernel_gates(kernels: Kernels, hidden: Tensor) -> MadeGates | None:
    """Return the gates of a memory by kernels, None where the reference runs, as for one token."""
    known = hidden.dtype in (torch.float32, torch.bfloat16) and hidden.numel() > 0 and hidden.shape[1] > 1
    if not known or chosen(kernels, hidden.device) != "triton":
        return None
    from atlas_ref.blocks.kernels import gate_kernels

    return gate_kernels.gates


def kernel_rows(kernels: Kernels, x: Tensor) -> Rows | None:
    """Return what does with each token by itself what kernels know, None where the reference runs."""
    if chosen(kernels, x.device) != "triton":
        return None
    if x.dtype not in (torch.float32, torch.bfloat16) or x.numel() == 0 or x.shape[-1] > MOST_COMPONENTS:
        return None
    from atlas_ref.blocks.kernels import rows

    return rows


def kernel_token(kernels: Kernels, projected: Tensor, degree: int, basis: Basis) -> Token | None:
    """Return what a call of one token brings to its memory by a kernel, None where the reference runs: of degrees above
    two, and where there are gradients."""
    if torch.is_grad_enabled() or projected.shape[1] != 1 or projected.numel() == 0 or degree > 2:
        return None
    if basis not in ("monomial_weighted", "monomial") or projected.dtype != torch.float32:
        return None
    if chosen(kernels, projected.device) != "triton":
        return None
    from atlas_ref.blocks.kernels import token_front

    return token_front.token_front


def kernel_slots(kernels: Kernels, told: Tensor, slots: int) -> Decide | None:
    """Return what decides which token stands in which slot by a kernel, None where the reference runs."""
    known = told.dtype in (torch.float32, torch.bfloat16, torch.float16) and told.numel() > 0 and slots <= MOST_SLOTS
    if not known or chosen(kernels, told.device) != "triton":
        return None
    from atlas_ref.blocks.kernels import slots as by_kernel

    return by_kernel.decided


def kernel_features(kernels: Kernels, x: Tensor, degree: int, basis: Basis) -> Features | None:
    """Return the polynomial features of the second degree by kernels, None where the reference runs."""
    known = degree == 2 and basis in ("monomial_weighted", "monomial") and x.dtype in (torch.float32, torch.bfloat16)
    if not known or x.numel() == 0 or x.shape[-1] > MOST_ENTRIES or chosen(kernels, x.device) != "triton":
        return None
    from atlas_ref.blocks.kernels import features

    return features.second_degree
