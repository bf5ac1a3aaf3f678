"""Losses on top of StableMax done wrongly."""

from typing import Final

import numpy as np

from spec_tests.chapters.stablemax.oracle import stablemax
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_inputs, with_outputs
from spec_tests.port import Array, Op

IGNORED: Final = -100
MASK: Final = "source: ignored labels counted, or rows without any divided by"
LOGARITHM: Final = "source: the logarithm of a probability, with something small under it"


def _losses(logs: Array, labels: Array) -> Arrays:
    """Return logarithms and the losses that follow from them."""
    counted = labels != IGNORED
    picked = np.take_along_axis(logs, np.where(counted, labels, 0)[..., None], -1)[..., 0]
    sums = -np.where(counted, picked, 0.0).sum(1)
    return {"log_probabilities": logs, "losses": sums / np.maximum(counted.sum(1), 1)}


def _softmax(_: Config, x: Arrays, __: Arrays) -> Arrays:
    shifted = x["logits"] - x["logits"].max(-1, keepdims=True)
    return _losses(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), x["labels"])


def _without_the_sum(_: Config, x: Arrays, __: Arrays) -> Arrays:
    logits = x["logits"].astype(np.float64)
    return _losses(np.sign(logits) * np.log1p(np.abs(logits)), x["labels"])


def _probabilities(x: Arrays) -> Array:
    logits = x["logits"].astype(np.float64)
    return stablemax(logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)


def _cushioned(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """Add 1e-30 under the logarithm, as both official codes do."""
    return _losses(np.log(_probabilities(x) + 1e-30), x["labels"])


def _in_single(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """Take the logarithm of probabilities in float32: one of 1 - 1e-9 is 1."""
    return _losses(np.log(_probabilities(x).astype(np.float32) + np.float32(1e-38)), x["labels"])


def _sign_of_zero(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"grad.logits": np.where(x["logits"] == 0, 0.0, outputs["grad.logits"])} if _asked(outputs) else {}


def _both_branches(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Select after computing both: log1p(-x) is infinite at 1, and zero times its derivative is no number."""
    return {"grad.logits": np.where(x["logits"] == 1, np.nan, outputs["grad.logits"])} if _asked(outputs) else {}


def _asked(outputs: Arrays) -> bool:
    return "grad.logits" in outputs


def _counts(x: Arrays) -> Array:
    return np.asarray((x["labels"] != IGNORED).sum(1))


def _summed(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"losses": outputs["losses"] * _counts(x)}


def _over_the_batch(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Divide what each row adds up to by the mean number of labels of all rows."""
    return {"losses": outputs["losses"] * _counts(x) / max(_counts(x).mean(), 1.0)}


def _counted(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Divide by the length of the row, ignored places included."""
    return {"losses": outputs["losses"] * _counts(x) / x["labels"].shape[1]}


def _last_of_the_vocabulary(_: Config, x: Arrays) -> Arrays:
    """Take -100 for an index."""
    return {"labels": np.where(x["labels"] == IGNORED, IGNORED % x["logits"].shape[-1], x["labels"])}


def _divided_by_none(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"losses": np.where(_counts(x) == 0, np.nan, outputs["losses"])}


def _fault(name: str, clause: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"stab-{name}", clause, Op.STABLEMAX_LOSS, f"test_stablemax_loss:{test}", wrap, origin)


BRANCHES: Final = "test_logarithms_are_those_of_the_two_branches"
SLOPE: Final = "test_the_gradient_is_that_of_the_loss_at_zero_and_one_too"
MEAN: Final = "test_the_loss_of_a_row_is_the_mean_over_its_own_labels"
SMALL: Final = "test_a_logit_of_minus_1e30_has_a_finite_logarithm"
CERTAIN: Final = "test_an_almost_certain_label_keeps_the_digits_of_its_loss"
BESIDE: Final = "test_ignored_places_may_hold_any_logits"
NONE: Final = "test_a_row_without_labels_has_the_loss_zero"

FAULTS: Final = (
    _fault("loss-of-softmax", "STAB-6a", BRANCHES, with_outputs(_softmax), LOGARITHM),
    _fault("loss-not-normalised", "STAB-6a", BRANCHES, with_outputs(_without_the_sum), LOGARITHM),
    _fault("logarithm-cushioned", "STAB-6b", SMALL, with_outputs(_cushioned), LOGARITHM),
    _fault("logarithm-in-single", "STAB-6c", CERTAIN, with_outputs(_in_single), LOGARITHM),
    _fault("loss-gradient-zero-at-zero", "STAB-6d", SLOPE, with_outputs(_sign_of_zero), LOGARITHM),
    _fault("loss-gradient-nan-at-one", "STAB-6d", SLOPE, with_outputs(_both_branches), LOGARITHM),
    _fault("loss-summed", "STAB-7a", MEAN, with_outputs(_summed), MASK),
    _fault("loss-over-the-batch", "STAB-7a", MEAN, with_outputs(_over_the_batch), MASK),
    _fault("ignored-labels-counted", "STAB-7b", MEAN, with_outputs(_counted), MASK),
    _fault("ignored-label-an-index", "STAB-7b", BESIDE, with_inputs(_last_of_the_vocabulary), MASK),
    _fault("row-without-labels-divides", "STAB-7c", NONE, with_outputs(_divided_by_none), MASK),
)
