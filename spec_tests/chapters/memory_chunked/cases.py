"""Stored cases of the parallel form of the memory."""

from typing import Final

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import (
    HALF,
    covering_cases,
    covering_gradients,
    few_cells,
    sized_call,
    sized_cases,
)
from spec_tests.chapters.memory_step.stored_calls import (
    ALL_GATES,
    DOCUMENTS,
    FIXED,
    PLAIN,
    PLAINEST,
    at_the_start,
    call,
    cases_over,
    cotangents,
    fixed,
    without_momentum,
    without_retention,
)
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_CHUNK: Final = Family("CHUNK", Op.MEMORY_CHUNKED)
_chunked = cases_over(_CHUNK, 600)
_PARALLEL: Final = rule("titans", chunk=3)
_ENTERED: Final = call(_PARALLEL, 616, time=5, position=(1, 6))

STORED: Final = (
    _chunked(
        1,
        "MEM-6 MEM-8 MEM-9 CHUNK-1 CHUNK-2 CHUNK-3 CHUNK-5 WIN-1 WIN-3",
        "omega, three rows in three phases, the window carried over borders",
        rule("omega"),
        position=(0, 6, 3),
    ),
    _chunked(
        2,
        "MEM-5 CHUNK-2 CHUNK-5 WIN-2",
        "omega, MLP, documents that end inside chunks",
        rule("omega", "mlp"),
        resets=DOCUMENTS,
    ),
    _chunked(
        3,
        "MEM-7 CHUNK-3 CHUNK-5",
        "titans enters and leaves inside a chunk, with momentum",
        rule("titans"),
        position=(2, 7),
    ),
    _chunked(
        4,
        "WIN-4 CHUNK-5 MEM-4",
        "titans, MLP, a truncated window, reads before the write",
        rule("titans", "mlp", boundary="truncate", read="pre"),
    ),
    _chunked(5, "CHUNK-4 CHUNK-5", "delta with b = 1", rule("delta", chunk=1), time=7),
    _chunked(6, "CHUNK-5 RULE-4", "delta, MLP, b = 3", rule("delta", "mlp", chunk=3), resets=((0, 2),)),
    _chunked(7, "CHUNK-5 RULE-2", "atlas, matrix", rule("atlas"), resets=((1, 4),)),
    _chunked(8, "CHUNK-5 RULE-2 RULE-11", "atlas, MLP", rule("atlas", "mlp"), resets=((0, 4), (1, 5)), time=8),
    _chunked(9, "CHUNK-5 RULE-3", "atlas_appendix, matrix", rule("atlas_appendix"), resets=((1, 6),)),
    _chunked(
        10,
        "MEM-11 CHUNK-5",
        "half of all gates at exactly 0 or 1: no division by a product of decays",
        rule("titans"),
        ends=ALL_GATES,
        resets=((1, 6),),
    ),
    _chunked(
        11, "CHUNK-5 RULE-9 RULE-10", "omega, MLP, by mass", rule("omega", "mlp", step_scale="mass"), resets=((1, 3),)
    ),
    _chunked(
        12,
        "WIN-1 WIN-2 WIN-3 CHUNK-5",
        "a window of six over chunks of two; what the window holds before the document never counts",
        rule("omega", chunk=2),
        window=6,
        position=(1, 0),
        resets=((0, 3),),
        dead=True,
    ),
    _chunked(13, "CHUNK-5 MEM-7", "a call inside one chunk", rule("omega", "mlp", chunk=16), position=(3, 13), time=4),
    _chunked(14, "CHUNK-5", "one token, batch and heads of one", rule("atlas"), time=1, position=(5,), heads=1),
    _chunked(
        15,
        "CHUNK-5 CHUNK-2",
        "a length that chunks do not divide, b = 5 over 14 tokens",
        rule("titans", chunk=5),
        time=14,
        position=(0, 8),
        resets=((1, 9),),
    ),
    _CHUNK.case(
        16,
        "CHUNK-6",
        "gradients of the parallel form with respect to every input and the state that it entered with",
        _PARALLEL,
        _ENTERED,
        cotangents(_ENTERED, 617),
    ),
    # Titans as in its paper: a window of one token. A port that has this rule alone finds its questions here.
    _chunked(17, "CHUNK-5 CHUNK-3", "titans over single tokens, matrix", rule("titans"), window=1, resets=((0, 3),)),
    _chunked(18, "CHUNK-5", "titans over single tokens, MLP", rule("titans", "mlp"), window=1, position=(2, 0)),
    # The plainest memories, b = c = 1: what most code in public has, and no more than that.
    _chunked(19, "CHUNK-4 CHUNK-5 RULE-1", "titans, b = c = 1", rule("titans", chunk=1), **PLAIN),
    _chunked(
        20,
        "CHUNK-5 MEM-4 RULE-6",
        "titans, b = c = 1, reads before the write, loss without the half",
        rule("titans", chunk=1, read="pre", loss_scale=1.0),
        **PLAIN,
    ),
    _chunked(
        21,
        "CHUNK-5 RULE-1",
        "titans, b = c = 1, without retention, from the start of a document: unit keys, one row, no state",
        rule("titans", chunk=1),
        turned=(at_the_start, without_retention),
        **PLAINEST,
    ),
    _chunked(
        22,
        "CHUNK-5 MEM-6",
        "titans, b = c = 1, from the start of a document",
        rule("titans", chunk=1),
        turned=(at_the_start,),
        **PLAINEST,
    ),
    _chunked(23, "CHUNK-5 RULE-1", "omega, b = c = 1", rule("omega", chunk=1), resets=((1, 3),), **PLAIN),
    _chunked(
        24,
        "CHUNK-4 CHUNK-5 RULE-4",
        "delta, b = 1, without retention, from the start of a document: the delta rule, unit keys, one row",
        rule("delta", chunk=1),
        turned=(at_the_start, without_retention),
        **PLAINEST,
    ),
    _chunked(
        25,
        "CHUNK-5 RULE-1",
        "titans, b = c = 1, gates that never change: what code with numbers for gates has",
        rule("titans", chunk=1),
        turned=(at_the_start, fixed),
        **FIXED,
    ),
    _chunked(
        26,
        "CHUNK-5 RULE-1",
        "omega, b = c = 1, without momentum and retention, unit keys: one step down the loss for every token",
        rule("omega", chunk=1),
        turned=(at_the_start, fixed, without_momentum),
        **FIXED,
    ),
    *covering_cases(_CHUNK, 101, 60_000),
    *covering_gradients(_CHUNK, 151, 61_000, few_cells(), "CHUNK-6 GRAD-1 GRAD-2 GRAD-3"),
    *sized_cases(_CHUNK, 161, 62_000),
    _CHUNK.case(
        171,
        "MEM-5 CHUNK-1 CHUNK-3 CHUNK-5 RULE-1",
        "one head of usual width over eight chunks: 64 features, 32 values, 128 tokens",
        rule("omega", chunk=16, step_scale="mass"),
        sized_call(rule("omega", chunk=16, step_scale="mass"), 63_000, HALF, (5,), ((0, 77),)),
        traced=False,
    ),
)
