"""The gates of the memory: retention, momentum decay, step size, window weights and threshold of each token and head.

What is learned of a token is a sigmoid of one linear map of it, the threshold a softplus; what the configuration fixes
is a constant and has no parameters. A retention gate for each row or column of a matrix goes through GATE_RANK numbers
first (as in MIRAS 2504.13173; decision `gates`): for every head, value and feature its own would be another
projection as large as that of the values.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.kernels.choice import kernel_gates
from atlas_ref.config.gates import GATE_RANK, GatesConfig
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.rules import Gates

USUAL = ("retention", "momentum", "step", "window")
"""What the projection makes of a token where all gates are learned, and nothing else is."""
ALIGNED = 8
"""Columns that a GPU multiplies at once."""
SLOWEST_FAST_RATE = 0.01
UP_SHARE = 0.1
"""Spread of the second low-rank matrix, of that of the first: tokens differ a little from the start, none forgets."""


def logit(share: float) -> float:
    """Return the number whose sigmoid is `share`."""
    return math.log(share / (1.0 - share))


def inverse_softplus(size: float) -> float:
    """Return the number whose softplus is `size`: log(exp(size) - 1), for large sizes too."""
    return size + math.log(-math.expm1(-size))


def starts(n_heads: int, config: GatesConfig) -> tuple[list[float], list[float]]:
    """Return the retention and the step size of every head at the start.

    The last n = `fast_heads` heads forget faster, head i of them (1-based) at the rate
    1 - alpha_i = 0.01 (r / 0.01)^(i / n), r = 1 - `fast_retention_init`: time scales in equal ratios, as in RetNet
    (2307.08621), from the hundred tokens that the others exceed (decision `gates`), and at half the largest step. One
    memory cannot both keep what it was trained to hold and follow the last few words.
    """
    fast, rate = config.fast_heads, 1.0 - config.fast_retention_init
    rates = [SLOWEST_FAST_RATE * (rate / SLOWEST_FAST_RATE) ** (i / fast) for i in range(1, fast + 1)]
    retention = [config.retention_init] * (n_heads - fast) + [1.0 - r for r in rates]
    return retention, [config.step_init] * (n_heads - fast) + [0.5 * config.step_max] * fast


class GateHeads(nn.Module):
    """Makes the gates of every token and head from its hidden state (module docstring)."""

    def __init__(
        self, d_model: int, n_heads: int, features: int, config: MemoryConfig, kernels: Kernels = "reference"
    ) -> None:
        super().__init__()
        self.kernels = kernels
        self.n_heads, self.window, self.config = n_heads, config.omega_window, config.gates
        self.parts = config.generated_gates()
        retention, step = starts(n_heads, config.gates)
        if self.parts:
            self.projection = nn.Linear(d_model, n_heads * sum(self.parts.values()))
            self._start(retention, step, config)
        if config.gate_axis != "head" and config.gates.retention_kind == "learned":
            width = config.value_dim if config.gate_axis == "rows" else features
            self.retention_down = nn.Linear(d_model, GATE_RANK, bias=False)
            self.retention_up = nn.Linear(GATE_RANK, n_heads * width)
            with torch.no_grad():
                starting = torch.tensor([logit(start) for start in retention])
                self.retention_up.bias.copy_(starting.repeat_interleave(width))
        if config.gates.retention_kind == "mamba2":
            rates = [-math.log(kept) / size for kept, size in zip(retention, step, strict=True)]
            self.log_rate = nn.Parameter(torch.tensor(rates).log())

    @torch.no_grad()
    def _start(self, retention: list[float], step: list[float], config: MemoryConfig) -> None:
        """Set the biases: what is generated starts where the configuration says."""
        gates, heads = config.gates, self.n_heads
        raw = {
            "retention": [logit(start) for start in retention],
            "momentum": [logit(gates.momentum_init / gates.momentum_max)] * heads,
            "step": [logit(start / gates.step_max) for start in step],
            "window": [logit(gates.window_init)] * (self.window * heads),
            "threshold": [inverse_softplus(config.bias.threshold_init)] * heads,
        }
        self.projection.bias.copy_(torch.tensor([start for name in self.parts for start in raw[name]]))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float) -> None:
        """Start with gates that no token moves, or where they have a rank, little."""
        if self.parts:
            self.projection.weight.zero_()
        if hasattr(self, "retention_down"):
            self.retention_down.weight.normal_(std=std, generator=generator)
            self.retention_up.weight.normal_(std=UP_SHARE * std, generator=generator)

    def forward(self, hidden: Float[Tensor, "batch time model"]) -> Gates:
        """Return the gates of each token and head in float32 or wider."""
        by_kernels = kernel_gates(self.kernels, hidden) if tuple(self.parts) == USUAL else None
        if by_kernels is not None:
            sizes = self.n_heads, self.window, self.config.momentum_max, self.config.step_max
            return Gates(*by_kernels(self._padded(hidden), *sizes))
        made = self._made(hidden)
        step = self._share(hidden, made, "step", self.config.step_max, 1.0)
        return Gates(
            retention=self._retention(hidden, made, step),
            momentum=self._share(hidden, made, "momentum", self.config.momentum_max, 0.0),
            step=step,
            window=self._window(hidden, made),
            threshold=made.get("threshold"),
        )

    def _padded(self, hidden: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch time padded"]:
        """Return what is projected, and zeros behind it: products of widths that are no multiple of ALIGNED crawl."""
        weight, bias = self.projection.weight, self.projection.bias
        more = -len(bias) % ALIGNED
        return F.linear(hidden, F.pad(weight, (0, 0, 0, more)), F.pad(bias, (0, more)))

    def _share(self, hidden: Tensor, made: dict[str, Tensor], gate: str, most: float, fixed: float) -> Tensor:
        """Return a gate, which is a share of `most`, or `fixed` where it is not generated."""
        if gate not in made:
            return self._all(hidden, fixed)
        return made[gate] if most == 1.0 else made[gate] * most

    def _window(self, hidden: Tensor, made: dict[str, Tensor]) -> Tensor:
        """Return the weights of each token and head by age."""
        if "window" not in made:
            return self._all(hidden, 1.0, self.window)
        return torch.unflatten(made["window"], -1, (self.window, self.n_heads)).mT

    def _all(self, hidden: Tensor, value: float, *axis: int) -> Tensor:
        """Return a constant for every token and head."""
        return at_least_float32(hidden.new_full((*hidden.shape[:-1], self.n_heads, *axis), value))

    def _made(self, hidden: Tensor) -> dict[str, Tensor]:
        """Return each gate that the projection generates, [batch, time, rows * heads]: shares, and the threshold."""
        if not self.parts:
            return {}
        raw = at_least_float32(self.projection(hidden))
        widths = [rows * self.n_heads for rows in self.parts.values()]
        made = dict(zip(self.parts, torch.sigmoid(raw).split_with_sizes(widths, -1), strict=True))
        if "threshold" in made:
            made["threshold"] = F.softplus(raw[..., -self.n_heads :])
        return made

    def _retention(self, hidden: Tensor, made: dict[str, Tensor], step: Tensor) -> Tensor:
        """Return the retention of each head, or of each of its rows or columns."""
        kind = self.config.retention_kind
        if kind == "mamba2":
            return torch.exp(-at_least_float32(self.log_rate).exp() * step)
        if kind == "retnet":
            head = torch.arange(self.n_heads, dtype=step.dtype, device=step.device)
            return (1.0 - torch.exp2(-5.0 - head)).expand_as(step)
        if "retention" in made:
            return made["retention"]
        if kind == "one":
            return torch.ones_like(step)
        raw: Tensor = self.retention_up(self.retention_down(hidden))
        return torch.sigmoid(torch.unflatten(at_least_float32(raw), -1, (self.n_heads, -1)))
