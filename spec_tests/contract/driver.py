"""How a test asks a port: inputs rounded to the profile, both sides checked, results widened to float64.

A question that the port declares absent raises `AbsentError` with the reason: a test goes on past it with
`where_declared`, and is skipped where nothing is left. `ask` is the one place where a port is called: whatever it does
there becomes one of the errors of `spec_tests.contract.outcome`, and what was asked is told to
`spec_tests.contract.asked`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest

from atlas_ref.wording import visible
from spec_tests.contract.absence import absence
from spec_tests.contract.asked import Question, tell
from spec_tests.contract.contain import contained, kind_of, message_of, place_of
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import FormError, PortError, UndeclaredError
from spec_tests.contract.schema import TensorSchema
from spec_tests.port import PROFILES, Array, Numerics, Op, Port, Scalar, UnsupportedError, round_to_bf16
from spec_tests.tally import TALLY, AbsentError

TOLERANCE: Final[Mapping[Numerics, float]] = {Numerics.F64: 1e-11, Numerics.F32: 3e-5, Numerics.BF16_IO: 2e-2}
"""Largest error allowed, relative to the largest entry expected; in `bf16_io` state keeps the tolerance of `f32`."""
LARGEST: Final = 1 << 30
"""Most bytes of one array of an answer; no case of the suite has an output of a thousandth of it."""


@dataclass(frozen=True)
class Result:
    """One answered case: the inputs as the port got them and its outputs, floats widened to float64."""

    op: Op
    numerics: Numerics
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def tolerance(self, name: str) -> float:
        """Return the relative tolerance for an output or gradient of this case: none for an index."""
        role = OPERATIONS[self.op].role(name.removeprefix("grad."))
        if role == "index":
            return 0.0
        if self.numerics is Numerics.BF16_IO and (role != "activation" and not name.startswith("grad.")):
            return TOLERANCE[Numerics.F32]
        return TOLERANCE[self.numerics]

    def assert_close(self, name: str, expected: Array, *, factor: float = 1.0) -> None:
        """Assert that an output equals the oracle's value within `factor` times its tolerance."""
        assert_close(self[name], expected, factor * self.tolerance(name), f"{self.op} {name} in {self.numerics}")


def assert_close(actual: Array, expected: Array, tolerance: float, what: str) -> None:
    """Assert equal shapes, finite values and errors within `tolerance` of the largest expected entry."""
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all(), f"{what}: not finite"
    if actual.size:
        error = np.abs(actual - expected)
        allowed = tolerance * np.abs(expected).max()
        worst = np.unravel_index(int(error.argmax()), error.shape)
        place = tuple(int(i) for i in worst)
        assert error.max() <= allowed, (
            f"{what}: off by {error.max():.3g} at {place} (allowed {allowed:.3g}): "
            f"{actual[worst]:.17g}, expected {expected[worst]:.17g}"
        )


def assert_same(actual: Array, expected: Array, what: str) -> None:
    """Assert that two arrays are equal to the last bit."""
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert np.array_equal(actual, expected), (
        f"{what}: differs by {np.abs(actual - expected).max():.3g}, expected no difference"
    )


def precisions(port: Port, *wanted: Numerics) -> Iterator[Numerics]:
    """Yield each precision profile that the port declares, of those `wanted` if any are; skip when there is none."""
    declared = [numerics for numerics in port.declare().numerics if numerics in (wanted or PROFILES)]
    if not declared:
        pytest.skip(f"port '{port.declare().name}' declares none of the precisions {', '.join(wanted or PROFILES)}")
    yield from declared


def in_turn(port: Port, turn: int) -> Numerics:
    """Return one of the precision profiles that the port declares, from turn to turn another; skip when there is none.

    For questions that differ in something else than precision: a port of one precision is asked all of them in that.
    """
    declared = tuple(precisions(port))
    return declared[turn % len(declared)]


def run(port: Port, op: Op, numerics: Numerics, inputs: Mapping[str, Array], /, **config: Scalar) -> Result:
    """Run one case and check the form of what comes back."""
    return _run(port, op, numerics, inputs, None, config)


def run_with_gradients(
    port: Port,
    op: Op,
    numerics: Numerics,
    inputs: Mapping[str, Array],
    cotangents: Mapping[str, Array],
    /,
    **config: Scalar,
) -> Result:
    """Run one case and ask for `grad.X` of sum(cotangent * output) for every floating-point input X."""
    return _run(port, op, numerics, inputs, cotangents, config)


def _run(
    port: Port,
    op: Op,
    numerics: Numerics,
    inputs: Mapping[str, Array],
    cotangents: Mapping[str, Array] | None,
    config: Mapping[str, Scalar],
) -> Result:
    given = prepare(op, numerics, inputs, config)
    reason = absence(port.declare(), op, config, given, numerics, gradients=cotangents is not None)
    if reason is not None:
        raise AbsentError(reason)
    asked = {f"cotangent.{name}": _cast(value, numerics, rounded=False) for name, value in (cotangents or {}).items()}
    outputs = ask(port, op, config, given | asked, numerics)
    return Result(op, numerics, widen(given), widen(outputs))


def ask(
    port: Port,
    op: Op,
    config: Mapping[str, Scalar],
    given: Mapping[str, Array],
    numerics: Numerics,
    taps: frozenset[str] = frozenset(),
) -> Mapping[str, Array]:
    """Call the port and check the form of what comes back; taps that it does not show are simply missing.

    What is returned is a copy of this module's own: no code of the port's runs when it is read, nothing changes it.
    """
    TALLY.asked += 1
    sent = {name: value.copy() for name, value in given.items()}
    config = OPERATIONS[op].configured(config)

    def run() -> Mapping[str, Array]:
        with np.errstate():
            return port.run(op, dict(config), dict(sent), numerics=numerics, taps=taps)

    try:
        answer = contained(f"{op}: the port", run, passing=(FormError, PortError, UnsupportedError))
    except PortError as error:
        raise PortError(f"{error}{place_of(error.__cause__)}\n  with {shapes(given)}") from error.__cause__
    except UnsupportedError as unsupported:
        raise UndeclaredError(f"{op}: declared, but answered unsupported ({message_of(unsupported)})") from unsupported
    for name, value in given.items():
        same = np.array_equal(sent[name], value, equal_nan=value.dtype.kind == "f")
        _demand(same, f"{op}: the port changed its input '{name}'")
    outputs = plain(op, answer)
    _check_outputs(op, numerics, given, outputs, config, taps)
    tell(Question(op, config, given, outputs))
    return outputs


def shapes(arrays: Mapping[str, Array]) -> str:
    """Return names and shapes of arrays, and which of them are empty: what whoever mends a crash asks first."""
    words = [f"{name} {list(value.shape)}{'' if value.size else ' (empty)'}" for name, value in arrays.items()]
    return ", ".join(words)


def plain(op: Op, answer: object) -> dict[str, Array]:
    """Return a copy of an answer, which is a dict of numpy's own arrays under strings and nothing that resembles them.

    A subclass (a masked array, one with its own ufuncs or comparison) would judge itself in every check that follows.
    """
    _demand(type(answer) is dict, f"{op}: returned {kind_of(answer)}, expected a dict of numpy arrays")
    assert isinstance(answer, dict)
    copies = {}
    for name, value in list(answer.items()):
        _demand(type(name) is str, f"{op}: returned an array under a name that is {kind_of(name)}, expected a string")
        _demand(type(value) is np.ndarray, f"{op}: '{name}' is {kind_of(value)}, expected a numpy array")
        # A view has a shape of its own, which nobody changes between this check and the copy; repeated elements
        # (stride 0) make an array immense that takes no memory until it is copied.
        view = np.ndarray.view(value)
        _demand(view.nbytes <= LARGEST, f"{op}: '{name}' has shape {view.shape}, {view.nbytes:,} bytes")
        copies[name] = view.copy()
    return copies


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FormError(visible(otherwise, lines=True))


def _cast(value: Array, numerics: Numerics, *, rounded: bool) -> Array:
    cast = np.asarray(value, dtype=numerics.dtype)
    return round_to_bf16(cast) if rounded and numerics is Numerics.BF16_IO else cast


def prepare(op: Op, numerics: Numerics, inputs: Mapping[str, Array], config: Mapping[str, Scalar]) -> dict[str, Array]:
    """Return the inputs as they travel: in the types of the profile, activations rounded to it."""
    row = OPERATIONS[op]
    row.configured(config)
    if set(inputs) != {tensor.name for tensor in row.inputs}:
        raise TypeError(f"{op}: the test gives inputs {sorted(inputs)}")
    prepared = {}
    for tensor in row.inputs:
        value = inputs[tensor.name]
        if tensor.role == "index":
            prepared[tensor.name] = np.asarray(value, dtype=np.int64)
        else:
            prepared[tensor.name] = _cast(value, numerics, rounded=tensor.role == "activation")
    return prepared


def _check_outputs(
    op: Op,
    numerics: Numerics,
    given: Mapping[str, Array],
    outputs: Mapping[str, Array],
    config: Mapping[str, Scalar],
    taps: frozenset[str],
) -> None:
    row = OPERATIONS[op]
    shown = [tensor for tensor in row.taps if tensor.name in taps and tensor.name in outputs]
    wanted = {tensor.name for tensor in (*shown, *row.outputs)}
    if any(name.startswith("cotangent.") for name in given):
        wanted |= {f"grad.{tensor.name}" for tensor in row.inputs if tensor.role != "index"}
    _demand(set(outputs) == wanted, f"{op}: returned {sorted(outputs)}, expected {sorted(wanted)}")
    for name, value in outputs.items():
        if name.startswith("grad."):
            shape = given[name.removeprefix("grad.")].shape
            _demand(value.shape == shape, f"{op}: '{name}' has shape {value.shape}, expected {shape}")
            _demand(value.dtype == numerics.dtype, f"{op}: '{name}' is {value.dtype}, expected {numerics.dtype}")
    lengths = {key: value for key, value in config.items() if isinstance(value, int)}
    for tensor in row.inputs:
        _check_axes(op, tensor, given[tensor.name], lengths)
    for tensor in (*shown, *row.outputs):
        _check_output(op, numerics, tensor, outputs[tensor.name], lengths)


def _check_output(op: Op, numerics: Numerics, tensor: TensorSchema, value: Array, lengths: dict[str, int]) -> None:
    _check_axes(op, tensor, value, lengths)
    expected = np.dtype(np.int64) if tensor.role == "index" else np.dtype(numerics.dtype)
    _demand(value.dtype == expected, f"{op}: output '{tensor.name}' is {value.dtype}, expected {expected}")
    if tensor.role == "activation" and numerics is Numerics.BF16_IO:
        same = np.array_equal(value, round_to_bf16(value), equal_nan=True)
        _demand(same, f"{op}: '{tensor.name}' is not bfloat16")


def _check_axes(op: Op, tensor: TensorSchema, value: Array, lengths: dict[str, int]) -> None:
    """Match a shape with the axes of the table, learning the length of each axis on its first appearance."""
    _demand(value.ndim == len(tensor.axes), f"{op}: '{tensor.name}' has shape {value.shape}, expected {tensor.axes}")
    for axis, length in zip(tensor.axes, value.shape, strict=True):
        name, _, less = axis.partition("-")
        expected = lengths.setdefault(name, length + int(less or 0))
        right = length + int(less or 0) == expected
        _demand(right, f"{op}: '{tensor.name}' has {length} along {axis}, not {expected - int(less or 0)}")


def widen(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the same arrays with floats in float64."""
    return {name: value if value.dtype.kind in "iub" else value.astype(np.float64) for name, value in arrays.items()}
