"""Real batches of the configured data, and a view on what the modules of a model return for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from atlas_ref.config import RunConfig
from atlas_ref.config.data import GENERATED
from atlas_ref.data.batch import Batch
from atlas_ref.models.family import Output
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.step import to_device
from preflight.subject import Budget


def measured_config(config: RunConfig, seed: int, budget: Budget) -> RunConfig:
    """Return the configuration with the seed and the batches that a gate measures with.

    Rows of a generated task and of answers keep their length, which the task decides: shorter ones would skip answers.
    """
    whole = config.data.source in ("answers", "sets", *GENERATED)
    length = config.data.sequence_length if whole else budget.sequence_length
    data = config.data.model_copy(update={"sequence_length": length})
    train = config.train.model_copy(update={"batch_size": budget.batch_size, "micro_batches": 1, "seed": seed})
    return config.model_copy(update={"data": data, "train": train})


def real_batches(config: RunConfig, count: int, device: torch.device) -> list[Batch]:
    """Return the first training batches of the configured data; each is meant for a fresh state."""
    source = task_of(config.data).source(config, None)
    return [to_device(source.batch(step), device) for step in range(count)]


def mean_loss(config: RunConfig, output: Output, batch: Batch) -> Tensor:
    """Return the loss of the configured task over what is scored in a batch, in nats; 0 where nothing is."""
    task = task_of(config.data)
    return task.loss(output, batch) / task.count(batch).clamp(min=1)


@contextmanager
def watched(model: nn.Module, kind: type[nn.Module]) -> Iterator[dict[str, list[Any]]]:
    """Provide what each module of `kind` returns while the context is open, call by call, under the module's name."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, kind)}
    seen: dict[str, list[Any]] = {name: [] for name in modules}

    def keep(name: str, output: Any) -> None:
        seen[name].append(output)

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
