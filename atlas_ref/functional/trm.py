"""The recursion of the tiny recursive model: a latent z and an answer y, refined by one small network (2510.04871).

    repeat n times:  z <- net(z + y + x)          then once:  y <- net(y + z)

That is one recursion; an iteration makes several, of which only the last few carry a gradient. The network is one block
of causal attention and SwiGLU, each followed by an RMS norm without a scale:

    h = rms(u + W_o attention(W_qkv u)),     net(u) = rms(h + W_down (silu(W_gate h) * W_up h))

Deliberately different from the source (2510.04871 Section 4), which sees all tokens: here a token sees the last W of
its document, itself included, so that a language model may use it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.functional.attention import sliding_window_attention

Hidden = Float[Tensor, "batch time model"]
Cached = Float[Tensor, "batch past heads dim"]


class NetWeights(NamedTuple):
    """The matrices of the network: queries, keys and values packed, as are gate and value of SwiGLU."""

    projection: Float[Tensor, "three_width model"]
    output: Float[Tensor, "model width"]
    up: Float[Tensor, "two_hidden model"]
    down: Float[Tensor, "model hidden"]


def apply_net(
    u: Hidden,
    weights: NetWeights,
    cache_keys: Cached,
    cache_values: Cached,
    position: Int[Tensor, "batch time"],
    heads: int,
    eps: float,
) -> tuple[Hidden, Cached, Cached]:
    """Return net(u) and the caches after it (module docstring); the window is one more than a cache holds."""
    size = u.shape[-1]
    packed = F.linear(u, weights.projection)
    queries, keys, values = torch.unflatten(packed, -1, (3, heads, -1)).unbind(-3)
    none = keys.new_zeros(0, *keys.shape[2:])
    seen, new_keys, new_values = sliding_window_attention(
        queries, keys, values, none, none, cache_keys, cache_values, position, cache_keys.shape[1] + 1
    )
    h = F.rms_norm(u + F.linear(seen.flatten(-2), weights.output), (size,), eps=eps)
    gate, value = F.linear(h, weights.up).chunk(2, -1)
    made = F.rms_norm(h + F.linear(F.silu(gate) * value, weights.down), (size,), eps=eps)
    return made, new_keys, new_values


def trm_recursion(
    y: Hidden,
    z: Hidden,
    refine: Callable[[Tensor, Tensor], Tensor],
    update: Callable[[Tensor, Tensor], Tensor],
    micro_steps: int,
    recursions: int,
    no_grad_recursions: int,
) -> tuple[Hidden, Hidden]:
    """Return y and z after `recursions` recursions (module docstring), of which the first carry no gradient.

    `refine` gives the next z of (y, z), net(z + y + x), and `update` the next y, net(y + z). Nothing is learned through
    the first `no_grad_recursions`, neither by a network nor by what it read.
    """
    for number in range(recursions):
        with torch.set_grad_enabled(torch.is_grad_enabled() and number >= no_grad_recursions):
            for _ in range(micro_steps):
                z = refine(y, z)
            y = update(y, z)
    return y, z
