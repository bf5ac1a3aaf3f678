"""The TTL schedule and shards in the memory layer: which reads a token moves, and what goes over a border.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.functional.normalize import l2_normalize
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.shards import Shards, qk_project_in_shards
from spec_tests.package.micro.layers import SHARDS, TIME, drawn, make_layer, remember

TRACES = {8: 8.0, 9: 1.8, 16: 8.8, 17: 0.3 * 8.8 + 1.0, 25: 0.6 * (0.3 * 8.8 + 8.0) + 1.0}
"""By the number of tokens, the sum of squares of the unit keys in Pi, each mixed at every border behind it."""


@pytest.mark.parametrize("changed", [1, 3, 7, 9])
def test_a_changed_token_moves_the_reads_of_a_layer_from_the_next_write_on(changed: int) -> None:
    """N = 4, no convolution; row 1 begins a document at token 6. The token's own read moves by its query.

    Kills: a frequency that the layer does not hand to its rule; a count from the start of the call.
    """
    layer = make_layer("model.memory.conv_kernel=1", "model.memory.ttl_update_frequency=4")
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[1, 6] = True
    hidden = drawn(2, TIME, 16, seed=2)
    other = hidden.clone()
    other[:, changed] = drawn(2, 16, seed=3)
    with torch.no_grad():
        gap = (remember(layer, hidden, reset).reads - remember(layer, other, reset).reads).abs().amax(-1) > 0.0

    for row, begun in ((0, 0), (1, 6 if changed >= 6 else 0)):
        write = changed + 3 - (changed - begun) % 4
        end = 6 if row == 1 and changed < 6 else TIME
        expected = [t == changed or write <= t < end for t in range(TIME)]
        assert gap[row].tolist() == expected, f"row {row}"


def literal_projection(
    queries: Tensor, keys: Tensor, carry: Tensor, position: Tensor, shards: Shards
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Pi q, the last Pi and ||Pi|| of every token, by a loop over rows, heads and tokens."""
    q, k, state, at = (x.detach().numpy() for x in (queries, keys, carry, position))
    projected, norms, state = np.zeros_like(q), np.zeros(q.shape[:3]), state.copy()
    for row, time, head in np.ndindex(q.shape[:3]):
        p = int(at[row, time])
        if p == 0:
            state[row, head] = 0.0
        elif p % shards.length == 0:
            crossing = p // shards.length - 1
            learned = 1.0 / (1.0 + math.exp(-float(shards.alpha_logit)))
            ramp = 0.1 + 0.4 * crossing / max(shards.warmup_crossings, 1)
            state[row, head] *= ramp if crossing < shards.warmup_crossings else learned
        u = k[row, time, head] / np.linalg.norm(k[row, time, head])
        state[row, head] += np.outer(u, u)
        projected[row, time, head] = state[row, head] @ q[row, time, head]
        norms[row, time, head] = np.linalg.norm(state[row, head])
    return projected, state, norms


@pytest.mark.parametrize("cuts", [(), (3, 8, 9)], ids=["one call", "four calls"])
def test_the_projection_is_mixed_at_every_border_of_every_row(cuts: tuple[int, ...]) -> None:
    """Rows out of phase, one begins a document in the middle of a shard; shards of 8, a warm-up of two crossings.

    Kills: a border that all rows cross; Pi that restarts, or goes on, at a border; a ramp from the start of the call.
    """
    batch, time, shards = 3, 21, Shards(8, 2, torch.tensor(0.9, dtype=torch.float64))
    queries, keys = drawn(batch, time, 2, 4, seed=4), l2_normalize(drawn(batch, time, 2, 4, seed=5), 1e-6)
    root = drawn(batch, 2, 4, 4, seed=6)
    carry, before = root @ root.mT, torch.tensor([0, 13, 27])
    reset = torch.zeros(batch, time, dtype=torch.bool)
    reset[1, 9] = True
    position = make_plan(before, reset, time, 4, 8).position
    expected = literal_projection(queries, keys, carry, position, shards)
    edges = [0, *cuts, time]
    parts = []
    for begin, end in pairwise(edges):
        part = slice(begin, end)
        plan = make_plan(before, reset[:, part], end - begin, 4, 8)
        *found, norm = qk_project_in_shards(queries[:, part], keys[:, part], carry, plan, shards)
        parts.append((found[0], norm))
        carry, before = found[1], plan.seen(before)

    np.testing.assert_allclose(torch.cat([part[0] for part in parts], 1).numpy(), expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(carry.numpy(), expected[1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(torch.cat([part[1] for part in parts], 1).numpy(), expected[2], rtol=0, atol=1e-12)


def test_a_layer_mixes_its_projection_by_the_trace_of_its_unit_keys() -> None:
    """Each key adds one to the trace of Pi; shards of 8, a ramp of two crossings (0.1, 0.3), then 0.6.

    Kills: a layer that mixes its memory and not its projection.
    """
    layer = make_layer(*SHARDS, "model.memory.shards.alpha_init=0.6", "model.memory.qk_projection.kind='tnt'")
    with torch.no_grad():
        layer.alpha_logit.fill_(math.log(0.6 / 0.4))
        hidden = drawn(2, 26, 16, seed=11)
        after = {t: remember(layer, hidden[:, :t]).state.projections[0] for t in TRACES}
        found = {t: projection.diagonal(dim1=-2, dim2=-1).sum(-1) for t, projection in after.items()}
    for t, trace in TRACES.items():
        torch.testing.assert_close(found[t], torch.full_like(found[t], trace), rtol=1e-9, atol=0.0)


@pytest.mark.parametrize(("span", "keys"), [("chunk", [1, 2, 4, 1, 2]), ("document", [1, 2, 4, 9, 26])])
def test_a_layer_in_shards_sums_the_keys_of_the_span_that_it_names(span: str, keys: list[int]) -> None:
    """Chunks of 4 in shards of 8: each key adds one to the trace of Pi. Kills: a span that is always the shard; chunks
    that a call begins; a sum that its border does not empty.
    """
    layer = make_layer(*SHARDS, "model.memory.qk_projection.kind='tnt'", f"model.memory.qk_projection.span='{span}'")
    with torch.no_grad():
        hidden = drawn(2, 26, 16, seed=11)
        for time, count in zip([1, 2, 4, 9, 26], keys, strict=True):
            trace = remember(layer, hidden[:, :time]).state.projections[0].diagonal(dim1=-2, dim2=-1).sum(-1)
            torch.testing.assert_close(trace, torch.full_like(trace, count), rtol=1e-9, atol=0.0)


def test_no_gradient_goes_back_over_a_border_through_the_projection_but_one_goes_to_the_logit() -> None:
    """Kills: Pi that is mixed without its stop; a rate that is a constant."""
    logit = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    keys = drawn(2, 6, 1, 4, seed=7).requires_grad_()
    carry = drawn(2, 1, 4, 4, seed=8).requires_grad_()
    plan = make_plan(torch.tensor([5, 13]), None, 6, 4, 8)
    projected, _, _ = qk_project_in_shards(drawn(2, 6, 1, 4, seed=9), keys, carry, plan, Shards(8, 1, logit))
    gradients = torch.autograd.grad(projected[:, 3:].square().sum((1, 2, 3)).unbind()[1], [keys, carry, logit])

    assert not gradients[0][1, :3].any()
    assert gradients[0][1, 3:].abs().amax() > 1e-3
    assert not gradients[1].any()
    assert abs(float(gradients[2])) > 1e-3
