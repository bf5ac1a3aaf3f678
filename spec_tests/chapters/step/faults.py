"""Faults of training steps; most were found in a source system or are what a port forgets."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from spec_tests.chapters.mugrokfast.faults import eps_inside, orthogonalised_first, uncorrected
from spec_tests.chapters.mugrokfast.oracle import shortened
from spec_tests.chapters.step import forward, oracle
from spec_tests.chapters.step.operation import HIDDEN
from spec_tests.chapters.step.oracle import is_hidden, last
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_config, with_inputs, with_outputs
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Op, round_to_bf16

Right = Callable[..., Any]


def with_parts(**wrong: Callable[..., Any]) -> Wrap:
    """Build a fault that answers like the loops with some of their parts replaced, each called with the right one."""

    def change(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
        with ExitStack() as stack:
            for name, part in wrong.items():
                module = oracle if hasattr(oracle, name) else forward
                stack.enter_context(patch.object(module, name, partial(part, getattr(module, name))))
            answer = oracle.train_steps(config, x, FORWARD)
        return {name: answer[name] for name in outputs}

    return with_outputs(change)


def mean_of_rows(_: Right, losses: Array, scored: Array) -> Array:
    """Take the mean of each row, and of these."""
    rows = np.where(scored, losses, 0.0).sum(2) / np.maximum(scored.sum(1), 1)
    return np.asarray(rows.mean(1))


def every_token(_: Right, tokens: Array, reset: Array) -> Array:
    """Predict the first token of a document from the last of another."""
    return np.ones_like(reset[:, 1:], dtype=bool)


def shifted_twice(right: Right, logits: Array, tokens: Array) -> Any:
    return right(logits, np.roll(tokens, -1, axis=1))


def one_by_one(_: Right, gradients: dict[str, Array], bound: float) -> dict[str, Array]:
    return {name: shortened([gradient], bound)[0] for name, gradient in gradients.items()}


def never(_: Right, gradients: dict[str, Array], bound: float) -> dict[str, Array]:
    del bound
    return gradients


def clipped_in_the_end(right: Right, config: Config, gradient: Array, slow: Array, updates: int) -> Any:
    """Clip what comes out of the filter, whose slow part holds raw gradients."""
    fast, slow = right(config, gradient, slow, updates)
    return shortened([fast], float(config["clip"]))[0], slow


def _norm_after(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    bound = float(config["clip"]) or np.inf
    return {"grad_norms": np.minimum(outputs["grad_norms"], bound)}


def decay_added(right: Right, config: Config, name: str, weight: Array, kept: Any, gradient: Array, *rest: Any) -> Any:
    """Add the decay to the gradient, as Adam with L2 does."""
    more = gradient + oracle.decay_of(config, name, weight) * weight
    with patch.object(oracle, "decay_of", lambda *_: 0.0):
        return right(config, name, weight, kept, more, *rest)


def everywhere(_: Right, config: Config, name: str, value: Array) -> float:
    return float(config["weight_decay"])


def on_gains_too(right: Right, config: Config, name: str, value: Array) -> Any:
    return float(config["weight_decay"]) if last(name) == "log_gain" else right(config, name, value)


def all_matrices(right: Right, config: Config, name: str) -> Any:
    """Send the embedding to Muon too."""
    return right(config, f"0.{HIDDEN[0]}" if name == "embedding" else name)


def in_bfloat16(right: Right, *given: Any) -> Any:
    weight, mean, square = right(*given)
    return weight, *(round_to_bf16(moment).astype(np.float64) for moment in (mean, square))


def high_pass(right: Right, config: Config, gradient: Array, slow: Array, updates: int) -> Any:
    _, slow = right(config, gradient, slow, updates)
    return gradient + float(config["strength"]) * (gradient - slow), slow


def never_clipped(_: Right, weight: Array, maximum: Array, threshold: float) -> Array:
    del maximum, threshold
    return weight


def head_alone(_: Right, embedding: Array, tokens: Array) -> Array:
    """Look tokens up in a copy that learns nothing."""
    return np.asarray(embedding.real[:, tokens] + 0j)


def without_the_first_memory(right: Right, *given: Any) -> Any:
    loss, slopes, *rest = right(*given)
    return loss, {name: slope * (last(name) != "initial") for name, slope in slopes.items()}, *rest


def with_its_history(_: Right, after: Arrays, before: Arrays, carry: bool) -> dict[str, Array]:
    return dict(after) if carry else dict(before)


def begins_anew(_: Right, after: Arrays, before: Arrays, carry: bool) -> dict[str, Array]:
    del after, carry
    return dict(before)


def of_all_rows(right: Right, *given: Any) -> dict[str, Array]:
    states = right(*given)
    return {name: value if value.ndim < 2 else 0.0 * value + value.mean(0) for name, value in states.items()}


def always_carried(right: Right, after: Arrays, before: Arrays, carry: bool) -> Any:
    del carry
    return right(after, before, True)


def of_one_rate(right: Right, config: Config, name: str, *given: Any) -> Any:
    """Leave the schedule out of Muon's rate."""
    *rest, factor = given
    return right(config, name, *rest, 1.0 if is_hidden(config, name) else factor)


def _fault(name: str, clause: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"step-{name}", f"STEP-{clause}", Op.TRAIN_STEPS, f"test_step:{test}", wrap, origin)


LOSS: Final = "test_the_loss_is_the_mean_over_targets_that_go_on_with_a_document"
CLIP: Final = "test_gradients_are_clipped_by_the_norm_of_all_before_anything_else"
FOLLOWS: Final = "test_parameters_and_moments_are_those_of_each_optimiser"
LEARNS: Final = "test_the_tied_embedding_and_the_first_memory_get_their_gradients"
STATE: Final = "test_the_state_is_handed_on_row_by_row_without_its_history"
STILL: Final = "test_a_parameter_whose_gradient_is_zero_stays_as_it_is"
RATES: Final = "test_the_schedule_multiplies_every_rate_and_counts_from_its_first_step"
SPLIT: Final = "test_steps_in_one_call_are_steps_in_several"

TARGETS: Final = "source: targets that are not shifted, or of another document, or means of means"
CLIPPING: Final = "source: clipping tensor by tensor, after the moments, or the norm after it"
ADAMW: Final = "misreading: AdamW: its correction, its eps, what decays and how"
GRADIENT: Final = "porting: a gradient that does not arrive, or arrives once where it comes from two places"
HANDED: Final = "source: state that is not handed on, or with its graph, or as the mean of rows"
RATE: Final = "source: a schedule that one rate does not read, or that is off by one"
NONE: Final = "source: zeros for no gradient: momentum and decay move what nothing asked to move"

FAULTS: Final[tuple[Fault, ...]] = (
    _fault("mean-of-row-means", "1a", LOSS, with_parts(mean_loss=mean_of_rows), TARGETS),
    _fault("targets-of-other-documents", "1b", LOSS, with_parts(is_scored=every_token), TARGETS),
    _fault("targets-shifted-twice", "1c", LOSS, with_parts(cross_entropy=shifted_twice), TARGETS),
    _fault("clipped-one-by-one", "2a", CLIP, with_parts(clip=one_by_one), CLIPPING),
    _fault("norm-after-clipping", "2b", CLIP, with_outputs(_norm_after), CLIPPING),
    _fault("moments-of-raw-gradients", "2c", CLIP, with_parts(clip=never), CLIPPING),
    _fault("filter-of-raw-gradients", "2c", CLIP, with_parts(clip=never, filtered=clipped_in_the_end), CLIPPING),
    _fault("descent-against-decay", "3a", FOLLOWS, with_config(lambda _: {"weight_decay": 0.0}), ADAMW),
    _fault("moments-not-corrected", "3b", FOLLOWS, with_parts(adamw=uncorrected), ADAMW),
    _fault("eps-inside-the-root", "3b", FOLLOWS, with_parts(adamw=eps_inside), ADAMW),
    _fault("orthogonalised-before-momentum", "3c", FOLLOWS, with_parts(matrix_step=orthogonalised_first), ADAMW),
    _fault("embedding-to-muon", "3c", FOLLOWS, with_parts(is_hidden=all_matrices), ADAMW),
    _fault("high-pass", "3d", FOLLOWS, with_parts(filtered=high_pass), ADAMW),
    _fault("heads-never-clipped", "3d", FOLLOWS, with_parts(heads_clipped=never_clipped), ADAMW),
    _fault("decay-in-the-gradient", "3e", FOLLOWS, with_parts(update=decay_added), ADAMW),
    _fault("decay-on-vectors", "3e", FOLLOWS, with_parts(decay_of=everywhere), ADAMW),
    _fault("decay-on-gains", "3e", FOLLOWS, with_parts(decay_of=on_gains_too), ADAMW),
    _fault("moments-in-bfloat16", "3f", FOLLOWS, with_parts(adamw=in_bfloat16), ADAMW),
    _fault("embedding-learns-as-a-head-alone", "4a", LEARNS, with_parts(looked_up=head_alone), GRADIENT),
    _fault("first-memory-does-not-learn", "4b", LEARNS, with_parts(derivatives=without_the_first_memory), GRADIENT),
    _fault("writes-always-in-the-gradient", "4c", LEARNS, with_config(lambda _: {"inner_grad": "full"}), GRADIENT),
    _fault("writes-never-in-the-gradient", "4c", LEARNS, with_config(lambda _: {"inner_grad": "detached"}), GRADIENT),
    _fault("state-not-handed-on", "5a", STATE, with_parts(handed_on=begins_anew), HANDED),
    _fault("state-with-its-history", "5b", STATE, with_parts(handed_on=with_its_history), HANDED),
    _fault("state-of-all-rows", "5c", STATE, with_parts(handed_on=of_all_rows), HANDED),
    _fault("state-always-handed-on", "5d", STATE, with_parts(handed_on=always_carried), HANDED),
    _fault("moved-by-nothing", "6", STILL, with_parts(is_left_alone=lambda *_: False), NONE),
    _fault("schedule-of-one-rate", "7a", RATES, with_parts(update=of_one_rate), RATE),
    _fault("schedule-off-by-one", "7b", RATES, with_config(lambda c: {"step0": int(c["step0"]) + 1}), RATE),
    _fault("schedule-of-the-call", "7b", RATES, with_config(lambda _: {"step0": 0}), RATE),
    _fault("counts-of-the-call", "8", SPLIT, with_inputs(lambda _, x: {"updates": 0 * x["updates"]}), ADAMW),
    _fault("moments-of-the-call", "8", SPLIT, with_inputs(lambda _, x: {"mean": 0.0 * x["mean"]}), ADAMW),
)
