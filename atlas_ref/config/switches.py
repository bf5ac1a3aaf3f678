"""The kill switches of a run: what may not last, and for how many steps (`watching.kill_switches` says what they do).

Deliberately different from the source systems: a patience counts training steps, not checks, and each layer counts for
itself. A switch is off when its bound is the end of its range, which nothing can cross.
"""

from collections.abc import Iterator

from pydantic import Field

from atlas_ref.config.section import Section


class KillSwitchesConfig(Section):
    """When training stops by itself."""

    activation_linear_max: float = Field(ge=0.0, le=1.0)
    """a layer whose share of tanh gates in their linear region is above this is inactive; 1.0 is off"""
    activation_patience: int = Field(ge=1, le=10**9)
    """steps that a layer may be inactive"""
    saturation_share_max: float = Field(ge=0.0, le=1.0)
    """a layer whose share of saturated tanh gates is above this is in a coma; 1.0 is off"""
    saturation_patience: int = Field(ge=1, le=10**9)
    """steps that a layer may be in a coma"""
    alpha_min: float = Field(ge=0.0, le=1.0)
    """least M3 mixing rate of a layer that has one; 0.0 is off"""
    alpha_max: float = Field(ge=0.0, le=1.0)
    """largest M3 mixing rate of a layer that has one; 1.0 is off"""
    alpha_patience: int = Field(ge=1, le=10**9)
    """steps that a mixing rate may be outside"""
    gate_share_min: float = Field(ge=0.0, le=1.0)
    """least share of the memory in the output of a block, before the floor of the gate; 0.0 is off"""
    gate_patience: int = Field(ge=1, le=10**9)
    """steps that a share may be below"""
    newton_schulz_error_max: float = Field(gt=0.0, le=1e30)
    """largest distance of the written momentum from orthogonality; the zero matrix has 1"""
    newton_schulz_patience: int = Field(ge=1, le=10**9)
    """steps that the distance may be larger"""
    loss_spike_window: int = Field(ge=1, le=10_000)
    """losses in the running reference; the switch waits until it is full"""
    loss_spike_deviations: float = Field(gt=0.0, le=1e6)
    """robust standard deviations above the median of the reference that make a spike"""
    loss_spike_margin: float = Field(ge=0.0, le=1e6)
    """nats above the median that a spike has at least, for losses that hardly vary"""
    loss_spike_patience: int = Field(ge=1, le=10**9)
    """steps that a spike may last"""
    divergence_margin: float = Field(gt=0.0, le=1e30)
    """nats above a uniform guess, ln(vocab_size), and above the first loss, from which a loss is divergence"""
    divergence_patience: int = Field(ge=1, le=10**9)
    """steps that a loss may be there; the last step of a run may not"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for an empty range of mixing rates."""
        if self.alpha_min >= self.alpha_max:
            yield (
                f"kill_switches.alpha_min is {self.alpha_min}; "
                f"it must be less than kill_switches.alpha_max, which is {self.alpha_max}"
            )
