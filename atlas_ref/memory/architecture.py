"""What a memory is: its prediction P_W(x) from fast weights W, one to three matrices.

    matrix       W x                                     Titans 2501.00663, one layer
    mlp          I x + W1 gelu(W2 x)                     ATLAS 2505.23735, section 4.6
    mlp_glu      I x + W1 (gelu(W2 x) o W3 x)            ATLAS++, section 4.6
    linear_norm  I x + LN(W x)                           TTT-Linear 2407.04620
    mlp_norm     I x + LN(W1 gelu(W2 x))                 TTT-MLP 2407.04620; MIRAS 2504.13173

x = f(k) in R^D, values in R^{d_v}. I is the d_v x D matrix with ones on its diagonal: the identity where D = d_v, and
the residual on the degree-1 part of the features otherwise (the paper's formula needs D = d_v). LN subtracts the mean
and divides by (variance + 1e-6)^{1/2}; it has no gain and no bias, which would be outer parameters.
"""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.memory.rules import ArchitectureName

Weights = tuple[Tensor, ...]

NORMED: frozenset[ArchitectureName] = frozenset({"linear_norm", "mlp_norm"})
LN_EPS = 1e-6


def predict(
    architecture: ArchitectureName,
    layers: Sequence[Callable[[Tensor], Tensor]],
    x: Float[Tensor, "*batch tokens features"],
) -> Float[Tensor, "*batch tokens values"]:
    """Return P(x), where `layers[i]` multiplies by the i-th weight matrix (module docstring).

    The matrices come as functions because inside a chunk every token sees weights of its own.
    """
    outer, *inner = layers
    hidden = x
    if inner:
        hidden = F.gelu(inner[0](x))
        for gate in inner[1:]:
            hidden = hidden * gate(x)
    y = outer(hidden)
    return y if architecture == "matrix" else residual(x, y.shape[-1]) + normed(architecture, y)


def predict_with(
    architecture: ArchitectureName, weights: Weights, x: Float[Tensor, "*batch tokens features"]
) -> Float[Tensor, "*batch tokens values"]:
    """Return P_W(x) for one set of weights, each [*batch, out, in]."""
    layers = [lambda z, matrix=matrix: z @ matrix.mT for matrix in weights]
    return predict(architecture, layers, x)


def residual(x: Float[Tensor, "*batch features"], width: int) -> Float[Tensor, "*batch values"]:
    """Return I x for the width x D matrix I with ones on its diagonal."""
    return F.pad(x[..., :width], (0, max(0, width - x.shape[-1])))


def normed(architecture: ArchitectureName, y: Float[Tensor, "*batch values"]) -> Float[Tensor, "*batch values"]:
    """Return LN(y) in the architectures that have it, y in the others."""
    return F.layer_norm(y, y.shape[-1:], eps=LN_EPS) if architecture in NORMED else y
