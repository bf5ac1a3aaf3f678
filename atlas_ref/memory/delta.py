"""The delta rule on a schedule: every token errs at its own memory, and yet whole segments are matrix products.

With `delta`, a matrix and chunks of one token, a memory writes M_t = alpha_t o M_{t-1} + u_t k_t^T with
u_t = w_t (v_t - P_t k_t), where P_t is M_{t-1} (DeltaNet 2406.06484) or alpha_t o M_{t-1} (`error_at` retained: Gated
DeltaNet 2412.06464, with gates of columns KDA 2510.26692; implicit: Longhorn 2407.14207). Written out from the memory M
at the start of a segment, with D_{i,t} what tokens i+1 ... t retain (t-1 for the errors of DeltaNet),

    u_t + w_t sum_{i<t} (k_i . D_{i,t} k_t) u_i = w_t (v_t - M D_{0,t} k_t)

is a triangular system with ones on its diagonal. Solved for both right sides (the WY form; derived), U = X - Y M^T, so
only M goes from segment to segment. A segment is a schedule here and no part of the meaning.

Every D is a product of at most a segment of gates, made by `functional.scan`: nothing is divided by a small product and
no logarithm is taken, so gates of 0 and 1 are exact. Gates of columns hold tokens x schedule x features numbers.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from atlas_ref.errors import UserError
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.one_token import run_one_token
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients, implicit_weight
from atlas_ref.memory.segments import Start, enter, scanned
from atlas_ref.memory.state import Carry, MemoryState

SCHEDULE = 32


def on_schedule(rule: MemoryRule, schedule: int | None) -> bool:
    """Return whether the chunk of `rule` is no part of its meaning, and whether a schedule of its own is wanted.

    DeltaNet itself has a run in chunks of one token (`linear`), which is left for this one where a schedule is asked.
    """
    if schedule is not None and schedule < 1:
        raise UserError(f"memory: the schedule is {schedule} tokens, valid is 1 or more")
    if rule.at_retained:
        return True
    plain = (rule.name, rule.chunk, rule.architecture, rule.bias.name, rule.link.name, rule.retention)
    return schedule is not None and plain == ("delta", 1, "matrix", "l2", "identity", "dual")


def segment_of(shard: int, schedule: int | None = None) -> int:
    """Return how many tokens are solved together: those of the schedule, or fewer, so that a segment begins where a
    shard does; shards of 0 tokens are none.
    """
    return math.gcd(schedule or SCHEDULE, shard) if shard else schedule or SCHEDULE


def run_delta(
    rule: MemoryRule,
    plan: SegmentPlan,
    keys: Float[Tensor, "batch time heads features"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads features"],
    write: WriteCoefficients,
    start: Start,
    state: MemoryState,
    reset: Bool[Tensor, "batch time"] | None,
    schedule: int | None,
) -> tuple[Tensor, Carry, Tensor]:
    """Return the reads [batch, time, heads, values], M, S and xi after the call, and squared errors as of `plan`.

    The last token is written by itself: its gradient is the momentum that is returned, and what it finds the anchor.
    """
    shard = plan.shard
    length = segment_of(shard, schedule)
    most, last = slice(0, -1), slice(-1, None)
    begins = (None, None) if reset is None else (reset[:, most], reset[:, last])
    laid = make_plan(state.position, begins[0], keys.shape[1] - 1, length, shard)
    parts = (keys[:, most], values[:, most], queries[:, most])
    reads, weights, missed = _run_segments(rule, laid, *parts, write.at(most), start, state)
    own = make_plan(laid.seen(state.position), begins[1], 1, 1, shard)
    before = MemoryState(weights, state.momentum, weights, keys[:, :0], values[:, :0], own.position[:, 0])
    parts = (keys[:, last], values[:, last], queries[:, last])
    read, carry, error = run_one_token(rule, own, *parts, write.at(last), start, before, measured=True)
    assert error is not None
    errors = torch.cat([missed, error[0].transpose(1, 2)], 1)
    return torch.cat([reads, read], 1), carry, plan.split(errors, 0.0).transpose(2, 3)


class _Decayed(NamedTuple):
    """D of a segment: of head or rows [..., C, C+1], D_{i,t} at (t, i) and D_{0,t} last; or times k_i, of columns.

    Gates of columns decay each feature by itself, so `table` holds D_{i,t} k_i: [..., C, features, C+1].
    """

    table: Tensor
    keys: Tensor
    columns: bool

    def before(self) -> "_Decayed":
        """Return the same one token earlier: what M_{t-1} is made of."""
        time = -3 if self.columns else -2
        first = self.table.narrow(time, 0, 1)
        start = F.pad(torch.zeros_like(first[..., 1:]), (0, 1), value=1.0)
        return self._replace(table=torch.cat([start, self.table.narrow(time, 0, self.table.shape[time] - 1)], time))

    def inside(self, x: Tensor) -> Tensor:
        """Return k_i . D_{i,t} x_t at (t, i), 0 for i after t."""
        if self.columns:
            return (x.unsqueeze(-2) @ self.table[..., :-1]).squeeze(-2)
        return (x @ self.keys.mT) * self.table[..., :-1]

    def start(self, x: Tensor) -> Tensor:
        """Return D_{0,t} x_t."""
        return x * (self.table[..., -1] if self.columns else self.table[..., -1:])

    def end(self) -> tuple[Tensor, Tensor]:
        """Return what is retained of the start over the segment, as it multiplies M, and D_{i,C} k_i of each token."""
        if self.columns:
            last = self.table[..., -1, :, :]
            return last[..., -1].unsqueeze(-2), last[..., :-1].mT
        last = self.table[..., -1, :]
        return last[..., -1:].unsqueeze(-1), last[..., :-1].unsqueeze(-1) * self.keys


def _decayed(keys: Tensor, retention: Tensor, columns: bool) -> _Decayed:
    """Make the table from keys [..., C, features] and gates [..., C], or [..., C, features] of columns."""
    size = keys.shape[-2]
    unit = torch.eye(size, dtype=keys.dtype, device=keys.device)
    if columns:
        inputs = (keys.unsqueeze(-1) * unit.unsqueeze(-2)).movedim(-3, 0)
        return _Decayed(scanned(retention.movedim(-2, 0), inputs).movedim(0, -3), keys, columns)
    batch = retention.shape[:-1]
    inputs = unit.view(size, *(1,) * len(batch), size).expand(size, *batch, size)
    return _Decayed(scanned(retention.movedim(-1, 0), inputs).movedim(0, -2), keys, columns)


class _Solved(NamedTuple):
    """What is known of segments before their M: U = X - Y M^T, reads R M^T + Q U, misses E M^T + P U - V, the end."""

    x: Tensor
    y: Tensor
    read_start: Tensor
    read_inside: Tensor
    miss_start: Tensor
    miss_inside: Tensor
    kept: Tensor
    last_keys: Tensor


def _solve(rule: MemoryRule, laid: list[Tensor], weight: Tensor, gates: Tensor) -> _Solved:
    """Solve the triangular system of every segment for both right sides; `laid` are keys, values and queries."""
    keys, values, queries = laid
    after = _decayed(keys, gates, rule.gate_axis == "columns")
    before = after.before()
    place, seen = after if rule.at_retained else before, after if rule.read == "post" else before
    start, inside = place.start(keys), place.inside(keys).tril(-1)
    w = weight.unsqueeze(-1)
    # Keys that all rows share are given to each row, which has a system of its own.
    shape = (w * start[..., :1] * values[..., :1]).shape[:-1]
    both = torch.cat([(w * right).expand(*shape, right.shape[-1]) for right in (start, values)], -1)
    found = torch.linalg.solve_triangular(w * inside, both, upper=False, unitriangular=True)
    y, x = torch.tensor_split(found, [start.shape[-1]], -1)
    return _Solved(x, y, seen.start(queries), seen.inside(queries), start, inside, *after.end())


def _run_segments(
    rule: MemoryRule,
    plan: SegmentPlan,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    write: WriteCoefficients,
    start: Start,
    state: MemoryState,
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Return the reads and M after all segments of the schedule, and the squared errors [batch, time, heads]."""
    rows = rule.gate_axis == "rows"
    laid = [plan.split(x, 0.0).transpose(2, 3) for x in (keys, values, queries)]
    weight = plan.split(_weights(rule, keys, write), 0.0).transpose(2, 3)
    gates = plan.split(write.retention, 1.0).transpose(2, 3)
    if rows:
        # Rows of M with gates of their own are memories of one value each, with the same keys.
        laid = [laid[0].unsqueeze(3), laid[1].mT.unsqueeze(-1), laid[2].unsqueeze(3)]
        weight, gates = weight.unsqueeze(3), gates.mT
    solve = _solve(rule, laid, weight, gates) if rule.gate_axis == "head" else _recomputed(rule, laid, weight, gates)
    carry = Carry(state.weights, (), state.weights)
    entered, written = [], []
    for n, (x, y, kept, last_keys) in enumerate(zip(solve.x, solve.y, solve.kept, solve.last_keys, strict=True)):
        carry = enter(plan, n, start, carry)
        matrix = carry.weights[0].unsqueeze(-2) if rows else carry.weights[0]
        u = x - y @ matrix.mT
        entered.append(matrix)
        written.append(u)
        matrix = kept * matrix + u.mT @ last_keys
        carry = carry._replace(weights=(matrix.squeeze(-2) if rows else matrix,))
    m, u = torch.stack(entered), torch.stack(written)
    reads = solve.read_start @ m.mT + solve.read_inside @ u
    with torch.no_grad():
        missed = solve.miss_start @ m.mT + solve.miss_inside @ u - laid[1]
    if rows:
        reads, missed = reads.squeeze(-1).mT, missed.squeeze(-1).mT
    errors = plan.join(missed.square().sum(-1).transpose(2, 3))
    return plan.join(reads.transpose(2, 3)), carry.weights, errors


def _recomputed(rule: MemoryRule, laid: list[Tensor], weight: Tensor, gates: Tensor) -> _Solved:
    """Return `_solve`, whose tables are made again in the backward pass instead of kept."""
    found: _Solved = checkpoint(_solve, rule, laid, weight, gates, use_reentrant=False, preserve_rng_state=False)
    return found


def _weights(rule: MemoryRule, keys: Tensor, write: WriteCoefficients) -> Tensor:
    """Return w of each token: 2 ls gamma eta, over max(1, ||k||^2) by mass, over 1 + w ||k||^2 of implicit steps."""
    gamma, square = write.window[..., 0], keys.square().sum(-1)
    if rule.algorithm == "implicit":
        gamma = implicit_weight(gamma, write.step, square)
    if rule.normalised:
        gamma = gamma / square.clamp(min=1.0)
    return -write.release * write.intake * gamma
