"""Dropout: draws that a hash of numpy's gives too, independent in every direction, and the same however a call is cut.

Every test names the fault that was put into the program by hand and that it caught.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.dropout import LayerDrops, drops_of
from atlas_ref.blocks.timeline import Marks
from atlas_ref.config.dropout import DropoutConfig
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.dropout import Drop, dropped, kept, row_keys, site_keys
from atlas_ref.models.atlas import AtlasModel
from spec_tests.package.micro.runs import micro_config

SITES = ("embedding", "attention", "memory", "residual")
ROWS, WINDOW, HEADS, DIM, PERSISTENT = 3, 5, 2, 4, 2


def keys_of(step: int, rows: int = ROWS) -> Tensor:
    """Return the numbers of a few rows."""
    return row_keys(seed=7, step=step, rows=slice(0, rows), batch=rows)


def rounds(x: np.ndarray, shift: int, factor: int) -> np.ndarray:
    """One round of lowbias32 on unsigned numbers."""
    mixed: np.ndarray = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return mixed


def test_what_stays_is_what_the_hash_of_unsigned_numbers_says() -> None:
    """Kills: a shift that drags the sign along; a comparison of signed with unsigned numbers; keys swapped."""
    keys, places = keys_of(0), torch.tensor([[0, 1, 2**31 - 1], [-1, -(2**31), 12345]], dtype=torch.int32)
    found = kept(keys, places, 0.3).numpy()
    unsigned, numbers = places.numpy().astype(np.uint32), keys.numpy().astype(np.uint32)
    for row in range(ROWS):
        drawn = rounds(unsigned + numbers[row, 0], 16, 0x7FEB352D) ^ numbers[row, 1]
        # As signed numbers they begin at -2^31, which as an unsigned one is the middle.
        expected = ((rounds(drawn, 15, 0x846CA68B) + np.uint32(2**31)) / 2.0**32) >= 0.3
        assert np.array_equal(found[row], expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_is_the_rate_and_neighbours_of_every_kind_are_independent(rate: float) -> None:
    """Kills: rows, steps or sites that share draws; a pattern along time or width; a rate of what stays."""
    places = torch.arange(200 * 128, dtype=torch.int32).view(200, 128)
    one = kept(keys_of(1), places, rate).double()
    sites = site_keys(keys_of(1), 2)
    others = {
        "rows": one.roll(1, 0),
        "time": one.roll(1, 1),
        "width": one.roll(1, 2),
        "step": kept(keys_of(2), places, rate).double(),
        "site": kept(sites[0], places, rate).double(),
    }
    deviation = (rate * (1 - rate)) ** 0.5
    assert abs(one.mean().item() - (1 - rate)) < 5 * deviation / one.numel() ** 0.5
    others["sites"] = others["site"]
    for name, other in others.items():
        with_what = kept(sites[1], places, rate).double() if name == "sites" else one
        both = ((with_what - (1 - rate)) * (other - (1 - rate))).mean().item() / deviation**2
        assert abs(both) < 5 / one.numel() ** 0.5, name


def test_a_row_draws_the_same_in_any_part_of_a_batch() -> None:
    """Kills: numbers counted from the first row of a part."""
    whole = row_keys(seed=3, step=5, rows=slice(0, 8), batch=8)
    for first, last in pairwise([0, 1, 4, 8]):
        assert torch.equal(row_keys(seed=3, step=5, rows=slice(first, last), batch=8), whole[first:last])
    assert not torch.equal(row_keys(seed=4, step=5, rows=slice(0, 8), batch=8), whole)


def test_what_is_left_out_is_zero_even_where_it_is_not_finite_and_the_rest_is_scaled() -> None:
    """Kills: a product with zero; no scale; a scale by the rate of what stays."""
    keys, x = keys_of(0), torch.randn(ROWS, 6, 10, generator=torch.Generator().manual_seed(0))
    stays = kept(keys, torch.arange(60, dtype=torch.int32).view(6, 10), 0.4)
    x[~stays] = torch.nan
    found = dropped(x, Drop(0.4, keys))
    assert torch.equal(found[~stays], torch.zeros_like(found[~stays]))
    torch.testing.assert_close(found[stays], x[stays] / 0.6)
    assert dropped(x, None) is x


def test_a_call_that_begins_later_leaves_out_what_the_whole_does_there() -> None:
    """Kills: places that are counted from the first token of a call."""
    keys, x = keys_of(0), torch.ones(ROWS, 9, 4)
    whole = dropped(x, Drop(0.4, keys))
    parts = [dropped(x[:, first:last], Drop(0.4, keys, first)) for first, last in pairwise([0, 2, 3, 9])]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_the_least_number_that_stays_is_the_rate_itself() -> None:
    """Kills: a number that equals the rate and is left out. The hash of zero is zero, half way."""
    keys, place = torch.zeros(1, 2, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    assert kept(keys, place, 0.5).item()
    assert not kept(keys, place, 0.5 + 2.0**-32).item()


def test_the_numbers_of_a_row_are_those_that_seed_and_step_had_before() -> None:
    """Kills: another stream, or another place in it: a run that is resumed by a newer version would draw otherwise."""
    assert row_keys(seed=7, step=5, rows=slice(1, 3), batch=4).tolist() == [
        [-1700605938, -546962171],
        [-329065194, 1651624753],
    ]


def attend(first: int, stop: int, drop: Drop | None, rows: int = ROWS) -> Tensor:
    """Return what tokens [first, stop) of equal rows see, all tokens before them in the caches of their window."""
    generator = torch.Generator().manual_seed(2)
    q, k, v = torch.randn(3, 1, 13, HEADS, DIM, generator=generator, dtype=torch.float64).expand(-1, rows, -1, -1, -1)
    persistent = torch.randn(2, PERSISTENT, HEADS, DIM, generator=generator, dtype=torch.float64)
    position = torch.arange(first, stop).expand(rows, -1)
    cached = [torch.cat([torch.zeros_like(x[:, : WINDOW - 1]), x], 1)[:, first : first + WINDOW - 1] for x in (k, v)]
    part = slice(first, stop)
    output, *_ = sliding_window_attention(
        q[:, part],
        k[:, part],
        v[:, part],
        persistent[0],
        persistent[1],
        cached[0],
        cached[1],
        position=position,
        window=WINDOW,
        drop=drop,
    )
    return output


def test_attention_without_some_weights_is_the_same_in_any_blocks_and_calls() -> None:
    """Kills: draws by the column of a block; a block's queries counted from its own first; heads that share draws."""
    drop = Drop(0.4, keys_of(0))
    whole = attend(0, 13, drop)
    parts = [attend(first, stop, drop._replace(first=first)) for first, stop in pairwise([0, 3, 4, 13])]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert (whole - attend(0, 13, None)).abs().amax() > 0.1


def test_a_weight_is_left_out_by_the_number_of_its_query_head_and_key() -> None:
    """The number: ((query x heads + head) x (persistent + window) + persistent token, or persistent + age.

    Kills: numbers that two pairs share, or that change with window, heads or persistent tokens; another scale.
    """
    time, rows, heads, dim, tokens, window = 7, 2, 3, 6, 2, 4
    generator = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, rows, time, heads, dim, generator=generator, dtype=torch.float64)
    persistent = torch.randn(2, tokens, heads, dim, generator=generator, dtype=torch.float64)
    drop, none = Drop(0.4, keys_of(0, rows), 9), torch.zeros(rows, window - 1, heads, dim, dtype=torch.float64)
    position = torch.arange(time).expand(rows, -1)
    always_keys, always_values = persistent.unbind()
    found, *_ = sliding_window_attention(q, k, v, always_keys, always_values, none, none, position, window, drop)
    for row, t, head in torch.cartesian_prod(*map(torch.arange, (rows, time, heads))).tolist():
        past = range(max(0, t - window + 1), t + 1)
        seen = torch.cat([persistent[0, :, head], k[row, past.start : past.stop, head]])
        values = torch.cat([persistent[1, :, head], v[row, past.start : past.stop, head]])
        weights = (seen @ q[row, t, head] / 6**0.5).softmax(0)
        keys = [*range(tokens), *(tokens + t - other for other in past)]
        numbers = [((9 + t) * heads + head) * (tokens + window) + key for key in keys]
        stays = kept(drop.keys[row : row + 1], torch.tensor(numbers, dtype=torch.int32), 0.4)[0]
        torch.testing.assert_close(found[row, t, head], torch.where(stays, weights / 0.6, 0.0) @ values)


def test_weights_that_are_left_out_are_those_of_softmax_and_the_mean_over_draws_is_attention() -> None:
    """Kills: weights left out before the softmax, which then adds up to one again; no scale."""
    mean = attend(8, 13, Drop(0.3, keys_of(0, 4000)), 4000).mean(0)
    torch.testing.assert_close(mean, attend(8, 13, None, 1)[0], atol=0.04, rtol=0.0)


def logits(*overrides: str, draws: Tensor | None) -> Tensor:
    """Return what the small model makes of the same tokens."""
    model = AtlasModel(micro_config(*overrides).model, seed=0)
    tokens = torch.randint(256, (ROWS, 20), generator=torch.Generator().manual_seed(1))
    found: Tensor = model(tokens, model.initial_state(ROWS), Marks(draws=draws)).logits
    return found


@pytest.mark.parametrize("block", ["mag", "mal", "mac", "lmm"])
def test_every_site_leaves_something_out_in_training_and_nothing_elsewhere(block: str) -> None:
    """Kills: a site that reads another's rate, or none; dropout that is on in validation; one draw for all rows."""
    of_block = f"model.block='{block}'"
    plain = logits(of_block, draws=None)
    for site in SITES:
        if site == "attention" and block in ("mac", "lmm"):
            continue
        change = f"model.dropout.{site}=0.3"
        assert torch.equal(logits(of_block, change, draws=None), plain)
        assert not torch.allclose(logits(of_block, change, draws=keys_of(0)), plain, atol=1e-4), site
    assert torch.equal(logits(of_block, draws=keys_of(0)), plain)


def test_every_site_of_every_layer_has_numbers_of_its_own() -> None:
    """Kills: one draw for all layers, or for a block and the feed-forward behind it."""
    rates = DropoutConfig(embedding=0.1, attention=0.2, memory=0.3, residual=0.4)
    found = drops_of(rates, keys_of(0), layers=3)
    drops = [found.embedding, *(drop for layer in found.layers for drop in layer)]
    numbers = {tuple(row) for drop in drops if drop is not None for row in drop.keys.tolist()}
    assert len(drops) == 13
    assert len(numbers) == 13 * ROWS
    assert [drop.rate for drop in found.layers[2] if drop is not None] == [0.2, 0.3, 0.4, 0.4]
    assert set(drops_of(rates, None, layers=2).layers) == {LayerDrops()}


def test_sites_have_the_numbers_of_the_hash_of_what_sets_them_apart() -> None:
    """Kills: a site that is not wrapped to 32 bits; shifts and factors of the other round; numbers of a few bits."""
    keys = keys_of(0, 300)
    found = site_keys(keys, 5).numpy().astype(np.uint32)
    assert found.shape == (5, 300, 2)
    for number in range(5):
        apart = np.uint32((0x9E3779B9 * (number + 1)) % 2**32)
        numbers = keys.numpy().astype(np.uint32) + apart
        expected = rounds(rounds(numbers, 16, 0x7FEB352D), 15, 0x846CA68B)
        assert np.array_equal(found[number], expected)
    assert keys.min() < -(2**30)
    assert keys.max() > 2**30
