"""Cases of the memory over sequences, in both forms."""

from typing import Any, Final

import numpy as np

from spec_tests.memory_cases import rule
from spec_tests.port import Array, Op, Scalar
from spec_tests.vectors.memory_inputs import call, cotangents, mixed_ends
from spec_tests.vectors.source import Family, Source
from spec_tests.vectors.sources_steps import STEPS

_SCAN: Final = Family("SCAN", Op.MEMORY_SCAN)
_CHUNK: Final = Family("CHUNK", Op.MEMORY_CHUNKED)

Inputs = dict[str, Array]

DOCUMENTS: Final = ((0, 4), (0, 6), (1, 3))
"""A document that ends inside a chunk, one of two tokens, and one that begins in another row at another token."""


def _sequence(family: Family, seeds: int) -> Any:
    """Return what makes a case of a family from its number, sentences, reason, rule and changes to the call."""

    def make(number: int, requirements: str, why: str, config: dict[str, Scalar], **changes: Any) -> Source:
        ends = changes.pop("ends", ())
        dead = changes.pop("dead", False)
        inputs = call(config, seeds + number, **changes)
        if dead:
            inputs = _dead_places(inputs, seeds)
        return family.case(number, requirements, why, config, mixed_ends(inputs, seeds, *ends) if ends else inputs)

    return make


def _dead_places(inputs: Inputs, seed: int) -> Inputs:
    """Return the call with something in every place of the window, in those that no token of the document has too."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    filled = {name: rng.standard_normal(inputs[name].shape) for name in ("window_keys", "window_values")}
    return {**inputs, **filled}


_scan, _chunked = _sequence(_SCAN, 500), _sequence(_CHUNK, 600)
ALL_GATES: Final = ("retention", "momentum_decay", "step_size", "window_weights")


SCANS: Final = (
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
)


_PARALLEL: Final = rule("titans", chunk=3)
_ENTERED: Final = call(_PARALLEL, 616, time=5, position=(1, 6))

CHUNKS: Final = (
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
)

# Titans as in its paper: a window of one token. A port that has this rule alone finds its questions here.
TITANS: Final = (
    _scan(20, "MEM-2 RULE-1 CHUNK-3", "titans over single tokens, matrix", rule("titans"), window=1, resets=((1, 5),)),
    _scan(21, "MEM-3 RULE-1", "titans over single tokens, MLP", rule("titans", "mlp"), window=1, position=(0, 6)),
    _chunked(17, "CHUNK-5 CHUNK-3", "titans over single tokens, matrix", rule("titans"), window=1, resets=((0, 3),)),
    _chunked(18, "CHUNK-5", "titans over single tokens, MLP", rule("titans", "mlp"), window=1, position=(2, 0)),
)

MEMORIES: Final = (*STEPS, *SCANS, *CHUNKS, *TITANS)
