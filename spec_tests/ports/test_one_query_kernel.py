"""The kernel of attention of one token, interpreted where there is no GPU, against one pass by the reference."""

from typing import Any, Final

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.kernels.attended import Past, Shape
from atlas_ref.blocks.kernels.choice import kernel_query
from atlas_ref.blocks.windowed_attention import AttentionCache, Places, WindowedAttention
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.rotary import angles, turned
from atlas_ref.functional.window import recent
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.plan import token_positions

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

BATCH, HEADS, DIM, PERSISTENT, TOKENS = 2, 2, 6, 3, 7
ROUNDING: Final = 2e-6
Attended = tuple[Tensor, Tensor, Tensor]


def text(window: int, spoilt: float, entry: int = HEADS * DIM) -> tuple[Tensor, Tensor, Past, Tensor]:
    """Return what is projected, persistent tokens, caches and positions of two rows out of step, of which one begins a
    document behind a token of which one `entry` is `spoilt`."""
    drawn = torch.Generator().manual_seed(window)
    projected = torch.randn(BATCH, TOKENS, 3 * HEADS * DIM, generator=drawn)
    projected[0, 2, entry] = spoilt
    persistent = torch.randn(PERSISTENT, 3 * HEADS * DIM, generator=drawn)
    past = Past(*torch.randn(2, BATCH, window - 1, HEADS, DIM, generator=drawn))
    reset = torch.zeros(BATCH, TOKENS, dtype=torch.bool)
    reset[0, 4] = True
    return projected, persistent, past, token_positions(torch.tensor([1, 9]), reset, TOKENS)


def at_once(*given: Any) -> Attended:
    """Return outputs and caches of one call of all tokens by the reference, of the text that is `given`."""
    window = given[0]
    projected, persistent, past, position = text(*given)
    queries, keys, values = projected.view(BATCH, TOKENS, 3, HEADS, DIM).unbind(2)
    _, fixed_keys, fixed_values = persistent.view(-1, 3, HEADS, DIM).unbind(1)
    turning = angles(position, DIM, 50.0, torch.float32)
    told = (turned(queries, *turning), turned(keys, *turning), values, fixed_keys, fixed_values)
    found, *caches = sliding_window_attention(*told, *past, position, window)
    keys, values = recent(position[:, -1] + 1, window - 1, *caches)
    return found, keys, values


def one_by_one(*given: Any) -> Attended:
    """Return the same by the kernel."""
    window = given[0]
    projected, persistent, past, position = text(*given)
    projected, persistent, position = projected.to(DEVICE), persistent.to(DEVICE), position.to(DEVICE)
    past = Past(*(cache.to(DEVICE) for cache in past))
    size, found = HEADS * DIM, []
    with torch.no_grad():
        for token in range(TOKENS):
            now, place = projected[:, token : token + 1], position[:, token : token + 1]
            turning = angles(place, DIM, 50.0, torch.float32)
            ask = kernel_query("triton", now, past, DIM)
            assert ask is not None
            shape = Shape(HEADS, DIM, window)
            seen, past = ask(now[..., :size], now[..., size:], persistent, past, place, turning, shape)
            found.append(seen)
    return torch.cat(found, 1).cpu(), past.keys.cpu(), past.values.cpu()


@pytest.mark.parametrize("window", [1, 2, 5, 20])
def test_one_token_after_the_other_is_one_pass(window: int) -> None:
    """Kills: a key turned by the angle of another token, or in the other direction; a window one too long or short; a
    cache that keeps what is of the document before; persistent tokens that are left out."""
    torch.testing.assert_close(one_by_one(window, 0.5), at_once(window, 0.5), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("entry", [HEADS * DIM, 2 * HEADS * DIM], ids=["a-key", "a-value"])
@pytest.mark.parametrize("spoilt", [torch.inf, torch.nan])
def test_what_is_not_finite_spoils_those_alone_that_see_it(spoilt: float, entry: int) -> None:
    """Kills: zero times what is out of sight; an infinite logit whose weight is one; a value of which one component
    alone is spoilt."""
    found, keys, values = one_by_one(3, spoilt, entry)
    whole, *caches = at_once(3, spoilt, entry)
    assert found[0].isnan().all(-1).any()
    torch.testing.assert_close((found, keys, values), (whole, *caches), rtol=ROUNDING, atol=ROUNDING, equal_nan=True)


@pytest.mark.parametrize("same", [True, False], ids=["itself", "another"])
def test_attention_without_rotation_asks_itself_or_another(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: queries that are taken from what is told; persistent tokens where there are none."""
    torch.manual_seed(3)
    module = WindowedAttention(HEADS * DIM, HEADS, 4, bias=True).to(DEVICE)
    asking, told = torch.randn(2, BATCH, 1, HEADS * DIM, device=DEVICE)
    cache = AttentionCache(*torch.randn(2, BATCH, 3, HEADS, DIM, device=DEVICE))
    position = torch.tensor([[1], [8]], device=DEVICE)
    places = Places(position, position[:, -1] + 1, position)

    def outcome(kernels: Kernels) -> Attended:
        monkeypatch.setattr("atlas_ref.blocks.windowed_attention.kernel_query", lambda _, *x: kernel_query(kernels, *x))
        with torch.no_grad():
            seen, after = module(told if same else asking, told, cache, places)
        return seen, after.keys, after.values

    torch.testing.assert_close(outcome("triton"), outcome("reference"), rtol=ROUNDING, atol=ROUNDING)


def test_gradients_and_what_is_not_float32_go_the_plain_way() -> None:
    """Kills: a kernel without a derivative in a step of training."""
    projected, _, past, _ = text(5, 0.5)
    one, past = projected[:, :1].to(DEVICE), Past(*(x.to(DEVICE) for x in past))
    assert kernel_query("triton", one, past, DIM) is None
    with torch.no_grad():
        assert kernel_query("triton", one, past, DIM) is not None
        assert kernel_query("reference", one, past, DIM) is None
        assert kernel_query("triton", one.double(), past, DIM) is None
        assert kernel_query("triton", projected.to(DEVICE), past, DIM) is None
