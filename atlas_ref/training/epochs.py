"""What the log gets of a curriculum: epoch and stage of a line, and at the end of an epoch how the model answers.

    train/epoch, train/curriculum_stage     of each line that has a training loss; the first step of a stage has one
    epoch/number, epoch/curriculum_stage    of the epoch that ends with the step
    epoch/val_loss, epoch/val_perplexity    nats a token of right answers, over the examples that are judged
    epoch/accuracy/DOMAIN                   share that is right (`judging.examination`), from 0 to 1
    epoch/examples/DOMAIN                   of how many
    epoch/minutes                           of training, without validation and saving (`watching.speed`)

Judged are `data.curriculum.judged` validation examples of every set that there is, those of later stages among them, so
that the numbers of all epochs are of the same examples. They decide nothing: no number is drawn, and nothing is kept.
"""

from atlas_ref.data.batch import StagedSource
from atlas_ref.judging.domains import domains_of
from atlas_ref.judging.examination import Examined, examine, loss_of, some_of
from atlas_ref.judging.respondent import Respondent
from atlas_ref.metrics.perplexity import perplexity
from atlas_ref.training.context import Context
from atlas_ref.training.run import Run


def place_in_curriculum(run: Run, context: Context) -> dict[str, float]:
    """Return epoch and stage of the step reached; nothing without a curriculum."""
    plan = context.config.data.curriculum
    if not plan.epoch_steps:
        return {}
    update = run.step - 1
    return {"train/epoch": float(plan.epoch(update)), "train/curriculum_stage": float(plan.stage(update))}


def end_of_epoch(run: Run, context: Context) -> dict[str, float]:
    """Return what the log gets of the epoch that ends with the step reached, and say it; nothing where none ends."""
    plan = context.config.data.curriculum
    if not plan.epoch_steps or not plan.judged or run.step % plan.epoch_steps:
        return {}
    with run.optimiser.averaged():
        examined = answers_of(run, context, plan.judged)
    loss, judged, update = loss_of(examined), domains_of(examined), run.step - 1
    found = {
        "epoch/number": float(plan.epoch(update)),
        "epoch/curriculum_stage": float(plan.stage(update)),
        "epoch/val_loss": loss,
        "epoch/val_perplexity": perplexity(loss),
        **context.speed.end_epoch(),
    }
    shares = []
    for each in judged:
        found[f"epoch/accuracy/{each.domain}"] = each.accuracy.value
        found[f"epoch/examples/{each.domain}"] = float(each.accuracy.n)
        shares.append(f"{each.domain} {each.accuracy.value:.1%} of {each.accuracy.n}")
    context.reporter.say(f"epoch {plan.epoch(update)} ends: loss {loss:.4f}, {', '.join(shares)}")
    return found


def answers_of(run: Run, context: Context, most: int) -> list[Examined]:
    """Return how the model of the step reached answers so many validation examples of each set.

    Where there are several processes, of which each has the whole model, each does it all.
    """
    source, config = context.source, context.config
    if not isinstance(source, StagedSource) or source.tokenizer is None:
        return []
    respondent = Respondent(
        run.model,
        source.tokenizer,
        config.data.answers.joint,
        config.data.sequence_length,
        config.train.batch_size,
        run.step,
    )
    return [examine(respondent, name, some_of(examples, most)) for name, examples in source.asked.items()]
