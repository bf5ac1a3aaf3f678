"""One part of one configuration of the study of the gates: what the gates say, or what training comes to.

    gates      every gate that a run of the configuration must pass, with the budget of `atlas preflight`
    life       Proof of Life alone, where a line of the gates is from before it rehearsed the run
    earlier    the two gates that train a probe, as they were while no task said how far back its answers lie
    memory     the run, and what it is worth on held-out batches
    twin       the same without memory

Each part is one process of one thread and one line of JSON, so that a study that was cut goes on where it was.
"""

from time import perf_counter
from typing import Final, NamedTuple

import torch
from pydantic import JsonValue

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.batch import ValidationSource
from atlas_ref.models.family import Model
from atlas_ref.tasks.registry import task_of
from atlas_ref.tasks.serving import ServedMeter
from atlas_ref.training.arithmetic import without_denormals
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.run import new_run
from atlas_ref.training.step import forward, to_device, train_step
from benchmarks.gate_power_cases import Case
from preflight.budget import default_budget
from preflight.gates import gates_of
from preflight.memory_ablation import memory_ablation
from preflight.proof_of_life import proof_of_life
from preflight.result import GateResult
from preflight.seed_competition import seed_competition
from preflight.subject import HEALTHY

PARTS: Final = ("gates", "life", "earlier", "memory", "twin")
CPU: Final = torch.device("cpu")
EVERY: Final = 10
"""Steps between losses that are written down."""


class Part(NamedTuple):
    """One process of the study."""

    case: Case
    part: str

    @property
    def key(self) -> tuple[str, str]:
        """What its line is found by."""
        return self.case.name, self.part


def work(part: Part) -> dict[str, JsonValue]:
    """Return the line of a part."""
    torch.set_num_threads(1)
    started = perf_counter()
    with without_denormals():
        found = _found(part)
    return {"case": part.case.name, "part": part.part, **found, "seconds": perf_counter() - started}


def _found(part: Part) -> dict[str, JsonValue]:
    if part.part == "twin":
        return trained(part.case.config(*part.case.twin))
    config = part.case.config()
    if part.part == "memory":
        return trained(config)
    results = {"gates": examined, "life": examined_anew, "earlier": examined_earlier}[part.part](config)
    return {"gates": [result.model_dump(mode="json") for result in results]}


def examined(config: RunConfig) -> list[GateResult]:
    """Return what the gates of a configuration say."""
    budget = default_budget(config)
    return [gate(config, HEALTHY, config.train.seed, budget) for gate in gates_of(config).values()]


def examined_anew(config: RunConfig) -> list[GateResult]:
    """Return what Proof of Life says of a configuration."""
    return [proof_of_life(config, HEALTHY, config.train.seed, default_budget(config))]


def examined_earlier(config: RunConfig) -> list[GateResult]:
    """Return what the gates with a probe say where the data do not tell them how far it must look."""
    if "memory-ablation" not in gates_of(config):
        return []
    budget, text = default_budget(config), load_config("tiny").data
    blind = config.model_copy(update={"data": text})
    return [gate(blind, HEALTHY, config.train.seed, budget) for gate in (seed_competition, memory_ablation)]


def trained(config: RunConfig) -> dict[str, JsonValue]:
    """Train and return the loss and accuracy of each held-out batch; of a run that broke off, why it did."""
    run, task = new_run(config, CPU), task_of(config.data)
    source, losses = task.source(config, None), list[float]()
    try:
        for step in range(config.train.max_steps):
            batch = to_device(source.batch(step), CPU)
            result = train_step(run.network, run.optimiser, batch, run.state, step, config)
            run.state = result.output.state
            losses.append(result.loss)
    except NonFiniteError as error:
        return {"failure": str(error), "losses": list(losses[::EVERY])}
    held = [_judged(config, run.model, source, index) for index in range(source.validation_batches)]
    return {
        "failure": None,
        "losses": list(losses[::EVERY]),
        "held_loss": [loss for loss, _ in held],
        "held_accuracy": [accuracy for _, accuracy in held],
    }


@torch.inference_mode()
def _judged(config: RunConfig, model: Model, source: ValidationSource, index: int) -> tuple[float, float]:
    """Return loss and accuracy of a held-out batch, read from a fresh memory."""
    meter = ServedMeter(task_of(config.data).meter(source))
    batch = to_device(source.validation(index), CPU)
    output = forward(model, batch, model.initial_state(len(batch.tokens)), config.train.precision)
    meter.add(output, batch)
    metrics = meter.metrics(meter.sums())
    return metrics["loss"], metrics["accuracy"]
