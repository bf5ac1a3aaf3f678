"""Polynomial features, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.polynomial import polynomial_features
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _polynomial_features(config: Config, x: Tensors) -> Tensors:
    return {"features": polynomial_features(x["x"], x["coefficients"], config["basis"])}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.POLYNOMIAL_FEATURES: _polynomial_features}
