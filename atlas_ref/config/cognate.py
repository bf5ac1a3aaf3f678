"""The model section of a run of the family `cognate`: a backbone with a memory beside it, and a recursion on top.

It stands in the place of the section of an ATLAS model where its first field says `family = "cognate"`.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section

SOURCE_WEIGHTS = (0.33, 0.5, 0.75, 1.0)
"""Of the answers y0 to y3 in the supervised loss of the source system."""


class LtmConfig(Section):
    """The memory beside the backbone, and the gate that joins the two."""

    kind: Literal["none", "mean", "slots", "both"]
    """none: no memory and no gate; mean: a running mean of W_down x; slots: what of W_down x is new; both: their sum"""
    width: int = Field(ge=1, le=65_536)
    """numbers of the mean, and of a slot"""
    decay: float = Field(ge=0.0, lt=1.0)
    """share of the mean that a token keeps"""
    slots: int = Field(ge=1, le=65_536)
    """slots of a row, the one read longest ago replaced where all are in use"""
    surprise: float = Field(ge=0.0, lt=1.0)
    """novelty, 1 less the largest cosine with a slot, above which a token is kept"""
    gate_hidden: int = Field(ge=1, le=65_536)
    """hidden width of the gate of backbone against memory"""
    entropy: float = Field(ge=0.0, le=100.0)
    """weight of the gate's entropy, which is made larger; 0.0 is off"""

    @property
    def has_mean(self) -> bool:
        """Whether a running mean is part of it."""
        return self.kind in ("mean", "both")

    @property
    def has_slots(self) -> bool:
        """Whether slots are part of it."""
        return self.kind in ("slots", "both")


class RecursionConfig(Section):
    """How an answer y and a latent z are refined, iteration after iteration (TRM 2510.04871)."""

    nets: Literal["separate", "shared"]
    """separate: a refiner of z that looks at features and answer, an updater of y; shared: one network for both"""
    iterations: int = Field(ge=1, le=1024)
    """answers after the first, each from the one before; the supervised loss may see all of them"""
    recursions: int = Field(ge=1, le=64)
    """times that z is refined and y then updated within an iteration"""
    micro_steps: int = Field(ge=1, le=64)
    """refinements of z before y is updated once"""
    no_grad_recursions: int = Field(ge=0, le=63)
    """first recursions of an iteration that nothing is learned through"""
    heads: int = Field(ge=1, le=1024)
    """heads of its attention"""
    hidden: int = Field(ge=1, le=1_000_000)
    """hidden width of its networks"""
    detach: bool
    """whether an iteration takes answer and latent from the one before without their history"""
    features_grad: Literal["all", "first"]
    """the iterations through which the backbone learns"""
    supervision: Literal["last", "equal", "source"]
    """answers that are learned from: the last; y1 and all later ones alike; y0 to y3 with weights that rise to 1"""

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the last answers in the supervised loss, as many as are learned from."""
        return {"last": (1.0,), "equal": (1.0,) * self.iterations, "source": SOURCE_WEIGHTS}[self.supervision]


class HaltingConfig(Section):
    """When to stop: after which iteration an answer is thought to be right (decision `halting`)."""

    kind: Literal["none", "token", "row"]
    """who halts: nobody, each token, or each row as a whole"""
    mode: Literal["last", "first"]
    """answer that is served: that of the last iteration, or of the first that is thought right"""
    threshold: float = Field(gt=0.0, le=1.0)
    """probability of being right from which an iteration is the last; higher never means fewer"""
    loss_weight: float = Field(ge=0.0, le=100.0)
    """weight of the cross-entropy of halting against what was right"""
    exploration: float = Field(ge=0.0, le=1.0)
    """share of the rows or tokens that train on, to an iteration drawn from all but the first"""


class CognateConfig(Section):
    """A language model of the family `cognate`."""

    family: Literal["cognate"]
    """what tells this section from that of an ATLAS model"""
    vocab_size: int = Field(ge=2, le=1_000_000)
    """tokens of the model; a tokenizer of text may have fewer, a generated task has exactly these"""
    d_model: int = Field(ge=1, le=65_536)
    """width of the residual stream, of answers and of latents"""
    n_layers: int = Field(ge=0, le=1024)
    """layers of the backbone; 0: its features are the embeddings"""
    n_heads: int = Field(ge=1, le=1024)
    """heads of its attention"""
    feed_forward_dim: int = Field(ge=1, le=1_000_000)
    """hidden width of its swiglu"""
    window: int = Field(ge=1, le=1_000_000)
    """tokens that a query sees, itself included, in the backbone and in the recursion"""
    positions: int = Field(ge=1, le=10_000_000)
    """learned positions, which no document may be longer than"""
    norm_eps: float = Field(gt=0.0, le=1e-2)
    """added to the mean square in RMS norms, and to the variance in layer norms"""
    init_std: float = Field(gt=0.0, le=1.0)
    """spread of the initial weights"""
    ltm: LtmConfig
    recursion: RecursionConfig
    halting: HaltingConfig

    @property
    def grid(self) -> int:
        """Tokens of which documents are best made whole multiples: any, as there are no chunks."""
        return 1

    @property
    def evaluations(self) -> int:
        """Evaluations of the shared network in one call."""
        return self.recursion.iterations * self.recursion.recursions * (self.recursion.micro_steps + 1)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a first answer of nobody, heads that do not divide the width, and a recursion that would
        learn nothing."""
        recursion = self.recursion
        if self.halting.mode == "first" and self.halting.kind == "none":
            yield (
                'model.halting.mode is "first"; it must be "last" for model.halting.kind = "none", where no answer is '
                "thought right"
            )
        for name, heads in (("n_heads", self.n_heads), ("recursion.heads", recursion.heads)):
            if self.d_model % heads:
                yield f"model.d_model is {self.d_model}; it must be a multiple of model.{name}, which is {heads}"
        if recursion.no_grad_recursions >= recursion.recursions:
            yield (
                f"model.recursion.no_grad_recursions is {recursion.no_grad_recursions}; it must be less than "
                f"model.recursion.recursions, which is {recursion.recursions}, as the last one is learned through"
            )
        if recursion.supervision == "source" and recursion.iterations + 1 != len(SOURCE_WEIGHTS):
            yield (
                f"model.recursion.iterations is {recursion.iterations}; it must be {len(SOURCE_WEIGHTS) - 1} for "
                'model.recursion.supervision = "source", which has a weight for each of y0 to y3'
            )
        if recursion.supervision == "source" and recursion.nets == "shared":
            yield (
                'model.recursion.supervision is "source"; it must be "last" or "equal" for model.recursion.nets = '
                '"shared", whose first answer is nothing'
            )
