"""Which answer a model that answers several times serves: the last, or the first that is thought right.

    mode "last"    the answer after every iteration: the logits of the call as they are
    mode "first"   of each token, or of each row as a whole, the answer of its own iteration

    N = min {n : sigmoid(q_n) >= threshold}, or the last iteration       (decision `halting`; `functional.supervision`)

A row halts by the mean of the logits of its tokens. What is learned does not depend on the mode. All iterations are
made here, as later tokens may look at what each found; `early_exit` gives the same answers to whole rows in less time.
"""

from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.functional.supervision import first_halt
from atlas_ref.models.answers import Answers, Recursive
from atlas_ref.models.family import Output

Served = TypeVar("Served", bound=Output)


def halting_steps(output: Output) -> Int[Tensor, "batch time"] | None:
    """Return the iteration, from 1, at which each token halts; None of a model that never does."""
    # Asked first, as it is asked at every token: to look through a protocol takes longer.
    answers = output.recursion if hasattr(output, "recursion") and isinstance(output, Recursive) else None
    if answers is None or answers.halting is None:
        return None
    logits = answers.halting
    if answers.settings.kind == "row":
        logits = logits.mean(-1, keepdim=True).expand_as(logits)
    return first_halt(torch.sigmoid(logits.detach().movedim(0, -1)), answers.settings.threshold)


def served(output: Served) -> Served:
    """Return the output with the logits that its model serves (module docstring)."""
    steps = halting_steps(output)
    if steps is None or not isinstance(output, Recursive) or output.recursion.settings.mode == "last":
        return output
    answers: Answers = output.recursion
    # y_0 is no answer of an iteration.
    found = torch.stack(answers.hidden[1:], -2)
    chosen = found.gather(-2, (steps - 1)[..., None, None].expand(*steps.shape, 1, found.shape[-1])).squeeze(-2)
    kind = output.logits.dtype
    changed: Served = output._replace(logits=F.linear(chosen.to(kind), answers.head.to(kind)))
    return changed
