"""Cases for the memory: generic inputs in which every tensor matters, and the ranges in which a case is well-posed.

A recurrence is well-posed when it lets a rounding error die out: two correct forms, or one form in two precisions, can
agree no better than that. The linear rules are for any gates in range. Newton-Schulz writes a matrix of norm about one
however small the gradient, so where gradients are taken at a state just written (small b) with retention near 1, an
error of one ulp grows exponentially along T in every implementation, this suite's own loop included. `atlas` and
`atlas_appendix` are therefore tested with a retention that contracts; their `mlp` memory, whose gradient is a multiple
of its own weights, with short documents too; and `atlas_appendix`, whose step size cannot soften a write, with the
coefficients `cubic` (five steps magnify a small singular value 7.6 times, those of `quintic` 485 times).
`amplification` measures what is left: how far the loop's own answer moves when its inputs move by an ulp.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_step.loop import TOKENS, Config, Inputs, Oracle
from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.contract.driver import Result, precisions
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port, Scalar

RULES: Final = ("titans", "omega", "delta", "atlas", "atlas_appendix")
ARCHITECTURES: Final = ("matrix", "mlp")
ORTHOGONALISED: Final = ("atlas", "atlas_appendix")
FORMS: Final = (Op.MEMORY_SCAN, Op.MEMORY_CHUNKED)
HEADS, FEATURES, VALUES, HIDDEN = 2, 5, 4, 6


def rule(name: str, architecture: str = "matrix", **changes: Scalar) -> dict[str, Scalar]:
    """Return a configuration of the rule `name`: chunks of 4, steps as printed, reads after the write."""
    return {
        "architecture": architecture,
        "rule": name,
        "chunk": 4,
        "boundary": "carry",
        "read": "post",
        "loss_scale": 0.5,
        "step_scale": "literal",
        "momentum_max": 0.9,
        "coefficients": "cubic" if name == "atlas_appendix" else "quintic",
        "newton_schulz_steps": 5,
        **changes,
    }


def every_rule(**changes: Scalar) -> Iterator[dict[str, Scalar]]:
    """Yield a configuration of each rule with each memory."""
    for name in RULES:
        for architecture in ARCHITECTURES:
            yield rule(name, architecture, **changes)


def forms(port: Port, *wanted: Numerics) -> Iterator[tuple[Op, Numerics]]:
    """Yield what the port declares of the two forms over a sequence in each of its precisions, of those `wanted`.

    Skip when it declares neither form.
    """
    declaration = port.declare()
    declared = [op for op in FORMS if op in declaration.operations]
    if not declared:
        pytest.skip(f"port '{declaration.name}' declares no operation of {', '.join(FORMS)}")
    for numerics in precisions(port, *wanted):
        for op in declared:
            yield op, numerics


def width(config: Config, window: int) -> int:
    """Return the window length for a rule: `delta` has a window of one token."""
    return 1 if config["rule"] == "delta" else window


def parameters(config: Config, shape: tuple[int, ...], seed: int, features: int = FEATURES) -> Array:
    """Return packed matrices [*shape, parameters] whose products keep the scale of what they multiply."""
    rng = generator(seed)
    if config["architecture"] == "matrix":
        return np.asarray(rng.standard_normal((*shape, VALUES * features)) / np.sqrt(features))
    outer = rng.standard_normal((*shape, VALUES * HIDDEN)) / np.sqrt(HIDDEN)
    inner = rng.standard_normal((*shape, HIDDEN * features)) / np.sqrt(features)
    return np.concatenate([outer, inner], axis=-1)


def gates(config: Config, shape: tuple[int, ...], window: int, seed: int) -> dict[str, Array]:
    """Return gates that differ in every token and head, in the ranges of the module docstring."""
    rng = generator(seed)
    low, high = (0.3, 0.9) if config["rule"] in ORTHOGONALISED else (0.9, 1.0)
    # What one anchor's gradients add up to before the next anchor: chunk, window and momentum each multiply the step.
    mass = 1.0 if config["step_scale"] == "mass" else min(int(config["chunk"]), 16) * window
    return {
        "retention": rng.uniform(low, high, shape),
        "momentum_decay": rng.uniform(0.1, 0.7, shape),
        "step_size": rng.uniform(0.1, 0.9, shape) / (4.0 if config["rule"] in ORTHOGONALISED else 2.0 * mass),
        "window_weights": rng.uniform(0.1, 1.0, (*shape, window)),
    }


def directions(shape: tuple[int, ...], seed: int) -> Array:
    """Return vectors of random direction, 0.6 to 1.4 long: a step divided by kappa differs from one that is not."""
    rng = generator(seed)
    x = rng.standard_normal(shape)
    lengths = rng.uniform(0.6, 1.4, shape[:-1])
    return np.asarray(x * (lengths / np.sqrt((x * x).sum(-1)))[..., None])


def case(
    config: Config,
    *,
    batch: int = 2,
    time: int = 12,
    window: int = 3,
    seed: int = 1,
    document: int = 12,
    features: int = FEATURES,
) -> dict[str, Array]:
    """Return inputs of a call in the middle of its documents, rows out of phase, the first at its very start.

    Documents have 1 to 2 `document` tokens. Every profile gets the same numbers (`representable`).
    """
    rng = generator(seed)
    window = width(config, window)
    shape = (batch, time, HEADS)
    position = rng.integers(1, 40, batch)
    position[0] = 0
    old = directions((batch, window - 1, HEADS, features), seed + 2000)
    # A slot older than the document is zero in a valid state.
    live = (np.arange(window - 1, 0, -1) <= position[:, None])[:, :, None, None]
    state = {
        "weights": parameters(config, (batch, HEADS), seed + 3000, features),
        "momentum": 0.5 * parameters(config, (batch, HEADS), seed + 4000, features),
        "anchor": parameters(config, (batch, HEADS), seed + 5000, features),
        "window_keys": np.where(live, old, 0.0),
        "window_values": np.where(live, rng.standard_normal((batch, window - 1, HEADS, VALUES)), 0.0),
        "position": position,
    }
    drawn = {
        "keys": directions((*shape, features), seed + 1000),
        "values": rng.standard_normal((*shape, VALUES)),
        "queries": directions((*shape, features), seed + 6000),
        **gates(config, shape, window, seed + 7000),
        "reset": beginnings(batch, time, document, rng),
        "initial": parameters(config, (HEADS,), seed + 8000, features),
        **state,
    }
    return representable(Op.MEMORY_SCAN, drawn)


def beginnings(batch: int, time: int, document: int, rng: np.random.Generator) -> Array:
    """Return marks at the first tokens of documents of 1 to 2 `document` tokens; the first mark comes anywhere."""
    reset = np.zeros((batch, time), dtype=np.int64)
    for row in range(batch):
        starts = np.cumsum(rng.integers(1, 2 * document + 1, time))
        reset[row, starts[starts < time]] = 1
    return reset


def fresh(inputs: Inputs) -> dict[str, Array]:
    """Return the same call at the start of every row's document: M = xi = M_0, S = 0, nothing in the window."""
    start = np.broadcast_to(inputs["initial"], inputs["weights"].shape).copy()
    empty = {name: 0 * inputs[name] for name in ("momentum", "window_keys", "window_values", "position")}
    return {**inputs, **empty, "weights": start, "anchor": start.copy()}


@dataclass(frozen=True)
class _Question:
    """A call of the loop, known by the digest of everything in it."""

    digest: bytes
    config: Config = field(compare=False)
    inputs: Inputs = field(compare=False)


@lru_cache(maxsize=2048)
def _answer(question: _Question) -> dict[str, Array]:
    answer = Oracle(question.config).run(question.inputs)
    for value in answer.values():
        value.flags.writeable = False
    return answer


def expected(config: Config, inputs: Inputs) -> dict[str, Array]:
    """Return what the loop answers; the same case, asked in another precision or of another port, is computed once."""
    digest = blake2b(repr(sorted(config.items())).encode(), digest_size=16)
    for name in sorted(inputs):
        digest.update(f"{name} {inputs[name].shape} {inputs[name].dtype}".encode() + inputs[name].tobytes())
    return _answer(_Question(digest.digest(), config, inputs))


def expected_step(config: Config, inputs: Inputs) -> dict[str, Array]:
    """Return what the loop answers to a call without the axis of time."""
    answer = expected(config, {**inputs, **{name: inputs[name][:, None] for name in TOKENS}})
    return answer | {"reads": answer["reads"][:, 0]}


def assert_loop(result: Result, config: Config, *, factor: float = 1.0) -> None:
    """Assert that every output of a call is that of the loop."""
    answer = expected_step if result.op is Op.MEMORY_STEP else expected
    for name, value in answer(config, result.inputs).items():
        result.assert_close(name, value, factor=factor)


def amplification(config: Config, inputs: Inputs) -> float:
    """Return the largest relative change of a read or weight when keys and values change by one ulp, in ulps."""
    ulp = np.finfo(np.float64).eps
    moved = dict(inputs)
    for name in ("keys", "values"):
        moved[name] = inputs[name] * (1.0 + ulp * generator(5).choice([-1.0, 1.0], inputs[name].shape))
    before, after = expected(config, inputs), expected(config, moved)
    names = ("reads", "weights")
    return float(np.max([np.abs(after[n] - before[n]).max() / (np.abs(before[n]).max() * ulp) for n in names]))


def tokens(inputs: Inputs, piece: slice) -> dict[str, Array]:
    """Return the call that holds only the tokens of `piece`."""
    return {**inputs, **{name: inputs[name][:, piece] for name in TOKENS}}


def token(inputs: Inputs, t: int) -> dict[str, Array]:
    """Return the step of token t: a call without the axis of time."""
    return {**inputs, **{name: inputs[name][:, t] for name in TOKENS}}


def worst(actual: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """Return the largest error of any array of `wanted`, relative to its largest entry; NaN where one is NaN."""
    errors = [0.0]
    for name, value in wanted.items():
        if value.size:
            errors.append(float(np.abs(actual[name] - value).max() / max(np.abs(value).max(), np.finfo(float).tiny)))
    # Python's own `max` passes over a NaN.
    return float(np.max(errors))


def plain(config: Config, **changes: Array | float) -> dict[str, Array]:
    """Return one token in the middle of a document, c = 1, with some inputs replaced (a number fills its array)."""
    inputs = token(case(config, time=1, window=1, seed=21), 0)
    inputs |= {"position": np.array([8, 13]), "reset": np.zeros(2, dtype=np.int64)}
    return inputs | {name: np.broadcast_to(value, inputs[name].shape).copy() for name, value in changes.items()}


def matrix(packed: Array) -> Array:
    """Return the packed parameters of a matrix memory as matrices."""
    return packed.reshape(*packed.shape[:-1], VALUES, FEATURES)


def column(gate: Array) -> Array:
    """Return a gate with an axis for the parameters that it multiplies."""
    return gate[..., None]


def orthogonalised(config: Config, momentum: Array, offset: float = 1e-7) -> Array:
    """Return Newton-Schulz of every matrix of a packed matrix memory, by the loop."""
    steps, name = int(config["newton_schulz_steps"]), str(config["coefficients"])
    parts = [iteration(part, name, steps, offset).ravel() for part in matrix(momentum).reshape(-1, VALUES, FEATURES)]
    return np.stack(parts).reshape(momentum.shape)
