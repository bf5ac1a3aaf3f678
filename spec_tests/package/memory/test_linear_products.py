"""The derivatives that the linear run has written out, beside what autograd makes of the sums as they are written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from atlas_ref.functional.scan import coordinate_scan
from atlas_ref.memory.linear_products import mixed_product, written

HEADS, SLOTS, TOKENS, IN, OUT = 2, 3, 4, 5, 6


def leaf(seed: int, *shape: int) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.requires_grad_()


def assert_equal_with_gradients(
    actual: Callable[..., tuple[Tensor, ...]], expected: Callable[..., tuple[Tensor, ...]], leaves: list[Tensor]
) -> None:
    """Compare every output, and the gradient in every leaf of a generic sum of all outputs."""
    both = [function(*leaves) for function in (actual, expected)]
    slopes = []
    for outputs in both:
        total = sum((y * leaf(100 + i, *y.shape).detach()).sum() for i, y in enumerate(outputs))
        assert isinstance(total, Tensor)
        slopes.append(torch.autograd.grad(total, leaves))
    for found, wanted in zip((*both[0], *slopes[0]), (*both[1], *slopes[1]), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_a_segment_leaves_is_the_sum_of_its_products_in_value_and_gradient() -> None:
    """Kills: w in the place of u; a share of S that M forgets; a gradient of one of nine lost."""
    left, right = leaf(1, HEADS, SLOTS, OUT), leaf(2, HEADS, SLOTS, IN)
    held = [leaf(seed, HEADS, OUT, IN) for seed in (3, 4)]
    shares = [leaf(5, HEADS, SLOTS), leaf(6, HEADS, 1), leaf(7, HEADS, 1), leaf(8, HEADS, SLOTS), leaf(9, HEADS, 1)]

    def literal(*given: Tensor) -> tuple[Tensor, Tensor]:
        out, into, m, s, w, w_s, w_m, u, u_s = given
        new_m = torch.einsum("hi,hio,hid->hod", w, out, into) + w_s[..., None] * s + w_m[..., None] * m
        return new_m, torch.einsum("hi,hio,hid->hod", u, out, into) + u_s[..., None] * s

    def ours(*given: Tensor) -> tuple[Tensor, Tensor]:
        out, into, m, s, w, w_s, w_m, u, u_s = given
        return written(out, into, m, s, (w, w_s, w_m), (u, u_s))

    assert_equal_with_gradients(ours, literal, [left, right, *held, *shares])


def test_what_tokens_read_is_the_mixture_of_its_products_in_value_and_gradient() -> None:
    """Kills: coordinates of S and of M that change places; a gradient of one of six lost."""
    mix, x = leaf(1, HEADS, TOKENS, SLOTS + 2), leaf(2, HEADS, TOKENS, IN)
    left, right = leaf(3, HEADS, SLOTS, OUT), leaf(4, HEADS, SLOTS, IN)
    held = [leaf(seed, HEADS, OUT, IN) for seed in (5, 6)]

    def literal(mix: Tensor, out: Tensor, into: Tensor, m: Tensor, s: Tensor, x: Tensor) -> tuple[Tensor]:
        near = torch.einsum("hti,hio,hid,htd->hto", mix[..., :-2], out, into, x)
        past = torch.einsum("ht,hod,htd->hto", mix[..., -2], s, x) + torch.einsum("ht,hod,htd->hto", mix[..., -1], m, x)
        return (near + past,)

    assert_equal_with_gradients(lambda *given: (mixed_product(*given),), literal, [mix, left, right, *held, x])


@pytest.mark.parametrize(("window", "step"), [(1, 1), (3, 1), (3, 3)])
def test_two_recurrences_in_one_pass_are_those_of_the_memory_in_value_and_gradient(window: int, step: int) -> None:
    """Kills: a band a column off; a momentum that M sees a token late; a gradient of one of four lost, also through
    the last rows alone; a decay of zero that is divided by."""
    gates = [leaf(seed, TOKENS, HEADS) for seed in (1, 2, 3)]
    with torch.no_grad():
        gates[0][2, 0], gates[1][1, 1] = 0.0, 0.0
    taken, columns = leaf(4, TOKENS, HEADS, window), (TOKENS - 1) * step + window

    def literal(momentum: Tensor, retention: Tensor, release: Tensor, taken: Tensor) -> tuple[Tensor, ...]:
        u, w = torch.zeros(HEADS, columns + 1).double(), torch.zeros(HEADS, columns + 2).double()
        u[:, -1], w[:, -1], rows = 1.0, 1.0, []
        for t in range(TOKENS):
            row = torch.nn.functional.pad(taken[t], (t * step, columns + 1 - t * step - window))
            u = momentum[t, :, None] * u + row
            w = retention[t, :, None] * w + release[t, :, None] * torch.nn.functional.pad(u, (0, 1))
            rows.append(w)
        return u, w, torch.stack(rows)

    def ours(momentum: Tensor, retention: Tensor, release: Tensor, taken: Tensor) -> tuple[Tensor, ...]:
        return coordinate_scan(momentum, retention, taken, release, step)

    assert_equal_with_gradients(ours, literal, [*gates, taken])
