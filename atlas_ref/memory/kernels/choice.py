"""Which form of the memory runs: the reference, or kernels where they know what is asked.

| `model.kernels` | what runs                                                                                    |
|-----------------|----------------------------------------------------------------------------------------------|
| `reference`     | `linear`, `orthogonalised`, `formed` and `delta`, as they are written down                     |
| `triton`        | what `supports` and `supports_mlp` name, on a GPU, else the reference; refused where none compile |
| `cpu`           | compiled C++ for what `supports_on_cpu` names, else the reference; refused where it is not built |
| `auto`          | on a GPU that is large enough where Triton is, what `triton` runs; `cpu` on a CPU where it was     |
|                 | built, but for a token of decoding, which is over sooner by the reference; else the reference |

Kernels keep nothing and change no state: a checkpoint of one is a checkpoint of the other. They are not imported before
one of them runs, so that nothing here needs Triton. What runs on a CPU is built by `atlas kernels build` alone.
"""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.memory.kernels.call import Asked, Run
from atlas_ref.memory.kernels.cpu_library import SUFFIXES, library
from atlas_ref.memory.kernels.known import (
    LEAST_SLOTS,
    MOST_ALONE,
    MOST_FORWARD,
    fits,
    is_plain,
    is_square,
    supports,
    supports_mlp,
    supports_on_cpu,
)
from atlas_ref.memory.rules import MemoryRule
from atlas_ref.memory.segments import Start
from atlas_ref.memory.shards import Shards

Kernels = Literal["auto", "reference", "cpu", "triton"]
Form = Literal["reference", "cpu", "triton"]
Front = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""From what is projected to queries, keys and values, with the arguments of `kernels.front.front`."""
Alone = Callable[..., tuple[Tensor, Any]]
"""From what a token brings to reads and what is held after it, with the arguments of `kernels.one_token.one_token`."""
LARGE = (9, 10)
"""Compute capabilities with 227 KiB of shared memory a block, which these sides were tried on (Hopper); on a card with
less they may not fit."""


def chosen(kernels: Kernels, device: torch.device) -> Form:
    """Return what runs on `device`; raise UserError where `triton` or `cpu` is asked for and cannot run."""
    if kernels == "auto":
        if device.type == "cpu":
            return "reference" if library() is None else "cpu"
        return "triton" if _compiles(device) else "reference"
    if kernels == "cpu":
        _refuse_cpu(device)
    if kernels == "triton" and not _compiles(device) and not interprets():
        raise UserError(
            f"model.kernels is 'triton': kernels need the package triton and a GPU of compute capability "
            f"{' or '.join(map(str, LARGE))}, and the device is '{device.type}'; valid here are 'auto' and 'reference'"
        )
    return kernels


def _refuse_cpu(device: torch.device) -> None:
    """Raise UserError where the kernels for a CPU cannot run."""
    if device.type != "cpu":
        raise UserError(
            f"model.kernels is 'cpu' and the device '{device.type}'; valid there are 'auto', 'triton' and 'reference'"
        )
    if library() is None:
        raise UserError(
            "model.kernels is 'cpu', and those kernels are not built for this processor: `atlas kernels build` does it "
            "once; valid without are 'auto' and 'reference'"
        )


def kernel_run(kernels: Kernels, rule: MemoryRule, asked: Asked, width: int, past: int, start: Start) -> Run | None:
    """Return the run by kernels, None where the reference runs; segments have `width` tokens behind `past` others.

    On a GPU a call of one token, which is what decoding makes, has a kernel of its own, without a derivative.
    """
    keys, values = asked[:2]
    form = chosen(kernels, keys.device)
    if form == "reference" or (form == "cpu" and _soon_over(kernels, keys)):
        return None
    found = library()
    if start.shards is not None and (form == "cpu" or not rule.orthogonalised):
        return None
    if form == "cpu" and found is not None and supports_on_cpu(rule, keys, values):
        from atlas_ref.memory.kernels import cpu_run

        return partial(cpu_run.run_cpu, found)
    if form == "triton" and keys.shape[1] == 1:
        return _alone(rule, keys, values, past + 1, start)
    if form == "triton" and supports_mlp(rule, keys, values, width + past):
        from atlas_ref.memory.kernels import mlp_run

        return mlp_run.run_mlp_kernels
    if form == "triton" and supports(rule, keys, values, width + past):
        from atlas_ref.memory.kernels import run

        return run.run_orthogonal_kernels if rule.orthogonalised else run.run_linear_kernels
    return None


def known(
    kernels: Kernels, rule: MemoryRule, device: torch.device, features: int, width: int, window: int, shards: bool
) -> bool:
    """Return whether kernels run the memory of `rule` over calls of several tokens (`kernel_run`).

    It has `width` values and an Omega window of `window`; `shards` says whether anything goes over borders of shards.
    """
    keys, values = (torch.empty(1, max(2, rule.chunk), 1, size, device=device) for size in (features, width))
    start = Start((), Shards(rule.chunk, 0, torch.zeros(())) if shards else None)
    past = window + rule.update_every - 2
    return kernel_run(kernels, rule, Asked(keys, values, keys), rule.chunk, past, start) is not None


def _soon_over(kernels: Kernels, tokens: Float[Tensor, "batch time *rest"]) -> bool:
    """Return whether a call on a CPU, that of decoding, is over sooner by the reference, where there is a choice."""
    return kernels == "auto" and tokens.shape[1] == 1 and not torch.is_grad_enabled()


def _alone(rule: MemoryRule, keys: Tensor, values: Tensor, slots: int, start: Start) -> Run | None:
    """Return the run of one token by a kernel, None of a memory that it does not know and where there are gradients."""
    if {keys.dtype, values.dtype} != {torch.float32} or keys.numel() == 0 or start.shards is not None:
        return None
    write = write_alone(rule, keys.shape[-1], values.shape[-1], slots)
    if write is None:
        return None
    from atlas_ref.memory.kernels import one_token

    return partial(one_token.run_alone, write)


def write_alone(rule: MemoryRule, features: int, width: int, slots: int) -> Alone | None:
    """Return the write and the read of one token by kernels, None of a memory that they do not know and where there are
    gradients; `slots` are the pairs of its window."""
    if torch.is_grad_enabled() or not is_plain(rule, "matrix"):
        return None
    if rule.orthogonalised:
        # Without a way back there is room for wider ones, if the window is short.
        wide = features <= MOST_FORWARD and slots <= LEAST_SLOTS and is_square(rule, features, width)
        if not wide and not fits(rule, features, width, slots):
            return None
        from atlas_ref.memory.kernels import orthogonal_one_token

        return orthogonal_one_token.orthogonal_one_token
    if features > MOST_ALONE:
        return None
    from atlas_ref.memory.kernels import one_token

    return one_token.one_token


def kernel_front(kernels: Kernels, projected: Tensor, weight: Tensor) -> Front | None:
    """Return the front by kernels (`kernels.front`, `kernels.cpu_front`), None where the reference runs."""
    form = chosen(kernels, projected.device)
    if form == "reference" or projected.numel() == 0 or (form == "cpu" and _soon_over(kernels, projected)):
        return None
    found, dtypes = library(), {projected.dtype, weight.dtype}
    if form == "cpu" and found is not None and len(dtypes) == 1 and dtypes <= SUFFIXES.keys():
        from atlas_ref.memory.kernels import cpu_front

        return partial(cpu_front.front, found)
    if form == "triton" and dtypes <= {torch.float32, torch.bfloat16}:
        from atlas_ref.memory.kernels import front

        return front.front
    return None


def activations(projected: Tensor) -> torch.dtype:
    """Return in what queries, keys and values are kept between kernels of a linear memory, which compute in float32, or
    of a CPU in float64.

    In bfloat16 where they come from a product in it, unless products of float32 are asked for at their full precision.
    """
    narrow = projected.dtype == torch.bfloat16 and torch.get_float32_matmul_precision() != "highest"
    return torch.bfloat16 if narrow else torch.promote_types(projected.dtype, torch.float32)


@lru_cache(maxsize=8)
def _compiles(device: torch.device) -> bool:
    """Return whether Triton compiles kernels for the device, and their tiles fit on it."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device)[0] in LARGE


def interprets() -> bool:
    """Return whether Triton was asked to interpret its kernels, which it does on any device."""
    return os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None
