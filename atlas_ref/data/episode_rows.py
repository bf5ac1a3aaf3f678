"""The two phases of an episode from its pieces: what is read, what is predicted where, and what begins.

Of pieces x_1 .. x_n of L tokens each, with answers marked in them, a row is 2 n L tokens:

    storage     x_1 ... x_n      every token of a piece predicts the one after it
    retrieval   m_1 ... m_n      the same pieces; [MASK] stands at the first token of an answer, the last is hidden

An answer a_1 .. a_k at the places j .. j + k - 1 of a piece becomes

    place       j - 1     j       j + 1   ...   j + k - 1
    token       x_{j-1}   [MASK]  a_1     ...   a_{k-1}
    target      a_1       -       a_2     ...   a_k

so its tokens are predicted in order, each from the position before it with all before it known, as everywhere (decision
`causality`): the model never reads the last token of an answer, nor any of an answer of one token, and the places of
everything else are those of the storage phase. A row is right about an answer where it is about all of its tokens.

A context begins with every piece of both phases, a memory with the first token of the row alone: what was stored
reaches the questions through the memory and in no other way.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from atlas_ref.data.batch import IGNORED


class Laid(NamedTuple):
    """Rows of both phases; `answer` is the number of the masked answer that a target is of, 0 where it is of none."""

    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    context: Bool[Tensor, "batch time"]
    memory: Bool[Tensor, "batch time"]
    answer: Int[Tensor, "batch time"]


def lay_out(
    pieces: Int[Tensor, "batch pieces length"],
    answers: Int[Tensor, "batch pieces length"],
    lengths: Int[Tensor, "batch pieces"],
    mask: int,
) -> Laid:
    """Return the rows of both phases (module docstring).

    `answers` has the number of the answer that a token is of, from 1 on in its row, and 0 elsewhere; there is a token
    between two answers. Only the first `lengths` tokens of a piece are of it, what follows fills up. An answer that
    begins a piece has no position before it, and its first token is not asked for.
    """
    filled = torch.arange(pieces.shape[-1], device=pieces.device) < lengths.unsqueeze(-1)
    number = torch.where(filled, answers, 0)
    later = (number > 0) & (number == _before(number))
    first = (number > 0) & ~later
    asked_next = _after(first.long()).bool()
    none = torch.full_like(pieces, IGNORED)
    stored = torch.where(_after(filled.long()).bool(), _after(pieces), none)
    recalled = torch.where(asked_next, _after(pieces), torch.where(later, pieces, none))
    masked = torch.where(first, mask, torch.where(later, _before(pieces), pieces))
    asked = torch.where(asked_next, _after(number), torch.where(later, number, 0))
    context = torch.zeros_like(pieces, dtype=torch.bool)
    context[..., 0] = True
    memory = torch.zeros_like(torch.cat([context, context], 1).flatten(1))
    memory[:, 0] = True
    return Laid(
        torch.cat([pieces, masked], 1).flatten(1),
        torch.cat([stored, recalled], 1).flatten(1),
        torch.cat([context, context], 1).flatten(1),
        memory,
        torch.cat([torch.zeros_like(asked), asked], 1).flatten(1),
    )


def _before(x: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
    """Return what stands one place before, 0 at the first."""
    return pad(x[..., :-1], (1, 0))


def _after(x: Int[Tensor, "*batch length"]) -> Int[Tensor, "*batch length"]:
    """Return what stands one place behind, 0 at the last."""
    return pad(x[..., 1:], (0, 1))
