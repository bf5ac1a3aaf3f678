"""Triton's kernel of what stands in which slot, interpreted where there is no GPU, against the reference."""

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.backbone_memory import BackboneMemory, Remembered
from atlas_ref.blocks.kernels.choice import kernel_slots
from atlas_ref.blocks.windowed_attention import Places
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.functional.slot_memory import BLOCK, Decide, SlotReads, decided, slot_memory
from spec_tests.package.micro.cognate import cognate_config

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

ROWS, TIME, WIDTH, SLOTS = 4, BLOCK + 7, 5, 6
"""A block and the beginning of another; a number of slots that is no power of two."""


def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return tokens, slots, when they were read, and positions: a row that goes on, one of two documents, one that
    begins, and one whose slots were all read at the same time."""
    random = torch.Generator().manual_seed(5)
    x, slots = (torch.randn(ROWS, n, WIDTH, generator=random) for n in (TIME, SLOTS))
    index = torch.arange(TIME)
    position = torch.stack([40 + index, index % 33, index, 2 + index])
    read_at = torch.tensor([[9, -1, 3, 39, -1, 0], [-1] * SLOTS, [4, 5, -1, 0, 1, 2], [1] * SLOTS])
    return x, slots, read_at, position


def found(threshold: float, kernels: bool, *given: Tensor) -> SlotReads:
    on = tuple(x.to(DEVICE) for x in given)
    decide = kernel_slots("triton", on[0], SLOTS) if kernels else None
    assert (decide is None) is not kernels
    return slot_memory(on[0], on[1], on[2], on[3], threshold, decide)


@pytest.mark.parametrize("threshold", [pytest.param(-0.5, marks=pytest.mark.exhaustive), 0.4, 0.9])
def test_the_kernel_decides_what_the_loop_over_tokens_decides(threshold: float) -> None:
    """Kills: the last of several slots that were read as long ago; a document whose slots stay in use; a slot that is
    left a token late; the time of a read that is not moved, or of a slot that nobody uses; a slot behind the last."""
    for one, other in zip(found(threshold, True, *drawn()), found(threshold, False, *drawn()), strict=True):
        assert torch.equal(one, other)


def test_the_kernel_takes_the_first_of_equal_slots_and_no_number_for_the_largest() -> None:
    """Kills: the last of equal products; a zero below the other; NaN that loses, or whose novelty is a number; a
    product of minus infinity that is read all the same."""
    x, slots, read_at, position = drawn()
    x, slots = x.round(), slots.round()
    slots[0, 2] = torch.nan
    slots[3] = 0.0
    slots[3, 1:] = -0.0
    x[0, 3] = torch.nan
    x[1, 20] = torch.inf
    x[3, 9] = -torch.inf
    for one, other in zip(
        found(0.3, True, x, slots, read_at, position), found(0.3, False, x, slots, read_at, position), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0, equal_nan=True)


def test_a_largest_product_of_minus_infinity_is_that_of_the_first_slot_in_use_or_not() -> None:
    """Kills: a slot in use that is read where one before it, which nobody uses, weighs as little."""
    cosines, products = torch.zeros(1, 2, 5, device=DEVICE), torch.full((1, 2, 5), -torch.inf, device=DEVICE)
    read_at, position = torch.tensor([[-1, 4, 6]], device=DEVICE), torch.tensor([[7, 8]], device=DEVICE)
    decide = kernel_slots("triton", cosines, 3)
    assert decide is not None
    given = cosines, products, read_at, position, 2.0
    for one, other in zip(decide(*given), decided(*given), strict=True):
        assert torch.equal(one, other)


def test_the_memory_of_a_backbone_takes_the_kernel_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a kernel that no model asks for; another number of slots or another threshold than the model has."""
    config = cognate_config("model.ltm.kind='both'").any_model
    assert isinstance(config, CognateConfig)
    memory = BackboneMemory(config).to(DEVICE)
    random = torch.Generator().manual_seed(2)
    y = torch.randn(2, 9, config.d_model, generator=random).to(DEVICE)
    index = torch.arange(9, device=DEVICE).expand(2, 9)
    asked, found = list[tuple[int, bool]](), list[Remembered]()

    def noted(kernels: str, told: Tensor, slots: int) -> Decide | None:
        del kernels
        asked.append((slots, bool(found)))
        return kernel_slots("triton" if found else "reference", told, slots)

    monkeypatch.setattr("atlas_ref.blocks.backbone_memory.kernel_slots", noted)
    for _ in range(2):
        found.append(memory(y, memory.initial_state(2), Places(index, index[:, -1] + 1, index)))
    assert asked == [(config.ltm.slots, False), (config.ltm.slots, True)]
    one, other = found
    assert torch.equal(one.features, other.features)
    assert all(torch.equal(x, other.state.to_tensors()[name]) for name, x in one.state.to_tensors().items())


def test_what_the_kernel_does_not_hold_goes_the_way_of_the_loop() -> None:
    """Kills: float64 by a kernel that computes in float32; more slots than a program holds; a call without tokens."""
    tokens = torch.zeros(1, 2, 3, device=DEVICE)
    assert kernel_slots("triton", tokens, 16384) is not None
    assert kernel_slots("triton", tokens.double(), 4) is None
    assert kernel_slots("triton", tokens, 16385) is None
    assert kernel_slots("triton", tokens[:, :0], 4) is None
    assert kernel_slots("reference", tokens, 4) is None
