"""Faults of the hierarchy of memories."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np

from spec_tests.chapters.memory_hierarchical import wrong_members as wrong
from spec_tests.chapters.memory_hierarchical.loop import Hierarchy, Member
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    cleared_by_an_empty_call,
    forgotten,
    gradients_lost,
    in_form,
    multiplied,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Array, Numerics, Op, Run

OP: Final = Op.MEMORY_HIERARCHICAL
TESTS: Final = "test_memory_hierarchical:test_"
LOOP: Final = f"{TESTS}reads_and_last_state_are_those_of_the_loop"
SUM: Final = f"{TESTS}the_sum_is_that_of_operations_that_exist"
SHARD: Final = f"{TESTS}a_shard_alone_gives_what_it_gives_in_the_document"
BORDER: Final = f"{TESTS}reads_before_the_first_border_do_not_depend_on_the_length_of_shards"
ORDER: Final = f"{TESTS}local_memories_in_another_order_give_the_same_sum"
ADDED: Final = f"{TESTS}a_memory_that_holds_nothing_and_takes_no_step_adds_nothing"
SPLIT: Final = f"{TESTS}any_split_into_calls_agrees_and_an_empty_call_returns_its_state"
ROWS: Final = f"{TESTS}rows_are_independent_and_no_read_depends_on_a_later_token"
SLOPES: Final = f"{TESTS}derivatives_are_those_of_the_loop"
LONG: Final = "test_memory_hierarchical_long:test_a_call_of_many_blocks_is_that_of_the_loops"

PRINTED: Final = "misreading: Eq. 6 of TNT as printed, which sums the gradients of a chunk in every token of it"
SPAN: Final = "misreading: the lower limit of the sum Pi, which TNT prints as chunk, as first token and as shard"
READ: Final = "misreading: which state and which query the global and the local memories are read with"
BORDERS: Final = "source: shards that end with a loop over chunks, or that keep part of what they held"
MEMORIES: Final = "source: public ports of TNT: memories that share what each has of its own"
PHASE: Final = "porting: shards and chunks counted from the call"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"


def computed(hierarchy: Callable[[Config], Hierarchy]) -> Wrap:
    """Build a fault that answers with a faulty loop; gradients, where asked for, stay those of the sound run."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            wide = {name: v.astype(np.float64) if v.dtype.kind == "f" else v for name, v in inputs.items()}
            asked = any(name.startswith("cotangent.") for name in inputs)
            sound: Mapping[str, Array] = run(op, config, inputs, numerics=numerics, taps=taps) if asked else {}
            return {**sound, **in_form(op, hierarchy(config).run(wide), numerics)}

        return faulty

    return wrap


def _member(kind: type[Member]) -> Wrap:
    return computed(partial(Hierarchy, member=kind))


def _of_the_first(axis: int, *names: str) -> Wrap:
    """Build a fault in which every memory has what the global one has."""

    def change(_: Config, x: Arrays) -> Arrays:
        return {n: np.repeat(np.take(x[n], [0], axis), x[n].shape[axis], axis) for n in names}

    return with_inputs(change)


def _from_the_call(_: Config, x: Arrays) -> Arrays:
    """Count from the start of the call."""
    return {"position": np.where(x["position"] > 0, 12 * x["position"], 0)}


def _first_alone(_: Config, x: Arrays) -> Arrays:
    """Keep the first local memory alone; the sum has lost the others."""
    later = np.arange(len(x["chunks"])) > 1
    silent = {name: np.where(later[None, :, None, None], 0.0, x[name]) for name in ("weights", "momentum", "anchor")}
    initial = np.where(later[:, None, None], 0.0, x["initial"])
    return {**silent, "initial": initial, "step_size": np.where(later[None, None, :, None], 0.0, x["step_size"])}


def _mean(_: Config, x: Arrays, y: Arrays) -> Arrays:
    return {"reads": y["reads"] / len(x["chunks"])}


def _largest_of_all(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """Join the memories by something that is no sum."""
    return {"reads": y["reads"] * np.abs(y["reads"]) ** 0.1}


def _only_first_shard(_: Config, __: Arrays, y: Arrays) -> Arrays:
    """Give W_init the gradient of one shard of those that began."""
    return {name: 0.5 * y[name] for name in ("grad.initial",) if name in y}


def _by_place(_: Config, x: Arrays, y: Arrays) -> Arrays:
    """Weight what the sum has by the place of a memory in the list."""
    return {"reads": y["reads"] + 0.3 * (x["weights"][:, -1] - x["weights"][:, 1])[:, None, :, :1]}


def _as_given(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """Hand the sums back as they came."""
    return {"carry": x["carry"]}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("hier-mean-of-memories", "HIER-1a", OP, LOOP, with_outputs(_mean), MEMORIES),
    Fault("hier-first-local-alone", "HIER-1a", OP, LOOP, with_inputs(_first_alone), MEMORIES),
    Fault("hier-no-sum", "HIER-1a", OP, ADDED, with_outputs(_largest_of_all), MEMORIES),
    Fault("hier-gates-of-the-global", "HIER-1b", OP, SUM, _of_the_first(2, "step_size", "retention"), MEMORIES),
    Fault("hier-one-start", "HIER-1c", OP, LOOP, _of_the_first(0, "initial"), MEMORIES),
    Fault("hier-global-of-now", "HIER-2a", OP, SUM, _member(wrong.GlobalOfNow), READ),
    Fault("hier-global-projected", "HIER-2b", OP, SUM, _member(wrong.GlobalProjected), READ),
    Fault("hier-local-before-the-write", "HIER-2c", OP, SUM, _member(wrong.LocalBeforeTheWrite), READ),
    Fault("hier-local-at-the-anchor", "HIER-2c", OP, LOOP, _member(wrong.LocalAtTheAnchor), READ),
    Fault("hier-mean-of-the-sum", "HIER-2d", OP, SUM, _member(wrong.MeanOfTheSum), READ),
    Fault("hier-weights-across-shards", "HIER-3a", OP, SHARD, _member(wrong.WeightsAcrossShards), BORDERS),
    Fault("hier-clone-of-the-global", "HIER-3a", OP, SUM, _member(wrong.CloneOfTheGlobal), MEMORIES),
    Fault("hier-reset-with-the-global-chunk", "HIER-3a", OP, LOOP, _member(wrong.ResetWithTheGlobalChunk), BORDERS),
    Fault("hier-momentum-across-shards", "HIER-3b", OP, SHARD, _member(wrong.MomentumAcrossShards), BORDERS),
    Fault("hier-window-across-shards", "HIER-3c", OP, SHARD, _member(wrong.WindowAcrossShards), BORDERS),
    Fault("hier-marks-alone", "HIER-3d", OP, LOOP, _member(wrong.MarksAlone), BORDERS),
    Fault("hier-counted-again", "HIER-4a", OP, LOOP, _member(wrong.CountedAgain), PRINTED),
    Fault("hier-no-anchor", "HIER-4b", OP, LOOP, _member(wrong.NoAnchor), PRINTED),
    Fault("hier-shard-remembers", "HIER-5", OP, SHARD, _member(wrong.SumOfTheDocument), BORDERS),
    Fault("hier-phase-of-the-call", "HIER-6", OP, LOOP, with_inputs(_from_the_call), PHASE),
    Fault("hier-border-of-the-call", "HIER-6", OP, BORDER, with_inputs(_from_the_call), PHASE),
    Fault("hier-start-not-learned", "HIER-7a", OP, SLOPES, gradients_lost("initial"), DERIVATIVE),
    Fault("hier-start-learned-once", "HIER-7a", OP, SLOPES, with_outputs(_only_first_shard), DERIVATIVE),
    Fault("hier-keys-not-learned", "HIER-7b", OP, SLOPES, gradients_lost("keys"), DERIVATIVE),
    Fault("hier-carry-not-learned", "HIER-7b", OP, SLOPES, gradients_lost("carry"), DERIVATIVE),
    Fault("hier-sums-dropped-between-calls", "HIER-8a", OP, SPLIT, forgotten("carry"), NOT_HANDED_ON),
    Fault("hier-anchor-dropped-between-calls", "HIER-8a", OP, SPLIT, forgotten("anchor"), NOT_HANDED_ON),
    Fault(
        "hier-cleared-by-an-empty-call",
        "HIER-8b",
        OP,
        SPLIT,
        cleared_by_an_empty_call("reads", "weights", "carry"),
        NOT_HANDED_ON,
    ),
    Fault(
        "hier-state-averaged",
        "HIER-8c",
        OP,
        ROWS,
        averaged("weights"),
        "source: state kept as the mean over the batch",
    ),
    Fault(
        "hier-last-state-read",
        "HIER-8d",
        OP,
        ROWS,
        computed(wrong.LastStateRead),
        "source: a sequence is written whole and read with the last state: the future leaks",
    ),
    Fault("hier-sum-of-the-chunk", "HIER-9a", OP, SUM, _member(wrong.SumOfTheChunk), SPAN),
    Fault("hier-sum-of-the-document", "HIER-9a", OP, SUM, _member(wrong.SumOfTheDocument), SPAN),
    Fault("hier-shard-for-chunk", "HIER-9b", OP, SUM, _member(wrong.ShardForChunk), SPAN),
    Fault("hier-shard-for-document", "HIER-9c", OP, SUM, _member(wrong.ChunkForDocument), SPAN),
    Fault("hier-always-projected", "HIER-9d", OP, LOOP, _member(wrong.AlwaysProjected), SPAN),
    Fault("hier-one-sum-for-all", "HIER-9e", OP, SUM, _member(wrong.OneSumForAll), MEMORIES),
    Fault("hier-weighted-by-place", "HIER-10", OP, ORDER, with_outputs(_by_place), MEMORIES),
    Fault("hier-sums-handed-back", "HIER-8a", OP, LONG, with_outputs(_as_given), NOT_HANDED_ON),
    *multiplied("hier", OP, "HIER-3d", "test_memory_hierarchical_sight", "weights", "carry", "window_keys"),
)
