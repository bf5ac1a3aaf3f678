"""The second oracle as a port: numpy alone, loops and explicit sums, from the text of docs/spec and nothing else.

Two things make it useful beyond agreeing with the reference. The order of every sum can be chosen, so that runs in
float32 show what rounding alone may do; and derivatives come by the complex step, without any rule of differentiation.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.operations import OPERATIONS
from spec_tests.operations.schema import Operation
from spec_tests.oracle import adamw, attention, complex_step, convolution, m3, normalize, polynomial, qk_projection
from spec_tests.oracle.memory import TOKENS
from spec_tests.oracle.memory_adjoint import Adjoint
from spec_tests.oracle.memory_chunks import Chunks
from spec_tests.oracle.memory_taps import Traced
from spec_tests.oracle.newton_schulz import newton_schulz
from spec_tests.oracle.sums import Order, Sums
from spec_tests.port import GRADIENTS, SPEC_VERSION, Array, Declaration, Numerics, Op, UnsupportedError
from spec_tests.ports.numpy_around import AROUND, Arrays, Config, Function
from spec_tests.ports.numpy_blocks import BLOCKS


def _newton_schulz(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"orthogonal": newton_schulz(x["matrix"], str(config["coefficients"]), int(config["steps"]), sums)}


def _polynomial_features(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"features": polynomial.polynomial_features(x["x"], x["coefficients"], str(config["basis"]), sums)}


def _l2_normalize(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"y": normalize.l2_normalize(x["x"], float(config["eps"]), sums)}


def _short_conv(_: Config, x: Arrays, sums: Sums) -> Arrays:
    y, tail = convolution.short_conv(x["x"], x["weight"], x["tail"], x["position"], sums)
    return {"tail": tail, "y": y}


def _qk_projection(_: Config, x: Arrays, sums: Sums) -> Arrays:
    return qk_projection.qk_projection(x["queries"], x["keys"], x["carry"], x["position"], sums)


def _qk_gate(_: Config, x: Arrays, __: Sums) -> Arrays:
    return {"gated": qk_projection.qk_gate(x["projected"], x["frobenius"], x["log_gain"], x["scale"])}


def _sliding_window_attention(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return attention.sliding_window_attention(x, int(config["window"]), sums)


def _m3_mix(config: Config, x: Arrays, _: Sums) -> Arrays:
    warmup = int(config["warmup_crossings"])
    mixing, mixed = m3.m3_mix(x["previous"], x["initial"], x["crossings"], warmup, x["alpha_logit"])
    return {"mixing": mixing, "mixed": mixed}


def _optimizer_step(config: Config, x: Arrays, _: Sums) -> Arrays:
    return {"gain": adamw.gains(x["log_gain"], x["gradient"], config)}


def _memory_scan(config: Config, x: Arrays, sums: Sums) -> Arrays:
    outputs, taps = Traced(config, sums).trace(x)
    return outputs | taps


def _memory_step(config: Config, x: Arrays, sums: Sums) -> Arrays:
    outputs, taps = Traced(config, sums).trace({**x, **{name: x[name][:, None] for name in TOKENS}})
    return outputs | {"reads": outputs["reads"][:, 0], "gradient": taps["gradient"][:, 0]}


def _memory_chunked(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return Chunks(config, sums).run(x)


FUNCTIONS: Final[Mapping[Op, Function]] = {
    Op.NEWTON_SCHULZ: _newton_schulz,
    Op.POLYNOMIAL_FEATURES: _polynomial_features,
    Op.L2_NORMALIZE: _l2_normalize,
    Op.SHORT_CONV: _short_conv,
    Op.QK_PROJECTION: _qk_projection,
    Op.QK_GATE: _qk_gate,
    Op.SLIDING_WINDOW_ATTENTION: _sliding_window_attention,
    Op.M3_MIX: _m3_mix,
    Op.MEMORY_STEP: _memory_step,
    Op.MEMORY_SCAN: _memory_scan,
    Op.MEMORY_CHUNKED: _memory_chunked,
    Op.MEMORY_GRAD: _memory_chunked,
    Op.OPTIMIZER_STEP: _optimizer_step,
}
LOOPS: Final = (Op.MEMORY_SCAN, Op.MEMORY_CHUNKED, Op.MEMORY_GRAD)
"""Sequences too long for one complex step an element: their gradients are the loop's, taken back turn by turn."""


class NumpyPort:
    """The oracles of `spec_tests.oracle` behind the port contract."""

    functions: Mapping[Op, Function] = {**FUNCTIONS, **AROUND, **BLOCKS}

    def __init__(self, order: Order = "forward") -> None:
        self._sums = Sums(order)

    def declare(self) -> Declaration:
        """Declare every operation implemented here, at every precision, with gradients."""
        return Declaration(
            name=f"numpy_loops ({self._sums.order})",
            version=np.__version__,
            language="python (numpy)",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.functions),
            capabilities=frozenset({GRADIENTS}),
            numerics=tuple(Numerics),
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
        function = partial(self.functions[row.op], config)
        given = {tensor.name: inputs[tensor.name] for tensor in row.inputs}
        computed = function(given, self._sums)
        wanted = [tensor.name for tensor in row.outputs] + [tensor.name for tensor in row.taps if tensor.name in taps]
        outputs = {name: _in_form(row, name, computed[name], numerics) for name in wanted}
        asked = {name.removeprefix("cotangent."): inputs[name] for name in inputs if name.startswith("cotangent.")}
        if asked:
            wide = {name: value.astype(float) if value.dtype.kind == "f" else value for name, value in given.items()}
            slopes = (
                Adjoint(config).gradients(wide, asked)
                if row.op in LOOPS
                else complex_step.gradients(lambda x: function(x, self._sums), wide, asked)
            )
            outputs |= {f"grad.{name}": slope.astype(numerics.dtype) for name, slope in slopes.items()}
        return outputs


Reversed: Final = partial(NumpyPort, "reversed")
Pairwise: Final = partial(NumpyPort, "pairwise")
Shuffled: Final = partial(NumpyPort, "shuffled")
"""The same port with other orders of summation, by names that `--port` can take."""


def _in_form(row: Operation, name: str, value: Array, numerics: Numerics) -> Array:
    """Give an output the type it travels in; activations of `bf16_io` are rounded once, at the end."""
    role = row.role(name)
    cast = np.asarray(value, dtype=np.int64 if role == "index" else numerics.dtype)
    return round_to_bf16(cast) if role == "activation" and numerics is Numerics.BF16_IO else cast
