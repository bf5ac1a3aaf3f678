"""Triton's kernels of attention, interpreted where there is no GPU, against the reference."""

from typing import Any, Final

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.kernels.attended import Past, Shape
from atlas_ref.blocks.kernels.choice import kernel_attention
from atlas_ref.blocks.windowed_attention import AttentionCache, Places, WindowedAttention
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.dropout import Drop, row_keys
from atlas_ref.functional.rotary import Angles, angles, turned

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

ROUNDING: Final = 2e-6
BATCH, DIM, PERSISTENT = 2, 6, 3
Given = tuple[Tensor, Tensor, Past, Tensor, Angles, Shape, Drop | None]


def given(time: int, window: int, rate: float = 0.0, heads: int = 1) -> Given:
    """Return rows in the middle of a document each, of which the first begins another one in the call."""
    drawn = torch.Generator().manual_seed(time)
    projected = torch.randn(BATCH, time, 3 * heads * DIM, generator=drawn)
    persistent = torch.randn(PERSISTENT, 3 * heads * DIM, generator=drawn)
    past = Past(*torch.randn(2, BATCH, window - 1, heads, DIM, generator=drawn).to(DEVICE))
    position = torch.arange(time).repeat(BATCH, 1) + torch.tensor([[window // 2], [time]])
    position[0, time // 2 :] = torch.arange(time - time // 2)
    turning = angles(position.to(DEVICE), DIM, 50.0, torch.float32)
    drop = Drop(rate, row_keys(1, 2, slice(0, BATCH), BATCH).to(DEVICE), 5) if rate else None
    shape = Shape(heads, DIM, window)
    return projected.to(DEVICE), persistent.to(DEVICE), past, position.to(DEVICE), turning, shape, drop


def reference(
    projected: Tensor,
    persistent: Tensor,
    past: Past,
    position: Tensor,
    turning: Angles,
    shape: Shape,
    drop: Drop | None,
) -> tuple[Tensor, Tensor]:
    """Return what `blocks.attention` makes of this without kernels, in the precision of what is given."""
    queries, keys, values = projected.view(*projected.shape[:2], 3, shape.heads, DIM).unbind(2)
    _, fixed_keys, fixed_values = persistent.view(-1, 3, shape.heads, DIM).unbind(1)
    queries, keys = turned(queries, *turning), turned(keys, *turning)
    fixed = fixed_keys, fixed_values
    output, *_ = sliding_window_attention(queries, keys, values, *fixed, *past, position, shape.window, drop)
    return output, keys


def learned(run: Any, call: Given, dtype: torch.dtype) -> list[Tensor]:
    """Return outputs, rotated keys and gradients of projections and caches; an output of NaN teaches nothing."""
    inputs = [x.to(dtype, copy=True).requires_grad_() for x in (*call[:2], *call[2])]
    past, (cosine, sine) = Past(*inputs[2:]), call[4]
    turning = (cosine.double(), sine.double()) if dtype == torch.float64 else call[4]
    output, keys = run(*inputs[:2], past, call[3], turning, *call[5:])
    drawn = torch.Generator().manual_seed(9)
    weights = torch.randn(2, *output.shape, generator=drawn).to(DEVICE)
    known = torch.where(output.isfinite(), output, 0.0), torch.where(keys.isfinite(), keys, 0.0)
    torch.autograd.backward(sum((x * w).sum() for x, w in zip(known, weights, strict=True)))
    return [output.detach(), keys.detach(), *(x.grad for x in inputs if x.grad is not None)]


def check(call: Given, dtype: torch.dtype, rounding: float) -> None:
    from atlas_ref.blocks.kernels.attention import attention

    found, wanted = learned(attention, call, dtype), learned(reference, call, torch.float64)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours.isnan(), theirs.isnan())
        size = theirs.nan_to_num(posinf=0.0).abs().max()
        assert (ours - theirs).nan_to_num().abs().max() <= rounding * size


@pytest.fixture(autouse=True)
def side(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Multiply exactly, and interpret small tiles: their number is what takes time."""
    from atlas_ref.blocks.kernels import attention

    before, found = torch.get_float32_matmul_precision(), attention.QUERIES
    if DEVICE.type == "cpu":
        found = 16
        monkeypatch.setattr(attention, "QUERIES", found)
        monkeypatch.setattr(attention, "KEYS", found)
    torch.set_float32_matmul_precision("highest")
    yield found
    torch.set_float32_matmul_precision(before)


def test_attention_by_kernels_is_the_reference_in_float64_with_its_gradients_and_its_dropout(side: int) -> None:
    """Kills: a border of tiles that is seen twice, weights left out that should stay, a rotation turned on, and a
    cache whose last tile teaches nothing.
    """
    check(given(side + 1, side // 2, rate=0.3), torch.float32, ROUNDING)


def test_what_is_not_finite_spoils_those_that_see_it_and_has_no_gradient() -> None:
    call = given(14, 5)
    projected = call[0]
    projected[0, 3, DIM + 1] = torch.nan
    projected[1, 12, 0] = torch.inf
    projected[1, 7, -1] = -torch.inf
    call[2].values[0, -1, 0, 0] = torch.nan
    check(call, torch.float32, ROUNDING)


@pytest.mark.exhaustive
def test_attention_in_half_precision_rounds_and_does_no_more() -> None:
    check(given(9, 4, rate=0.2, heads=2), torch.float16, 4e-3)


@pytest.mark.exhaustive
def test_attention_without_rotation_is_that_with_angles_of_zero(side: int) -> None:
    from atlas_ref.blocks.kernels.attention import attention

    projected, persistent, past, position, (cosine, sine), shape, _ = given(6, 4)
    asked = projected.requires_grad_()
    flat = torch.ones_like(cosine), torch.zeros_like(sine)
    found = [attention(asked, persistent, past, position, angle, shape, None)[0] for angle in (None, flat)]
    slopes = [torch.autograd.grad(output.square().sum(), asked)[0] for output in found]
    assert torch.equal(*found)
    assert torch.equal(*slopes)


def test_attention_that_asks_of_other_tokens_is_the_reference_by_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: keys of what asks, a cache of the tokens before, a bias left out."""
    drawn = torch.Generator().manual_seed(7)
    layer = WindowedAttention(8, 2, 4, bias=True).to(DEVICE)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn))
    asking, told = torch.randn(2, 1, 6, 8, generator=drawn).to(DEVICE).unbind()
    cache = AttentionCache(*torch.randn(2, 1, 3, 2, 4, generator=drawn).to(DEVICE))
    position = torch.arange(6, device=DEVICE).repeat(1, 1) + 2
    places, found = Places(position, position[:, -1] + 1, position), []
    for form in ("reference", "triton"):
        monkeypatch.setattr("atlas_ref.blocks.kernels.choice.chosen", lambda *_, form=form: form)
        output, after = layer(asking, told, cache, places)
        slopes = torch.autograd.grad(output.square().sum(), list(layer.parameters()))
        with torch.no_grad():
            of_itself, _ = layer(told, told, cache, places)
        found.append([output, of_itself, *after.to_tensors().values(), *slopes])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.detach().abs().max()))


def test_kernels_are_given_what_they_know_alone() -> None:
    known = torch.zeros(1, 3, 12, device=DEVICE)
    assert kernel_attention("triton", known, 4) is not None
    assert kernel_attention("reference", known, 4) is None
    for projected, dim in ((known[:, :1], 4), (known[..., :9], 3), (known.double(), 4)):
        assert kernel_attention("triton", projected, dim) is None
