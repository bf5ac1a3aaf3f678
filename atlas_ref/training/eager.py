"""The optimisers of torch without what they do for its compiler, which nothing here is run by.

Torch wraps what its optimisers do so that `torch.compile` leaves it alone, and for that imports the compiler as soon as
one of them is made: as long again as torch itself takes to import, in every process that trains. Unwrapped it is the
same code, with the same bits. Where torch wraps nothing there is nothing to unwrap.
"""

from inspect import unwrap
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class Eager(Optimizer):
    """What all of them share."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take a group of parameters."""
        unwrap(Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        unwrap(Optimizer.zero_grad)(self, set_to_none)


class EagerAdamW(Eager, AdamW):
    """AdamW of torch."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient."""
        return unwrap(AdamW.step)(self, closure)


class EagerMuon(Eager, Muon):
    """Muon of torch."""
