"""Faults of the memory of slots."""

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from spec_tests.chapters.slot_memory import oracle
from spec_tests.chapters.slot_memory import wrong_parts as wrong
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    first_token_goes_on,
    gradients_lost,
    multiplied,
    with_inputs,
    with_outputs,
    with_part,
    zeroed,
)
from spec_tests.oracle.complex_step import gradients
from spec_tests.port import Op, round_to_bf16

SLOT: Final = Op.SLOT_MEMORY
NOVELTY: Final = "test_the_novelty_is_what_the_nearest_slot_leaves"
NOTHING: Final = "test_nothing_is_near_where_no_slot_is_in_use_and_to_a_zero_vector"
WRITTEN: Final = "test_a_token_is_written_as_it_is_where_its_novelty_is_above_the_threshold"
PLACE: Final = "test_the_first_slot_that_is_not_in_use_is_filled_and_then_the_one_read_longest_ago"
READ: Final = "test_a_read_is_attention_over_the_slots_in_use_after_the_write"
COUNTS: Final = "test_a_slot_counts_as_read_by_whom_it_weighs_most_and_by_whom_it_holds"
FRESH: Final = "test_a_document_finds_no_slot_in_use_whatever_came_before"
RUBBISH: Final = "test_a_slot_that_is_not_in_use_may_hold_anything_and_comes_back_as_zeros"
SPLIT: Final = "test_any_split_gives_the_same_results"
LEARNS: Final = "test_the_gradient_flows_through_what_is_stored_and_read_and_not_through_the_choice"

NEAR: Final = "misreading: similarity, of which lengths, means or empty places are part"
CHOICE: Final = "misreading: which slot is next, and what counts as a read of it"
CAPACITY: Final = "source: a capacity and a threshold of surprise that nothing reads"
NEVER: Final = "source: resets that nothing calls"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"


_shares: Final = oracle.shares


def _part(name: str, changed: Callable[..., object]) -> Wrap:
    return with_part(oracle.__name__, name, changed)


def _slopes(name: str, changed: Callable[..., Any]) -> Wrap:
    """Build a fault whose gradients are those of the loops with one part replaced."""

    def change(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
        asked = {kind: x[f"cotangent.{kind}"] for kind in ("y", "slots") if f"cotangent.{kind}" in x}
        if not asked:
            return {}
        wide = {kind: np.asarray(x[kind], np.float64) for kind in ("x", "slots")}
        with patch.object(oracle, name, changed):
            found = gradients(lambda moved: oracle.slot_memory({**x, **moved}, float(config["threshold"])), wide, asked)
        return {f"grad.{kind}": value for kind, value in found.items()}

    return with_outputs(change)


def _after_its_write(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    """Compare a token with what it has just written."""
    return {"novelty": np.where(outputs["novelty"] > float(config["threshold"]), 0.0, outputs["novelty"])}


def _reads_itself(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    empty = (outputs["y"] == 0.0).all(-1, keepdims=True)
    return {"y": np.where(empty, x["x"], outputs["y"])}


def _later_go_on(_: Config, x: Arrays) -> Arrays:
    """Look for the start of a document at the first token of a call only."""
    first = np.arange(x["position"].shape[1]) == 0
    return {"position": np.where(first, x["position"], np.maximum(x["position"], 1))}


def _unused_times_zero(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    unused = np.where(x["read_at"][..., None] < 0, x["slots"], 0.0)
    return {"y": outputs["y"] + (0.0 * unused).sum(1, keepdims=True)}


def _unused_as_given(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"slots": np.where(outputs["read_at"][..., None] < 0, x["slots"] + 1.0, outputs["slots"])}


def _whole_call(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] + 0.1 * x["x"].mean(1, keepdims=True)}


def _through_the_novelty(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    if "cotangent.novelty" not in x:
        return {}
    return {"grad.x": outputs["grad.x"] - 0.2 * x["cotangent.novelty"][..., None] * x["x"]}


def _fault(name: str, clause: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"slot-{name}", clause, SLOT, f"test_slot_memory:{test}", wrap, origin)


FAULTS: Final[tuple[Fault, ...]] = (
    _fault("inner-product", "SLOT-1a", NOVELTY, _part("cosine", wrong.inner_product), NEAR),
    _fault("mean-similarity", "SLOT-1a", NOVELTY, _part("novelty", wrong.mean_of_all), NEAR),
    _fault("compared-with-unused", "SLOT-1b", NOTHING, _part("novelty", wrong.zeros_too), NEAR),
    _fault("compared-after-the-write", "SLOT-1b", NOVELTY, with_outputs(_after_its_write), NEAR),
    _fault("nothing-is-new-to-nothing", "SLOT-1c", NOTHING, _part("novelty", wrong.known_from_nothing), NEAR),
    _fault("zero-is-like-all", "SLOT-1d", NOTHING, _part("cosine", wrong.zero_is_like_all), NEAR),
    _fault(
        "epsilon-beside-lengths",
        "SLOT-1e",
        "test_only_directions_are_compared",
        _part("cosine", wrong.with_an_epsilon),
        "porting: squares overflow or underflow",
    ),
    _fault("threshold-ignored", "SLOT-2a", WRITTEN, _part("is_written", lambda *_: True), CAPACITY),
    _fault("old-is-written", "SLOT-2a", WRITTEN, _part("is_written", lambda _, new, least: new <= least), NEAR),
    _fault(
        "equal-is-written",
        "SLOT-2b",
        "test_a_novelty_that_is_the_threshold_is_not_above_it",
        _part("is_written", lambda _, new, least: new >= least),
        NEAR,
    ),
    _fault(
        "direction-is-written",
        "SLOT-2c",
        WRITTEN,
        _part("stored", lambda _, token: token / np.sqrt((token * token).sum() + 1e-12)),
        NEAR,
    ),
    _fault("filled-from-the-end", "SLOT-3a", PLACE, _part("place", wrong.last_unused), CHOICE),
    _fault("newest-is-replaced", "SLOT-3b", PLACE, _part("place", wrong.most_recently_read), CHOICE),
    _fault("last-of-several", "SLOT-3c", PLACE, _part("place", wrong.last_of_several), CHOICE),
    _fault("unscaled", "SLOT-4a", READ, _part("shares", wrong.unscaled), "porting: an attention without its scale"),
    _fault("cosine-logits", "SLOT-4a", READ, _part("shares", wrong.by_cosines), NEAR),
    _fault("unused-is-read", "SLOT-4b", READ, _part("read", wrong.one_unused_too), CAPACITY),
    _fault("read-first", "SLOT-4c", READ, _part("step", wrong.read_first), CHOICE),
    _fault(
        "empty-reads-itself",
        "SLOT-4d",
        "test_an_empty_memory_reads_zero",
        with_outputs(_reads_itself),
        "misreading: what a memory of nothing answers",
    ),
    _fault("reads-do-not-count", "SLOT-5a", COUNTS, _part("step", wrong.reads_do_not_count), CHOICE),
    _fault("every-slot-is-read", "SLOT-5a", COUNTS, _part("step", wrong.every_slot_is_read), CHOICE),
    _fault("last-that-weighs-most", "SLOT-5a", COUNTS, _part("read", wrong.last_that_weighs_most), CHOICE),
    _fault("writes-do-not-count", "SLOT-5b", COUNTS, _part("step", wrong.writes_do_not_count), CHOICE),
    _fault("state-goes-on", "SLOT-6a", FRESH, first_token_goes_on(), NEVER),
    _fault("reset-at-calls-only", "SLOT-6b", FRESH, with_inputs(_later_go_on), NEVER),
    _fault(
        "unused-times-zero",
        "SLOT-6c",
        RUBBISH,
        with_outputs(_unused_times_zero),
        "porting: a mask that is multiplied, where 0 times infinity is not 0",
    ),
    _fault(
        "unused-as-given",
        "SLOT-6d",
        RUBBISH,
        with_outputs(_unused_as_given),
        "porting: what is left in places that are not in use",
    ),
    _fault("slots-forgotten", "SLOT-7a", SPLIT, zeroed("slots"), "porting: state that is not handed on"),
    _fault(
        "use-forgotten",
        "SLOT-7a",
        SPLIT,
        with_inputs(lambda _, x: {"read_at": np.full_like(x["read_at"], -1)}),
        "porting: state that is not handed on",
    ),
    Fault(
        "slot-no-number-emptied",
        "SLOT-7a",
        SLOT,
        "test_slot_memory_sight:test_a_token_that_is_no_number_spoils_the_same_reads_however_the_sequence_is_cut",
        with_inputs(lambda _, x: {"slots": np.where(np.isfinite(x["slots"]), x["slots"], 0.0)}),
        "porting: what is no number becomes zero where state is handed on, and a call that diverged looks sound",
    ),
    _fault(
        "slots-in-bfloat16",
        "SLOT-7b",
        SPLIT,
        with_outputs(lambda _, __, y: {"slots": round_to_bf16(y["slots"])}),
        "source: accumulators in bfloat16 stall",
    ),
    _fault(
        "slots-averaged",
        "SLOT-8a",
        "test_rows_are_independent",
        averaged("slots"),
        "source: state kept as the mean over the batch",
    ),
    _fault(
        "whole-call-read",
        "SLOT-8b",
        "test_the_future_does_not_count",
        with_outputs(_whole_call),
        "source: a sequence is written whole and read with the last state: the future leaks",
    ),
    _fault("stored-detached", "SLOT-9a", LEARNS, _slopes("stored", np.real), DERIVATIVE),
    _fault("slots-detached", "SLOT-9b", LEARNS, gradients_lost("slots"), DERIVATIVE),
    _fault("weights-detached", "SLOT-9c", LEARNS, _slopes("shares", lambda *x: _shares(*x).real), DERIVATIVE),
    _fault("novelty-learned", "SLOT-9d", LEARNS, with_outputs(_through_the_novelty), DERIVATIVE),
    *multiplied("slot", SLOT, "SLOT-6b", "test_slot_memory_sight", "x", "slots"),
)
