"""Triton's kernel of the gates of a memory, interpreted where there is no GPU, against the reference."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.gates import GateHeads
from atlas_ref.config import load_config

# The port first: it asks for the interpreter, which Triton reads where it is imported.
DEVICE = pytest.importorskip("spec_tests.ports.kernels").DEVICE
pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

WIDTH, HEADS, BATCH, TIME, WINDOW = 6, 3, 2, 23, 4


def learned(kernels: str, read: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gates that are read, and the gradients of a sum of them in all that they depend on."""
    changes = f"omega_window={WINDOW}", "gates.momentum_max=0.9", "gates.step_max=0.7"
    config = load_config("tiny", [f"model.memory.{change}" for change in changes]).model.memory
    module = GateHeads(WIDTH, HEADS, 5, config, "triton" if kernels == "triton" else "reference").to(DEVICE)
    module.initialise(torch.Generator().manual_seed(1), 0.5)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=random).to(DEVICE))
    hidden = torch.randn(BATCH, TIME, WIDTH, generator=random).to(DEVICE).requires_grad_()
    gates = module(hidden)
    found = [gates[n] for n in read]
    slopes = [torch.randn(x.shape, generator=random).to(DEVICE) for x in found]
    return found, list(torch.autograd.grad(found, [hidden, *module.parameters()], slopes))


@pytest.mark.parametrize("read", [(0, 1, 2, 3), (0, 1), (2, 3)])
def test_gates_by_kernels_are_the_reference_with_all_gradients(read: tuple[int, ...]) -> None:
    """Kills: heads and ages in each other's places; the largest of another gate; what a product is padded by read;
    tokens behind the last of a program; a gate that nobody reads with the gradient of another.
    """
    for ours, theirs in zip(learned("triton", read), learned("reference", read), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_what_a_product_is_padded_by_has_no_slope() -> None:
    from atlas_ref.blocks.kernels.gate_kernels import gates

    columns = (3 + WINDOW) * HEADS
    raw = torch.full((BATCH, TIME, columns + 3), torch.nan, device=DEVICE)
    raw[..., :columns] = 0.5
    raw.requires_grad_()
    found = torch.cat([x.flatten() for x in gates(raw, HEADS, WINDOW, 0.9, 0.7)])
    (slope,) = torch.autograd.grad(found.sum(), raw)
    assert torch.equal(slope[..., columns:], torch.zeros(BATCH, TIME, 3, device=DEVICE))
    assert slope[..., :columns].isfinite().all()
