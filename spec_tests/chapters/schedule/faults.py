"""Faults of the schedule: counts of the call, losses that are lost, and what goes over a border."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.schedule import wrong_schedules as wrong
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    forgotten,
    gradients_lost,
    multiplied,
    with_config,
    with_outputs,
    with_part,
)
from spec_tests.port import Op

SCHEDULE: Final = Op.MEMORY_SCHEDULE
WRITES: Final = "test_writes_and_borders_are_those_of_the_schedule"
MOVES: Final = "test_a_memory_moves_at_the_last_of_every_three_tokens_of_a_document_and_at_no_other"
SILENT: Final = "test_without_writes_the_memory_stays_and_everything_else_goes_on"
SPLIT: Final = "test_any_split_gives_the_same_results"
ALONE: Final = "test_rows_and_the_future_do_not_count"
LEARNS: Final = "test_the_gradients_are_those_of_the_loops"
BORDERS: Final = "test_nothing_learns_over_a_border_but_the_rate_and_the_first_memory"
SERVED: Final = "test_a_memory_that_is_served_in_other_chunks_takes_the_steps_of_training"
LONG: Final = "test_schedule_long"
DISTANT: Final = "test_long_wide_and_distant_rows_are_those_of_the_loops"
STOPS: Final = "test_no_gradient_stops_between_two_blocks_of_a_call"

BLOCKS: Final = "porting: blocks of tokens, at whose borders something is lost"
COUNTS: Final = "porting: a count that is off by one, or that counts an empty call"
GATHERED: Final = "source: window losses that are lost, or written at another memory, when writes are rare"
SHARDS: Final = "misreading: what goes over the border of a shard, and which borders are counted"
RAMP: Final = "misreading: the ramp of the mixing: its ends, its units, its logit"
SPAN: Final = "misreading: from where the sum of Pi runs"
MASS: Final = "misreading: `mass` normalisation left out in one place"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"


def _loop(kind: Callable[..., object]) -> Wrap:
    return with_part("spec_tests.chapters.schedule.oracle", "Scheduled", lambda _, config, sums: kind(config, sums))


def _fault(name: str, sentence: str, test: str, wrap: Wrap, origin: str) -> Fault:
    return Fault(name, sentence, SCHEDULE, f"test_schedule:{test}", wrap, origin)


def _filled(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Return weights that wait in every place."""
    waiting = outputs["waiting"]
    return {"waiting": np.where(waiting == 0.0, 0.25, waiting)}


def _next_value(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"reads": outputs["reads"] + 5.0 * np.concatenate([x["values"][:, 1:], x["values"][:, -1:]], axis=1)}


def _over_the_border(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Return a gradient that the momentum of an earlier shard gets."""
    return {name: outputs[name] + 0.1 for name in ("grad.momentum", "grad.carry") if name in outputs}


def _first_block(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Return reads of the first block of tokens alone."""
    reads = outputs["reads"].copy()
    reads[:, 64:] = 0.0
    return {"reads": reads}


def _last_block(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Return gradients that the tokens of the last block alone have."""
    found = {name: outputs[name].copy() for name in ("grad.keys", "grad.values") if name in outputs}
    for gradient in found.values():
        if gradient.shape[1] > 64:
            gradient[:, :64] = 0.0
    return found


def _document_for_chunk(config: Config) -> Config:
    return {"projection_span": "document"} if config["projection_span"] == "chunk" else {}


FAULTS: Final[tuple[Fault, ...]] = (
    _fault("ttl-writes-one-token-late", "TTL-1a", MOVES, _loop(wrong.OneTokenLate), COUNTS),
    _fault("ttl-count-of-the-call", "TTL-1b", WRITES, _loop(wrong.CountOfTheCall), COUNTS),
    _fault("ttl-decays-between-writes", "TTL-1c", MOVES, _loop(wrong.DecaysBetween), GATHERED),
    _fault("ttl-last-loss-alone", "TTL-2a", WRITES, _loop(wrong.LastLossAlone), GATHERED),
    _fault("ttl-anchors-of-their-own", "TTL-2b", WRITES, _loop(wrong.OwnAnchors), GATHERED),
    _fault("ttl-gates-of-the-token-before", "TTL-2c", WRITES, _loop(wrong.GatesBefore), GATHERED),
    _fault("ttl-horizon-of-writes", "TTL-3", WRITES, _loop(wrong.HorizonOfWrites), MASS),
    _fault("ttl-writes-in-the-warm-up", "TTL-4a", SILENT, with_config(lambda _: {"writes": True}), GATHERED),
    _fault("ttl-silent-losses-wait", "TTL-4b", SILENT, _loop(wrong.SilentLossesWait), GATHERED),
    _fault("ttl-no-borders-in-the-warm-up", "TTL-4c", SILENT, _loop(wrong.SilentBorders), GATHERED),
    _fault("ttl-waiting-forgotten", "TTL-5a", SPLIT, forgotten("waiting"), NOT_HANDED_ON),
    _fault("ttl-dead-places-filled", "TTL-5b", WRITES, with_outputs(_filled), NOT_HANDED_ON),
    _fault("shard-memory-goes-on", "SHARD-1a", WRITES, _loop(wrong.MemoryGoesOn), SHARDS),
    _fault("shard-momentum-begins", "SHARD-1b", WRITES, _loop(wrong.MomentumBegins), SHARDS),
    _fault("shard-window-begins", "SHARD-1c", WRITES, _loop(wrong.WindowBegins), SHARDS),
    _fault("shard-one-crossing-more", "SHARD-2a", WRITES, _loop(wrong.OneCrossingMore), RAMP),
    _fault("shard-crossings-of-the-call", "SHARD-2b", WRITES, _loop(wrong.CrossingsOfTheCall), RAMP),
    _fault("shard-projection-begins", "SHARD-3a", WRITES, _loop(wrong.ProjectionBegins), SPAN),
    _fault("shard-document-for-chunk", "SHARD-3b", WRITES, with_config(_document_for_chunk), SPAN),
    _fault("shard-documents-mixed", "SHARD-3c", WRITES, _loop(wrong.DocumentsMixed), SPAN),
    _fault(
        "shard-carry-averaged", "SHARD-4a", ALONE, averaged("carry"), "source: state kept as the mean over the batch"
    ),
    _fault(
        "shard-sees-the-next-value",
        "SHARD-4b",
        ALONE,
        with_outputs(_next_value),
        "source: attention that is not causal, the target in sight",
    ),
    _fault("shard-first-memory-learns-nothing", "SHARD-5a", BORDERS, gradients_lost("initial"), DERIVATIVE),
    _fault("shard-learns-over-the-border", "SHARD-5b", BORDERS, with_outputs(_over_the_border), DERIVATIVE),
    _fault("shard-rate-learns-nothing", "SHARD-5c", LEARNS, gradients_lost("alpha_logit"), DERIVATIVE),
    _fault("mass-chunk-of-the-call", "RULE-27a", SERVED, with_config(lambda _: {"step_chunk": 0}), MASS),
    _fault(
        "mass-no-chunk-is-one", "RULE-27b", WRITES, with_config(lambda c: {"step_chunk": c["step_chunk"] or 1}), MASS
    ),
    Fault("ttl-first-block-alone", "TTL-1a", SCHEDULE, f"{LONG}:{DISTANT}", with_outputs(_first_block), BLOCKS),
    Fault("shard-slopes-of-the-last-block", "SHARD-5a", SCHEDULE, f"{LONG}:{STOPS}", with_outputs(_last_block), BLOCKS),
    *multiplied("ttl", SCHEDULE, "TTL-6", "test_schedule_sight", "waiting", "window_keys", "carry"),
)
