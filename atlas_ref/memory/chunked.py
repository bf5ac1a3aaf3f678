"""The parallel form of the memory: whole chunks as matrix products, equal to `recurrent` on every output and gradient.

    LAY      the tokens of all rows in segments of one anchor (`plan`), each behind the pairs of its window
    SCAN     the coordinates of S_t and M_t in what a segment knows at once (`segments`)
    RUN      from segment to segment, then all reads: `linear`, under Newton-Schulz `orthogonalised`, and `formed`
             where a link, or gates of rows or columns, need the matrices themselves; `delta` in chunks of one token;
             `kernels` has fast forms of the first two, for a GPU and for a CPU

A call of one token needs none of these (`one_token`).

This is ATLAS (2505.23735) Eq. 16 with momentum and window (derived; equal to the loop to rounding in float64).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.ttl import gathered_window, waiting_losses
from atlas_ref.functional.window import last_of
from atlas_ref.memory.delta import on_schedule, run_delta
from atlas_ref.memory.formed import run_formed
from atlas_ref.memory.kernels.call import Asked, MemoryCall, Ran
from atlas_ref.memory.kernels.choice import Kernels, kernel_run
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.linear import run_linear
from atlas_ref.memory.link import canonical
from atlas_ref.memory.one_token import run_one_token
from atlas_ref.memory.orthogonalised import run_orthogonalised
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule, write_coefficients
from atlas_ref.memory.segments import Start, lay, omega_loss
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import Carry, MemoryState


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
    measured: bool = True,
    shards: Shards | None = None,
    schedule: int | None = None,
    kernels: Kernels = "reference",
) -> MemoryOutput:
    """Run the memory of `rule` over `time` tokens, segment by segment (module docstring).

    Arguments and results are those of `memory_recurrent`. `plan` saves making the layout again where several memories
    see the same tokens; it must come from `make_plan` with the same position, reset, time, chunk and length of shards.
    `schedule` is how many tokens of the delta rule in chunks of one are solved together (`delta`): no part of meaning.
    Without `measured` there is no Omega loss, which is for telemetry. `kernels` says what runs (`kernels.choice`).
    """
    time, past, shard = keys.shape[1], state.window_keys.shape[1], 0 if shards is None else shards.length
    plan = make_plan(state.position, reset, time, rule.chunk, shard) if plan is None else plan
    if plan.shard != shard:
        raise UserError(f"memory: the plan is for shards of {plan.shard} tokens, expected {shard}")
    if time == 0:
        return MemoryOutput(values, state)
    hidden = plan.hidden(gates.window.shape[-1], rule.chunk, rule.boundary) if gates.window.shape[-1] > 1 else None
    write = write_coefficients(rule, gates, plan.position, writes, hidden)
    seen, waiting = plan.seen(state.position), state.waiting
    if waiting:
        windows = torch.cat([*waiting, write.window], 1)
        write = write._replace(window=gathered_window(windows, plan.position, rule.update_every))
        waiting = (waiting_losses(windows, seen, rule.update_every),)
    start = Start(tuple(canonical(rule.link, a) for a in initial), shards)
    asked, told = Asked(keys, values, queries), writes and measured
    run = kernel_run(kernels, rule, asked, plan.width, past, start)
    call = MemoryCall(rule, plan, asked, write, start, state, told)
    found, carry, errors = _by_reference(call, reset, schedule) if run is None else run(call)
    # What `mass` divides the window weights by is not part of the loss.
    mass = gates.window.shape[-1] if rule.step_scale == "mass" else 1
    loss = None if errors is None or not told else omega_loss(plan, write, errors, mass)
    window_keys, window_values = state.window_keys, state.window_values
    if past:
        # Of the call no more than is kept, and of what was before it nothing where that is enough.
        of_call = zip((keys, values), (window_keys, window_values), strict=True)
        kept = tuple(x[:, -past:].to(torch.promote_types(x.dtype, held.dtype)) for x, held in of_call)
        window_keys, window_values = last_of(plan.older(past), *(kept if time >= past else state.with_window(*kept)))
    weights, anchor = (tuple(canonical(rule.link, a) for a in part) for part in (carry.weights, carry.anchor))
    after = MemoryState(weights, carry.momentum, anchor, window_keys, window_values, seen, waiting)
    return MemoryOutput(found, after, loss)


def _by_reference(call: MemoryCall, reset: Tensor | None, schedule: int | None) -> Ran:
    """Run a call as it is written down, and measure it in any case but that of one token."""
    rule, plan, asked, write, start, state, measured = call
    pairs = (*state.with_window(asked.keys, asked.values), asked.queries)
    if plan.time == 1:
        return run_one_token(rule, plan, *pairs, write, start, state, measured)
    if on_schedule(rule, schedule):
        return run_delta(rule, plan, *pairs, write, start, state, reset, schedule)
    segments = lay(rule, plan, *pairs, write)
    found, carry, errors = _run(rule)(rule, plan, segments, write, start, state)
    return plan.join(found.transpose(2, 3)), carry, errors


def _run(rule: MemoryRule) -> Callable[..., tuple[Tensor, Carry, Tensor]]:
    """Return how the segments of `rule` are run."""
    if (rule.link.name, rule.gate_axis, rule.retention) != ("identity", "head", "dual"):
        return run_formed
    return run_orthogonalised if rule.orthogonalised else run_linear
