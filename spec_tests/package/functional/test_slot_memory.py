"""The memory of slots: decided first and read at once, it is what the loop over tokens is.

Every test names the fault that was put into the program by hand and that it caught.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from atlas_ref.functional.slot_memory import BLOCK, SlotReads, slot_memory, slot_scan, slot_usage, surprise_rate

TIME = BLOCK + 9
POSITION = torch.stack([30 + torch.arange(TIME), torch.arange(TIME) % 40, torch.arange(TIME)])
READ_AT = torch.tensor([[3, -1, 20, 7], [-1, -1, -1, -1], [9, 1, 1, 5]])
"""A row that goes on, one of two documents, and one that begins although its slots are said to be in use."""


def drawn() -> tuple[Tensor, Tensor]:
    """Return tokens [3, TIME, 5] and slots [3, 4, 5]."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, TIME, 5), (3, 4, 5))
    x, slots = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x.requires_grad_(), slots.requires_grad_()


def learned(found: SlotReads, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients of a loss of reads and slots."""
    return torch.autograd.grad(found.reads.sin().sum() + found.slots.square().sum(), inputs)


def test_one_attention_a_block_is_the_loop_over_tokens() -> None:
    """Kills: a slot that is left one token late; a token that reads what an earlier block has replaced; no gradient
    over the border of two blocks."""
    for threshold in (0.0, 0.4, 0.8):
        inputs = drawn()
        loop = slot_scan(*inputs, READ_AT, POSITION, threshold)
        block = slot_memory(*inputs, READ_AT, POSITION, threshold)
        assert torch.equal(block.read_at, loop.read_at)
        pairs = zip((*block[:3], *learned(block, inputs)), (*loop[:3], *learned(loop, inputs)), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("form", [slot_scan, slot_memory])
def test_a_novelty_of_the_threshold_itself_is_not_written_and_what_is_not_in_use_is_not_read(
    form: Callable[..., SlotReads],
) -> None:
    """Kills: a token that is as new as the threshold and written; a slot that counts as read before it is in use."""
    x, slots = drawn()
    found = form(x[2:], slots[2:], READ_AT[2:], POSITION[2:], 1.0)
    assert torch.equal(found.novelty, torch.ones(1, TIME, dtype=torch.float64))
    assert torch.equal(found.read_at, torch.full((1, 4), -1))
    assert not found.reads.any()
    assert not found.slots.any()


@pytest.mark.parametrize("form", [slot_scan, slot_memory])
def test_the_only_slot_in_use_is_read_however_unlike_the_token_it_is(form: Callable[..., SlotReads]) -> None:
    """Kills: a slot that is not in use, whose product is zero, taken for the one that weighs most."""
    slots = drawn()[1]
    token = -slots[1:2, 2:3]
    found = form(token, slots[1:2], torch.tensor([[-1, -1, 4, -1]]), torch.tensor([[7]]), 2.0)
    assert torch.equal(found.read_at, torch.tensor([[-1, -1, 7, -1]]))
    torch.testing.assert_close(found.reads, -token)


def test_a_token_that_is_no_number_spoils_the_same_reads_in_both_forms_until_it_leaves_its_slot() -> None:
    """Kills: a read that is spoilt only where the token that asks is bad too; a slot that holds no number and weighs
    nothing in blocks, so that it leaves earlier than in the loop."""
    x, slots = (value.detach() for value in drawn())
    x[0, 5, 2], x[1, 0], x[2, 3] = -torch.inf, torch.inf, torch.nan
    loop, block = (form(x, slots, READ_AT, POSITION, 0.4) for form in (slot_scan, slot_memory))
    for found, expected in zip(block[1:], loop[1:], strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=0.0, atol=1e-12)
    # A block spoils a read whole, the loop the entries that are no numbers.
    spoilt, expected = (~found.reads.isfinite().all(-1) for found in (block, loop))
    assert torch.equal(spoilt, expected)
    assert spoilt.sum(1).tolist()[1:] == [40, TIME - 3]
    assert 1 <= spoilt.sum(1)[0] < TIME - 5


@pytest.mark.parametrize("form", [slot_scan, slot_memory])
def test_no_gradient_flows_into_a_novelty(form: Callable[..., SlotReads]) -> None:
    """Kills: a novelty of tokens, or of slots, that are learned."""
    x, slots = drawn()
    for inputs in ((x, slots.detach()), (x.detach(), slots)):
        found = form(*inputs, READ_AT, POSITION, 0.4)
        assert found.reads.requires_grad
        assert not found.novelty.requires_grad


@pytest.mark.parametrize("form", [slot_scan, slot_memory])
def test_a_call_without_tokens_answers_nothing_and_hands_the_slots_in_use_on(form: Callable[..., SlotReads]) -> None:
    """Kills: novelties of another shape; slots of a row that has none, whatever stood there."""
    x, slots = drawn()
    found = form(x[:, :0], slots, READ_AT, POSITION[:, :0], 0.4)
    assert (found.reads.shape, found.novelty.shape) == (x[:, :0].shape, (3, 0))
    assert torch.equal(found.slots, torch.where((READ_AT >= 0).unsqueeze(-1), slots, 0.0))
    assert torch.equal(found.read_at, READ_AT)


def test_usage_counts_slots_and_the_rate_of_surprise_tokens() -> None:
    """Kills: a usage of the row that has most; a rate that counts a novelty which is the threshold."""
    assert slot_usage(READ_AT).item() == 7 / 12
    assert surprise_rate(torch.tensor([[0.5, 1.0], [0.25, 0.75]]), 0.5).item() == 0.5
