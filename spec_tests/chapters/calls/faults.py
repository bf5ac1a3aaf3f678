"""Faults of any call: something kept, counted or drawn between calls, batches of one, another answer in training."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, in_form, with_inputs, with_outputs
from spec_tests.faults.generated.rounding import away_from_zero, leaving_by, truncated
from spec_tests.port import Numerics, Op, Run, round_to_bf16

SAME = "test_calls:test_the_same_call_gives_the_same_answer_whatever_came_between"
ALONE = "test_calls:test_a_row_alone_gives_what_it_gives_among_others"
ROUNDED = "test_calls:test_an_activation_is_rounded_once_to_the_nearest_bfloat16"
TIES = "test_calls:test_a_tie_goes_to_the_even_bfloat16"
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


def _rounded_gate(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Join with the gate in bfloat16: an intermediate value rounded, and the result again."""
    gate = round_to_bf16(outputs["gate"])
    convex = gate * inputs["attention"] + (1.0 - gate) * inputs["memory"]
    return {"joined": convex if config["kind"] == "convex" else gate * inputs["memory"]}


CHUNKED: Final = Op.MEMORY_CHUNKED
MIX: Final = Op.M3_MIX
QK: Final = Op.QK_PROJECTION
SCAN: Final = Op.MEMORY_SCAN

ONLY_THERE: Final = "Only in `bf16_io` does anything leave as bfloat16."
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
    Fault(
        "call-activation-truncated",
        "CALL-4b",
        SCAN,
        ROUNDED,
        leaving_by("reads", truncated),
        "source: bfloat16 by cutting bits off",
        (Numerics.BF16_IO,),
        ONLY_THERE,
    ),
    Fault(
        "call-ties-away-from-zero",
        "CALL-4c",
        Op.SHORT_CONV,
        TIES,
        leaving_by("y", away_from_zero),
        "porting: bfloat16 by adding half a unit",
        (Numerics.BF16_IO,),
        ONLY_THERE,
    ),
    Fault(
        "call-softmax-of-a-rounded-cache",
        "CALL-4a",
        Op.SLIDING_WINDOW_ATTENTION,
        ROUNDED,
        with_inputs(lambda _, x: {name: round_to_bf16(x[name]) for name in ("persistent_keys", "persistent_values")}),
        "source: attention in bfloat16, its cache and its weights too",
        (Numerics.BF16_IO,),
        "In the other profiles the tests of the softmax notice it.",
    ),
    Fault(
        "call-gate-rounded-before-the-join",
        "CALL-4a",
        Op.MAG_GATE,
        ROUNDED,
        with_outputs(_rounded_gate),
        "porting: an intermediate value in bfloat16",
        (Numerics.BF16_IO,),
        "In the other profiles the tests of the gate notice it.",
    ),
)
