"""Forms that no operation of the port contract shows: means by chunks, the largest logit, one floor for all gates."""

import numpy as np
import pytest
import torch

from atlas_ref.functional.ltm import ltm_chunked
from atlas_ref.functional.segment_attention import largest_logit_in_sight
from atlas_ref.functional.telemetry import gate_statistics
from spec_tests.chapters.ltm.oracle import running_mean
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array


def call(time: int, seed: int) -> tuple[Array, Array, Array]:
    """Return inputs, carry and positions of three rows: one that goes on, one that begins, one with resets."""
    rng = generator(seed)
    position = np.stack([5 + np.arange(time), np.arange(time), np.arange(time) % 41])
    return rng.standard_normal((3, time, 4)), rng.standard_normal((3, 4)), position


@pytest.mark.parametrize("time", [0, 1, 63, 64, 65, 150])
def test_means_by_chunks_are_those_of_a_loop_and_have_its_gradients(time: int) -> None:
    """Kills: a weight of another age, a mean that goes over a document or is lost at the border of a chunk."""
    x, carry, position = call(time, 2700 + time)
    given = [torch.from_numpy(value).requires_grad_() for value in (x, carry)]
    means, last = ltm_chunked(given[0], given[1], torch.from_numpy(position), 0.9)
    expected, after = running_mean(x, carry, position, 0.9)
    np.testing.assert_allclose(means.detach().numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.detach().numpy(), after, rtol=0, atol=1e-12)

    directions = [
        generator(2710 + k).standard_normal(value.shape) for k, value in enumerate((x, carry, expected, after))
    ]
    step = 1e-30j
    moved, end = running_mean(x + step * directions[0], carry + step * directions[1], position, 0.9)
    slope = (moved.imag * directions[2]).sum() + (end.imag * directions[3]).sum()
    outcome = (means * torch.from_numpy(directions[2])).sum() + (last * torch.from_numpy(directions[3])).sum()
    gradients = torch.autograd.grad(outcome, given)
    found = sum(float((g.numpy() * d).sum()) for g, d in zip(gradients, directions[:2], strict=True))
    assert found == pytest.approx(slope / 1e-30, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("garbage", [np.inf, np.nan])
def test_an_earlier_document_is_not_seen_by_the_means_of_the_next(garbage: float) -> None:
    """Kills: a product with weights of zero."""
    x, carry, position = call(90, 2730)
    spoilt, before = x.copy(), carry.copy()
    spoilt[2, :41], before[1:] = garbage, garbage
    means, _ = ltm_chunked(torch.from_numpy(spoilt), torch.from_numpy(before), torch.from_numpy(position), 0.9)
    expected, _ = running_mean(x, carry, position, 0.9)
    for found, wanted in ((means[2, 41:], expected[2, 41:]), (means[:2], expected[:2])):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-12)


def test_the_largest_logit_is_that_of_the_pairs_in_sight() -> None:
    """Kills: a maximum over all pairs, over rows apart or over heads together; another scale."""
    rng = generator(2740)
    queries, keys = rng.standard_normal((2, 5, 3, 6)), rng.standard_normal((2, 7, 3, 6))
    sight = rng.random((2, 5, 7)) < 0.3
    keys[~sight.any(1)] *= 100.0
    found = largest_logit_in_sight(*map(torch.from_numpy, (queries, keys, sight)))
    pairs = np.argwhere(sight)
    expected = [max(queries[b, t, h] @ keys[b, k, h] / np.sqrt(6.0) for b, t, k in pairs) for h in range(3)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_a_floor_that_is_a_number_is_told_as_numpy_has_it() -> None:
    """Kills: a floor that is taken off, or that scales the gate the wrong way; an extreme of the raw gate."""
    raw = generator(2750).random((3, 4, 5))
    acting = 0.3 + 0.7 * raw
    found = gate_statistics(torch.from_numpy(raw), 0.3)
    expected = [x for gate in (acting, raw) for x in (gate.mean(), gate.std(), gate.min(), gate.max())]
    np.testing.assert_allclose([float(x) for x in found[:8]], expected, rtol=1e-12)
