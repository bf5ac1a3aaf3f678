"""Faults of the memory over tokens: documents, state, rows, reads."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.memory_scan.wrong_scans import (
    AnchoredAtTheEnd,
    BatchMean,
    FreshRowTrusted,
    LastState,
    MomentumNotCarried,
    Nesterov,
    NeverRead,
    OneTokenOld,
    OneWriteAChunk,
    PreBeforeReset,
    RemainderDropped,
    ResetLate,
    WrittenInBfloat16,
    dead_places_repeat,
    keeping,
    multiplied,
)
from spec_tests.chapters.memory_step.loop import GATES
from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    averaged,
    forgotten,
    one_token_late,
    with_config,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Array, Op, round_to_bf16

CHUNKED: Final = Op.MEMORY_CHUNKED
SCAN: Final = Op.MEMORY_SCAN


def _rounded(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: round_to_bf16(outputs[name]) for name in ("weights", "momentum")}


def _reversed(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: outputs[name][:, ::-1] for name in ("window_keys", "window_values")}


def _ticking(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Count a token in a call without one."""
    return {"position": outputs["position"] + (inputs["keys"].shape[1] == 0)}


def _floored(_: Config, inputs: Arrays) -> Arrays:
    return {"retention": np.maximum(inputs["retention"], 1e-3)}


LOOP = "test_memory_scan:test_reads_and_last_state_are_those_of_the_loop"
PRE = "test_memory_scan:test_reading_before_the_write_is_reading_the_token_before_after_its_write"
RESET = "test_memory_scan:test_a_reset_equals_a_fresh_start_whatever_came_before"
FRESH = "test_memory_scan:test_a_call_that_begins_a_document_finds_m_0_whatever_its_state_holds"
PAIRS = "test_memory_scan:test_the_state_holds_the_last_pairs_of_the_document_and_the_number_of_its_tokens"
SPLIT = "test_memory_scan:test_any_split_into_calls_agrees_and_an_empty_call_returns_its_state"
ROWS = "test_memory_scan:test_rows_are_independent_through_their_state_too"
CAUSAL = "test_memory_scan:test_a_read_depends_on_its_own_and_earlier_tokens_and_on_no_later_ones"
SMALL = "test_memory_scan:test_writes_below_the_precision_of_the_activations_add_up"
ENDS = "test_memory_scan:test_gates_at_and_near_their_ends_give_what_the_loop_gives"
CONSTANT: Final = "test_memory_scan:test_titans_and_omega_agree_under_a_constant_step_size"
RANDOM = "test_memory_scan:test_random_calls_give_what_the_loop_gives_in_every_form"
ANYWHERE = "test_memory_scan:test_a_document_may_begin_at_any_token"


def gates_of(pick: Callable[[Array], Array]) -> Callable[[Config, Arrays], Arrays]:
    """Return a change that gives every token of a call the same gates."""

    def change(_: Config, inputs: Arrays) -> Arrays:
        return {name: 0.0 * inputs[name] + pick(inputs[name]) for name in GATES} if inputs["keys"].shape[1] else {}

    return change


def _any_row(_: Config, inputs: Arrays) -> Arrays:
    return {"reset": 0 * inputs["reset"] + inputs["reset"].max(axis=0, initial=0)}


def _never_written(_: Config, inputs: Arrays) -> Arrays:
    return {"step_size": 0.0 * inputs["step_size"], "retention": np.ones_like(inputs["retention"])} | {
        "momentum": 0.0 * inputs["momentum"]
    }


def _state_forgotten(_: Config, inputs: Arrays) -> Arrays:
    return {"position": 0 * inputs["position"]}


def _first_head(_: Config, inputs: Arrays) -> Arrays:
    return {"initial": 0.0 * inputs["initial"] + inputs["initial"][:1]}


def _divided_by_products(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Divide by the product of retentions since the start of the call, which may be zero."""
    lost = (inputs["retention"] == 0.0).any(axis=1)
    return {"weights": np.where(lost[:, :, None], np.nan, outputs["weights"])}


NOT_HANDED_ON = "porting: state that is not handed on, or only that of one call"
READ_ORDER = "misreading: reads before or after the write"
RESET_NOT_CALLED = "source: resets that nothing calls"
MISCOUNTED = "porting: a count that is off by one, or that counts an empty call"
MEAN_OVER_BATCH = "source: state kept as the mean over the batch"
ONE_UPDATE = "source: one update a chunk, gates of one token or of the mean of the chunk"


EMPTY = "test_memory_scan_at_the_edges:test_a_call_without_tokens_returns_its_state_whatever_it_holds"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("mem-momentum-not-carried", "MEM-2b", SCAN, LOOP, computed(MomentumNotCarried), NOT_HANDED_ON),
    Fault("mem-post-reads-before-the-write", "MEM-2a", SCAN, LOOP, with_config(lambda _: {"read": "pre"}), READ_ORDER),
    Fault("mem-pre-reads-after-the-write", "MEM-4b", SCAN, PRE, with_config(lambda _: {"read": "post"}), READ_ORDER),
    Fault(
        "mem-reset-keeps-weights",
        "MEM-5c",
        SCAN,
        RESET,
        computed(keeping("weights")),
        "source: a reset that resets the momentum only",
    ),
    Fault("mem-reset-keeps-momentum", "MEM-5e", SCAN, RESET, computed(keeping("momentum")), RESET_NOT_CALLED),
    Fault("mem-reset-keeps-window", "MEM-5f", CHUNKED, RESET, computed(keeping("window")), RESET_NOT_CALLED),
    Fault("mem-reset-keeps-position", "MEM-5g", CHUNKED, RESET, computed(keeping("position")), RESET_NOT_CALLED),
    Fault("mem-reset-keeps-anchor", "MEM-5d", CHUNKED, RESET, computed(keeping("anchor")), RESET_NOT_CALLED),
    Fault("mem-fresh-row-trusted", "MEM-5b", CHUNKED, FRESH, computed(FreshRowTrusted), RESET_NOT_CALLED),
    Fault(
        "mem-window-newest-first",
        "MEM-6b",
        SCAN,
        PAIRS,
        with_outputs(_reversed),
        "porting: a filter or a cache the wrong way round",
    ),
    Fault(
        "mem-position-off-by-one",
        "MEM-6d",
        CHUNKED,
        PAIRS,
        with_outputs(lambda *a: {"position": a[2]["position"] - 1}),
        MISCOUNTED,
    ),
    Fault("mem-window-dropped-between-calls", "MEM-7a", SCAN, SPLIT, forgotten("window_keys"), NOT_HANDED_ON),
    Fault("mem-momentum-dropped-between-calls", "MEM-7a", CHUNKED, SPLIT, forgotten("momentum"), NOT_HANDED_ON),
    Fault(
        "mem-anchor-of-the-call",
        "MEM-7a",
        CHUNKED,
        SPLIT,
        with_inputs(lambda _, inputs: {"anchor": inputs["weights"]}),
        "porting: the anchor of the call for that of the chunk",
    ),
    Fault("mem-empty-call-counts", "MEM-7b", SCAN, SPLIT, with_outputs(_ticking), MISCOUNTED),
    Fault("mem-state-averaged", "MEM-8b", SCAN, ROWS, averaged("momentum"), MEAN_OVER_BATCH),
    Fault("mem-gradient-averaged", "MEM-8a", CHUNKED, ROWS, computed(BatchMean), MEAN_OVER_BATCH),
    Fault(
        "mem-reads-of-the-last-state",
        "MEM-9a",
        CHUNKED,
        CAUSAL,
        computed(LastState),
        "source: a sequence is written whole and read with the last state: the future leaks",
    ),
    Fault(
        "mem-never-read",
        "MEM-9c",
        SCAN,
        CAUSAL,
        computed(NeverRead),
        "source: the memory is never used, so that every test of leaks passes",
    ),
    Fault(
        "mem-state-in-bfloat16",
        "MEM-10b",
        SCAN,
        SMALL,
        with_outputs(_rounded),
        "source: accumulators in bfloat16 stall",
    ),
    Fault(
        "mem-retention-floored", "MEM-11a", SCAN, ENDS, with_inputs(_floored), "source: retention with a floor under it"
    ),
    Fault(
        "rule-titans-nesterov",
        "RULE-8",
        SCAN,
        CONSTANT,
        computed(Nesterov),
        "misreading: the step size inside or outside the momentum",
    ),
    Fault("mem-one-write-a-chunk", "MEM-2b", SCAN, LOOP, computed(OneWriteAChunk), ONE_UPDATE),
    Fault(
        "mem-gates-of-the-first-token", "MEM-2", SCAN, LOOP, with_inputs(gates_of(lambda gate: gate[:, :1])), ONE_UPDATE
    ),
    Fault(
        "mem-gates-averaged",
        "MEM-2",
        SCAN,
        LOOP,
        with_inputs(gates_of(lambda g: g.mean(axis=1, keepdims=True))),
        ONE_UPDATE,
    ),
    Fault(
        "mem-remainder-dropped",
        "MEM-2b",
        SCAN,
        RANDOM,
        computed(RemainderDropped),
        "porting: tokens after the last whole chunk are forgotten",
    ),
    Fault(
        "mem-state-of-the-call",
        "MEM-7a",
        SCAN,
        SPLIT,
        with_inputs(_state_forgotten),
        "source: a smaller batch begins its state again, or none is carried",
    ),
    Fault("mem-reset-one-token-late", "MEM-5a", SCAN, ANYWHERE, computed(ResetLate), MISCOUNTED),
    Fault("mem-initial-of-head-0", "MEM-5c", SCAN, FRESH, with_inputs(_first_head), "porting: one row or head for all"),
    Fault(
        "mem-one-reset-for-all-rows",
        "MEM-8a",
        CHUNKED,
        ROWS,
        with_inputs(_any_row),
        "source: one row's boundary resets all rows, by any()",
    ),
    Fault(
        "mem-never-written",
        "MEM-9c",
        SCAN,
        CAUSAL,
        with_inputs(_never_written),
        "source: writes are switched off in evaluation",
    ),
    Fault(
        "mem-divided-by-retentions",
        "MEM-11a",
        CHUNKED,
        ENDS,
        with_outputs(_divided_by_products),
        "misreading: a quotient of decay products where one is zero",
    ),
    Fault("mem-pre-for-both", "MEM-4a", SCAN, PRE, with_config(lambda _: {"read": "pre"}), READ_ORDER),
    Fault("mem-pre-reads-before-a-reset", "MEM-4c", SCAN, LOOP, computed(PreBeforeReset), READ_ORDER),
    Fault("mem-state-one-token-old", "MEM-6a", SCAN, LOOP, computed(OneTokenOld), MISCOUNTED),
    Fault(
        "mem-dead-places-repeat",
        "MEM-6c",
        SCAN,
        PAIRS,
        with_outputs(dead_places_repeat),
        "misreading: the window at the start of a chunk or document",
    ),
    Fault(
        "mem-anchor-moved-at-the-end",
        "MEM-6e",
        SCAN,
        LOOP,
        computed(AnchoredAtTheEnd),
        "misreading: the anchor xi and indices that begin at one",
    ),
    Fault(
        "mem-empty-call-multiplies",
        "MEM-7c",
        SCAN,
        EMPTY,
        with_outputs(multiplied),
        "porting: a product with a mask of zeros: 0 times infinity",
    ),
    Fault("mem-read-one-token-late", "MEM-9b", SCAN, CAUSAL, one_token_late("reads"), MISCOUNTED),
    Fault(
        "mem-retention-below-one",
        "MEM-11b",
        SCAN,
        ENDS,
        with_inputs(lambda _, x: {"retention": np.minimum(x["retention"], 0.999)}),
        "source: gates kept in an open interval",
    ),
    Fault(
        "mem-written-in-bfloat16",
        "MEM-10a",
        SCAN,
        SMALL,
        computed(WrittenInBfloat16),
        "source: accumulators in bfloat16 stall",
    ),
)
