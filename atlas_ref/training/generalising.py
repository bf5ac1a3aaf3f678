"""Whether a run memorises or generalises: where its questions are all known, those that are trained on are judged too.

It happens at every validation, with the same weights, and decides nothing: no number is drawn and nothing is kept but
what stands in the log (`watching.grokking`). A new phase is said.
"""

import torch

from atlas_ref.data.batch import KnownSource
from atlas_ref.models.registry import family_of
from atlas_ref.processes.parallel import whole
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.context import Context
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.run import Run
from atlas_ref.watching.grokking import KEYS, PHASE, Measured, measure_embedding, phases, told


def watch_generalising(run: Run, context: Context, validated: float) -> dict[str, float]:
    """Return what the log gets of the step reached beside its validation, whose accuracy was `validated`.

    Nothing where the questions are not all known. The embedding is that of the tokens which are the numbers.
    """
    if not isinstance(context.source, KnownSource):
        return {}
    config, trained = context.config, context.source.trained
    task, settings = task_of(config.data), config.train
    judged = evaluate(run.model, task, trained, settings.eval_batches, settings.precision, run.step, context.world)
    parameters = {name: whole(parameter.detach()) for name, parameter in run.model.named_parameters()}
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p) for p in parameters.values()])))
    embedding = family_of(config.any_model).embedding(parameters, config.any_model)
    found = measure_embedding(embedding[: context.source.numbers])
    now = Measured(run.step, judged["accuracy"], validated, found[KEYS.concentration], found[KEYS.null], norm)
    context.measured.append(now)
    # No later measurement changes a phase.
    *_, before, after = [0, *phases(context.measured)]
    if after != before:
        context.reporter.say(told(now, after))
    return {KEYS.training: now.training, **found, KEYS.norm: norm, PHASE: float(after)}
