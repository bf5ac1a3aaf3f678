"""What the numbers in a checkpoint can be: a checksum shows that they were written, not that they make sense.

Everything that training saves is finite (`saving`), and what is counted in it has bounds that follow from the step: an
optimiser has updated a parameter at least once, and not more often than there were steps; a row has seen no more tokens
of its document than it was given. Another number would be an error in the middle of a step, or a wrong result.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.errors import UserError
from atlas_ref.processes.parallel import own_part

UPDATES, SQUARES, POSITION = "step", "exp_avg_sq", "position"


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError, naming the tensor, unless all numbers are finite."""
    for name, tensor in tensors.items():
        if not torch.isfinite(own_part(tensor)).all():
            raise UserError(f"tensor '{name}' holds a number that is not finite.")


def check_optimiser(tensors: Mapping[str, Tensor], step: int) -> None:
    """Raise UserError unless the state of an optimiser is one that `step` updates can leave; names are the state's."""
    check_finite(tensors)
    for name, tensor in tensors.items():
        key = name.split(".")[1]
        if key == UPDATES:
            _check_counts(name, tensor, 1, step)
        elif key == SQUARES and (own_part(tensor) < 0.0).any():
            raise UserError(f"optimiser tensor '{name}' holds a mean of squares below zero.")


def check_state(tensors: Mapping[str, Tensor], step: int, config: RunConfig) -> None:
    """Raise UserError unless a memory state is one that `step` batches can leave."""
    check_finite(tensors)
    for name, tensor in tensors.items():
        if name.endswith(f".{POSITION}"):
            _check_counts(name, tensor, 0, step * config.data.sequence_length)


def _check_counts(name: str, tensor: Tensor, least: int, most: int) -> None:
    counts = own_part(tensor)
    wrong = counts[(counts < least) | (counts > most) | (counts != counts.round())]
    if wrong.numel():
        raise UserError(f"tensor '{name}' counts {wrong[0].item()}; it must be a whole number from {least} to {most}.")
