"""Stored cases of the memory over sequences."""

from typing import Final

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import (
    HEAD,
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
    cases_over,
    fixed,
    without_momentum,
    without_retention,
)
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_SCAN: Final = Family("SCAN", Op.MEMORY_SCAN)
_scan = cases_over(_SCAN, 500)
ONE: Final = ((1, 3),)

STORED: Final = (
    _scan(
        1,
        "MEM-1 MEM-2 MEM-4 MEM-6 MEM-8 MEM-9 CHUNK-1 CHUNK-2 WIN-1 WIN-3 RULE-1",
        "omega over three chunks, rows out of phase, the window carried over borders",
        rule("omega"),
        position=(0, 6, 3),
    ),
    _scan(
        2,
        "MEM-3 MEM-5 MEM-6 RULE-1 RULE-6 WIN-2",
        "omega, MLP, documents that end inside chunks",
        rule("omega", "mlp"),
        resets=DOCUMENTS,
    ),
    _scan(3, "MEM-2 RULE-1 RULE-8 CHUNK-3", "titans, matrix", rule("titans"), resets=((1, 5),)),
    _scan(
        4,
        "MEM-3 MEM-4 RULE-1 WIN-4",
        "titans, MLP, a truncated window, reads before the write",
        rule("titans", "mlp", boundary="truncate", read="pre"),
    ),
    _scan(5, "MEM-2 RULE-4 CHUNK-4", "delta with b = 1: the delta rule", rule("delta", chunk=1)),
    _scan(6, "MEM-3 RULE-4", "delta, MLP, b = 3", rule("delta", "mlp", chunk=3), resets=((0, 2),)),
    _scan(7, "RULE-2 RULE-11 CHUNK-1", "atlas, matrix", rule("atlas"), resets=((1, 4),)),
    _scan(8, "RULE-2 RULE-11", "atlas, MLP", rule("atlas", "mlp"), resets=((0, 4), (1, 5)), time=8),
    _scan(9, "RULE-3", "atlas_appendix, matrix", rule("atlas_appendix"), resets=((1, 6),)),
    _scan(10, "RULE-3 RULE-11", "atlas_appendix, MLP", rule("atlas_appendix", "mlp"), resets=((0, 5), (1, 3)), time=8),
    _scan(
        11,
        "MEM-11 RULE-1 WIN-5",
        "omega with half of all gates at exactly 0 or 1",
        rule("omega"),
        ends=ALL_GATES,
        resets=((1, 6),),
    ),
    _scan(
        12,
        "MEM-11 RULE-1",
        "titans, MLP, with retention and momentum gates at exactly 0 and 1",
        rule("titans", "mlp"),
        ends=("retention", "momentum_decay"),
    ),
    _scan(
        13,
        "RULE-9 RULE-10",
        "omega, MLP, by mass",
        rule("omega", "mlp", step_scale="mass"),
        resets=((1, 3),),
    ),
    _scan(14, "RULE-9", "atlas by mass", rule("atlas", step_scale="mass"), resets=((0, 5),)),
    _scan(
        15,
        "WIN-1 WIN-2 WIN-3",
        "a window of six over chunks of two, longer than any document here",
        rule("omega", chunk=2),
        window=6,
        resets=((0, 3), (1, 5)),
        dead=True,
    ),
    _scan(16, "MEM-2 MEM-7", "one token, batch and heads of one", rule("titans"), time=1, position=(5,), heads=1),
    _scan(
        17,
        "WIN-5 RULE-1",
        "a window of one, chunks longer than the call",
        rule("omega", chunk=16),
        window=1,
        position=(0, 13),
    ),
    _scan(
        18,
        "MEM-4 MEM-5 WIN-4",
        "reads before the write, over resets, the window truncated",
        rule("omega", read="pre", boundary="truncate"),
        resets=DOCUMENTS,
    ),
    _scan(19, "MEM-7", "a call without tokens returns its state", rule("omega"), time=0, window=2),
    # Titans as in its paper: a window of one token. A port that has this rule alone finds its questions here.
    _scan(20, "MEM-2 RULE-1 CHUNK-3", "titans over single tokens, matrix", rule("titans"), window=1, resets=((1, 5),)),
    _scan(21, "MEM-3 RULE-1", "titans over single tokens, MLP", rule("titans", "mlp"), window=1, position=(0, 6)),
    # The plainest memories, b = c = 1: what most code in public has, and no more than that.
    _scan(22, "MEM-2 RULE-1", "titans, b = c = 1: the recurrence of the paper", rule("titans", chunk=1), **PLAIN),
    _scan(
        23,
        "MEM-2 MEM-4 RULE-1 RULE-6",
        "titans, b = c = 1, reads before the write, loss without the half",
        rule("titans", chunk=1, read="pre", loss_scale=1.0),
        **PLAIN,
    ),
    _scan(
        24,
        "MEM-2 RULE-1",
        "titans, b = c = 1, without retention, from the start of a document: unit keys, one row, no state",
        rule("titans", chunk=1),
        turned=(at_the_start, without_retention),
        **PLAINEST,
    ),
    _scan(
        25,
        "MEM-2 MEM-6 RULE-1",
        "titans, b = c = 1, from the start of a document",
        rule("titans", chunk=1),
        turned=(at_the_start,),
        **PLAINEST,
    ),
    _scan(
        26, "MEM-5 RULE-1", "titans, b = c = 1, two documents in a row", rule("titans", chunk=1), resets=ONE, **PLAIN
    ),
    _scan(27, "MEM-2 RULE-1 WIN-5", "omega, b = c = 1", rule("omega", chunk=1), **PLAIN),
    _scan(
        28,
        "MEM-4 MEM-5 RULE-1 RULE-6",
        "omega, b = c = 1, reads before the write, loss without the half, two documents in a row",
        rule("omega", chunk=1, read="pre", loss_scale=1.0),
        resets=ONE,
        **PLAIN,
    ),
    _scan(
        29,
        "MEM-2 RULE-1 RULE-4 CHUNK-4",
        "delta, b = 1, without retention, from the start of a document: the delta rule, unit keys, one row",
        rule("delta", chunk=1),
        turned=(at_the_start, without_retention),
        **PLAINEST,
    ),
    _scan(
        30,
        "MEM-4 RULE-4 RULE-6",
        "delta, b = 1, without retention, reads before the write, loss without the half",
        rule("delta", chunk=1, read="pre", loss_scale=1.0),
        turned=(without_retention,),
        **PLAIN,
    ),
    _scan(
        31,
        "MEM-2 RULE-1",
        "titans, b = c = 1, gates that never change: what code with numbers for gates has",
        rule("titans", chunk=1),
        turned=(at_the_start, fixed),
        **FIXED,
    ),
    _scan(
        32,
        "MEM-2 RULE-1",
        "omega, b = c = 1, without momentum and retention, unit keys: one step down the loss for every token",
        rule("omega", chunk=1),
        turned=(at_the_start, fixed, without_momentum),
        **FIXED,
    ),
    *covering_cases(_SCAN, 101, 50_000),
    *covering_gradients(_SCAN, 151, 51_000, few_cells(), redrawn=(4,)),
    *sized_cases(_SCAN, 161, 52_000),
    _SCAN.case(
        171,
        "MEM-2 MEM-5 CHUNK-1 RULE-1",
        "one head of usual width over eight chunks: 64 features, 64 values, 128 tokens",
        rule("titans", chunk=16, step_scale="mass"),
        sized_call(rule("titans", chunk=16, step_scale="mass"), 53_000, HEAD, (5,), ((0, 77),)),
        traced=False,
    ),
)
