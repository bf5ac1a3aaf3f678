"""The model section of the run configuration: blocks, attention and gate (`memory` has the memory)."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from atlas_ref.config.blocks import MacConfig, MalConfig
from atlas_ref.config.dropout import DropoutConfig
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.config.section import Section, listed

BlockKind = Literal["mag", "mac", "mal", "lmm"]
"""How attention and memory make a block (2501.00663 section 4)."""


Steps = Annotated[tuple[Annotated[int, Field(ge=1, le=10**9)], ...], BeforeValidator(listed)]
Floors = Annotated[tuple[Annotated[float, Field(ge=0.0, lt=1.0)], ...], BeforeValidator(listed)]


class AttentionConfig(Section):
    """Attention with rotary positions and persistent tokens; the block lmm has none."""

    window: int = Field(ge=1, le=1_000_000)
    """tokens that a query of mag and mal sees, itself included"""
    persistent_tokens: int = Field(ge=0, le=4096)
    """learned tokens that every query sees"""
    persistent_in_memory: bool
    """whether the persistent tokens of mag and mal are written before every document, as a document of their own"""
    rope_base: float = Field(gt=1.0, le=1e9)
    """base of the rotary frequencies"""


class GateConfig(Section):
    """How attention a and memory m of mag and mac are joined; the floor is that of the gate of lmm too."""

    kind: Literal["source", "convex", "convex_memory", "gated_attention", "product"]
    """source: sigmoid(a) m; convex: g a + (1-g) m; convex_memory: g m + (1-g) a; gated_attention: a sigmoid(m)"""
    floor: float = Field(ge=0.0, lt=1.0)
    """smallest value of the gate, once it has come down: floor + (1 - floor) * sigmoid"""
    floor_start: float = Field(ge=0.0, lt=1.0)
    """the floor at the first step"""
    floor_decay_steps: int = Field(ge=0, le=10**9)
    """steps in which the floor comes down in a straight line from its start"""
    floor_until: Steps
    """instead of the line, steps before which the floor is each of floor_before in turn; []: the line"""
    floor_before: Floors
    """the floor before each of those steps, which falls; behind the last of them it is floor"""
    bias_init: float = Field(ge=-20.0, le=20.0)
    """bias of the logits of convex and convex_memory, at the start"""

    @property
    def has_logits(self) -> bool:
        """Whether the gate has a map of its own, from hidden states to logits."""
        return self.kind.startswith("convex")

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a floor that would rise."""
        if self.floor_decay_steps > 0 and self.floor_start < self.floor:
            yield (
                f"model.gate.floor_start is {self.floor_start}; it must be at least model.gate.floor, "
                f"which is {self.floor}"
            )
        yield from self._steps()

    def _steps(self) -> Iterator[str]:
        """Yield a sentence for steps of a floor that are not one for one, do not rise, or whose floor does not fall."""
        until, before = self.floor_until, self.floor_before
        if len(until) != len(before):
            yield (
                f"model.gate.floor_before has {len(before)} floors; it must have one for each step of "
                f"model.gate.floor_until, which has {len(until)}"
            )
        if list(until) != sorted(set(until)):
            yield f"model.gate.floor_until is {list(until)}; it must be steps that rise"
        floors = [*before, self.floor]
        if floors != sorted(floors, reverse=True):
            yield (
                f"model.gate.floor_before is {list(before)}; it must be floors that fall, down to "
                f"model.gate.floor, which is {self.floor}"
            )
        if until and self.floor_decay_steps:
            yield (
                f"model.gate.floor_decay_steps is {self.floor_decay_steps}; it must be 0 where model.gate.floor_until "
                "has steps"
            )


class ModelConfig(Section):
    """The language model."""

    vocab_size: int = Field(ge=2, le=1_000_000)
    """tokens of the model; a tokenizer of text may have fewer, a generated task has exactly these"""
    d_model: int = Field(ge=1, le=65_536)
    """width of the residual stream"""
    block: BlockKind
    """mag: attention beside memory; mac: memory as context; mal: memory before attention; lmm: memory alone"""
    n_layers: int = Field(ge=1, le=1024)
    """number of blocks"""
    n_heads: int = Field(ge=1, le=1024)
    """heads of attention and of memory"""
    feed_forward: Literal["none", "swiglu"]
    """what follows the memory block in each layer"""
    feed_forward_dim: int = Field(ge=1, le=1_000_000)
    """hidden width of swiglu"""
    norm_eps: float = Field(gt=0.0, le=1e-2)
    """added to the mean square in RMS norms"""
    init_std: float = Field(gt=0.0, le=1.0)
    """spread of the initial weights"""
    disable_memory: bool
    """ablation: same parameters, but nothing is written: the initial memory is read for ever"""
    inner_grad: Literal["full", "detached"]
    """whether training sees through the writes"""
    kernels: Literal["auto", "reference", "cpu", "triton"]
    """which form of the memory runs; auto: triton on a GPU that has it, cpu where it was built, else the reference"""
    attention: AttentionConfig
    gate: GateConfig
    dropout: DropoutConfig
    mac: MacConfig
    mal: MalConfig
    memory: MemoryConfig

    @property
    def grid(self) -> int:
        """Tokens of which documents are best made whole multiples: a chunk of the memory, or a segment of chunks."""
        return self.segment or self.memory.chunk

    @property
    def segment(self) -> int:
        """Tokens of the segments that the block goes through a context in; 0: it does not."""
        return self.mac.segment if self.block == "mac" else 0

    @property
    def sight(self) -> int:
        """Most tokens whose keys a query of attention can see, itself included; itself alone where there is none."""
        whole = self.mac.segment * (2 if self.mac.rows == "previous_segment" else 1)
        return {"mag": self.attention.window, "mal": self.attention.window, "mac": whole, "lmm": 1}[self.block]

    @property
    def reach(self) -> int:
        """Tokens back that all layers together can see without memory: attention and convolutions, stacked."""
        # In MAC two convolutions are in a row: of what rows are asked with, and of what the memory writes.
        convolutions = (2 if self.block == "mac" else 1) * (self.memory.conv_kernel - 1)
        return self.n_layers * (self.sight + convolutions)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a width that does not split into rotary heads, or that the memory does not fill, and for
        what the block does not have.
        """
        yield from self._block_problems()
        width = self.n_heads * self.memory.value_dim
        if width != self.d_model:
            yield (
                f"model.memory.value_dim is {self.memory.value_dim}; with model.n_heads = {self.n_heads} the memory is "
                f"{width} wide, and it must be as wide as attention to be gated with it: model.d_model = {self.d_model}"
            )
        fast = self.memory.gates.fast_heads
        if fast > self.n_heads:
            yield f"model.memory.gates.fast_heads is {fast}; it must be at most model.n_heads, which is {self.n_heads}"
        if self.d_model % (2 * self.n_heads) != 0:
            yield (
                f"model.d_model is {self.d_model}; it must be a multiple of twice model.n_heads, "
                f"which is {2 * self.n_heads}, because rotary positions turn pairs"
            )

    def _block_problems(self) -> Iterator[str]:
        """Yield a sentence for options that the block and its memory cannot have together."""
        chunk, segment = self.memory.chunk, self.mac.segment
        if self.block == "mac" and segment % chunk:
            yield (
                f"model.mac.segment is {segment}; it must be a multiple of model.memory.chunk, which is {chunk}, for "
                'model.block = "mac"'
            )
        if self.dropout.attention and self.block in ("mac", "lmm"):
            yield (
                f"model.dropout.attention is {self.dropout.attention}; it must be 0.0 for model.block = "
                f'"{self.block}", whose attention is no sliding window'
            )
        if not self.attention.persistent_in_memory:
            return
        if self.block in ("mac", "lmm"):
            yield f'model.attention.persistent_in_memory is true; it must be false for model.block = "{self.block}"'
        if self.memory.algorithm == "ridge" or self.memory.kind == "hierarchical":
            yield (
                "model.attention.persistent_in_memory is true; it must be false for a memory that has no one M_0: "
                'model.memory.algorithm = "ridge", model.memory.kind = "hierarchical"'
            )
