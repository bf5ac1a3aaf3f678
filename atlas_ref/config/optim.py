"""The outer optimiser and its schedule."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section


class MuGrokfastConfig(Section):
    """What Grokfast adds to AdamW, and MuGrokfast to Muon and AdamW (`training.mugrokfast` has the order)."""

    alpha: float = Field(ge=0.0, lt=1.0)
    """decay of the slow part of the gradients"""
    strength: float = Field(ge=0.0, le=100.0)
    """how much of the slow part is added; 0.0 adds nothing"""
    perp_grad: bool
    """whether gradients are made orthogonal to their weights first, at their length"""
    qk_clip: float = Field(ge=0.0, le=1e6)
    """largest attention logit, to which queries and keys are shrunk; 0.0 is off"""


class OptimConfig(Section):
    """The outer optimiser and its schedule (`training.schedule` has the equations)."""

    name: Literal["adamw", "grokfast", "muon", "mugrokfast"]
    """muon: hidden matrices by Muon, everything else by AdamW; grokfast, mugrokfast: these two on filtered gradients"""
    learning_rate: float = Field(gt=0.0, le=10.0)
    """peak learning rate of AdamW"""
    min_learning_rate: float = Field(ge=0.0, le=10.0)
    """AdamW's learning rate that cosine and wsd come down to"""
    muon_learning_rate: float = Field(gt=0.0, le=10.0)
    """peak learning rate of Muon; its schedule has the same shape"""
    muon_momentum: float = Field(ge=0.0, lt=1.0)
    """momentum of Muon"""
    beta1: float = Field(ge=0.0, lt=1.0)
    """AdamW's decay of the mean gradient"""
    beta2: float = Field(ge=0.0, lt=1.0)
    """AdamW's decay of the mean squared gradient"""
    eps: float = Field(gt=0.0, le=1e-2)
    """added to AdamW's denominator"""
    weight_decay: float = Field(ge=0.0, le=10.0)
    """decoupled decay of matrices"""
    warmup_steps: int = Field(ge=0, le=10**9)
    """steps of linear warm-up"""
    schedule: Literal["cosine", "constant", "wsd"]
    """after the warm-up; constant, and wsd until it comes down, do not depend on max_steps"""
    decay_steps: int = Field(ge=1, le=10**9)
    """last steps of the run, in which wsd comes down"""
    max_norm: float = Field(gt=0.0, le=1e6)
    """gradients are clipped to this norm"""
    average: float = Field(ge=0.0, lt=1.0)
    """decay of the average of the weights, which validation takes; 0.0 is off"""
    memory_rate: float = Field(gt=0.0, le=100.0)
    """learning rates of the parameters of test-time memories, as a multiple of those of the others"""
    polarisation_start: float = Field(ge=0.0, le=1e3)
    """weight of the loss mean(1 - |2 g - 1|) of the gates at the first step; 0.0 is off"""
    polarisation_end: float = Field(ge=0.0, le=1e3)
    """its weight at the last step, reached in equal ratios"""
    mugrokfast: MuGrokfastConfig

    @property
    def filters(self) -> bool:
        """Whether gradients pass through what `mugrokfast` says before they act."""
        return self.name in ("grokfast", "mugrokfast")

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a learning rate that would rise, and for equal ratios from or to zero."""
        start, end = self.polarisation_start, self.polarisation_end
        if (start > 0.0) != (end > 0.0):
            zero, other = ("end", "start") if start > 0.0 else ("start", "end")
            yield (
                f"optim.polarisation_{zero} is 0.0; it must be greater than 0 with optim.polarisation_{other} = "
                f"{max(start, end)}, as the weight goes from one to the other in equal ratios; both 0.0 is off"
            )
        if self.mugrokfast.perp_grad and not self.filters:
            yield (
                f'optim.mugrokfast.perp_grad is true; it must be false for optim.name = "{self.name}", which takes '
                'gradients as they are; "grokfast" and "mugrokfast" do not'
            )
        if self.min_learning_rate > self.learning_rate:
            yield (
                f"optim.min_learning_rate is {self.min_learning_rate}; "
                f"it must be at most optim.learning_rate, which is {self.learning_rate}"
            )
