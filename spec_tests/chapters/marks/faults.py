"""Faults of two marks: one position for everything, and parts that begin with the other."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from spec_tests.chapters.blocks.wrong_parts import from_the_call, projection_never_reset
from spec_tests.chapters.marks import wrong_parts as wrong
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    forgotten,
    multiplied,
    with_inputs,
    with_outputs,
    with_part,
    zeroed,
)
from spec_tests.port import Numerics, Op, Run

MARKS: Final = Op.MAG_BLOCK_MARKS
BEGIN: Final = "test_marks:test_each_part_begins_at_its_own_marks_and_goes_on_at_those_of_the_other"
FRESH: Final = "test_marks:test_a_mark_is_a_fresh_start_of_its_part"
BOTH: Final = "test_marks:test_both_marks_at_the_same_tokens_are_the_one_mark_of_a_block"
SPLIT: Final = "test_marks:test_any_split_gives_the_same_results"
PLACES: Final = "test_marks:test_places_that_a_context_or_a_memory_does_not_have_hold_zeros"
ALONE: Final = "test_marks:test_rows_and_the_future_do_not_count"
LEARNS: Final = "test_marks:test_the_gradients_are_those_of_the_block"
HANDED: Final = "test_marks_sight:test_what_a_context_no_longer_sees_may_hold_anything_while_the_memory_is_handed_on"
LONG: Final = "test_marks_long:test_long_wide_and_distant_rows_are_those_of_the_loops"
LONG_SLOPES: Final = "test_marks_long:test_no_gradient_stops_between_two_blocks_of_a_call"

BLOCKS: Final = "porting: blocks of tokens, at whose borders something is lost"
ONE_POSITION: Final = "porting: one position for attention, convolution and memory, as in every formula"
NEVER: Final = "source: resets that nothing calls"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"


def _part(name: str, changed: Callable[..., object]) -> Wrap:
    return with_part("spec_tests.chapters.marks.oracle", name, changed, inside="spec_tests.chapters.blocks.oracle")


def _memory(kind: Callable[..., object]) -> Wrap:
    return _part("Oracle", lambda _, config, sums: kind(config, sums))


def _slopes(change: Callable[[Config, Arrays], Arrays]) -> Wrap:
    """Build a fault whose results are right and whose gradients are those of other marks."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            outputs = run(op, config, inputs, numerics=numerics, taps=taps)
            if not any(name.startswith("cotangent.") for name in inputs):
                return outputs
            other = run(op, config, {**inputs, **change(config, inputs)}, numerics=numerics, taps=taps)
            return {name: other[name] if name.startswith("grad.") else value for name, value in outputs.items()}

        return faulty

    return wrap


def _next_token(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] + 0.1 * np.concatenate([x["x"][:, 1:], x["x"][:, -1:]], axis=1)}


def _never_begun(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return {"context": x["context"] + x["x"].shape[1]}


def _one_more(_: Config, x: Arrays) -> Arrays:
    return {"context": x["context"] + 1}


def _fault(name: str, sentence: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"mark-{name}", sentence, MARKS, test, wrap, origin)


_attend, _remember = (partial(_part, name) for name in ("attend", "remember"))


def _row_beside(_: Config, x: Arrays) -> Arrays:
    """What a row has stored is handed to the questions of another."""
    return {
        name: np.roll(x[name], 1, axis=0) for name in ("weights", "momentum", "anchor", "window_keys", "window_values")
    }


FAULTS: Final[tuple[Fault, ...]] = (
    _fault("attention-never-begins", "MARK-1a", BEGIN, _attend(wrong.attention_never_begun), NEVER),
    _fault("angles-of-the-call", "MARK-1b", BEGIN, _part("rotate", from_the_call), ONE_POSITION),
    _fault("convolution-never-begins", "MARK-1c", FRESH, _remember(wrong.convolution_never_begun), NEVER),
    _fault("memory-begins-with-the-context", "MARK-2a", BEGIN, _memory(wrong.BegunByContext), ONE_POSITION),
    _fault("chunks-of-the-context", "MARK-2b", BEGIN, _memory(wrong.ChunksOfContext), ONE_POSITION),
    _fault("window-of-the-context", "MARK-2c", BEGIN, _memory(wrong.WindowOfContext), ONE_POSITION),
    _fault("projection-of-the-context", "MARK-2d", BEGIN, _remember(wrong.projection_of_the_context), ONE_POSITION),
    _fault("memory-never-begins", "MARK-3a", FRESH, _memory(wrong.KeptMemory), NEVER),
    _fault("chunks-go-on", "MARK-3b", BEGIN, _memory(wrong.ChunksGoOn), ONE_POSITION),
    _fault("window-goes-on", "MARK-3c", BEGIN, _memory(wrong.WindowGoesOn), NEVER),
    _fault("projection-never-begins", "MARK-3d", FRESH, _part("qk_projection", projection_never_reset), NEVER),
    _fault("attention-begins-with-the-memory", "MARK-4a", BEGIN, _attend(wrong.attention_begun_by_both), ONE_POSITION),
    _fault("angles-of-the-memory", "MARK-4b", BEGIN, _attend(wrong.angles_of_the_memory), ONE_POSITION),
    _fault(
        "convolution-begins-with-the-memory", "MARK-4c", BEGIN, _remember(wrong.convolution_begun_by_both), ONE_POSITION
    ),
    _fault(
        "context-counts-one-more",
        "MARK-5a",
        BOTH,
        with_inputs(_one_more),
        "porting: a count that is off by one, or that counts an empty call",
    ),
    _fault("count-never-begins", "MARK-5b", BOTH, with_outputs(_never_begun), NEVER),
    _fault("count-forgotten", "MARK-6a", SPLIT, forgotten("context"), NOT_HANDED_ON),
    _fault("count-not-taken", "MARK-6a", SPLIT, zeroed("context"), NOT_HANDED_ON),
    _fault(
        "dead-places-filled",
        "MARK-6b",
        PLACES,
        _part("of_document", lambda _, tail, __: tail),
        "porting: a sight that is wrong by one document or token",
    ),
    _fault(
        "window-filled",
        "MARK-6c",
        PLACES,
        with_outputs(wrong.filled),
        "porting: a sight that is wrong by one document or token",
    ),
    _fault(
        "sees-the-next-token",
        "MARK-7a",
        ALONE,
        with_outputs(_next_token),
        "source: attention that is not causal, the target in sight",
    ),
    _fault(
        "memory-of-the-row-beside", "MARK-7b", ALONE, with_inputs(_row_beside), "source: state handed to another row"
    ),
    _fault("tail-averaged", "MARK-7b", ALONE, averaged("tail"), "source: state kept as the mean over the batch"),
    _fault(
        "slopes-pass-a-context", "MARK-8a", LEARNS, _slopes(partial(wrong.unmarked_slopes, "reset_context")), DERIVATIVE
    ),
    _fault(
        "slopes-pass-a-memory", "MARK-8a", LEARNS, _slopes(partial(wrong.unmarked_slopes, "reset_memory")), DERIVATIVE
    ),
    _fault("slopes-stop-at-both", "MARK-8b", LEARNS, _slopes(wrong.slopes_stopped), DERIVATIVE),
    _fault("marks-of-the-first-block", "MARK-1a", LONG, with_inputs(partial(wrong.first_block, 16)), BLOCKS),
    _fault("slopes-stop-after-a-block", "MARK-8b", LONG_SLOPES, _slopes(partial(wrong.begun_at, 64)), BLOCKS),
    *multiplied("mark", MARKS, "MARK-3a", "test_marks_sight", "cache_keys", "tail", "weights"),
    Fault(
        "mark-context-times-zero",
        "MARK-1a",
        MARKS,
        HANDED,
        with_outputs(lambda _, x, y: {"y": y["y"] + 0.0 * x["cache_keys"].sum()}),
        "porting: a mask that is multiplied, where 0 times infinity is not 0",
    ),
)
