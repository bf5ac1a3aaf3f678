"""The front of a memory as loops in float64, and how its fast forms are held to them (`kernels.front`, `cpu_front`)."""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from atlas_ref.memory.kernels.call import Widths
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array

HEADS, KEY, VALUE, KERNEL, EPS = 2, 3, 4, 3, 1e-6
CHANNELS: Final = HEADS * (2 * KEY + VALUE)
POSITION: Final = np.array([[0, 1, 2, 3, 0, 1], [1, 2, 3, 0, 1, 2]])
Front = Callable[..., tuple[Tensor, Tensor, Tensor]]


def front_by_loops(x: Array, weight: Array, tail: Array, scale: Array, position: Array) -> tuple[Array, Array, Array]:
    """Return queries and keys of length `scale`, and values, from a loop over tokens and ages."""
    filtered = np.zeros_like(x)
    padded = np.concatenate([tail, x], 1)
    for row, token, age in np.ndindex(*position.shape, KERNEL):
        if age <= position[row, token]:
            filtered[row, token] += weight[:, KERNEL - 1 - age] * padded[row, token + KERNEL - 1 - age]
    addresses = (filtered / (1.0 + np.exp(-filtered)))[..., : 2 * HEADS * KEY].reshape(*position.shape, 2, HEADS, KEY)
    scaled = scale * addresses / np.sqrt((addresses**2).sum(-1, keepdims=True) + EPS**2)
    return scaled[:, :, 0], scaled[:, :, 1], filtered[..., 2 * HEADS * KEY :].reshape(*position.shape, HEADS, VALUE)


def check_front(
    front: Front, dtype: torch.dtype, device: torch.device, rounding: float, slope: float, position: Array = POSITION
) -> None:
    """Compare outputs with the loops, and gradients with their slope in a random direction; some of the tail is NaN."""
    rng = generator(7)
    batch, time = position.shape
    tail = rng.standard_normal((batch, KERNEL - 1, CHANNELS))
    # Row 0 begins its context; row 1 has one token of it behind it.
    tail[0] = tail[1, 0] = np.nan
    given = {
        "x": rng.standard_normal((batch, time, CHANNELS)),
        "weight": rng.standard_normal((CHANNELS, KERNEL)),
        "tail": tail,
        "scale": np.array([1.5]),
    }
    leaves = {
        name: torch.tensor(value, dtype=dtype, device=device, requires_grad=True) for name, value in given.items()
    }
    widths = Widths(HEADS, KEY, VALUE, EPS)
    inputs, scale = [leaves[name] for name in ("x", "weight", "tail")], leaves["scale"]
    found = front(*inputs, torch.tensor(position, device=device), scale, widths, dtype)
    asked = [rng.standard_normal(part.shape) for part in found]
    for part, wanted in zip(found, front_by_loops(**given, position=position), strict=True):
        assert np.abs(part.detach().cpu().numpy() - wanted).max() < rounding
    torch.autograd.backward(found, [torch.tensor(part).to(found[0]) for part in asked])
    for name, leaf in leaves.items():
        step = 1e-5 * rng.standard_normal(leaf.shape)
        moved = ({**given, name: given[name] + sign * step} for sign in (1.0, -1.0))
        ahead, behind = (front_by_loops(**inputs, position=position) for inputs in moved)
        expected = sum(float(((a - b) * c).sum()) / 2.0 for a, b, c in zip(ahead, behind, asked, strict=True))
        assert leaf.grad is not None
        gradient = leaf.grad.cpu().numpy()
        size = float(np.sqrt((gradient**2).sum() * (step**2).sum()))
        assert abs(float((gradient * step).sum()) - expected) < slope * size, name
    assert leaves["tail"].grad is not None
    assert not leaves["tail"].grad[0].any(), "what no token sees has no gradient"
