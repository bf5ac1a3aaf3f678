"""The linear run over segments by Triton kernels: what `linear.run_linear` does, for the plainest of memories.

    COORDINATES   U and W of every segment at once       (`coordinates`)
    SCAN          M, S and the anchor over the segments   (`chunk_scan`), the only part that is sequential
    READ          every token at once                     (`reads`)
"""

import torch
from torch import Tensor

from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.kernels.chunk_scan import Borders, Held, chunk_scan
from atlas_ref.memory.kernels.coordinates import mixing
from atlas_ref.memory.kernels.reads import reads
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients
from atlas_ref.memory.segments import Segments, Start
from atlas_ref.memory.state import Carry, MemoryState


def run_linear_kernels(
    rule: MemoryRule, plan: SegmentPlan, segments: Segments, write: WriteCoefficients, start: Start, state: MemoryState
) -> tuple[Tensor, Carry, Tensor]:
    """Return what `linear.run_linear` does, of a memory that `choice.supports`."""
    keys, values, queries = segments[:3]
    gates = ((write.retention, 1.0), (write.momentum, 1.0), (write.intake, 0.0), (write.release, 0.0))
    mix = mixing(
        *(plan.split(gate, pad).transpose(2, 3) for gate, pad in gates), plan.split(write.window, 0.0).transpose(2, 3)
    )
    shares = torch.ones_like(keys[..., 0])
    if rule.normalised:
        shares = 1.0 / keys.square().sum(-1).clamp(min=1.0)
    held = Held(state.weights[0], state.momentum[0], state.anchor[0])
    borders = Borders(*plan.marks, all(opens is True for opens in plan.opens))
    entered, after = chunk_scan(borders, keys, values, shares, mix, start.initial[0], held)
    anchors = entered.weights if entered.anchors is None else entered.anchors
    carry = Carry((after.weights,), (after.momentum,), (after.anchor,))
    if rule.read == "anchor":
        found = predict_with(rule.architecture, (anchors,), queries)
    else:
        found = reads(queries, keys, values, shares, mix, entered, rule.read == "pre")
    with torch.no_grad():
        missed = keys @ anchors.mT - values
        return found, carry, torch.linalg.vecdot(missed, missed)
