"""The update of a step without launches: clipping and the optimiser, recorded once as a CUDA graph and replayed.

    g <- share g,  and every parameter that has a gradient moves as its optimiser has it

What is recorded is `OuterOptimiser.move` itself, on the gradients of one recorded step, which lie still
(`training.graphed`). Rates and counts of steps are tensors (`optimiser.with_rates_in_tensors`), filled before the
replay; share is the factor of clipping. Which parameters have a gradient the host knows by then, and each set of them
has a recording of its own. Any other update is made as it is.
"""

from collections.abc import Mapping

import torch
from torch import nn

from atlas_ref.training.captured import Captured
from atlas_ref.training.optimiser import OuterOptimiser

MOST = 2**26
"""Most numbers in all parameters whose update is recorded: a graph keeps what it needs in between."""
SETS = 4
"""Most sets of parameters whose updates are recorded."""


class RecordedUpdate:
    """The updates behind one recorded step (module docstring); on a CPU they are made as they would be recorded."""

    def __init__(self, optimiser: OuterOptimiser) -> None:
        self._optimiser = optimiser
        self._made: dict[tuple[str, ...], Captured | None] = {}
        """By the names of what moves; None where it cannot be recorded."""
        self._share, self._filled = torch.ones(()), 1.0

    def __call__(self, held: Mapping[str, nn.Parameter], share: float) -> bool:
        """Clip the gradients of the parameters that have one, and move these; return False where it is still to be
        done.
        """
        moved = {name: parameter for name, parameter in held.items() if parameter.grad is not None}
        names = tuple(moved)
        if names not in self._made:
            if len(self._made) == SETS or not self._may_record(moved):
                return False
            self._made[names] = self._record(moved)
        made = self._made[names]
        if made is None:
            return False
        if share != self._filled:
            self._share.fill_(share)
            self._filled = share
        made.replay()
        return True

    def _may_record(self, moved: Mapping[str, nn.Parameter]) -> bool:
        """Return whether the same launches move these each time; the first update of a parameter makes its state."""
        parts, names = self._optimiser.parts, self._optimiser.names
        if not moved or not self._optimiser.reads_rates or sum(x.numel() for x in moved.values()) > MOST:
            return False
        return all(x in parts[part].state for part, own in names.items() for name, x in own.items() if name in moved)

    def _record(self, moved: Mapping[str, nn.Parameter]) -> Captured | None:
        """Record the update, which is still to be made; None where a graph cannot hold it."""
        like = next(iter(moved.values()))
        self._share = self._share.to(like)
        beside = next((made for made in self._made.values() if made is not None), None)
        try:
            return Captured(lambda: self._move(moved), like.device, beside)
        except RuntimeError:
            # A recording that failed has done nothing.
            return None

    def _move(self, moved: Mapping[str, nn.Parameter]) -> None:
        """Clip and move."""
        torch._foreach_mul_([x.grad for x in moved.values() if x.grad is not None], self._share)
        self._optimiser.move()
