"""Validation: the mean loss over held-out batches, from a fresh memory state that never meets the training state."""

import math

import torch

from atlas_ref.data.batch import BatchSource
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.training.step import forward, to_device, token_losses


def evaluate(
    model: AtlasModel, source: BatchSource, batches: int, precision: str, outer_step: int | None = None
) -> dict[str, float]:
    """Return loss (nats a counted token), perplexity = exp(loss), accuracy of the likeliest token, and the token count.

    The first `batches` validation batches, or all when there are fewer, are read in order with the state carried from
    one to the next, as in training, at the schedules of `outer_step`. In associative recall only answers count, so
    accuracy is the share that is right.
    """
    device = next(model.parameters()).device
    losses, right, counted = 0.0, 0, 0
    with torch.inference_mode():
        batch = to_device(source.validation(0), device)
        state = model.initial_state(batch.tokens.shape[0])
        for index in range(min(batches, source.validation_batches)):
            if index > 0:
                batch = to_device(source.validation(index), device)
            output = forward(model, batch, state, precision, outer_step)
            state = output.state
            total, count = token_losses(output.logits, batch.targets)
            losses, counted = losses + total.item(), counted + int(count.item())
            # An ignored target is negative, so no logit's index equals it.
            right += int((output.logits.argmax(-1) == batch.targets).sum().item())
    loss = losses / max(1, counted)
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": right / max(1, counted),
        "tokens": float(counted),
    }
