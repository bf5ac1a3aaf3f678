"""The specification in jax: every operation compiled by XLA, written from docs/spec and from nothing else.

One `vmap` over rows and one over heads of a function of one of them; `lax.scan` over tokens or chunks. Arrays are
padded to few shapes, so that few programs are compiled. The 64-bit mode and the precision of matrix products are set
around each call and nowhere else. Importing this package without jax raises ImportError.
"""

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation
from spec_tests.port import (
    GRADIENTS,
    PROFILES,
    SPEC_VERSION,
    Array,
    Declaration,
    Numerics,
    Op,
    Scalar,
    UnsupportedError,
)
from spec_tests.ports.assembled import assembled
from spec_tests.ports.jax.arrays import Function, Implementation, Tensors
from spec_tests.ports.jax.padding import axes_of, cut, lengths_of, pad


def known_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return those compile options that this XLA has: from version to version it loses some, and refuses them."""
    return {name: value for name, value in options.items() if _is_known(name, value)}


def _is_known(name: str, value: str) -> bool:
    try:
        jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


# A program runs a few times on small arrays: three quarters of the time to compile it go into making it fast.
FAST_TO_COMPILE: Final = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": "False"}
_jit: Final = partial(jax.jit, static_argnums=(0, 1), compiler_options=known_options(FAST_TO_COMPILE))


@_jit
def _forward(function: Function, plan: Hashable, options: Any, x: Tensors) -> Tensors:
    return function(plan, options, x)


@_jit
def _with_gradients(function: Function, plan: Hashable, options: Any, x: Tensors, cotangents: Tensors) -> Tensors:
    floats = {name: value for name, value in x.items() if jnp.issubdtype(value.dtype, jnp.floating)}

    def asked(leaves: Tensors) -> tuple[Tensors, Tensors]:
        outputs = function(plan, options, {**x, **leaves})
        return {name: outputs[name] for name in cotangents}, outputs

    _, pullback, outputs = jax.vjp(asked, floats, has_aux=True)
    (gradients,) = pullback(cotangents)
    return {**outputs, **{f"grad.{name}": value for name, value in gradients.items()}}


COTANGENT: Final = "cotangent."
PROGRAMS: Final = 300
"""Programs that are kept: each takes some hundred mappings of memory, of which Linux gives a process 65,530."""

_kept: Final[set[Hashable]] = set()
_forget: Final[Callable[[], None]] = jax.clear_caches


def _make_room(program: Hashable) -> None:
    """Forget every program before there are more than `PROGRAMS`: the compiler dies where it gets no memory."""
    if program not in _kept and len(_kept) == PROGRAMS:
        _forget()
        _kept.clear()
    _kept.add(program)


class JaxPort:
    """The jax implementation behind the port contract."""

    implementations: Mapping[Op, Implementation] = assembled(__package__, "IMPLEMENTATIONS")

    def declare(self) -> Declaration:
        """Declare every operation implemented here, at every precision, with gradients."""
        return Declaration(
            name="jax",
            version=jax.__version__,
            language="python (jax)",
            spec_version=SPEC_VERSION,
            operations=frozenset(self.implementations),
            capabilities=frozenset({GRADIENTS}),
            numerics=PROFILES,
            matmul_precision="full",
        )

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run one operation; with cotangents among the inputs, return the derivatives too."""
        if op not in self.implementations:
            raise UnsupportedError(f"the jax port has no operation '{op}'", capability=op)
        row, implementation = OPERATIONS[Op(op)], self.implementations[Op(op)]
        padded = {name: _given(row, name, value, numerics) for name, value in inputs.items()}
        asked = {name: padded.pop(name) for name in inputs if name.startswith(COTANGENT)}
        cotangents = {name.removeprefix(COTANGENT): value for name, value in asked.items()}
        lengths = lengths_of(row, inputs)
        plan, options = implementation.plan(config, padded, lengths)
        shapes = tuple((np.shape(leaf), np.asarray(leaf).dtype.char) for leaf in jax.tree.leaves((options, padded)))
        _make_room((implementation.function, plan, shapes, tuple(cotangents)))
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            if cotangents:
                outputs = _with_gradients(implementation.function, plan, options, padded, cotangents)
            else:
                outputs = _forward(implementation.function, plan, options, padded)
        unasked = {tensor.name for tensor in row.taps} - taps
        return {
            name: _returned(row, name, np.array(value), lengths, numerics)
            for name, value in outputs.items()
            if name not in unasked
        }


def _is_narrow(row: Operation, name: str, numerics: Numerics) -> bool:
    """Return whether an array is bfloat16: it is rounded where it enters and leaves, and computed with in float32."""
    named = {tensor.name: tensor.role for tensor in (*row.inputs, *row.taps, *row.outputs)}
    return numerics is Numerics.BF16_IO and named.get(name) == "activation"


def _rounded(value: Array) -> Array:
    return value.astype(jnp.bfloat16).astype(np.float32)


def _given(row: Operation, name: str, value: Array, numerics: Numerics) -> Array:
    padded = pad(axes_of(row, name.removeprefix(COTANGENT)), value)
    return _rounded(padded) if _is_narrow(row, name, numerics) else padded


def _returned(row: Operation, name: str, value: Array, lengths: Mapping[str, int], numerics: Numerics) -> Array:
    there = cut(axes_of(row, name.removeprefix("grad.")), value, lengths)
    return _rounded(there) if _is_narrow(row, name, numerics) else there
