"""What is told of a memory and of a gate: sizes, changes, shares. Read by people and alarms, never learned from.

    size of matrices   sqrt(mean over rows and heads of ||M||_F^2)
    size of reads      sqrt(mean over rows and tokens of ||y||^2)
    change             M - M', M' the memory at the latest of: start of the call, of the row's document, of its shard
    gate               mean, deviation (of the population), least, largest, of raw and of floor + (1 - floor) raw
    polarised          mean [|raw - 1/2| > 0.4]
    undecided          mean [|raw - 1/2| < 0.1]
    tanh               of the arguments x of y = tanh(x): mean |x|, mean [|x| < 0.5], mean [|x| > 1.5]

Decision `telemetry`. Everything is detached and in float32 or wider.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32

POLARISED, UNDECIDED = 0.4, 0.1
"""A gate is polarised when its sigmoid is further than this from 1/2 (below 0.1 or above 0.9), undecided when nearer
(0.4 to 0.6)."""
LINEAR, SATURATED = 0.5, 1.5
"""Arguments of a tanh gate: up to the first tanh(x) is x to 8%; beyond the second its slope is below 0.19."""


def size_of_matrices(matrices: Sequence[Float[Tensor, "*rows _out _in"]]) -> Float[Tensor, ""]:
    """Return the root of the mean squared Frobenius norm of all matrices of a row and head together."""
    norms = [torch.linalg.vector_norm(m.detach()) for m in matrices]
    whole: Tensor = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    return whole / math.sqrt(matrices[0].shape[:-2].numel())


def size_of_reads(reads: Float[Tensor, "batch time values"]) -> Float[Tensor, ""]:
    """Return the root of the mean square over rows and tokens of the norm of what was read."""
    # Widened where they are added up.
    wide = torch.promote_types(reads.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(reads.detach(), dtype=wide)
    return norm / math.sqrt(reads.shape[:-1].numel())


def change_of_memory(
    before: Float[Tensor, "batch heads _out _in"],
    after: Float[Tensor, "batch heads _out _in"],
    initial: Float[Tensor, "heads _out _in"],
    position: Int[Tensor, " batch"],
    time: int,
    shard: int,
) -> Float[Tensor, "batch heads _out _in"]:
    """Return M - M' of each row after a call of `time` tokens, behind which its document has `position`.

    M' is M_0 where the document began in the call, or its shard of `shard` tokens (0: it has none), else the memory
    before the call, which is looked at nowhere else.
    """
    since_start = (position - 1) % shard + 1 if shard else position
    began = (since_start <= time).view(-1, 1, 1, 1)
    return after - torch.where(began, initial.expand_as(before), before)


class GateStatistics(NamedTuple):
    """Statistics of the gate that acts and of the sigmoid below its floor, in the order of `LayerTelemetry`."""

    mean: Float[Tensor, ""]
    deviation: Float[Tensor, ""]
    least: Float[Tensor, ""]
    largest: Float[Tensor, ""]
    raw_mean: Float[Tensor, ""]
    raw_deviation: Float[Tensor, ""]
    raw_least: Float[Tensor, ""]
    raw_largest: Float[Tensor, ""]
    polarised: Float[Tensor, ""]
    undecided: Float[Tensor, ""]


def gate_statistics(raw: Float[Tensor, "*batch dim"], floor: float | Float[Tensor, "*batch 1"]) -> GateStatistics:
    """Return the statistics of a detached sigmoid with a floor under it, of all gates or of each token; NaN of none."""
    below = _spread(raw)
    if isinstance(floor, Tensor):
        return GateStatistics(*_spread(floor + (1.0 - floor) * raw)[:4], *below)
    mean, deviation, least, largest = below[:4]
    reach = 1.0 - floor
    acting = floor + reach * mean, reach * deviation, floor + reach * least, floor + reach * largest
    return GateStatistics(*acting, *below)


def tanh_statistics(bounded: Float[Tensor, "*shape"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean size of the arguments of a tanh and the shares in its linear and in its saturated region."""
    size = at_least_float32(bounded.detach()).abs()
    # The argument from the value: exact to rounding far beyond SATURATED, and at most 8.7 in float32.
    argument = torch.atanh(size.clamp(max=1.0 - torch.finfo(size.dtype).eps / 2))
    marks = torch.empty_like(argument)
    linear = torch.lt(argument, LINEAR, out=marks).mean()
    return argument.mean(), linear, torch.gt(argument, SATURATED, out=marks).mean()


def _spread(raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return mean, standard deviation, least and largest, and the shares that are polarised and undecided."""
    if raw.numel() == 0:
        none = raw.new_full((), torch.nan)
        return none, none, none, none, none, none
    # Over the tokens of the call, so that one layer, or one token, has a deviation: zero, never NaN.
    # In two passes, which on a CPU are twenty times faster than torch.var_mean, and in few buffers: they are large.
    mean = raw.mean()
    buffer = raw - mean
    deviation = buffer.square_().mean().sqrt()
    least, largest = torch.aminmax(raw)
    distance = torch.sub(raw, 0.5, out=buffer).abs_()
    # Marks as floats: a mask is slower to make and to count.
    marks = torch.empty_like(raw)
    polarised = torch.gt(distance, POLARISED, out=marks).mean()
    return mean, deviation, least, largest, polarised, torch.lt(distance, UNDECIDED, out=marks).mean()
