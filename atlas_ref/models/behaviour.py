"""How a model that halts and keeps what is new behaves on rows that it reads from an empty state.

    iterations    made by a scored place until it halts, the mean of a row
    slots         in use after a row
    latency       seconds a token, in which rows leave the recursion when their scored places halt (`early_exit`)
    accuracy      of the answers that are served, the share of a row's scored places

Each is measured row by row, latency call by call: on a CPU in time of the processor, else by the clock.
"""

import time
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.models.cognate import CognateModel
from atlas_ref.models.early_exit import Exit, answer_early
from atlas_ref.models.family import Model

MEASURES = ("iterations", "slots", "latency", "accuracy")


@dataclass
class Behaviour:
    """The values of each measure so far, one a row; of latency one a call."""

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})


@torch.no_grad()
def behave(
    model: Model,
    tokens: Int[Tensor, "batch time"],
    targets: Int[Tensor, "batch time"],
    reset: Bool[Tensor, "batch time"],
    known: int | None,
    into: Behaviour,
) -> None:
    """Add what the rows do; targets below zero are not scored, and a row without any is no question.

    `known` is the number of tokens that may be answered; None for all. Raises UserError for a model that never halts.
    """
    if not isinstance(model, CognateModel):
        raise UserError("the model never halts; only one of the family cognate behaves in this way.")
    scored = targets >= 0
    left, seconds = _timed(model, tokens, reset, known, scored)
    asked = scored.any(-1)
    count = scored.sum(-1)[asked]
    right = (left.logits.argmax(-1) == targets) & scored
    into.values["iterations"] += ((left.steps * scored).sum(-1)[asked] / count).tolist()
    into.values["slots"] += slots_used(model, tokens, reset).tolist()
    into.values["latency"].append(seconds / tokens.numel())
    into.values["accuracy"] += (right.sum(-1)[asked] / count).tolist()


def slots_used(
    model: CognateModel, tokens: Int[Tensor, "batch time"], reset: Bool[Tensor, "batch time"]
) -> Int[Tensor, " batch"]:
    """Return the slots in use after each row; none of a model without any."""
    state = model.initial_state(len(tokens))
    _, _, remembered = model.features(tokens, state, model.places(tokens, state, reset))
    used = tokens.new_zeros(len(tokens))
    for slots in remembered.state.slots if remembered else ():
        used = used + (slots.read_at >= 0).sum(-1)
    return used


def _timed(model: CognateModel, tokens: Tensor, reset: Tensor, known: int | None, asked: Tensor) -> tuple[Exit, float]:
    """Return what the rows answer, and the seconds that it took."""
    cuda = tokens.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize(tokens.device)
    began = clock()
    left = answer_early(model, tokens, model.config.halting.threshold, reset, known, asked)
    if cuda:
        torch.cuda.synchronize(tokens.device)
    return left, clock() - began
