"""The runs by Triton kernels: what `linear` and `orthogonalised` do, for the plainest of memories.

A linear memory is run from where the layer has its keys, values and queries (`linear_run`). Under Newton-Schulz M is
not linear in what a segment knows at once, so segments are laid out and follow one another (`orthogonal`).
"""

from functools import lru_cache

import torch
from torch import Tensor

from atlas_ref.functional.newton_schulz import CoefficientSet, step_coefficients
from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.kernels.choice import Asked
from atlas_ref.memory.kernels.held import Decays, Held, Pairs, Sizes
from atlas_ref.memory.kernels.linear_run import Given, linear_run
from atlas_ref.memory.kernels.orthogonal import Entering, Iteration, orthogonal_segment
from atlas_ref.memory.orthogonalised import segment_inputs
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients, offset
from atlas_ref.memory.segments import Start, enter, lay
from atlas_ref.memory.state import Carry, MemoryState


def run_linear_kernels(
    rule: MemoryRule,
    plan: SegmentPlan,
    asked: Asked,
    write: WriteCoefficients,
    start: Start,
    state: MemoryState,
    measured: bool,
) -> tuple[Tensor, Carry, Tensor | None]:
    """Return the reads [batch, time, heads, values], the state, and where asked for the squared errors of all slots."""
    sizes = _sizes(rule, plan, asked, state.window_keys.shape[1])
    pairs = Pairs(asked.keys, asked.values, state.window_keys, state.window_values)
    decays = Decays(write.retention, write.momentum, write.intake, write.release, write.window)
    held = Held(state.weights[0], state.momentum[0], state.anchor[0])
    given = Given(asked.queries, pairs, decays, start.initial[0], held)
    found, after, errors = linear_run(sizes, plan.table, given, measured)
    carry = Carry((after.weights,), (after.momentum,), (after.anchor,))
    return found, carry, None if errors is None else _as_laid(plan, errors)


def _sizes(rule: MemoryRule, plan: SegmentPlan, asked: Asked, past: int) -> Sizes:
    """Return the sizes of a call."""
    batch, time, heads, features = asked.keys.shape
    return Sizes(
        segments=plan.count,
        batch=batch,
        heads=heads,
        time=time,
        tokens=plan.width,
        past=past,
        features=features,
        values=asked.values.shape[-1],
        chunk=rule.chunk if rule.boundary == "truncate" else 0,
        reach=-(-past // rule.chunk) + 1,
        before=rule.read == "pre",
        anchor=rule.read == "anchor",
        normalised=rule.normalised,
        always=all(opens is True for opens in plan.opens),
    )


def _as_laid(plan: SegmentPlan, errors: Tensor) -> Tensor:
    """Return the slots of every segment where `segments.lay` has them: the first may have empty ones in front."""
    if plan.front:
        errors = torch.cat([errors[:1].roll(plan.front, -1), errors[1:]])
    return errors


def run_orthogonal_kernels(
    rule: MemoryRule,
    plan: SegmentPlan,
    asked: Asked,
    write: WriteCoefficients,
    start: Start,
    state: MemoryState,
    measured: bool,
) -> tuple[Tensor, Carry, Tensor | None]:
    """Return what `run_linear_kernels` does, under Newton-Schulz."""
    past_keys, past_values = asked.keys, asked.values
    if state.window_keys.shape[1]:
        past_keys = torch.cat([state.window_keys, asked.keys], 1)
        past_values = torch.cat([state.window_values, asked.values], 1)
    segments = lay(rule, plan, past_keys, past_values, asked.queries, write)
    keys, values = segments[:2]
    shares = _shares(rule, keys)
    iteration = Iteration(_steps(rule.coefficients, rule.newton_schulz_steps, keys.device), offset(rule))
    carry = Carry(state.weights, state.momentum, state.anchor)
    found, anchors = [], []
    each = zip(shares.unbind(), *(x.unbind() for x in segment_inputs(rule, plan, segments, write)), strict=True)
    for n, (share, k, v, q, *coordinates) in enumerate(each):
        carry = enter(plan, n, start, carry)
        before = (carry.weights[0], carry.momentum[0], carry.anchor[0])
        read, weights, momentum = orthogonal_segment(iteration, Entering(k, v, share, q, *before, *coordinates))
        anchors.append(carry.anchor[0])
        found.append(predict_with(rule.architecture, carry.anchor, q) if rule.read == "anchor" else read)
        carry = Carry((weights,), (momentum,), carry.anchor)
    reads = plan.join(torch.stack(found).transpose(2, 3))
    return reads, carry, _squared_errors(keys, values, torch.stack(anchors)) if measured else None


def _shares(rule: MemoryRule, keys: Tensor) -> Tensor:
    """Return 1 / max(1, kappa) of every slot, or 1 where the rule does not divide (`factors`)."""
    return 1.0 / keys.square().sum(-1).clamp(min=1.0) if rule.normalised else torch.ones_like(keys[..., 0])


@torch.no_grad()
def _squared_errors(keys: Tensor, values: Tensor, anchors: Tensor) -> Tensor:
    """Return ||A k - v||^2 of every slot."""
    missed = keys @ anchors.mT - values
    squared: Tensor = torch.linalg.vecdot(missed, missed)
    return squared


@lru_cache(maxsize=16)
def _steps(coefficients: CoefficientSet, steps: int, device: torch.device) -> Tensor:
    """Return the a, b and c of each step where the kernels read them."""
    return torch.tensor(step_coefficients(coefficients, steps), device=device).view(steps, 3)
