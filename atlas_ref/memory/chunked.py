"""The parallel form of the memory: whole chunks as matrix products, equal to `recurrent` on every output and gradient.

    LAY      the tokens of all rows in segments of one anchor (`plan`), each behind the pairs of its window
    SCAN     the coordinates of S_t and M_t in what a segment knows at once (`segments`)
    RUN      from segment to segment, then all reads (`linear`; under Newton-Schulz `orthogonalised`)

A call of one token needs none of these (`one_token`).

This is ATLAS (2505.23735) Eq. 16 with momentum and window (derived; equal to the loop to rounding in float64).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.ttl import gathered_window, waiting_losses
from atlas_ref.functional.window import recent
from atlas_ref.memory.linear import run_linear
from atlas_ref.memory.one_token import run_one_token
from atlas_ref.memory.orthogonalised import run_orthogonalised
from atlas_ref.memory.plan import SegmentPlan, make_plan
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule, write_coefficients
from atlas_ref.memory.segments import Segments, Start, coordinates
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState


def memory_chunked(
    rule: MemoryRule,
    keys: Float[Tensor, "batch time heads features"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads features"],
    gates: Gates,
    initial: tuple[Float[Tensor, "heads _out _in"], ...],
    state: MemoryState,
    reset: Bool[Tensor, "batch time"] | None,
    plan: SegmentPlan | None = None,
    *,
    writes: bool = True,
    shards: Shards | None = None,
) -> MemoryOutput:
    """Run the memory of `rule` over `time` tokens, segment by segment (module docstring).

    Arguments and results are those of `memory_recurrent`. `plan` saves making the layout again where several memories
    see the same tokens; it must come from `make_plan` with the same position, reset, time, chunk and length of shards.
    """
    time, past = keys.shape[1], state.window_keys.shape[1]
    shard = shards.length if shards is not None else 0
    if plan is None:
        plan = make_plan(state.position, reset, time, rule.chunk, shard)
    if plan.shard != shard:
        raise UserError(f"memory: the plan is for shards of {plan.shard} tokens, expected {shard}")
    if time == 0:
        return MemoryOutput(values, state)
    if not rule.plain:
        given = (keys, values, queries, gates, initial, state, reset)
        return memory_recurrent(rule, *given, writes=writes, shards=shards)
    past_keys, past_values = keys, values
    if past:
        past_keys, past_values = torch.cat([state.window_keys, keys], 1), torch.cat([state.window_values, values], 1)
    write = write_coefficients(rule, gates, plan.position, writes)
    seen, waiting = plan.seen(state.position), state.waiting
    if waiting:
        windows = torch.cat([*waiting, write.window], 1)
        write = write._replace(window=gathered_window(windows, plan.position, rule.update_every))
        waiting = (waiting_losses(windows, seen, rule.update_every),)
    start = Start(initial, shards)
    if time == 1:
        reads, carry, errors = run_one_token(rule, plan, past_keys, past_values, queries, write, start, state)
    else:
        segments = _lay(rule, plan, past_keys, past_values, queries)
        run = run_orthogonalised if rule.orthogonalised else run_linear
        found, carry, errors = run(rule, plan, segments, coordinates(rule, plan, write), start, state)
        reads = plan.join(found.transpose(2, 3))
    # What `mass` divides the window weights by is not part of the loss.
    mass = gates.window.shape[-1] if rule.step_scale == "mass" else 1
    omega_loss = _omega_loss(plan, write.window, errors, mass) if writes else None
    window_keys, window_values = recent(past_keys, seen, past), recent(past_values, seen, past)
    return MemoryOutput(reads, MemoryState(*carry, window_keys, window_values, seen, waiting), omega_loss)


def _lay(rule: MemoryRule, plan: SegmentPlan, keys: Tensor, values: Tensor, queries: Tensor) -> Segments:
    """Return the segments; keys and values come with the window before the call."""
    past = keys.shape[1] - plan.time
    sight = plan.in_sight(past, rule.chunk, rule.boundary)
    near_keys, near_values = (plan.split_window(x, past, sight).transpose(2, 3) for x in (keys, values))
    return Segments(near_keys, near_values, plan.split(queries, 0.0).transpose(2, 3))


@torch.no_grad()
def _omega_loss(plan: SegmentPlan, window: Tensor, errors: Tensor, mass: int) -> Tensor:
    """Return the mean Omega loss (`MemoryOutput`) from the squared error of every slot of every segment."""
    weights = plan.split(window, 0.0).transpose(2, 3)
    # The window holds 2 loss_scale gamma, by age; the slots stand oldest first.
    total: Tensor = torch.linalg.vecdot(errors.unfold(-1, window.shape[-1], 1), weights.flip(-1)).sum()
    return total * (0.5 * mass) / window[..., 0].numel()
