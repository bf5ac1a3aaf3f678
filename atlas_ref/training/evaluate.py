"""Validation: the mean loss over held-out batches, from a fresh memory state that never meets the training state."""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from atlas_ref.data.batch import IGNORED, Batch, ValidationSource
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.processes.distributed import ALONE, World
from atlas_ref.processes.parallel import fresh_state, is_sharded
from atlas_ref.training.step import forward, to_device, token_losses


def evaluate(
    model: AtlasModel,
    source: ValidationSource,
    batches: int,
    precision: str,
    outer_step: int | None = None,
    world: World = ALONE,
) -> dict[str, float]:
    """Return loss (nats a counted token), perplexity = exp(loss), accuracy of the likeliest token, and the token count.

    For text also `bytes`, those of UTF-8 that the counted tokens stand for, and `bits_per_byte`, the nats of all
    counted tokens / (ln 2 * bytes): the tokenizer's share is taken out. The end of a document is a token without bytes.

    The first `batches` validation batches, or all when there are fewer, are read in order with the state carried from
    one to the next, as in training, at the schedules of `outer_step`. In associative recall only answers count, so
    accuracy is the share that is right. Several processes share the rows, and all return the same numbers.
    """
    device = next(model.parameters()).device
    mine, counts = _share(len(source.validation(0).tokens), world)
    losses, right, counted, read = 0.0, 0.0, 0.0, 0.0
    widths = _bytes_of_tokens(source.tokenizer).to(device) if source.tokenizer else None
    # Shards that are gathered under inference mode could not be trained on afterwards.
    with torch.no_grad() if is_sharded(model) else torch.inference_mode():
        state = fresh_state(model, mine.stop - mine.start, device)
        for index in range(min(batches, source.validation_batches)):
            batch = to_device(Batch(*(tensor[mine] for tensor in source.validation(index))), device)
            output = forward(model, batch, state, precision, outer_step)
            state = output.state
            total, count = token_losses(output.logits, batch.targets)
            losses, counted = losses + total.item(), counted + count.item()
            # An ignored target is negative, so no logit's index equals it.
            right += (output.logits.argmax(-1) == batch.targets).sum().item()
            if widths is not None:
                read += widths[batch.targets[batch.targets != IGNORED]].sum().item()
    sums = (losses, right, counted, read)
    losses, right, counted, read = world.sums(*(sums if counts else (0.0,) * len(sums)))
    loss = losses / max(1, counted)
    text = {} if widths is None else {"bytes": read, "bits_per_byte": losses / (math.log(2) * max(1, read))}
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": right / max(1, counted),
        "tokens": counted,
        **text,
    }


def _bytes_of_tokens(tokenizer: Tokenizer) -> Int[Tensor, " vocab"]:
    """Return how many bytes of UTF-8 each token stands for."""
    return torch.tensor([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)])


def _share(rows: int, world: World) -> tuple[slice, bool]:
    """Return the rows that this process evaluates, and whether they count.

    Where there are fewer rows than processes each evaluates all, as every forward pass of a sharded model needs every
    process, and the first one counts.
    """
    return (world.rows(rows), True) if rows >= world.size else (slice(0, rows), world.main)
