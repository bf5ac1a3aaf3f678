"""Which form of the memory runs: the reference, or kernels where they know what is asked.

| `model.kernels` | what runs                                                                                    |
|-----------------|----------------------------------------------------------------------------------------------|
| `reference`     | `linear`, `orthogonalised`, `formed` and `delta`, as they are written down                     |
| `triton`        | what `supports` and `supports_mlp` name, on a GPU, else the reference; refused where none compile |
| `cpu`           | compiled C++ for what `supports_on_cpu` names, else the reference; refused where it is not built |
| `auto`          | on a GPU that is large enough where Triton is, what `supports` names; `cpu` on a CPU where it was  |
|                 | built, but for a token of decoding, which is over sooner by the reference; else the reference |

Kernels keep nothing and change no state: a checkpoint of one is a checkpoint of the other. They are not imported before
one of them runs, so that nothing here needs Triton. What runs on a CPU is built by `atlas kernels build` alone.
"""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.util import find_spec
from math import log2, prod
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.newton_schulz import step_coefficients
from atlas_ref.memory.kernels.cpu_library import SUFFIXES, library
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import ArchitectureName, MemoryRule, WriteCoefficients
from atlas_ref.memory.segments import Start
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import Carry, MemoryState

Kernels = Literal["auto", "reference", "cpu", "triton"]
Form = Literal["reference", "cpu", "triton"]
Front = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""From what is projected to queries, keys and values, with the arguments of `kernels.front.front`."""


class Asked(NamedTuple):
    """What a call shows the memory."""

    keys: Float[Tensor, "batch time heads features"]
    values: Float[Tensor, "batch time heads values"]
    queries: Float[Tensor, "batch time heads features"]


class MemoryCall(NamedTuple):
    """A call of a memory, as every run is given it; `measured` asks for squared errors."""

    rule: MemoryRule
    plan: SegmentPlan
    asked: Asked
    write: WriteCoefficients
    start: Start
    state: MemoryState
    measured: bool


Ran = tuple[Tensor, Carry, Tensor | None]
"""Reads [batch, time, heads, values], the state after the call, and squared errors of all slots, or none."""
Run = Callable[[MemoryCall], Ran]


class Widths(NamedTuple):
    """Heads of queries, of keys and of values, their widths, and the length that enters under the root of a norm."""

    heads: int
    key: int
    value: int
    eps: float


MOST_VALUES = 64
MOST_SLOTS = 128
"""Sides of what a program holds on the chip."""
MOST_OF_MLP = 64
"""Features and values of the memory of two layers, of which a program holds some ten squares of these sides."""
MOST_ALONE = 1024
"""Features that one program holds of a row of M, where it has no more to hold."""
MOST_FORWARD, LEAST_SLOTS = 160, 16
"""Features and slots that one token under Newton-Schulz has room for in float32, which needs no way back."""
HALF_GROWTH = 2.0**13
"""How much the steps of Newton-Schulz may enlarge a matrix of norm one that is to stay within half precision."""
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


def near(a: float) -> float:
    """Return the power of two nearest to a, as its logarithm has it."""
    return 2.0 ** round(log2(a))


def halves(rule: MemoryRule) -> bool:
    """Return whether products under Newton-Schulz are of half precision.

    It has the ten bits of tf32, which is thus asked for; what would not fit is divided before.
    """
    growth = prod(near(a) for a, _, _ in step_coefficients(rule.coefficients, rule.newton_schulz_steps))
    return torch.get_float32_matmul_precision() != "highest" and growth <= HALF_GROWTH


def most_orthogonal(rule: MemoryRule) -> int:
    """Return the widest features under Newton-Schulz: a program holds several matrices of each token that writes."""
    return 256 if halves(rule) else 64


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
    form, found = chosen(kernels, keys.device), library()
    if form == "cpu" and _soon_over(kernels, keys):
        return None
    if start.shards is not None and (form == "cpu" or not rule.orthogonalised):
        return None
    if form == "cpu" and found is not None and supports_on_cpu(rule, keys, values):
        from atlas_ref.memory.kernels import cpu_run

        return partial(cpu_run.run_cpu, found)
    if form == "triton" and keys.shape[1] == 1:
        return _alone(rule, keys, values, past + 1, start)
    # Not by `auto`: compared in the interpreter and timed on a card, where one of their forms went beyond its memory.
    if kernels == "triton" and supports_mlp(rule, keys, values, width + past):
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
    known = _is_plain(rule, "matrix") and {keys.dtype, values.dtype} == {torch.float32}
    if torch.is_grad_enabled() or not known or keys.numel() == 0 or start.shards is not None:
        return None
    features, width = keys.shape[-1], values.shape[-1]
    if rule.orthogonalised:
        # Without a way back there is room for wider ones, if the window is short.
        wide = features <= MOST_FORWARD and slots <= LEAST_SLOTS and _is_square(rule, features, width)
        if not wide and not fits(rule, features, width, slots):
            return None
        from atlas_ref.memory.kernels import orthogonal_one_token

        return orthogonal_one_token.run_orthogonal_alone
    if features > MOST_ALONE:
        return None
    from atlas_ref.memory.kernels import one_token

    return one_token.run_alone


def supports_on_cpu(
    rule: MemoryRule, keys: Float[Tensor, "*tokens features"], values: Float[Tensor, "*tokens values"]
) -> bool:
    """Return whether kernels for a CPU know this memory: a matrix, or two layers, written by descent of `l2`.

    Under Newton-Schulz it is a matrix; two layers are not read at their anchor.
    """
    if keys.dtype != values.dtype or keys.dtype not in SUFFIXES or keys.numel() == 0:
        return False
    if rule.orthogonalised:
        return _is_plain(rule, "matrix") and rule.coefficients != "polar_express_paper"
    return _is_plain(rule, "matrix") or (_is_plain(rule, "mlp") and rule.read != "anchor")


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


def supports_mlp(
    rule: MemoryRule, keys: Float[Tensor, "*tokens features"], values: Float[Tensor, "*tokens values"], slots: int
) -> bool:
    """Return whether kernels know this memory of two layers: written by descent of `l2`, and not read at its anchor.

    `slots` are as in `supports`.
    """
    if not {keys.dtype, values.dtype} <= {torch.float32, torch.bfloat16} or keys.numel() == 0:
        return False
    if not _is_plain(rule, "mlp") or rule.orthogonalised or rule.read == "anchor":
        return False
    return max(keys.shape[-1], values.shape[-1]) <= MOST_OF_MLP and slots <= MOST_SLOTS


def fits(rule: MemoryRule, features: int, width: int, slots: int) -> bool:
    """Return whether kernels know a memory of these sizes (`supports`)."""
    if not _is_plain(rule, "matrix") or slots > MOST_SLOTS:
        return False
    if not rule.orthogonalised:
        return features <= most_features(slots) and width <= MOST_VALUES
    return _is_square(rule, features, width) and features <= most_orthogonal(rule)


def _is_square(rule: MemoryRule, features: int, width: int) -> bool:
    """Return whether the Gram matrix is that of the rows, the smaller side, and the steps are known."""
    return width <= min(features, MOST_VALUES) and rule.coefficients != "polar_express_paper"


def _is_plain(rule: MemoryRule, architecture: ArchitectureName) -> bool:
    """Return whether a memory is that of the equations of `rules`, without what other axes change."""
    axes = (rule.architecture, rule.bias.name, rule.link.name, rule.gate_axis, rule.retention, rule.at_retained)
    return axes == (architecture, "l2", "identity", "head", "dual", False)


def kernel_front(kernels: Kernels, projected: Tensor, weight: Tensor) -> Front | None:
    """Return the front by kernels (`kernels.front`, `kernels.cpu_front`), None where the reference runs."""
    form, found, dtypes = chosen(kernels, projected.device), library(), {projected.dtype, weight.dtype}
    if projected.numel() == 0 or (form == "cpu" and _soon_over(kernels, projected)):
        return None
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
