"""The metrics of circularity, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.metrics.grokking import circular_fit, fourier_concentration
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _fourier_concentration(config: Config, x: Tensors) -> Tensors:
    return {"concentration": fourier_concentration(x["embedding"], config["top"])}


def _circular_fit(_: Config, x: Tensors) -> Tensors:
    return circular_fit(x["embedding"], x["permutations"])._asdict()


FUNCTIONS: Final[Mapping[Op, Function]] = {
    Op.FOURIER_CONCENTRATION: _fourier_concentration,
    Op.CIRCULAR_FIT: _circular_fit,
}
