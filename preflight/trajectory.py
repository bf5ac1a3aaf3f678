"""Do small parameters move as their optimiser means them to? A probe training beside its own float64 replay.

A parameter that is stored too coarsely loses every step below half an ulp: a gain of 5.0 in bfloat16 ignores steps
below 0.0156, its logarithm steps below 0.0039 (decision `gain`). Losses fall all the same, and nothing says so. Here
the model trains on real batches, and the gradients that the optimiser really got are replayed in float64 by the
optimiser of the configuration, from the same start. What a parameter should have become is then known exactly.

    drift = max over steps of rms |x_n - y_n|  /  rms of the path sum_i |y_i - y_{i-1}|

with x the parameter, y its float64 replay, rms over entries. The path, and not the value, is the measure: a parameter
that never moves is within 1% of a replay that moved by less than that, but its drift is near 1. Relative to its path a
logarithm drifts as its exponential does, so gains need no case of their own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atlas_ref.blocks.registry import BLOCKS
from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.models.family import Model
from atlas_ref.training.optimiser import OuterOptimiser, hidden_matrices, of_memories, optimiser_of
from atlas_ref.training.schedule import learning_rate
from atlas_ref.training.step import train_step


def small_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what a matrix is not: the gains, biases, coefficients and norms of the blocks with memory."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if any(f".{kind}." in name for kind in BLOCKS) and (parameter.ndim < 2 or name.endswith("log_gain"))
    }


def squeezed_schedule(config: RunConfig, steps: int) -> list[int]:
    """Return `steps` steps of the run, evenly from its first to its last, so that every learning rate is tried."""
    last = config.train.max_steps - 1
    return [round(last * (index + 0.5) / steps) for index in range(steps)]


def drifts(
    config: RunConfig, model: Model, optimiser: OuterOptimiser, batches: Sequence[Batch], steps: int
) -> dict[str, float]:
    """Train `model` in place and return the drift of each small parameter that was meant to move (module docstring).

    Raises NonFiniteError where the training does.
    """
    stored = small_parameters(model)
    exact = {name: nn.Parameter(parameter.detach().double()) for name, parameter in stored.items()}
    # By the names of the model, so that each twin has the weight decay of its parameter.
    replay = optimiser_of(exact, hidden_matrices(model), config.optim, of_memories(model))
    tracks = [_Track(twin.detach()) for twin in exact.values()]
    for index, step in enumerate(squeezed_schedule(config, steps)):
        batch = batches[index % len(batches)]
        train_step(model, optimiser, batch, model.initial_state(batch.tokens.shape[0]), step, config)
        for parameter, twin in zip(stored.values(), exact.values(), strict=True):
            twin.grad = None if parameter.grad is None else parameter.grad.detach().double()
        replay.step(learning_rate(step, config) / config.optim.learning_rate)
        for track, parameter, twin in zip(tracks, stored.values(), exact.values(), strict=True):
            track.add(parameter.detach().double(), twin.detach())
    return {name: track.drift() for name, track in zip(stored, tracks, strict=True) if track.moved()}


class _Track:
    """The path of one replayed parameter and the largest distance from it."""

    def __init__(self, start: Tensor) -> None:
        self.last = start.clone()
        self.path = torch.zeros_like(start)
        self.error = 0.0

    def add(self, stored: Tensor, exact: Tensor) -> None:
        """Take one step in."""
        self.path += (exact - self.last).abs()
        self.last = exact.clone()
        self.error = max(self.error, _rms(stored - exact))

    def moved(self) -> bool:
        """Whether the replay went anywhere."""
        return bool((self.path > 0).any())

    def drift(self) -> float:
        """Return the largest error as a share of the path."""
        return self.error / _rms(self.path)


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
