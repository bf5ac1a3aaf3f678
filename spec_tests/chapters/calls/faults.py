"""Faults of any call: something kept, counted or drawn between calls, batches of one, another answer in training."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, in_form, with_outputs
from spec_tests.port import Numerics, Op, Run

SAME = "test_calls:test_the_same_call_gives_the_same_answer_whatever_came_between"
ALONE = "test_calls:test_a_row_alone_gives_what_it_gives_among_others"
TRAINED = "test_calls:test_gradients_do_not_change_the_outputs"
Change = Callable[[list[Arrays], Arrays], Arrays]


def remembering(change: Change) -> Wrap:
    """Build a fault that keeps what it answered: `change(answers so far, outputs)` returns what differs."""

    def wrap(run: Run) -> Run:
        answered: list[Arrays] = []

        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            outputs = run(op, config, inputs, numerics=numerics, taps=taps)
            changed = {**outputs, **in_form(op, change(answered, outputs), numerics)}
            answered.append(outputs)
            return changed

        return faulty

    return wrap


def _buffer(name: str, answered: list[Arrays], outputs: Arrays) -> Arrays:
    """Add a hundredth of what the call before left behind, where it fits."""
    if not answered or answered[-1][name].shape != outputs[name].shape:
        return {}
    return {name: 0.99 * outputs[name] + 0.01 * answered[-1][name]}


def _stale(name: str, answered: list[Arrays], outputs: Arrays) -> Arrays:
    """Answer the first call for ever, as long as the shape fits."""
    fits = answered and answered[0][name].shape == outputs[name].shape
    return {name: answered[0][name]} if fits else {}


def _dropout(name: str, answered: list[Arrays], outputs: Arrays) -> Arrays:
    kept = generator(len(answered)).random(outputs[name].shape) > 0.1
    return {name: outputs[name] * kept}


def _counted(name: str, answered: list[Arrays], outputs: Arrays) -> Arrays:
    """A schedule that goes by the number of calls."""
    return {name: outputs[name] * (1.0 - 0.01 * min(50, len(answered)))}


def _alone(name: str, _: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Divide by the spread over the batch, which one row does not have."""
    return {name: outputs[name] * np.nan} if len(outputs[name]) == 1 else {}


def _squeezed(name: str, _: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Take a batch of one for something else: here, its first entries for the mean of them."""
    return {name: 0.0 * outputs[name] + outputs[name].mean()} if len(outputs[name]) == 1 else {}


def _written_in_training_only(name: str, _: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Do in training what evaluation does not."""
    trained = any(key.startswith("cotangent.") for key in inputs)
    return {} if trained else {name: 0.9 * outputs[name]}


CHUNKED: Final = Op.MEMORY_CHUNKED
MIX: Final = Op.M3_MIX
QK: Final = Op.QK_PROJECTION
SCAN: Final = Op.MEMORY_SCAN

OUTLIVES_THE_CALL = "source: buffers that outlive the call, counters that probing moves"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("call-buffer-persists", "CALL-1a", SCAN, SAME, remembering(partial(_buffer, "weights")), OUTLIVES_THE_CALL),
    Fault("call-stale-answer", "CALL-1a", CHUNKED, SAME, remembering(partial(_stale, "reads")), OUTLIVES_THE_CALL),
    Fault(
        "call-dropout-left-on",
        "CALL-1c",
        Op.SLIDING_WINDOW_ATTENTION,
        SAME,
        remembering(partial(_dropout, "output")),
        "porting: dropout left on",
    ),
    Fault(
        "call-schedule-by-calls",
        "CALL-1b",
        Op.NEWTON_SCHULZ,
        SAME,
        remembering(partial(_counted, "orthogonal")),
        OUTLIVES_THE_CALL,
    ),
    Fault(
        "call-spread-of-one-row",
        "CALL-2",
        MIX,
        ALONE,
        with_outputs(partial(_alone, "mixed")),
        "source: a spread over one element is not a number",
    ),
    Fault(
        "call-batch-of-one-squeezed",
        "CALL-2",
        QK,
        ALONE,
        with_outputs(partial(_squeezed, "projected")),
        "source: a smaller batch begins its state again, or none is carried",
    ),
    Fault(
        "call-writes-in-training-only",
        "CALL-3",
        Op.MEMORY_GRAD,
        TRAINED,
        with_outputs(partial(_written_in_training_only, "reads")),
        "source: writes are switched off in evaluation",
    ),
)
