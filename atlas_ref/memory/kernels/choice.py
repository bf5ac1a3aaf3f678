"""Which form of the memory runs: the reference, or kernels where they know what is asked.

| `model.kernels` | what runs                                                                                  |
|-----------------|--------------------------------------------------------------------------------------------|
| `reference`     | `linear`, `orthogonalised`, `formed` and `delta`, as they are written down                   |
| `triton`        | the kernels for what `supports` names, the reference for all else; refused where none compile |
| `auto`          | `triton` on a GPU that is large enough, where Triton is installed, else `reference`           |

Kernels keep nothing and change no state: a checkpoint of one is a checkpoint of the other. They are not imported before
one of them runs, so that nothing here needs Triton.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.memory.rules import MemoryRule
from atlas_ref.memory.segments import Start
from atlas_ref.memory.state import Carry

Kernels = Literal["auto", "reference", "triton"]
Run = Callable[..., tuple[Tensor, Carry, Tensor | None]]
"""A run over the tokens of a call, with the arguments of `run.run_linear_kernels`."""
Front = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""From what is projected to queries, keys and values, with the arguments of `kernels.front.front`."""


class Asked(NamedTuple):
    """What a call shows the memory."""

    keys: Float[Tensor, "batch time heads features"]
    values: Float[Tensor, "batch time heads values"]
    queries: Float[Tensor, "batch time heads features"]


class Widths(NamedTuple):
    """Heads of queries, of keys and of values, their widths, and the length that enters under the root of a norm."""

    heads: int
    key: int
    value: int
    eps: float


MOST_VALUES = 64
MOST_SLOTS = 128
MOST_ORTHOGONAL = 64
"""Sides of the matrices that a program holds on the chip; under Newton-Schulz it holds several."""
LARGE = (9, 10)
"""Compute capabilities with 227 KiB of shared memory a block, which these sides were tried on (Hopper); on a card with
less they may not fit."""


def most_features(slots: int) -> int:
    """Return the widest features whose keys of a segment fit beside M: fewer where a product of three holds parts too.

    What stands here was compiled and run on a card that is LARGE.
    """
    if slots > 64:
        return 64
    return 128 if torch.get_float32_matmul_precision() == "highest" else 256


def chosen(kernels: Kernels, device: torch.device) -> Literal["reference", "triton"]:
    """Return what runs on `device`; raise UserError where `triton` is asked for and cannot run."""
    if kernels == "reference" or (kernels == "auto" and not _compiles(device)):
        return "reference"
    if not _compiles(device) and not _interprets():
        raise UserError(
            f"model.kernels is 'triton': kernels need the package triton and a GPU of compute capability "
            f"{' or '.join(map(str, LARGE))}, and the device is '{device.type}'; valid here are 'auto' and 'reference'"
        )
    return "triton"


def kernel_run(kernels: Kernels, rule: MemoryRule, asked: Asked, slots: int, start: Start) -> Run | None:
    """Return the run by kernels, None where the reference runs; `slots` as in `supports`."""
    keys, values = asked[:2]
    if chosen(kernels, keys.device) == "reference" or not supports(rule, keys, values, slots):
        return None
    if start.shards is not None:
        return None
    from atlas_ref.memory.kernels import run

    return run.run_orthogonal_kernels if rule.orthogonalised else run.run_linear_kernels


def supports(
    rule: MemoryRule, keys: Float[Tensor, "*tokens features"], values: Float[Tensor, "*tokens values"], slots: int
) -> bool:
    """Return whether kernels know this memory: a matrix written by descent of `l2`, in tiles of the chip.

    `slots` are the tokens of a segment with those of the window before it. A case that kernels do not know is not given
    to them.
    """
    known = {torch.float32} if rule.orthogonalised else {torch.float32, torch.bfloat16}
    if not {keys.dtype, values.dtype} <= known or keys.numel() == 0:
        return False
    return fits(rule, keys.shape[-1], values.shape[-1], slots)


def fits(rule: MemoryRule, features: int, width: int, slots: int) -> bool:
    """Return whether kernels know a memory of these sizes (`supports`)."""
    plain = (rule.architecture, rule.bias.name, rule.link.name, rule.gate_axis, rule.retention, rule.at_retained)
    if plain != ("matrix", "l2", "identity", "head", "dual", False) or slots > MOST_SLOTS:
        return False
    if not rule.orthogonalised:
        return features <= most_features(slots) and width <= MOST_VALUES
    # The Gram matrix is that of the rows, which are the smaller side then.
    return width <= features <= MOST_ORTHOGONAL and rule.coefficients != "polar_express_paper"


def kernel_front(kernels: Kernels, projected: Tensor, weight: Tensor) -> Front | None:
    """Return the front by kernels (`kernels.front`), None where the reference runs."""
    if chosen(kernels, projected.device) == "reference" or projected.numel() == 0:
        return None
    if projected.dtype not in (torch.float32, torch.bfloat16) or weight.dtype not in (torch.float32, torch.bfloat16):
        return None
    from atlas_ref.memory.kernels import front

    return front.front


def activations(projected: Tensor) -> torch.dtype:
    """Return in what queries, keys and values are kept between kernels of a linear memory, which compute in float32.

    In bfloat16 where they come from a product in it, unless products of float32 are asked for at their full precision.
    """
    narrow = projected.dtype == torch.bfloat16 and torch.get_float32_matmul_precision() != "highest"
    return torch.bfloat16 if narrow else torch.float32


@lru_cache(maxsize=8)
def _compiles(device: torch.device) -> bool:
    """Return whether Triton compiles kernels for the device, and their tiles fit on it."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device)[0] in LARGE


def _interprets() -> bool:
    """Return whether Triton was asked to interpret its kernels, which it does on any device."""
    return os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None
