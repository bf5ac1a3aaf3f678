"""Cases of the memory over one token and over sequences, in both forms."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from spec_tests.memory_cases import rule
from spec_tests.port import Array, Op, Scalar
from spec_tests.vectors.memory_inputs import HIDDEN, call, cotangents, mixed_ends, step
from spec_tests.vectors.source import Family, Source

_STEP: Final = Family("STEP", Op.MEMORY_STEP)
_SCAN: Final = Family("SCAN", Op.MEMORY_SCAN)
_CHUNK: Final = Family("CHUNK", Op.MEMORY_CHUNKED)

Inputs = dict[str, Array]


def _far_below_zero(inputs: Inputs) -> Inputs:
    """Return a step that writes nothing and reads W1 gelu(z) with every z near -3.3, the identity part small."""
    batch, heads, features = inputs["queries"].shape
    queries = 0.125 * inputs["queries"]
    inner = -3.3 * queries / (queries**2).sum(-1, keepdims=True)
    units = (inner[:, :, None] * np.array([0.95, 1.0, 1.05])[:, None]).reshape(batch, heads, -1)
    outer = 30.0 * inputs["weights"][..., : -features * HIDDEN]
    gates = {"retention": np.ones((batch, heads)), "step_size": np.zeros((batch, heads))}
    return {**inputs, **gates, "queries": queries, "weights": np.concatenate([outer, units], axis=-1)}


def _step(number: int, requirements: str, why: str, config: dict[str, Scalar], **changes: Any) -> Source:
    # Rows: a document's first token, the first token of a later chunk, one in the middle of a chunk.
    inputs = call(config, 400 + number, **{"position": (0, 8, 6), "time": 1, **changes})
    return _STEP.case(number, requirements, why, config, step(inputs))


STEPS: Final = (
    _step(
        1,
        "MEM-1 MEM-3 MEM-4 MEM-5 MEM-6 RULE-1 RULE-5 WIN-1",
        "titans: the step size inside the momentum; rows at the start of a document, of a chunk, and inside one",
        rule("titans"),
    ),
    _step(2, "MEM-1 MEM-3 RULE-1 RULE-6", "titans, MLP: gelu, residual, both gradients", rule("titans", "mlp")),
    _step(3, "MEM-1 RULE-1 WIN-1", "omega: the step size outside the momentum", rule("omega")),
    _step(
        4,
        "MEM-3 RULE-1 RULE-6",
        "omega, MLP, loss without the half: 2 loss_scale is not one",
        rule("omega", "mlp", loss_scale=1.0),
    ),
    _step(5, "MEM-4 RULE-1 RULE-4", "delta reads before its write and ignores momentum", rule("delta", read="pre")),
    _step(6, "MEM-3 RULE-1 RULE-4", "delta, MLP", rule("delta", "mlp")),
    _step(7, "RULE-2 RULE-11", "atlas: Newton-Schulz of the momentum, wide", rule("atlas")),
    _step(
        8,
        "RULE-2 RULE-11",
        "atlas, MLP: two matrices with their own norms",
        rule("atlas", "mlp"),
    ),
    _step(9, "RULE-3", "atlas_appendix: the step size inside Newton-Schulz", rule("atlas_appendix")),
    _step(10, "RULE-3 RULE-11", "atlas_appendix, MLP", rule("atlas_appendix", "mlp")),
    _step(
        11,
        "RULE-9 RULE-10",
        "titans by mass: window, fresh share, horizon, and keys shorter and longer than one",
        rule("titans", step_scale="mass"),
    ),
    _step(
        12,
        "RULE-9 RULE-10",
        "omega by mass, MLP: the curvature with its error term",
        rule("omega", "mlp", step_scale="mass"),
    ),
    _step(13, "RULE-9 RULE-10", "delta by mass has no horizon", rule("delta", step_scale="mass")),
    _step(
        14,
        "RULE-9 RULE-11",
        "atlas by mass: Newton-Schulz with a slope of one at zero",
        rule("atlas", step_scale="mass"),
    ),
    _step(
        15,
        "RULE-2",
        "atlas with one step of the published set, batch of one",
        rule("atlas", coefficients="polar_express", newton_schulz_steps=1),
        position=(5,),
    ),
    _step(
        16,
        "MEM-5",
        "a mark in the middle of a document resets, whatever the state holds",
        rule("omega", "mlp"),
        resets=((1, 0), (2, 0)),
    ),
    _step(17, "RULE-1 RULE-6", "b = 1, c = 1: the plain gradient step", rule("titans", "mlp", chunk=1), window=1),
    _step(
        19, "RULE-2 RULE-11", "atlas: Newton-Schulz of a matrix with more rows than columns", rule("atlas"), features=2
    ),
    _STEP.case(
        20,
        "MEM-3",
        "gelu far below zero, where approximations of it are off by a tenth",
        rule("titans", "mlp"),
        _far_below_zero(step(call(rule("titans", "mlp"), 420, position=(5, 6), time=1))),
    ),
    _step(
        18,
        "RULE-9 RULE-10",
        "titans by mass, MLP: kappa from the anchor of each row",
        rule("titans", "mlp", step_scale="mass"),
    ),
)

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


def _scans() -> Iterator[Source]:
    yield _scan(
        1,
        "MEM-1 MEM-2 MEM-4 MEM-6 MEM-8 MEM-9 CHUNK-1 CHUNK-2 WIN-1 WIN-3 RULE-1",
        "omega over three chunks, rows out of phase, the window carried over borders",
        rule("omega"),
        position=(0, 6, 3),
    )
    yield _scan(
        2,
        "MEM-3 MEM-5 MEM-6 RULE-1 RULE-6 WIN-2",
        "omega, MLP, documents that end inside chunks",
        rule("omega", "mlp"),
        resets=DOCUMENTS,
    )
    yield _scan(3, "MEM-2 RULE-1 RULE-8 CHUNK-3", "titans, matrix", rule("titans"), resets=((1, 5),))
    yield _scan(
        4,
        "MEM-3 MEM-4 RULE-1 WIN-4",
        "titans, MLP, a truncated window, reads before the write",
        rule("titans", "mlp", boundary="truncate", read="pre"),
    )
    yield _scan(5, "MEM-2 RULE-4 CHUNK-4", "delta with b = 1: the delta rule", rule("delta", chunk=1))
    yield _scan(6, "MEM-3 RULE-4", "delta, MLP, b = 3", rule("delta", "mlp", chunk=3), resets=((0, 2),))
    yield _scan(7, "RULE-2 RULE-11 CHUNK-1", "atlas, matrix", rule("atlas"), resets=((1, 4),))
    yield _scan(8, "RULE-2 RULE-11", "atlas, MLP", rule("atlas", "mlp"), resets=((0, 4), (1, 5)), time=8)
    yield _scan(9, "RULE-3", "atlas_appendix, matrix", rule("atlas_appendix"), resets=((1, 6),))
    yield _scan(
        10, "RULE-3 RULE-11", "atlas_appendix, MLP", rule("atlas_appendix", "mlp"), resets=((0, 5), (1, 3)), time=8
    )
    yield _scan(
        11,
        "MEM-11 RULE-1 WIN-5",
        "omega with half of all gates at exactly 0 or 1",
        rule("omega"),
        ends=ALL_GATES,
        resets=((1, 6),),
    )
    yield _scan(
        12,
        "MEM-11 RULE-1",
        "titans, MLP, with retention and momentum gates at exactly 0 and 1",
        rule("titans", "mlp"),
        ends=("retention", "momentum_decay"),
    )
    yield _scan(
        13,
        "RULE-9 RULE-10",
        "omega, MLP, by mass",
        rule("omega", "mlp", step_scale="mass"),
        resets=((1, 3),),
    )
    yield _scan(14, "RULE-9", "atlas by mass", rule("atlas", step_scale="mass"), resets=((0, 5),))
    yield _scan(
        15,
        "WIN-1 WIN-2 WIN-3",
        "a window of six over chunks of two, longer than any document here",
        rule("omega", chunk=2),
        window=6,
        resets=((0, 3), (1, 5)),
        dead=True,
    )
    yield _scan(16, "MEM-2 MEM-7", "one token, batch and heads of one", rule("titans"), time=1, position=(5,), heads=1)
    yield _scan(
        17,
        "WIN-5 RULE-1",
        "a window of one, chunks longer than the call",
        rule("omega", chunk=16),
        window=1,
        position=(0, 13),
    )
    yield _scan(
        18,
        "MEM-4 MEM-5 WIN-4",
        "reads before the write, over resets, the window truncated",
        rule("omega", read="pre", boundary="truncate"),
        resets=DOCUMENTS,
    )
    yield _scan(19, "MEM-7", "a call without tokens returns its state", rule("omega"), time=0, window=2)


def _chunks() -> Iterator[Source]:
    yield _chunked(
        1,
        "MEM-6 MEM-8 MEM-9 CHUNK-1 CHUNK-2 CHUNK-3 CHUNK-5 WIN-1 WIN-3",
        "omega, three rows in three phases, the window carried over borders",
        rule("omega"),
        position=(0, 6, 3),
    )
    yield _chunked(
        2,
        "MEM-5 CHUNK-2 CHUNK-5 WIN-2",
        "omega, MLP, documents that end inside chunks",
        rule("omega", "mlp"),
        resets=DOCUMENTS,
    )
    yield _chunked(
        3,
        "MEM-7 CHUNK-3 CHUNK-5",
        "titans enters and leaves inside a chunk, with momentum",
        rule("titans"),
        position=(2, 7),
    )
    yield _chunked(
        4,
        "WIN-4 CHUNK-5 MEM-4",
        "titans, MLP, a truncated window, reads before the write",
        rule("titans", "mlp", boundary="truncate", read="pre"),
    )
    yield _chunked(5, "CHUNK-4 CHUNK-5", "delta with b = 1", rule("delta", chunk=1), time=7)
    yield _chunked(6, "CHUNK-5 RULE-4", "delta, MLP, b = 3", rule("delta", "mlp", chunk=3), resets=((0, 2),))
    yield _chunked(7, "CHUNK-5 RULE-2", "atlas, matrix", rule("atlas"), resets=((1, 4),))
    yield _chunked(8, "CHUNK-5 RULE-2 RULE-11", "atlas, MLP", rule("atlas", "mlp"), resets=((0, 4), (1, 5)), time=8)
    yield _chunked(9, "CHUNK-5 RULE-3", "atlas_appendix, matrix", rule("atlas_appendix"), resets=((1, 6),))
    yield _chunked(
        10,
        "MEM-11 CHUNK-5",
        "half of all gates at exactly 0 or 1: no division by a product of decays",
        rule("titans"),
        ends=ALL_GATES,
        resets=((1, 6),),
    )
    yield _chunked(
        11, "CHUNK-5 RULE-9 RULE-10", "omega, MLP, by mass", rule("omega", "mlp", step_scale="mass"), resets=((1, 3),)
    )
    yield _chunked(
        12,
        "WIN-1 WIN-2 WIN-3 CHUNK-5",
        "a window of six over chunks of two; what the window holds before the document never counts",
        rule("omega", chunk=2),
        window=6,
        position=(1, 0),
        resets=((0, 3),),
        dead=True,
    )
    yield _chunked(
        13, "CHUNK-5 MEM-7", "a call inside one chunk", rule("omega", "mlp", chunk=16), position=(3, 13), time=4
    )
    yield _chunked(14, "CHUNK-5", "one token, batch and heads of one", rule("atlas"), time=1, position=(5,), heads=1)
    yield _chunked(
        15,
        "CHUNK-5 CHUNK-2",
        "a length that chunks do not divide, b = 5 over 14 tokens",
        rule("titans", chunk=5),
        time=14,
        position=(0, 8),
        resets=((1, 9),),
    )
    config = rule("titans", chunk=3)
    inputs = call(config, 616, time=5, position=(1, 6))
    yield _CHUNK.case(
        16,
        "CHUNK-6",
        "gradients of the parallel form with respect to every input and the state that it entered with",
        config,
        inputs,
        cotangents(inputs, 617),
    )


MEMORIES: Final = (*STEPS, *_scans(), *_chunks())
