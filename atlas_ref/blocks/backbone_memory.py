"""What the backbone of the family `cognate` remembers, and the gate that joins it.

    features = norm(x)                                               without a memory
    features = g * norm(x) + (1 - g) * m,   m = W_up r               with one
    g = sigmoid(W_2 relu(W_1 [norm(x); m] + b_1) + b_2)

r is read from what W_down norm(x) left: of `mean` the running mean, of `slots` the read of K slots that keep what is
new to them, of `both` the sum of the two. Slots have no parameters of their own, so every kind has the same tensors.

Deliberately different from the source system: the running mean is a scan with a gradient through every step, a token is
kept where it is new (there the threshold of surprise is a number that nothing reads), and state belongs to a row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from atlas_ref.blocks.kernels.choice import kernel_slots
from atlas_ref.blocks.windowed_attention import Places
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.functional.ltm import ltm_chunked
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.slot_memory import UNUSED, slot_memory
from atlas_ref.memory.state import StateTree


@dataclass(frozen=True)
class SlotState(StateTree):
    """What stands in the slots of each row, and the position of the token that last read each; -1 of none."""

    held: Float[Tensor, "batch slots width"]
    read_at: Int[Tensor, "batch slots"]


@dataclass(frozen=True)
class BackboneState(StateTree):
    """The running mean and the slots, where the memory has them."""

    mean: tuple[Float[Tensor, "batch width"], ...] = ()
    slots: tuple[SlotState, ...] = ()


class Remembered(NamedTuple):
    """Features, the state of the memory, its reads, the gate that joined them, what that is the sigmoid of, and of
    slots the novelty of each token."""

    features: Float[Tensor, "batch time model"]
    state: BackboneState
    reads: Float[Tensor, "batch time model"]
    gate: Float[Tensor, "batch time model"]
    logits: Float[Tensor, "batch time model"]
    novelty: Float[Tensor, "batch time"] | None


class BackboneMemory(nn.Module):
    """The memory of the source system and the gate that joins it to the backbone (module docstring)."""

    def __init__(self, config: CognateConfig) -> None:
        super().__init__()
        size, self.config = config.d_model, config.ltm
        self.down = nn.Linear(size, self.config.width, bias=False)
        self.up = nn.Linear(self.config.width, size, bias=False)
        self.gate_hidden = nn.Linear(2 * size, self.config.gate_hidden)
        self.gate = nn.Linear(self.config.gate_hidden, size)

    def initial_state(self, batch: int) -> BackboneState:
        """Return the mean of nothing, and slots none of which is in use."""
        like, settings = at_least_float32(self.down.weight), self.config
        mean = (like.new_zeros(batch, settings.width),) if settings.has_mean else ()
        if not settings.has_slots:
            return BackboneState(mean)
        unused = torch.full((batch, settings.slots), UNUSED, device=like.device)
        return BackboneState(mean, (SlotState(like.new_zeros(batch, settings.slots, settings.width), unused),))

    def forward(self, y: Float[Tensor, "batch time model"], state: BackboneState, places: Places) -> Remembered:
        """Return the features and the memory after the call."""
        found, after, novelty = self._read(self.down(y), state, places)
        reads: Tensor = self.up(found).to(y.dtype)
        logits = at_least_float32(self.gate(relu(self.gate_hidden(torch.cat([y, reads], -1)))))
        gate = torch.sigmoid(logits)
        joined = (gate * y + (1.0 - gate) * reads).to(y.dtype)
        return Remembered(joined, after, reads, gate, logits, novelty)

    def _read(
        self, told: Float[Tensor, "batch time width"], state: BackboneState, places: Places
    ) -> tuple[Float[Tensor, "batch time width"], BackboneState, Float[Tensor, "batch time"] | None]:
        """Return r of every token, the state after the call and the novelties."""
        reads, means, slots, novelty = [], [], [], None
        for mean in state.mean:
            read, after = ltm_chunked(told, mean, places.memory, self.config.decay)
            reads.append(read)
            means.append(after)
        for kept in state.slots:
            with torch.autocast(told.device.type, enabled=False):
                decide = kernel_slots("auto", told, self.config.slots)
                found = slot_memory(told, kept.held, kept.read_at, places.memory, self.config.surprise, decide)
            reads.append(found.reads)
            slots.append(SlotState(found.slots, found.read_at))
            novelty = found.novelty
        return sum(reads[1:], reads[0]), BackboneState(tuple(means), tuple(slots)), novelty


def gate_entropy(logits: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the mean of -g ln g - (1 - g) ln(1 - g), g = sigmoid(a): ln(1 + e^b) - b sigmoid(b) with b = -|a|.

    Of a gate that rounds to 0 or 1 the logarithm has no derivative; of the logit it is -a g (1 - g), which goes to 0.
    """
    less = -logits.abs()
    return (softplus(less) - less * torch.sigmoid(less)).mean()
