"""Newton-Schulz, by titans-pytorch."""

from collections.abc import Mapping
from typing import Final

from spec_tests.port import Op, UnsupportedError
from spec_tests.ports.titans_pytorch.package import newtonschulz5
from spec_tests.ports.titans_pytorch.tensors import COEFFICIENTS, Config, Function, Tensors


def _newton_schulz(config: Config, x: Tensors) -> Tensors:
    if config["coefficients"] not in COEFFICIENTS:
        raise UnsupportedError("one triple of coefficients for all steps", capability=str(config["coefficients"]))
    # With three axes or fewer it returns its input.
    matrix = x["matrix"].unsqueeze(0)
    return {"orthogonal": newtonschulz5(matrix, config["steps"], coefs=COEFFICIENTS[config["coefficients"]])[0]}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.NEWTON_SCHULZ: _newton_schulz}
