"""How the kernels of the MLP memory are launched, and what they write to."""

import torch
from torch import Tensor

from atlas_ref.memory.kernels.held import Mixing, MixingGradients, Pairs, Sizes
from atlas_ref.memory.kernels.mlp_backward import mlp_backward
from atlas_ref.memory.kernels.mlp_forward import mlp_forward
from atlas_ref.memory.kernels.mlp_held import LAUNCH, Layers, States, Where, of_kernels


def forward(
    sizes: Sizes,
    where: Where,
    queries: Tensor,
    pairs: Pairs,
    mix: Mixing,
    first: Layers,
    states: States,
    measured: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the reads [batch, time, heads, values], A H^T of segments, and where asked for ||e||^2; fills `states`.

    Slots 0 and 1 of M, and 0 of S, have what was before the call (derived).
    """
    found, alike, errors = torch.empty_like(pairs.values), torch.empty_like(mix.inside), None
    if measured:
        errors = mix.inside.new_empty(sizes.segments, sizes.batch, sizes.heads, sizes.tokens)
    mlp_forward[(sizes.rows,)](
        queries,
        *pairs[:2],
        *mix,
        *where,
        *first,
        *states.m,
        *states.s,
        found,
        alike,
        found if errors is None else errors,
        *of_kernels(sizes, first.inner.shape[-2]),
        measured,
        **LAUNCH,
    )
    return found, alike, errors


def backward(
    sizes: Sizes,
    where: Where,
    queries: Tensor,
    pairs: Pairs,
    mix: Mixing,
    states: States,
    alike: Tensor,
    d_found: Tensor,
    d_after: tuple[Layers, Layers, Layers],
) -> tuple[Tensor, Pairs, MixingGradients, tuple[Layers, Layers, Layers], Layers]:
    """Return the gradients of queries, pairs, coordinates, of M, S and anchor before the call, and of M_0 in each row.

    `d_after` is what is asked of M, S and the anchor after the call; it is overwritten (derived).
    """
    d_m, d_s, d_a = d_after
    d_first = Layers(*(torch.zeros_like(x) for x in d_m))
    hidden = d_m.inner.shape[-2]
    units = mix.inside.new_empty(2, sizes.rows, sizes.tokens, hidden)
    kept = mix.inside.new_empty(sizes.rows, sizes.tokens, sizes.values + 2 * sizes.tokens)
    d_queries, d_pairs = torch.empty_like(queries), Pairs._make(torch.empty_like(x) for x in pairs)
    d_mix = MixingGradients._make(torch.empty_like(x) for x in (*mix[:3], mix.last_u, mix.last_u, mix.last_u_s))
    mlp_backward[(sizes.rows,)](
        queries,
        *pairs[:2],
        *mix,
        *where,
        *states.m,
        *states.s,
        alike,
        d_found,
        *d_m,
        *d_s,
        *d_a,
        *d_first,
        *units,
        kept,
        d_queries,
        *d_pairs[:2],
        *d_mix,
        *of_kernels(sizes, hidden),
        **LAUNCH,
    )
    return d_queries, d_pairs, d_mix, (d_m, d_s, d_a), d_first
