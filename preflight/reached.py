"""Which parameters a gradient should reach, by the configuration alone, and which it does."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atlas_ref.config import ModelConfig
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.data.batch import Batch
from atlas_ref.memory.plan import token_positions
from preflight.result import Check, at_most

FOR_THE_MEMORY = {"mal": ("norm.",), "mac": ("memory_input", "rows.projection", "rows.convolution", "rows.queries")}
"""Parameters of a block that nothing but its memory sees, so that detached writes exempt them too."""


def longest_document(batch: Batch) -> int:
    """Return the most tokens of one document that a row of the batch shows, from a fresh state."""
    fresh = torch.zeros(len(batch.tokens), dtype=torch.long, device=batch.tokens.device)
    return int(token_positions(fresh, batch.reset, batch.tokens.shape[1]).max()) + 1


def _learned_border(config: MemoryConfig) -> int:
    """Return the position at which a shard first begins with the learned mixing rate: the first after the ramp."""
    return (config.shards.warmup_crossings + 1) * config.shards.length


def mixing_evidence(config: MemoryConfig, tokens: int) -> str:
    """Return whether the learned mixing rate of shards was at work in what was measured."""
    border = _learned_border(config)
    if not config.shards.length:
        return "not applicable: no shards with shards.length = 0"
    if tokens <= border:
        return f"not examined: documents show {tokens} tokens, and the learned rate acts from token {border} on"
    return f"acts from token {border} of {tokens} on"


def is_trained(config: ModelConfig, name: str, parameter: Tensor, tokens: int) -> bool:
    """Return whether the configuration says that a parameter gets a gradient from documents of so many tokens.

    Detached writes exempt the whole memory branch; without writes nothing but the first memory and its address is used,
    and of a hierarchy whose global memory is not written, its gates (those of number 0) are not.
    The mixing rate of shards is learned at borders beyond its ramp only, and shows in the next write there; `delta` has
    no momentum that it could mix, which leaves the Q-K projection.
    """
    if parameter.numel() == 0:
        return False
    _, inside, part = name.partition(f".{config.block}.memory.")
    for_memory = any(f".{config.block}.{other}" in name for other in FOR_THE_MEMORY.get(config.block, ()))
    if config.inner_grad == "detached" and (inside or for_memory):
        return False
    if not inside:
        return True
    memory = config.memory
    if part == "alpha_logit":
        mixes = memory.rule != "delta" or memory.qk_projection.kind != "none"
        shown = tokens > _learned_border(memory) + memory.ttl_update_frequency
        return mixes and shown and not config.disable_memory
    if memory.kind == "hierarchical" and not memory.hierarchy.global_writes and part.startswith("gates.0."):
        return False
    return not (config.disable_memory and (part.startswith("gates.") or part == "log_gain"))


def gradient_checks(config: ModelConfig, model: nn.Module, reached: set[str], tokens: int) -> list[Check]:
    """Check that gradients have `reached` the parameters that documents of so many tokens train, and no other."""
    named = dict(model.named_parameters())
    trained = {name for name, p in named.items() if is_trained(config, name, p, tokens)}
    # A border near the end of a document may or may not show before the end: such a gradient is no surprise.
    later = tokens + config.memory.ttl_update_frequency
    possible = {name for name, p in named.items() if is_trained(config, name, p, later)}
    missing, surprising = sorted(trained - reached), sorted(reached - possible)
    return [
        at_most(
            "gradients reach what is trained",
            len(missing),
            0,
            f"{_counted(missing)} of {len(trained)} trained parameters got no finite gradient on any batch",
        ),
        at_most(
            "gradients reach nothing else",
            len(surprising),
            0,
            f"{_counted(surprising)} that the configuration exempts got a gradient",
        ),
    ]


def _counted(names: Sequence[str]) -> str:
    """Return the number of names and the names themselves."""
    return f"{len(names)} ({', '.join(names)})" if names else "none"
