"""Newton-Schulz in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from typing import Final

import jax
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import NORM_EPS, Implementation, Tensors, coefficients, orthogonalise


def _newton_schulz(_: Hashable, table: Array, x: Tensors) -> Tensors:
    return {"orthogonal": jax.vmap(lambda matrix: orthogonalise(matrix, table, NORM_EPS))(x["matrix"])}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.NEWTON_SCHULZ: Implementation(
        _newton_schulz, lambda config, *_: (None, coefficients(config["coefficients"], config["steps"]))
    )
}
