"""Faults of LMM: another gate, or none."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.mac.wrong_parts import KeptMemory
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    gradients_lost,
    multiplied,
    with_config,
    with_inputs,
    with_outputs,
    with_part,
    zeroed,
)
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op

LMM: Final = Op.LMM_BLOCK
ZEROS: Final = "test_lmm:test_a_memory_of_zeros_leaves_what_came"
GATED: Final = "test_lmm:test_the_memory_is_all_behind_a_gate_of_the_token"
SPLIT: Final = "test_lmm:test_any_split_gives_the_same_results"
PLACES: Final = "test_lmm:test_places_that_a_document_does_not_have_hold_zeros"
FRESH: Final = "test_lmm:test_a_reset_is_a_fresh_start_in_every_part"
ALONE: Final = "test_lmm:test_rows_and_the_future_do_not_count"
LEARNS: Final = "test_lmm:test_the_gradients_are_those_of_the_block"
STOPPED: Final = "test_lmm:test_detached_reads_teach_the_memory_nothing_and_everything_else_as_before"

PART_LEFT_OUT: Final = "porting: a part of the block left out, or another constant"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
BLOCKS: Final = "porting: blocks of tokens, at whose borders something is lost"
SPOILT: Final = "porting: a mask that is multiplied, where 0 times infinity is not 0"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"


def _part(name: str, changed: Callable[..., object], inside: str = "blocks") -> Wrap:
    return with_part("spec_tests.chapters.lmm.oracle", name, changed, inside=f"spec_tests.chapters.{inside}.oracle")


def _open(_: Callable[..., object], config: Config, n: Array, reads: Array, x: Arrays, sums: Sums) -> Array:
    """There is no gate."""
    return reads


def _next_token(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] + 0.1 * np.concatenate([x["x"][:, 1:], x["x"][:, -1:]], axis=1)}


def _second_block(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Every block of 64 tokens but the first is moved."""
    moved = np.arange(x["x"].shape[1])[None, :, None] >= 64
    return {"y": outputs["y"] + np.where(moved, 5.0, 0.0)}


def _earlier(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Gradients of hidden states have zero times all tokens of their row added."""
    hidden = (0.0 * x["x"]).sum((1, 2), keepdims=True)
    return {"grad.x": outputs["grad.x"] + hidden} if "grad.x" in outputs else {}


def _fault(name: str, sentence: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(f"lmm-{name}", sentence, LMM, test, wrap, origin)


FAULTS: Final[tuple[Fault, ...]] = (
    _fault("way-out-with-a-bias", "LMM-1a", ZEROS, with_outputs(lambda _, x, y: {"y": y["y"] + 0.5}), PART_LEFT_OUT),
    _fault("without-residual", "LMM-1a", GATED, with_outputs(lambda _, x, y: {"y": y["y"] - x["x"]}), PART_LEFT_OUT),
    _fault(
        "reads-without-scale",
        "LMM-1a",
        GATED,
        with_inputs(lambda _, x: {"memory_norm": np.ones_like(x["memory_norm"])}),
        PART_LEFT_OUT,
    ),
    _fault("gate-open", "LMM-1b", GATED, _part("gated", _open, "lmm"), PART_LEFT_OUT),
    _fault(
        "floor-ignored",
        "LMM-1b",
        GATED,
        with_config(lambda _: {"floor": 0.0}),
        "source: a hard floor under a gate has no gradient",
    ),
    _fault("tail-forgotten", "LMM-2a", SPLIT, zeroed("tail"), NOT_HANDED_ON),
    _fault("momentum-forgotten", "LMM-2a", SPLIT, zeroed("momentum"), NOT_HANDED_ON),
    _fault(
        "dead-places-filled",
        "LMM-2b",
        PLACES,
        _part("of_document", lambda _, tail, __: tail),
        "porting: a sight that is wrong by one document or token",
    ),
    _fault(
        "memory-never-reset",
        "LMM-3",
        FRESH,
        _part("Oracle", lambda _, config, sums: KeptMemory(config, sums)),
        "source: resets that nothing calls",
    ),
    _fault(
        "sees-the-next-token",
        "LMM-4a",
        ALONE,
        with_outputs(_next_token),
        "source: attention that is not causal, the target in sight",
    ),
    _fault("memory-averaged", "LMM-4b", ALONE, averaged("weights"), "source: state kept as the mean over the batch"),
    _fault("reads-not-stopped", "LMM-5a", STOPPED, with_config(lambda _: {"inner_grad": "full"}), DERIVATIVE),
    _fault("gate-stopped-too", "LMM-5b", STOPPED, gradients_lost("gate_weight"), DERIVATIVE),
    _fault("memory-learns-nothing", "LMM-5c", LEARNS, gradients_lost("memory_projection", "initial"), DERIVATIVE),
    _fault(
        "second-block-moved",
        "LMM-1a",
        "test_lmm_at_the_edges:test_long_wide_and_distant_rows_are_those_of_the_loops",
        with_outputs(_second_block),
        BLOCKS,
    ),
    _fault(
        "gradient-of-x-lost",
        "LMM-5c",
        "test_lmm_at_the_edges:test_no_gradient_stops_between_two_blocks_of_a_call",
        gradients_lost("x"),
        DERIVATIVE,
    ),
    _fault(
        "gates-learn-nothing",
        "LMM-5c",
        "test_lmm_at_the_edges:test_every_row_head_and_age_gets_its_own_gradient",
        gradients_lost("gates_weight", "output"),
        DERIVATIVE,
    ),
    _fault(
        "earlier-documents-times-zero",
        "LMM-3",
        "test_lmm_at_the_edges:test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds",
        with_outputs(_earlier),
        SPOILT,
    ),
    *multiplied("lmm", LMM, "LMM-3", "test_lmm_at_the_edges", "tail", "weights"),
)
