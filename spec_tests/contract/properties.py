"""Properties that every operation over a sequence has, whatever it computes.

They read the table: an input with an axis `time` is cut or replaced along it, one whose first axis is `batch` is
permuted, and an output that bears the name of an input is state, handed from one call to the next.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from spec_tests.contract.driver import Result, assert_close, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import TensorSchema
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port, Scalar, round_to_bf16
from spec_tests.tally import where_declared

Inputs = Mapping[str, Array]

EXACT: Final = 1e-12
"""In float64, what must not matter may change a result by rounding only."""
GRADIENT: Final[Mapping[Numerics, float]] = {Numerics.F64: 1e-6, Numerics.F32: 1e-3, Numerics.BF16_IO: 3e-2}
"""Largest error of a gradient, relative to its largest entry; in float64 that of central differences."""


def _over_time(tensors: Iterable[TensorSchema]) -> list[str]:
    return [tensor.name for tensor in tensors if "time" in tensor.axes]


def _by_row(tensors: Iterable[TensorSchema]) -> list[str]:
    return [tensor.name for tensor in tensors if tensor.axes[:1] == ("batch",)]


def unchanged(result: Result, name: str) -> float:
    """Return how far an output may move when what must not matter changes: by rounding only."""
    return EXACT if result.numerics is Numerics.F64 else result.tolerance(name)


def representable(op: Op, inputs: Inputs) -> dict[str, Array]:
    """Return inputs that every profile gets alike: activations rounded to bfloat16, other floats to float32.

    What is expected of them is then one answer for all profiles.
    """
    rounded = {}
    for name, value in inputs.items():
        role = OPERATIONS[op].role(name)
        if role == "index":
            rounded[name] = value
        else:
            cast = round_to_bf16(value) if role == "activation" else np.asarray(value, dtype=np.float32)
            rounded[name] = cast.astype(np.float64)
    return rounded


def replaced(value: Array, role: str, seed: int) -> Array:
    """Return other content of the same shape; indices stay, because they say which tokens make a document."""
    return value if role == "index" else 3.0 * generator(seed).standard_normal(value.shape)


def assert_computes(result: Result) -> None:
    """Assert that an answer is more than zeros and copies of what was given: an echo has every invariance."""
    given = list(result.inputs.values())

    def is_echo(value: Array) -> bool:
        return not value.any() or any(np.array_equal(value, other) for other in given)

    assert not all(is_echo(value) for value in result.outputs.values()), f"{result.op} answers what it was given"


def run_in_pieces(
    port: Port, op: Op, numerics: Numerics, inputs: Inputs, pieces: Sequence[slice], /, **config: Scalar
) -> dict[str, Array]:
    """Run consecutive pieces of a sequence, handing the state on; return outputs joined over time and last state."""
    row = OPERATIONS[op]
    state: dict[str, Array] = {}
    results: list[Result] = []
    for piece in pieces:
        now = {name: value[:, piece] if name in _over_time(row.inputs) else value for name, value in inputs.items()}
        results.append(run(port, op, numerics, now | state, **config))
        state = {name: value for name, value in results[-1].outputs.items() if name in inputs}
    joined = {name: np.concatenate([result[name] for result in results], axis=1) for name in _over_time(row.outputs)}
    return joined | state


def assert_any_split_agrees(
    port: Port, op: Op, numerics: Numerics, inputs: Inputs, partitions: Iterable[Sequence[slice]], /, **config: Scalar
) -> None:
    """Assert that cutting the sequence into calls changes neither outputs nor final state."""
    whole = run(port, op, numerics, inputs, **config)
    assert all(value.any() for value in whole.outputs.values() if value.size), f"{op}: an output is zero throughout"
    assert_computes(whole)
    for pieces in partitions:
        split = run_in_pieces(port, op, numerics, inputs, pieces, **config)
        for name, expected in whole.outputs.items():
            what = f"{op} {name} split at {[piece.stop for piece in pieces]}"
            # Each of the two is off by its own rounding.
            assert_close(split[name], expected, 2.0 * unchanged(whole, name), what)


def assert_causal(
    port: Port, op: Op, numerics: Numerics, inputs: Inputs, times: Iterable[int], /, **config: Scalar
) -> None:
    """Assert that replacing every token from time t on leaves the outputs before t alone and changes those at t."""
    row = OPERATIONS[op]
    before = run(port, op, numerics, inputs, **config)
    assert_computes(before)
    for t in times:
        changed = dict(inputs)
        for name in _over_time(row.inputs):
            other = replaced(inputs[name], row.role(name), t)
            changed[name] = np.concatenate([inputs[name][:, :t], other[:, t:]], axis=1)
        after = run(port, op, numerics, changed, **config)
        for name in _over_time(row.outputs):
            assert_close(
                after[name][:, :t], before[name][:, :t], unchanged(before, name), f"{op} {name} before a change at {t}"
            )
            assert not np.allclose(after[name][:, t], before[name][:, t]), f"{op} {name} ignores the token at {t}"


def assert_rows_independent(port: Port, op: Op, numerics: Numerics, inputs: Inputs, /, **config: Scalar) -> None:
    """Assert that permuting rows permutes every output, and that nothing of another row counts.

    The last row is the one kept while the others are replaced: it must be running, so that a leak through state shows.
    """
    row = OPERATIONS[op]
    names = _by_row(row.inputs)
    whole = run(port, op, numerics, inputs, **config)
    assert_computes(whole)
    order = np.roll(np.arange(len(inputs[names[0]])), 1)
    permuted = run(port, op, numerics, {**inputs, **{name: inputs[name][order] for name in names}}, **config)
    strangers = {name: inputs[name].copy() for name in names}
    for name in names:
        strangers[name][:-1] = replaced(inputs[name], row.role(name), 7)[order][:-1]
    among = run(port, op, numerics, {**inputs, **strangers}, **config)
    for name in _by_row(row.outputs):
        assert_close(permuted[name], whole[name][order], unchanged(whole, name), f"{op} {name} with rows permuted")
        assert_close(
            among[name][-1:], whole[name][-1:], unchanged(whole, name), f"{op} {name} of a row among other rows"
        )
        assert not np.allclose(among[name][:-1], whole[name][:-1]), f"{op} {name} ignores the content of its own row"


def assert_gradients(
    port: Port, op: Op, inputs: Inputs, cotangents: Inputs, expected: Inputs, /, **config: Scalar
) -> None:
    """Assert that the gradients named in `expected` are those that the port returns; `inputs` are `representable`."""
    for numerics in precisions(port):
        with where_declared():
            result = run_with_gradients(port, op, numerics, inputs, cotangents, **config)
            for name, gradient in expected.items():
                what = f"{op} gradient of {name} in {numerics}"
                assert_close(result[f"grad.{name}"], gradient, GRADIENT[numerics], what)
