"""The 37 metrics of the source system, each computed by what a run computes it with, from two inputs with known values.

A case says which key of the log has the metric, and gives the entries of the log that follow from an input; the values
beside it are worked out by hand. Metrics that the project does not have are in NONE, with docs/metrics.md saying why.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from atlas_ref.blocks.backbone_memory import BackboneState, Remembered, SlotState
from atlas_ref.config.cognate import HaltingConfig
from atlas_ref.config.curriculum import CurriculumConfig
from atlas_ref.data.adapters.row import Example
from atlas_ref.data.adapters.table import SETS
from atlas_ref.data.batch import Batch
from atlas_ref.judging.domains import domains_of
from atlas_ref.judging.examination import Answered, Examined
from atlas_ref.models.answers import Answers
from atlas_ref.models.cognate_telemetry import tell
from atlas_ref.models.registry import family_of
from atlas_ref.processes.distributed import ALONE
from atlas_ref.tasks.language import LanguageModelling, TokenMeter
from atlas_ref.training.clipping import clip_gradients
from atlas_ref.training.schedule import learning_rate
from atlas_ref.training.supervision import Share, learn
from atlas_ref.watching import speed
from atlas_ref.watching.learning import learning
from atlas_ref.watching.monitor import log_entries
from atlas_ref.watching.speed import Speed
from atlas_ref.watching.summary import sizes
from spec_tests.package.micro.runs import micro_config

Entries = Mapping[str, float]
Measured = Callable[[bool, pytest.MonkeyPatch], Entries]
"""Entries of the log from the first input, or from the second."""


class Case(NamedTuple):
    """The key of the log, how it is measured, and its values for the first and the second input."""

    key: str
    measured: Measured
    first: float
    second: float


class TwoAnswers(NamedTuple):
    """An output of a model that answers twice (`models.answers.Recursive`)."""

    logits: Tensor
    recursion: Answers
    state: None = None
    telemetry: tuple[()] = ()
    indecision: None = None


def learned(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """Two answers about one token of two: logits (0, 0), then (ln 3, 0), right where the target is the first token.

    The first halting logit is 0, or ln 3 of a wrong answer, and reaches the threshold of 1/2; the gate is worth 0.002.
    """
    del patch
    hidden = (torch.zeros(1, 1, 2), torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[math.log(3.0), 0.0]]]))
    sure = torch.full((2, 1, 1), math.log(3.0) if second else 0.0)
    settings = HaltingConfig(kind="token", threshold=0.5, loss_weight=0.01, exploration=0.0, mode="last")
    gain = torch.tensor(0.003 if second else 0.002)
    answers = Answers(hidden, torch.eye(2), (1.0, 1.0), sure, settings, gain)
    batch = Batch(torch.tensor([[0]]), torch.tensor([[int(second)]]), torch.tensor([[True]]))
    share = Share(slice(0, 1), 1, torch.tensor(1), 0, 0)
    output: Any = TwoAnswers(hidden[-1], answers)
    found = learn(LanguageModelling(), output, batch, share)
    parts = {name: value.item() for name, value in found.parts.items()}
    assert found.minimised.item() == pytest.approx(sum(parts.values()))
    return learning(found.loss.item(), parts, 1.0, 1.0)


def rate(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """The first and the second of four steps of warm-up to 0.02."""
    del patch
    config = micro_config("optim.learning_rate=0.02", "optim.warmup_steps=4")
    return learning(1.0, {}, 1.0, learning_rate(int(second), config))


def gradient(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """Gradients 3 and 4, or 6 and 8, of two parameters."""
    del patch
    held = {name: nn.Parameter(torch.zeros(1)) for name in ("one", "other")}
    for parameter, value in zip(held.values(), (6.0, 8.0) if second else (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([value])
    return learning(1.0, {}, clip_gradients(held, 1.0, 0, ALONE), 1.0)


def told(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """Two tokens, three iterations, threshold 0.7: the first halts after 2 (or 1), the second never (or after 2).

    Probabilities in the last iteration 0.75 and 0.25, or 0.75 both; 1 slot of 4 in use, or 3; 1 of 2 tokens new, or
    none.
    """
    del patch
    q = math.log(3.0)
    rows = [[q, -q], [q, q], [q, q]] if second else [[-q, -q], [q, -q], [q, -q]]
    settings = HaltingConfig(kind="token", threshold=0.7, loss_weight=0.01, exploration=0.0, mode="last")
    hidden = tuple(torch.ones(1, 2, 2) for _ in range(4))
    answers = Answers(hidden, torch.eye(2), (1.0,), torch.tensor(rows).unsqueeze(1), settings, None)
    used = torch.tensor([[5, 6, 7, -1] if second else [5, -1, -1, -1]])
    state = BackboneState((), (SlotState(torch.ones(1, 4, 2), used),))
    whole = torch.full((1, 2, 2), 0.5)
    novelty = torch.tensor([[0.1, 0.2 if second else 0.9]])
    call = tell(answers, Remembered(whole, state, whole, whole, whole, novelty), 0.5)
    table = {name: float(value) for name, value in call._asdict().items() if value is not None}
    return log_entries([table])


def validated(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """Logits (ln 3, 0): the target has a probability of 3/4, or of 1/4. As `training.loop` names them."""
    del patch
    output: Any = TwoAnswers(torch.tensor([[[math.log(3.0), 0.0]]]), Answers((), torch.eye(2), (), None, HALTS, None))
    meter = TokenMeter(None)
    meter.add(output, Batch(torch.tensor([[0]]), torch.tensor([[int(second)]]), torch.tensor([[True]])))
    return {f"val/{name}": value for name, value in meter.metrics(meter.sums()).items()}


HALTS = HaltingConfig(kind="none", threshold=0.5, loss_weight=0.0, exploration=0.0, mode="last")


def judged(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """Of each set two answers, one of them right; or three right ones of four."""
    del patch
    scores = (1.0, 1.0, 1.0, 0.0) if second else (1.0, 0.0)
    answered = [Answered(Example("a", "b", "b"), "b", score, 1.0, 1) for score in scores]
    found = domains_of([Examined(each, each.measure, answered, 0) for each in SETS])
    return {f"epoch/accuracy/{each.domain}": each.accuracy.value for each in found}


def planned(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """Epochs of ten steps, the second stage from epoch 3 on: update 0, or 25."""
    del patch
    plan = CurriculumConfig(epoch_steps=10, reasoning_epoch=3, advanced_epoch=5, judged=1)
    update = 25 if second else 0
    return {"train/epoch": plan.epoch(update), "train/curriculum_stage": plan.stage(update), "step": update + 1}


def counted(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """A linear layer of 3 to 2 numbers, 8 in all; or of 5 to 2, 12 in all, of which the two of the bias are frozen."""
    del patch
    model = nn.Linear(5 if second else 3, 2)
    model.bias.requires_grad_(not second)
    return sizes(model)


def clocked(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """A step of 500 tokens in 90 seconds, or a second one, of 1,000 in 270, too."""
    del patch
    spent = Speed()
    spent.add(500, 90.0)
    if second:
        spent.add(1000, 270.0)
    return {"train/tokens_per_second": spent.per_second(), **spent.end_epoch()}


def on_a_gpu(second: bool, patch: pytest.MonkeyPatch) -> Entries:
    """3 MiB allocated and 8 reserved, or 5 and 16; a step of 64 tokens in a second, or in half of one, where a device
    reaches the operations of 128 tokens a second."""
    size = 2**20
    config = micro_config()
    needed = family_of(config.any_model).training_flops(config.any_model)
    patch.setattr(speed, "peak", lambda device, precision, threads: 128.0 * needed)
    patch.setattr(torch.cuda, "max_memory_allocated", lambda device: (5 if second else 3) * size)
    patch.setattr(torch.cuda, "max_memory_reserved", lambda device: (16 if second else 8) * size)
    spent = Speed()
    spent.add(64, 0.5 if second else 1.0)
    return spent.take(config, torch.device("cuda"), ALONE)


LN2, LN4, LN4_3 = math.log(2.0), math.log(4.0), math.log(4.0 / 3.0)
MINIMISED = ((LN2 + LN4_3) / 2 + 0.01 * LN2 - 0.002, (LN2 + LN4) / 2 + 0.01 * LN4 - 0.003)
CASES: dict[str, Case] = {
    "loss": Case("train/minimised", learned, *MINIMISED),
    "loss_ce": Case("train/loss", learned, LN4_3, LN4),
    "loss_act": Case("train/loss_halting", learned, 0.01 * LN2, 0.01 * LN4),
    "loss_gate": Case("train/loss_gate", learned, -0.002, -0.003),
    "perplexity": Case("train/perplexity", learned, 4.0 / 3.0, 4.0),
    "learning_rate": Case("train/lr", rate, 0.005, 0.01),
    "grad_norm": Case("train/grad_norm", gradient, 5.0, 10.0),
    "avg_halting_steps": Case("memory/halting_steps", told, 2.5, 1.5),
    "halt_prob_mean": Case("memory/halting_mean", told, 0.5, 0.75),
    "halt_prob_std": Case("memory/halting_std", told, 0.25, 0.0),
    "memory_usage": Case("memory/memory_usage", told, 0.25, 0.75),
    "surprise_rate": Case("memory/surprise_rate", told, 0.5, 0.0),
    "memory_allocated_gb": Case("train/memory_bytes", on_a_gpu, 3.0 * 2**20, 5.0 * 2**20),
    "memory_reserved_gb": Case("train/memory_reserved_bytes", on_a_gpu, 8.0 * 2**20, 16.0 * 2**20),
    "val_loss": Case("val/loss", validated, LN4_3, LN4),
    "val_perplexity": Case("val/perplexity", validated, 4.0 / 3.0, 4.0),
    **{
        f"accuracy_{domain}": Case(f"epoch/accuracy/{domain}", judged, 0.5, 0.75)
        for domain in ("math", "code", "science", "reasoning", "qa", "commonsense", "language")
    },
    "curriculum_stage": Case("train/curriculum_stage", planned, 1.0, 2.0),
    "epoch_time_minutes": Case("epoch/minutes", clocked, 1.5, 6.0),
    "total_params": Case("train/parameters", counted, 8.0, 12.0),
    "trainable_params": Case("train/trainable_parameters", counted, 8.0, 10.0),
    "training_time_hours": Case("train/hours", clocked, 0.025, 0.1),
    "step": Case("step", planned, 1.0, 26.0),
    "epoch": Case("train/epoch", planned, 1.0, 3.0),
    "max_halting_steps": Case("memory/halting_steps_max", told, 3.0, 2.0),
    "min_halting_steps": Case("memory/halting_steps_min", told, 2.0, 1.0),
    "gpu_utilization": Case("train/mfu", on_a_gpu, 0.5, 1.0),
    "tokens_per_second": Case("train/tokens_per_second", clocked, 500.0 / 90.0, 1500.0 / 360.0),
}
"""By the name that the source system has for it."""
NONE = ("act_threshold_std", "ltm_capacity_std", "surprise_threshold_std")
"""Metrics of the source that are none."""
