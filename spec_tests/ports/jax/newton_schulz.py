"""Newton-Schulz in jax, written from docs/spec."""

from collections.abc import Mapping
from typing import Any, Final

import jax
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import NORM_EPS, Implementation, Tensors, coefficients, orthogonalise, start_of


def _newton_schulz(start: Any, table: Array, x: Tensors) -> Tensors:
    return {"orthogonal": jax.vmap(lambda matrix: orthogonalise(matrix, table, NORM_EPS, start))(x["matrix"])}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.NEWTON_SCHULZ: Implementation(
        _newton_schulz, lambda config, *_: (start_of(config), coefficients(config["coefficients"], config["steps"]))
    )
}
