"""What is hidden and what is seen: bad vectors in sight, windows that end, the last of what came before."""

import pytest
import torch
from torch import Tensor

from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.gate_floor import NEAR, collapse_risk
from atlas_ref.functional.segment_attention import attention_in_sight
from atlas_ref.functional.sight import sees_bad
from atlas_ref.functional.stablemax import stablemax_loss
from atlas_ref.functional.window import WindowBoundary, latest, visible_window


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


@pytest.mark.parametrize("queries", [1, 2, 5])
@pytest.mark.parametrize("heads", [None, 1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_query_sees_something_bad_where_one_bad_vector_is_in_its_sight(
    rows: int, heads: int | None, queries: int
) -> None:
    """Kills: one bad vector that is not counted; heads or rows that share what they see."""
    keys = 4
    sight, bad = drawn(rows, 1, queries, keys) > 0.3, drawn(rows, heads or 1, keys).roll(1, -1) > 0.9
    expected = torch.tensor(
        [
            [[bool((sight[r, 0, q] & bad[r, h]).any()) for q in range(queries)] for h in range(bad.shape[1])]
            for r in range(rows)
        ]
    )
    if heads is None:
        assert torch.equal(sees_bad(sight[:, 0], bad[:, 0], torch.float32), expected[:, 0])
    else:
        assert torch.equal(sees_bad(sight, bad, torch.float32), expected)
        of_each = sight.expand(-1, heads, -1, -1)
        assert torch.equal(sees_bad(of_each, bad, torch.float32), expected)


@pytest.mark.parametrize("what", ["keys", "values"])
def test_a_segment_is_spoilt_where_a_key_or_a_value_in_sight_is_bad(what: str) -> None:
    """Kills: a bad vector that counts only where key and value are bad."""
    given = {"queries": drawn(1, 4, 2, 3), "keys": drawn(1, 4, 2, 3), "values": drawn(1, 4, 2, 3)}
    given[what][0, 2, 1] = torch.inf
    found = attention_in_sight(**given, sight=torch.ones(1, 4, 4, dtype=torch.bool).tril()).isnan().all(-1)[0]
    assert found.tolist() == [[False, False], [False, False], [False, True], [False, True]]


def test_a_token_alone_has_the_gradients_of_what_it_sees_whatever_it_does_not() -> None:
    """Kills: attention of one token, made for decoding, that is taken where there are gradients: 0 times what is not
    finite is NaN."""
    position, hidden = torch.tensor([[0]]), torch.full((1, 3, 2, 4), torch.inf, dtype=torch.float64)
    found = []
    for window, past in ((4, hidden), (1, hidden[:, :0])):
        shapes = [(1, 1, 2, 4)] * 3 + [(2, 2, 4)] * 2
        leaves = [(drawn(*shape) + n).requires_grad_() for n, shape in enumerate(shapes)]
        own, always = leaves[:3], leaves[3:]
        output, *_ = sliding_window_attention(
            own[0], own[1], own[2], always[0], always[1], past, past, position, window
        )
        found.append((output, *torch.autograd.grad(output.square().sum(), leaves)))
    for whole, alone in zip(*found, strict=True):
        assert alone.abs().min() > 0.0
        torch.testing.assert_close(whole, alone)


@pytest.mark.parametrize("boundary", ["carry", "truncate"])
@pytest.mark.parametrize(("heads", "window"), [(1, 1), (1, 2), (1, 3), (2, 2), (3, 4)])
def test_ages_before_the_document_or_the_chunk_weigh_nothing(boundary: WindowBoundary, heads: int, window: int) -> None:
    """Kills: a memory of one head, or a window of two tokens, that looks over the border."""
    position, chunk = torch.tensor([[0, 1, 2, 3, 4, 0, 1], [5, 6, 7, 8, 9, 10, 11]]), 3
    weights = drawn(2, 7, heads, window).abs() + 1.0
    found = visible_window(weights, position, chunk, boundary)
    reach = position if boundary == "carry" else position % chunk
    for row, time, head, age in torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist():
        seen = age <= reach[row, time]
        assert found[row, time, head, age] == (weights[row, time, head, age] if seen else 0.0)


@pytest.mark.parametrize("time", [0, 1, 2, 3, 4, 9])
def test_the_latest_are_the_last_of_both_together(time: int) -> None:
    """Kills: tokens of a longer call that are not its last; what came before that is not moved on."""
    before, tokens = drawn(2, 3, 5), drawn(2, time, 5).float()
    assert torch.equal(latest(before, tokens), torch.cat([before.float(), tokens], 1)[:, -3:])


def test_a_gate_that_is_as_far_above_its_floor_as_counts_is_not_at_risk() -> None:
    """Kills: a border that belongs to the gates at risk."""
    assert collapse_risk(torch.tensor([NEAR, 0.5 * NEAR, 0.0, 1.0], dtype=torch.float64), 0.0).item() == 0.5


def test_a_vocabulary_of_one_word_has_no_loss_where_nothing_is_asked_either() -> None:
    """Kills: an ignored label that stands for a word which is not there."""
    assert stablemax_loss(drawn(1, 2, 1), torch.tensor([[0, -100]])).tolist() == [0.0]


def test_a_bad_number_in_sight_of_one_token_has_no_gradient_and_the_channels_beside_it_have_theirs() -> None:
    """Kills: the sum of decoding taken where there are gradients, in which 0 times NaN is NaN."""
    x, weight, tail = (drawn(*shape).requires_grad_() for shape in ((1, 1, 3), (3, 4), (1, 3, 3)))
    spoilt = tail.detach().clone()
    spoilt[0, 1, 2] = torch.nan
    y, _ = short_convolution(x, weight, spoilt.requires_grad_(), torch.tensor([[9]]))
    assert y.isnan().tolist() == [[[False, False, True]]]
    (found,) = torch.autograd.grad(y[..., :2].sum() + 0.0 * y[..., 2].nan_to_num().sum(), weight)
    torch.testing.assert_close(found[:2], torch.cat([spoilt, x], 1)[0, :, :2].T.detach())
    assert found[2].tolist() == [0.0] * 4


@pytest.mark.parametrize("position", range(5))
def test_one_token_of_decoding_sees_its_document_alone_however_few_its_channels(position: int) -> None:
    """Kills: a look at how many channels there are instead of how many tokens of the past."""
    x, weight, tail = drawn(1, 1, 1), drawn(1, 4), drawn(1, 3, 1)
    seen = tail.clone()
    seen[:, : max(0, 3 - position)] = 0.0
    with torch.no_grad():
        y, _ = short_convolution(x, weight, tail, torch.tensor([[position]]))
    torch.testing.assert_close(y, (torch.cat([seen, x], 1) * weight.T).sum(1, keepdim=True))
