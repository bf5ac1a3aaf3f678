"""The coordinates U and W of `segments`, a program for each segment, row and head, as a recurrence over its tokens.

    U[t] = theta_t U[t-1] + intake_t [G[t], 0],         W[t] = alpha_t W[t-1] + release_t [U[t], 0]

The coordinates of the factors are a vector of slots; those of S and M at the start of the segment are three numbers.
The reference is `segments.coordinates`. No logarithm and no exponential: decays of exactly 0 and 1 are exact.
The backward pass is the adjoint recurrence, from U formed once more and W as it was stored.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.launching import compiled, dense, tile


class Mixing(NamedTuple):
    """W of every token, and the last rows of W and U: what a segment leaves; S and M stand for their coordinates."""

    inside: Float[Tensor, "segments batch heads tokens slots"]
    from_s: Float[Tensor, "segments batch heads tokens"]
    from_m: Float[Tensor, "segments batch heads tokens"]
    last_w: Float[Tensor, "segments batch heads slots"]
    last_w_s: Float[Tensor, "segments batch heads"]
    last_w_m: Float[Tensor, "segments batch heads"]
    last_u: Float[Tensor, "segments batch heads slots"]
    last_u_s: Float[Tensor, "segments batch heads"]


def mixing(
    retention: Float[Tensor, "segments batch heads tokens"],
    momentum: Float[Tensor, "segments batch heads tokens"],
    intake: Float[Tensor, "segments batch heads tokens"],
    release: Float[Tensor, "segments batch heads tokens"],
    window: Float[Tensor, "segments batch heads tokens window"],
) -> Mixing:
    """Return the coordinates of every segment; its slots are window - 1 tokens before it and its own (derived)."""
    apply: Callable[..., tuple[Tensor, ...]] = _Mixing.apply
    return Mixing._make(apply(retention, momentum, intake, release, window))


@compiled
def _forward(
    retention: tl.tensor,
    momentum: tl.tensor,
    intake: tl.tensor,
    release: tl.tensor,
    window: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    last_u: tl.tensor,
    last_u_s: tl.tensor,
    TOKENS: tl.tensor,
    WINDOW: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    slot = tl.arange(0, TILE)
    held = slot < SLOTS
    u = tl.zeros([TILE], tl.float32)
    w = tl.zeros([TILE], tl.float32)
    u_s, w_s, w_m = 1.0, 0.0, 1.0
    for t in range(TOKENS):
        token = program * TOKENS + t
        age = t + WINDOW - 1 - slot
        seen = tl.load(window + token * WINDOW + age, mask=held & (age >= 0) & (age < WINDOW), other=0.0)
        theta, alpha, out = tl.load(momentum + token), tl.load(retention + token), tl.load(release + token)
        u = theta * u + tl.load(intake + token) * seen
        u_s = theta * u_s
        w = alpha * w + out * u
        w_s = alpha * w_s + out * u_s
        w_m = alpha * w_m
        tl.store(inside + token * SLOTS + slot, w, mask=held)
        tl.store(from_s + token, w_s)
        tl.store(from_m + token, w_m)
    tl.store(last_u + program * SLOTS + slot, u, mask=held)
    tl.store(last_u_s + program, u_s)


@compiled
def _backward(
    retention: tl.tensor,
    momentum: tl.tensor,
    intake: tl.tensor,
    release: tl.tensor,
    window: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    scratch: tl.tensor,
    d_inside: tl.tensor,
    d_from_s: tl.tensor,
    d_from_m: tl.tensor,
    d_last_w: tl.tensor,
    d_last_w_s: tl.tensor,
    d_last_w_m: tl.tensor,
    d_last_u: tl.tensor,
    d_last_u_s: tl.tensor,
    d_retention: tl.tensor,
    d_momentum: tl.tensor,
    d_intake: tl.tensor,
    d_release: tl.tensor,
    d_window: tl.tensor,
    TOKENS: tl.tensor,
    WINDOW: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    slot = tl.arange(0, TILE)
    held = slot < SLOTS
    # U once more: row t of the scratch is U before token t, and its last column that of S.
    u = tl.zeros([TILE], tl.float32)
    u_s = 1.0
    for t in range(TOKENS):
        token = program * TOKENS + t
        age = t + WINDOW - 1 - slot
        seen = tl.load(window + token * WINDOW + age, mask=held & (age >= 0) & (age < WINDOW), other=0.0)
        tl.store(scratch + token * (SLOTS + 1) + slot, u, mask=held)
        tl.store(scratch + token * (SLOTS + 1) + SLOTS, u_s)
        u = tl.load(momentum + token) * u + tl.load(intake + token) * seen
        u_s = tl.load(momentum + token) * u_s
    # What stands behind is the adjoint of W and U at the token after, decayed.
    behind_w = tl.load(d_last_w + program * SLOTS + slot, mask=held, other=0.0)
    behind_w_s, behind_w_m = tl.load(d_last_w_s + program), tl.load(d_last_w_m + program)
    behind_u = tl.load(d_last_u + program * SLOTS + slot, mask=held, other=0.0)
    behind_u_s = tl.load(d_last_u_s + program)
    tl.debug_barrier()
    for back in range(TOKENS):
        t = TOKENS - 1 - back
        token = program * TOKENS + t
        age = t + WINDOW - 1 - slot
        near = held & (age >= 0) & (age < WINDOW)
        seen = tl.load(window + token * WINDOW + age, mask=near, other=0.0)
        theta, alpha, out, taken = (
            tl.load(momentum + token),
            tl.load(retention + token),
            tl.load(release + token),
            tl.load(intake + token),
        )
        inner = token > program * TOKENS
        before = tl.where(inner, token - 1, token)
        w_before = tl.where(inner, tl.load(inside + before * SLOTS + slot, mask=held, other=0.0), 0.0)
        w_s_before = tl.where(inner, tl.load(from_s + before), 0.0)
        w_m_before = tl.where(inner, tl.load(from_m + before), 1.0)
        u_before = tl.load(scratch + token * (SLOTS + 1) + slot, mask=held, other=0.0)
        u_s_before = tl.load(scratch + token * (SLOTS + 1) + SLOTS)
        d_w = behind_w + tl.load(d_inside + token * SLOTS + slot, mask=held, other=0.0)
        d_w_s = behind_w_s + tl.load(d_from_s + token)
        d_w_m = behind_w_m + tl.load(d_from_m + token)
        d_u = behind_u + out * d_w
        d_u_s = behind_u_s + out * d_w_s
        u = theta * u_before + taken * seen
        u_s = theta * u_s_before
        tl.store(d_retention + token, tl.sum(d_w * w_before) + d_w_s * w_s_before + d_w_m * w_m_before)
        tl.store(d_release + token, tl.sum(d_w * u) + d_w_s * u_s)
        tl.store(d_momentum + token, tl.sum(d_u * u_before) + d_u_s * u_s_before)
        tl.store(d_intake + token, tl.sum(d_u * seen))
        tl.store(d_window + token * WINDOW + age, taken * d_u, mask=near)
        behind_w, behind_w_s, behind_w_m = alpha * d_w, alpha * d_w_s, alpha * d_w_m
        behind_u, behind_u_s = theta * d_u, theta * d_u_s


class _Mixing(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, retention: Tensor, momentum: Tensor, intake: Tensor, release: Tensor, window: Tensor
    ) -> tuple[Tensor, ...]:
        gates = dense(retention, momentum, intake, release, window)
        *rows, tokens, ages = gates[-1].shape
        slots = tokens + ages - 1
        inside = gates[0].new_empty(*rows, tokens, slots)
        from_s, from_m = torch.empty_like(gates[0]), torch.empty_like(gates[0])
        last_u, last_u_s = gates[0].new_empty(*rows, slots), gates[0].new_empty(rows)
        _forward[(last_u_s.numel(),)](
            *gates, inside, from_s, from_m, last_u, last_u_s, tokens, ages, slots, tile(slots), num_warps=1
        )
        ctx.save_for_backward(*gates, inside, from_s, from_m)
        last = (x[..., -1].clone() for x in (inside.mT, from_s, from_m))
        return (inside, from_s, from_m, *last, last_u, last_u_s)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        *gates, inside, from_s, from_m = ctx.saved_tensors
        tokens, ages = gates[-1].shape[-2:]
        slots = tokens + ages - 1
        scratch = inside.new_empty(*inside.shape[:-1], slots + 1)
        # Ages that reach before the slots have no place: nothing writes their gradient.
        found = [torch.zeros_like(gate) for gate in gates]
        _backward[(grads[-1].numel(),)](
            *gates,
            inside,
            from_s,
            from_m,
            scratch,
            *dense(*grads),
            *found,
            tokens,
            ages,
            slots,
            tile(slots),
            num_warps=1,
        )
        return tuple(found)
