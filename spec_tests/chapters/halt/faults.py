"""Faults of halting that is learned."""

from typing import Final

import numpy as np

from spec_tests.chapters.halt.oracle import halting_loss
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, gradients_lost, with_outputs
from spec_tests.port import Array, Op

HALT: Final = Op.HALT_LOSS
TARGET: Final = "source: a loss of halting without a gradient, a threshold read the wrong way"
STEPS: Final = "misreading: halting of a recursion: which steps count, and against what"


def _chances(x: Arrays) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x["logits"].astype(np.float64), -700.0, 700.0))))


def _first(reached: Array) -> Array:
    return np.asarray(np.where(reached.any(-1), reached.argmax(-1) + 1, reached.shape[-1]))


def _summed(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Probabilities add up, as those of ACT do."""
    return {"halted": _first(np.cumsum(_chances(x), -1) >= float(config["threshold"]))}


def _logits_compared(config: Config, x: Arrays, _: Arrays) -> Arrays:
    return {"halted": _first(x["logits"] >= float(config["threshold"]))}


def _argmax_of_nothing(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """argmax of a row that is never sure is the first step."""
    reached = (_chances(x) >= float(config["threshold"])).any(-1)
    return {"halted": np.where(reached, outputs["halted"], 1)}


def _inverted(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """The threshold is what may be missing."""
    return {"halted": _first(1.0 - _chances(x) <= float(config["threshold"]))}


def _losses(config: Config, x: Arrays, made: Array, correct: Array) -> Arrays:
    rows = zip(x["logits"].astype(np.float64), correct, made.tolist(), strict=True)
    with np.errstate(all="ignore"):
        return {"losses": np.array([halting_loss(*row) for row in rows])}


def _made(x: Arrays, outputs: Arrays) -> Array:
    return np.maximum(outputs["halted"], x["least"])


def _over_all_steps(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Divide by the number of steps that there are."""
    return {"losses": outputs["losses"] * _made(x, outputs) / x["logits"].shape[1]}


def _never_explores(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return _losses(config, x, outputs["halted"], x["correct"])


def _every_step(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Learn from every step, whether it is made or not."""
    return _losses(config, x, np.full(len(x["least"]), x["logits"].shape[1]), x["correct"])


def _answer_before(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    before = np.concatenate([x["correct"][:, :1], x["correct"][:, :-1]], 1)
    return _losses(config, x, _made(x, outputs), before)


def _answer_at_the_end(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    last = np.take_along_axis(x["correct"], _made(x, outputs)[:, None] - 1, 1)
    return _losses(config, x, _made(x, outputs), np.broadcast_to(last, x["correct"].shape))


def _logarithm_of_a_sigmoid(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Take log(sigmoid(q) + 1e-8): a logit of -1e4 costs 18, not 10,000."""
    chances = _chances(x)
    each = -np.log(np.where(x["correct"] == 1, chances, 1.0 - chances) + 1e-8)
    made = _made(x, outputs)[:, None]
    return {"losses": np.where(np.arange(each.shape[1]) < made, each, 0.0).sum(1) / made[:, 0]}


def _masked_by_zero(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Multiply what is not made by zero: 0 * NaN is NaN."""
    later = np.arange(x["logits"].shape[1]) >= _made(x, outputs)[:, None]
    return {"losses": outputs["losses"] + np.where(later, 0.0 * x["logits"], 0.0).sum(1)}


def _over_the_batch(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Divide by the mean number of steps of all rows."""
    made = _made(x, outputs)
    return {"losses": outputs["losses"] * made / made.mean()}


def _summed_gradient(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    if "grad.logits" not in outputs:
        return {}
    return {"grad.logits": outputs["grad.logits"] * _made(x, outputs)[:, None]}


def _fault(name: str, clause: str, test: str, wrap: Wrap, origin: str = STEPS) -> Fault:
    return Fault(f"halt-{name}", clause, HALT, f"test_halt:{test}", wrap, origin)


FIRST: Final = "test_a_row_halts_at_the_first_step_that_is_sure_enough_or_at_the_last"
MEAN: Final = "test_the_loss_is_the_mean_cross_entropy_against_the_answer_of_the_same_step"
SLOPE: Final = "test_the_gradient_is_the_error_of_each_step_over_their_number"
HUGE: Final = "test_logits_of_ten_thousand_have_a_finite_loss"
RUBBISH: Final = "test_steps_that_are_not_made_may_hold_anything"

FAULTS: Final[tuple[Fault, ...]] = (
    _fault("probabilities-summed", "HALT-1a", FIRST, with_outputs(_summed)),
    _fault("logits-compared", "HALT-1a", FIRST, with_outputs(_logits_compared)),
    _fault("argmax-of-nothing", "HALT-1b", FIRST, with_outputs(_argmax_of_nothing)),
    _fault(
        "threshold-inverted",
        "HALT-2",
        "test_a_higher_threshold_never_means_fewer_steps",
        with_outputs(_inverted),
        TARGET,
    ),
    _fault("mean-over-all-steps", "HALT-3a", MEAN, with_outputs(_over_all_steps)),
    _fault("never-explores", "HALT-3a", MEAN, with_outputs(_never_explores)),
    _fault("answer-of-the-step-before", "HALT-3b", MEAN, with_outputs(_answer_before), TARGET),
    _fault("answer-at-the-end", "HALT-3b", MEAN, with_outputs(_answer_at_the_end), TARGET),
    _fault(
        "logarithm-of-a-sigmoid",
        "HALT-3c",
        HUGE,
        with_outputs(_logarithm_of_a_sigmoid),
        "porting: squares overflow or underflow",
    ),
    _fault("steps-not-made-learned", "HALT-4", RUBBISH, with_outputs(_every_step)),
    _fault("steps-not-made-times-zero", "HALT-4", RUBBISH, with_outputs(_masked_by_zero)),
    _fault("without-gradient", "HALT-5", SLOPE, gradients_lost("logits"), TARGET),
    _fault("gradient-not-divided", "HALT-5", SLOPE, with_outputs(_summed_gradient)),
    _fault(
        "over-the-batch",
        "HALT-6",
        "test_rows_are_independent",
        with_outputs(_over_the_batch),
        "porting: one row or head for all",
    ),
)
