"""What a model that answers several times returns beside its logits, and what is to be learned from it."""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from atlas_ref.config.cognate import HaltingConfig


class Answers(NamedTuple):
    """Every answer of a call, the last one behind the logits of the output.

    hidden: y_0 .. y_N.  head: the matrix that makes logits of an answer.
    weights: of the last answers in the supervised loss, as many as are learned from.
    halting: the logit of each token after each iteration, None where nothing halts; settings: when it does.
    gain: what is made larger besides, with its weight, such as the entropy of a gate; None where there is nothing.
    """

    hidden: tuple[Float[Tensor, "batch time model"], ...]
    head: Float[Tensor, "vocab model"]
    weights: tuple[float, ...]
    halting: Float[Tensor, "steps batch time"] | None
    settings: HaltingConfig
    gain: Float[Tensor, ""] | None


@runtime_checkable
class Recursive(Protocol):
    """An output (`family.Output`) of a model that answers several times."""

    @property
    def recursion(self) -> Answers:
        """All its answers."""
