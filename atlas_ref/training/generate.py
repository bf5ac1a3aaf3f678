"""Generation: one token at a time, with the memory state carried, so the cost of a token does not grow with the text.

Feeding tokens one by one gives the logits of a single forward pass over all of them: the state holds everything that a
later token may depend on.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.session import Session


class Generated(NamedTuple):
    """A new token and the logits it was drawn from."""

    token: int
    logits: Float[Tensor, " vocab"]


def generate(
    model: AtlasModel,
    prompt: Sequence[int],
    count: int,
    temperature: float,
    top_k: int | None,
    seed: int,
    outer_step: int | None = None,
) -> Iterator[Generated]:
    """Yield `count` tokens that continue `prompt`, each drawn from softmax(logits / temperature).

    Temperature 0 takes the likeliest token; `top_k` keeps only that many of the likeliest before drawing. Equal seeds
    give equal tokens. `outer_step` is the step of a checkpoint whose schedules had not ended (`AtlasModel.forward`).
    Raises UserError for an empty prompt, a negative temperature or a `top_k` below 1.
    """
    if not prompt:
        raise UserError("the prompt is empty; it must hold at least one token.")
    if not temperature >= 0.0:
        raise UserError(f"the temperature is {temperature}; it must be 0 or more.")
    if top_k is not None and top_k < 1:
        raise UserError(f"top-k is {top_k}; it must be at least 1.")
    session = Session(model, batch=1, outer_step=outer_step)
    generator = torch.Generator().manual_seed(seed)
    logits = advance(session, prompt)
    for index in range(count):
        token = draw(logits, temperature, top_k, generator)
        yield Generated(token, logits)
        if index + 1 < count:
            logits = advance(session, [token])


def advance(session: Session, tokens: Sequence[int]) -> Float[Tensor, " vocab"]:
    """Feed tokens to the model in one call and return the logits after the last, on the CPU."""
    device = next(session.model.parameters()).device
    with torch.inference_mode():
        return session(torch.tensor([tokens], device=device))[0, -1].cpu()


def draw(logits: Float[Tensor, " vocab"], temperature: float, top_k: int | None, generator: torch.Generator) -> int:
    """Return a token index drawn by the rule of `generate`."""
    if temperature == 0.0:
        return int(logits.argmax().item())
    # The draw is on the CPU in float64: the same seed then gives the same text on every device.
    scaled = logits.double() / temperature
    if top_k is not None and top_k < len(scaled):
        scaled = scaled.masked_fill(scaled < scaled.topk(top_k).values[-1], -torch.inf)
    return int(torch.multinomial(scaled.softmax(-1), 1, generator=generator).item())
