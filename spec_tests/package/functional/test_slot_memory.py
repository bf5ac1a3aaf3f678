"""The memory of slots: decided first and read at once, it is what the loop over tokens is.

Every test names the fault that was put into the program by hand and that it caught.
"""

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


def test_usage_counts_slots_and_the_rate_of_surprise_tokens() -> None:
    """Kills: a usage of the row that has most; a rate that counts a novelty which is the threshold."""
    assert slot_usage(READ_AT).item() == 7 / 12
    assert surprise_rate(torch.tensor([[0.5, 1.0], [0.25, 0.75]]), 0.5).item() == 0.5
