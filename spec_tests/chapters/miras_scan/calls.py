"""Calls for the axes of MIRAS: the generic calls of chapter MEM with gates of every axis, thresholds, more matrices."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pytest

from spec_tests.chapters.memory_step import calls
from spec_tests.chapters.memory_step.calls import FEATURES, HEADS, HIDDEN, VALUES
from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.chapters.memory_step.loop import TOKENS, Config, Inputs
from spec_tests.chapters.miras_scan.architectures import NORMALISED
from spec_tests.chapters.miras_scan.loop import Miras
from spec_tests.contract.driver import Result, in_turn, precisions
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port, Scalar

EACH_TOKEN: Final = (*TOKENS, "threshold")
"""The inputs that have a token."""
USUAL: Final[Mapping[str, Scalar]] = {
    "bias": "l2",
    "exponent": 3.0,
    "smoothing": 0.1,
    "link": "identity",
    "link_exponent": 3.0,
    "link_scale": 2.0,
    "level": 0.05,
    "retention": "dual",
    "error_at": "previous",
    "gate_axis": "head",
    "algorithm": "gd",
}
"""The axes of MIRAS at what chapter MEM has, their numbers at values that are nobody's default."""
MODELS: Final[Mapping[str, Mapping[str, Scalar]]] = {
    "linear attention": {"rule": "omega", "bias": "dot", "boundary": "truncate", "loss_scale": 1.0},
    "gated delta": {"rule": "delta", "chunk": 1, "error_at": "retained", "step_scale": "mass"},
    "kimi delta": {"rule": "delta", "chunk": 1, "error_at": "retained", "gate_axis": "columns", "read": "pre"},
    "longhorn": {"rule": "delta", "chunk": 1, "algorithm": "implicit", "gate_axis": "rows"},
    "moneta": {"architecture": "mlp_norm", "rule": "titans", "bias": "lp", "link": "lq", "link_exponent": 4.0},
    "moneta as printed": {"rule": "omega", "bias": "lp", "exponent": 1.5, "link": "lq_printed", "smoothing": 0.25},
    "yaad": {"architecture": "mlp_norm", "rule": "omega", "bias": "huber_norm", "read": "pre", "chunk": 2},
    "yaad as printed": {"rule": "titans", "bias": "yaad_printed", "chunk": 2, "coefficients": "cubic"},
    "memora": {"rule": "omega", "link": "softmax", "gate_axis": "rows", "chunk": 2},
    "elastic net": {"rule": "omega", "retention": "proximal_elastic", "chunk": 3, "level": 0.3, "step_scale": "mass"},
    "ttt": {"architecture": "linear_norm", "rule": "omega", "boundary": "truncate", "chunk": 2},
    "atlas++": {
        "architecture": "mlp_glu",
        "rule": "atlas",
        "bias": "robust",
        "coefficients": "polar_express",
        "newton_schulz_steps": 2,
        "chunk": 2,
    },
    "diagonal atlas": {
        "rule": "atlas_appendix",
        "gate_axis": "rows",
        "bias": "huber_coordinate",
        "link": "sigmoid",
        "coefficients": "quintic",
        "newton_schulz_steps": 1,
        "momentum_max": 0.6,
    },
    "sparse": {
        "architecture": "mlp",
        "rule": "titans",
        "step_scale": "mass",
        "link": "soft_threshold",
        "bias": "huber_coordinate",
        "momentum_max": 0.6,
        "chunk": 2,
    },
    "tnt": {"architecture": "mlp_norm", "rule": "omega", "step_scale": "mass", "read": "anchor", "chunk": 3},
}
"""Points of the space by the name of a model that has them: every value of every axis but the printed ones."""


def axes(**changes: Scalar) -> dict[str, Scalar]:
    """Return a configuration: `omega` with a matrix, chunks of 4, unless `changes` say otherwise."""
    name = str(changes.get("rule", "omega"))
    return {**calls.rule(name), **USUAL, **changes}


def points(**changes: Scalar) -> Iterator[dict[str, Scalar]]:
    """Yield the configuration of every model of the table."""
    for point in MODELS.values():
        yield axes(**{**point, **changes})


def both_forms(port: Port, *wanted: Numerics) -> Iterator[tuple[Op, Numerics]]:
    """Yield what the port declares of the two forms, in each of its precisions, of those `wanted`.

    Skip when it declares neither form.
    """
    declared = declared_forms(port)
    for numerics in precisions(port, *wanted):
        yield from ((op, numerics) for op in declared)


def declared_forms(port: Port) -> Sequence[Op]:
    """Return what the port declares of the two forms; skip when it is neither."""
    declaration = port.declare()
    declared = [op for op in (Op.MIRAS_SCAN, Op.MIRAS_CHUNKED) if op in declaration.operations]
    if not declared:
        pytest.skip(f"port '{declaration.name}' declares no operation with the axes of MIRAS")
    return declared


def forms_in_turn(port: Port) -> Iterator[tuple[Op, Numerics]]:
    """Yield each of the two forms that the port declares and each of its precisions, in the fewest pairs."""
    declared = declared_forms(port)
    for turn in range(max(len(declared), len(list(precisions(port))))):
        yield declared[turn % len(declared)], in_turn(port, turn)


def points_in_turn(port: Port) -> Iterator[tuple[Op, Numerics, int, dict[str, Scalar]]]:
    """Yield every model of the table, with its number, in every form that has it, each in one precision after another.

    A port of one precision is asked everything in that.
    """
    for place, op in enumerate(declared_forms(port)):
        for seed, config in enumerate(points()):
            if asked(op, config):
                yield op, in_turn(port, seed + place), seed, config


def asked(op: Op, config: Config) -> bool:
    """Return whether a form can be asked for a configuration."""
    row = OPERATIONS[op]
    named = {key: values for key, values in row.config.items() if isinstance(values, tuple)}
    return all(config[key] in values for key, values in named.items()) and row.meaningless(config) is None


def parameters(config: Config, shape: tuple[int, ...], seed: int, features: int, values: int, hidden: int) -> Array:
    """Return packed matrices [*shape, parameters] whose products keep the scale of what they multiply."""
    rng, architecture = generator(seed), str(config["architecture"])
    if architecture in ("matrix", "linear_norm"):
        return np.asarray(rng.standard_normal((*shape, values * features)) / np.sqrt(features))
    outer = rng.standard_normal((*shape, values * hidden)) / np.sqrt(hidden)
    inner = rng.standard_normal((*shape, (2 if architecture == "mlp_glu" else 1) * hidden * features))
    return np.concatenate([outer, inner / np.sqrt(features)], axis=-1)


def with_axes(config: Config, inputs: Inputs, seed: int, hidden: int = HIDDEN) -> dict[str, Array]:
    """Return a call of chapter MEM as one of these operations: gates of the axis, thresholds, matrices."""
    rng, (batch, time, heads, values) = generator(seed + 11), inputs["values"].shape
    features = inputs["keys"].shape[-1]
    gates = {"head": 1, "rows": values, "columns": features}[str(config["gate_axis"])]
    low, high = float(inputs["retention"].min(initial=1.0)), float(inputs["retention"].max(initial=0.0))
    # Rows of probabilities that are nearly alike would leave a normalisation nothing but rounding.
    apart = 3.0 if config["link"] in ("softmax", "sigmoid") else 1.0
    packed = {
        name: (0.5 if name == "momentum" else apart)
        * parameters(config, inputs[name].shape[:-1], seed + 20 + number, features, values, hidden)
        for number, name in enumerate(("initial", "weights", "momentum", "anchor"))
    }
    threshold = rng.uniform(0.3, 1.2, (batch, time, heads))
    # What is divided by a small deviation comes back large.
    step = inputs["step_size"] * (0.3 if config["architecture"] in NORMALISED else 1.0)
    retention = rng.uniform(min(low, high), high, (batch, time, heads, gates))
    return {**inputs, **packed, "retention": retention, "step_size": step, "threshold": threshold}


def case(config: Config, *, seed: int = 1, **lengths: Any) -> dict[str, Array]:
    """Return inputs of a call in the middle of its documents, rows out of phase; `lengths` as in chapter MEM."""
    memory = {**config, "architecture": "matrix"}
    if config["error_at"] == "retained" or config["algorithm"] == "implicit":
        lengths["window"] = 1
    inputs = with_axes(config, calls.case(memory, seed=seed, **lengths), seed)
    return representable(Op.MIRAS_SCAN, inputs)


def small_case(config: Config, seed: int, time: int = 3, reset_at: int | None = None) -> dict[str, Array]:
    """Return a small call of one row and head inside a document: loops differentiate it one entry at a time.

    `reset_at`: the token with which another document begins.
    """
    window = 1 if config["rule"] == "delta" else 2
    size = Size(time=time, heads=1, features=4, values=3, hidden=2, window=window)
    inputs = sized_call(
        {**config, "architecture": "matrix"}, seed, size, (2,), () if reset_at is None else ((0, reset_at),)
    )
    return representable(Op.MIRAS_SCAN, with_axes(config, inputs, seed, hidden=size.hidden))


def expected(config: Config, inputs: Inputs) -> dict[str, Array]:
    """Return what the loop answers."""
    return Miras(config).run(inputs)


def assert_loop(result: Result, config: Config, *, factor: float = 1.0) -> None:
    """Assert that every output of a call is that of the loop."""
    for name, value in expected(config, result.inputs).items():
        result.assert_close(name, value, factor=factor)


def tokens(inputs: Inputs, piece: slice) -> dict[str, Array]:
    """Return the call that holds only the tokens of `piece`."""
    return {**inputs, **{name: inputs[name][:, piece] for name in EACH_TOKEN}}


def one_write(config: Config, **changes: Array | float) -> dict[str, Array]:
    """Return a call of one token in the middle of a document, c = 1, with some inputs replaced."""
    inputs = case(config, time=1, window=1, seed=21)
    inputs |= {"position": np.array([8, 13]), "reset": 0 * inputs["reset"]}
    return inputs | {name: np.broadcast_to(value, inputs[name].shape).copy() for name, value in changes.items()}


SHAPE: Final = (2, HEADS, VALUES, FEATURES)
"""The shape of the matrices of `one_write`."""
