"""Generation: one token at a time, with the memory state carried, so the cost of a token does not grow with the text.

    start = read_prompt(model, prompt)                    the prompt is read once ...
    for i in range(samples):
        generate(start, count, sampling, stream(seed, i))     ... and each sample goes on from there

Feeding tokens one by one, or a prompt in parts, gives the logits of a single forward pass over all of them: the state
holds everything that a later token may depend on. The model is only read: no gradient, no state of its own, and no
random number but those of the stream. A GPU replays the call of a token as one graph (`graphed`).

A tokenizer may have fewer tokens than the model. The logits of the others are cut off before anything is made of them,
so that none is ever the likeliest, among the top k, in the nucleus or drawn.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.generation.graphed import decoder_of
from atlas_ref.generation.sampling import Sampling, draw
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model
from atlas_ref.models.session import Session

PROMPT_PART = 1024
"""Tokens of a prompt that are read in one call: the logits of all of a long one would fill the memory."""


class Generated(NamedTuple):
    """A new token and the logits it was drawn from, on the device of the model."""

    token: int
    logits: Float[Tensor, " vocab"]


class Start(NamedTuple):
    """Where samples begin: a model that has read a prompt, its state there and the logits of the next token."""

    model: Model
    state: StateTree
    logits: Float[Tensor, " vocab"]
    outer_step: int | None
    known: int | None


def read_prompt(model: Model, prompt: Sequence[int], outer_step: int | None = None, known: int | None = None) -> Start:
    """Return where samples that continue `prompt` begin; raise UserError for an empty prompt.

    `outer_step` is the step of a checkpoint whose schedules had not ended (`Model.forward`). `known` is the number of
    tokens that the tokenizer has, the first of the model's; None where it has all.
    """
    if not prompt:
        raise UserError("the prompt is empty; it must hold at least one token.")
    session = Session(model, batch=1, outer_step=outer_step)
    for first in range(0, len(prompt), PROMPT_PART):
        logits = advance(session, prompt[first : first + PROMPT_PART], known)
    return Start(model, session.get_memory_state(), logits, outer_step, known)


def generate(
    start: Start, count: int, sampling: Sampling, random: np.random.Generator, end: int | None = None
) -> Iterator[Generated]:
    """Yield up to `count` tokens, each drawn from `sampling.probabilities` by the numbers of `random`.

    `end` is the token after which nothing follows, yielded as the last one; None goes on to `count`. The same start and
    the same numbers give the same tokens, whatever was generated from the start before.
    """
    decoder = decoder_of(start.model, start.outer_step, start.known, count)
    room = start.model.room(start.state)
    if decoder is None or (room is not None and room < count) or not decoder.take():
        yield from _call_by_call(start, count, sampling, random, end)
        return
    try:
        decoder.load(start.state, start.logits)
        for index in range(count):
            made = Generated(*decoder.draw(sampling, random))
            if made.token != end and index + 1 < count:
                # Before it is asked for: the device works on while the token is looked at.
                decoder.advance()
            yield made
            if made.token == end:
                return
    finally:
        decoder.free()


def _call_by_call(
    start: Start, count: int, sampling: Sampling, random: np.random.Generator, end: int | None
) -> Iterator[Generated]:
    """Yield what `generate` does, with a call of the model for each token."""
    session = Session(start.model, batch=1, outer_step=start.outer_step)
    session.set_memory_state(start.state)
    logits = start.logits
    for index in range(count):
        token = draw(logits, sampling, random)
        yield Generated(token, logits)
        if token == end:
            return
        if index + 1 < count:
            logits = advance(session, [token], start.known)


def advance(session: Session, tokens: Sequence[int], known: int | None) -> Float[Tensor, " vocab"]:
    """Feed tokens to the model in one call and return the logits of the known ones after the last."""
    device = next(session.model.parameters()).device
    with torch.inference_mode():
        return session(torch.tensor([tokens], device=device))[0, -1, :known]
