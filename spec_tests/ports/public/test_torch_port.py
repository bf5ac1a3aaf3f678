"""What every adapter in torch does with a question: derivatives where its package can be differentiated."""

from collections.abc import Mapping

import numpy as np
import pytest

from spec_tests.port import Numerics, Op, UnsupportedError
from spec_tests.ports.public.torch_port import Config, Function, Tensors, TorchPort


class Squares(TorchPort):
    """An operation whose derivative is known by heart."""

    distribution = "torch"
    gradients = True

    @property
    def functions(self) -> Mapping[Op, Function]:
        """Return squares in place of unit vectors."""
        return {Op.L2_NORMALIZE: _squares}


class Closed(Squares):
    """The same without derivatives."""

    gradients = False


def _squares(config: Config, x: Tensors) -> Tensors:
    del config
    return {"y": x["x"].square()}


def test_cotangents_are_answered_by_autograd_and_refused_where_gradients_are_not_declared() -> None:
    """Kills: a cotangent that is summed unweighted; a derivative of a port that declares none."""
    asked = {"x": np.array([[1.0, -3.0]]), "cotangent.y": np.array([[2.0, 5.0]])}
    found = Squares().run(Op.L2_NORMALIZE, {}, asked, numerics=Numerics.F64, taps=frozenset())
    assert found["grad.x"].tolist() == [[4.0, -30.0]]
    assert found["y"].tolist() == [[1.0, 9.0]]
    assert "gradients" in Squares().declare().capabilities
    with pytest.raises(UnsupportedError, match="has no l2_normalize here"):
        Closed().run(Op.L2_NORMALIZE, {}, asked, numerics=Numerics.F64, taps=frozenset())
