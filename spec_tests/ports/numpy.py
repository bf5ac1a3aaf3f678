"""The second oracle as a port: numpy alone, loops and explicit sums, from the text of docs/spec and nothing else.

Two things make it useful beyond agreeing with the reference. The order of every sum can be chosen, so that runs in
float32 show what rounding alone may do; and derivatives come by the complex step, without any rule of differentiation.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np

from spec_tests.contract.by_loops import digest
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation
from spec_tests.discovery import furniture
from spec_tests.oracle import complex_step
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import Order, Sums
from spec_tests.port import (
    GRADIENTS,
    PROFILES,
    SPEC_VERSION,
    Array,
    Declaration,
    Numerics,
    Op,
    UnsupportedError,
    round_to_bf16,
)

KEPT: Final = 64
"""Derivatives of how many questions are kept, the last ones."""


class NumpyPort:
    """The oracles of all chapters behind the port contract."""

    functions: Mapping[Op, Function] = {
        op: answer for oracle in furniture("oracle") for op, answer in oracle.ANSWERS.items()
    }
    slopes: Mapping[Op, Slopes] = {
        op: slope for oracle in furniture("oracle") for op, slope in getattr(oracle, "SLOPES", {}).items()
    }

    def __init__(self, order: Order | Sums = "forward") -> None:
        self._sums = order if isinstance(order, Sums) else Sums(order)
        self._found: dict[bytes, Arrays] = {}

    def declare(self) -> Declaration:
        """Declare every operation implemented here, at every precision, with gradients."""
        return Declaration(
            name=f"numpy_loops ({self._sums.order})",
            version=np.__version__,
            language="python (numpy)",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS}),
            numerics=PROFILES,
            matmul_precision="full",
        )

    def run(
        self,
        op: str,
        config: Config,
        inputs: Arrays,
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Arrays:
        """Run one operation in the precision of its inputs; derivatives are taken in float64 from the same inputs."""
        if op not in self.functions:
            raise UnsupportedError(f"the numpy loops have no operation '{op}'", capability=op)
        row = OPERATIONS[Op(op)]
        function = _undisturbed(partial(self.functions[row.op], config))
        given = {tensor.name: inputs[tensor.name] for tensor in row.inputs}
        computed = function(given, self._sums)
        wanted = [tensor.name for tensor in row.outputs] + [tensor.name for tensor in row.taps if tensor.name in taps]
        outputs = {name: _in_form(row, name, computed[name], numerics) for name in wanted}
        asked = {name.removeprefix("cotangent."): inputs[name] for name in inputs if name.startswith("cotangent.")}
        if asked:
            slopes = self._slopes(row.op, config, _wide(given), _wide(asked))
            outputs |= {f"grad.{name}": slope.astype(numerics.dtype) for name, slope in slopes.items()}
        return outputs

    def _slopes(self, op: Op, config: Config, x: Arrays, asked: Arrays) -> Arrays:
        """Return derivatives in float64; a question whose numbers float32 holds is the same in two profiles."""
        key = digest(op, config, {**x, **{f"cotangent.{name}": value for name, value in asked.items()}})
        if key not in self._found:
            while len(self._found) >= KEPT:
                del self._found[next(iter(self._found))]
            function = _undisturbed(partial(self.functions[op], config))
            with np.errstate(invalid="ignore"):
                self._found[key] = (
                    self.slopes[op](config, x, asked)
                    if op in self.slopes
                    else complex_step.gradients(lambda x: function(x, self._sums), x, asked)
                )
        return self._found[key]


Reversed: Final = partial(NumpyPort, "reversed")
Pairwise: Final = partial(NumpyPort, "pairwise")

Shuffled: Final = partial(NumpyPort, "shuffled")
"""The same port with other orders of summation, by names that `--port` can take."""


def _wide(arrays: Arrays) -> Arrays:
    """Return floats in float64."""
    return {name: value.astype(float) if value.dtype.kind == "f" else value for name, value in arrays.items()}


def _undisturbed(function: Callable[[Arrays, Sums], Arrays]) -> Callable[[Arrays, Sums], Arrays]:
    """Return a function without warnings: a document of infinities gives what it gives, only others must not see it."""

    def quiet(given: Arrays, sums: Sums) -> Arrays:
        with np.errstate(invalid="ignore"):
            return function(given, sums)

    return quiet


def _in_form(row: Operation, name: str, value: Array, numerics: Numerics) -> Array:
    """Give an output the type it travels in; activations of `bf16_io` are rounded once, at the end."""
    role = row.role(name)
    cast = np.asarray(value, dtype=np.int64 if role == "index" else numerics.dtype)
    return round_to_bf16(cast) if role == "activation" and numerics is Numerics.BF16_IO else cast
