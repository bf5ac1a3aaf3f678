"""Early exit: a row leaves the recursion when it is thought to be right, so that the others go on in less time.

    N = min {n : sigmoid(q_n) >= threshold}, or the last iteration       (decision `halting`; `functional.supervision`)

Who halts is the model's `halting.kind`: a row as a whole, by the mean of the logits of its tokens, or each token; then
a row leaves when all its tokens have, or all that are asked for: of a prompt nobody asks an answer. The answer of a row
or token is that of its own N, what all iterations would have given there, as rows never meet; of a token that is not
asked for it is at the latest that with which its row left. A tokenizer may have fewer tokens than the model: the others
have no logit here.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.blocks.windowed_attention import AttentionCache, Places
from atlas_ref.errors import UserError
from atlas_ref.models.cognate import CognateModel


class Exit(NamedTuple):
    """The logits at each token after its own iteration, the number of that, and the iterations of each row."""

    logits: Float[Tensor, "batch time vocab"]
    steps: Int[Tensor, "batch time"]
    made: Int[Tensor, " batch"]


@torch.no_grad()
def answer_early(
    model: CognateModel,
    tokens: Int[Tensor, "batch time"],
    threshold: float,
    reset: Bool[Tensor, "batch time"] | None = None,
    known: int | None = None,
    asked: Bool[Tensor, "batch time"] | None = None,
) -> Exit:
    """Return what each row answers from a fresh state (module docstring); raise UserError where nothing halts.

    `known` is the number of tokens that may be answered, the first of the model's; None for all. `asked` are the tokens
    whose answers a row waits for; None for all of them.
    """
    kind = model.config.halting.kind
    if kind == "none":
        raise UserError('model.halting.kind is "none"; early exit needs a model that was trained to halt.')
    state = model.initial_state(len(tokens))
    places = model.places(tokens, state, reset)
    features, _, _ = model.features(tokens, state, places)
    y, z = model.recursion.begin(features)
    caches = state.recursion
    steps, answers = torch.zeros_like(tokens), torch.zeros_like(y)
    made = tokens.new_zeros(len(tokens))
    left = torch.arange(len(tokens), device=tokens.device)
    last = model.config.recursion.iterations
    for number in range(last):
        y, z, _ = model.recursion.iterate(number, features, y, z, caches, places)
        made[left] = number + 1
        sure = torch.sigmoid(model.halting(z))
        if kind == "row":
            sure = torch.sigmoid(model.halting(z).mean(-1, keepdim=True)).expand_as(sure)
        open_yet = steps[left] == 0
        halts = open_yet & ((sure >= threshold) | (number + 1 == last))
        goes_on = (open_yet & ~halts & (True if asked is None else asked[left])).any(-1)
        halts = torch.where(goes_on.unsqueeze(-1), halts, open_yet)
        answers[left] = torch.where(halts.unsqueeze(-1), y, answers[left])
        steps[left] = torch.where(halts, number + 1, steps[left])
        if not goes_on.any():
            break
        left, features, y, z = left[goes_on], features[goes_on], y[goes_on], z[goes_on]
        caches = tuple(AttentionCache(cache.keys[goes_on], cache.values[goes_on]) for cache in caches)
        places = Places(*(part[goes_on] for part in places))
    return Exit(F.linear(answers, model.embedding.weight[:known]), steps, made)
